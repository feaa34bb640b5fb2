"""One placement round as an exact CP-SAT model.

Nodes never meet jobs in a variable. A job option asks for slots of a size inside a domain;
groups of like nodes offer slots. Domains are nested, so the slots found inside every domain
being enough for the options inside it is necessary and sufficient (Hall's condition on a
laminar family), and a node group of n nodes with f free offers exactly the slot counts that
its node patterns allow. The bound is therefore a bound on the round itself, and an optimum
is an optimum, for every node size and slot size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Group, Problem
from scheduler.core.run import Placement, Status
from scheduler.solver.round_types import Candidate, Option, RoundAnswer

_SCALE = 10**6
ROOT = -1
"""The whole fleet, as a domain: where options inside one node may go."""


@dataclass(slots=True)
class _NodeGroup:
    """Like nodes: same pool, same free count, and no running candidate on them, or one node."""

    pool: int
    nodes: list[int]
    free: int
    residents: dict[int, int] = field(default_factory=dict)
    supply: dict[int, Any] = field(default_factory=dict)
    patterns: list[tuple[dict[int, int], Any]] = field(default_factory=list)


def solve_round(
    problem: Problem,
    layout: Layout,
    occupancy: Occupancy,
    candidates: Sequence[Candidate],
    *,
    hint: RoundAnswer | None = None,
    deterministic_time: float = 1.0,
    workers: int = 1,
) -> RoundAnswer:
    """Choose which candidates run now, in which mode and where, for the most utility.

    Parameters
    ----------
    problem, layout : Problem, Layout
        Fleet.
    occupancy : Occupancy
        What is free now; the candidates' holdings are not free in it.
    candidates : sequence of Candidate
        Jobs to decide on; every other running job stays where it is.
    hint : RoundAnswer or None
        A known answer; the result is never worse.
    deterministic_time : float
        CP-SAT's limit in its own repeatable unit (about a second).
    workers : int
        One for repeatable results.

    Returns
    -------
    RoundAnswer
        Placements, objective, bound and status.
    """
    return _RoundModel(problem, layout, occupancy, candidates).solve(
        hint, deterministic_time, workers
    )


class _RoundModel:
    def __init__(
        self,
        problem: Problem,
        layout: Layout,
        occupancy: Occupancy,
        candidates: Sequence[Candidate],
    ) -> None:
        from ortools.sat.python import cp_model

        self.cp = cp_model
        self.model = cp_model.CpModel()
        self.problem = problem
        self.layout = layout
        self.occupancy = occupancy
        self.candidates = candidates
        self.keep: dict[int, Any] = {}
        self.pick: list[tuple[Candidate, Option, int, Any]] = []
        self.groups: list[_NodeGroup] = []
        self._add_choices()
        self._add_groups()
        self._add_coverage()
        top = max(
            (u for c in candidates for u in self._utilities(c)),
            default=1.0,
        )
        self.unit = top / _SCALE if top > 0 else 1.0
        self.model.maximize(sum(self._scaled(u) * var for u, var in self._terms()))

    @staticmethod
    def _utilities(candidate: Candidate) -> Iterable[float]:
        yield from (o.utility for o in candidate.options)
        if candidate.held is not None:
            yield candidate.held.utility

    def _scaled(self, utility: float) -> int:
        return int(utility / self.unit)

    def _terms(self) -> list[tuple[float, Any]]:
        terms = [(option.utility, var) for _, option, _, var in self.pick]
        for candidate in self.candidates:
            if candidate.held is not None:
                terms.append((candidate.held.utility, self.keep[candidate.job]))
        return terms

    # --- variables and constraints -------------------------------------------------

    def _add_choices(self) -> None:
        for candidate in self.candidates:
            choices = []
            for option in candidate.options:
                for domain in self._domains(option):
                    var = self.model.new_bool_var("")
                    self.pick.append((candidate, option, domain, var))
                    choices.append(var)
            if candidate.held is not None:
                self.keep[candidate.job] = self.model.new_bool_var("")
                choices.append(self.keep[candidate.job])
            self.model.add_at_most_one(choices)

    def _domains(self, option: Option) -> list[int]:
        mode = option.shape
        if mode.level == 0:
            return [ROOT]
        found = None
        for group in mode.groups:
            entries = self.layout.domains_of.get((group.type_index, mode.level), ())
            here = {e.domain for e in entries}
            found = here if found is None else found & here
        return sorted(found or ())

    def _add_groups(self) -> None:
        residents: dict[int, dict[int, int]] = {}
        for candidate in self.candidates:
            if candidate.held is not None:
                placement = candidate.held.placement
                for node, count in zip(placement.nodes, placement.counts, strict=True):
                    residents.setdefault(node, {})[candidate.job] = count
        self.sizes = self._slot_sizes()
        occupancy = self.occupancy
        for p, pool in enumerate(self.problem.pools):
            sizes = self.sizes.get(pool.type_index)
            if not sizes:
                continue
            like: dict[int, _NodeGroup] = {}
            for node in pool.nodes:
                free = occupancy.free[node]
                if node in residents:
                    held = residents[node]
                    group = _NodeGroup(p, [node], free + sum(held.values()), held)
                    self.groups.append(group)
                elif free >= sizes[0] and free in like:
                    like[free].nodes.append(node)
                elif free >= sizes[0]:
                    like[free] = _NodeGroup(p, [node], free)
                    self.groups.append(like[free])
        for group in self.groups:
            self._offer(group, self.sizes[self.problem.pools[group.pool].type_index])

    def _slot_sizes(self) -> dict[int, list[int]]:
        found: dict[int, set[int]] = {}
        for _, option, _, _ in self.pick:
            for group in option.shape.groups:
                found.setdefault(group.type_index, set()).update(group.slots)
        for candidate in self.candidates:  # a pool with residents counts even with no option
            if candidate.held is not None:
                for node in candidate.held.placement.nodes:
                    found.setdefault(self.layout.pool_type[self.layout.node_pool[node]], set())
        return {t: sorted(sizes) or [1] for t, sizes in found.items()}

    def _offer(self, group: _NodeGroup, sizes: Sequence[int]) -> None:
        usable = [k for k in sizes if k <= group.free]
        n = len(group.nodes)
        for k in usable:
            group.supply[k] = self.model.new_int_var(0, n * (group.free // k), "")
        if n == 1:
            load = sum(k * s for k, s in group.supply.items())
            load += sum(count * self.keep[job] for job, count in group.residents.items())
            self.model.add(load <= group.free)
        elif all(b % a == 0 for a, b in pairwise(usable)):
            for k in usable:  # counted slots: sufficient, since largest-first packing cannot fail
                used = sum((b // k) * group.supply[b] for b in usable if b >= k)
                self.model.add(used <= n * (group.free // k))
        else:
            for pattern in maximal_patterns(usable, group.free):
                group.patterns.append((pattern, self.model.new_int_var(0, n, "")))
            self.model.add(sum(var for _, var in group.patterns) <= n)
            for k in usable:
                offered = sum(pattern.get(k, 0) * var for pattern, var in group.patterns)
                self.model.add(group.supply[k] <= offered)

    def _add_coverage(self) -> None:
        demand: dict[tuple[int, int, int], list[tuple[int, Any]]] = {}
        for _, option, domain, var in self.pick:
            for group in option.shape.groups:
                for k, slots in _slot_counts(group).items():
                    for outer in self._chain(domain, group.type_index):
                        key = (group.type_index, k, outer)
                        demand.setdefault(key, []).append((slots, var))
        for (t, k, domain), terms in demand.items():
            supply = [
                g.supply[k]
                for g in self.groups
                if k in g.supply and self._inside(g.pool, t, domain)
            ]
            self.model.add(sum(slots * var for slots, var in terms) <= sum(supply))

    def _inside(self, pool: int, type_index: int, domain: int) -> bool:
        where = self.problem.pools[pool]
        return where.type_index == type_index and (domain == ROOT or domain in where.domains)

    def _chain(self, domain: int, type_index: int) -> list[int]:
        """Return `domain` and every domain around it."""
        if domain == ROOT:
            return [ROOT]
        inner = self.problem.domains[domain]
        pool = next(p for p in inner.pools if self.problem.pools[p].type_index == type_index)
        around = self.problem.pools[pool].domains[inner.level - 1 :]
        return [*dict.fromkeys(around), ROOT]

    # --- answer --------------------------------------------------------------------

    def solve(
        self, hint: RoundAnswer | None, deterministic_time: float, workers: int
    ) -> RoundAnswer:
        if hint is not None:
            self._add_hint(hint)
        solver = self.cp.CpSolver()
        solver.parameters.num_workers = workers
        solver.parameters.random_seed = 0
        solver.parameters.max_deterministic_time = deterministic_time
        solver.parameters.cp_model_probing_level = 1
        status = solver.solve(self.model)
        slack = self.unit * len(self.candidates)  # each utility was rounded down by under a unit
        bound = solver.best_objective_bound * self.unit + slack
        if status not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            if hint is None:
                return RoundAnswer((), self._all_held(), 0.0, bound, Status.TIME_LIMIT)
            return RoundAnswer(
                hint.starts, hint.kept, hint.objective, min(bound, hint.bound), Status.TIME_LIMIT
            )
        answer = self._extract(solver, bound, status == self.cp.OPTIMAL)
        if hint is not None and hint.objective > answer.objective:
            return RoundAnswer(
                hint.starts, hint.kept, hint.objective, max(bound, hint.objective), answer.status
            )
        return answer

    def _all_held(self) -> tuple[int, ...]:
        return tuple(c.job for c in self.candidates if c.held is not None)

    def _add_hint(self, hint: RoundAnswer) -> None:
        kept = set(hint.kept)
        started = {job: (mode, placement) for job, mode, placement in hint.starts}
        for job, var in self.keep.items():
            self.model.add_hint(var, job in kept)
        for candidate, option, domain, var in self.pick:
            choice = started.get(candidate.job)
            same = choice is not None and choice[0] == option.mode
            if same and choice is not None and domain != ROOT:
                pool = self.layout.node_pool[choice[1].nodes[0]]
                same = domain in self.problem.pools[pool].domains
            self.model.add_hint(var, same)

    def _extract(self, solver: Any, bound: float, optimal: bool) -> RoundAnswer:
        slots = self._open_slots(solver)
        needs: list[
            tuple[int, int, Candidate, Option, int]
        ] = []  # innermost domains first: what they leave serves the outer ones
        for candidate, option, domain, var in self.pick:
            if solver.boolean_value(var):
                depth = 0 if domain == ROOT else len(self.problem.levels) - option.shape.level
                needs.append((-depth, len(needs), candidate, option, domain))
        starts = []
        objective = 0.0
        for _, _, candidate, option, domain in sorted(needs, key=lambda need: need[:2]):
            taken: dict[int, int] = {}
            for group in option.shape.groups:
                for k, count in _slot_counts(group).items():
                    self._draw(slots, group.type_index, k, count, domain, taken)
            nodes = tuple(sorted(taken))
            placement = Placement(nodes, tuple(taken[n] for n in nodes))
            starts.append((candidate.job, option.mode, placement))
            objective += option.utility
        kept = []
        for candidate in self.candidates:
            if candidate.held is not None and solver.boolean_value(self.keep[candidate.job]):
                kept.append(candidate.job)
                objective += candidate.held.utility
        status = Status.OPTIMAL if optimal else Status.FEASIBLE
        return RoundAnswer(tuple(starts), tuple(kept), objective, max(bound, objective), status)

    def _open_slots(self, solver: Any) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Return the nodes of the opened slots by (type, size), as (pool, node), one per slot."""
        slots: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for group in self.groups:
            t = self.problem.pools[group.pool].type_index
            wanted = {k: solver.value(var) for k, var in group.supply.items()}
            for node, sizes in self._spread(group, wanted, solver):
                for k in sizes:
                    slots.setdefault((t, k), []).append((group.pool, node))
        return slots

    def _spread(
        self, group: _NodeGroup, wanted: dict[int, int], solver: Any
    ) -> list[tuple[int, list[int]]]:
        """Lay the opened slots of a group on its nodes."""
        if group.patterns:
            laid = []
            nodes = iter(group.nodes)
            for pattern, var in group.patterns:
                for _ in range(solver.value(var)):
                    sizes = [k for k, count in pattern.items() for _ in range(count)]
                    laid.append((next(nodes), sizes))
            return laid
        room = dict.fromkeys(group.nodes, group.free)
        if len(group.nodes) == 1 and group.residents:
            kept = sum(c for j, c in group.residents.items() if solver.boolean_value(self.keep[j]))
            room[group.nodes[0]] -= kept
        by_node: dict[int, list[int]] = {node: [] for node in group.nodes}
        for k in sorted(wanted, reverse=True):
            for _ in range(wanted[k]):
                node = min(
                    (n for n in group.nodes if room[n] >= k),
                    key=lambda n: (room[n], n),
                )
                room[node] -= k
                by_node[node].append(k)
        return list(by_node.items())

    def _draw(
        self,
        slots: dict[tuple[int, int], list[tuple[int, int]]],
        type_index: int,
        k: int,
        count: int,
        domain: int,
        taken: dict[int, int],
    ) -> None:
        open_slots = slots[type_index, k]
        position = 0
        while count:
            pool, node = open_slots[position]
            if self._inside(pool, type_index, domain):
                open_slots.pop(position)
                taken[node] = taken.get(node, 0) + k
                count -= 1
            else:
                position += 1


def _slot_counts(group: Group) -> dict[int, int]:
    counts: dict[int, int] = {}
    for k in group.slots:
        counts[k] = counts.get(k, 0) + 1
    return counts


def maximal_patterns(sizes: Sequence[int], free: int) -> list[dict[int, int]]:
    """Return every way to fill a node of `free` accelerators to which no slot can be added.

    Parameters
    ----------
    sizes : sequence of int
        Slot sizes, ascending.
    free : int
        Accelerators on the node.
    """
    patterns: list[dict[int, int]] = []

    def fill(position: int, left: int, used: dict[int, int]) -> None:
        if position < 0:
            if left < sizes[0]:
                patterns.append(dict(used))
            return
        k = sizes[position]
        for count in range(left // k, -1, -1):
            fill(position - 1, left - count * k, {**used, k: count} if count else used)

    if sizes:
        fill(len(sizes) - 1, free, {})
    return patterns
