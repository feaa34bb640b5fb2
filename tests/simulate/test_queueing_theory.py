"""Queues whose means are known in closed form: the engine under FIFO lies in their 99 % band.

The band is Student's, over independent replications; each replication drops its first tenth,
while the queue fills. References: D. Gross, C. Harris, Fundamentals of Queueing Theory, 1998,
sections 2.2 (M/M/1), 2.3 (M/M/c, Erlang's C formula) and 5.1 (Pollaczek-Khinchine).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from random_problems import fleet, workload

from scheduler.core.ledger import Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.student_t import t_quantile
from scheduler.core.workload import FloatArray, JobClass, RunTimePhysics
from scheduler.simulate import simulate

LEVELS = ("node", "pod", "site", "fleet")
REPLICATIONS = 24
CUSTOMERS = 4000
PRECISION = 0.2
"""Half the band over the expected value, at most: a wider band would prove little. A service
that takes a tenth longer moves these mean waits by 42 % (M/M/1) or more."""

Draw = Callable[[np.random.Generator, int], FloatArray]


def exponential(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.exponential(1.0, n)


def constant(rng: np.random.Generator, n: int) -> FloatArray:
    return np.ones(n)


def queue(servers: int, load: float, service: Draw, seed: int, n: int = CUSTOMERS) -> Problem:
    """Poisson arrivals to `servers` accelerators; jobs of one, of mean one second."""
    rng = np.random.default_rng([seed, servers])
    release_s = np.cumsum(rng.exponential(1 / (load * servers), n))
    kind = JobClass("k", RunTimePhysics(), (1,), restart_s=0.0)
    modes = ((Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 1.0),),)
    cluster, types, domains, pools = fleet([[("A", servers)]])
    jobs = workload((kind,), [0] * n, release_s.tolist(), service(rng, n).tolist())
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes)


def waits_s(problem: Problem, policy: str = "fifo") -> FloatArray:
    run = simulate(problem, policy)
    start_us = np.zeros(len(problem.workload.jobs))
    for a in run.allocations:
        start_us[a.job] = a.start_us
    return np.asarray(start_us / 1e6 - problem.workload.jobs.release_s)


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a customer waits."""
    offered = load * servers
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


def in_band(values: list[float], expected: float) -> None:
    """Assert that the mean of independent replications has `expected` in its 99 % band."""
    n = len(values)
    half = t_quantile(0.995, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    assert abs(float(np.mean(values)) - expected) <= half
    assert half <= PRECISION * expected


CASES = [
    pytest.param(1, 0.6, exponential, 0.6 / 0.4, id="M/M/1"),
    pytest.param(3, 0.6, exponential, erlang_c(3, 0.6) / (3 * 0.4), id="M/M/3"),
    pytest.param(
        8, 0.7, exponential, erlang_c(8, 0.7) / (8 * 0.3), id="M/M/8", marks=pytest.mark.slow
    ),
    pytest.param(1, 0.7, constant, 0.7 / (2 * 0.3), id="M/D/1"),
]


@pytest.mark.parametrize(("servers", "load", "service", "expected_s"), CASES)
def test_mean_waits_lie_in_the_band(
    servers: int, load: float, service: Draw, expected_s: float
) -> None:
    means, waited = [], []
    for seed in range(REPLICATIONS):
        wait_s = waits_s(queue(servers, load, service, seed))[CUSTOMERS // 10 :]
        means.append(float(wait_s.mean()))
        waited.append(float((wait_s > 1e-6).mean()))
    in_band(means, expected_s)
    # Poisson arrivals see time averages: how many of them wait is known too
    in_band(waited, erlang_c(servers, load) if servers > 1 else load)


@pytest.mark.parametrize("service", [exponential, constant], ids=["M/M/1", "M/D/1"])
def test_every_wait_follows_lindleys_recursion(service: Draw) -> None:
    """Customer by customer: W' = max(0, W + S - A), to the engine's microsecond."""
    for seed in range(3):
        problem = queue(1, 0.85, service, seed)
        jobs = problem.workload.jobs
        expected = [0.0]
        for work, gap in zip(jobs.work.tolist(), np.diff(jobs.release_s).tolist(), strict=False):
            expected.append(max(0.0, expected[-1] + work - gap))
        np.testing.assert_allclose(
            waits_s(problem), expected[: len(jobs)], atol=2e-6 * CUSTOMERS, rtol=0
        )


@pytest.mark.parametrize("servers", [1, 3, 8])
def test_the_ledger_balances_to_the_microsecond_and_littles_law_holds(servers: int) -> None:
    problem = queue(servers, 0.8, exponential, 7)
    jobs = problem.workload.jobs
    run = simulate(problem, "fifo")
    assert run.ledger.total_us() == servers * run.ledger_end_us
    held_us = sum(a.end_us - a.start_us for a in run.allocations)
    assert run.ledger.of((Cause.PRODUCTIVE,)) == held_us
    assert held_us == pytest.approx(float(jobs.work.sum()) * 1e6, abs=len(jobs))
    # Little: the time integral of the number in the system is the sum of the times in it
    metrics = metrics_of(problem, run)
    ends = sorted(run.finished_us.values())
    starts = [math.ceil(t * 1e6 - 1e-3) for t in jobs.release_s]
    times = np.array(sorted([*starts, *ends]))
    here = np.searchsorted(starts, times, "right") - np.searchsorted(ends, times, "right")
    area_s = float((here[:-1] * np.diff(times)).sum()) / 1e6
    assert area_s == pytest.approx(metrics.mean_jct_s * len(jobs), rel=1e-9)
