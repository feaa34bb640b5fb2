"""Single-server disciplines whose mean times in system are known in closed form.

Poisson arrivals to one accelerator, general service times. References: W. Smith, Naval Research
Logistics 3, 1956, and T. Phipps, Operations Research 4, 1956 (shortest job first, not
preemptive); L. Schrage, L. Miller, Operations Research 14, 1966 (shortest remaining time);
L. Kleinrock, Queueing Systems 2, 1976, sections 4.6 and 4.7 (least attained service, and
levels of attained service that are first come, first served within).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from random_problems import fleet, workload

from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.student_t import t_quantile
from scheduler.core.workload import FloatArray, JobClass, RunTimePhysics
from scheduler.policies.orders import QUANTUM_S, TIRESIAS_LIMITS
from scheduler.simulate import simulate

LEVELS = ("node", "pod", "site", "fleet")
REPLICATIONS = 24
CUSTOMERS = 2000
LOAD = 0.7
SHORT_SHARE, SHORT, LONG = 0.8, 0.5, 3.0
"""Service is hyperexponential of mean 1: most are short, some long, so that order matters."""


@dataclass(frozen=True)
class Law:
    """The service time's density on a grid, in units of its mean."""

    x: FloatArray
    density: FloatArray

    def below(self, power: int) -> FloatArray:
        """Return the integral of t^power f(t) from 0 to each x."""
        return accumulated(self.x**power * self.density, self.x)

    def cut(self, power: int) -> FloatArray:
        """Return E[min(S, x)^power] at each x."""
        return self.below(power) + self.x**power * (1.0 - self.below(0))


def accumulated(values: FloatArray, x: FloatArray) -> FloatArray:
    steps = 0.5 * (values[1:] + values[:-1]) * np.diff(x)
    return np.concatenate([[0.0], np.cumsum(steps)])


def law() -> Law:
    x = np.concatenate([np.linspace(0, 5, 20001), np.linspace(5, 150, 60001)[1:]])
    short = SHORT_SHARE / SHORT * np.exp(-x / SHORT)
    return Law(x, short + (1 - SHORT_SHARE) / LONG * np.exp(-x / LONG))


def mean_over(values: FloatArray, of: Law) -> float:
    return float(accumulated(values * of.density, of.x)[-1])


def shortest_job_first(of: Law) -> float:
    """Return W + S: lambda E[S^2] / 2 over the square of what shorter ones leave free."""
    square = float(of.below(2)[-1])
    return mean_over(LOAD * square / 2 / (1 - LOAD * of.below(1)) ** 2, of) + 1.0


def shortest_remaining(of: Law) -> float:
    """Return the mean of waiting before the start and of the stay from then on."""
    free = 1 - LOAD * of.below(1)
    waits = LOAD / 2 * of.cut(2) / free**2
    return mean_over(waits + accumulated(1 / free, of.x), of)


def least_attained(of: Law) -> float:
    free = 1 - LOAD * of.cut(1)
    return mean_over(of.x / free + LOAD / 2 * of.cut(2) / free**2, of)


def problem_of(seed: int, mean_s: float) -> Problem:
    rng = np.random.default_rng([seed, 11])
    release_s = np.cumsum(rng.exponential(mean_s / LOAD, CUSTOMERS))
    scale = np.where(rng.random(CUSTOMERS) < SHORT_SHARE, SHORT, LONG)
    work_s = rng.exponential(mean_s * scale)
    kind = JobClass("k", RunTimePhysics(), (1,), restart_s=0.0)
    modes = ((Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 1.0),),)
    cluster, types, domains, pools = fleet([[("A", 1)]])
    jobs = workload((kind,), [0] * CUSTOMERS, release_s.tolist(), work_s.tolist())
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes)


def stays_s(problem: Problem, policy: str) -> FloatArray:
    run = simulate(problem, policy)
    ends = np.array([run.finished_us[job] for job in range(CUSTOMERS)]) / 1e6
    return np.asarray(ends - problem.workload.jobs.release_s)


def in_band(values: list[float], expected: float, beside: float = 0.0) -> None:
    """Assert that `expected` lies in the 99 % band of replications, widened by `beside`."""
    half = t_quantile(0.995, len(values) - 1) * float(np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= half + beside
    assert half + beside <= 0.2 * expected


def test_the_formulas_agree_where_they_must() -> None:
    """Without anything to tell jobs apart, they are first come, first served."""
    of = law()
    assert of.below(0)[-1] == pytest.approx(1, abs=1e-6)
    assert of.below(1)[-1] == pytest.approx(1, abs=1e-5)
    first_come = 1 + LOAD * float(of.below(2)[-1]) / 2 / (1 - LOAD)
    assert shortest_remaining(of) < shortest_job_first(of) < first_come
    x = np.linspace(0, 60, 400001)
    exponential = Law(x, np.exp(-x))
    # blind to lengths and preemptive: with exponential service all have the same mean
    assert least_attained(exponential) == pytest.approx(1 / (1 - LOAD), rel=1e-4)


MEAN_S = 600.0


@pytest.mark.parametrize(
    ("policy", "expected"), [("sjf", shortest_job_first), ("srtf", shortest_remaining)]
)
def test_orders_by_length_have_the_mean_of_theory(
    policy: str, expected: Callable[[Law], float]
) -> None:
    means = [
        float(stays_s(problem_of(seed, MEAN_S), policy)[CUSTOMERS // 10 :].mean())
        for seed in range(REPLICATIONS)
    ]
    in_band(means, MEAN_S * expected(law()))


@pytest.mark.slow
def test_least_attained_service_has_the_mean_of_theory() -> None:
    """Turns last a quantum, which theory takes for nothing: it may lengthen a stay by one."""
    mean_s = 40 * QUANTUM_S
    means = [
        float(stays_s(problem_of(seed, mean_s), "las")[CUSTOMERS // 10 :].mean())
        for seed in range(REPLICATIONS)
    ]
    in_band(means, mean_s * least_attained(law()), beside=QUANTUM_S)


@pytest.mark.slow
def test_tiresias_serves_its_first_queue_as_if_nobody_had_had_more() -> None:
    """Jobs under the first limit wait for what is left of others' first parts alone."""
    limit_s, lease_s = TIRESIAS_LIMITS[0], 60.0
    of = law()
    at = int(np.searchsorted(of.x, 1.0))
    first, square = float(of.cut(1)[at]), float(of.cut(2)[at])
    wait_s = limit_s * LOAD * square / 2 / (1 - LOAD * first)
    means = []
    for seed in range(REPLICATIONS):
        problem = problem_of(seed, limit_s)
        work_s = problem.workload.jobs.work
        waits = stays_s(problem, "tiresias") - work_s
        short = np.flatnonzero(work_s < limit_s)
        means.append(float(waits[short[short >= CUSTOMERS // 10]].mean()))
    in_band(means, wait_s, beside=lease_s / 2)
