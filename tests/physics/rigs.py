"""Gangs and models from which the training tests build theirs."""

from dataclasses import replace

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.workload import ModelPhysics
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.network import Network, Refusal, usual_network
from scheduler.physics.training import TrainingEstimate, training_estimate


def named(accelerator: str, model: str) -> tuple[AcceleratorType, Model]:
    return accelerators()[accelerator], models()[model]


def rate(
    model: Model,
    accelerator: AcceleratorType,
    count: int,
    network: Network | None = None,
    **physics: object,
) -> TrainingEstimate | Refusal:
    """Estimate on the usual network, eight to a node."""
    how = replace(ModelPhysics(model.name), **physics)  # type: ignore[arg-type]
    chosen = usual_network(accelerator, count) if network is None else network
    return training_estimate(model, how, accelerator, count, min(count, 8), chosen)


def work(found: TrainingEstimate | Refusal) -> float:
    """Return the rate, 0 where refused."""
    return found.work_per_s if isinstance(found, TrainingEstimate) else 0.0
