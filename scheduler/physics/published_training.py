"""Predicts published training runs, to show how far the formula can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from scheduler.io.published_runs import PublishedRun
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.predictions import Errors, Prediction, Report, quantiles, report_of
from scheduler.physics.run_description import is_moe, run_count, run_job, run_wanted
from scheduler.physics.training import TrainingEstimate, estimate_job
from scheduler.physics.training_constants import GOODPUT, SHIPPED, TrainingConstants
from scheduler.physics.training_fit import counted_options, held_out_errors, sources_of


def predict_runs(
    runs: Iterable[PublishedRun],
    *,
    unknown: Mapping[str, str] | None = None,
    constants: TrainingConstants = SHIPPED,
) -> Report:
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
    predictions: list[Prediction] = []
    for run in runs:
        found, fits = predict_run(run, constants), True
        if isinstance(found, Refusal):
            refused = found
            found, fits = predict_run(_with_room(run), constants), False
        if isinstance(found, Refusal):
            unpredicted[run.id] = refused.reason
            continue
        kind = "moe" if is_moe(run) else "dense"
        predictions.append(
            Prediction(
                id=run.id,
                quantity="tokens_per_s_per_device",
                predicted=found.work_per_s / run_count(run) * GOODPUT[run.measured],
                measured=run.tokens_per_s,
                sigma_log=found.sigma_log,
                groups=(
                    f"source/{run.source}",
                    f"stack/{run.accelerator.stack}",
                    f"precision/{run.precision}",
                    f"kind/{kind} {run.task}",
                ),
                counted=run.confidence != "low" and run.tokens_per_s is not None,
                fits=fits,
            )
        )
    return report_of(predictions, unpredicted)


LEANER: Final = 1.6
"""What a measured run may need beyond our count of memory: 8-bit optimizer states take 10 bytes
a weight instead of 16 (Dettmers et al., arXiv:2110.02861); others are offloaded to the host."""


def _with_room(run: PublishedRun) -> PublishedRun:
    memory_bytes = run.accelerator.memory_bytes * LEANER
    return replace(run, accelerator=replace(run.accelerator, memory_bytes=memory_bytes))


def leave_one_source_out(runs: Iterable[PublishedRun]) -> Errors:
    """Return the errors of every run under constants fitted without its whole source.

    What to expect of sources, chips and frameworks nobody has published yet. Takes seconds.
    """
    options = counted_options(runs)
    sources = sources_of(options)
    if len(set(sources.tolist())) < 2:
        return quantiles([])
    return quantiles(held_out_errors(options, sources).tolist())


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
