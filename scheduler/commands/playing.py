"""`fleetfit run`, `compare` and `demo`: policies played, checked and shown."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape

from scheduler import __version__
from scheduler.commands.options import (
    Choices,
    Inputs,
    Output,
    Replaying,
    checked,
    load_problem,
)
from scheduler.commands.printing import print_json, say
from scheduler.commands.reporting import command_of, prepare_page, report_results
from scheduler.commands.snapshots import Course, Saving, course_of
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.execute import ExecutionError, Executor, ReplayResult, fingerprint, replay
from scheduler.physics.load import offered_load
from scheduler.report import (
    Summary,
    Waterfall,
    compare_object,
    duration,
    inputs_line,
    ledger_table,
    metric_tables,
    policy_tables,
    replay_progress,
    replays_line,
    results_console,
    run_object,
    slug,
    summarise,
    type_table,
    verdict_lines,
    violations_line,
    words_console,
)
from scheduler.report.queue_plot import queue_plot
from scheduler.report.sentences import prediction_lines
from scheduler.simulate.quota import most_served_per_s

SHOWN_VIOLATIONS: Final = 20
DEMO_TOPOLOGY: Final = "demo-mixed"
DEMO_WORKLOAD: Final = "demo-day"
DEFAULT_POLICY: Final = "optimizer"
DEMO_POLICIES: Final = ("fifo", "easy_backfill", "srtf", "optimizer")


def run(
    inputs: Inputs, policy: str | None, replaying: Replaying, output: Output, saving: Saving
) -> int:
    """Play one policy, see `play`; save the run on the way or go on with a saved one."""
    if not saving.asked:
        return play(inputs, [policy or DEFAULT_POLICY], replaying, output, option="--policy")
    course = course_of(saving, policy, DEFAULT_POLICY, replaying)
    words = [course.policy]
    return play(inputs, words, course.replaying, output, option="--policy", course=course)


def play(
    inputs: Inputs,
    policies: Sequence[str],
    replaying: Replaying,
    output: Output,
    *,
    option: str,
    many: bool = False,
    course: Course | None = None,
) -> int:
    """Play policies and show the outcome; return 1 if the verifier objects, else 0.

    Parameters
    ----------
    inputs, policies, replaying, output
        What was asked for.
    option : str
        Name of the option that `policies` came from, for messages.
    many : bool
        Whether the JSON is that of a comparison.
    course : Course, optional
        The one replay, where it is saved on its way or goes on with a saved one.
    """
    choices = checked(policies, replaying, output, option)
    if output.path is not None:
        _prepare(output.path)
    if output.report is not None:
        prepare_page(output.report, "--report")
    problem = load_problem(inputs)
    _explain_rejections(problem)
    _explain_quotas(problem)
    keep_runs = output.path is not None or output.report is not None or output.plot
    made_from = _made_from(inputs, problem, replaying)
    if course is not None:
        results = [course.play(problem, choices, made_from, keep_run=keep_runs)]
    else:
        results = _replay(problem, choices, replaying, keep_runs)
    played = len(results) // len(choices.policies)
    if played < replaying.replays:
        say(f"{played} of {replaying.replays} replays were enough")
    if output.path is not None:
        _save(results, output.path, made_from)
    summaries = summarise(results)
    if output.report is not None:
        command = command_of(inputs, policies, replaying)
        if course is not None and course.forks:
            command += f" --resume {shlex.quote(str(course.source))}"
        report_results(problem, results, summaries, made_from, command, output.report)
    if output.json:
        print_json(
            compare_object(summaries, made_from) if many else run_object(summaries[0], made_from)
        )
    else:
        _show(problem, summaries, replaying, results, output)
    missed = course is not None and course.missed
    return max(_complain_of_violations(summaries), int(missed))


def demo(replaying: Replaying, output: Output) -> int:
    """Play the demo: four policies on a small mixed fleet."""
    return play(
        Inputs(DEMO_TOPOLOGY, DEMO_WORKLOAD),
        DEMO_POLICIES,
        replaying,
        output,
        option="--policies",
        many=True,
    )


def _replay(
    problem: Problem, choices: Choices, replaying: Replaying, keep_runs: bool
) -> list[ReplayResult]:
    """Play all cells; where nobody asked for Ray and it does not start, do without."""
    try:
        return _replay_on(choices.executor, problem, choices, replaying, keep_runs)
    except ExecutionError as error:
        if choices.executor != "ray" or replaying.executor or replaying.address:
            raise
        say(f"{error}: running the replays in this process")
        return _replay_on("local", problem, choices, replaying, keep_runs)


def _replay_on(
    executor: Executor,
    problem: Problem,
    choices: Choices,
    replaying: Replaying,
    keep_runs: bool,
) -> list[ReplayResult]:
    with replay_progress(words_console(), executor) as progress:
        return replay(
            problem,
            choices.policies,
            range(replaying.seed, replaying.seed + replaying.replays),
            executor=executor,
            address=replaying.address,
            information=choices.information,
            noise_sigma=replaying.noise_sigma,
            horizon_s=choices.horizon_s,
            account=choices.account,
            bound=choices.bound,
            keep_runs=keep_runs,
            progress=progress,
            until=replaying.until,
        )


def _made_from(inputs: Inputs, problem: Problem, replaying: Replaying) -> dict[str, Any]:
    """Return what a result was made from: no times, no paths, so that it compares."""
    load = offered_load(problem)
    return {
        "fleetfit": __version__,
        "topology": problem.cluster.name,
        "workload": problem.workload.name,
        "problem": fingerprint(problem),
        "offered_load": load if math.isfinite(load) else None,
        "noise_sigma": replaying.noise_sigma,
        "jobs": len(problem.workload.jobs),
    } | ({} if inputs.load is None else {"load": inputs.load})


def _save(results: Sequence[ReplayResult], path: Path, made_from: dict[str, Any]) -> None:
    """Write each run to a file that `fleetfit verify` reads."""
    from scheduler.io import write_run

    for result in results:
        assert result.run is not None
        name = f"{slug(result.cell.policy)}-{result.cell.seed}.json"
        write_run(result.run, path if _is_one_file(path) else path / name, made_from)
    count = len(results)
    say(f"saved {count} run{'' if count == 1 else 's'} in {path}")


def _prepare(path: Path) -> None:
    """Make the folder for the runs, before the work rather than after it."""
    folder = path.parent if _is_one_file(path) else path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made: {error.strerror}"
        raise InputError([Fault(message, "--output", value=str(folder))]) from None


def _is_one_file(path: Path) -> bool:
    return path.suffix == ".json"


def _explain_rejections(problem: Problem) -> None:
    """Say on standard error which jobs can never run here, and why."""
    counts = np.bincount(problem.workload.jobs.class_index, minlength=len(problem.modes))
    for index, modes in enumerate(problem.modes):
        if modes or not counts[index]:
            continue
        name = problem.workload.classes[index].name
        reasons: dict[str, list[str]] = {}
        for kind in problem.types:
            if (key := f"{name}/{kind}") in problem.refusals:
                reasons.setdefault(problem.refusals[key], []).append(kind)
        text = "; ".join(f"{', '.join(kinds)}: {why}" for why, kinds in reasons.items())
        say(f"{counts[index]} jobs of class {name} can never run here ({text})")


def _explain_quotas(problem: Problem) -> None:
    """Say on standard error which services their tenants' quotas keep from serving their peak."""
    for index, service in enumerate(problem.workload.services):
        peak, most = float(service.demand_per_s.max()), most_served_per_s(problem, index)
        if most < peak * (1 - 1e-9):
            say(
                f"service {service.name} can serve at most {most:.4g} of its peak of {peak:.4g} "
                f"requests/s: more is beyond the quota of its tenant {service.tenant}"
            )


def _show(
    problem: Problem,
    summaries: Sequence[Summary],
    replaying: Replaying,
    results: Sequence[ReplayResult],
    output: Output,
) -> None:
    """Print the tables and the answer."""
    console = results_console()
    _print_lines(
        console,
        inputs_line(problem, offered_load(problem)),
        replays_line(summaries, replaying.noise_sigma),
    )
    width = console.width
    period = duration(summaries[0].horizon_s)
    for title, tables in (
        ("Policies", policy_tables(summaries, width)),
        (f"Accelerator-time by cause, first {period}", [ledger_table(summaries, width)]),
        ("Idle time by accelerator type, and its largest cause", [type_table(summaries, width)]),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        for table in tables:
            console.print(table)
    if output.metrics:
        for title, table in metric_tables(summaries):
            console.print(f"\n[bold]{escape(title)}[/bold]")
            console.print(table)
    if output.plot:
        for summary in summaries:
            console.print(Waterfall(summary))
        for result in results:
            if result.run is not None and result.cell.seed == replaying.seed:
                console.print(queue_plot(problem, result.run))
    runs = [result.run for result in results if result.run is not None]
    _print_lines(
        console, *verdict_lines(summaries), *prediction_lines(runs), violations_line(summaries)
    )


def _print_lines(console: Console, *lines: str) -> None:
    """Print sentences: folded for a terminal, one to a line where piped."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _complain_of_violations(summaries: Sequence[Summary]) -> int:
    """Return 1, having said why, if the verifier objects to any replay."""
    found = [line for summary in summaries for line in summary.violations]
    for line in found[:SHOWN_VIOLATIONS]:
        say(line)
    if len(found) > SHOWN_VIOLATIONS:
        say(f"... and {len(found) - SHOWN_VIOLATIONS} more violations")
    return 1 if found else 0
