"""Gavel's traces and throughputs (OSDI 2020): its policies played again, then the optimizer.

Usage: python -m bench gavel [--trace FILE]... [--throughputs J] [--cluster 12:12:12] [--json]

Its policies are played as its simulator does: rounds of six minutes, free preemption, gangs
that may stand anywhere on a type at the rates of the consolidated table. They are set beside
runs of Gavel's own code where `--recorded` knows the trace and the cluster. The optimizer pays
`--restart` seconds for every start; it is set beside the best of Gavel's policies, recorded or
else as played here, which pay nothing. Every run is verified, and every figure comes with a
bound that no schedule can better.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.bounds import lower_bounds
from scheduler.core.cluster import Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import Metrics, metrics_of
from scheduler.core.problem import Problem
from scheduler.io import load_trace
from scheduler.io.catalogue import accelerators
from scheduler.physics.problem import build_problem
from scheduler.policies.rounds import TypeModes, times_on_types
from scheduler.simulate import simulate
from scheduler.solver.job_values import KnownJobs, completion_bound
from scheduler.solver.strips import makespan_program
from scheduler.verify import verify_run

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "peers"
SOURCE: Final = (
    "https://github.com/stanford-futuredata/gavel (scheduler/simulation_throughputs.json)"
)
TYPES: Final = ("V100-16GB-SXM", "P100-16GB-SXM", "K80")
USD_PER_HOUR: Final = {"V100-16GB-SXM": 2.48, "P100-16GB-SXM": 1.46, "K80": 0.45}
"""On demand in Google's cloud when Gavel was written, as its paper prices them."""

PEERS: Final = {
    "gavel_max_min_perf": "max_min_fairness_perf",
    "gavel_finish_time_perf": "finish_time_fairness_perf",
    "gavel_makespan_perf": "min_total_duration_perf",
    "gavel_makespan": "min_total_duration",
    "gavel_throughput_perf": "max_sum_throughput_perf",
}
"""Our name of a policy to Gavel's."""

PLAYED: Final = ("gavel_max_min_perf", "gavel_makespan_perf", "gavel_throughput_perf")
"""What is played where nothing is recorded."""

OURS: Final = ("optimizer", "optimizer_jct", "optimizer_makespan")
HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Least:
    """What no schedule can better, in hours."""

    mean_jct_h: float
    makespan_h: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    folder = SHARED / "gavel"
    parser.add_argument("--trace", type=Path, action="append", help="repeatable; a .trace file")
    parser.add_argument("--throughputs", type=Path, default=folder / "simulation_throughputs.json")
    parser.add_argument("--cluster", default="12:12:12", help="V100:P100:K80")
    parser.add_argument("--recorded", type=Path, default=SHARED / "results-training.json")
    parser.add_argument("--policies", help="Gavel's to play, joined by commas; 'none': no one")
    parser.add_argument("--restart", type=float, default=60.0, help="seconds, for the optimizer")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play Gavel's policies and the optimizer on every trace."""
    folder = SHARED / "gavel"
    traces = arguments.trace or sorted(folder.glob("gavel_static_multi_*.trace"))
    counts = cluster_counts(arguments.cluster)
    faults = [
        Fault("no such file; fetch it", str(path), allowed=SOURCE)
        for path in [*traces, arguments.throughputs]
        if not path.exists()
    ]
    if not traces:
        faults.append(Fault("no traces; name some", "--trace", allowed=SOURCE))
    if not 0 <= arguments.restart <= 1e6:
        faults.append(Fault("out of range", "--restart", "", str(arguments.restart), "0 to 1e6"))
    if faults:
        raise InputError(faults)
    cases = []
    for trace in traces:
        recorded = recorded_runs(arguments.recorded, trace.name, counts)
        free = read_case(trace, arguments.throughputs, counts, 0.0)
        least = _least(free)
        label = f"{trace.stem} {arguments.cluster}"
        theirs = []
        for policy in _policies(arguments.policies, recorded):
            theirs += _cases(label, free, policy, recorded.get(PEERS.get(policy, "")), least)
        cases += theirs
        paid = read_case(trace, arguments.throughputs, counts, arguments.restart)
        for policy in OURS:
            best = {m: _best(m, recorded, theirs) for m in ("mean_jct_h", "makespan_h")}
            cases += _cases(f"{label}, {arguments.restart:g} s a start", paid, policy, best, least)
    return {"bench": "gavel", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    width = 1 + max(len(case["case"]) for case in result["cases"])
    head = "".join(f"{word:>9}" for word in ("ours", "peer", "ratio", "bound", "gap", "s"))
    yield f"{'case':<{width}}{'metric':<11}{head}"
    for case in result["cases"]:
        peer = "-" if case["peer"] is None else f"{case['peer']:.1f}"
        ratio = "-" if case["ratio"] is None else f"{case['ratio']:.3f}"
        line = f"{case['case']:<{width}}{case['metric']:<11}{case['ours']:>9.1f}{peer:>9}{ratio:>9}"
        line += f"{case['bound']:>9.1f}{100 * case['gap']:>8.1f}%{case['seconds']:>9.1f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    yield "hours; gap: over the bound; peer: Gavel's code, or its best policy for the optimizer"


def gavel_cluster(counts: Sequence[int]) -> Cluster:
    """Return Gavel's simulated cluster: each type as good as one big server."""
    kinds = {
        name: replace(accelerators()[name], usd_per_hour=USD_PER_HOUR[name])
        for name, count in zip(TYPES, counts, strict=True)
        if count
    }
    nodes = tuple(
        Node(name.lower(), name, count, kinds[name].scaleup_bytes_per_s, 1.25e9)
        for name, count in zip(TYPES, counts, strict=True)
        if count
    )
    pod = Pod("gavel", "main", nodes, Fabric("tree"))
    return Cluster("gavel", ":".join(map(str, counts)), kinds, (pod,), (Site("main"),))


def read_case(trace: Path, throughputs: Path, counts: Sequence[int], restart_s: float) -> Problem:
    """Return the problem of a trace on a cluster."""
    workload = load_trace(trace, format="gavel", profile=str(throughputs))
    classes = tuple(replace(c, restart_s=restart_s) for c in workload.classes)
    return build_problem(gavel_cluster(counts), replace(workload, classes=classes))


def cluster_counts(text: str) -> tuple[int, ...]:
    """Return the accelerators of each of `TYPES` from words such as ``12:12:12``."""
    words = text.split(":")
    if len(words) != len(TYPES) or not all(w.isdecimal() and len(w) < 6 for w in words):
        allowed = "V100:P100:K80, such as 12:12:12"
        raise InputError([Fault("not three counts", "--cluster", "", text, allowed)])
    counts = tuple(map(int, words))
    if not any(counts):
        raise InputError([Fault("no accelerators", "--cluster", "", text, "12:12:12")])
    return counts


def recorded_runs(path: Path, trace: str, counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return recorded mean JCT and makespan by Gavel's policy name."""
    if not path.exists():
        return {}
    found = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        cluster = row.get("cluster", {})
        here = [cluster.get(name) for name in ("v100", "p100", "k80")] == list(counts)
        if row.get("trace") == trace and here and row.get("complete"):
            found[row["policy"]] = {
                "mean_jct_h": row["avg_jct_h"],
                "makespan_h": row["makespan_h"],
            }
    return found


def _policies(asked: str | None, recorded: Mapping[str, object]) -> list[str]:
    if asked == "none":
        return []
    if asked is not None:
        return asked.split(",")
    return [ours for ours, theirs in PEERS.items() if theirs in recorded] or list(PLAYED)


def _least(problem: Problem) -> Least:
    """Return the better of our bounds: over time, and by area (`scheduler.core.bounds`)."""
    bounds = lower_bounds(problem)
    jobs = problem.workload.jobs
    table = TypeModes(problem)
    rate, gang = table.rate[jobs.class_index], table.gang[jobs.class_index]
    capacity = np.array(problem.capacity(), dtype=np.float64)
    run_s = times_on_types(jobs.work / rate.max(axis=1), rate, gang, capacity)
    jct_s, makespan_s = bounds.mean_jct_s, bounds.makespan_s
    if not jobs.release_s.any():
        known = KnownJobs(run_s, gang, np.ones(len(jobs)), capacity)
        jct_s = max(jct_s, completion_bound(known))
    makespan_s = max(makespan_s, makespan_program(run_s, gang, capacity).makespan_s * (1 - 1e-6))
    return Least(jct_s / HOUR_S, makespan_s / HOUR_S)


def _best(
    metric: str, recorded: Mapping[str, Mapping[str, float]], played: Sequence[Mapping[str, Any]]
) -> float | None:
    known = [row[metric] for row in recorded.values()]
    known = known or [case["ours"] for case in played if case["metric"] == metric]
    return min(known, default=None)


def _cases(
    label: str,
    problem: Problem,
    policy: str,
    peer: Mapping[str, float | None] | None,
    least: Least,
) -> list[dict[str, Any]]:
    """Play a policy; return a row for its mean JCT and one for its makespan."""
    start = time.process_time()
    played = simulate(problem, policy)
    seconds = time.process_time() - start
    metrics: Metrics = metrics_of(problem, played)
    violations = len(verify_run(problem, played))
    figures = {
        "mean_jct_h": (metrics.mean_jct_s / HOUR_S, least.mean_jct_h),
        "makespan_h": (metrics.makespan_s / HOUR_S, least.makespan_h),
    }
    rows = []
    for metric, (ours, bound) in figures.items():
        known = None if peer is None else peer.get(metric)
        rows.append(
            {
                "case": f"{label}, {policy}",
                "metric": metric,
                "ours": ours,
                "peer": known,
                "peer_name": PEERS.get(policy, "best of Gavel's policies"),
                "ratio": None if known is None else ours / known,
                "bound": bound,
                "gap": ours / bound - 1,
                "seconds": seconds,
                "peer_seconds": None,
                "information": "exact",
                "violations": violations,
                "finished": metrics.finished,
                "idle_fraction": metrics.idle_fraction,
                "preemptions": metrics.preemptions,
                "policy": policy,
            }
        )
    return rows
