"""Pods that arrive and never end, in the engine and in the packing loop: the same ones get in."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_packings import random_packing_problem
from random_problems import LEVELS, fleet, workload

from scheduler.core.packing import ANY_TYPE, REFUSED, Packing, PackingProblem
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Run
from scheduler.core.workload import IntArray, JobClass, RunTimePhysics
from scheduler.generate.pod_arrivals import inflated_arrivals
from scheduler.io.openb import read_openb
from scheduler.policies.packing import NodeState, PackingPolicy, Request
from scheduler.policies.shared_placements import as_packing
from scheduler.simulate import simulate
from scheduler.simulate.packing import pack
from scheduler.verify import verify_run

OPENB = Path(__file__).resolve().parents[2] / ".." / "shared" / "traces" / "openb"
PUBLISHED = ("dot_product", "gpu_packing", "gpu_clustering", "fgd")


def as_problem(packing: PackingProblem, nodes: list[int], pods: list[int]) -> Problem:
    """Return some nodes, and some pods as jobs that arrive second by second and never end."""
    table, pod = packing.nodes, packing.pods
    kinds = [(packing.types[int(table.type_index[n])], int(table.accelerators[n])) for n in nodes]
    cluster, names, domains, pools = fleet([kinds])
    cpus = [float(table.cpu_milli[n]) / 1000 for n in nodes]
    (only,) = cluster.pods
    limited = tuple(replace(n, cpus=c) for n, c in zip(only.nodes, cpus, strict=True))
    cluster = replace(cluster, pods=(replace(only, nodes=limited),))
    classes: dict[tuple[int, ...], JobClass] = {}
    modes = []
    class_of = []
    columns = (pod.cpu_milli, pod.accelerators, pod.share_milli, pod.allowed)
    for key in (tuple(int(column[p]) for column in columns) for p in pods):
        if key not in classes:
            cpu, count, share, allowed = key
            classes[key] = JobClass(
                *(f"c{len(classes)}", RunTimePhysics(), (count,)),
                cpus=cpu / 1000 / count, share_milli=share, restart_s=0.0,
            )  # fmt: skip
            modes.append(
                tuple(
                    Mode(
                        *((Group(t, count, count),), 0, 1.0, 1.0, 100.0 * count * share / 1000),
                        memory_bytes=80e9 * share / 1000 if share < 1000 else 0.0,
                        share_milli=share,
                    )
                    for t, name in enumerate(names)
                    if allowed == ANY_TYPE or allowed >> packing.types.index(name) & 1
                )
            )
        class_of.append(list(classes).index(key))
    jobs = workload(
        *(tuple(classes.values()), class_of),
        *([float(i) for i in range(len(pods))], [1e7] * len(pods)),
    )
    return Problem(cluster, jobs, names, LEVELS, domains, pools, tuple(modes))


def possible(packing: PackingProblem, nodes: list[int], pods: list[int]) -> list[int]:
    """Return the pods that ask for accelerators of which some of the nodes has enough."""
    types = {int(packing.nodes.type_index[n]) for n in nodes}
    most = dict.fromkeys(types, 0)
    for n in nodes:
        t = int(packing.nodes.type_index[n])
        most[t] = max(most[t], int(packing.nodes.accelerators[n]))
    pod = packing.pods
    return [
        p
        for p in pods
        if pod.accelerators[p]
        and any(
            most[t] >= pod.accelerators[p]
            for t in types
            if pod.allowed[p] == ANY_TYPE or int(pod.allowed[p]) >> t & 1
        )
    ]


class Tightest(PackingPolicy):
    """What the engine's best fit does, as a score: types in order; on each the tightest place.

    That is the open accelerator with least left, else the node with the fewest accelerators
    that are free and have CPUs to go with them.
    """

    def score(self, request: Request, node: NodeState) -> float:
        fits = [m for m in node.free_milli if request.share_milli <= m < 1000]
        if request.shares and fits:
            return -(node.type_index * 1e6 + min(fits))
        free = node.free_milli.count(1000)
        if request.cpu_milli:
            each = request.cpu_milli / request.accelerators
            free = min(free, math.floor(node.cpu_milli / each + 1e-9))
        return -(node.type_index * 1e6 + 1000 + free)


def seats(packing: Packing) -> list[tuple[int, int]]:
    return list(zip(packing.node.tolist(), packing.held.tolist(), strict=True))


def compare(problem: Problem, run: Run, packing: Packing) -> int:
    """Assert that the same pods got in, on the same nodes, beside the same others."""
    placed = {a.job: a.placement for a in run.allocations}
    assert [packing.node[j] != REFUSED for j in range(len(packing.node))] == [
        j in placed for j in range(len(packing.node))
    ]
    assert all(a.start_us == 1_000_000 * a.job for a in run.allocations)
    loop: dict[tuple[int, int], list[int]] = {}
    engine: dict[tuple[int, int], list[int]] = {}
    for j, (node, held) in enumerate(seats(packing)):
        if node != REFUSED:
            assert placed[j].nodes == (node,)
            if placed[j].device >= 0:
                loop.setdefault((node, held), []).append(j)
                engine.setdefault((node, placed[j].device), []).append(j)
    assert sorted(loop.values()) == sorted(engine.values())
    return sum(len(jobs) for jobs in loop.values())


def played(problem: Problem, placement: str) -> Run:
    n = len(problem.workload.jobs)
    return simulate(problem, f"fifo+greedy+{placement}", horizon_s=float(n))


def in_pools(problem: Problem) -> IntArray:
    """Return the rank of each node by pool and place in it, as the engine searches."""
    order = list(itertools.chain(*(pool.nodes for pool in problem.pools)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def small_case(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    packing = random_packing_problem(rng)
    nodes = [n for n in range(len(packing.nodes)) if packing.nodes.accelerators[n]]
    arrivals = inflated_arrivals(packing, 1.3, rng).tolist()
    return as_problem(packing, nodes, possible(packing, nodes, arrivals)[:150])


def openb_case() -> Problem:
    if not OPENB.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    packing = read_openb(
        OPENB / "openb_node_list_gpu_node.csv", OPENB / "openb_pod_list_default.csv.gz"
    )
    nodes = list(range(0, len(packing.nodes), 32))
    pods = np.random.default_rng(0).permutation(len(packing.pods)).tolist()
    return as_problem(packing, nodes, possible(packing, nodes, pods)[:300])


@pytest.mark.parametrize("placement", ["best_fit", *PUBLISHED])
def test_small_lists_get_in_as_in_the_packing_loop(placement: str) -> None:
    some = 0
    for seed in range(6):
        problem = small_case(seed)
        if not problem.shares:
            continue
        packing = as_packing(problem)
        policy = Tightest(packing) if placement == "best_fit" else placement
        rank = in_pools(problem) if placement == "best_fit" else np.arange(len(packing.nodes))
        arrivals = np.arange(len(packing.pods))
        run = played(problem, placement)
        assert verify_run(problem, run) == []
        some += compare(problem, run, pack(packing, arrivals, policy, rank=rank))
    assert some >= 20


@pytest.mark.parametrize("placement", ["best_fit", "fgd"])
def test_openb_gets_in_as_in_the_packing_loop(placement: str) -> None:
    problem = openb_case()
    packing = as_packing(problem)
    policy = Tightest(packing) if placement == "best_fit" else placement
    rank = in_pools(problem) if placement == "best_fit" else np.arange(len(packing.nodes))
    loop = pack(packing, np.arange(len(packing.pods)), policy, rank=rank)
    assert 20 <= loop.refused <= len(packing.pods) // 2
    assert compare(problem, played(problem, placement), loop) >= 50
