from __future__ import annotations

import math

import numpy as np
import pytest

from bench.fluid import compare
from scheduler.simulate.requests import (
    ServingSpan,
    arrivals_of,
    miss_probability,
    play_requests,
    queueing_attainment,
)


def erlang_b(load: float, servers: int) -> float:
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def test_without_patience_the_misses_are_erlangs() -> None:
    for load, slots in ((5.0, 8), (20.0, 18), (90.0, 100)):
        assert miss_probability(load, slots, float(slots), 0.0) == pytest.approx(
            erlang_b(load, slots), rel=1e-9
        )


def test_misses_in_the_limits() -> None:
    assert miss_probability(0.0, 4, 4.0, 1.0) == 0.0
    assert miss_probability(1.0, 0, 0.0, 1.0) == 1.0
    assert miss_probability(10.0, 4, 5.0, 1e6) == pytest.approx(0.5)
    assert miss_probability(4.0, 10, 10.0, 1e3) == pytest.approx(0.0, abs=1e-12)
    assert miss_probability(10.0, 10, 10.0, 1.0) > 0
    falling = [miss_probability(9.5, 10, 10.0, t) for t in (0.0, 0.5, 1.0, 5.0)]
    assert falling == sorted(falling, reverse=True)


def test_played_requests_meet_the_steady_state() -> None:
    rng = np.random.default_rng(3)
    slots, rate, patience_s, end_s = 20, 10.0, 0.5, 20_000.0
    arrivals = arrivals_of(np.array([0.0]), np.array([9.5]), end_s, rng)
    spans = [ServingSpan(0.0, end_s, rate, slots)]
    played = play_requests(arrivals, spans, patience_s, rng)
    expected = 1 - miss_probability(9.5, slots, rate, patience_s)
    assert played.share == pytest.approx(expected, abs=0.006)
    steady = queueing_attainment(np.array([0.0]), np.array([9.5]), spans, patience_s, end_s)
    assert steady == pytest.approx(expected)


def test_nothing_is_served_without_replicas() -> None:
    rng = np.random.default_rng(0)
    arrivals = arrivals_of(np.array([0.0]), np.array([2.0]), 100.0, rng)
    assert play_requests(arrivals, [], 1.0, rng).in_time == 0
    late = [ServingSpan(50.0, 100.0, 1000.0, 1000)]
    share = play_requests(arrivals, late, 0.0, rng).share
    assert share == pytest.approx(0.5, abs=0.1)
    assert queueing_attainment(np.array([0.0]), np.array([2.0]), late, 0.0, 100.0) == (
        pytest.approx(0.5, abs=1e-6)
    )


def test_arrivals_follow_the_curve() -> None:
    rng = np.random.default_rng(2)
    times, rates = np.array([0.0, 100.0, 200.0]), np.array([5.0, 0.0, 20.0])
    arrivals = arrivals_of(times, rates, 300.0, rng)
    counts = np.histogram(arrivals, [0, 100, 200, 300])[0]
    assert counts[1] == 0
    assert abs(counts[0] - 500) < 5 * math.sqrt(500)
    assert abs(counts[2] - 2000) < 5 * math.sqrt(2000)
    assert (np.diff(arrivals) >= 0).all()


@pytest.mark.slow
def test_fifty_random_services_request_by_request() -> None:
    rows = [compare(1, i) for i in range(50)]
    assert max(r["queueing_points"] for r in rows) < 2.0
    assert sum(r["points"] <= 2.0 for r in rows) >= 48
    assert sum(r["peer"] < 0.95 for r in rows) > 5  # not all are served in full
