"""Policies for jobs that adapt batch and gang while they train."""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.random import stream
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive.agents import KnownAgents, LearningAgents, RigidAgents
from scheduler.policies.adaptive.gavel import Gavel
from scheduler.policies.adaptive.optimizer import Optimizer
from scheduler.policies.adaptive.predicting import WorkPredictor
from scheduler.policies.adaptive.sia import Sia
from scheduler.policies.adaptive.view import AdaptivePolicy, Agents

POLICIES: Final = ("gavel_max_min", "gavel_max_sum", "sia", "optimizer")
INFORMATION: Final = ("exact", "estimates", "none")
RATES: Final = ("known", "learned")
OBJECTIVES: Final = ("mean_jct", "makespan")
ESTIMATE_ERROR: Final = 0.5
"""Standard deviation of the logarithm of users' errors, unless another is stated."""


def make_adaptive(
    name: str,
    tables: Tables,
    *,
    information: str = "none",
    rates: str = "known",
    objective: str = "mean_jct",
    estimate_error: float = ESTIMATE_ERROR,
    seed: int = 0,
) -> tuple[AdaptivePolicy, Agents]:
    """Return a policy and the jobs' side that goes with it.

    Parameters
    ----------
    name : str
        One of `POLICIES`.
    tables : Tables
        The problem's tables.
    information, rates, objective : str
        One of `INFORMATION`, `RATES` and `OBJECTIVES`. Gavel knows the rates of rigid jobs and
        Sia looks at no remaining work, so these matter to some policies only.
    estimate_error : float
        Of users' estimates of work: standard deviation of the logarithm, not negative.
    seed : int
        Of those errors, not negative.

    Raises
    ------
    InputError
        If a name is none of those.
    """
    faults = [
        Fault("unknown", f"--{option}", "", value, ", ".join(known), nearest_name(value, known))
        for option, value, known in (
            ("policy", name, POLICIES),
            ("information", information, INFORMATION),
            ("rates", rates, RATES),
            ("objective", objective, OBJECTIVES),
        )
        if value not in known
    ]
    faults += [
        Fault("negative", f"--{option}", "", str(value))
        for option, value in (("estimate-error", estimate_error), ("seed", seed))
        if not value >= 0
    ]
    if faults:
        raise InputError(faults)
    if name.startswith("gavel"):
        return Gavel(tables, fair=name == "gavel_max_min"), RigidAgents(tables)
    sia = name == "sia"
    policy: AdaptivePolicy = Sia(tables)
    if not sia:
        predictor = None
        if information == "estimates":
            predictor = WorkPredictor(_estimates(tables, estimate_error, seed), estimate_error)
        policy = Optimizer(
            tables, information=information, objective=objective, predictor=predictor
        )
    if rates == "known":
        return policy, KnownAgents(tables)
    return policy, LearningAgents(tables, shared=not sia, capped=sia)


def _estimates(tables: Tables, error: float, seed: int) -> list[float]:
    """Return users' estimates of the seconds of each job at its best."""
    jobs = tables.problem.jobs
    best = {
        a: float((tables.lengths[a] / tables.best_goodputs(a).max(axis=0)).sum())
        for a in {job.application for job in jobs}
    }
    off = np.exp(error * stream(seed, "estimates").normal(size=len(jobs)))
    return [best[job.application] * float(o) for job, o in zip(jobs, off, strict=True)]
