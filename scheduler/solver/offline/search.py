"""Offline schedules: a first plan, the exact model where it fits, repair of windows for the rest.

Schedules here are non-preemptive: each job runs once, from start to end, in one mode on one
placement. The bound that the interval model proves holds for those; `general_bound` holds for
every schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.run import Allocation, Schedule, Status
from scheduler.solver.offline.greedy import greedy_plan
from scheduler.solver.offline.instance import Instance, Planned, build_instance
from scheduler.solver.offline.model import EXACT, Limits, ModelAnswer, OfflineModel
from scheduler.solver.offline.objectives import general_bound, objective_value
from scheduler.verify import verify_schedule

MODEL_SLOTS: Final = 12_000
"""Slot variables up to which the whole problem goes into one model."""

GREEDY_WORK: Final = 2_000_000
"""Jobs squared times choices up to which greedy plans are made."""

SURE_JOBS: Final = 12
"""With so few jobs the model gets all the time, else half of it and repair the rest."""

WINDOW_JOBS: Final = (5, 8, 12)
WINDOW_NODES: Final = 24
WINDOW_TIME: Final = 0.5
"""Jobs and nodes of a window of repair, and its deterministic time."""

WINDOW_COST: Final = 0.03
"""Counted for every window at least: building it takes time that CP-SAT does not count."""

_SAME: Final = 1e-6
"""Relative difference of objective and bound that counts as none (as the verifier's)."""


@dataclass(frozen=True, slots=True)
class OfflineAnswer:
    """An offline schedule and its proof.

    Parameters
    ----------
    schedule : Schedule
        Non-preemptive; its bound holds for non-preemptive schedules.
    general_bound : float
        Holds for every schedule, preempting ones too.
    proof : str
        How the bound was proved, for people.
    first : str
        What the search began with, and `first_objective` what that reached.
    first_objective : float
        Infinite where nothing was known.
    windows, improved : int
        Windows of repair tried, and those that helped.
    deterministic_time : float
        That CP-SAT spent, about seconds.
    tick_s : float
        Of the interval model.
    """

    schedule: Schedule
    general_bound: float
    proof: str
    first: str
    first_objective: float
    windows: int
    improved: int
    deterministic_time: float
    tick_s: float

    @property
    def gap(self) -> float:
        """Return (objective - bound) / objective; 0 where the objective is 0."""
        objective = self.schedule.objective
        return (objective - self.schedule.bound) / objective if objective > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Best:
    """The best verified plan so far; no plan and an infinite objective before the first."""

    name: str = "nothing"
    plan: Mapping[int, Planned] | None = None
    objective: float = math.inf


def solve_offline(
    problem: Problem,
    objective: str,
    *,
    known: Sequence[tuple[str, Sequence[Allocation]]] = (),
    limits: Limits,
) -> OfflineAnswer:
    """Schedule known jobs over the whole horizon.

    Parameters
    ----------
    problem : Problem
        Without services; random failures are left out.
    objective : str
        One of `OBJECTIVES`.
    known : sequence of (str, allocations)
        Named schedules to begin with; those that preempt are passed over.
    limits : Limits
        For all solves together.

    Returns
    -------
    OfflineAnswer
        Accepted by `verify_schedule`.

    Raises
    ------
    InfeasibleError
        Naming the jobs that can never run, or a minimal set of jobs in conflict.
    """
    instance = build_instance(problem)
    general = general_bound(problem, objective)
    if not instance.jobs:
        nothing = Schedule((), objective, 0.0, 0.0, Status.OPTIMAL)
        return OfflineAnswer(
            nothing, 0.0, "there is no job to plan", "nothing", 0.0, 0, 0, 0.0, 0.0
        )
    first = best = _first(instance, objective, known)
    bound, proof, spent, windows, improved = general, _GENERAL, 0.0, 0, 0
    whole = _slots(instance) <= MODEL_SLOTS
    status = Status.FEASIBLE
    if whole and not _met(best.objective, bound):
        share = 1.0 if len(instance.jobs) <= SURE_JOBS else 0.5
        best, answer = _solve_whole(instance, objective, best, general, _share(limits, share))
        spent += answer.deterministic_time
        status = Status.TIME_LIMIT if answer.status is Status.TIME_LIMIT else Status.FEASIBLE
        if answer.status is Status.INFEASIBLE:
            raise InfeasibleError(_conflict(instance, objective, limits))
        if answer.bound > bound:
            bound, proof = answer.bound, _MODEL
    if best.plan is not None and not _met(best.objective, bound):
        left = replace(limits, deterministic_time=limits.deterministic_time - spent)
        best, windows, improved, more = _repair(instance, objective, best, bound, left)
        spent += more
    if best.plan is None:
        message = "no schedule was found within the time limit that keeps to every rule"
        raise InfeasibleError(message)
    if _met(best.objective, bound):
        status, bound = Status.OPTIMAL, min(bound, best.objective)
    schedule = Schedule(instance.allocations(best.plan), objective, best.objective, bound, status)
    return OfflineAnswer(
        schedule, general, proof, first.name, first.objective, windows, improved,
        round(spent, 6), instance.tick_us / 1e6,
    )  # fmt: skip


_GENERAL: Final = "combinatorial bound, which holds for every schedule"
_MODEL: Final = "interval model, which holds for non-preemptive schedules"


def _met(objective: float, bound: float) -> bool:
    if math.isinf(objective):  # nothing is known yet
        return False
    return objective - bound <= 0.9 * _SAME * max(1.0, abs(objective))


def _share(limits: Limits, share: float) -> Limits:
    seconds = None if limits.seconds is None else limits.seconds * share
    return replace(limits, deterministic_time=limits.deterministic_time * share, seconds=seconds)


def _slots(instance: Instance) -> int:
    """Return about how many variables the whole problem has."""
    by_class = {c: sum(len(nodes) for _, nodes in ways) for c, ways in instance.ways.items()}
    classes = instance.problem.workload.jobs.class_index
    return sum(by_class[int(classes[j])] for j in instance.jobs)


def _first(
    instance: Instance, objective: str, known: Sequence[tuple[str, Sequence[Allocation]]]
) -> _Best:
    """Return the best of the known schedules and of greedy ones in a few orders."""
    best = _Best()
    for name, allocations in known:
        best = _better(instance, objective, best, name, instance.plan_of(allocations))
    if len(instance.jobs) * _slots(instance) > GREEDY_WORK:
        return best
    columns, least = instance.problem.workload.jobs, instance.lengths
    shortest = {j: min(least[j].values()) for j in instance.jobs}
    keys = {
        "in order of release": lambda j: instance.release[j],
        "shortest first": lambda j: shortest[j] / float(columns.weight[j]),
        "longest first": lambda j: -shortest[j],
        "earliest deadline first": lambda j: _deadline(float(columns.deadline_s[j])),
        "earliest end alone first": lambda j: instance.release[j] + shortest[j],
    }
    for name, key in keys.items():
        order = sorted(instance.jobs, key=lambda j, key=key: (key(j), j))  # type: ignore[misc]
        plan = greedy_plan(instance, order)
        best = _better(instance, objective, best, f"greedy, {name}", plan)
    return best


def _deadline(deadline_s: float) -> float:
    return math.inf if math.isnan(deadline_s) else deadline_s


def _better(
    instance: Instance,
    objective: str,
    best: _Best,
    name: str,
    plan: Mapping[int, Planned] | None,
) -> _Best:
    """Return the plan if it is better than the best and the verifier accepts it, else the best."""
    if plan is None:
        return best
    allocations = instance.allocations(plan)
    value = objective_value(instance.problem, objective, allocations)
    if value >= best.objective:
        return best
    schedule = Schedule(allocations, objective, value, min(0.0, value), Status.FEASIBLE)
    if verify_schedule(instance.problem, schedule):
        return best
    return _Best(name, plan, value)


def _solve_whole(
    instance: Instance, objective: str, best: _Best, general: float, limits: Limits
) -> tuple[_Best, ModelAnswer]:
    """Solve the whole problem: first for a better plan, then for a better bound."""
    horizon = instance.horizon
    if objective == "makespan" and best.plan is not None:
        horizon = max(p.end for p in best.plan.values())
    bound, spent, status = general, 0.0, Status.TIME_LIMIT
    for bound_first in (False, True):
        model = OfflineModel(instance, objective, instance.jobs, {}, horizon)
        if best.plan is not None:
            model.hint(best.plan)
        if objective in EXACT:
            model.at_least(bound)
        answer = model.solve(replace(_share(limits, 0.5), bound_first=bound_first))
        best = _better(instance, objective, best, "interval model", answer.plan)
        bound, spent = max(bound, answer.bound), spent + answer.deterministic_time
        status = answer.status
        if status is not Status.TIME_LIMIT:
            break
    return best, ModelAnswer(None, bound, status, spent)


def _repair(
    instance: Instance, objective: str, best: _Best, bound: float, limits: Limits
) -> tuple[_Best, int, int, float]:
    """Free a few jobs that run about the same time, place them best, and so on."""
    assert best.plan is not None
    draws = stream(limits.seed, "offline windows")
    plan, spent, windows, improved, dull = dict(best.plan), 0.0, 0, 0, 0
    while limits.deterministic_time - spent > 0 and not _met(best.objective, bound):
        size = min(len(plan), WINDOW_JOBS[int(draws.integers(len(WINDOW_JOBS)))])
        seed_job = instance.jobs[int(draws.integers(len(instance.jobs)))]
        jobs = _window(plan, seed_job, size)
        time = min(WINDOW_TIME, limits.deterministic_time - spent)
        answer = _solve_window(instance, objective, plan, jobs, replace(
            limits, deterministic_time=time, seconds=None, workers=1
        ))  # fmt: skip
        windows += 1
        spent += max(answer.deterministic_time, WINDOW_COST)
        if answer.plan is None:
            dull += 1
        else:
            after = _better(instance, objective, best, best.name, plan | dict(answer.plan))
            dull = 0 if after is not best else dull + 1
            improved += after is not best
            best = after
            plan = dict(best.plan or plan)
        if dull > 40 + 4 * len(instance.jobs):  # no window helps any more
            break
    return best, windows, improved, spent


def _window(plan: Mapping[int, Planned], seed_job: int, size: int) -> list[int]:
    """Return the jobs whose time is nearest to that of one."""
    mine = plan[seed_job]

    def distance(job: int) -> tuple[int, int, int]:
        p = plan[job]
        apart = max(p.start - mine.end, mine.start - p.end, 0)
        shared = len(set(p.placement.nodes) & set(mine.placement.nodes))
        return apart, -shared, abs(job - seed_job)

    return sorted(sorted(plan, key=distance)[:size])


def _solve_window(
    instance: Instance,
    objective: str,
    plan: Mapping[int, Planned],
    jobs: Sequence[int],
    limits: Limits,
) -> ModelAnswer:
    free = set(jobs)
    fixed = {j: p for j, p in plan.items() if j not in free}
    among: set[int] | None = None
    if len(instance.problem.cluster.nodes) > WINDOW_NODES:
        among = {n for j in jobs for n in plan[j].placement.nodes}
        for n in range(len(instance.problem.cluster.nodes)):
            if len(among) >= WINDOW_NODES:
                break
            among.add(n)
    horizon = max(p.end for p in plan.values())
    model = OfflineModel(instance, objective, jobs, fixed, horizon, among)
    model.hint(plan)
    return model.solve(limits)


def _conflict(instance: Instance, objective: str, limits: Limits) -> str:
    """Name a minimal set of jobs that cannot all be done: one by one, those not needed go."""
    ids = instance.problem.workload.jobs.ids
    kept = list(instance.jobs)
    for job in instance.jobs:
        trial = [j for j in kept if j != job]
        lost = {job}
        if not trial or any(lost & set(instance.after.get(j, ())) for j in trial):
            continue
        model = OfflineModel(instance, objective, trial, {}, instance.horizon)
        if model.solve(_share(limits, 0.1)).status is Status.INFEASIBLE:
            kept = trial
    names = ", ".join(ids[j] for j in kept)
    return f"no schedule completes these jobs together, on nodes that stay up: {names}"
