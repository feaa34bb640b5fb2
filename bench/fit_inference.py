"""Refits the inference constants from published runs and cross-validates them.

Usage: python bench/fit_inference.py [TABLE.csv] [--each]

Errors are reported on the table given; the figures gathered in published_inference.csv
beside this file take part in the fit at half weight (without a table they are all there is).
Prints the shipped constants beside the refitted ones with their support, then the errors of
the shipped constants, of k-fold cross-validation, and with one accelerator left out at a
time. Deterministic; needs numpy only.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.io.published_inference import PublishedInference, read_published_inference
from scheduler.physics.inference_constants import SHIPPED, SUPPORT, InferenceConstants
from scheduler.physics.network import Refusal
from scheduler.physics.predictions import Prediction, errors_of
from scheduler.physics.published_serving import predict_run

PRIORS: dict[str, tuple[float, float]] = {
    "compute_efficiency": (0.62, 0.15),
    "low_precision_exponent": (0.63, 0.2),
    "bandwidth_efficiency": (0.80, 0.1),
    "widening_efficiency": (0.80, 0.25),
    "layer_gap_s": (40e-6, 0.4),
    "prefill_layer_s": (100e-6, 0.5),
    "collective_call_s": (10e-6, 0.4),
    "eager_layer_s": (550e-6, 0.4),
    "eager_newer_host": (0.66, 0.3),
    "eager_sequence_s": (200e-6, 0.5),
    "eager_batch_exponent": (0.2, 0.5),
    "first_token_s": (20e-3, 0.5),
    "first_token_steps": (2.0, 0.5),
}
"""Centre and standard deviation of the logarithm of each constant before any data: general
experience with GEMM and stream kernels, so that thinly supported constants stay plausible."""

NOISE_LOG = 0.12
"""Scatter of one measured figure; beyond it a residual counts linearly (soft L1)."""

FOLDS = 5
GATHERED = Path(__file__).with_name("published_inference.csv")
FURTHER_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """A run and its weight in the fit."""

    run: PublishedInference
    weight: float


def log_ratios(run: PublishedInference, constants: InferenceConstants) -> list[float]:
    """Return log(predicted / measured) of each figure of a run."""
    found = predict_run(run, constants)
    if isinstance(found, Refusal):
        raise SystemExit(f"{run.id}: {found.reason}")
    return [math.log(p.predicted / p.measured) for p in found]


def fit(samples: Sequence[Sample], rounds: int = 12) -> InferenceConstants:
    """Return the maximum a posteriori constants, by Gauss-Newton on their logarithms."""
    names = list(PRIORS)
    centre = np.array([math.log(PRIORS[n][0]) for n in names])
    spread = np.array([PRIORS[n][1] for n in names])
    theta = centre.copy()

    def residuals(at: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = replace(SHIPPED, **dict(zip(names, np.exp(at).tolist(), strict=True)))
        return np.array([r for s in samples for r in log_ratios(s.run, constants)]) / NOISE_LOG

    weights = np.array([s.weight for s in samples for _ in log_ratios(s.run, SHIPPED)])

    def cost(at: NDArray[np.float64]) -> float:
        data = weights @ (2 * (np.sqrt(1 + residuals(at) ** 2) - 1))
        return float(data + np.sum(((at - centre) / spread) ** 2))

    damping = 1e-3
    current = cost(theta)
    for _ in range(rounds):
        base = residuals(theta)
        step = 1e-4
        jacobian = np.stack(
            [(residuals(theta + step * unit) - base) / step for unit in np.eye(len(names))], axis=1
        )
        robust = weights / np.sqrt(1 + base**2)
        gradient = jacobian.T @ (robust * base) + (theta - centre) / spread**2
        hessian = (jacobian.T * robust) @ jacobian + np.diag(1 / spread**2)
        for _ in range(8):
            move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            if (trial := cost(theta - move)) < current:
                theta, current, damping = theta - move, trial, damping / 3
                break
            damping *= 5
        else:
            break
    return replace(SHIPPED, **dict(zip(names, np.exp(theta).tolist(), strict=True)))


def support(runs: Sequence[PublishedInference]) -> dict[str, int]:
    """Return how many figures move by more than 2 % when a constant moves by 20 %."""
    counts = {}
    for name in PRIORS:
        moved = replace(SHIPPED, **{name: getattr(SHIPPED, name) * 1.2})
        counts[name] = sum(
            abs(a - b) > 0.02
            for run in runs
            for a, b in zip(log_ratios(run, SHIPPED), log_ratios(run, moved), strict=True)
        )
    return counts


def held_out(
    runs: Sequence[PublishedInference], further: Sequence[Sample], parts: Sequence[int | str]
) -> list[Prediction]:
    """Predict each part of the runs with constants fitted without it.

    A part named like an accelerator leaves that accelerator out of the further runs too.
    """
    predictions: list[Prediction] = []
    for left in dict.fromkeys(parts):
        kept = [Sample(r, 1.0) for r, part in zip(runs, parts, strict=True) if part != left]
        constants = fit([*kept, *(s for s in further if s.run.accelerator.name != left)])
        missing = [r for r, part in zip(runs, parts, strict=True) if part == left]
        predictions += predict_all(missing, constants)
    return predictions


def kind_of(prediction: Prediction) -> str:
    """Return what is measured, and how."""
    return next(g for g in prediction.groups if g.startswith("kind/")).removeprefix("kind/")


def report(title: str, predictions: Sequence[Prediction]) -> None:
    """Print median and 90th percentile of the relative error, in all and by group."""
    print(f"\n{title}")
    for group in ("", *sorted({kind_of(p) for p in predictions})):
        chosen = [p for p in predictions if group in ("", kind_of(p))]
        errors = errors_of(chosen)
        logs = [math.log(p.predicted / p.measured) for p in chosen]
        print(
            f"  {group or 'all':22s} {len(chosen):4d} figures"
            f"  median {errors.median:.3f}  p90 {errors.p90:.3f}"
            f"  mean log {np.mean(logs):+.3f}  rms log {np.sqrt(np.mean(np.square(logs))):.3f}"
        )


def predict_all(
    runs: Sequence[PublishedInference], constants: InferenceConstants
) -> list[Prediction]:
    """Predict every run."""
    return [p for r in runs if not isinstance(f := predict_run(r, constants), Refusal) for p in f]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, compare and cross-validate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("table", nargs="?", type=Path, help="CSV of published runs")
    parser.add_argument("--each", action="store_true", help="print every figure")
    options = parser.parse_args(arguments)
    paths = [GATHERED] if options.table is None else [options.table, GATHERED]
    tables = [read_published_inference(path) for path in paths]
    for table in tables:
        for row, reason in table.unknown.items():
            print(f"left out: {row}: {reason}")
    runs = tables[0].runs
    further = [Sample(run, FURTHER_WEIGHT) for table in tables[1:] for run in table.runs]
    fitted = fit([*(Sample(run, 1.0) for run in runs), *further])
    counts = support([*runs, *(s.run for s in further)])
    print(f"{'constant':24s} {'shipped':>10s} {'refitted':>10s} {'support':>8s} {'stated':>7s}")
    for field in fields(InferenceConstants):
        name = field.name
        shipped, new = getattr(SHIPPED, name), getattr(fitted, name)
        print(f"{name:24s} {shipped:10.4g} {new:10.4g} {counts[name]:8d} {SUPPORT[name]:7d}")
    report("shipped constants", predict_all(runs, SHIPPED))
    report("refitted constants", predict_all(runs, fitted))
    if further:
        report(
            "refitted constants, gathered figures", predict_all([s.run for s in further], fitted)
        )
        alone = fit([Sample(s.run, 1.0) for s in further])
        report("constants fitted on the gathered figures only", predict_all(runs, alone))
    folds = [i % FOLDS for i in range(len(runs))]
    report(f"{FOLDS}-fold cross-validation", held_out(runs, further, folds))
    names = [run.accelerator.name for run in runs]
    report("one accelerator left out at a time", held_out(runs, further, names))
    if options.each:
        for p in predict_all([*runs, *(s.run for s in further)], fitted):
            print(
                f"{p.id:8s} {kind_of(p):20s} {p.predicted:9.2f} {p.measured:9.2f} "
                f"{p.predicted / p.measured - 1:+.2f}"
            )


if __name__ == "__main__":
    main()
