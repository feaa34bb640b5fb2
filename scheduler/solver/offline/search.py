"""Offline schedules: first plans, the exact model where it fits, repair for the rest.

Search is over non-preemptive schedules, in which each job runs once, from start to end, in one
mode on one placement, and, beginning with schedules of policies that preempt, over those that
cut the jobs as these do. The bound that the interval model proves holds for the first kind;
`general_bound` and the plan's hold for every schedule.

Of several objectives the first leads: each later one is minimised among schedules in which no
earlier one is worse than its best by more than its tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Schedule, Status
from scheduler.core.units import US_PER_S
from scheduler.solver.offline.answers import (
    SAME,
    Aim,
    Found,
    OfflineAnswer,
    Reached,
    Stage,
    better_of,
    met,
    nothing,
)
from scheduler.solver.offline.bounds import bound_beyond, general_bound, undivided_bound
from scheduler.solver.offline.conflicts import find_conflict
from scheduler.solver.offline.firsts import orders_worth_trying
from scheduler.solver.offline.greedy import greedy_plan
from scheduler.solver.offline.instance import Instance, Planned, build_instance
from scheduler.solver.offline.judge import Goal
from scheduler.solver.offline.keeping import Keeper
from scheduler.solver.offline.model import Limits
from scheduler.solver.offline.objectives import OBJECTIVES, loosened, loss_of, value_of
from scheduler.solver.offline.planning import Planning, limited_bound, plan_whole
from scheduler.solver.offline.repair import SOLVER_COST, Repaired, repair
from scheduler.solver.offline.whole import (
    SURE_JOBS,
    fits,
    look_ahead,
    share_of,
    solve_whole,
)

MODEL_SHARE: Final = 0.35
"""Of the time, for the model of the whole, where jobs are too many for it to be sure."""

GREEDY_SHARE: Final = 0.3
"""Of the time of an objective, for the model of the whole and for first plans at most."""

CONFLICT_SHARE: Final = 0.1
"""Of the time, for each question about constraints in conflict."""

_GENERAL: Final = "combinatorial bound, which holds for every schedule"
_PLAN: Final = "the plan's prices in whole numbers, which hold for every schedule"
_UNDIVIDED: Final = "least last end and modes, which hold for non-preemptive schedules"
_MODEL: Final = "interval model, which holds for non-preemptive schedules"


def solve_offline(
    problem: Problem,
    objective: str | Sequence[Aim],
    *,
    known: Sequence[tuple[str, Sequence[Allocation]]] = (),
    limits: Limits,
    preempt: bool = True,
    meet_deadlines: bool = False,
) -> OfflineAnswer:
    """Schedule known jobs over the whole horizon.

    Parameters
    ----------
    problem : Problem
        Without services; random failures are left out.
    objective : str or sequence of Aim
        One of `OBJECTIVES`, or several, the leading one first.
    known : sequence of (str, allocations)
        Named schedules to begin with.
    limits : Limits
        For all solves together.
    preempt : bool
        Whether the answer may cut jobs where a known schedule does.
    meet_deadlines : bool
        Whether no job may end after its deadline.

    Returns
    -------
    OfflineAnswer
        Accepted by `verify_schedule`.

    Raises
    ------
    InfeasibleError
        Naming the jobs that can never run, or a minimal set of constraints in conflict.
    """
    aims = (Aim(objective),) if isinstance(objective, str) else tuple(objective)
    instance = build_instance(problem, meet_deadlines=meet_deadlines)
    if not instance.jobs:
        return nothing(aims)
    solver = _Solver(problem, instance, tuple(known), limits, preempt)
    found: Found | None = None
    stages: list[tuple[Aim, Reached]] = []
    for aim in aims:
        reached = solver.reach(aim.name, found, len(aims))
        found = reached.found
        stages.append((aim, reached))
        most = loosened(aim.name, reached.found.loss, aim.tolerance)
        solver.keeper.kept = (*solver.keeper.kept, (aim.name, most))
    assert found is not None
    return solver.answer(found, stages)


class _Solver:
    """The search for one objective after the other, with what is left of the time."""

    def __init__(
        self,
        problem: Problem,
        instance: Instance,
        known: Sequence[tuple[str, Sequence[Allocation]]],
        limits: Limits,
        preempt: bool,
    ) -> None:
        self.problem, self.instance, self.limits = problem, instance, limits
        self.known, self.preempt = known, preempt
        self.keeper = Keeper(problem, instance)
        self.spent = 0.0
        self.steps = self.improved = 0
        self.gains: dict[str, float] = {}
        self._plans: dict[str, Planning | None] = {}
        self.sure = _model_knows_all(problem)

    # --- one objective -----------------------------------------------------------------------

    def reach(self, name: str, before: Found | None, aims: int) -> Reached:
        """Return the best found for an objective, and a bound on it."""
        share = 1.0 / aims
        until = self.spent + self.limits.deterministic_time * share
        general, general_proof = general_bound(self.problem, name), _GENERAL
        once, cut = self._first(name, before, share)
        bound, proof, status = general, general_proof, Status.FEASIBLE
        best = better_of(once, cut)
        first, first_loss = (best.name, best.loss) if best else ("nothing", math.inf)
        jobs = len(self.instance.jobs)
        planned = self._planned(name)
        if planned is not None and planned.bound > general:
            general, general_proof = planned.bound, _PLAN
        if jobs > SURE_JOBS:
            reached = best.loss if best else math.inf
            limited = limited_bound(self.problem, name, general, reached)
            if limited > general:
                general, general_proof = limited, _PLAN
        bound, proof = general, general_proof
        if fits(self.instance) and not (once and met(once.loss, bound)):
            part = share * (1.0 if jobs <= SURE_JOBS else MODEL_SHARE / SOLVER_COST)
            limits = share_of(self.limits, part)
            answer, spent = solve_whole(self.keeper, name, once, bound, limits)
            self.spent += spent
            status = answer.status if answer.status is Status.TIME_LIMIT else Status.FEASIBLE
            if answer.status is Status.INFEASIBLE and once is None:
                if cut is None:
                    raise InfeasibleError(self._conflict())
                bound = general
            else:
                horizon = look_ahead(self.problem, self.instance, name, once)
                end_us = horizon * self.instance.tick_us
                proved = min(answer.bound, bound_beyond(self.problem, name, end_us))
                once = self.keeper.found("interval model", answer.plan, name, once)
                if proved > bound and not math.isinf(proved):
                    bound, proof = proved, _MODEL
        undivided = undivided_bound(self.problem, name)
        if undivided > bound:
            bound, proof = undivided, _UNDIVIDED
        once, cut = self._repaired(name, once, cut, bound, general, until)
        best = better_of(once, cut)
        if best is None:
            raise InfeasibleError(self._none_found())
        if best.preempts:
            bound, proof, status = general, general_proof, Status.FEASIBLE
        if met(best.loss, bound):
            status, bound = Status.OPTIMAL, min(bound, best.loss)
        bound = min(bound, best.loss)
        return Reached(
            best, bound, min(general, best.loss), status, proof, general_proof, first, first_loss
        )

    def _first(
        self, name: str, before: Found | None, share: float
    ) -> tuple[Found | None, Found | None]:
        """Return the best schedules to begin with: each job once, and cut."""
        once: Found | None = None
        cut: Found | None = None
        if before is not None:
            again = replace(before, loss=loss_of(self.problem, name, before.allocations))
            once, cut = (None, again) if before.preempts else (again, None)
        for title, allocations in self.known:
            plan = self.instance.plan_of(allocations)
            if plan is not None:
                once = self.keeper.found(title, plan, name, once)
            elif self.preempt:
                cut = self.keeper.cut(title, tuple(allocations), name, cut)
        for title, order in self._orders(name):
            if self.spent > GREEDY_SHARE * share * self.limits.deterministic_time and once:
                break
            plan, spent = greedy_plan(self.instance, order)
            self.spent += spent
            once = self.keeper.found(f"greedy, {title}", plan, name, once)
        return once, cut

    def _orders(self, name: str) -> list[tuple[str, list[int]]]:
        planned = self._planned(name)
        return orders_worth_trying(self.problem, self.instance, self.known, planned)

    def _planned(self, name: str) -> Planning | None:
        """Return the plan of the whole, made once; small cases have no need of it."""
        if len(self.instance.jobs) <= SURE_JOBS:
            return None
        if name not in self._plans:
            self._plans[name] = plan_whole(self.problem, name, self.instance.due)
        return self._plans[name]

    def _repaired(
        self,
        name: str,
        once: Found | None,
        cut: Found | None,
        bound: float,
        general: float,
        until: float,
    ) -> tuple[Found | None, Found | None]:
        """Improve both kinds of schedule, the better one for longer."""
        left = until - self.spent
        able = [f for f in (once, cut) if f is not None and f.plan is not None]
        able.sort(key=lambda f: f.loss)
        for k, start in enumerate(able):
            part = left if len(able) == 1 else left * (0.7 if k == 0 else 0.3)
            least = general if start is cut else bound
            if part <= 0 or met(start.loss, least):
                continue
            better = self._repair(name, start, least, part)
            if start is cut:
                cut = better
            else:
                once = better
        return once, cut

    def _repair(self, name: str, start: Found, least: float, part: float) -> Found:
        assert start.instance is not None
        assert start.plan is not None
        instance = start.instance
        sure = self.sure and not (start.preempts and _parts_need_care(self.problem))

        def accept(plan: Mapping[int, Planned]) -> bool:
            return sure or self.keeper.verified(instance.allocations(plan))

        enough = least + 0.5 * SAME * max(1.0, abs(least))
        limits = replace(self.limits, deterministic_time=part)
        goal = Goal(name, self.keeper.kept)
        found: Repaired = repair(instance, goal, start.plan, limits, accept, enough)
        self.spent += found.spent
        self.steps += found.steps
        self.improved += found.improved
        for kind, gain in found.gains.items():
            self.gains[kind] = self.gains.get(kind, 0.0) + gain
        title = start.name if not found.improved else f"{start.name}, repaired"
        return self.keeper.found(title, found.plan, name, start, instance) or start

    # --- the answer --------------------------------------------------------------------------

    def answer(self, found: Found, stages: Sequence[tuple[Aim, Reached]]) -> OfflineAnswer:
        """Return what was found with all that was proved of it."""
        rows = []
        for aim, r in stages:
            loss = loss_of(self.problem, aim.name, found.allocations)
            kind, proof = (r.bound, r.proof)
            if found.preempts and not r.found.preempts:
                kind, proof = r.general, r.general_proof
            status = r.status
            if status is Status.OPTIMAL and not met(loss, kind):
                status = Status.FEASIBLE  # within the tolerance, not the best
            losses = (r.found.loss, loss, kind, r.general)
            best, value, bound, general = (value_of(self.problem, aim.name, x) for x in losses)
            rows.append(Stage(aim, best, value, bound, general, status, proof))
        lead = rows[0]
        sign = -1.0 if OBJECTIVES[lead.aim.name].maximised else 1.0
        schedule = Schedule(
            found.allocations, lead.aim.name, sign * lead.value, sign * lead.bound, lead.status
        )
        reached = stages[0][1]
        first = value_of(self.problem, lead.aim.name, reached.first_loss)
        return OfflineAnswer(
            schedule,
            tuple(rows),
            found.preempts,
            found.name,
            reached.first,
            first,
            self.steps,
            self.improved,
            self.gains,
            round(self.spent, 6),
            self.instance.tick_us / US_PER_S,
        )

    def _conflict(self) -> str:
        limits = share_of(self.limits, CONFLICT_SHARE)
        conflict = find_conflict(self.problem, limits, meet_deadlines=bool(self.instance.due))
        return self._none_found() if conflict is None else conflict.text

    def _none_found(self) -> str:
        return "no schedule was found within the time limit that keeps to every rule"


def _model_knows_all(problem: Problem) -> bool:
    """Return whether the search knows every rule that the verifier has."""
    workload, cluster = problem.workload, problem.cluster
    kinds = workload.classes
    hosted = any(k.cpus or k.host_memory_bytes or k.apart or k.near for k in kinds)
    capped = any(s.power_cap_w is not None for s in cluster.sites)
    return not (hosted or capped or workload.tenancies or cluster.reservations)


def _parts_need_care(problem: Problem) -> bool:
    """Return whether moving the parts of jobs could break a rule on them."""
    workload = problem.workload
    limited = any(not math.isnan(t) for t in workload.jobs.limit_s.tolist())
    return limited or not all(k.preemptible and k.saves_state for k in workload.classes)
