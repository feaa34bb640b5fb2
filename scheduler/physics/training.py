"""How fast a described model trains on one gang: `scheduler.physics.gang_rates` at one place."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.workload import ModelPhysics
from scheduler.physics.gang_rates import StepTime, TrainingEstimate, gang_rates, places_of
from scheduler.physics.network import Network, Refusal
from scheduler.physics.parallelism import FREE, Wanted
from scheduler.physics.step_time import PRECISION_ALIASES, TrainingJob
from scheduler.physics.training_constants import SHIPPED, TrainingConstants

__all__ = [
    "StepTime",
    "TrainingEstimate",
    "estimate_job",
    "remembered_estimate",
    "training_estimate",
    "training_job",
]


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
        accelerator.confidence,
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
    place = places_of([(accelerator, per_node, network)])
    return gang_rates(job, count, place, wanted=wanted, constants=constants).estimate(0)
