"""How fast a described model trains on a gang: the best layout that fits, and its rate.

`scheduler.physics.step_time` holds the formula. Layouts come from a set that depends on
neither rates nor memory; more memory only lets more of them in. Hence more of anything
never lowers a rate.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.units import GIB
from scheduler.core.workload import ModelPhysics
from scheduler.physics.memory import (
    USABLE_SHARE,
    MemoryBytes,
    MemoryColumns,
    training_memory,
)
from scheduler.physics.network import Network, Refusal
from scheduler.physics.parallelism import (
    FREE,
    Layout,
    Layouts,
    Wanted,
    candidate_layouts,
)
from scheduler.physics.power import draw_w
from scheduler.physics.step_time import (
    FULL,
    PRECISION_ALIASES,
    WIDE,
    TrainingJob,
    step_seconds,
    step_terms,
)
from scheduler.physics.training_constants import SHIPPED, TrainingConstants

SIGMA_LOG: Final = 0.18
SIGMA_LOG_THIN: Final = 0.30
"""Standard deviation of log(predicted / measured): of dense models on stacks with many
published runs, and of mixtures of experts, adapters and other stacks."""
THICK_STACKS: Final = ("cuda", "tpu", "cann")


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step by cause.

    Parameters
    ----------
    compute, memory, communication, bubble : float
        Arithmetic; memory traffic and fixed layer costs; communication that is not hidden
        behind the two; pipeline fill and drain.
    """

    compute: float
    memory: float
    communication: float
    bubble: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.compute + self.memory + self.communication + self.bubble


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What a gang does on a training job.

    Parameters
    ----------
    work_per_s : float
        Tokens (or samples) per second of the whole gang.
    step_s : StepTime
        One optimizer step.
    memory : MemoryBytes
        On the fullest accelerator.
    layout : Layout
        The split that was chosen.
    power_w : float
        Accelerators of the gang, without their hosts.
    sigma_log : float
        Standard deviation of the logarithm of the rate.
    """

    work_per_s: float
    step_s: StepTime
    memory: MemoryBytes
    layout: Layout
    power_w: float
    sigma_log: float

    @property
    def memory_bytes(self) -> float:
        """Bytes needed on the fullest accelerator."""
        return self.memory.total

    @property
    def work_per_joule(self) -> float:
        """Tokens (or samples) per joule drawn by the accelerators."""
        return self.work_per_s / self.power_w


def training_estimate(
    model: Model,
    physics: ModelPhysics,
    accelerator: AcceleratorType,
    count: int,
    per_node: int,
    network: Network,
) -> TrainingEstimate | Refusal:
    """Return the best estimate over all layouts that fit, or why there is none.

    Parameters
    ----------
    model : Model
        Catalogue row of ``physics.model``.
    physics : ModelPhysics
        Precision, sequence length and global batch.
    accelerator : AcceleratorType
        Type of the whole gang.
    count : int
        Accelerators, at least 1.
    per_node : int
        Accelerators of the gang on one node.
    network : Network
        What they see of the interconnect.
    """
    job = training_job(model, physics)
    return remembered_estimate(job, accelerator, count, per_node, network)


def training_job(model: Model, physics: ModelPhysics) -> TrainingJob:
    """Return what `physics` says of training `model`."""
    precision = PRECISION_ALIASES.get(physics.precision, physics.precision)
    unit = float(physics.sequence_length) if model.counts_tokens else 1.0
    return TrainingJob(model, precision, unit, physics.global_batch)


def remembered_estimate(
    job: TrainingJob, accelerator: AcceleratorType, count: int, per_node: int, network: Network
) -> TrainingEstimate | Refusal:
    """Return `estimate_job`, computed once per distinct question."""
    key = (job, _type_key(accelerator), count, per_node, network)
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= _REMEMBERED_CAP:
            _remembered.clear()
        found = _remembered[key] = estimate_job(job, accelerator, count, per_node, network)
    return found


_REMEMBERED_CAP: Final = 65536
_remembered: dict[Hashable, TrainingEstimate | Refusal] = {}


def _type_key(accelerator: AcceleratorType) -> Hashable:
    """Return what rates depend on (types hold a mapping and cannot be hashed)."""
    return (
        accelerator.name,
        accelerator.stack,
        accelerator.memory_bytes,
        accelerator.memory_bytes_per_s,
        tuple(accelerator.peak_flops.items()),
        accelerator.idle_w,
        accelerator.peak_w,
    )


def estimate_job(
    job: TrainingJob,
    accelerator: AcceleratorType,
    count: int,
    per_node: int,
    network: Network,
    *,
    wanted: Wanted = FREE,
    constants: TrainingConstants = SHIPPED,
) -> TrainingEstimate | Refusal:
    """Return the best estimate of a resolved job; parameters as in `training_estimate`.

    Parameters
    ----------
    wanted : Wanted
        Degrees of the layout that are given.
    constants : TrainingConstants
        Fitted constants.
    """
    refusal = precision_refusal(job.precision, accelerator)
    if refusal is not None:
        return refusal
    options = fitting_layouts(job, accelerator, count, per_node, network, wanted)
    if isinstance(options, Refusal):
        return options
    layouts, memory = options
    terms = step_terms(job, accelerator, count, layouts, network)
    times = step_seconds(terms, constants.efficiency(accelerator.stack), constants)
    best = int(np.argmin(times.total))
    if not np.isfinite(times.total[best]):
        return Refusal("no network connects the accelerators of the gang")
    step = StepTime(*(float(part[best]) for part in times.parts))
    busy = (step.compute + step.memory) / step.total
    thin = job.lora or job.model.kind == "moe" or accelerator.stack not in THICK_STACKS
    return TrainingEstimate(
        work_per_s=job.global_batch * job.unit / step.total,
        step_s=step,
        memory=memory.row(best),
        layout=layouts.layout(best),
        power_w=count * draw_w(accelerator, busy),
        sigma_log=SIGMA_LOG_THIN if thin else SIGMA_LOG,
    )


def precision_refusal(precision: str, accelerator: AcceleratorType) -> Refusal | None:
    """Return why `accelerator` cannot compute in `precision`; None where it can."""
    if not accelerator.peak_flops:
        return Refusal(f"no peak rate of {accelerator.name} is public")
    supported = ", ".join(accelerator.peak_flops)
    if precision not in accelerator.peak_flops:
        return Refusal(f"{accelerator.name} does not support {precision} (it has {supported})")
    if not any(p in accelerator.peak_flops for p in WIDE):
        return Refusal(f"{accelerator.name} has no wider format beside {precision}")
    return None


def fitting_layouts(
    job: TrainingJob,
    accelerator: AcceleratorType,
    count: int,
    per_node: int,
    network: Network,
    wanted: Wanted = FREE,
) -> tuple[Layouts, MemoryColumns] | Refusal:
    """Return the layouts that fit into memory with what they hold, or a refusal."""
    model = job.model
    layouts = candidate_layouts(
        count,
        job.global_batch,
        model.layers,
        model.heads,
        model.experts,
        max(per_node, network.scaleup_devices),
        model.counts_tokens,
        wanted,
    )
    if not len(layouts):
        return Refusal(
            f"a global batch of {job.global_batch} cannot be split over {count} accelerators"
        )
    memory = training_memory(
        model,
        layouts,
        count,
        job.unit,
        full_precision=job.precision in FULL,
        lora=job.lora,
        stages_behind=job.stages_behind,
    )
    total = memory.total
    usable = accelerator.memory_bytes * USABLE_SHARE
    fits = total <= usable
    if not fits.any():
        least = math.ceil(float(total.min()) / GIB)
        where = f"each of {count} accelerators" if count > 1 else "one accelerator"
        return Refusal(
            f"{model.name} needs {least} GiB on {where}, "
            f"{accelerator.name} has {math.floor(usable / GIB)} GiB usable"
        )
    chosen = np.flatnonzero(fits)
    return layouts.take(chosen), MemoryColumns(
        memory.parameters[chosen],
        memory.gradients[chosen],
        memory.optimizer[chosen],
        memory.activations[chosen],
    )
