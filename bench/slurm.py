"""A real Slurm's recorded runs, replayed by our Slurm-like policy under the recorded settings.

Peer: slurmctld 22.05 with sched/backfill on 12 nodes of fake accelerators. Where in their
intervals its two scheduling loops stood is not recorded, and a fraction of a second decides
which of two jobs goes first, after which the runs differ for good. So the run is replayed
with the loops at many phases, drawn from a seed; ours is the mean, and the spread is printed.
Instants are cut to whole seconds of Slurm's clock, as it records them; by what fraction of a
second that clock is ahead of the jobs' file, the recorded submissions tell.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.random import stream
from scheduler.core.run import Run
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
    " time_limit_min, partition) and completed.csv (job_id, state, start_s, end_s) of a run of"
    " one's own Slurm, named by --run"
)
MINUTE_S: Final = 60

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
    for folder in folders:
        if not folder.is_dir():
            raise InputError([Fault("no such folder", str(folder), allowed=FETCH)])
        cases += _cases(folder, arguments.phases, arguments.seed)
    return {"bench": "slurm", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    heads = f"{'ours':>9}{'spread':>16}{'Slurm':>9}{'off':>9}{'s':>7}"
    yield f"{'recorded run':<14}{'metric':<34}{heads}"
    for case in result["cases"]:
        spread = f"{case['low']:.1f} .. {case['high']:.1f}"
        peer = f"{case['peer']:.1f}" if case["peer"] is not None else "-"
        off = f"{100 * (case['ratio'] - 1):+.1f} %" if case["ratio"] else "-"
        yield (
            f"{case['case']:<14}{case['metric']:<34}{case['ours']:>9.1f}{spread:>16}{peer:>9}"
            f"{off:>9}{case['seconds']:>7.2f}"
            + (f"  {case['violations']} violations" if case["violations"] else "")
        )
    yield "ours: mean over the phases of the loops; spread: least and most of them"


def _cases(folder: Path, phases: int, seed: int) -> list[dict[str, Any]]:
    """Return the rows of one recorded run."""
    record = read_record(folder)
    problem, settings = problem_of(record)
    asked = [nodes for _, nodes, _ in _shapes(record)]
    draws = stream(seed, "phases").random((phases, 3))
    completing_s = record.site.settings.completing_s
    ahead_s = clock_ahead_s(record)
    recorded = _figures(record, _recorded_holds(record), _last_starts(record))
    figures: list[dict[str, float]] = []
    violations = 0
    start = time.perf_counter()
    busy = _busy(_recorded_holds(record), record)
    curves: list[np.ndarray] = []
    for main, backfill, clock in draws.tolist():
        policy = Slurm(settings, main, backfill, clock, asked)
        played = simulate(problem, policy, information="estimates")
        violations += len(verify_run(problem, played))
        holds = [
            (math.floor(a.start_us / US_PER_S + ahead_s),
             math.floor(a.end_us / US_PER_S - completing_s + ahead_s), sum(a.placement.counts))
            for a in played.allocations
        ]  # fmt: skip
        of_phase = _figures(record, holds, _starts(problem, played, ahead_s))
        curves.append(_busy(holds, record))
        of_phase["percent_in_the_second_of_an_end"] = _same_second(holds)
        of_phase["busy_points_apart_by_minute"] = _points_apart(curves[-1:], busy)
        of_phase["preemptions"] = float(len(policy.requeued))
        figures.append(of_phase)
    seconds = (time.perf_counter() - start) / phases
    recorded["percent_in_the_second_of_an_end"] = _same_second(_recorded_holds(record))
    recorded["preemptions"] = float(sum(r.state == "PREEMPTED" for r in record.rows))
    found = {name: [f[name] for f in figures] for name in figures[0]}
    found["busy_points_apart_by_minute, mean curve"] = [_points_apart(curves, busy)]
    return [
        _case(folder.name, name, values, recorded.get(name), seconds, violations)
        for name, values in found.items()
    ]


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


def problem_of(record: SlurmRecord) -> tuple[Problem, SlurmSettings]:
    """Return the recorded run as a problem: one class per shape, one mode of just that shape.

    Nodes are numbered leaf by leaf; the partitions of the settings follow.
    """
    site = record.site
    kinds = {n.accelerator for n in site.nodes}
    types = {
        kind: AcceleratorType(kind, "", "", 0.0, 0.0, {}, 0.0, 0.0, 0.0) for kind in sorted(kinds)
    }
    order = [n for leaf in site.leaves for n in leaf]
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
        for i, leaf in enumerate(site.leaves)
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
        np.array([j.run_s + held for j in jobs]),
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
    last: dict[str, float] = {}
    for row in record.rows:
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


def _starts(problem: Problem, played: Run, ahead_s: float) -> dict[str, float]:
    ids = problem.workload.jobs.ids
    last: dict[str, float] = {}
    for a in played.allocations:
        name = ids[a.job]
        start_s = float(math.floor(a.start_us / US_PER_S + ahead_s))
        last[name] = max(start_s, last.get(name, 0.0))
    return last


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
