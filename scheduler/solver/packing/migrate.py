"""Room made by one planned migration: at most so many moves, all at once, everyone stays.

A program over exchanges on single accelerators, made by column generation, bounds what moves
gain; CP-SAT chooses whole exchanges among those that it made. All pods that move are taken out
and then put in together, so exchanges in a ring are allowed. Pods with several accelerators
neither move nor come in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from scheduler.core.packing import REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.cluster import Cluster
from scheduler.solver.packing.exchanges import Exchange, Exchanges, MovePrices
from scheduler.solver.packing.pooled import solve_pooled
from scheduler.solver.packing.table import tabulate

ROUNDS: Final = 60
"""Rounds of pricing for each number of moves, at most."""

POOL: Final = 8000
"""Exchanges that CP-SAT chooses from."""

EFFORT: Final = 2.5
"""Deterministic time of CP-SAT for each number of moves."""

_EACH_ROUND: Final = 1500  # exchanges added
_PAYS_MILLI: Final = 1e-2
_CLOSE: Final = 2e-5  # of the accelerators
_FIRST_MOVE_MILLI: Final = 300.0  # price of a move in the first round
_UNUSED: Final = 1e-9
_GIB: Final = float(2**30)


@dataclass(frozen=True, slots=True)
class Migration:
    """What at most so many moves gain.

    Parameters
    ----------
    most_moves : int
        What was allowed.
    moves : int
        Pods whose node or accelerators change.
    gained_milli : int
        Thousandths of accelerators.
    bound_milli : float
        No such migration gains more while pods with several accelerators stay as they are, and
        each accelerator is emptied in one of the ways looked at (all, up to `MOST_SUBSETS`);
        from the prices of the program, in floating point.
    packing : Packing
        The same arrivals; all that were placed still are.
    """

    most_moves: int
    moves: int
    gained_milli: int
    bound_milli: float
    packing: Packing


def migrations(
    problem: PackingProblem, packing: Packing, most_moves: Sequence[int]
) -> Iterator[Migration]:
    """Yield a migration for each number of moves, in ascending order of these.

    Parameters
    ----------
    problem : PackingProblem
        Nodes and pods.
    packing : Packing
        Where pods are now.
    most_moves : sequence of int
        Pods that may move, each not below 0.
    """
    table = tabulate(problem, packing.arrivals)
    cluster = Cluster(table)
    cluster.load(packing)
    search = _Search(cluster, packing)
    chosen: dict[Exchange, int] = {}
    best: Migration | None = None
    for most in sorted(set(most_moves)):
        bound = search.price(most)
        chosen = search.choose(most, chosen)
        after = search.carry_out(chosen)
        moved = (packing.node != REFUSED) & (
            (after.node != packing.node) | (after.held != packing.held)
        )
        entered = (packing.node == REFUSED) & (after.node != REFUSED)
        gained = int(table.demand_milli[table.class_of[entered]].sum())
        found = Migration(most, int(moved.sum()), gained, max(bound, 0.0), after)
        if best is not None and best.gained_milli > gained:
            found = replace(best, most_moves=most, bound_milli=found.bound_milli)
        yield found
        best = found


class _Search:
    """The program over exchanges, kept warm from one number of moves to the next."""

    def __init__(self, cluster: Cluster, packing: Packing) -> None:
        from ortools.linear_solver import pywraplp

        self.cluster, self.packing, self.table = cluster, packing, cluster.table
        self.exchanges = Exchanges(cluster)
        self.many = np.array([site.many for site in self.exchanges.sites], dtype=np.int64)
        placed = self.table.class_of[packing.node != REFUSED]
        self.stay = np.bincount(placed, minlength=len(self.table.count)).astype(np.int64)
        self.waiting = self.table.count - self.stay
        self.optimal = pywraplp.Solver.OPTIMAL
        self.solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.objective = self.solver.Objective()
        self.objective.SetMaximization()
        self.classes = [self.solver.Constraint(0, n) for n in self.waiting.tolist()]
        self.budget = self.solver.Constraint(0, 0)
        self.rows: dict[tuple[str, int], Any] = {}
        self.columns: dict[Exchange, Any] = {}
        self.order: list[tuple[bool, float, int]] = []  # used first, then least loss, then newest

    def price(self, most: int) -> float:
        """Add exchanges until none pays any more; return a bound in thousandths."""
        self.budget.SetUb(most)
        bound = float(self.waiting @ self.table.demand_milli)
        close = _CLOSE * self.table.capacity_milli
        for turn in range(ROUNDS):
            first = turn == 0 and not self.columns
            if first:
                prices, value = self._first_prices(), 0.0
            else:
                if not self._solve():
                    break
                prices, value = self._prices(), WHOLE_MILLI * float(self.objective.Value())
            bound = min(bound, self._bound(prices, most))
            found = self.exchanges.best(prices, _PAYS_MILLI)
            found.sort(key=lambda pair: -pair[0])
            added = sum(self._add(exchange) for _, exchange in found[:_EACH_ROUND])
            if not first and (not added or bound - value < close):
                break
        if self._solve():  # without an optimum, the last order does
            self.order = sorted(
                (v.solution_value() < _UNUSED, round(-v.reduced_cost(), 3), -i)
                for i, v in enumerate(self.columns.values())
            )
        return bound

    def _solve(self) -> bool:
        return bool(self.solver.Solve() == self.optimal)

    def _first_prices(self) -> MovePrices:
        pooled = solve_pooled(self.table, self.stay).prices
        shape = self.table.shape_of
        none = np.zeros(len(self.many))
        cpu, memory = pooled.cpu_milli[shape], pooled.memory_byte[shape]
        return MovePrices(pooled.pod, cpu, memory, _FIRST_MOVE_MILLI, none)

    def _prices(self) -> MovePrices:
        """Return the duals, in thousandths of an accelerator."""
        by_kind: dict[str, FloatArray] = {
            "cpu": np.zeros(len(self.table.shape_of)),
            "memory": np.zeros(len(self.table.shape_of)),
            "site": np.zeros(len(self.many)),
        }
        for (kind, at), row in self.rows.items():
            by_kind[kind][at] = WHOLE_MILLI * max(row.dual_value(), 0.0)
        return MovePrices(
            WHOLE_MILLI * np.array([row.dual_value() for row in self.classes]),
            by_kind["cpu"] / 1000.0,
            by_kind["memory"] / _GIB,
            WHOLE_MILLI * max(float(self.budget.dual_value()), 0.0),
            by_kind["site"],
        )

    def _bound(self, prices: MovePrices, most: int) -> float:
        """Return the Lagrangian bound: what is there at its price, and the best on each site."""
        none = np.zeros(len(self.many))
        free = MovePrices(prices.pod, prices.cpu_milli, prices.memory_byte, prices.move, none)
        earned = sum(v * int(self.many[e.site]) for v, e in self.exchanges.best(free, 0.0))
        left = prices.cpu_milli @ self.cluster.cpu + prices.memory_byte @ self.cluster.memory
        return float(prices.move * most + np.maximum(prices.pod, 0) @ self.waiting + left + earned)

    def _row(self, kind: str, at: int, most: float) -> Any:
        if (kind, at) not in self.rows:
            self.rows[kind, at] = self.solver.Constraint(-self.solver.infinity(), most)
        return self.rows[kind, at]

    def _add(self, exchange: Exchange) -> bool:
        if exchange in self.columns:
            return False
        cluster = self.cluster
        variable = self.columns[exchange] = self.solver.NumVar(0, self.solver.infinity(), "")
        node = self.exchanges.sites[exchange.site].node
        demand, cpu, memory = self._sums(exchange)
        self.objective.SetCoefficient(variable, demand / WHOLE_MILLI)
        for c, n in _net(exchange).items():
            self.classes[c].SetCoefficient(variable, n)
        row = self._row("cpu", node, float(cluster.cpu[node]) / 1000.0)
        row.SetCoefficient(variable, cpu / 1000.0)
        row = self._row("memory", node, float(cluster.memory[node]) / _GIB)
        row.SetCoefficient(variable, memory / _GIB)
        self._row("site", exchange.site, float(self.many[exchange.site])).SetCoefficient(
            variable, 1
        )
        self.budget.SetCoefficient(variable, len(exchange.out))
        return True

    def _sums(self, exchange: Exchange) -> tuple[int, int, int]:
        """Return what an exchange adds: thousandths of accelerators, CPU and memory."""
        table, net = self.table, _net(exchange)
        columns = (table.demand_milli, table.cpu_milli, table.memory_bytes)
        demand, cpu, memory = (sum(n * int(x[c]) for c, n in net.items()) for x in columns)
        return demand, cpu, memory

    def _pool(self, known: dict[Exchange, int]) -> list[Exchange]:
        """Return exchanges to choose from: those known and used, then those that cost least."""
        exchanges = list(self.columns)
        pool = dict.fromkeys(known)
        pool |= dict.fromkeys(exchanges[-at] for _, _, at in self.order[:POOL])
        return list(pool)

    def choose(self, most: int, known: dict[Exchange, int]) -> dict[Exchange, int]:
        """Return how often to carry out which exchanges; `known` if nothing better is found."""
        from ortools.sat.python import cp_model

        if not self.columns:
            return known
        model: Any = cp_model.CpModel()
        terms: dict[tuple[str, int], list[Any]] = defaultdict(list)
        moved, gained = [], []
        variables = {}
        sites = self.exchanges.sites
        for exchange in self._pool(known):
            pods = [int(self.table.count[c]) for c in (*exchange.out, *exchange.into)]
            limit = min(int(self.many[exchange.site]), *pods)
            x = variables[exchange] = model.new_int_var(0, limit, "")
            model.add_hint(x, known.get(exchange, 0))
            demand, cpu, memory = self._sums(exchange)
            node = sites[exchange.site].node
            terms["cpu", node].append(cpu * x)
            terms["memory", node].append(memory * x)
            terms["site", exchange.site].append(x)
            for c, n in _net(exchange).items():
                terms["class", c].append(n * x)
            moved.append(len(exchange.out) * x)
            gained.append(demand * x)
        room = {"cpu": self.cluster.cpu, "memory": self.cluster.memory}
        room |= {"site": self.many, "class": self.waiting}
        for (kind, at), found in terms.items():
            model.add(sum(found) <= int(room[kind][at]))
            if kind == "class":
                model.add(sum(found) >= 0)
        model.add(sum(moved) <= most)
        model.maximize(sum(gained))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.linearization_level = 2
        solver.parameters.max_deterministic_time = EFFORT
        if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return known
        if solver.objective_value < sum(self._sums(e)[0] * n for e, n in known.items()):
            return known
        return {e: n for e, x in variables.items() if (n := int(solver.value(x)))}

    def carry_out(self, chosen: dict[Exchange, int]) -> Packing:
        """Return the packing after all of the exchanges chosen."""
        after = Cluster(self.table)
        after.load(self.packing)
        pool: dict[int, list[int]] = defaultdict(list)
        taken: Counter[int] = Counter()
        entering: list[tuple[int, int, tuple[int, ...]]] = []
        for exchange, times in chosen.items():
            site = self.exchanges.sites[exchange.site]
            for _ in range(times):
                held = 1 << site.slots[taken[exchange.site]] if site.slots else 0
                taken[exchange.site] += 1
                for c in exchange.out:
                    pod = self._one(after, site.node, held, c)
                    after.remove(pod)
                    pool[c].append(pod)
                entering.append((site.node, held, exchange.into))
        waiting: dict[int, list[int]] = defaultdict(list)
        for pod in np.flatnonzero(self.packing.node == REFUSED).tolist()[::-1]:
            waiting[int(self.table.class_of[pod])].append(pod)
        for node, held, into in entering:
            for c in into:
                after.put((pool[c] or waiting[c]).pop(), node, held)
        wide = self.table.accelerators[self.table.class_of] > 1
        after.put_where_it_fits(pod for pod in after.refused().tolist() if not wide[pod])
        return after.packing(self.packing.arrivals, self.packing.policy)

    def _one(self, cluster: Cluster, node: int, held: int, pod_class: int) -> int:
        """Return a pod of a class on given accelerators of a node."""
        kind: IntArray = self.table.class_of
        return next(p for p in cluster.on[node] if cluster.held[p] == held and kind[p] == pod_class)


def _net(exchange: Exchange) -> dict[int, int]:
    """Return pods of each class that an exchange adds, less those that leave."""
    net = Counter(exchange.into)
    net.subtract(exchange.out)
    return {c: n for c, n in sorted(net.items()) if n}
