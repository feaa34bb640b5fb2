"""How fast a described model trains, at many places at once: the best layout at each.

A place is an accelerator type and the network a gang sees there. `scheduler.physics.step_time`
holds the formula. Layouts come from a set that depends on neither rates nor memory; more
memory only lets more of them in. Hence more of anything never lowers a rate.

What depends on the layout alone is worked out once for all places: memory, arithmetic and
traffic. Layouts that cannot be the best are left out early, by dominance and by bounds; the
result is that of trying each layout at each place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.units import GIB
from scheduler.physics.memory import (
    USABLE_SHARE,
    MemoryBytes,
    MemoryColumns,
    training_memory,
)
from scheduler.physics.network import Network, Refusal
from scheduler.physics.parallelism import (
    FREE,
    BoolArray,
    Candidates,
    FloatArray,
    IntArray,
    Layout,
    Layouts,
    Wanted,
    candidate_layouts,
)
from scheduler.physics.power import draw_between_w
from scheduler.physics.step_communication import Links, links_of, step_traffic
from scheduler.physics.step_time import (
    FULL,
    WIDE,
    StepSeconds,
    TrainingJob,
    busy_seconds,
    joined_seconds,
    step_bounds,
    step_terms,
)
from scheduler.physics.training_constants import SHIPPED, TrainingConstants

SIGMA_LOG: Final = 0.18
SIGMA_LOG_THIN: Final = 0.30
"""Standard deviation of log(predicted / measured): of dense models on stacks with many
published runs, and of mixtures of experts, adapters and other stacks."""
THICK_STACKS: Final = ("cuda", "tpu", "cann")
SIGMA_LOG_FIGURES: Final = MappingProxyType({"high": 0.0, "medium": 0.08, "low": 0.25})
"""What the figures of a type add by their confidence: secondary sources, and estimates."""


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


@dataclass(frozen=True, slots=True)
class Places:
    """Where gangs of one size may stand, as columns of shape (p,).

    Parameters
    ----------
    types : tuple of AcceleratorType
        Of all places.
    type_of : ndarray of int64
        Position in `types`.
    most_tensor : ndarray of float64
        Largest tensor-parallel degree that is tried: accelerators behind fast links.
    devices : ndarray of float64, shape (d,)
        Distinct sizes of scale-up domains.
    devices_of : ndarray of int64
        Position in `devices`.
    links : Links
        Cost of traffic.
    """

    types: tuple[AcceleratorType, ...]
    type_of: IntArray
    most_tensor: FloatArray
    devices: FloatArray
    devices_of: IntArray
    links: Links


def most_tensor(per_node: int, network: Network) -> int:
    """Return the largest tensor-parallel degree that is tried: accelerators behind fast links."""
    return max(per_node, network.scaleup_devices)


def places_of(places: Sequence[tuple[AcceleratorType, int, Network]]) -> Places:
    """Return places as columns, from (accelerator, accelerators per node, network)."""
    number: dict[int, int] = {}
    types: list[AcceleratorType] = []
    for kind, _, _ in places:
        if number.setdefault(id(kind), len(types)) == len(types):
            types.append(kind)
    devices = sorted({network.scaleup_devices for _, _, network in places})
    return Places(
        tuple(types),
        np.array([number[id(kind)] for kind, _, _ in places], dtype=np.int64),
        np.array([most_tensor(per_node, n) for _, per_node, n in places], dtype=float),
        np.array(devices, dtype=float),
        np.array([devices.index(n.scaleup_devices) for _, _, n in places], dtype=np.int64),
        links_of([network for _, _, network in places]),
    )


@dataclass(frozen=True, slots=True)
class GangRates:
    """A job rated at `Places`; columns of shape (p,).

    Parameters
    ----------
    job, count, places
        What was asked.
    work_per_s, memory_bytes, power_w : ndarray of float64
        Tokens (or samples) per second of the gang, bytes on the fullest accelerator, draw
        of all accelerators; 0 where refused.
    steps : StepSeconds
        Parts of one step; meaningless where refused.
    rows : ndarray of int64
        Chosen rows of `layouts`; -1 where refused.
    layouts, memory, held
        Every candidate, what it holds, and in all.
    """

    job: TrainingJob
    count: int
    places: Places
    work_per_s: FloatArray
    memory_bytes: FloatArray
    power_w: FloatArray
    steps: StepSeconds
    rows: IntArray
    layouts: Layouts
    memory: MemoryColumns
    held: FloatArray

    def estimate(self, place: int) -> TrainingEstimate | Refusal:
        """Return all there is to say about one place, or why the job cannot run there."""
        kind = self.places.types[self.places.type_of[place]]
        row = int(self.rows[place])
        if row < 0:
            return self._refusal(place, kind)
        steps = self.steps
        parts = (steps.compute, steps.memory, steps.communication, steps.bubble)
        job = self.job
        thin = job.lora or job.model.kind == "moe" or kind.stack not in THICK_STACKS
        return TrainingEstimate(
            work_per_s=float(self.work_per_s[place]),
            step_s=StepTime(*(float(part[place]) for part in parts)),
            memory=self.memory.row(row),
            layout=self.layouts.layout(row),
            power_w=float(self.power_w[place]),
            sigma_log=with_figures(SIGMA_LOG_THIN if thin else SIGMA_LOG, kind),
        )

    def _refusal(self, place: int, kind: AcceleratorType) -> Refusal:
        refusal = precision_refusal(self.job.precision, kind)
        if refusal is not None:
            return refusal
        if not len(self.layouts):
            return Refusal(
                f"a global batch of {self.job.global_batch} cannot be split over "
                f"{self.count} accelerators"
            )
        usable = kind.memory_bytes * USABLE_SHARE
        tried = self.layouts.tensor <= self.places.most_tensor[place]
        least = float(self.held[tried].min(initial=np.inf))
        if least <= usable:
            return Refusal("no network connects the accelerators of the gang")
        where = f"each of {self.count} accelerators" if self.count > 1 else "one accelerator"
        need = math.ceil((least if math.isfinite(least) else self.held.min()) / GIB)
        return Refusal(
            f"{self.job.model.name} needs {need} GiB on {where}, "
            f"{kind.name} has {math.floor(usable / GIB)} GiB usable"
        )


def with_figures(sigma_log: float, accelerator: AcceleratorType) -> float:
    """Return an uncertainty with that of the figures of a type added."""
    return math.hypot(sigma_log, SIGMA_LOG_FIGURES[accelerator.confidence])


def gang_rates(
    job: TrainingJob,
    count: int,
    places: Places,
    *,
    wanted: Wanted = FREE,
    constants: TrainingConstants = SHIPPED,
) -> GangRates:
    """Rate a job at many places.

    Parameters
    ----------
    job : TrainingJob
        What is trained.
    count : int
        Accelerators, at least 1.
    places : Places
        Types and networks.
    wanted : Wanted
        Degrees of the layout that are given.
    constants : TrainingConstants
        Fitted constants.
    """
    at = places.type_of
    candidates, memory = job_candidates(job, count, wanted)
    held = memory.total
    kept = _kept(job, candidates, held, places.types)
    used = np.flatnonzero(kept.any(axis=0))
    layouts = candidates.layouts.take(used)
    kept = kept[:, used]
    tensor = layouts.tensor if wanted.tensor is None else np.zeros(len(used))
    place, pair, row = _pairs(kept, tensor, places)
    if not len(place):
        return _refused(job, count, places, candidates.layouts, memory, held)
    terms = step_terms(job, places.types, count, layouts)
    efficiency = np.array([[constants.efficiency(kind.stack)] for kind in places.types])
    compute, traffic = (part.take(pair) for part in busy_seconds(terms, efficiency, constants))
    sent = step_traffic(job.model, layouts, places.devices[:, None], job.unit, lora=job.lora)
    sent = sent.take(places.devices_of[place] * len(used) + row)
    waiting = sent.seconds(places.links.take(place))
    bubble = terms.bubble.take(row)
    least, most = step_bounds(compute + traffic, waiting, bubble, constants)
    found = _least_of_place(most, place)
    likely = np.flatnonzero(least <= found)
    steps = joined_seconds(
        compute.take(likely),
        traffic.take(likely),
        waiting.take(likely),
        bubble.take(likely),
        constants,
    )
    at_best = np.flatnonzero(steps.total == _least_of_place(steps.total, place[likely]))
    best = np.full(len(at), -1)
    best[place[likely[at_best[::-1]]]] = at_best[::-1]  # of equal ones the first is kept
    ran = (best >= 0) & np.isfinite(steps.total[best])
    steps = steps.take(best)
    rows = np.where(ran, used[row[likely[best]]], -1)
    watts = np.array([(kind.idle_w, kind.peak_w) for kind in places.types])[at]
    with np.errstate(invalid="ignore"):
        busy = (steps.compute + steps.memory) / steps.total
    power_w = count * draw_between_w(watts[:, 0], watts[:, 1], busy)
    return GangRates(
        job=job,
        count=count,
        places=places,
        work_per_s=np.where(ran, job.global_batch * job.unit / steps.total, 0.0),
        memory_bytes=np.where(ran, held[rows], 0.0),
        power_w=np.where(ran, power_w, 0.0),
        steps=steps,
        rows=rows,
        layouts=candidates.layouts,
        memory=memory,
        held=held,
    )


def _pairs(kept: BoolArray, tensor: FloatArray, places: Places) -> tuple[IntArray, ...]:
    """Return every place with every layout its type keeps and its scale-up domain permits.

    Parameters
    ----------
    kept : ndarray of bool, shape (types, k)
        By type and layout.
    tensor : ndarray of float64, shape (k,)
        Tensor-parallel degrees.
    places : Places
        Of some types each.

    Returns
    -------
    tuple of ndarray of int64
        Places, ascending; flat positions in `kept`, ascending at each place; their columns.
    """
    at = places.type_of
    flat = np.flatnonzero(kept)
    many = np.count_nonzero(kept, axis=1)
    of_place = many[at]
    ends = np.cumsum(of_place)
    skipped = (np.cumsum(many) - many)[at] - (ends - of_place)
    place = np.repeat(np.arange(len(at)), of_place)
    chosen = np.arange(len(place)) + np.repeat(skipped, of_place)
    pair, row = flat.take(chosen), (flat % max(1, len(tensor))).take(chosen)
    if tensor.max(initial=0.0) > places.most_tensor.min(initial=np.inf):
        inside = np.flatnonzero(tensor.take(row) <= places.most_tensor.take(place))
        place, pair, row = place.take(inside), pair.take(inside), row.take(inside)
    return place, pair, row


def _least_of_place(value: FloatArray, place: IntArray) -> FloatArray:
    """Return for each entry the least value at its place; `place` ascends."""
    starts = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
    counts = np.diff(np.append(starts, len(place)))
    least: FloatArray = np.repeat(np.minimum.reduceat(value, starts), counts)
    return least


def _refused(
    job: TrainingJob,
    count: int,
    places: Places,
    layouts: Layouts,
    memory: MemoryColumns,
    held: FloatArray,
) -> GangRates:
    none = np.zeros(len(places.type_of))
    steps = StepSeconds(none, none, none, none)
    rows = np.full(len(none), -1)
    return GangRates(job, count, places, none, none, none, steps, rows, layouts, memory, held)


def job_candidates(
    job: TrainingJob, count: int, wanted: Wanted = FREE
) -> tuple[Candidates, MemoryColumns]:
    """Return the layouts worth rating, and what each holds in memory."""
    model = job.model
    candidates = candidate_layouts(
        count,
        job.global_batch,
        model.layers,
        model.heads,
        model.experts,
        model.counts_tokens,
        wanted,
    )
    memory = training_memory(
        model,
        candidates.layouts,
        count,
        job.unit,
        full_precision=job.precision in FULL,
        lora=job.lora,
        stages_behind=job.stages_behind,
    )
    return candidates, memory


def fitting_layouts(job: TrainingJob, count: int, places: Places, wanted: Wanted = FREE) -> Layouts:
    """Return the layouts that may be the best at the first place under some constants."""
    candidates, memory = job_candidates(job, count, wanted)
    kept = _kept(job, candidates, memory.total, places.types)[places.type_of[0]]
    if wanted.tensor is None:
        kept = kept & (candidates.layouts.tensor <= places.most_tensor[0])
    return candidates.layouts.take(kept)


def _kept(
    job: TrainingJob,
    candidates: Candidates,
    held: FloatArray,
    types: Sequence[AcceleratorType],
) -> BoolArray:
    """Return, by type and layout, which layouts fit and are worth rating."""
    usable = np.array(
        [
            -1.0 if precision_refusal(job.precision, kind) else kind.memory_bytes * USABLE_SHARE
            for kind in types
        ]
    )
    sizes, size_of = np.unique(usable, return_inverse=True)
    kept: BoolArray = candidates.undominated(held <= sizes[:, None])[size_of]
    return kept


def precision_refusal(precision: str, accelerator: AcceleratorType) -> Refusal | None:
    """Return why `accelerator` cannot compute in `precision`; None where it can."""
    if not accelerator.peak_flops:
        return Refusal(f"no peak rate of {accelerator.name} is public")
    if precision not in accelerator.peak_flops:
        supported = ", ".join(accelerator.peak_flops)
        return Refusal(f"{accelerator.name} does not support {precision} (it has {supported})")
    if not any(p in accelerator.peak_flops for p in WIDE):
        return Refusal(f"{accelerator.name} has no wider format beside {precision}")
    return None
