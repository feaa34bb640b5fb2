"""The interval model: every job once, in one mode, on nodes of one domain; CP-SAT proves it.

Each way to run a job is an optional interval. A gang's slots on a node are integer variables,
so that fragmentation is inside the model; every node is a cumulative resource, a node that is
down is full. A cumulative per accelerator type adds nothing new but helps the bound.

Quotas, reservations, host resources, affinity and power caps are left out. The bound holds
with them, since they only forbid; whether a plan keeps to them is the verifier's to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from scheduler.core.problem import Group
from scheduler.core.run import Placement, Status
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.solver.offline.instance import Choice, Instance, Planned, node_types
from scheduler.solver.offline.objectives import added_w, idle_w

_TOP: Final = 1 << 58
"""Largest objective on integers; CP-SAT needs some room above it."""

_TOP_ENERGY: Final = 1 << 53
"""The same where joules are scaled freely: what doubles, and so its LP, count exactly."""

_QUICK_RESTARTS: Final = 5
"""CP-SAT's PORTFOLIO_WITH_QUICK_RESTART_SEARCH."""

EXACT: Final = ("mean_jct", "makespan")
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
    """

    deterministic_time: float
    workers: int = 1
    seed: int = 0
    seconds: float | None = None
    bound_first: bool = False


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
    """

    plan: Mapping[int, Planned] | None
    bound: float
    status: Status
    deterministic_time: float


@dataclass(slots=True)
class _Picked:
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
    """

    def __init__(
        self,
        instance: Instance,
        objective: str,
        jobs: Sequence[int],
        fixed: Mapping[int, Planned],
        horizon: int,
        among: Set[int] | None = None,
    ) -> None:
        from ortools.sat.python import cp_model

        self.cp = cp_model
        self.model = cp_model.CpModel()
        self.instance = instance
        self.jobs = tuple(jobs)
        self.fixed = fixed
        self.horizon = horizon
        self.among = among
        self.types = node_types(instance.problem)
        self.start: dict[int, Any] = {}
        self.end: dict[int, Any] = {}
        self.picks: dict[int, list[_Picked]] = {}
        self._on_node: dict[int, list[tuple[Any, Any]]] = {}
        self._on_type: dict[int, list[tuple[Any, int]]] = {}
        for job in self.jobs:
            self._add_job(job)
        self._add_capacity()
        self._add_order()
        self.last: Any = None
        self.unit, self.constant, self.cost = self._cost(objective)
        self.model.minimize(self.cost)

    # --- variables and constraints -------------------------------------------------

    def _add_job(self, job: int) -> None:
        model, instance = self.model, self.instance
        choices = instance.choices(job, self.among)
        shortest = min(c.duration for c in choices)
        first = instance.release[job]
        self.start[job] = start = model.new_int_var(first, self.horizon - shortest, "")
        self.end[job] = end = model.new_int_var(first + shortest, self.horizon, "")
        picks = []
        for choice in choices:
            taken = model.new_bool_var("")
            interval = model.new_optional_fixed_size_interval_var(start, choice.duration, taken, "")
            picked = _Picked(choice, taken, {}, {})
            self._add_slots(job, picked, interval)
            picks.append(picked)
        model.add_exactly_one([p.taken for p in picks])
        model.add(end == start + sum(p.choice.duration * p.taken for p in picks))
        self.picks[job] = picks
        by_mode: dict[int, list[_Picked]] = {}
        for p in picks:
            by_mode.setdefault(p.choice.mode, []).append(p)
        for m, some in by_mode.items():
            held = some[0].taken if len(some) == 1 else model.new_bool_var("")
            if len(some) > 1:
                model.add(sum(p.taken for p in some) == held)
            length = some[0].choice.duration
            interval = model.new_optional_fixed_size_interval_var(start, length, held, "")
            for group in instance.mode(job, m).groups:
                self._on_type.setdefault(group.type_index, []).append((interval, group.count))

    def _add_slots(self, job: int, picked: _Picked, interval: Any) -> None:
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
                load = self._load(picked, g, n, group)
                if load is not None:
                    self._on_node.setdefault(n, []).append((interval, load))
                    if n in self.instance.drains:
                        used = self.model.new_bool_var("")
                        self.model.add(load <= nodes[n].count * used)
                        self._bar_drains(job, n, used)

    def _load(self, picked: _Picked, g: int, node: int, group: Group) -> Any:
        """Return what a group holds on a node, which a cumulative wants as one variable."""
        whole, rest = picked.whole.get((g, node)), picked.rest.get((g, node))
        if whole is None:
            return None if rest is None else group.count % group.per_node * rest
        if rest is None:
            return group.per_node * whole
        load = self.model.new_int_var(0, self.instance.problem.cluster.nodes[node].count, "")
        self.model.add(load == group.per_node * whole + group.count % group.per_node * rest)
        return load

    def _bar_drains(self, job: int, node: int, used: Any) -> None:
        for a, b in self.instance.drains.get(node, ()):
            free = self.cp.Domain.from_intervals([[0, a - 1], [b, max(b, self.horizon)]])
            self.model.add_linear_expression_in_domain(self.start[job], free).only_enforce_if(used)

    def _add_capacity(self) -> None:
        model, problem = self.model, self.instance.problem
        held: dict[int, list[tuple[int, int, int]]] = {}
        for planned in self.fixed.values():
            place = planned.placement
            for n, count in zip(place.nodes, place.counts, strict=True):
                if n in self._on_node:
                    held.setdefault(n, []).append((planned.start, planned.end, count))
        for n, rows in sorted(self._on_node.items()):
            size = problem.cluster.nodes[n].count
            intervals, loads = [i for i, _ in rows], [load for _, load in rows]
            # down and held at once cannot be; overlapping windows of one node are one
            for a, b in _union(self.instance.downs.get(n, ())):
                intervals.append(model.new_fixed_size_interval_var(a, b - a, ""))
                loads.append(size)
            for a, b, count in held.get(n, ()):
                intervals.append(model.new_fixed_size_interval_var(a, b - a, ""))
                loads.append(count)
            model.add_cumulative(intervals, loads, size)
        if self.fixed:
            return  # a window does not need the bound
        for t, some in sorted(self._on_type.items()):
            size = problem.capacity()[t]
            model.add_cumulative([i for i, _ in some], [count for _, count in some], size)

    def _add_order(self) -> None:
        for job, needed in self.instance.after.items():
            for other in needed:
                if job in self.start:
                    end = self.end[other] if other in self.end else self.fixed[other].end
                    self.model.add(self.start[job] >= end)
                elif other in self.end and job in self.fixed:
                    self.model.add(self.end[other] <= self.fixed[job].start)

    # --- objective -----------------------------------------------------------------

    def _cost(self, name: str) -> tuple[float, float, Any]:
        """Return (unit, constant, expression): the objective is at least unit * it + constant.

        Equal where no coefficient had to be rounded down.
        """
        columns = self.instance.problem.workload.jobs
        tick_s = self.instance.tick_us / US_PER_S
        release = self.instance.release
        if name == "makespan":
            every = [*self.jobs, *self.fixed]
            first = min(release[j] for j in every)
            return tick_s, -first * tick_s, self._last_end()
        if name == "energy":
            return self._energy()
        if name == "tardiness":
            due = [j for j in self.instance.jobs if not math.isnan(columns.deadline_s[j])]
            late = [self._lateness(j) for j in self.jobs if j in set(due)]
            return tick_s / max(1, len(due)), 0.0, sum(late) if late else 0 * self._last_end()
        exact = {
            j: Fraction(1) if name == "mean_jct" else Fraction(repr(float(columns.weight[j])))
            for j in self.instance.jobs
        }
        total = sum(exact.values(), Fraction(0))
        most = Fraction(_TOP, max(1, self.horizon * len(self.jobs))) / max(exact.values())
        scale = min(most, Fraction(math.lcm(*(w.denominator for w in exact.values()))))
        whole = {j: math.floor(exact[j] * scale) for j in self.jobs}
        unit = float(Fraction(self.instance.tick_us, US_PER_S) / scale / total)
        spans = [whole[j] * (self.end[j] - release[j]) for j in self.jobs]
        return unit, 0.0, sum(spans)

    def _last_end(self) -> Any:
        if self.last is None:
            self.last = self.model.new_int_var(0, self.horizon, "")
            known = max((p.end for p in self.fixed.values()), default=0)
            self.model.add_max_equality(self.last, [*self.end.values(), known])
        return self.last

    def _lateness(self, job: int) -> Any:
        due_us = us_from_s(float(self.instance.problem.workload.jobs.deadline_s[job]))
        late = self.model.new_int_var(0, self.horizon, "")
        self.model.add_max_equality(late, [0, self.end[job] - due_us // self.instance.tick_us])
        return late

    def _energy(self) -> tuple[float, float, Any]:
        problem, instance = self.instance.problem, self.instance
        tick_s = instance.tick_us / US_PER_S
        last = self._last_end()
        terms: list[tuple[float, Any, int]] = []  # joules each, variable, its most
        idle = idle_w(problem)
        terms.append((math.fsum(idle) * tick_s, last, self.horizon))
        for n, spans in instance.downs.items():
            for a, b in _union(spans):
                until = [self.model.new_int_var(0, self.horizon + 1, "") for _ in range(2)]
                for var, at in zip(until, (a, b), strict=True):
                    self.model.add_min_equality(var, [last, at])
                terms.append((-idle[n] * tick_s, until[1] - until[0], self.horizon))
        for job in self.jobs:
            for p in self.picks[job]:
                extra_w = added_w(problem, instance.mode(job, p.choice.mode))
                terms.append((extra_w * p.choice.duration * tick_s, p.taken, 1))
        unit = math.fsum(abs(w) * most for w, _, most in terms) / _TOP_ENERGY or 1.0
        return unit, 0.0, sum(math.floor(w / unit) * var for w, var, _ in terms)

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
        least = math.floor((value * (1 - 1e-12) - self.constant) / self.unit * (1 - 1e-12))
        if least > 0:
            self.model.add(self.cost >= least)

    def solve(self, limits: Limits) -> ModelAnswer:
        """Solve within the limits; the same answer every time with one worker and no seconds."""
        solver = self.cp.CpSolver()
        solver.parameters.num_workers = limits.workers
        solver.parameters.random_seed = limits.seed
        # with the usual search, ends are lowered tick by tick where ticks are short
        solver.parameters.linearization_level = 2
        kind = type(solver.parameters.search_branching)  # an int or an enum, by version
        solver.parameters.search_branching = kind(_QUICK_RESTARTS)
        solver.parameters.use_objective_lb_search = limits.bound_first
        if limits.seconds is None:
            solver.parameters.max_deterministic_time = max(1e-3, limits.deterministic_time)
        else:
            solver.parameters.max_time_in_seconds = limits.seconds
        status = solver.solve(self.model)
        if status == self.cp.MODEL_INVALID:
            raise AssertionError(self.model.validate())
        spent = float(solver.response_proto.deterministic_time)
        bound = solver.best_objective_bound * self.unit + self.constant
        if status == self.cp.INFEASIBLE:
            return ModelAnswer(None, math.inf, Status.INFEASIBLE, spent)
        if status not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            return ModelAnswer(None, bound, Status.TIME_LIMIT, spent)
        plan = {job: self._planned(solver, job) for job in self.jobs}
        proved = Status.OPTIMAL if status == self.cp.OPTIMAL else Status.TIME_LIMIT
        return ModelAnswer(plan, bound, proved, spent)

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
