"""One job, or one replica of a service, on several accelerator types side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.units import HOUR_S
from scheduler.core.workload import ModelPhysics, Service
from scheduler.physics.gang_rates import TrainingEstimate, gang_rates, places_of
from scheduler.physics.inference import ReplicaEstimate, replica_estimate
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.training import training_job

Unit = Literal["tokens", "samples"]


@dataclass(frozen=True, slots=True)
class TypeEstimate:
    """One accelerator type in a table of estimates.

    Parameters
    ----------
    accelerator : AcceleratorType
        The type.
    count : int
        Accelerators.
    found : TrainingEstimate, ReplicaEstimate or Refusal
        What physics says.
    work_per_s : float
        Tokens (for a replica: output tokens), or samples, of all of them; 0 where refused.
    """

    accelerator: AcceleratorType
    count: int
    found: TrainingEstimate | ReplicaEstimate | Refusal
    work_per_s: float

    @property
    def work_per_joule(self) -> float:
        """Work per joule drawn by the accelerators; NaN where refused."""
        if isinstance(self.found, Refusal):
            return math.nan
        return self.work_per_s / self.found.power_w

    @property
    def work_per_usd(self) -> float:
        """Work per rented dollar; NaN where refused or the rent is not known."""
        rent = self.accelerator.usd_per_hour
        if isinstance(self.found, Refusal) or rent is None:
            return math.nan
        return self.work_per_s * HOUR_S / (rent * self.count)

    def as_dict(self) -> dict[str, object]:
        """Return JSON-ready fields."""
        kind, found = self.accelerator, self.found
        row: dict[str, object] = {
            "accelerator": kind.name,
            "stack": kind.stack,
            "confidence": kind.confidence,
            "count": self.count,
        }
        if isinstance(found, Refusal):
            return {**row, "refused": found.reason}
        factor = math.exp(found.sigma_log)
        step = found.step_s
        row |= {
            "work_per_s": self.work_per_s,
            "sigma_log": found.sigma_log,
            "work_per_s_range": [self.work_per_s / factor, self.work_per_s * factor],
            "step_s": {
                "compute": step.compute,
                "memory": step.memory,
                "communication": step.communication,
                "bubble": step.bubble,
            },
            "memory_bytes": memory_parts(found),
            "memory_available_bytes": kind.memory_bytes,
            "power_w": found.power_w,
            "work_per_joule": self.work_per_joule,
            "work_per_usd": None if math.isnan(self.work_per_usd) else self.work_per_usd,
        }
        if isinstance(found, TrainingEstimate):
            return {**row, "layout": str(found.layout)}
        return {
            **row,
            "requests_per_s": found.requests_per_s,
            "batch": found.batch,
            "ttft_s": found.ttft_s,
            "tpot_s": found.tpot_s,
            "limited_by": found.limited_by,
        }


def memory_parts(found: TrainingEstimate | ReplicaEstimate) -> dict[str, float]:
    """Return the bytes on one accelerator by use."""
    if isinstance(found, TrainingEstimate):
        return {
            "parameters": found.memory.parameters,
            "gradients": found.memory.gradients,
            "optimizer": found.memory.optimizer,
            "activations": found.memory.activations,
        }
    return {
        "weights": found.weights_bytes,
        "cache": found.cache_bytes,
        "runtime": found.runtime_bytes,
    }


def unit_of(model: Model) -> Unit:
    """Return what is counted."""
    return "tokens" if model.counts_tokens else "samples"


def train_on_types(
    model: Model, physics: ModelPhysics, count: int, types: Iterable[AcceleratorType]
) -> tuple[TypeEstimate, ...]:
    """Estimate a training job on `count` accelerators of each type, on their usual network.

    Returns
    -------
    tuple of TypeEstimate
        By descending rate, refusals last.
    """
    kinds = tuple(types)
    places = [
        (kind, min(count, kind.devices_per_node), usual_network(kind, count)) for kind in kinds
    ]
    rates = gang_rates(training_job(model, physics), count, places_of(places))
    return _sorted(
        TypeEstimate(kind, count, rates.estimate(i), float(rates.work_per_s[i]))
        for i, kind in enumerate(kinds)
    )


def serve_on_types(
    model: Model, service: Service, count: int, types: Iterable[AcceleratorType]
) -> tuple[TypeEstimate, ...]:
    """Estimate a replica of `count` accelerators of each type, on their usual network.

    Returns
    -------
    tuple of TypeEstimate
        By descending rate, refusals last.
    """
    rows = []
    for kind in types:
        found = replica_estimate(model, service, kind, count, usual_network(kind, count))
        rate = 0.0 if isinstance(found, Refusal) else found.requests_per_s
        per_request = service.output_tokens if model.kind in ("dense", "moe") else 1.0
        rows.append(TypeEstimate(kind, count, found, rate * per_request))
    return _sorted(rows)


def _sorted(rows: Iterable[TypeEstimate]) -> tuple[TypeEstimate, ...]:
    return tuple(sorted(rows, key=lambda row: -row.work_per_s))
