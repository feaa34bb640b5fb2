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
from dataclasses import dataclass, replace
from typing import Final

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Schedule, Status
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.solver.offline.bounds import bound_beyond, general_bound
from scheduler.solver.offline.conflicts import find_conflict
from scheduler.solver.offline.greedy import greedy_plan
from scheduler.solver.offline.instance import Instance, Planned, build_instance
from scheduler.solver.offline.judge import Goal
from scheduler.solver.offline.model import EXACT, Limits, ModelAnswer, OfflineModel
from scheduler.solver.offline.objectives import OBJECTIVES, loosened, loss_of, value_of
from scheduler.solver.offline.parts import in_parts
from scheduler.solver.offline.planning import Planning, plan_whole
from scheduler.solver.offline.repair import SOLVER_COST, Repaired, repair
from scheduler.verify import verify_schedule

MODEL_JOBS: Final = 60
MODEL_SLOTS: Final = 12_000
"""Jobs and slot variables up to which the whole problem goes into one model."""

SURE_JOBS: Final = 12
"""With so few jobs the model gets all the time, else part of it and repair the rest."""

MODEL_SHARE: Final = 0.35
SEARCHES: Final = ((0.45, False, False), (0.4, False, True), (0.15, True, False))
"""Searches of the whole problem: share of the time, the usual one, for the bound first."""

GREEDY_SHARE: Final = 0.3
"""Of the time of an objective, for the model of the whole and for first plans at most."""

AHEAD: Final = 6
"""Halves of the horizon that the model looks further ahead, at most, where waiting may pay."""

CONFLICT_SHARE: Final = 0.1
"""Of the time, for each question about constraints in conflict."""

_SAME: Final = 1e-6
"""Relative difference of objective and bound that counts as none (as the verifier's)."""

_GENERAL: Final = "combinatorial bound, which holds for every schedule"
_PLAN: Final = "the plan's prices in whole numbers, which hold for every schedule"
_MODEL: Final = "interval model, which holds for non-preemptive schedules"


@dataclass(frozen=True, slots=True)
class Aim:
    """An objective, and by how much later ones may worsen it.

    Parameters
    ----------
    name : str
        One of `OBJECTIVES`.
    tolerance : float
        Relative, of its best value found.
    """

    name: str
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What was reached for one objective.

    Parameters
    ----------
    aim : Aim
        The objective.
    best, value : float
        Best value found, and that of the final schedule.
    bound : float
        On the value, given what leads; of the kind of schedule that the answer is.
    general_bound : float
        On the value of every schedule.
    status : Status
        Whether the best value was proved.
    proof : str
        How the bound was proved, for people.
    """

    aim: Aim
    best: float
    value: float
    bound: float
    general_bound: float
    status: Status
    proof: str

    @property
    def gap(self) -> float:
        """Return how far the value is from the bound, relative to the value."""
        if math.isinf(self.value) or self.value == 0:
            return 0.0
        return abs(self.value - self.bound) / abs(self.value)


@dataclass(frozen=True, slots=True)
class OfflineAnswer:
    """An offline schedule and its proof.

    Parameters
    ----------
    schedule : Schedule
        Of the leading objective; what is maximised is negated in it.
    stages : tuple of Stage
        By objective, the leading one first.
    preempts : bool
        Whether some job runs in more than one part.
    made_by : str
        What found it.
    first : str
        What the search for the leading objective began with, and `first_objective` its value.
    first_objective : float
        Infinite where nothing was known.
    windows, improved : int
        Steps of repair, and those that helped.
    gains : mapping of str to float
        By kind of step, what it gained, relative.
    deterministic_time : float
        That was spent, about seconds.
    tick_s : float
        Of the interval model.
    """

    schedule: Schedule
    stages: tuple[Stage, ...]
    preempts: bool
    made_by: str
    first: str
    first_objective: float
    windows: int
    improved: int
    gains: Mapping[str, float]
    deterministic_time: float
    tick_s: float

    @property
    def general_bound(self) -> float:
        """Return the leading objective's bound on every schedule."""
        return self.stages[0].general_bound

    @property
    def proof(self) -> str:
        """Return how the leading objective's bound was proved."""
        return self.stages[0].proof

    @property
    def gap(self) -> float:
        """Return the leading objective's gap."""
        return self.stages[0].gap


@dataclass(frozen=True, slots=True)
class _Found:
    """A verified schedule; with the plan that it is, where it can be searched from."""

    name: str
    allocations: tuple[Allocation, ...]
    loss: float
    instance: Instance | None = None
    plan: Mapping[int, Planned] | None = None

    @property
    def preempts(self) -> bool:
        return len(self.allocations) > len({a.job for a in self.allocations})


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
        return _nothing(problem, aims)
    solver = _Solver(problem, instance, tuple(known), limits, preempt)
    found: _Found | None = None
    stages: list[tuple[Aim, _Reached]] = []
    for aim in aims:
        reached = solver.reach(aim.name, found, len(aims))
        found = reached.found
        stages.append((aim, reached))
        most = loosened(aim.name, reached.found.loss, aim.tolerance)
        solver.kept = (*solver.kept, (aim.name, most))
    assert found is not None
    return solver.answer(found, stages)


def _nothing(problem: Problem, aims: Sequence[Aim]) -> OfflineAnswer:
    schedule = Schedule((), aims[0].name, 0.0, 0.0, Status.OPTIMAL)
    proof = "there is no job to plan"
    stages = tuple(Stage(a, 0.0, 0.0, 0.0, 0.0, Status.OPTIMAL, proof) for a in aims)
    return OfflineAnswer(schedule, stages, False, "nothing", "nothing", 0.0, 0, 0, {}, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Reached:
    """What the search for one objective came to, as losses."""

    found: _Found
    bound: float
    general: float
    status: Status
    proof: str
    general_proof: str
    first: str
    first_loss: float


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
        self.kept: tuple[tuple[str, float], ...] = ()
        self.spent = 0.0
        self.steps = self.improved = 0
        self.gains: dict[str, float] = {}
        self._plans: dict[str, Planning | None] = {}
        self.sure = _model_knows_all(problem)

    # --- one objective -----------------------------------------------------------------------

    def reach(self, name: str, before: _Found | None, aims: int) -> _Reached:
        """Return the best found for an objective, and a bound on it."""
        share = 1.0 / aims
        until = self.spent + self.limits.deterministic_time * share
        general, general_proof = general_bound(self.problem, name), _GENERAL
        once, cut = self._first(name, before, share)
        bound, proof, status = general, general_proof, Status.FEASIBLE
        best = _better_of(once, cut)
        first, first_loss = (best.name, best.loss) if best else ("nothing", math.inf)
        jobs = len(self.instance.jobs)
        planned = self._planned(name)
        if planned is not None and planned.bound > general:
            general, general_proof = planned.bound, _PLAN
            bound, proof = general, general_proof
        small = jobs <= MODEL_JOBS and _slots(self.instance) <= MODEL_SLOTS
        if small and not (once and _met(once.loss, bound)):
            part = share * (1.0 if jobs <= SURE_JOBS else MODEL_SHARE / SOLVER_COST)
            answer = self._solve_whole(name, once, bound, part)
            status = answer.status if answer.status is Status.TIME_LIMIT else Status.FEASIBLE
            if answer.status is Status.INFEASIBLE and once is None:
                if cut is None:
                    raise InfeasibleError(self._conflict())
                bound = general
            else:
                end_us = self._look_ahead(name, once) * self.instance.tick_us
                proved = min(answer.bound, bound_beyond(self.problem, name, end_us))
                once = self._found("interval model", answer.plan, name, once)
                if proved > bound and not math.isinf(proved):
                    bound, proof = proved, _MODEL
        once, cut = self._repaired(name, once, cut, bound, general, until)
        best = _better_of(once, cut)
        if best is None:
            raise InfeasibleError(self._none_found())
        if best.preempts:
            bound, proof, status = general, general_proof, Status.FEASIBLE
        if _met(best.loss, bound):
            status, bound = Status.OPTIMAL, min(bound, best.loss)
        bound = min(bound, best.loss)
        return _Reached(
            best, bound, min(general, best.loss), status, proof, general_proof, first, first_loss
        )

    def _first(
        self, name: str, before: _Found | None, share: float
    ) -> tuple[_Found | None, _Found | None]:
        """Return the best schedules to begin with: each job once, and cut."""
        once: _Found | None = None
        cut: _Found | None = None
        if before is not None:
            again = replace(before, loss=loss_of(self.problem, name, before.allocations))
            once, cut = (None, again) if before.preempts else (again, None)
        for title, allocations in self.known:
            plan = self.instance.plan_of(allocations)
            if plan is not None:
                once = self._found(title, plan, name, once)
            elif self.preempt:
                cut = self._cut(title, tuple(allocations), name, cut)
        for title, order in self._orders(name):
            if self.spent > GREEDY_SHARE * share * self.limits.deterministic_time and once:
                break
            plan, spent = greedy_plan(self.instance, order)
            self.spent += spent
            once = self._found(f"greedy, {title}", plan, name, once)
        return once, cut

    def _orders(self, name: str) -> list[tuple[str, list[int]]]:
        """Return orders of the jobs worth trying."""
        columns, lengths = self.problem.workload.jobs, self.instance.lengths
        release = self.instance.release
        shortest = {j: min(lengths[j].values()) for j in self.instance.jobs}
        due = {
            j: math.inf if math.isnan(t) else t for j, t in enumerate(columns.deadline_s.tolist())
        }
        keys: dict[str, Mapping[int, float]] = {
            "earliest deadline first": due,
            "shortest first": {j: s / float(columns.weight[j]) for j, s in shortest.items()},
            "earliest end alone first": {j: float(release[j] + s) for j, s in shortest.items()},
            "in order of release": {j: float(release[j]) for j in shortest},
            "longest first": {j: -float(s) for j, s in shortest.items()},
        }
        for title, allocations in self.known:
            ends = {a.job: float(a.end_us) for a in sorted(allocations, key=lambda a: a.end_us)}
            if set(shortest) <= set(ends):
                keys[f"as {title} ends them"] = ends
        planned = self._planned(name)
        if planned is not None:
            keys = {"as the plan serves them": planned.served_s} | keys
        return [
            (title, sorted(self.instance.jobs, key=lambda j, of=of: (of[j], j)))  # type: ignore[misc]
            for title, of in keys.items()
        ]

    def _planned(self, name: str) -> Planning | None:
        """Return the plan of the whole, made once; small cases have no need of it."""
        if len(self.instance.jobs) <= SURE_JOBS:
            return None
        if name not in self._plans:
            self._plans[name] = plan_whole(self.problem, name)
        return self._plans[name]

    def _repaired(
        self,
        name: str,
        once: _Found | None,
        cut: _Found | None,
        bound: float,
        general: float,
        until: float,
    ) -> tuple[_Found | None, _Found | None]:
        """Improve both kinds of schedule, the better one for longer."""
        left = until - self.spent
        able = [f for f in (once, cut) if f is not None and f.plan is not None]
        able.sort(key=lambda f: f.loss)
        for k, start in enumerate(able):
            part = left if len(able) == 1 else left * (0.7 if k == 0 else 0.3)
            least = general if start is cut else bound
            if part <= 0 or _met(start.loss, least):
                continue
            better = self._repair(name, start, least, part)
            if start is cut:
                cut = better
            else:
                once = better
        return once, cut

    def _repair(self, name: str, start: _Found, least: float, part: float) -> _Found:
        assert start.instance is not None
        assert start.plan is not None
        instance = start.instance
        sure = self.sure and not (start.preempts and _parts_need_care(self.problem))

        def accept(plan: Mapping[int, Planned]) -> bool:
            return sure or self._verified(instance.allocations(plan))

        enough = least + 0.5 * _SAME * max(1.0, abs(least))
        limits = replace(self.limits, deterministic_time=part)
        goal = Goal(name, self.kept)
        found: Repaired = repair(instance, goal, start.plan, limits, accept, enough)
        self.spent += found.spent
        self.steps += found.steps
        self.improved += found.improved
        for kind, gain in found.gains.items():
            self.gains[kind] = self.gains.get(kind, 0.0) + gain
        title = start.name if not found.improved else f"{start.name}, repaired"
        return self._found(title, found.plan, name, start, instance) or start

    def _solve_whole(
        self, name: str, once: _Found | None, bound: float, share: float
    ) -> ModelAnswer:
        """Solve the whole problem: for a better plan, for a better bound, by the usual search.

        Each of them takes for ever on some problems that another proves at once.
        """
        stalled = False
        instance, plan = self.instance, once.plan if once else None
        best = once
        horizon = self._look_ahead(name, once)
        if name in ("makespan", "throughput") and plan is not None:
            horizon = max(p.end for p in plan.values())
        status = Status.TIME_LIMIT
        for part, usual, bound_first in SEARCHES:
            if stalled and not usual:
                continue
            model = OfflineModel(instance, name, instance.jobs, {}, horizon, kept=self.kept)
            if plan is not None:
                model.hint(plan)
            if name in EXACT:
                model.at_least(bound)
            limits = replace(
                _share(self.limits, part * share), usual=usual, bound_first=bound_first
            )
            answer = model.solve(limits)
            cost = 1.0 if len(instance.jobs) <= SURE_JOBS else SOLVER_COST
            self.spent += cost * answer.deterministic_time
            status, stalled = answer.status, answer.stalled
            if status is Status.INFEASIBLE:
                return answer
            best = self._found("interval model", answer.plan, name, best)
            plan, bound = best.plan if best else None, max(bound, answer.bound)
            if status is not Status.TIME_LIMIT:
                break
        return ModelAnswer(plan, bound, status, 0.0)

    def _look_ahead(self, name: str, once: _Found | None) -> int:
        """Return a horizon beyond which, where it may pay to wait, nothing better can end."""
        horizon = self.instance.horizon
        if once is not None:
            for _ in range(AHEAD):
                end_us = horizon * self.instance.tick_us
                if bound_beyond(self.problem, name, end_us) >= once.loss:
                    break
                horizon += max(1, self.instance.horizon // 2)
        return horizon

    # --- schedules ---------------------------------------------------------------------------

    def _found(
        self,
        title: str,
        plan: Mapping[int, Planned] | None,
        name: str,
        than: _Found | None,
        instance: Instance | None = None,
    ) -> _Found | None:
        """Return a plan as found if it is better than another and keeps to all rules."""
        if plan is None:
            return than
        instance = instance or self.instance
        allocations = instance.allocations(plan)
        loss = loss_of(self.problem, name, allocations)
        if than is not None and loss >= than.loss:
            return than
        if not self._allowed(allocations):
            return than
        return _Found(title, allocations, loss, instance, plan)

    def _cut(
        self, title: str, allocations: tuple[Allocation, ...], name: str, than: _Found | None
    ) -> _Found | None:
        loss = loss_of(self.problem, name, allocations)
        if (than is not None and loss >= than.loss) or not self._allowed(allocations):
            return than
        raw = _Found(title, allocations, loss)
        parts = in_parts(self.instance, allocations)
        if parts is None:
            return raw
        return self._found(title, parts[1], name, None, parts[0]) or raw

    def _allowed(self, allocations: Sequence[Allocation]) -> bool:
        """Return whether a schedule worsens nothing that leads, is in time, and is verified."""
        if any(loss_of(self.problem, n, allocations) > most for n, most in self.kept):
            return False
        due_s = self.problem.workload.jobs.deadline_s
        if self.instance.due and any(
            a.end_us > us_from_s(float(due_s[a.job]))
            for a in allocations
            if a.job in self.instance.due
        ):
            return False
        return self._verified(allocations)

    def _verified(self, allocations: Sequence[Allocation]) -> bool:
        loss = loss_of(self.problem, "mean_jct", allocations)
        schedule = Schedule(tuple(allocations), "mean_jct", loss, min(0.0, loss), Status.FEASIBLE)
        return not verify_schedule(self.problem, schedule)

    # --- the answer --------------------------------------------------------------------------

    def answer(self, found: _Found, stages: Sequence[tuple[Aim, _Reached]]) -> OfflineAnswer:
        """Return what was found with all that was proved of it."""
        rows = []
        for aim, r in stages:
            loss = loss_of(self.problem, aim.name, found.allocations)
            kind, proof = (r.bound, r.proof)
            if found.preempts and not r.found.preempts:
                kind, proof = r.general, r.general_proof
            status = r.status
            if status is Status.OPTIMAL and not _met(loss, kind):
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
        limits = _share(self.limits, CONFLICT_SHARE)
        conflict = find_conflict(self.problem, limits, meet_deadlines=bool(self.instance.due))
        return self._none_found() if conflict is None else conflict.text

    def _none_found(self) -> str:
        return "no schedule was found within the time limit that keeps to every rule"


def _better_of(one: _Found | None, other: _Found | None) -> _Found | None:
    if one is None or other is None:
        return one or other
    return other if other.loss < one.loss else one


def _met(loss: float, bound: float) -> bool:
    if math.isinf(loss):  # nothing is known yet
        return False
    return loss - bound <= 0.9 * _SAME * max(1.0, abs(loss))


def _share(limits: Limits, share: float) -> Limits:
    seconds = None if limits.seconds is None else limits.seconds * share
    return replace(limits, deterministic_time=limits.deterministic_time * share, seconds=seconds)


def _slots(instance: Instance) -> int:
    """Return about how many variables the whole problem has."""
    by_class = {c: sum(len(nodes) for _, nodes in ways) for c, ways in instance.ways.items()}
    return sum(by_class[instance.class_of(j)] for j in instance.jobs)


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
