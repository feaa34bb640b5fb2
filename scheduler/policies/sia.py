"""Sia for jobs of fixed batch: one type and count per job and round, by an integer program.

S. Jayaram Subramanya et al., "Sia: heterogeneity-aware, goodput-optimized ML-cluster
scheduling", SOSP 2023, sections 3.3 and 3.4. Each job's rates on its configurations are divided
by the least of them; with fairness power p below zero the sum of ``rate ** p`` over the jobs
served, plus a penalty for each that is not, is minimised; a change of configuration is
discounted by the restart factor ``(T - N S) / (T + S)`` of a job of age T that has restarted N
times at S seconds each; a job at most doubles its accelerators. Jobs that adapt their batch are
played by `scheduler.policies.adaptive.sia`.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.problem import Mode
from scheduler.core.run import Placement
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View
from scheduler.solver.best_configs import best_configs

ROUND_S = 60.0
POWER = -0.5
UNSERVED = 1.1
"""Cost of a job without accelerators; a job at its least rate costs 1."""

LEAST_FACTOR = 1e-2

Config = tuple[int, int]
"""Type and accelerators."""


class Sia:
    """Sia's policy with the paper's power and penalty.

    Simplified: rates are the modes', known and the same at any time, so that the program is
    solved again only when a job has come or gone, or the last round changed something. Of
    several spreads on a type the fastest that has room is taken. The first start of a job is no
    restart. Rounds are longer than the paper's by the longest restart of a job: in a shorter
    one, a job that has a single turn would only restart.
    """

    def __init__(self) -> None:
        self._services = StaticPeak("best")
        self._round_end_us = 0
        self._known: dict[int, None] = {}
        self._last: dict[int, Config] = {}
        self._settled = False
        self._starts: dict[int, int] = {}
        self._most: dict[int, int] = {}
        self._fastest: list[list[tuple[Config, float]]] = []

    def decide(self, view: View) -> None:
        """Begin a round if the last one is over, or at once if nothing runs."""
        self._services.provision(view)
        if view.running and view.now_us < self._round_end_us:
            view.wake_at(self._round_end_us)
            return
        now = dict.fromkeys(sorted([*view.waiting, *view.running]))
        if now and not (self._settled and now == self._known and view.running):
            chosen = self._round(view)
            self._settled = chosen == self._last
            self._known, self._last = now, chosen
            restart_us = max((view.restart_us(j) for j in now if view.preemptible(j)), default=0)
            self._round_end_us = view.now_us + us_from_s(ROUND_S) + restart_us
            view.wake_at(self._round_end_us)

    def _round(self, view: View) -> dict[int, Config]:
        """Solve, carry out, and return what was chosen."""
        held = [job for job in view.running if view.preemptible(job)]
        free = view.free_without(held)
        if not self._fastest:
            self._fastest = [_fastest(modes) for modes in view.problem.modes]
        rates = {
            job: {c: rate for c, rate in self._fastest[view.class_of(job)] if c[1] <= free[c[0]]}
            for job in sorted([*view.waiting, *held])
        }
        jobs = [job for job in rates if rates[job]]
        configs = sorted({config for job in jobs for config in rates[job]})
        chosen: dict[int, Config] = {}
        if jobs:
            values = np.array([self._values(view, job, rates[job], configs) for job in jobs])
            found = best_configs(values, configs, free)
            chosen = {j: configs[c] for j, c in zip(jobs, found, strict=True) if c >= 0}
        self._carry_out(view, dict(chosen))
        return chosen

    def _values(
        self, view: View, job: int, rates: dict[Config, float], configs: list[Config]
    ) -> FloatArray:
        """Return what each configuration saves of the penalty; -inf where it may not be had."""
        row = np.array([rates.get(config, np.nan) for config in configs])
        scaled = row / np.nanmin(row)
        running = view.running.get(job)
        if running is not None:
            group = view.modes(job)[running.mode].groups[0]
            restart_s = view.restart_us(job) / US_PER_S
            age_s = max(0.0, view.now_s - float(view.problem.workload.jobs.release_s[job]))
            again_s = (self._starts.get(job, 1) - 1) * restart_s
            factor = (age_s - again_s) / (age_s + restart_s) if age_s + restart_s else 1.0
            here = np.array([config == (group.type_index, group.count) for config in configs])
            scaled = np.where(here, scaled, scaled * max(factor, LEAST_FACTOR))
        least = min(count for _, count in rates)
        counts = np.array([count for _, count in configs])
        allowed = ~np.isnan(row) & (counts <= max(least, 2 * self._most.get(job, 0)))
        return np.where(allowed, UNSERVED - np.where(allowed, scaled, 1.0) ** POWER, -np.inf)

    def _carry_out(self, view: View, chosen: dict[int, Config]) -> None:
        """Stop what has no turn, keep what stays as it is, start the others widest first."""
        for job, running in list(view.running.items()):
            groups = view.modes(job)[running.mode].groups
            if not view.preemptible(job):
                continue
            if len(groups) == 1 and chosen.get(job) == (groups[0].type_index, groups[0].count):
                del chosen[job]
            else:
                view.stop(job)
        for job in sorted(chosen, key=lambda j: (-chosen[j][1], j)):
            for m, mode in enumerate(view.modes(job)):
                if len(mode.groups) == 1 and (mode.type_index, mode.count) == chosen[job]:
                    placement = view.place_job(job, m)
                    if placement is not None:
                        self._start(view, job, m, placement)
                        break
        for job in list(view.waiting):  # gangs of several types; all, if rights forbade the rest
            if not view.running or all(len(m.groups) > 1 for m in view.modes(job)):
                found = view.find(job)
                if found is not None:
                    self._start(view, job, *found)

    def _start(self, view: View, job: int, mode: int, placement: Placement) -> None:
        view.start(job, mode, placement)
        self._starts[job] = self._starts.get(job, 0) + 1
        self._most[job] = max(self._most.get(job, 0), view.modes(job)[mode].count)


def _fastest(modes: tuple[Mode, ...]) -> list[tuple[Config, float]]:
    """Return the fastest rate of each type and count."""
    rates: dict[Config, float] = {}
    for mode in modes:
        if len(mode.groups) == 1:
            rates.setdefault((mode.type_index, mode.count), mode.rate)
    return list(rates.items())
