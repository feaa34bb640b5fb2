"""What a plan is worth while the search compares thousands of them: losses from its ends alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray
from scheduler.solver.offline.instance import Instance, Planned
from scheduler.solver.offline.objectives import (
    POWERED,
    WORST_OF,
    added_w,
    base_draw,
    fair_lengths_s,
    loss_of,
    productive_us,
    up_us,
)

USED = (*POWERED, "idle", "waste")
"""Objectives that depend on modes and places, not only on ends."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What to minimise, and what not to worsen.

    Parameters
    ----------
    name : str
        Objective.
    kept : tuple of (str, float)
        Objectives that lead, with the most loss they may have.
    """

    name: str
    kept: tuple[tuple[str, float], ...] = ()


class Judge:
    """Losses of plans of one instance.

    Parameters
    ----------
    instance : Instance
        Jobs.
    goal : Goal
        What counts.
    """

    def __init__(self, instance: Instance, goal: Goal) -> None:
        self.instance, self.goal = instance, goal
        problem = instance.problem
        columns = problem.workload.jobs
        self.finals = instance.finals()
        owners = np.array([instance.job_of(u) for u in self.finals], dtype=np.int64)
        self.tick_s = instance.tick_us / US_PER_S
        self.release = np.array([instance.release[u] for u in self.finals], dtype=np.int64)
        self.weight = columns.weight[owners]
        self.due_s = columns.deadline_s[owners]
        names = {goal.name, *(name for name, _ in goal.kept)}
        self.fair_s: dict[str, FloatArray] = {
            n: fair_lengths_s(problem, n)[owners] for n in names if n in WORST_OF
        }
        self.slope = self._slope() if goal.name in USED else 0.0

    def losses(self, plan: Mapping[int, Planned]) -> tuple[float, float] | None:
        """Return a plan's loss and the sum of its ends; None if it worsens what leads."""
        ends = np.fromiter((plan[u].end for u in self.finals), np.int64, len(self.finals))
        for name, most in self.goal.kept:
            if self._loss(name, plan, ends) > most:
                return None
        return self._loss(self.goal.name, plan, ends), float(ends.sum())

    def _loss(self, name: str, plan: Mapping[int, Planned], ends: np.ndarray) -> float:
        if name in USED:
            return loss_of(self.instance.problem, name, self.instance.allocations(plan))
        spans_s = (ends - self.release) * self.tick_s
        if name in ("makespan", "throughput"):
            return float(ends.max() - self.release.min()) * self.tick_s
        if name == "tardiness":
            late = np.maximum(0.0, ends * self.tick_s - self.due_s)[~np.isnan(self.due_s)]
            return math.fsum(late) / len(late) if len(late) else 0.0
        if name in WORST_OF:
            return float((spans_s / self.fair_s[name]).max())
        weight: FloatArray = np.ones(len(ends)) if name == "mean_jct" else self.weight
        return math.fsum(weight * spans_s) / math.fsum(weight)

    def _slope(self) -> float:
        """Return about what a tick more until the last end costs."""
        problem, horizon_us = self.instance.problem, 1000 * US_PER_S
        if self.goal.name in POWERED:
            base = base_draw(problem, horizon_us)
            figure = {"energy": base.energy_j, "cost": base.cost_usd, "carbon": base.carbon_g}
            return figure[self.goal.name] / horizon_us * self.instance.tick_us
        return up_us(problem, horizon_us) / horizon_us * self.tick_s

    def marginal(self, unit: int, planned: Planned, last: int, area_price: float) -> float:
        """Return about what it costs to add a job there: its end, or what it uses.

        Parameters
        ----------
        unit, planned
            The job and its place.
        last : int
            Last end so far.
        area_price : float
            Ticks of completion that a tick of the whole capacity of a type is worth.
        """
        name = self.goal.name
        mode = self.instance.mode(unit, planned.mode)
        length = planned.end - planned.start
        if name in USED:
            cost = self.slope * max(0, planned.end - last)
            if name in POWERED:
                rate = 1.0
                if name != "energy":
                    site = self.instance.problem.cluster.sites[0]
                    tariff = site.usd_per_kwh if name == "cost" else site.carbon_g_per_kwh
                    rate = sum(tariff) / len(tariff) * site.pue / 3.6e6
                return cost + added_w(self.instance.problem, mode) * length * self.tick_s * rate
            if name == "idle":
                return cost - mode.count * length * self.tick_s
            restart_s = self.instance.problem.workload.classes[
                self.instance.class_of(unit)
            ].restart_s
            run_us = length * self.instance.tick_us - us_from_s(restart_s)
            return cost - mode.count * productive_us(mode, run_us) / US_PER_S
        capacity = self.instance.problem.capacity()
        area = sum(g.count * length / capacity[g.type_index] for g in mode.groups)
        return planned.end + area_price * area
