"""Packing by patterns: legal, at most the bound, and equal to an exact model where it is small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_packings import packing_problem, random_packing_problem

from scheduler.core.packing import ANY_TYPE, REFUSED, PackingProblem
from scheduler.generate.pod_arrivals import inflated_arrivals
from scheduler.simulate.packing import pack
from scheduler.solver.packing.bound import Prices, proved_bound
from scheduler.solver.packing.cluster import Cluster
from scheduler.solver.packing.fills import ShareKnapsack
from scheduler.solver.packing.pooled import solve_pooled
from scheduler.solver.packing.solve import bound_of_keeping, pack_by_patterns
from scheduler.solver.packing.table import tabulate
from scheduler.verify.packing import verify_packing


def arriving(rng: np.random.Generator, problem: PackingProblem, ratio: float) -> np.ndarray:
    return inflated_arrivals(problem, ratio, rng)


def small(seed: int) -> tuple[PackingProblem, np.ndarray]:
    rng = np.random.default_rng(seed)
    nodes = [
        ("A", 2, int(rng.integers(6, 12)), 20),
        ("A", 2, int(rng.integers(6, 12)), 20),
        ("B", 1, 8, 12),
    ]
    pods = []
    for _ in range(5):
        count = int(rng.choice([1, 1, 1, 2]))
        share = 1000 if count > 1 else int(rng.choice([250, 330, 500, 810, 1000]))
        kind = str(rng.choice(["", "", "A", "B"]))
        pods.append((int(rng.integers(1, 4)), int(rng.integers(1, 6)), count, share, kind))
    problem = packing_problem(nodes, pods)
    return problem, rng.integers(len(pods), size=int(rng.integers(4, 11))).astype(np.int64)


def exact_milli(problem: PackingProblem, arrivals: np.ndarray) -> int:
    """Return the optimum of one variable per pod, node and accelerator."""
    from ortools.sat.python import cp_model

    model: Any = cp_model.CpModel()
    pods, nodes = problem.pods, problem.nodes
    cpu: list[list[Any]] = [[] for _ in nodes.ids]
    memory: list[list[Any]] = [[] for _ in nodes.ids]
    load: dict[tuple[int, int], list[Any]] = {}
    value = []
    for p in arrivals.tolist():
        here = []
        for n, kind in enumerate(nodes.type_index.tolist()):
            if pods.allowed[p] != ANY_TYPE and not int(pods.allowed[p]) >> kind & 1:
                continue
            x = model.new_bool_var("")
            here.append(x)
            cpu[n].append(int(pods.cpu_milli[p]) * x)
            memory[n].append(int(pods.memory_bytes[p]) * x)
            on = [model.new_bool_var("") for _ in range(int(nodes.accelerators[n]))]
            model.add(sum(on) == int(pods.accelerators[p]) * x)
            for g, y in enumerate(on):
                load.setdefault((n, g), []).append(int(pods.share_milli[p]) * y)
        model.add(sum(here) <= 1)
        value += [int(pods.demand_milli[p]) * x for x in here]
    for n in range(len(nodes.ids)):
        model.add(sum(cpu[n]) <= int(nodes.cpu_milli[n]))
        model.add(sum(memory[n]) <= int(nodes.memory_bytes[n]))
    for terms in load.values():
        model.add(sum(terms) <= 1000)
    model.maximize(sum(value))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return round(solver.objective_value)


def test_between_a_plain_model_and_its_bound() -> None:
    equal = 0
    for seed in range(40):
        problem, arrivals = small(seed)
        best = exact_milli(problem, arrivals)
        answer = pack_by_patterns(problem, arrivals)
        assert not verify_packing(problem, arrivals, answer.packing)
        assert answer.placed_milli <= best <= answer.bound_milli <= answer.free_bound_milli
        assert answer.free_bound_milli <= answer.quick_bound_milli
        equal += answer.placed_milli == best
    assert equal >= 34, equal  # rounding a few patterns is no proof, but it should mostly do


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_holds_for_every_policy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(10):
        problem = random_packing_problem(rng)
        if not problem.pods.demand_milli.any():
            continue
        arrivals = arriving(rng, problem, float(rng.uniform(0.5, 1.6)))
        table = tabulate(problem, arrivals)
        least = np.zeros_like(table.count)
        best = float(proved_bound(table, solve_pooled(table, least).prices, least))
        wild = Prices(
            rng.uniform(0, 900, len(least)),
            rng.uniform(0, 0.1, len(table.nodes)),
            rng.uniform(0, 2.0, len(table.nodes)),
        )
        worst = float(proved_bound(table, wild, least))
        for policy in ("fgd", "best_fit", "worst_fit", "random"):
            packing = pack(problem, arrivals, policy, seed=seed)
            placed = arrivals[packing.node != REFUSED]
            demand = int(problem.pods.demand_milli[placed].sum())
            assert demand <= best
            assert demand <= worst
            kept = bound_of_keeping(problem, arrivals, packing.node != REFUSED)
            assert demand <= kept


def test_pods_that_must_be_placed_are_placed_and_answers_repeat() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        problem = random_packing_problem(rng)
        arrivals = arriving(rng, problem, 1.2)
        running = pack(problem, arrivals, "best_fit").node != REFUSED
        answer = pack_by_patterns(problem, arrivals, keep=running, seed=seed)
        assert not verify_packing(problem, arrivals, answer.packing)
        if not answer.dropped:
            assert answer.placed_milli >= problem.pods.demand_milli[arrivals[running]].sum()
        assert answer.placed_milli <= answer.bound_milli
        again = pack_by_patterns(problem, arrivals, keep=running, seed=seed)
        assert np.array_equal(answer.packing.node, again.packing.node)
        assert np.array_equal(answer.packing.held, again.packing.held)


def test_a_limit_that_has_passed_still_gives_a_legal_answer() -> None:
    rng = np.random.default_rng(5)
    problem = random_packing_problem(rng)
    arrivals = arriving(rng, problem, 1.2)
    answer = pack_by_patterns(problem, arrivals, time_limit_s=1e-9)
    assert answer.stopped
    assert not verify_packing(problem, arrivals, answer.packing)
    assert 0 < answer.placed_milli <= answer.bound_milli


def test_nothing_arrives() -> None:
    problem, _ = small(0)
    answer = pack_by_patterns(problem, np.zeros(0, dtype=np.int64))
    assert (answer.placed_milli, answer.bound_milli, answer.gap) == (0, 0, 0.0)


def test_the_knapsack_is_that_of_trying_every_fill() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        sizes = np.sort(rng.choice(np.arange(90, 1000, 30), size=3, replace=False))
        worth = rng.integers(-5, 50, size=(2, 3))
        best, last = ShareKnapsack(sizes).best(worth)
        knapsack = ShareKnapsack(sizes)
        for row in range(2):
            tried = [
                int(np.dot(n, worth[row]))
                for n in np.ndindex(*(1000 // sizes + 1))
                if np.dot(n, sizes) <= 1000
            ]
            assert best[-1, row] == max(tried)
            chosen = list(knapsack.sizes_of(last[:, row], knapsack.cells))
            assert sizes[chosen].sum() <= 1000
            assert worth[row][chosen].sum() == best[-1, row]


def test_a_pod_without_accelerators_takes_the_place_of_the_least_share() -> None:
    problem = packing_problem(
        [("A", 2, 10, 10)],
        [(4, 4, 1, 900, ""), (4, 4, 1, 300, ""), (3, 3, 0, 0, "")],
    )
    arrivals = np.array([0, 1, 2], dtype=np.int64)
    cluster = Cluster(tabulate(problem, arrivals))
    assert cluster.put_where_it_fits([0, 1]) == 2
    assert cluster.put_where_it_fits([2]) == 0
    cluster.put_instead([2])
    assert cluster.node.tolist() == [0, REFUSED, 0]
    assert not verify_packing(problem, arrivals, cluster.packing(arrivals, "test"))
    answer = pack_by_patterns(problem, arrivals)
    assert (answer.placed_milli, answer.dropped) == (900, 0)
