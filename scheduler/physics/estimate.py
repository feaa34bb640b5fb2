"""How far the training formula can be trusted, and one job on every accelerator type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.units import HOUR_S
from scheduler.core.workload import ModelPhysics
from scheduler.io.catalogue import accelerators
from scheduler.io.published_runs import PublishedRun
from scheduler.physics.network import Refusal
from scheduler.physics.run_description import (
    is_moe,
    run_count,
    run_job,
    run_wanted,
    usual_network,
)
from scheduler.physics.training import TrainingEstimate, estimate_job, training_estimate
from scheduler.physics.training_constants import GOODPUT, SHIPPED, TrainingConstants
from scheduler.physics.training_fit import counted_options, held_out_errors, sources_of

__all__ = [
    "Errors",
    "RunPrediction",
    "RunsReport",
    "TypeEstimate",
    "errors_of",
    "estimate_all_types",
    "leave_one_source_out",
    "predict_run",
    "predict_runs",
    "usual_network",
]


@dataclass(frozen=True, slots=True)
class RunPrediction:
    """One published run beside its prediction, tokens per second and accelerator.

    Parameters
    ----------
    id : str
        Row.
    predicted : float
        By the formula.
    measured : float or None
        As published.
    sigma_log : float
        Standard deviation of the logarithm of their ratio to expect.
    source, stack, precision, kind : str
        Groups it counts in.
    counted : bool
        Whether it enters the errors (confidence not low, and measured).
    """

    id: str
    predicted: float
    measured: float | None
    sigma_log: float
    source: str
    stack: str
    precision: str
    kind: str
    counted: bool

    @property
    def relative_error(self) -> float:
        """``|predicted / measured - 1|``; NaN where nothing was measured."""
        return float("nan") if self.measured is None else abs(self.predicted / self.measured - 1)


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of a group of runs.

    Parameters
    ----------
    rows : int
        Runs counted.
    median, p90 : float
        Quantiles of the relative error; NaN without rows.
    """

    rows: int
    median: float
    p90: float

    def as_dict(self) -> dict[str, float | int | None]:
        """Return JSON-ready fields; quantiles of no rows are None."""
        return {
            "rows": self.rows,
            "median_relative_error": self.median if self.rows else None,
            "p90_relative_error": self.p90 if self.rows else None,
        }


@dataclass(frozen=True, slots=True)
class RunsReport:
    """Predictions of a table of published runs.

    Parameters
    ----------
    predictions : tuple of RunPrediction
        In file order, low-confidence rows included.
    errors : Errors
        Of the rows that count.
    groups : mapping of str to Errors
        ``"source/..."``, ``"stack/..."``, ``"precision/..."``, ``"kind/..."``.
    unpredicted : mapping of str to str
        Row id to the reason.
    """

    predictions: tuple[RunPrediction, ...]
    errors: Errors
    groups: Mapping[str, Errors]
    unpredicted: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return JSON-ready fields; ``rows`` counts what enters the errors."""
        return {
            **self.errors.as_dict(),
            "groups": {name: errors.as_dict() for name, errors in self.groups.items()},
            "predictions": [
                {
                    "id": p.id,
                    "quantity": "tokens_per_s_per_device",
                    "predicted": p.predicted,
                    "measured": p.measured,
                    "sigma_log": p.sigma_log,
                }
                for p in self.predictions
            ],
            "unpredicted": dict(self.unpredicted),
        }


def predict_runs(
    runs: Iterable[PublishedRun],
    *,
    unknown: Mapping[str, str] | None = None,
    constants: TrainingConstants = SHIPPED,
) -> RunsReport:
    """Compare the formula with published runs.

    Parameters
    ----------
    runs : iterable of PublishedRun
        See `scheduler.io.published_runs.read_published_runs`.
    unknown : mapping of str to str, optional
        Rows that could not be read into runs, and why; refused rows are added.
    constants : TrainingConstants
        Fitted constants.
    """
    unpredicted = dict(unknown or {})
    predictions: list[RunPrediction] = []
    for run in runs:
        found = predict_run(run, constants)
        if isinstance(found, Refusal):
            unpredicted[run.id] = found.reason
            continue
        kind = "moe" if is_moe(run) else "dense"
        predictions.append(
            RunPrediction(
                id=run.id,
                predicted=found.work_per_s / run_count(run) * GOODPUT[run.measured],
                measured=run.tokens_per_s,
                sigma_log=found.sigma_log,
                source=run.source,
                stack=run.accelerator.stack,
                precision=run.precision,
                kind=f"{kind} {run.task}",
                counted=run.confidence != "low" and run.tokens_per_s is not None,
            )
        )
    groups: dict[str, list[RunPrediction]] = {}
    for p in predictions:
        for axis in ("source", "stack", "precision", "kind"):
            groups.setdefault(f"{axis}/{getattr(p, axis)}", []).append(p)
    summary = {name: errors_of(groups[name]) for name in sorted(groups)}
    return RunsReport(tuple(predictions), errors_of(predictions), summary, unpredicted)


def leave_one_source_out(runs: Iterable[PublishedRun]) -> Errors:
    """Return the errors of every run under constants fitted without its whole source.

    What to expect of sources, chips and frameworks nobody has published yet. Takes seconds.
    """
    options = counted_options(runs)
    sources = sources_of(options)
    if len(set(sources.tolist())) < 2:
        return _quantiles([])
    return _quantiles(held_out_errors(options, sources).tolist())


def errors_of(predictions: Iterable[RunPrediction]) -> Errors:
    """Return the errors of the predictions that count."""
    return _quantiles([p.relative_error for p in predictions if p.counted])


def _quantiles(found: list[float]) -> Errors:
    if not found:
        return Errors(0, float("nan"), float("nan"))
    median, p90 = np.quantile(found, (0.5, 0.9))
    return Errors(len(found), float(median), float(p90))


def predict_run(
    run: PublishedRun, constants: TrainingConstants = SHIPPED
) -> TrainingEstimate | Refusal:
    """Estimate one published run with the parallelism it states, else the best.

    Stated degrees that do not fit by our count of memory (another sharding, offloading) are
    dropped from the finest on.
    """
    job, network = run_job(run), usual_network(run.accelerator, run_count(run), run.per_node)
    per_node = run.per_node or run.accelerator.devices_per_node
    found: TrainingEstimate | Refusal = Refusal("")
    for wanted in run_wanted(run):
        found = estimate_job(
            job,
            run.accelerator,
            run_count(run),
            per_node,
            network,
            wanted=wanted,
            constants=constants,
        )
        if isinstance(found, TrainingEstimate):
            return found
    return found


@dataclass(frozen=True, slots=True)
class TypeEstimate:
    """One accelerator type in a table of estimates.

    Parameters
    ----------
    accelerator : str
        Type name.
    count : int
        Accelerators.
    estimate : TrainingEstimate or None
        None: refused.
    work_per_usd : float or None
        Tokens (or samples) per rented dollar, where the rent is known.
    reason : str
        Why it was refused, or ``""``.
    """

    accelerator: str
    count: int
    estimate: TrainingEstimate | None
    work_per_usd: float | None
    reason: str

    def as_dict(self) -> dict[str, object]:
        """Return JSON-ready fields."""
        row: dict[str, object] = {"accelerator": self.accelerator, "count": self.count}
        if self.estimate is None:
            return {**row, "refused": self.reason}
        found = self.estimate
        return {
            **row,
            "work_per_s": found.work_per_s,
            "sigma_log": found.sigma_log,
            "layout": str(found.layout),
            "step_s": {
                "compute": found.step_s.compute,
                "memory": found.step_s.memory,
                "communication": found.step_s.communication,
                "bubble": found.step_s.bubble,
            },
            "memory_bytes": {
                "parameters": found.memory.parameters,
                "gradients": found.memory.gradients,
                "optimizer": found.memory.optimizer,
                "activations": found.memory.activations,
            },
            "power_w": found.power_w,
            "work_per_joule": found.work_per_joule,
            "work_per_usd": self.work_per_usd,
        }


def estimate_all_types(
    model: Model,
    physics: ModelPhysics,
    count: int,
    types: Mapping[str, AcceleratorType] | None = None,
) -> tuple[TypeEstimate, ...]:
    """Estimate a job on `count` accelerators of every type, each with its usual network.

    Parameters
    ----------
    model : Model
        What is trained.
    physics : ModelPhysics
        How.
    count : int
        Accelerators.
    types : mapping of str to AcceleratorType, optional
        Default: the catalogue.

    Returns
    -------
    tuple of TypeEstimate
        By descending rate, refusals last.
    """
    rows: list[TypeEstimate] = []
    for name, accelerator in (accelerators() if types is None else types).items():
        per_node = min(count, accelerator.devices_per_node)
        network = usual_network(accelerator, count)
        found = training_estimate(model, physics, accelerator, count, per_node, network)
        if isinstance(found, Refusal):
            rows.append(TypeEstimate(name, count, None, None, found.reason))
            continue
        rent = accelerator.usd_per_hour
        per_usd = None if rent is None else found.work_per_s * HOUR_S / (rent * count)
        rows.append(TypeEstimate(name, count, found, per_usd, ""))
    rows.sort(key=lambda r: (r.estimate is None, -(r.estimate.work_per_s if r.estimate else 0.0)))
    return tuple(rows)
