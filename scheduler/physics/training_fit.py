"""Fits the constants of the training-rate formula to published runs, with cross-validation.

Least squares on log(predicted / measured) with a soft-L1 loss, layouts chosen by the
constants in turn; plain Levenberg-Marquardt, as there are few constants and few runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.io.published_runs import PublishedRun
from scheduler.physics.gang_rates import fitting_layouts, places_of
from scheduler.physics.network import usual_network
from scheduler.physics.parallelism import FloatArray
from scheduler.physics.run_description import run_count, run_job, run_wanted
from scheduler.physics.step_communication import communication_s
from scheduler.physics.step_time import StepTerms, step_seconds, step_terms
from scheduler.physics.training_constants import STACKS, TrainingConstants

SCALE: Final = 0.03
"""Log errors from which a row pulls linearly rather than quadratically (soft L1)."""

RIDGE: Final = 0.1
"""Pull of each constant's logarithm towards `START`, in units of `SCALE`."""

START: Final = TrainingConstants(
    **dict.fromkeys(STACKS, 0.6),
    flops_per_byte=1500.0,
    attention_cost=1.0,
    traffic_passes=200.0,
    small_step_exponent=0.1,
    small_step_exponent_moe=0.2,
    dispatch_s=3e-3,
    overlap_norm=2.0,
)
"""Round guesses: fits must not start from what the same runs have taught."""

START_GOODPUT: Final = (0.9, 0.9)

LAYOUT_ROUNDS: Final = 3
"""Layouts are chosen by the constants and the constants fitted to the layouts, in turns."""

GOODPUT_NAMES: Final = ("with evaluation", "device-hours")


@dataclass(frozen=True, slots=True)
class Options:
    """The layouts one run may have had, with the terms of each and its communication."""

    run: PublishedRun
    terms: StepTerms
    communication_s: FloatArray


def counted_options(runs: Iterable[PublishedRun]) -> tuple[Options, ...]:
    """Return the options of the runs that teach: measured, not of low confidence, of known stacks.

    A run that fits no layout is left out.
    """
    found = (
        _options_of(run)
        for run in runs
        if run.confidence != "low" and run.tokens_per_s and run.accelerator.stack in STACKS
    )
    return tuple(options for options in found if options is not None)


def _options_of(run: PublishedRun) -> Options | None:
    job, count, kind = run_job(run), run_count(run), run.accelerator
    network = usual_network(kind, count, run.per_node)
    place = places_of([(kind, run.per_node or kind.devices_per_node, network)])
    for wanted in run_wanted(run):
        layouts = fitting_layouts(job, count, place, wanted)
        if len(layouts):
            return Options(
                run,
                step_terms(job, [kind], count, layouts),
                communication_s(job.model, layouts, network, job.unit, lora=job.lora),
            )
    return None


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs as columns: the terms of one layout each, and what they are compared with."""

    terms: StepTerms
    communication_s: FloatArray
    stack: NDArray[np.int64]
    units: FloatArray
    goodput: NDArray[np.int64]
    log_measured: FloatArray


def rows_of(options: Sequence[Options], constants: TrainingConstants) -> Rows:
    """Return every run with the layout that is best by `constants`."""
    runs = [o.run for o in options]
    columns: dict[str, list[float]] = {f.name: [] for f in fields(StepTerms)}
    communication: list[float] = []
    for option in options:
        terms, waiting = option.terms, option.communication_s
        efficiency = constants.efficiency(option.run.accelerator.stack)
        best = int(np.argmin(step_seconds(terms, waiting, efficiency, constants).total))
        communication.append(float(waiting[best]))
        for name, values in columns.items():
            column = np.ravel(getattr(terms, name))
            values.append(float(column[best if len(column) > 1 else 0]))
    jobs = [run_job(r) for r in runs]
    units = [j.global_batch * j.unit / run_count(r) for j, r in zip(jobs, runs, strict=True)]
    kinds = ("steady", *GOODPUT_NAMES)
    return Rows(
        StepTerms(**{name: np.array(values) for name, values in columns.items()}),
        np.array(communication),
        np.array([STACKS.index(r.accelerator.stack) for r in runs], dtype=np.int64),
        np.array(units),
        np.array([kinds.index(r.measured) for r in runs], dtype=np.int64),
        np.log([r.tokens_per_s or np.nan for r in runs]),
    )


def pack(constants: TrainingConstants, goodput: Sequence[float]) -> FloatArray:
    """Return all parameters as logarithms: the constants, then `GOODPUT_NAMES`."""
    result: FloatArray = np.log([*asdict(constants).values(), *goodput])
    return result


def unpack(theta: FloatArray) -> tuple[TrainingConstants, FloatArray]:
    """Return what `pack` packed."""
    names = [f.name for f in fields(TrainingConstants)]
    values = np.exp(theta)
    constants = TrainingConstants(**dict(zip(names, values[: len(names)].tolist(), strict=True)))
    return constants, values[len(names) :]


def log_predicted(theta: FloatArray, rows: Rows) -> FloatArray:
    """Return the logarithm of tokens per second and accelerator."""
    constants, goodput = unpack(theta)
    efficiency = np.array([constants.efficiency(s) for s in STACKS])[rows.stack]
    share = np.concatenate([[1.0], goodput])[rows.goodput]
    seconds = step_seconds(rows.terms, rows.communication_s, efficiency, constants).total
    result: FloatArray = np.log(rows.units * share / seconds)
    return result


def fit(options: Sequence[Options]) -> FloatArray:
    """Return the parameters that fit best, from `START`, layouts chosen along the way."""
    theta = start = pack(START, START_GOODPUT)
    for _ in range(LAYOUT_ROUNDS):
        rows = rows_of(options, unpack(theta)[0])
        theta = minimise(partial(log_errors, rows=rows), theta, start)
    return theta


def log_errors(theta: FloatArray, rows: Rows) -> FloatArray:
    """Return log(predicted / measured)."""
    return log_predicted(theta, rows) - rows.log_measured


def minimise(
    residual: Callable[[FloatArray], FloatArray], start: FloatArray, centre: FloatArray
) -> FloatArray:
    """Return argmin of soft-L1 loss plus ridge by reweighted Levenberg-Marquardt."""

    def loss(theta: FloatArray) -> float:
        scaled = residual(theta) / SCALE
        ridge = RIDGE * float(np.sum(((theta - centre) / SCALE) ** 2))
        return float(np.sum(2 * (np.sqrt(1 + scaled**2) - 1))) + ridge

    theta, damping, current = start.copy(), 1e-2, loss(start)
    for _ in range(60):
        base = residual(theta) / SCALE
        step = 1e-5
        slopes = np.column_stack(
            [(residual(theta + step * unit) / SCALE - base) / step for unit in np.eye(len(theta))]
        )
        weight = 1 / np.sqrt(1 + base**2)
        ridge = np.full(len(theta), RIDGE / SCALE**2)
        normal = slopes.T @ (weight[:, None] * slopes) + np.diag(ridge)
        gradient = slopes.T @ (weight * base) + ridge * (theta - centre)
        for _ in range(12):
            move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            tried = loss(theta + move)
            if tried < current:
                break
            damping *= 4
        else:
            return theta
        theta, gain, current = theta + move, current - tried, tried
        damping = max(damping / 4, 1e-8)
        if gain < 1e-6 * current:
            return theta
    return theta


def relative_errors(theta: FloatArray, options: Sequence[Options]) -> FloatArray:
    """Return |predicted / measured - 1| of each run."""
    rows = rows_of(options, unpack(theta)[0])
    result: FloatArray = np.abs(np.expm1(log_errors(theta, rows)))
    return result


def sources_of(options: Sequence[Options]) -> NDArray[np.int64]:
    """Return the number of each run's source: a fold per source."""
    return np.unique([o.run.source for o in options], return_inverse=True)[1].astype(np.int64)


def folds_of(options: Sequence[Options], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a random fold per run, dealt evenly over source, accelerator and task."""
    runs = [o.run for o in options]
    order = sorted(
        rng.permutation(len(runs)).tolist(),
        key=lambda i: (runs[i].source, runs[i].accelerator.name, runs[i].task),
    )
    fold = np.empty(len(runs), dtype=np.int64)
    fold[order] = (np.arange(len(runs)) + rng.integers(folds)) % folds
    return fold


def held_out_errors(options: Sequence[Options], fold: NDArray[np.int64]) -> FloatArray:
    """Return the error of each run under constants fitted without its fold."""
    errors = np.empty(len(options))
    for k in np.unique(fold).tolist():
        inside = [o for o, f in zip(options, fold.tolist(), strict=True) if f != k]
        outside = np.flatnonzero(fold == k)
        errors[outside] = relative_errors(fit(inside), [options[i] for i in outside.tolist()])
    return errors
