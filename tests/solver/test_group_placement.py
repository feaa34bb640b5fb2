from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.alpaserve import drawn
from scheduler.solver.group_placement import (
    Groups,
    SharedCase,
    alpaserve,
    improved,
    judge,
    replicate,
)


def case(models: int, devices: int, memory: float, slo_scale: float = 5.0) -> SharedCase:
    return SharedCase(np.full(models, 0.1), np.ones(models), devices, memory, slo_scale)


def test_requests_queue_by_hand() -> None:
    """One device, 0.1 s each, 0.25 s of patience in all: the third of a burst is refused."""
    one = case(1, 1, 1.0, slo_scale=2.5)
    at_s, model = np.array([0.0, 0.0, 0.0, 0.2]), np.zeros(4, dtype=np.int64)
    judged = judge(one, Groups((1,), ((0,),)), at_s, model)
    assert judged.missed == (1,)
    assert judged.in_time == pytest.approx(0.75)
    assert judged.busy_s == (pytest.approx(0.3),)
    # two stages take up the second after half the time: all are in time
    piped = judge(one, Groups((2,), ((0,),)), at_s, model)
    assert piped.missed == (0,)
    assert judge(one, Groups((1,), ((),)), at_s, model).in_time == 0.0


def test_placements_keep_to_the_memory() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        models = int(rng.integers(2, 10))
        some = SharedCase(rng.uniform(0.05, 0.2, models), rng.uniform(1, 3, models), 4, 4.0, 5.0)
        requests = drawn(rng, models, 30.0, 3.0, 30.0)
        for placed in (
            replicate(some, [1] * 4, *requests),
            alpaserve(some, *requests),
            improved(some, alpaserve(some, *requests), *requests, rng, 30),
        ):
            assert sum(placed.devices) <= 4
            for devices, held in zip(placed.devices, placed.models, strict=True):
                assert len(set(held)) == len(held)
                assert some.size_bytes[list(held)].sum() <= devices * 4.0 + 1e-9


def test_replication_is_near_the_best_of_all_placements() -> None:
    """Three models, two devices of room for two each: every placement tried."""
    some = case(3, 2, 2.0)
    requests = drawn(np.random.default_rng(1), 3, 12.0, 3.0, 60.0)
    pairs = list(itertools.combinations(range(3), 2))
    best = max(judge(some, Groups((1, 1), (a, b)), *requests).in_time for a in pairs for b in pairs)
    placed = replicate(some, [1, 1], *requests)
    swapped = improved(some, placed, *requests, np.random.default_rng(2), 100)
    assert judge(some, swapped, *requests).in_time == pytest.approx(best, abs=0.01)


def test_sharing_groups_takes_up_bursts() -> None:
    """The paper's point, on the case that its own simulator was run on: .575 against .946."""
    some = case(16, 8, 2.25)
    known = drawn(np.random.default_rng(3), 16, 40.0, 4.0, 100.0)
    judged = drawn(np.random.default_rng(4), 16, 40.0, 4.0, 400.0)
    apart = judge(some, replicate(some, [1] * 8, *known), *judged).in_time
    shared = judge(some, alpaserve(some, *known, 4), *judged).in_time
    assert apart == pytest.approx(0.575, abs=0.05)
    assert shared == pytest.approx(0.946, abs=0.04)
    more = improved(some, alpaserve(some, *known), *known, np.random.default_rng(5), 20)
    assert judge(some, more, *judged).in_time >= shared
