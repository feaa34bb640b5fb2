"""Migrations: everyone stays, no more moves than allowed, never above the bound, the same twice."""

from __future__ import annotations

import numpy as np
import pytest
from random_packings import packing_problem, random_packing_problem

from scheduler.core.packing import REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.generate.pod_arrivals import inflated_arrivals
from scheduler.simulate.packing import pack
from scheduler.solver.packing.migrate import migrations
from scheduler.solver.packing.solve import bound_of_keeping
from scheduler.verify.packing import verify_packing


def placed_milli(problem: PackingProblem, packing: Packing) -> int:
    demand = problem.pods.demand_milli[packing.arrivals]
    return int(demand[packing.node != REFUSED].sum())


@pytest.mark.parametrize("seed", range(6))
def test_everyone_stays_and_the_count_is_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_packing_problem(rng)
    arrivals = inflated_arrivals(problem, 1.3, rng)
    before = pack(problem, arrivals, str(rng.choice(["random", "worst_fit", "fgd"])), seed=seed)
    stays = before.node != REFUSED
    most = bound_of_keeping(problem, arrivals, stays)
    curve = list(migrations(problem, before, (40, 0, 3)))
    assert [point.most_moves for point in curve] == [0, 3, 40]
    for point in curve:
        after = point.packing
        assert not verify_packing(problem, arrivals, after)
        assert (after.node[stays] != REFUSED).all()
        moved = stays & ((after.node != before.node) | (after.held != before.held))
        assert moved.sum() == point.moves <= point.most_moves
        now = placed_milli(problem, after)
        assert now == placed_milli(problem, before) + point.gained_milli <= most
    again = list(migrations(problem, before, (0, 3, 40)))
    for one, other in zip(curve, again, strict=True):
        assert np.array_equal(one.packing.node, other.packing.node)
        assert np.array_equal(one.packing.held, other.packing.held)
        assert one.bound_milli == other.bound_milli


def test_one_move_makes_room_for_a_whole_one() -> None:
    problem = packing_problem(
        [("A", 2, 100, 100)],
        [(1, 1, 1, 600, ""), (1, 1, 1, 400, ""), (1, 1, 1, 1000, "")],
    )
    arrivals = np.array([0, 1, 2], dtype=np.int64)
    apart = Packing(arrivals, np.array([0, 0, REFUSED]), np.array([0b01, 0b10, 0]))
    none, one = migrations(problem, apart, (0, 1))
    assert (none.moves, none.gained_milli) == (0, 0)
    assert (one.moves, one.gained_milli) == (1, WHOLE_MILLI)
    assert one.bound_milli >= WHOLE_MILLI - 1e-6
    assert not verify_packing(problem, arrivals, one.packing)


def test_two_pods_change_places() -> None:
    # CPU is short beside the small share and idle beside the large one: only a swap admits a third.
    problem = packing_problem(
        [("A", 1, 10, 100), ("A", 1, 4, 100)],
        [(8, 1, 1, 700, ""), (4, 1, 1, 500, ""), (2, 1, 1, 500, "")],
    )
    arrivals = np.array([1, 0, 2], dtype=np.int64)
    crossed = Packing(arrivals[[1, 0]], np.array([0, 1]), np.array([1, 1]))
    (full,) = migrations(problem, crossed, (2,))
    assert (full.moves, full.gained_milli) == (0, 0)
    start = Packing(np.array([1, 2, 2]), np.array([1, 0, REFUSED]), np.array([1, 1, 0]))
    (done,) = migrations(problem, start, (2,))
    assert done.gained_milli == 500
    assert not verify_packing(problem, start.arrivals, done.packing)


def test_nothing_waits_and_nothing_is_there() -> None:
    problem = packing_problem([("A", 1, 10, 10)], [(1, 1, 0, 0, "")])
    empty = Packing(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    for arrivals, start in ((0, empty), (1, Packing(np.array([0]), np.array([0]), np.array([0])))):
        (done,) = migrations(problem, start, (5,))
        assert len(done.packing) == arrivals
        assert (done.moves, done.gained_milli) == (0, 0)
