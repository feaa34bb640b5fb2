"""The interval model: every job once, in one mode, on nodes of one domain; CP-SAT proves it.

Each way to run a job is an optional interval. A gang's slots on a node are integer variables,
so that fragmentation is inside the model; every node is a cumulative resource, a node that is
down is full. A cumulative per accelerator type adds nothing new but helps the bound.

Quotas are kept as far as they hold at every instant: a tenant that may not borrow never holds
more than its quota, one that may no more than it may borrow. Reservations, host resources,
affinity and power caps are left out. The bound holds
with them, since they only forbid; whether a plan keeps to them is the verifier's to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

from scheduler.core.problem import Group
from scheduler.core.run import Placement, Status
from scheduler.solver.offline.instance import Choice, Instance, Planned, node_types
from scheduler.solver.offline.terms import cost_of, smooth_cost

_QUICK_RESTARTS: Final = 5
"""CP-SAT's PORTFOLIO_WITH_QUICK_RESTART_SEARCH."""

STALLED_S: Final = 30.0
"""Seconds per repeatable unit after which a search has stalled: some loops of CP-SAT spend none
of it, and would never end. What it has found by then is not used, as it depends on the clock."""

EXACT: Final = ("mean_jct", "makespan", "throughput")
"""Objectives without coefficients to round."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long CP-SAT may take.

    Parameters
    ----------
    deterministic_time : float
        Its repeatable unit, about a second.
    workers : int
        One for repeatable results.
    seed : int
        Of its search.
    seconds : float or None
        Wall-clock limit; None: none, which a repeatable answer needs.
    bound_first : bool
        Whether to raise the bound rather than to lower the objective.
    first_only : bool
        Whether any plan will do.
    usual : bool
        Whether to search as CP-SAT does by itself, rather than with quick restarts.
    cuts : bool
        Whether to cut what only the relaxation holds.
    """

    deterministic_time: float
    workers: int = 1
    seed: int = 0
    seconds: float | None = None
    bound_first: bool = False
    first_only: bool = False
    usual: bool = False
    cuts: bool = True


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What CP-SAT found.

    Parameters
    ----------
    plan : mapping of int to Planned or None
        By job; None: nothing was found.
    bound : float
        On the objective of the jobs in the model, in its own unit.
    status : Status
        ``OPTIMAL`` if proved.
    deterministic_time : float
        Spent.
    stalled : bool
        Whether the search had to be given up, see `STALLED_S`.
    cost : int
        Of the plan, in the model's own whole numbers.
    """

    plan: Mapping[int, Planned] | None
    bound: float
    status: Status
    deterministic_time: float
    stalled: bool = False
    cost: int = 0


@dataclass(slots=True)
class Picked:
    """A choice in the model: whether it is taken, and its slots by (group, node)."""

    choice: Choice
    taken: Any
    whole: dict[tuple[int, int], Any]
    rest: dict[tuple[int, int], Any]


class OfflineModel:
    """A CP-SAT model of some jobs of an instance, the others fixed.

    Parameters
    ----------
    instance : Instance
        Jobs and ways.
    objective : str
        One of `OBJECTIVES`.
    jobs : sequence of int
        To decide on.
    fixed : mapping of int to Planned
        Jobs that stay as they are.
    horizon : int
        Last tick for an end.
    among : set of int or None
        Nodes to choose from; None: all.
    kept : sequence of (str, float)
        Objectives whose loss must not be above a value.
    uncapped : set of int
        Types of which there is no lack, to see what is in conflict with their capacity.
    busy : mapping of int to sequence of (int, int, int) or None
        By node, what is in use from when to when by the fixed jobs and by being down; None:
        found here.
    """

    def __init__(
        self,
        instance: Instance,
        objective: str,
        jobs: Sequence[int],
        fixed: Mapping[int, Planned],
        horizon: int,
        among: Set[int] | None = None,
        kept: Sequence[tuple[str, float]] = (),
        uncapped: Set[int] = frozenset(),
        busy: Mapping[int, Sequence[tuple[int, int, int]]] | None = None,
    ) -> None:
        from ortools.sat.python import cp_model

        self.cp = cp_model
        self.model = cp_model.CpModel()
        self.instance = instance
        self.jobs = tuple(jobs)
        self.fixed = fixed
        self.horizon = horizon
        self.among = among
        self.uncapped = uncapped
        self.busy = busy
        self.types = node_types(instance.problem)
        self.start: dict[int, Any] = {}
        self.end: dict[int, Any] = {}
        self.last: Any = None
        self.picks: dict[int, list[Picked]] = {}
        self._loads: dict[tuple[int, int, int], Any] = {}
        self._on_node: dict[int, list[tuple[Any, Any]]] = {}
        self._on_type: dict[int, list[tuple[Any, int]]] = {}
        self._of_tenant: dict[int, list[tuple[int, Any, int]]] = {}
        for job in self.jobs:
            self._add_job(job)
        self._add_capacity()
        self._add_order()
        self.cost = cost_of(self, objective)
        for name, most in kept:
            self.keep(name, most)
        window = bool(fixed)
        self.model.minimize(
            smooth_cost(self, objective, self.cost) if window else self.cost.expression
        )

    # --- variables and constraints -------------------------------------------------

    def _add_job(self, job: int) -> None:
        model, instance = self.model, self.instance
        choices = instance.choices(job, self.among)
        shortest = min(c.duration for c in choices)
        first = instance.release[job]
        self.start[job] = start = model.new_int_var(first, self.horizon - shortest, "")
        latest = min(self.horizon, instance.due.get(job, self.horizon))
        latest = max(latest, first + shortest - 1)  # below what can be: infeasible, not malformed
        self.end[job] = end = model.new_int_var(first + shortest - 1, latest, "")
        picks = []
        for choice in choices:
            taken = model.new_bool_var("")
            interval = model.new_optional_fixed_size_interval_var(start, choice.duration, taken, "")
            picked = Picked(choice, taken, {}, {})
            self._add_slots(job, picked, interval)
            picks.append(picked)
        model.add_exactly_one([p.taken for p in picks])
        model.add(end == start + sum(p.choice.duration * p.taken for p in picks))
        self.picks[job] = picks
        by_mode: dict[int, list[Picked]] = {}
        for p in picks:
            by_mode.setdefault(p.choice.mode, []).append(p)
        for m, some in by_mode.items():
            held = some[0].taken if len(some) == 1 else model.new_bool_var("")
            if len(some) > 1:
                model.add(sum(p.taken for p in some) == held)
            length = some[0].choice.duration
            interval = model.new_optional_fixed_size_interval_var(start, length, held, "")
            tenant = int(instance.problem.workload.jobs.tenant_index[instance.job_of(job)])
            for group in instance.mode(job, m).groups:
                self._on_type.setdefault(group.type_index, []).append((interval, group.count))
                self._of_tenant.setdefault(tenant, []).append(
                    (group.type_index, interval, group.count)
                )

    def _add_slots(self, job: int, picked: Picked, interval: Any) -> None:
        """Say how many slots of each group lie on which node."""
        mode = self.instance.mode(job, picked.choice.mode)
        if mode.level == 0:
            node = picked.choice.nodes[0]
            self._on_node.setdefault(node, []).append((interval, mode.groups[0].count))
            self._bar_drains(job, node, picked.taken)
            return
        nodes = self.instance.problem.cluster.nodes
        for g, group in enumerate(mode.groups):
            mine = [n for n in picked.choice.nodes if self.types[n] == group.type_index]
            whole, rest = divmod(group.count, group.per_node)
            for n in mine:
                most = min(whole, nodes[n].count // group.per_node)
                if most:
                    picked.whole[g, n] = self.model.new_int_var(0, most, "")
                if rest and nodes[n].count >= rest:
                    picked.rest[g, n] = self.model.new_bool_var("")
            for wanted, slots in ((whole, picked.whole), (min(rest, 1), picked.rest)):
                here = [var for (k, _), var in slots.items() if k == g]
                self.model.add(sum(here) == wanted * picked.taken)
            for n in mine:
                load = self.load(picked, g, n, group)
                if load is not None:
                    self._on_node.setdefault(n, []).append((interval, load))
                    if n in self.instance.drains:
                        used = self.model.new_bool_var("")
                        self.model.add(load <= nodes[n].count * used)
                        self._bar_drains(job, n, used)

    def load(self, picked: Picked, g: int, node: int, group: Group) -> Any:
        """Return what a group holds on a node, which a cumulative wants as one variable."""
        whole, rest = picked.whole.get((g, node)), picked.rest.get((g, node))
        if whole is None:
            return None if rest is None else group.count % group.per_node * rest
        if rest is None:
            return group.per_node * whole
        key = id(picked), g, node
        if key not in self._loads:
            load = self.model.new_int_var(0, self.instance.problem.cluster.nodes[node].count, "")
            self.model.add(load == group.per_node * whole + group.count % group.per_node * rest)
            self._loads[key] = load
        return self._loads[key]

    def _bar_drains(self, job: int, node: int, used: Any) -> None:
        for a, b in self.instance.drains.get(node, ()):
            free = self.cp.Domain.from_intervals([[0, a - 1], [b, max(b, self.horizon)]])
            self.model.add_linear_expression_in_domain(self.start[job], free).only_enforce_if(used)

    def _add_capacity(self) -> None:
        model, problem = self.model, self.instance.problem
        busy = self._busy() if self.busy is None else self.busy
        for n, rows in sorted(self._on_node.items()):
            size = problem.cluster.nodes[n].count
            intervals, loads = [i for i, _ in rows], [load for _, load in rows]
            for a, b, count in busy.get(n, ()):
                intervals.append(model.new_fixed_size_interval_var(a, b - a, ""))
                loads.append(count)
            if self.types[n] not in self.uncapped:
                model.add_cumulative(intervals, loads, size)
        self._add_quotas()
        if self.fixed:
            return  # a window does not need the bound
        for t, some in sorted(self._on_type.items()):
            if t in self.uncapped:
                continue
            size = problem.capacity()[t]
            model.add_cumulative([i for i, _ in some], [count for _, count in some], size)

    def _busy(self) -> dict[int, list[tuple[int, int, int]]]:
        """Return what is in use of each node; down and held at once cannot be."""
        busy: dict[int, list[tuple[int, int, int]]] = {}
        for n, spans in self.instance.downs.items():
            size = self.instance.problem.cluster.nodes[n].count
            busy[n] = [(a, b, size) for a, b in _union(spans)]
        for planned in self.fixed.values():
            place = planned.placement
            for n, count in zip(place.nodes, place.counts, strict=True):
                busy.setdefault(n, []).append((planned.start, planned.end, count))
        return busy

    def _add_quotas(self) -> None:
        """Keep what a tenant holds within its quota and what it may borrow."""
        problem = self.instance.problem
        rules = {t.tenant: t for t in problem.workload.tenancies}
        names = {name.casefold(): t for t, name in enumerate(problem.types)}
        for tenant, rows in sorted(self._of_tenant.items()):
            rule = rules.get(problem.workload.tenants[tenant])
            if rule is None or rule.borrow is None:
                continue
            known = {names[k.casefold()]: q for k, q in rule.quota.items() if k.casefold() in names}
            limits = [({t}, quota) for t, quota in sorted(known.items())]
            if rule.total is not None:
                limits.append((set(range(len(problem.types))), rule.total))
            for types, quota in limits:
                held = [(i, count) for t, i, count in rows if t in types]
                held += self._held_by(tenant, types)
                if held:
                    self.model.add_cumulative(
                        [i for i, _ in held], [count for _, count in held], quota + rule.borrow
                    )

    def _held_by(self, tenant: int, types: Set[int]) -> list[tuple[Any, int]]:
        """Return what fixed jobs of a tenant hold of some types."""
        found = []
        owners = self.instance.problem.workload.jobs.tenant_index
        for unit, planned in self.fixed.items():
            if int(owners[self.instance.job_of(unit)]) != tenant or planned.start >= self.horizon:
                continue
            groups = self.instance.mode(unit, planned.mode).groups
            count = sum(g.count for g in groups if g.type_index in types)
            if count:
                length = planned.end - planned.start
                span = self.model.new_fixed_size_interval_var(planned.start, length, "")
                found.append((span, count))
        return found

    def _add_order(self) -> None:
        for job, needed in self.instance.after.items():
            for other in needed:
                if job in self.start:
                    end = self.end[other] if other in self.end else self.fixed[other].end
                    self.model.add(self.start[job] >= end)
                elif other in self.end and job in self.fixed:
                    self.model.add(self.end[other] <= self.fixed[job].start)

    # --- objective -----------------------------------------------------------------

    def last_end(self) -> Any:
        """Return the variable of the last end of all jobs."""
        if self.last is None:
            self.last = self.model.new_int_var(0, self.horizon, "")
            known = max((p.end for p in self.fixed.values()), default=0)
            self.model.add_max_equality(self.last, [*self.end.values(), known])
        return self.last

    def inside(
        self, unit: int, picked: Picked, points: Sequence[int], values: Sequence[int]
    ) -> Any:
        """Return a variable at least a function of the start, linear between `points`.

        Slopes are whole; the function counts where the choice is taken.
        """
        height = self.model.new_int_var(0, max(values), "")
        pieces = []
        for a, b, u, v in zip(points, points[1:], values, values[1:], strict=False):
            here = self.model.new_bool_var("")
            pieces.append(here)
            self.model.add_linear_constraint(self.start[unit], a, b).only_enforce_if(here)
            line = u + (v - u) // (b - a) * (self.start[unit] - a)
            self.model.add(height >= line).only_enforce_if(here)
        if pieces:
            self.model.add_exactly_one([*pieces, ~picked.taken])
        else:
            self.model.add(height >= values[0] * picked.taken)
        return height

    def product(self, load: Any, kept: Any, node: int, most: int) -> Any:
        """Return the product of what is held on a node and for how long."""
        size = self.instance.problem.cluster.nodes[node].count
        found = self.model.new_int_var(0, size * most, "")
        self.model.add_multiplication_equality(found, [load, kept])
        return found

    def keep(self, name: str, most: float) -> None:
        """Let no plan in that has a larger loss `name`, but for rounding."""
        cost = cost_of(self, name)
        top = math.floor((most - cost.constant) / cost.unit * (1 + 1e-12)) + 1
        self.model.add(cost.expression <= top)

    # --- answer --------------------------------------------------------------------

    def hint(self, plan: Mapping[int, Planned]) -> None:
        """Give CP-SAT a plan to begin with."""
        model = self.model
        for job in self.jobs:
            planned = plan[job]
            model.add_hint(self.start[job], planned.start)
            model.add_hint(self.end[job], planned.end)
            held = dict(zip(planned.placement.nodes, planned.placement.counts, strict=True))
            for p in self.picks[job]:
                mine = p.choice.mode == planned.mode and set(held) <= set(p.choice.nodes)
                model.add_hint(p.taken, mine)
                groups = self.instance.mode(job, p.choice.mode).groups
                for (g, n), var in p.whole.items():
                    model.add_hint(var, held.get(n, 0) // groups[g].per_node if mine else 0)
                for (g, n), var in p.rest.items():
                    model.add_hint(var, mine and held.get(n, 0) % groups[g].per_node > 0)

    def at_least(self, value: float) -> None:
        """Add a proved bound, where the objective is exact on integers."""
        least = (value * (1 - 1e-12) - self.cost.constant) / self.cost.unit * (1 - 1e-12)
        if least >= 1:
            self.model.add(self.cost.expression >= math.floor(least))

    def better_than(self, answer: ModelAnswer, limits: Limits) -> ModelAnswer:
        """Look for a plan that costs less, without cuts.

        CP-SAT's cuts for cumulative constraints can overflow where times count hundreds of
        millions of ticks (seen with OR-Tools 9.15), and then cut off what is best.
        """
        self.model.add(self.cost.expression <= answer.cost - 1)
        return self.solve(replace(limits, cuts=False, bound_first=False, first_only=True))

    def solve(self, limits: Limits) -> ModelAnswer:
        """Solve within the limits; the same answer every time with one worker and no seconds."""
        solver = self.cp.CpSolver()
        solver.parameters.num_workers = limits.workers
        solver.parameters.random_seed = limits.seed
        if not limits.cuts:
            solver.parameters.cut_level = 0
        if not limits.usual:
            # with the usual search, ends are often lowered tick by tick where ticks are short
            solver.parameters.linearization_level = 2
            kind = type(solver.parameters.search_branching)  # an int or an enum, by version
            solver.parameters.search_branching = kind(_QUICK_RESTARTS)
        solver.parameters.use_objective_lb_search = limits.bound_first
        solver.parameters.stop_after_first_solution = limits.first_only
        if limits.seconds is None:
            solver.parameters.max_deterministic_time = max(1e-3, limits.deterministic_time)
            solver.parameters.max_time_in_seconds = STALLED_S * (1 + limits.deterministic_time)
        else:
            solver.parameters.max_time_in_seconds = limits.seconds
        status = solver.solve(self.model)
        if status == self.cp.MODEL_INVALID:
            raise AssertionError(self.model.validate())
        spent = float(solver.response_proto.deterministic_time)
        if limits.seconds is None and solver.wall_time >= STALLED_S * (
            1 + limits.deterministic_time
        ):
            return ModelAnswer(None, -math.inf, Status.TIME_LIMIT, spent, stalled=True)
        bound = solver.best_objective_bound * self.cost.unit + self.cost.constant
        if status == self.cp.INFEASIBLE:
            return ModelAnswer(None, math.inf, Status.INFEASIBLE, spent)
        if status not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            return ModelAnswer(None, bound, Status.TIME_LIMIT, spent)
        plan = {job: self._planned(solver, job) for job in self.jobs}
        proved = Status.OPTIMAL if status == self.cp.OPTIMAL else Status.TIME_LIMIT
        cost = int(solver.value(self.cost.expression))
        return ModelAnswer(plan, bound, proved, spent, cost=cost)

    def _planned(self, solver: Any, job: int) -> Planned:
        picked = next(p for p in self.picks[job] if solver.boolean_value(p.taken))
        mode = self.instance.mode(job, picked.choice.mode)
        taken: dict[int, int] = {}
        if mode.level == 0:
            taken[picked.choice.nodes[0]] = mode.count
        for (g, n), var in picked.whole.items():
            count = solver.value(var) * mode.groups[g].per_node
            taken[n] = taken.get(n, 0) + count
        for (g, n), var in picked.rest.items():
            group = mode.groups[g]
            taken[n] = taken.get(n, 0) + solver.value(var) * (group.count % group.per_node)
        nodes = tuple(sorted(n for n, count in taken.items() if count))
        place = Placement(nodes, tuple(taken[n] for n in nodes))
        return Planned(
            picked.choice.mode, solver.value(self.start[job]), solver.value(self.end[job]), place
        )


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return overlapping windows as disjoint ones."""
    found: list[tuple[int, int]] = []
    for a, b in sorted(spans):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], b))
        elif a < b:
            found.append((a, b))
    return found
