"""Sia (Jayaram Subramanya et al., SOSP'23): one configuration per job and round, by an ILP.

Each job's row of estimated goodputs is divided by its least, so that it counts accelerators; a
change of configuration is discounted by the restart factor ``(T - N S) / (T + S)`` of a job of
age T that has restarted N times at S seconds each. With fairness power p below zero the sum of
``goodput ** p`` over the jobs served, plus a penalty for each job that is not, is minimised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Config, Tables
from scheduler.policies.adaptive.view import AdaptiveView, JobState
from scheduler.solver.best_configs import best_configs

ROUND_S: Final = 60
POWER: Final = -0.5
UNSERVED: Final = 1.1
"""Cost of a job without accelerators; a job at its least goodput costs 1."""

LEAST_FACTOR: Final = 1e-2


class Sia:
    """Sia's policy with the paper's power and penalty.

    Parameters
    ----------
    tables : Tables
        Configurations and capacities.
    """

    name = "sia"
    round_s = ROUND_S
    rigid = False

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._needs = [config for config, _ in tables.configs]
        self._counts = np.array([count for _, count in self._needs])
        self._most: dict[int, int] = {}

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        """Return the configuration of each job served."""
        jobs = view.jobs
        if not jobs:
            return {}
        values = np.array([self._values(view, state) for state in jobs])
        chosen = best_configs(values, self._needs, self._tables.capacity)
        wanted = {s.job: self._needs[c] for s, c in zip(jobs, chosen, strict=True) if c >= 0}
        for job, (_, count) in wanted.items():
            self._most[job] = max(count, self._most.get(job, 0))
        return wanted

    def _values(self, view: AdaptiveView, state: JobState) -> FloatArray:
        """Return what each configuration saves of the penalty; -inf where it grows too fast."""
        goodput = view.agents.goodputs(state)[:, state.epoch]
        scaled = goodput / goodput.min()
        if state.config is not None:
            restart = view.problem.applications[state.application].restart_s
            age = max(view.time_s - state.release_s, 0.0)
            again = (state.restarts - 1) * restart  # the first start is none
            factor = (age - again) / (age + restart)
            here = np.array([config == state.config for config in self._needs])
            scaled = np.where(here, scaled, scaled * max(factor, LEAST_FACTOR))
        allowed = self._counts <= max(1, 2 * self._most.get(state.job, 0))
        return np.where(allowed, UNSERVED - scaled**POWER, -np.inf)
