"""The whole problem in one interval model: to proved optimality where it is small."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from scheduler.core.problem import Problem
from scheduler.core.run import Status
from scheduler.solver.offline.answers import Found
from scheduler.solver.offline.bounds import bound_beyond
from scheduler.solver.offline.instance import Instance
from scheduler.solver.offline.keeping import Keeper
from scheduler.solver.offline.model import EXACT, Limits, ModelAnswer, OfflineModel
from scheduler.solver.offline.repair import SOLVER_COST

MODEL_JOBS: Final = 60
MODEL_SLOTS: Final = 12_000
"""Jobs and slot variables up to which the whole problem goes into one model."""

SURE_JOBS: Final = 12
"""With so few jobs the model gets all the time, else part of it and repair the rest."""

SEARCHES: Final = ((0.45, False, False), (0.4, False, True), (0.15, True, False))
"""Searches of the whole problem: share of the time, the usual one, for the bound first."""

CHECK: Final = 2e-4
"""Time of the search without cuts that tries to refute what one with cuts has proved: CP-SAT's cuts
for cumulative constraints can overflow. It is no second proof, which would often take for ever."""

AHEAD: Final = 6
"""Halves of the horizon that the model looks further ahead, at most, where waiting may pay."""


def fits(instance: Instance) -> bool:
    """Return whether the whole problem goes into one model."""
    by_class = {c: sum(len(nodes) for _, nodes in ways) for c, ways in instance.ways.items()}
    slots = sum(by_class[instance.class_of(j)] for j in instance.jobs)
    return len(instance.jobs) <= MODEL_JOBS and slots <= MODEL_SLOTS


def share_of(limits: Limits, share: float) -> Limits:
    """Return a share of the time."""
    seconds = None if limits.seconds is None else limits.seconds * share
    return replace(limits, deterministic_time=limits.deterministic_time * share, seconds=seconds)


def solve_whole(
    keeper: Keeper, name: str, once: Found | None, bound: float, limits: Limits
) -> tuple[ModelAnswer, float]:
    """Solve the whole problem: for a better plan, for a better bound, by the usual search.

    Each of them takes for ever on some problems that another proves at once.

    Parameters
    ----------
    keeper : Keeper
        Problem, instance and what leads.
    name : str
        Objective.
    once : Found or None
        The best so far in which each job runs once.
    bound : float
        On its loss.
    limits : Limits
        For all searches together.

    Returns
    -------
    (ModelAnswer, float)
        The answer, and the deterministic time that it took.
    """
    stalled, refuted, spent = False, False, 0.0
    instance, plan = keeper.instance, once.plan if once else None
    best = once
    horizon = look_ahead(keeper.problem, instance, name, once)
    if name in ("makespan", "throughput") and plan is not None:
        horizon = max(p.end for p in plan.values())
    status = Status.TIME_LIMIT
    for part, usual, bound_first in SEARCHES:
        if stalled and not usual:
            continue
        model = OfflineModel(instance, name, instance.jobs, {}, horizon, kept=keeper.kept)
        if plan is not None:
            model.hint(plan)
        if name in EXACT:
            model.at_least(bound)
        mine = replace(
            share_of(limits, part), usual=usual, bound_first=bound_first, cuts=not refuted
        )
        answer = model.solve(mine)
        cost = 1.0 if len(instance.jobs) <= SURE_JOBS else SOLVER_COST
        spent += cost * answer.deterministic_time
        status, stalled = answer.status, answer.stalled
        if status is Status.INFEASIBLE:
            return answer, spent
        best = keeper.found("interval model", answer.plan, name, best)
        if status is Status.OPTIMAL and not (usual or refuted):
            check = OfflineModel(instance, name, instance.jobs, {}, horizon, kept=keeper.kept)
            better = check.better_than(answer, replace(limits, deterministic_time=CHECK))
            refuted = better.plan is not None
            best = keeper.found("interval model", better.plan, name, best)
        plan = best.plan if best else None
        if refuted and mine.cuts:
            status = Status.TIME_LIMIT  # neither the answer nor its bound is worth anything
            continue
        bound = max(bound, answer.bound)
        if status is not Status.TIME_LIMIT:
            break
    return ModelAnswer(plan, bound, status, 0.0), spent


def look_ahead(problem: Problem, instance: Instance, name: str, once: Found | None) -> int:
    """Return a horizon beyond which, where it may pay to wait, nothing better can end."""
    horizon = instance.horizon
    if once is not None:
        for _ in range(AHEAD):
            end_us = horizon * instance.tick_us
            if bound_beyond(problem, name, end_us) >= once.loss:
                break
            horizon += max(1, instance.horizon // 2)
    return horizon
