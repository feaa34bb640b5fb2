"""`fleetfit report` and `--report`: results as one page."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scheduler import __version__
from scheduler.commands.options import Inputs, Replaying, load_problem
from scheduler.commands.printing import say
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute import ReplayResult, bounds_of, fingerprint
from scheduler.execute.cell import Cell
from scheduler.physics.load import offered_load
from scheduler.policies import INFORMATION_LEVELS
from scheduler.report import Summary, summarise
from scheduler.report.summary import refuse_unequal_information
from scheduler.report.words import number
from scheduler.simulate.snapshot import THEN
from scheduler.verify import verify_run

if TYPE_CHECKING:
    from scheduler.report.page import Contents

USAGE: Final = "fleetfit report [TOPOLOGY WORKLOAD] RESULT... -o page.html"
LIBRARIES: Final = ("numpy", "networkx", "ortools", "ray")
BROKEN: Final = ("run", "unknown_", "placement", "interval", "number")
"""Codes of violations that leave nothing to draw."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """What to draw and where, as written on the command line."""

    words: Sequence[str]
    path: Path


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as its file says it.

    Parameters
    ----------
    file : str
        Where it lies.
    run : Run
        What happened.
    made_from : mapping
        Names and hashes of its inputs, empty where the file says none.
    digest : str
        SHA-256 of the file.
    """

    file: str
    run: Run
    made_from: Mapping[str, Any]
    digest: str


def report(reporting: Reporting, inputs: Inputs) -> int:
    """Write a page of saved results; return 1 if the verifier objects to one of them.

    Parameters
    ----------
    reporting : Reporting
        Results, after a topology and a workload where the results do not say theirs.
    inputs : Inputs
        How to read the workload; its names come from `reporting`.
    """
    from scheduler.report.page import write_page

    prepare_page(reporting.path, "--output")
    contents, broken = page_of(reporting.words, inputs)
    write_page(contents, reporting.path)
    say(f"wrote {reporting.path}")
    return 1 if broken else 0


def page_of(words: Sequence[str], inputs: Inputs) -> tuple[Contents, bool]:
    """Return the page of saved results, and whether the verifier objects to one of them."""
    names, results = _split(words)
    sweeps = [path for path in results if (path / "grid.json").is_file()]
    if sweeps:
        if names or len(results) > 1:
            message = "the folder of a sweep is a page of its own"
            raise InputError([Fault(message, str(sweeps[0]), allowed=USAGE)])
        return _sweep_page(sweeps[0])
    saved = _read_runs(results)
    problem = problem_of(names, inputs, [(s.file, s.made_from) for s in saved])
    summaries, broken = _summaries(problem, saved)
    shown: dict[str, SavedRun] = {}
    for entry in saved:
        shown.setdefault(entry.run.policy, entry)
    first = saved[0]
    words_of = names or [problem.cluster.name, problem.workload.name]
    facts = _facts(problem, first.made_from) | {
        f"Run {e.run.policy}, seed {e.run.seed}": f"SHA-256 {e.digest}" for e in shown.values()
    }
    policies = list(shown)
    seeds = sorted({e.run.seed for e in saved})
    command = command_of(
        replace(
            inputs,
            topology=words_of[0],
            workload=words_of[1],
            load=inputs.load if inputs.load is not None else first.made_from.get("load"),
        ),
        policies,
        Replaying(
            len(seeds),
            seeds[0],
            float(first.made_from.get("noise_sigma") or 0.0),
            first.run.information,
            None,
            "run" if first.run.ledger_end_us == first.run.horizon_us else "arrivals",
            None,
            None,
        ),
    )
    if any(THEN in policy for policy in policies):  # from a snapshot that its run does not name
        command = shlex.join(["fleetfit", "report", *words])
    runs = [entry.run for entry in shown.values()]
    return _contents(problem, summaries, runs, command, facts), broken


def report_results(
    problem: Problem,
    results: Sequence[ReplayResult],
    summaries: Sequence[Summary],
    made_from: Mapping[str, Any],
    command: str,
    path: Path,
    more: Mapping[str, str] | None = None,
) -> None:
    """Write the page of what was just played: the first replay of each policy in detail.

    `more` are facts that the section on proof says beside its own.
    """
    from scheduler.report.page import write_page

    first: dict[str, Run] = {}
    for result in results:
        if result.run is not None:
            first.setdefault(result.cell.policy, result.run)
    facts = _facts(problem, made_from) | dict(more or {})
    write_page(_contents(problem, summaries, [*first.values()], command, facts), path)
    say(f"wrote {path}")


def report_folder(folder: Path, path: Path) -> None:
    """Write the page of a sweep's folder."""
    from scheduler.report.page import write_page

    write_page(_sweep_page(folder)[0], path)
    say(f"wrote {path}")


def prepare_page(path: Path, option: str) -> None:
    """Make the folder of a page, before the work rather than after it."""
    if path.is_dir():
        raise InputError([Fault("is a folder, not a file", option, value=str(path))])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made: {error.strerror}"
        raise InputError([Fault(message, option, value=str(path.parent))]) from None


def command_of(inputs: Inputs, policies: Sequence[str], replaying: Replaying) -> str:
    """Return the command that gives these figures again, without what does not change them."""
    several = len(policies) > 1
    words = ["fleetfit", "compare" if several else "run", inputs.topology, inputs.workload]
    words += ["--policies" if several else "--policy", ",".join(policies)]
    options: list[tuple[str, object, object]] = [
        ("--replays", replaying.replays, 1),
        ("--seed", replaying.seed, 0),
        ("--noise", replaying.noise_sigma, 0.1 if replaying.replays > 1 else 0.0),
        ("--information", replaying.information, "exact"),
        ("--horizon", replaying.horizon, None),
        ("--account", replaying.account, "run"),
        ("--bound", replaying.bound, "auto"),
        ("--load", inputs.load, None),
        ("--format", inputs.format, None),
        ("--since", inputs.since, None),
        ("--until", inputs.until, None),
        ("--profile", inputs.profile, None),
        ("--reference", inputs.reference, None),
    ]
    for name, value, usual in options:
        if value not in (usual, None):
            words += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    for pair in inputs.select:
        words += ["--select", pair]
    return shlex.join(words)


def problem_of(
    names: Sequence[str], inputs: Inputs, saved: Sequence[tuple[str, Mapping[str, Any]]]
) -> Problem:
    """Return the problem that saved runs were made from.

    Parameters
    ----------
    names : sequence of str
        Topology and workload, or nothing where the files name them.
    inputs : Inputs
        How to read the workload.
    saved : sequence of (file, mapping)
        What each file says it was made from.

    Raises
    ------
    InputError
        The inputs are others than those of a run: its nodes would be other nodes.
    """
    where = None
    file, made_from = saved[0]
    if not names:
        names = [str(made_from.get(part, "")) for part in ("topology", "workload")]
        if not all(names):
            raise InputError([Fault("does not say what it was made from", file, allowed=USAGE)])
        where = Fault("says what it was made from, but not where that lies", file, allowed=USAGE)
    load = made_from.get("load") if inputs.load is None else inputs.load
    try:
        problem = load_problem(
            replace(
                inputs,
                topology=names[0],
                workload=names[1],
                load=float(load) if isinstance(load, (int, float)) else None,
            )
        )
    except InputError as error:
        raise InputError([*error.faults, where] if where else error.faults) from None
    digest = fingerprint(problem)
    others = [f for f, found in saved if found.get("problem") not in (None, digest)]
    if others:
        message = f"was made from other inputs than {names[0]} and {names[1]}"
        allowed = "its topology and workload, and the same --load, --select, ..."
        raise InputError([Fault(message, other, allowed=allowed) for other in others])
    return problem


def _split(words: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the names of inputs that come first, and the results."""
    results = [i for i, word in enumerate(words) if _is_result(Path(word))]
    first = results[0] if results else len(words)
    if not results or first not in (0, 2) or len(results) != len(words) - first:
        missing = [w for i, w in enumerate(words) if i not in results and i not in (0, 1)]
        message = "takes results, after a topology and a workload where they do not say theirs"
        if missing or not results:
            message = f"no such result; {message}"
        value = missing[0] if missing else " ".join(words)
        raise InputError([Fault(message, "report", value=value, allowed=USAGE)])
    return list(words[:first]), [Path(word) for word in words[first:]]


def _is_result(path: Path) -> bool:
    return path.is_dir() or (path.suffix == ".json" and path.is_file())


def _read_runs(paths: Iterable[Path]) -> list[SavedRun]:
    """Return every run, by policy in order of appearance, then by seed; every fault at once."""
    from scheduler.io import read_json, run_from_json

    faults: list[Fault] = []
    saved: list[SavedRun] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            faults.append(Fault("holds no runs", str(path), allowed="a folder that -o has made"))
        for file in files:
            try:
                data = read_json(file)
                run = run_from_json(data, str(file))
            except InputError as error:
                faults += error.faults
                continue
            made_from = data.get("inputs") if isinstance(data, dict) else None
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            entry = SavedRun(
                str(file), run, made_from if isinstance(made_from, dict) else {}, digest
            )
            saved.append(entry)
    if faults:
        raise InputError(faults)
    order = _policy_order(dict.fromkeys(s.run.policy for s in saved))
    return sorted(saved, key=lambda s: (order.index(s.run.policy), s.run.seed))


def _policy_order(policies: Iterable[str]) -> list[str]:
    """Return policies with the simplest first: the others are set against it."""
    found = list(policies)
    return sorted(found, key=lambda name: (name != "fifo", found.index(name)))


def _summaries(problem: Problem, saved: Sequence[SavedRun]) -> tuple[list[Summary], bool]:
    results = []
    for entry in saved:
        run = entry.run
        violations = verify_run(problem, run)
        bad = [v for v in violations if v.code.startswith(BROKEN)]
        if bad:
            message = f"is no run of these inputs: {bad[0].code}: {bad[0].message}"
            raise InputError([Fault(message, entry.file)])
        results.append(
            ReplayResult(
                Cell(run.policy, run.seed),
                next((i for i in INFORMATION_LEVELS if i == run.information), "exact"),
                run.ledger_end_us,
                run.horizon_us,
                metrics_of(problem, run),
                run.ledger,
                bounds_of(problem, run, "auto"),
                tuple(violations),
            )
        )
    refuse_unequal_information(results)
    _refuse_unequal_noise(saved)
    seeds: dict[str, list[int]] = {}
    for result in results:
        seeds.setdefault(result.cell.policy, []).append(result.cell.seed)
    broken = any(r.violations for r in results)
    if len({tuple(s) for s in seeds.values()}) == 1:
        return summarise(results), broken
    alone = [summarise([r for r in results if r.cell.policy == p])[0] for p in seeds]
    return alone, broken


def _refuse_unequal_noise(saved: Sequence[SavedRun]) -> None:
    """Raise `InputError` if the runs say that they were played with different noise."""
    said = {
        (e.run.policy, e.made_from["noise_sigma"]) for e in saved if "noise_sigma" in e.made_from
    }
    if len({noise for _, noise in said}) > 1:
        told = ", ".join(f"{policy}: {noise}" for policy, noise in sorted(said, key=str))
        message = "runs of different noise do not compare"
        raise InputError([Fault(message, "noise_sigma", value=told, allowed="one level of noise")])


def _contents(
    problem: Problem,
    summaries: Sequence[Summary],
    runs: Sequence[Run],
    command: str,
    facts: Mapping[str, str],
) -> Contents:
    from scheduler.report.page import Group, Origin, contents_of

    return contents_of(
        [Group("", summaries)],
        Origin(command, facts),
        title=f"{problem.workload.name} on {problem.cluster.name}",
        problem=problem,
        runs=runs,
    )


def _facts(problem: Problem, made_from: Mapping[str, Any]) -> dict[str, str]:
    load = offered_load(problem)
    facts = {
        "Fleet": f"{problem.cluster.name}: {problem.cluster.title}",
        "Workload": f"{problem.workload.name}: {problem.workload.title}",
        "Hash of the inputs": fingerprint(problem),
        "Offered load": number(load),
        "Noise on run times": f"{float(made_from.get('noise_sigma') or 0.0):g}",
    }
    return facts | _versions(str(made_from.get("fleetfit", __version__)))


def _versions(played_by: str) -> dict[str, str]:
    found = [f"fleetfit {played_by}", f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return {"Versions": ", ".join(found)}


def _sweep_page(folder: Path) -> tuple[Contents, bool]:
    """Return the page of a sweep's folder, from its cells alone."""
    from scheduler.io import read_json
    from scheduler.io.cells import CellRecord, cell_from_text
    from scheduler.report.page import Group, Origin, contents_of

    grid = read_json(folder / "grid.json")
    records: dict[str, CellRecord] = {}
    faults: list[Fault] = []
    for file in sorted((folder / "cells").glob("*.json")):
        try:
            record = cell_from_text(file.read_text(encoding="utf-8"), str(file))
        except InputError as error:
            faults += error.faults
            continue
        records[record.key] = record
    cells = grid.get("cells") if isinstance(grid, dict) else None
    if not isinstance(cells, list) or not records:
        faults.append(Fault("holds no finished cells", str(folder), allowed=USAGE))
    if faults:
        raise InputError(faults)
    by_group: dict[tuple[str, str, str], list[ReplayResult]] = {}
    for cell in cells or []:
        record_of = records.get(str(cell.get("key")))
        if record_of is None:
            continue
        name = (str(cell["cluster"]), str(cell["workload"]), str(cell["scenario"]))
        by_group.setdefault(name, []).append(_of_cell(cell, record_of))
    groups = []
    for name, results in by_group.items():
        played: dict[str, dict[int, ReplayResult]] = {}
        for result in results:
            played.setdefault(result.cell.policy, {})[result.cell.seed] = result
        shared = set.intersection(*(set(of_policy) for of_policy in played.values()))
        kept = [r for r in results if r.cell.seed in shared] if shared else []
        summaries = (
            summarise([r for p in played for r in kept if r.cell.policy == p])
            if kept
            else [summarise([*of_policy.values()])[0] for of_policy in played.values()]
        )
        groups.append(Group(", ".join(name), summaries))
    facts = {
        "Folder": str(folder),
        "Cells": f"{len(records)} finished of {len(cells or [])}",
    } | _versions(str(grid.get("fleetfit", __version__)))
    origin = Origin(shlex.join(["fleetfit", "report", str(folder)]), facts)
    broken = any(r.violations for rs in by_group.values() for r in rs)
    return contents_of(groups, origin, title=str(grid.get("title") or folder.name)), broken


def _of_cell(cell: Mapping[str, Any], record: Any) -> ReplayResult:
    information = record.inputs.get("information")
    return ReplayResult(
        Cell(str(cell["policy"]), int(cell["seed"])),
        next((i for i in INFORMATION_LEVELS if i == information), "exact"),
        record.horizon_us,
        record.end_us,
        record.metrics,
        record.ledger,
        record.bounds,
        record.violations,
    )
