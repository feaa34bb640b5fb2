"""The exact round equals brute force, and its bound and placements hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_problems import random_problem

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement, Status
from scheduler.solver.greedy_round import greedy_round
from scheduler.solver.large_round import large_round
from scheduler.solver.prices import Prices
from scheduler.solver.round_model import maximal_patterns, solve_round
from scheduler.solver.round_types import Candidate, Held, Option, RoundAnswer


def placements(problem: Problem, occupancy: Occupancy, mode: Mode) -> list[Placement]:
    """Every legal placement, by trying each node for each slot."""
    where: list[list[int]] = []
    if mode.level == 0:
        where = [[n] for pool in problem.pools for n in pool.nodes]
    else:
        for domain in problem.domains:
            if domain.level == mode.level:
                where.append(sorted(n for p in domain.pools for n in problem.pools[p].nodes))
    types = {n: p.type_index for p in problem.pools for n in p.nodes}
    slots = [(g.type_index, k) for g in mode.groups for k in g.slots]
    found = set()
    for nodes in where:
        for choice in itertools.product(nodes, repeat=len(slots)):
            taken: dict[int, int] = {}
            for node, (t, k) in zip(choice, slots, strict=True):
                if types[node] != t:
                    break
                taken[node] = taken.get(node, 0) + k
            else:
                if all(occupancy.free[n] >= c for n, c in taken.items()):
                    found.add(tuple(sorted(taken.items())))
    return [Placement(tuple(n for n, _ in f), tuple(c for _, c in f)) for f in sorted(found)]


def slots_of(option: Option) -> int:
    return sum(len(g.slots) for g in option.shape.groups)


def brute_force(problem: Problem, occupancy: Occupancy, candidates: list[Candidate]) -> float:
    best = 0.0

    def place(index: int, free: Occupancy, value: float) -> None:
        nonlocal best
        best = max(best, value)
        if index == len(candidates):
            return
        candidate = candidates[index]
        place(index + 1, free, value)
        if candidate.held is not None and free.fits(candidate.held.placement):
            then = free.copy()
            then.take(candidate.held.placement)
            place(index + 1, then, value + candidate.held.utility)
        for option in candidate.options:
            for placement in placements(problem, free, option.shape):
                then = free.copy()
                then.take(placement)
                place(index + 1, then, value + option.utility)

    free = occupancy.copy()
    for candidate in candidates:
        if candidate.held is not None:
            free.give(candidate.held.placement)
    place(0, free, 0.0)
    return best


def random_round(
    rng: np.random.Generator, jobs: int
) -> tuple[Problem, Layout, Occupancy, list[Candidate]] | None:
    problem = random_problem(rng)
    layout = Layout(problem)
    occupancy = Occupancy(layout)
    classes = [c for c, modes in enumerate(problem.modes) if modes]
    if not classes:
        return None
    candidates = []
    for job in range(jobs):
        modes = problem.modes[classes[int(rng.integers(len(classes)))]]
        chosen = rng.choice(len(modes), size=min(2, len(modes)), replace=False)
        options = tuple(
            Option(int(m), modes[m], round(float(rng.uniform(0.1, 1)) * modes[m].count, 3))
            for m in chosen
        )
        held = None
        if rng.random() < 0.4:
            placement = occupancy.find(options[0].shape, "first")
            if placement is not None:
                occupancy.take(placement)
                held = Held(placement, round(float(rng.uniform(0.1, 1)), 3))
        candidates.append(Candidate(job, options, held))
    for node in range(len(problem.cluster.nodes)):  # strangers that stay where they are
        taken = int(rng.integers(0, occupancy.free[node] + 1)) if rng.random() < 0.3 else 0
        if taken:
            occupancy.take(Placement((node,), (taken,)))
    return problem, layout, occupancy, candidates


def check(
    problem: Problem, occupancy: Occupancy, candidates: list[Candidate], answer: RoundAnswer
) -> None:
    """The answer can be carried out, and is worth what it says."""
    by_job = {c.job: c for c in candidates}
    free = occupancy.copy()
    value = 0.0
    for candidate in candidates:
        if candidate.held is not None:
            if candidate.job in answer.kept:
                value += candidate.held.utility
            else:
                free.give(candidate.held.placement)
    for job, mode, placement in answer.starts:
        option = next(o for o in by_job[job].options if o.mode == mode)
        empty = Occupancy(free.layout)
        assert placement in placements(problem, empty, option.shape), "the shape is legal"
        free.take(placement)  # raises where there is no room
        value += option.utility
    assert not {job for job, _, _ in answer.starts} & set(answer.kept)
    assert value == pytest.approx(answer.objective)
    assert answer.bound >= answer.objective * (1 - 1e-9)


@pytest.mark.parametrize("block", range(5))
def test_optimum_equals_brute_force(block: int) -> None:
    done = 0
    seed = 1000 * block
    while done < 60:
        seed += 1
        drawn = random_round(np.random.default_rng(seed), 3)
        if drawn is None or len(drawn[0].cluster.nodes) > 5:
            continue
        problem, layout, occupancy, candidates = drawn
        if any(slots_of(o) > 4 for c in candidates for o in c.options):
            continue
        answer = solve_round(problem, layout, occupancy, candidates)
        assert answer.status is Status.OPTIMAL
        check(problem, occupancy, candidates, answer)
        best = brute_force(problem, occupancy, candidates)
        assert answer.objective == pytest.approx(best, abs=1e-5), f"seed {seed}"
        assert answer.bound == pytest.approx(best, abs=1e-4)
        done += 1


def test_greedy_is_feasible_and_prices_bound_the_optimum() -> None:
    for seed in range(150):
        drawn = random_round(np.random.default_rng(seed), 8)
        if drawn is None:
            continue
        problem, layout, occupancy, candidates = drawn
        prices = Prices(len(problem.types))
        bound = prices.search(layout, occupancy, candidates)
        greedy = greedy_round(layout, occupancy, candidates, bound)
        if all(slots_of(o) <= 4 for c in candidates for o in c.options):
            check(problem, occupancy, candidates, greedy)
        exact = solve_round(problem, layout, occupancy, candidates, hint=greedy)
        assert bound >= exact.objective * (1 - 1e-9), f"seed {seed}"
        assert exact.objective >= greedy.objective - 1e-9, "a hint never makes it worse"


def test_maximal_patterns_are_maximal_and_complete() -> None:
    found = maximal_patterns([2, 3], 8)
    assert sorted(tuple(sorted(p.items())) for p in found) == [
        ((2, 1), (3, 2)),
        ((2, 2), (3, 1)),
        ((2, 4),),
    ]


def test_odd_slot_sizes_are_packed_exactly() -> None:
    """Counted slots alone would allow 3 + 3 + 2 twice on nodes that hold 3 + 2 + 2 once."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        free = int(rng.integers(3, 17))
        sizes = sorted({int(s) for s in rng.integers(2, 7, 3)})
        patterns = maximal_patterns(sizes, free)
        for pattern in patterns:
            used = sum(k * n for k, n in pattern.items())
            assert used <= free < used + sizes[0]


def test_counted_rounds_are_feasible_and_better_than_greedy_ones() -> None:
    counted, exact, greedy = [], [], []
    prices = None
    for seed in range(300, 420):
        drawn = random_round(np.random.default_rng(seed), 8)
        if drawn is None:
            continue
        problem, layout, occupancy, candidates = drawn
        bound = Prices(len(problem.types)).search(layout, occupancy, candidates)
        free = occupancy.free.copy()
        answer, prices = large_round(layout, occupancy, candidates, bound, prices)
        assert occupancy.free == free, "a round decides, it changes nothing"
        if all(slots_of(o) <= 4 for c in candidates for o in c.options):
            check(problem, occupancy, candidates, answer)
        exact.append(solve_round(problem, layout, occupancy, candidates).objective)
        counted.append(answer.objective)
        greedy.append(greedy_round(layout, occupancy, candidates, bound).objective)
        assert counted[-1] <= exact[-1] + 1e-4
    assert sum(counted) > max(0.85 * sum(exact), sum(greedy))


def test_a_counted_round_of_nothing_is_nothing() -> None:
    problem = random_problem(np.random.default_rng(1))
    layout = Layout(problem)
    answer, _ = large_round(layout, Occupancy(layout), [], 0.0)
    assert answer.starts == answer.kept == ()
    assert answer.objective == answer.gap == 0.0
