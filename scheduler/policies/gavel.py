"""Gavel's policies: shares of time on each accelerator type from a convex program.

D. Narayanan, K. Santhanam, F. Kazhamiaka, A. Phanishayee, M. Zaharia, "Heterogeneity-aware
cluster scheduling policies for deep learning workloads", OSDI 2020, section 4. Names ending
in ``_perf`` know each job's rate on each type; the others take all types for equal, and let
the types choose their jobs in random order, as Gavel's baselines do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scheduler.core.random import stream
from scheduler.core.workload import FloatArray, IntArray
from scheduler.policies.rounds import ROUND_S, SharedRounds, ShareRule
from scheduler.policies.view import View
from scheduler.solver.fair_shares import (
    Fleet,
    finish_time_shares,
    isolated_rates,
    isolated_shares,
    makespan_shares,
    max_min_shares,
    max_throughput_shares,
    proportional_rates,
)
from scheduler.solver.market import market_shares

WINDOW_S = 20 * 120.0
UNFAIRNESS_POWER = 12.0
MAKESPAN_WEIGHT = 1e-3
"""As in Shockwave's configuration for 32 GPUs: twenty rounds of two minutes, the exponent of
the weights ("lambda"), and the weight of a second of makespan ("k")."""

_LEAST_UNFAIR = 0.1


def make_gavel(
    objective: str, *, perf: bool, cost: bool = False, round_s: float = ROUND_S
) -> SharedRounds:
    """Return Gavel's policy for an objective.

    Parameters
    ----------
    objective : {"max_min", "finish_time", "makespan", "throughput", "equal", "market"}
        Max-min fairness of effective throughput; finish-time fairness; makespan; sum of
        throughputs; an equal part of every type for all; Shockwave's market.
    round_s : float
        Length of a round.
    perf : bool
        Whether it knows that types differ.
    cost : bool
        Whether throughput counts per dollar of an accelerator-hour (section 4.2, "minimize
        cost").
    """
    rules: dict[str, Callable[[], ShareRule]] = {
        "max_min": MaxMin,
        "finish_time": FinishTime,
        "makespan": Makespan,
        "throughput": Throughput,
        "equal": Equal,
        "market": Market,
    }
    rule = rules[objective]()
    if perf:
        return SharedRounds(rule, per_dollar=cost, round_s=round_s)
    shuffle = stream(0, f"gavel {objective}")
    return SharedRounds(Blind(rule), shuffle, per_dollar=cost, round_s=round_s)


class MaxMin:
    """The worst-off job's throughput is as large as possible, against an equal split of time."""

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares (Gavel, section 4.1: per accelerator and weight)."""
        fleet = Fleet(rate, gang, capacity)
        weight = np.array([view.weight(job) for job in jobs.tolist()])
        return max_min_shares(fleet, weight * proportional_rates(fleet) / gang.min(axis=1))


class FinishTime:
    """The worst ratio of finish time to that on an n-th of the fleet is as small as possible.

    What a job has done so far counts as the time it would have taken on the n-th of then.
    """

    def __init__(self) -> None:
        self._isolated_s: dict[int, float] = {}
        self._last: dict[int, tuple[float, float]] = {}

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares (Gavel, section 4.2; Mahajan et al., Themis, NSDI 2020)."""
        fleet = Fleet(rate, gang, capacity)
        left = _left(view, jobs)
        alone = isolated_rates(fleet)
        release_s = view.problem.workload.jobs.release_s[jobs]
        for job, now_left, now_alone in zip(
            jobs.tolist(), left.tolist(), alone.tolist(), strict=True
        ):
            before = self._last.get(job)
            if before is not None:
                had_s = max(0.0, before[0] - now_left) / before[1]
                self._isolated_s[job] = self._isolated_s.get(job, 0.0) + had_s
            self._last[job] = (now_left, now_alone)
        had = np.array([self._isolated_s.get(job, 0.0) for job in jobs.tolist()])
        elapsed_s = np.maximum(0.0, view.now_s - release_s)
        return finish_time_shares(fleet, left, elapsed_s, had + left / alone)


class Makespan:
    """All work is done as soon as possible."""

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares (Gavel, section 4.2)."""
        return makespan_shares(Fleet(rate, gang, capacity), _left(view, jobs))


class Throughput:
    """The sum of throughputs is as large as possible."""

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares (Gavel, section 4.2; steps of all models count alike)."""
        return max_throughput_shares(Fleet(rate, gang, capacity), rate)


class Equal:
    """Every job has an equal part of each type."""

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares."""
        return isolated_shares(Fleet(rate, gang, capacity))


class Market:
    """Shockwave's market over the next window of rounds (Zheng et al., NSDI 2023).

    A job's weight is its finish-time fairness, elapsed and remaining time over that on an
    n-th of the fleet, to a power. Batch sizes do not change over time here, so there is no
    forecast of them.
    """

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares of the window."""
        fleet = Fleet(rate, gang, capacity)
        left = _left(view, jobs)
        whole = np.maximum(left, view.problem.workload.jobs.work[jobs])
        if view.information != "exact":
            whole = 2 * left  # the size is not known: half done, by the view's own rule
        elapsed_s = np.maximum(0.0, view.now_s - view.problem.workload.jobs.release_s[jobs])
        best = rate.max(axis=1)
        unfair = (elapsed_s + left / best) / (whole / isolated_rates(fleet))
        weight = np.maximum(_LEAST_UNFAIR, unfair) ** UNFAIRNESS_POWER
        weight *= len(weight) / weight.sum()
        return market_shares(fleet, whole - left, left, weight, WINDOW_S, MAKESPAN_WEIGHT)


class Blind:
    """Every type is taken for the fastest of the fleet, or the job's where it cannot run there."""

    def __init__(self, rule: ShareRule) -> None:
        self._rule = rule

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares."""
        best = rate.max(axis=1)
        reference = int((rate / best[:, None]).sum(axis=0).argmax())
        known = np.where(rate[:, reference] > 0, rate[:, reference], best)
        same = np.broadcast_to(known[:, None], rate.shape)
        return self._rule(view, jobs, same, gang, capacity)


def _left(view: View, jobs: IntArray) -> FloatArray:
    """Return the remaining work of each job, as far as it is known; at least a crumb."""
    best = [view.modes(job)[0].rate for job in jobs.tolist()]
    left_s = np.array([max(1e-3, view.remaining_s(job)) for job in jobs.tolist()])
    return np.asarray(left_s * np.array(best))
