"""The optimizer over a whole simulated day of a large fleet: what a round costs and reaches.

Usage: python -m bench large_fleet [--json] [--accelerators N,N,...] [--days N,N,...] [--seed N]

Fleets of the shape of the shipped 16,384-accelerator one, cut down for the smaller cases and
with more pods for the larger, under two kinds of generated laboratory jobs: a burst that comes
faster than the fleet can serve it (``--accelerators``), and a whole day that keeps about nine
tenths of it busy (``--days``). On fleets where both can run, rounds by counted sizes
(`scheduler.solver.large_round`) stand beside greedy and exact ones on the same burst; a day
stands beside SRTF and EASY backfilling where those end in time (``--yardsticks``). Every run is
checked by the verifier. No peer's figure exists for these inputs. Seconds are processor seconds.
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
from scheduler.core.cluster import Cluster, Pod
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
"""How many times faster than generated the jobs of a burst come."""

DEMAND: Final = 1.6
"""Mean demand of the jobs of a burst before that, as a share of the fleet."""

DAY_DEMAND: Final = 1.5
SHORT_SHARE: Final = 0.5
"""Mean demand of a day's jobs, in accelerators of the generator's reference, as a share of the
fleet, and the share of them that only test or debug: the fleet is then about nine tenths busy."""

BOTH_UP_TO: Final = 2048
"""Accelerators up to which greedy and exact rounds are played too."""

YARDSTICKS: Final = ("srtf", "easy_backfill")
YARDSTICKS_UP_TO: Final = 4096
"""Accelerators up to which these are played: what they do at each event grows with all that
runs, so that a day of theirs takes time as the square of the fleet."""

MOST: Final = 200_704
"""Accelerators of the largest fleet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--accelerators", default="256,1024,2048,16384", help="by commas")
    parser.add_argument("--days", default="4096,16384,100352", help="as many for a whole day")
    parser.add_argument(
        "--yardsticks", type=int, default=YARDSTICKS_UP_TO, help="accelerators up to which played"
    )
    parser.add_argument("--seed", type=int, default=5, help="of the jobs")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play a burst, or a day, on every fleet."""
    whole = load_cluster(TOPOLOGY)
    bursts = _sizes("--accelerators", arguments.accelerators)
    days = _sizes("--days", arguments.days)
    if not bursts and not days:
        raise _out_of_range("--accelerators", arguments.accelerators)
    cases = []
    for size in bursts:
        problem = _burst(_of_size(whole, size), arguments.seed)
        played = {"counted rounds": _played(problem, "optimizer", 1)}
        if size <= BOTH_UP_TO:
            played["greedy and exact rounds"] = _played(problem, "optimizer", MOST + 1)
        cases.append(_case("burst", problem, played))
    for size in days:
        problem = _day(_of_size(whole, size), arguments.seed)
        played = {"counted rounds": _played(problem, "optimizer", 1)}
        if size <= arguments.yardsticks:
            played |= {name: _played(problem, name, 1) for name in YARDSTICKS}
        cases.append(_case("day", problem, played))
    return {"bench": "large_fleet", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    for case in result["cases"]:
        yield f"{case['case']}: {case['violations']} violations"
        for name, one in case["played"].items():
            line = (
                f"  {name}: mean JCT {one['mean_jct_s']:.1f} s, waste {one['waste']:.1%} until the"
                f" last arrival, {one['seconds']:.1f} s for {one['events']:,} events"
            )
            if one["rounds"]:
                line += (
                    f", {one['rounds']} rounds of {1e3 * one['round_seconds']:.0f} ms with a mean"
                    f" gap to their price bound of {one['gap']:.2%}"
                )
            yield f"{line}; verified in {one['verify_seconds']:.1f} s"


def _sizes(option: str, words: str) -> list[int]:
    try:
        sizes = [int(word) for word in words.split(",") if word]
    except ValueError:
        raise _out_of_range(option, words) from None
    if any(not 128 <= size <= MOST for size in sizes):
        raise _out_of_range(option, words)
    return sizes


def _out_of_range(option: str, value: str) -> InputError:
    allowed = f"whole numbers from 128 to {MOST}, by commas"
    return InputError([Fault("out of range", option, "", value, allowed)])


def _of_size(whole: Cluster, accelerators: int) -> Cluster:
    """Return the fleet with so many accelerators: copies of its pods, and a part of each."""
    share = accelerators / sum(node.count for node in whole.nodes)
    copies = int(share)
    if not copies:
        return _cut(whole, share)
    pods = [_copy(pod, number) for number in range(copies) for pod in whole.pods]
    if share > copies:
        pods += [_copy(pod, copies) for pod in _cut(whole, share - copies).pods]
    sites = tuple(
        replace(s, power_cap_w=s.power_cap_w and share * s.power_cap_w) for s in whole.sites
    )
    return replace(whole, pods=tuple(pods), sites=sites)


def _copy(pod: Pod, number: int) -> Pod:
    """Return a pod that is like another in all but its names."""
    if not number:
        return pod
    nodes = tuple(replace(node, id=f"{node.id}-{number}") for node in pod.nodes)
    return replace(pod, name=f"{pod.name}-{number}", nodes=nodes)


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


def _burst(cluster: Cluster, seed: int) -> Problem:
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


def _day(cluster: Cluster, seed: int) -> Problem:
    count = sum(node.count for node in cluster.nodes)
    jobs = generate(
        "llm-lab", seed=seed, days=1.0, mean_demand=count * DAY_DEMAND, short_share=SHORT_SHARE,
        max_run_time_s=86400.0,
    )  # fmt: skip
    return build_problem(cluster, jobs)


def _played(problem: Problem, policy: str, large_from: int) -> dict[str, Any]:
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
        run = simulate(problem, policy, noise_sigma=0.1, account="arrivals")
        seconds = time.process_time() - start
    metrics = metrics_of(problem, run)
    start = time.process_time()
    violations = verify_run(problem, run)
    return {
        "mean_jct_s": metrics.mean_jct_s,
        "makespan_s": metrics.makespan_s,
        "waste": metrics.waste_fraction,  # until the last arrival
        "preemptions": metrics.preemptions,
        "events": run.events,
        "seconds": seconds,
        "rounds": spent[0],
        "round_seconds": spent[1] / max(1, spent[0]),
        "gap": float(np.mean(run.rounds["gap"])) if run.rounds else 0.0,
        "violations": len(violations),
        "verify_seconds": time.process_time() - start,
    }


def _case(kind: str, problem: Problem, played: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    ours = played["counted rounds"]
    others = {name: one for name, one in played.items() if one is not ours}
    name = min(others, key=lambda name: others[name]["mean_jct_s"], default="")
    peer = others.get(name)
    count, jobs = sum(problem.capacity()), len(problem.workload.jobs)
    hours = ours["makespan_s"] / 3600
    return {
        "case": f"{kind}, {count:,} accelerators, {jobs:,} jobs, {hours:.1f} h",
        "metric": "mean_jct_s",
        "ours": ours["mean_jct_s"],
        "peer": peer["mean_jct_s"] if peer else None,
        "peer_name": name,
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
        "played": dict(played),
    }
