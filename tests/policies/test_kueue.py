"""Kueue's two queueing strategies, and flavours in list order."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.physics.problem import build_problem
from scheduler.simulate import simulate
from scheduler.verify import verify_run


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Eight slow accelerators are listed before eight fast ones."""
    kinds = {
        name: AcceleratorType(name, "x", "cuda", 80e9, 2e12, {"bf16": peak}, 3e11, 50.0, 400.0)
        for name, peak in (("slow", 1e14), ("fast", 4e14))
    }
    nodes = tuple(Node(name, name, 8, 3e11, 1e10) for name in kinds)
    cluster = Cluster("c", "", kinds, (Pod("p", "s", nodes, Fabric("tree"), 1e9),), (Site("s"),))
    both = RunTimePhysics("fast")
    classes = (
        JobClass("eight", both, (8,), restart_s=0),
        JobClass("one", both, (1,), accelerators=("fast",), restart_s=0),
        JobClass("fast eight", both, (8,), accelerators=("fast",), restart_s=0),
    )
    kind = np.array([0, 1, 2, 1], dtype=np.int64)
    n = len(kind)
    jobs = Jobs(
        tuple(f"j{i}" for i in range(n)),
        kind,
        np.arange(n, dtype=float),
        np.full(n, 100.0),
        np.full(n, np.nan),
        np.ones(n),
        np.full(n, np.nan),
        np.zeros(n, dtype=np.int64),
    )
    return build_problem(cluster, Workload("w", "", classes, jobs))


def played(problem: Problem, policy: str) -> Run:
    run = simulate(problem, policy)
    assert verify_run(problem, run) == []
    return run


@pytest.mark.parametrize("policy", ["kueue_strict", "kueue_best_effort"])
def test_the_first_flavour_with_room_is_taken_however_slow(problem: Problem, policy: str) -> None:
    run = played(problem, policy)
    first = next(a for a in run.allocations if a.job == 0)
    mode = problem.modes[0][first.mode]
    assert problem.types[mode.type_index] == problem.types[0]


def test_only_strict_lets_the_head_block(problem: Problem) -> None:
    """Job 2 waits for eight fast ones, of which job 1 holds one; job 3 would fit beside it."""
    starts = {
        policy: {a.job: a.start_us for a in played(problem, policy).allocations}
        for policy in ("kueue_strict", "kueue_best_effort")
    }
    assert starts["kueue_best_effort"][3] == 3_000_000
    assert starts["kueue_strict"][3] >= starts["kueue_strict"][2] > 3_000_000
