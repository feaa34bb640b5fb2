"""The optimizer over a whole simulated day of a large fleet: what a round costs and reaches.

Usage: python -m bench large_fleet [--json] [--accelerators N,N,...] [--seed N]

Fleets of the shape of the shipped 16,384-accelerator one, cut down for the smaller cases, under a
generated day of a laboratory's jobs that come faster than the fleet can serve them at first. On
fleets where both can run, rounds by counted sizes (`scheduler.solver.large_round`) stand beside
greedy and exact ones on the same jobs; every run is checked by the verifier. No peer's figure
exists for these inputs. Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import Cluster
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.generate import generate
from scheduler.io import load_cluster
from scheduler.physics.problem import build_problem
from scheduler.policies import optimizer
from scheduler.simulate import simulate
from scheduler.verify import verify_run

TOPOLOGY: Final = "fleet-16384"
JOBS_PER_ACCELERATOR: Final = 1.5
HASTE: Final = 4.0
"""How many times faster than generated the jobs come."""

BOTH_UP_TO: Final = 2048
"""Accelerators up to which greedy and exact rounds are played too."""

DEMAND: Final = 1.6
"""Mean demand of the generated jobs, as a share of the fleet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--accelerators", default="256,1024,2048,16384", help="by commas")
    parser.add_argument("--seed", type=int, default=5, help="of the jobs")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play a day on every fleet."""
    whole = load_cluster(TOPOLOGY)
    most = sum(node.count for node in whole.nodes)
    try:
        sizes = [int(word) for word in arguments.accelerators.split(",")]
    except ValueError:
        sizes = []
    if not sizes or any(not 128 <= size <= most for size in sizes):
        value, allowed = arguments.accelerators, f"whole numbers from 128 to {most}, by commas"
        raise InputError([Fault("out of range", "--accelerators", "", value, allowed)])
    cases = []
    for size in sizes:
        problem = _problem(_cut(whole, size / most), arguments.seed)
        played = {"counted": _played(problem, 1)}
        if size <= BOTH_UP_TO:
            played["greedy and exact"] = _played(problem, most + 1)
        cases.append(_case(problem, played))
    return {"bench": "large_fleet", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    for case in result["cases"]:
        yield f"{case['case']}: {case['violations']} violations"
        yield (
            f"  counted rounds: mean JCT {case['ours']:.1f} s, {case['rounds']} rounds of"
            f" {1e3 * case['round_seconds']:.0f} ms, {case['seconds']:.1f} s in all;"
            f" mean gap of a round to its price bound {case['gap']:.2%}"
        )
        if case["peer"] is not None:
            yield (
                f"  greedy and exact rounds: mean JCT {case['peer']:.1f} s"
                f" (ours {case['ratio'] - 1:+.1%}), {case['peer_seconds']:.1f} s in all"
            )


def _cut(cluster: Cluster, share: float) -> Cluster:
    """Return the fleet with that share of the nodes of every kind, in as few pods as hold them."""
    wanted: dict[str, float] = {}
    for pod in cluster.pods:
        kind = pod.nodes[0].accelerator
        wanted[kind] = wanted.get(kind, 0.0) + share * len(pod.nodes)
    pods = []
    for pod in cluster.pods:
        kind = pod.nodes[0].accelerator
        count = min(len(pod.nodes), round(wanted[kind]))
        wanted[kind] -= count
        if count:
            pods.append(replace(pod, nodes=pod.nodes[:count]))
    return replace(cluster, pods=tuple(pods))


def _problem(cluster: Cluster, seed: int) -> Problem:
    count = sum(node.count for node in cluster.nodes)
    days = 1.0
    for _ in range(2):  # the second time as long as gives the number of jobs wanted
        jobs = generate(
            "llm-lab", seed=seed, days=days, mean_demand=count * DEMAND, max_gang=64,
            max_run_time_s=86400.0,
        )  # fmt: skip
        days *= min(1.0, JOBS_PER_ACCELERATOR * count / len(jobs.jobs))
    columns = jobs.jobs
    sooner = np.round(columns.release_s / HASTE, 3)
    return build_problem(cluster, replace(jobs, jobs=replace(columns, release_s=sooner)))


def _played(problem: Problem, large_from: int) -> dict[str, Any]:
    spent = [0, 0.0]
    one_round = optimizer.Optimizer._round

    def timed(self: optimizer.Optimizer, view: Any) -> None:
        start = time.process_time()
        one_round(self, view)
        spent[0] += 1
        spent[1] += time.process_time() - start

    with (
        patch.object(optimizer, "LARGE_FLEET", large_from),
        patch.object(optimizer.Optimizer, "_round", timed),
    ):
        start = time.process_time()
        run = simulate(problem, "optimizer", noise_sigma=0.1)
        seconds = time.process_time() - start
    metrics = metrics_of(problem, run)
    return {
        "mean_jct_s": metrics.mean_jct_s,
        "makespan_s": metrics.makespan_s,
        "preemptions": metrics.preemptions,
        "seconds": seconds,
        "rounds": spent[0],
        "round_seconds": spent[1] / max(1, spent[0]),
        "gap": float(np.mean(run.rounds["gap"])) if run.rounds else 0.0,
        "violations": len(verify_run(problem, run)),
    }


def _case(problem: Problem, played: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    ours, peer = played["counted"], played.get("greedy and exact")
    count, jobs = sum(problem.capacity()), len(problem.workload.jobs)
    return {
        "case": f"{count:,} accelerators, {jobs:,} jobs, {ours['makespan_s'] / 3600:.1f} h",
        "metric": "mean_jct_s",
        "ours": ours["mean_jct_s"],
        "peer": peer["mean_jct_s"] if peer else None,
        "peer_name": "greedy and exact rounds" if peer else "",
        "ratio": ours["mean_jct_s"] / peer["mean_jct_s"] if peer else None,
        "bound": None,
        "gap": ours["gap"],
        "seconds": ours["seconds"],
        "peer_seconds": peer["seconds"] if peer else None,
        "information": "exact",
        "violations": sum(p["violations"] for p in played.values()),
        "rounds": ours["rounds"],
        "round_seconds": ours["round_seconds"],
        "preemptions": ours["preemptions"],
    }
