"""The offline objectives of a run, counted again from its ledger and metrics."""

from __future__ import annotations

import math

import numpy as np

from scheduler.core.job_figures import job_figures, releases_us
from scheduler.core.ledger import IDLE_CAUSES, WASTE_CAUSES
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import HOUR_S, US_PER_S
from scheduler.solver.offline.objectives import equal_part_s


def recount(problem: Problem, run: Run, name: str) -> float:
    """Return an objective of a run in which every job that has a mode finished.

    Parameters
    ----------
    problem : Problem
        What was played.
    run : Run
        What happened.
    name : str
        One of `scheduler.solver.offline.OBJECTIVES`.
    """
    if name in ("energy", "cost", "carbon"):
        return {"energy": run.energy_j, "cost": run.cost_usd, "carbon": run.carbon_g}[name]
    if name in ("idle", "waste"):
        return run.ledger.of(IDLE_CAUSES if name == "idle" else WASTE_CAUSES) / US_PER_S
    figures, each = metrics_of(problem, run), job_figures(problem, run)
    if not len(each.finished):
        return 0.0
    release_us = releases_us(problem)
    # the metrics count from the first release of all, also of jobs that can never run
    early_s = float(release_us[each.finished].min() - release_us.min()) / US_PER_S
    makespan_s = figures.makespan_s - early_s
    if name == "makespan":
        return makespan_s
    if name == "throughput":
        return figures.finished * HOUR_S / makespan_s
    if name == "mean_jct":
        return figures.mean_jct_s
    if name == "weighted_completion":
        weight = problem.workload.jobs.weight[each.finished]
        return float(np.average(each.jct_s, weights=weight))
    if name == "tardiness":
        return 0.0 if math.isnan(figures.mean_tardiness_s) else figures.mean_tardiness_s
    if name == "max_min_fairness":
        return 1.0 / float(each.slowdown.max())
    return float((each.jct_s / equal_part_s(problem)[each.finished]).max())
