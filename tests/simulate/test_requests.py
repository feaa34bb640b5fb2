from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from bench.fluid import compare, played
from scheduler.physics.queueing import capacity_in_time, miss_probability
from scheduler.simulate.requests import (
    ServingSpan,
    arrivals_of,
    play_requests,
    queueing_attainment,
    serving_spans,
)
from scheduler.verify import verify_run


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
    assert max(r["points"] for r in rows) < 2.0
    assert sum(r["violations"] for r in rows) == 0
    assert sum(r["peer"] < 0.95 for r in rows) > 5  # not all are served in full


def test_the_engine_takes_the_line_of_its_steady_state() -> None:
    """What a run says was served follows from its own replicas, and the verifier agrees."""
    for number in range(4):
        problem, run = played(1, number)
        service = problem.workload.services[0]
        share = queueing_attainment(
            service.times_s,
            service.demand_per_s,
            serving_spans(problem, run, 0),
            service.ttft_s,
            run.horizon_us / 1e6,
        )
        assert run.served[0] / run.demanded[0] == pytest.approx(share, rel=1e-6)
        assert verify_run(problem, run) == []
        told = dataclasses.replace(run, served=(run.served[0] * 1.0001,))
        assert {v.code for v in verify_run(problem, told)} == {"served"}


def test_capacity_in_time_is_the_least_that_is() -> None:
    for rate, probability, mean_s, patience_s in (
        (20.0, 0.999, 20.0, 2.0), (1.2, 0.99, 23.0, 60.0), (500.0, 0.9999, 0.5, 0.2),
    ):  # fmt: skip
        least = capacity_in_time(rate, probability, mean_s, patience_s)
        slots = max(1, round(least * mean_s))
        assert miss_probability(rate, slots, least, patience_s) <= 1 - probability
        fewer = 0.98 * least
        slots = max(1, round(fewer * mean_s))
        assert miss_probability(rate, slots, fewer, patience_s) > 1 - probability
    assert capacity_in_time(0.0, 0.9, 1.0, 1.0) == 0.0
