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
from scheduler.policies.rounds import SharedRounds, ShareRule
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


def make_gavel(objective: str, *, perf: bool, cost: bool = False) -> SharedRounds:
    """Return Gavel's policy for an objective.

    Parameters
    ----------
    objective : {"max_min", "finish_time", "makespan", "throughput", "equal"}
        Max-min fairness of effective throughput; finish-time fairness; makespan; sum of
        throughputs; an equal part of every type for all.
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
    }
    rule = rules[objective]()
    if perf:
        return SharedRounds(rule, per_dollar=cost)
    return SharedRounds(Blind(rule), stream(0, f"gavel {objective}"), per_dollar=cost)


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


class Blind:
    """Every type is taken for the job's fastest."""

    def __init__(self, rule: ShareRule) -> None:
        self._rule = rule

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return the shares."""
        same = np.broadcast_to(rate.max(axis=1)[:, None], rate.shape)
        return self._rule(view, jobs, same, gang, capacity)


def _left(view: View, jobs: IntArray) -> FloatArray:
    """Return the remaining work of each job, as far as it is known; at least a crumb."""
    best = [view.modes(job)[0].rate for job in jobs.tolist()]
    left_s = np.array([max(1e-3, view.remaining_s(job)) for job in jobs.tolist()])
    return np.asarray(left_s * np.array(best))
