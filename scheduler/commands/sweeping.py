"""`fleetfit sweep`: a grid of cells played, resumed, and drawn together."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from scheduler import api, policies
from scheduler.commands.options import Output, one_of
from scheduler.commands.printing import print_json, say
from scheduler.commands.reporting import prepare_page, report_folder
from scheduler.core.errors import Fault, FleetfitError, InputError
from scheduler.core.problem import Problem
from scheduler.core.sweep import InputFile, Scenario, Sweep
from scheduler.execute import (
    BOUNDINGS,
    EXECUTORS,
    Bounding,
    ExecutionError,
    Executor,
    Settings,
)
from scheduler.execute.sweep import Failure, Grid, Group, Place, SweepFolder, SweepResult, run_sweep
from scheduler.execute.sweep.crew import Crew, LocalCrew
from scheduler.io.schema import Names, OpenNames
from scheduler.io.sweep import load_sweep
from scheduler.physics.load import scaled_to_load
from scheduler.report import results_console, words_console
from scheduler.report.sweeps import sweep_object, sweep_progress, sweep_rows, sweep_tables
from scheduler.simulate import ACCOUNTS

EXIT_INTERRUPTED: Final = 130
SHOWN_FAILURES: Final = 20
SHOWN_VIOLATIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Sweeping:
    """What to sweep and where, as written on the command line."""

    file: Path
    folder: Path | None
    resume: bool
    executor: str | None
    address: str | None
    bound: str = "auto"

    @property
    def results(self) -> Path:
        """Folder for results: the one asked for, or one named after the file."""
        return self.folder or Path(f"{self.file.stem}-results")


def sweep(sweeping: Sweeping, output: Output) -> int:
    """Play a sweep file; return 1 if a cell failed or broke a rule, 130 if it was stopped."""
    executor, bound = _choices(sweeping)
    if output.report is not None:
        prepare_page(output.report, "--report")
    spec = read_sweep(sweeping.file)
    groups = _groups(spec, str(sweeping.file), bound)
    grid = Grid(spec.title, groups, spec.policies, spec.seeds)
    folder = SweepFolder(sweeping.results, resume=sweeping.resume)
    entered = False
    try:
        with folder, _tidy_stop() as stopping, sweep_progress(words_console(), grid) as progress:
            entered = True
            found = run_sweep(
                grid,
                folder,
                lambda: _crew(executor, sweeping, groups, spec),
                limits=spec.limits,
                until=spec.until,
                progress=progress,
                stopping=stopping,
            )
    except KeyboardInterrupt:
        _hint(sweeping)
        return EXIT_INTERRUPTED
    except FleetfitError:
        if entered and _kept(sweeping):
            _hint(sweeping)
        raise
    if not found.complete:
        _hint(sweeping)
        return EXIT_INTERRUPTED
    _show(grid, found, output)
    if output.report is not None:
        report_folder(sweeping.results, output.report)
    _say_what_was_done(grid, found, sweeping)
    broken = _say_violations(grid, found)
    _say_failures(grid, found.failures)
    return 1 if found.failures or broken else 0


def read_sweep(file: Path) -> Sweep:
    """Return the sweep in a file; the files that it names are not opened."""
    known: dict[str, Sequence[str] | Names] = {
        "policies": OpenNames(policies.names(), policies.known, policies.nearest),
        "information": policies.INFORMATION_LEVELS,
        "account": ACCOUNTS,
    }
    return load_sweep(file, known)


def _choices(sweeping: Sweeping) -> tuple[Executor, Bounding]:
    """Return the options in checked form, or every fault among them at once."""
    faults: list[Fault] = []
    executor = one_of(sweeping.executor or "ray", EXECUTORS, "--executor", faults)
    if sweeping.address and executor != "ray":
        faults.append(Fault(f"goes with --executor ray, not {executor}", "--address"))
    bound = one_of(sweeping.bound, BOUNDINGS, "--bound", faults)
    if faults:
        raise InputError(faults)
    return executor, bound


def _crew(executor: Executor, sweeping: Sweeping, groups: Sequence[Group], spec: Sweep) -> Crew:
    """Return workers; where nobody asked for Ray and it does not start, do without."""
    from scheduler.execute import on_ray
    from scheduler.execute.sweep.process_crew import ProcessCrew
    from scheduler.execute.sweep.ray_crew import RayCrew

    if executor == "local":
        return LocalCrew(groups, spec.limits)
    if executor == "processes":
        return ProcessCrew(groups, spec.limits)
    if not on_ray.is_available():
        say("Ray is not installed here: running on processes of this machine")
        return ProcessCrew(groups, spec.limits)
    try:
        return RayCrew(groups, spec.limits, address=sweeping.address)
    except ExecutionError as error:
        if sweeping.executor or sweeping.address:
            raise
        say(f"{error}: running on processes of this machine")
        return ProcessCrew(groups, spec.limits)


def _groups(spec: Sweep, file: str, bound: Bounding) -> list[Group]:
    """Return the groups of the sweep; every fault of every file it names at once."""
    faults: dict[Fault, None] = {}
    groups = []
    for cluster in spec.clusters:
        for workload in spec.workloads:
            try:
                problem = _problem(cluster, workload)
            except InputError as error:
                faults.update(dict.fromkeys(error.faults))
                continue
            for position, scenario in enumerate(spec.scenarios):
                try:
                    varied = _varied(problem, scenario)
                except InputError as error:
                    at = f"scenarios[{position}].load"
                    moved = [replace(f, file=file, path=at) for f in error.faults]
                    faults.update(dict.fromkeys(moved))
                    continue
                labels = (cluster.label, workload.label, scenario.name)
                groups.append(Group(*labels, varied, _settings(scenario, bound)))
    if faults:
        raise InputError(faults)
    return groups


def _problem(cluster: InputFile, workload: InputFile) -> Problem:
    return api.load(
        cluster.path,
        workload.path,
        format=workload.format,
        select=workload.select or None,
        since=workload.since,
        until=workload.until,
        profile=workload.profile,
        reference=workload.reference,
    )


def _settings(scenario: Scenario, bound: Bounding) -> Settings:
    return Settings(
        information=next(i for i in policies.INFORMATION_LEVELS if i == scenario.information),
        noise_sigma=scenario.noise_sigma,
        horizon_s=scenario.horizon_s,
        account=next(a for a in ACCOUNTS if a == scenario.account),
        bound=bound,
    )


def _varied(problem: Problem, scenario: Scenario) -> Problem:
    if scenario.load is not None:
        problem = scaled_to_load(problem, scenario.load)
    if scenario.failures is not None:
        cluster = replace(problem.cluster, failures=scenario.failures)
        problem = replace(problem, cluster=cluster)
    return problem


@contextmanager
def _tidy_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C once: start nothing more, and let what runs finish. Twice: at once."""
    pressed: list[int] = []

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)
        with suppress(RuntimeError):  # the signal may come amid another line being printed
            say("stopping when the running cells have finished; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _hint(sweeping: Sweeping) -> None:
    words = ["fleetfit", "sweep", str(sweeping.file), "-o", str(sweeping.results), "--resume"]
    if sweeping.executor:
        words += ["--executor", sweeping.executor]
    if sweeping.address:
        words += ["--address", sweeping.address]
    if sweeping.bound != "auto":  # cells of another bound are other cells
        words += ["--bound", sweeping.bound]
    say(f"{_kept(sweeping)} finished cells are kept; to go on: {shlex.join(words)}")


def _kept(sweeping: Sweeping) -> int:
    return sum(1 for _ in (sweeping.results / "cells").glob("*.json"))


def _show(grid: Grid, found: SweepResult, output: Output) -> None:
    if output.json:
        print_json(sweep_object(grid, found))
        return
    console = results_console()
    for title, table in sweep_tables(sweep_rows(grid, found)):
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        console.print(table)


def _say_what_was_done(grid: Grid, found: SweepResult, sweeping: Sweeping) -> None:
    cells = len(found.results)
    reused = f" ({found.reused} by an earlier sweep)" if found.reused else ""
    early = sum(needed < len(grid.seeds) for needed in found.needed)
    stopped = f"; {early} of {len(grid.groups)} groups needed fewer seeds" if early else ""
    say(f"{cells} cells done{reused}{stopped}; results in {sweeping.results}")


def _say_violations(grid: Grid, found: SweepResult) -> bool:
    lines = [
        f"{_name(grid, place)}: {v.code}: {v.message}"
        for place, result in found.results.items()
        for v in result.violations
    ]
    _say_some(lines, SHOWN_VIOLATIONS, "violations")
    return bool(lines)


def _say_failures(grid: Grid, failures: Sequence[Failure]) -> None:
    tries = {f: "once" if f.attempts == 1 else f"{f.attempts} times" for f in failures}
    lines = [f"failed: {_name(grid, f.place)}: {f.message} (tried {tries[f]})" for f in failures]
    _say_some(lines, SHOWN_FAILURES, "failed cells")


def _name(grid: Grid, place: Place) -> str:
    group, cell = grid.groups[place.group], grid.tasks[place].cell
    where = f"{group.cluster}, {group.workload}, {group.scenario}"
    return f"{where}, {cell.policy}, seed {cell.seed}"


def _say_some(lines: Sequence[str], most: int, what: str) -> None:
    for line in lines[:most]:
        say(line)
    if len(lines) > most:
        say(f"... and {len(lines) - most} more {what}")
