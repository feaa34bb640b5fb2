"""A real Slurm's recorded runs, replayed by our Slurm-like policy under the recorded settings.

Peer: slurmctld 22.05 with sched/backfill on 12 nodes of fake accelerators. Where in their
intervals its two scheduling loops stood is not recorded, and milliseconds decide which of two
jobs goes first, after which the runs differ for good. So the run is replayed with the loops at
many phases, drawn from a seed; ours is the mean, and beside it stand the spread and how far off
one of these replays is from the rest of them: about so far off the real one would be even if
the model were perfect. Told the phase, from the log of a slurmctld of our own, the policy
started 149 of 150 jobs in the same pass on the same nodes (docs/policies.md).
Instants are cut to whole seconds of Slurm's clock, as it records them; by what fraction of a
second that clock is ahead of the jobs' file, the recorded submissions tell.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.random import stream
from scheduler.core.slurm import SlurmSettings
from scheduler.core.units import US_PER_S
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.io.slurm import SlurmRecord, read_record
from scheduler.physics.problem import build_problem
from scheduler.policies.slurm import Slurm
from scheduler.simulate import simulate
from scheduler.verify import verify_run

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "peers" / "slurm"
FETCH: Final = (
    "a folder with slurm.conf, jobs.csv (job_id, submit_s, nodes, gres_type, gpus_per_node, run_s,"
    " time_limit_min, partition) and completed.csv (job_id, state, start_s, end_s), or in its place"
    " sacct.txt (printed by sacct -D -P), of a run of one's own Slurm, named by --run"
)
MINUTE_S: Final = 60
BUSY: Final = "busy_points_apart_by_minute"
BUSY_MEAN: Final = "busy_points_apart_by_minute, mean curve"
CLOCK_S: Final = 30
"""Slurm aligns its first look ahead to half minutes of the clock."""

OVERTIME_S: Final = 15.0
"""Limits are looked at every 30 s, so a job runs half as long past its own on average."""

TICK_LAG_S: Final = (0.001, 0.0025)
BACKFILL_LAG_S: Final = (0.001, 0.002)
"""How late the controller's two loops come each time: least and most in logs of our own."""

Hold = tuple[float, float, int]
"""Start and end in seconds, accelerators."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument(
        "--run", type=Path, action="append", metavar="FOLDER", help="recorded run; repeatable"
    )
    parser.add_argument("--phases", type=int, default=64, help="replays, each at other phases")
    parser.add_argument("--seed", type=int, default=0, help="of the phases")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Replay every recorded run."""
    folders = arguments.run or sorted(p for p in SHARED.glob("*") if p.is_dir())
    if not folders:
        raise InputError(
            [Fault("no recorded runs; make or fetch them", str(SHARED), allowed=FETCH)]
        )
    if arguments.phases < 1:
        raise InputError([Fault("out of range", "--phases", "", str(arguments.phases), "1 and up")])
    cases: list[dict[str, Any]] = []
    not_played: dict[str, list[str]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError([Fault("no such folder", str(folder), allowed=FETCH)])
        record = read_record(folder)
        not_played[folder.name] = list(record.site.not_played)
        cases += _cases(folder.name, record, arguments.phases, arguments.seed)
    machine = machine_facts()
    return {"bench": "slurm", "cases": cases, "not_played": not_played, "machine": machine}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    heads = (
        f"{'ours':>8}{'spread':>17}{'Slurm':>8}{'off':>9}{'one of ours':>13}{'as far':>8}{'s':>7}"
    )
    yield f"{'recorded run':<14}{'metric':<41}{heads}"
    for case in result["cases"]:
        spread = f"{case['low']:.1f} .. {case['high']:.1f}"
        peer = f"{case['peer']:.1f}" if case["peer"] is not None else "-"
        off = f"{100 * (case['ratio'] - 1):+.1f} %" if case["ratio"] else "-"
        own, far = case["one_of_ours"], case["as_far"]
        unit = "" if case["peer"] is None else " %"
        alike = "-" if own is None else f"{own:.1f}{unit}"
        yield (
            f"{case['case']:<14}{case['metric']:<41}{case['ours']:>8.1f}{spread:>17}{peer:>8}"
            f"{off:>9}{alike:>13}{'-' if far is None else f'{100 * far:.0f} %':>8}"
            f"{case['seconds']:>7.2f}"
            + (f"  {case['violations']} violations" if case["violations"] else "")
        )
    for folder, settings in result["not_played"].items():
        if settings:
            yield f"{folder}: our policy does not play {', '.join(settings)}"
    yield "ours: mean over the phases of the loops; spread: least and most of them"
    yield (
        "one of ours: how far off, on average, one of our own replays is from the rest of them;"
        " who does not know the phase gets no closer on average."
        " as far: share of our replays that are as far off as Slurm"
    )


@dataclass(frozen=True, slots=True)
class Phase:
    """The accidents of one replay: where the loops stood, and how long each start took.

    Parameters
    ----------
    main, backfill : float
        In [0, 1), of the interval of each loop.
    second : int
        In [0, 30), of Slurm's clock when the run begins.
    tick_lag_s, backfill_lag_s : float
        How late each loop comes each time.
    launch_s : array of shape (jobs,)
        From each job's start until its own run time begins.
    """

    main: float
    backfill: float
    second: int
    tick_lag_s: float
    backfill_lag_s: float
    launch_s: np.ndarray


@dataclass(frozen=True, slots=True)
class Replay:
    """What one replay gave, in whole seconds of Slurm's clock."""

    holds: tuple[Hold, ...]
    last_start: Mapping[str, float]
    preemptions: int
    violations: int


def phases_of(record: SlurmRecord, count: int, seed: int) -> list[Phase]:
    """Return phases drawn from a seed."""
    draws = stream(seed, "phases")
    mean_s = launch_s(record)
    found = []
    for _ in range(count):
        main, backfill, clock = draws.random(3).tolist()
        # at least half of the mean in every launch of a log of our own, and a tail
        launches = mean_s * (0.5 + draws.exponential(0.5, len(record.jobs)))
        lags = (float(draws.uniform(*TICK_LAG_S)), float(draws.uniform(*BACKFILL_LAG_S)))
        found.append(Phase(main, backfill, int(clock * CLOCK_S), *lags, launches))
    return found


def replay(record: SlurmRecord, phase: Phase) -> Replay:
    """Play a recorded run's jobs by our policy under the recorded settings."""
    problem, settings = problem_of(record, phase.launch_s)
    settings = replace(settings, tick_lag_s=phase.tick_lag_s, backfill_lag_s=phase.backfill_lag_s)
    asked = [nodes for _, nodes, _ in _shapes(record)]
    ahead_s = clock_ahead_s(record)
    clock = (phase.second + ahead_s) / CLOCK_S
    policy = Slurm(settings, phase.main, phase.backfill, clock, asked)
    played = simulate(problem, policy, information="estimates")
    ids = problem.workload.jobs.ids
    holds: list[Hold] = []
    last: dict[str, float] = {}
    for a in played.allocations:
        start_s = float(math.floor(a.start_us / US_PER_S + ahead_s))
        left_s = 0.0 if a.lost_work else settings.completing_s
        end_s = float(math.floor(a.end_us / US_PER_S - left_s + ahead_s))
        holds.append((start_s, end_s, sum(a.placement.counts)))
        last[ids[a.job]] = max(start_s, last.get(ids[a.job], 0.0))
    violations = len(verify_run(problem, played))
    return Replay(tuple(holds), last, len(policy.requeued), violations)


def _cases(folder: str, record: SlurmRecord, phases: int, seed: int) -> list[dict[str, Any]]:
    """Return the rows of one recorded run."""
    started = _last_starts(record)
    recorded = _figures(record, _recorded_holds(record), started)
    start = time.perf_counter()
    replays = [replay(record, phase) for phase in phases_of(record, phases, seed)]
    seconds = (time.perf_counter() - start) / phases
    busy = _busy(_recorded_holds(record), record)
    curves = [_busy(r.holds, record) for r in replays]
    figures = [
        _figures(record, r.holds, {job: r.last_start[job] for job in started}) for r in replays
    ]
    for figure, curve, played in zip(figures, curves, replays, strict=True):
        figure["percent_in_the_second_of_an_end"] = _same_second(played.holds)
        figure[BUSY] = _points_apart([curve], busy)
        figure["preemptions"] = float(played.preemptions)
    recorded["percent_in_the_second_of_an_end"] = _same_second(_recorded_holds(record))
    recorded["preemptions"] = float(sum(r.state == "PREEMPTED" for r in record.rows))
    found = {name: [f[name] for f in figures] for name in figures[0]}
    violations = sum(r.violations for r in replays)
    alike = {
        name: _alike_in_figure(values, recorded[name])
        for name, values in found.items()
        if name in recorded
    }
    pairs = [[_points_apart([a], b) for b in curves] for a in curves]
    alike[BUSY] = _alike(
        [sum(row) / max(1, phases - 1) for row in pairs], statistics.fmean(found[BUSY])
    )
    found[BUSY_MEAN] = [_points_apart(curves, busy)]
    rests = [curves[:i] + curves[i + 1 :] for i in range(phases)]
    alike[BUSY_MEAN] = _alike(
        [_points_apart(rest or [own], own) for rest, own in zip(rests, curves, strict=True)],
        found[BUSY_MEAN][0],
    )
    return [
        _case(folder, name, values, recorded.get(name), seconds, violations)
        | {"one_of_ours": alike[name][0], "as_far": alike[name][1]}
        for name, values in found.items()
    ]


Alike = tuple[float | None, float | None]
"""How far off one of our replays is from the rest; the share of them as far off as Slurm."""


def _alike(off: Sequence[float], recorded_off: float) -> Alike:
    """Return both from how far off each of our replays is from the rest."""
    if len(off) < 2:
        return None, None
    return statistics.fmean(off), sum(own >= recorded_off for own in off) / len(off)


def _alike_in_figure(values: Sequence[float], recorded: float) -> Alike:
    """Return both for a figure, the former in % of it."""
    mean, rest = statistics.fmean(values), max(1, len(values) - 1)
    own, share = _alike([abs(v - mean) * len(values) / rest for v in values], abs(recorded - mean))
    return (None if own is None or not mean else 100 * own / mean), share


def _points_apart(curves: Sequence[np.ndarray], recorded: np.ndarray) -> float:
    """Return how far the mean of busy shares is from the recorded ones, in points a minute."""
    length = max(len(recorded), *(len(curve) for curve in curves))
    ours = sum(np.pad(curve, (0, length - len(curve))) for curve in curves) / len(curves)
    apart = ours - np.pad(recorded, (0, length - len(recorded)))
    return float(np.abs(apart).mean()) * 100


def _case(
    folder: str,
    name: str,
    values: Sequence[float],
    peer: float | None,
    seconds: float,
    violations: int,
) -> dict[str, Any]:
    ours = statistics.fmean(values)
    return {
        "case": folder,
        "metric": name,
        "ours": ours,
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "peer": peer,
        "peer_name": "slurmctld, recorded" if peer is not None else None,
        "ratio": ours / peer if peer else None,
        "bound": None,
        "gap": None,
        "seconds": seconds,
        "peer_seconds": peer if name == "makespan_s" else None,
        "information": "time limits",
        "violations": violations,
        "phases": len(values),
    }


def problem_of(
    record: SlurmRecord, launches_s: np.ndarray | None = None
) -> tuple[Problem, SlurmSettings]:
    """Return the recorded run as a problem: one class per shape, one mode of just that shape.

    Nodes are numbered leaf by leaf, and by name in each, as Slurm numbers them; the partitions
    of the settings follow.
    """
    site = record.site
    if launches_s is None:
        launches_s = np.zeros(len(record.jobs))
    kinds = {n.accelerator for n in site.nodes}
    types = {
        kind: AcceleratorType(kind, "", "", 0.0, 0.0, {}, 0.0, 0.0, 0.0) for kind in sorted(kinds)
    }
    leaves = [sorted(leaf, key=lambda n: site.nodes[n].name) for leaf in site.leaves]
    order = [n for leaf in leaves for n in leaf]
    pods = tuple(
        Pod(
            f"leaf{i}",
            "site",
            tuple(
                Node(site.nodes[n].name, site.nodes[n].accelerator, site.nodes[n].count, 1e9, 1e9)
                for n in leaf
            ),
            Fabric("tree"),
            uplink_bytes_per_s=1e9,
        )
        for i, leaf in enumerate(leaves)
    )
    cluster = Cluster("slurm", "a recorded Slurm site", types, pods, (Site("site"),))
    shapes = _shapes(record)
    at = {shape: i for i, shape in enumerate(shapes)}
    classes = tuple(
        JobClass(
            f"{kind} {nodes} x {per_node}",
            RunTimePhysics(),
            (nodes * per_node,),
            accelerators=(kind,),
            restart_s=0.0,
            checkpoint_s=math.inf,
            saves_state=False,
        )
        for kind, nodes, per_node in shapes
    )
    jobs = record.jobs
    partitions = tuple(p.name for p in site.settings.partitions)
    held = site.settings.completing_s
    columns = Jobs(
        tuple(j.job_id for j in jobs),
        np.array([at[j.accelerator, j.nodes, j.per_node] for j in jobs], dtype=np.int64),
        np.array([j.submit_s for j in jobs]),
        np.array([min(j.run_s, j.limit_s + OVERTIME_S) + held for j in jobs]) + launches_s,
        np.array([j.limit_s for j in jobs]),
        np.ones(len(jobs)),
        np.full(len(jobs), np.nan),
        np.array([partitions.index(j.partition) for j in jobs], dtype=np.int64),
    )
    by_release = np.argsort(columns.release_s, kind="stable")
    workload = Workload("slurm", "", classes, columns.take(by_release), tenants=partitions)
    problem = build_problem(cluster, workload)
    problem = replace(problem, modes=tuple(_modes(problem, *shape) for shape in shapes))
    place = {n: i for i, n in enumerate(order)}
    renumbered = tuple(
        replace(p, nodes=tuple(sorted(place[n] for n in p.nodes))) for p in site.settings.partitions
    )
    return problem, replace(site.settings, partitions=renumbered)


def _shapes(record: SlurmRecord) -> list[tuple[str, int, int]]:
    """Return accelerator type, nodes and accelerators per node of each job class."""
    return sorted({(j.accelerator, j.nodes, j.per_node) for j in record.jobs})


def _modes(problem: Problem, kind: str, nodes: int, per_node: int) -> tuple[Mode, ...]:
    """Return the shape at every level that may hold it, innermost first."""
    group = Group(problem.types.index(kind), nodes * per_node, per_node)
    levels = range(1 if nodes > 1 else 0, len(problem.levels) if nodes > 1 else 1)
    return tuple(Mode((group,), level, 1.0, 1.0, 0.0) for level in levels)


def _recorded_holds(record: SlurmRecord) -> list[Hold]:
    shape = {j.job_id: j.nodes * j.per_node for j in record.jobs}
    return [(r.start_s, r.end_s, shape[r.job_id]) for r in record.rows]


def _last_starts(record: SlurmRecord) -> dict[str, float]:
    """Return the start that counted of each job that got to its end."""
    last: dict[str, float] = {}
    for row in record.rows:
        if row.state not in ("PREEMPTED", "REQUEUED"):
            last[row.job_id] = max(row.start_s, last.get(row.job_id, 0.0))
    return last


def clock_ahead_s(record: SlurmRecord) -> float:
    """Return by what fraction of a second Slurm's clock is ahead of the times of submission.

    A submission at ``s`` is recorded in second ``floor(s + ahead)``, which leaves little room
    for `ahead` where there are many; half a second where no submission was recorded.
    """
    submitted = {job.job_id: job.submit_s for job in record.jobs}
    seen: dict[str, float] = {}
    for row in record.rows:
        if not math.isnan(row.submit_s):  # a requeued job is submitted again: the first counts
            seen[row.job_id] = min(row.submit_s, seen.get(row.job_id, math.inf))
    if not seen:
        return 0.5
    least = max(second - submitted[job] for job, second in seen.items())
    most = min(second + 1 - submitted[job] for job, second in seen.items())
    return (least + most) / 2


def launch_s(record: SlurmRecord) -> float:
    """Return what runs took beyond the time asked of them, on average.

    Whole seconds tell it all the same: so long a rest makes that share of the recorded runs a
    second longer.
    """
    asked = {job.job_id: job.run_s for job in record.jobs}
    over = [r.end_s - r.start_s - asked[r.job_id] for r in record.rows if r.state == "COMPLETED"]
    return max(0.0, statistics.fmean(over)) if over else 0.0


def _figures(
    record: SlurmRecord, holds: Sequence[Hold], last_start: Mapping[str, float]
) -> dict[str, float]:
    """Return queueing to the start that counted, and the end of the last job."""
    queued = [last_start[j.job_id] - j.submit_s for j in record.jobs if j.job_id in last_start]
    return {
        "mean_queueing_s": statistics.fmean(queued),
        "makespan_s": float(math.floor(max(end for _, end, _ in holds))),
    }


def _same_second(holds: Sequence[Hold]) -> float:
    """Return of the starts within a second of an end how many % fall into the second itself.

    This is what the time that a job takes to leave its nodes was read from.
    """
    starts = {int(start) for start, _, _ in holds}
    ends = {int(end) for _, end, _ in holds}
    same = sum(end in starts for end in ends)
    next_ = sum(end not in starts and end + 1 in starts for end in ends)
    return 100 * same / max(1, same + next_)


def _busy(holds: Sequence[Hold], record: SlurmRecord) -> np.ndarray:
    """Return the busy share of all accelerators by minute."""
    minutes = np.zeros(int(max(end for _, end, _ in holds) // MINUTE_S) + 1)
    total = sum(node.count for node in record.site.nodes)
    for start, end, count in holds:
        for minute in range(int(start // MINUTE_S), int(end // MINUTE_S) + 1):
            inside = min(end, (minute + 1) * MINUTE_S) - max(start, minute * MINUTE_S)
            minutes[minute] += max(0.0, inside) * count / (MINUTE_S * total)
    return minutes
