"""Prices of rounds, by column generation: a bound on the mean completion time, and a plan.

Columns are whole schedules of a job (`paths`), rows the accelerators of each group in each round
(or bucket of rounds), and each job once. For any prices that are not negative, the sum of the
jobs' least costs less the worth of the fleet's rounds is a lower bound on every schedule's sum of
completion times (Lagrangian relaxation): it is evaluated by the jobs' dynamic programs, never
read off the linear program, which only says which prices to try. Elastic gangs that fit by count
fit on the nodes, so that counts lose nothing; what is given away is that a fraction of one
schedule and a fraction of another may be held at once.

Subgradient steps on coarse buckets give first prices and columns; the linear program, its prices
kept within a box around the best, takes over (as in `solver.plan.bound`), on finer buckets later.
All but the last steps are on coarse grids. Those gain a job a little at every change, enough that
some columns hop between slow configurations for it, so that before the last steps all columns are
played to the second, and those that come to nothing are dropped.

References
----------
P. Wentges, "Weighted Dantzig-Wolfe decomposition for linear mixed-integer programming",
International Transactions in Operational Research 4(2), 1997.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Tables
from scheduler.solver.adaptive.lattice import ROUND_S, Lattice
from scheduler.solver.adaptive.paths import JobPath, Paths, job_starts
from scheduler.solver.adaptive.replay import Replay

FIRST_STEPS: Final = 18
"""Subgradient steps before the first linear program."""

FIRST_WIDTH: Final = 5
WIDTHS: Final = ((5, 0.35), (2, 0.8))
"""Rounds of a bucket on the coarse grids, and the share of the rounds of column generation after
which it ends; what is left is on the fine grids."""

FINE_WIDTH: Final = 2
"""Rounds of a bucket there."""

CELLS: Final = 500
SPOTS: Final = 400
"""Cells of a configuration and common positions of the coarse grids, at most."""

MOST_ROWS: Final = 6000
"""Rows of the linear program; buckets are wider where it would have more."""

STEP: Final = 0.03
"""First change of a price whose accelerators are asked for twice over, in seconds a second."""

FADE: Final = 12
KEEP: Final = 0.6
"""Steps after which changes are half as large, and the share of the last direction kept."""

INWARD: Final = 0.5
BOX: Final = 0.5
GROW: Final = 1.6
SHRINK: Final = 0.75
LEAST: Final = 0.02
FLOOR: Final = 0.01
"""How far new prices are taken back towards the best; the box around these as a share of them, how
it changes, and the share of the highest price that counts as the least."""

CONVERGED: Final = 5e-4
EDGE: Final = 1e-6
UNIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PricedPlan:
    """What prices prove.

    Parameters
    ----------
    total_s : float
        No schedule has a lower sum of seconds from first round to completion.
    prices : ndarray, shape (groups, rounds)
        Seconds of completion time that an accelerator-second is worth.
    """

    total_s: float
    prices: FloatArray


def priced_plan(tables: Tables, steps: int) -> PricedPlan:
    """Return prices and what they prove.

    Parameters
    ----------
    tables : Tables
        The problem.
    steps : int
        Price vectors tried, at least one.
    """
    search = PriceSearch(tables)
    search.descend(min(FIRST_STEPS, max(steps, 1)))
    left, done = steps - FIRST_STEPS, 0
    for width, until in WIDTHS:
        upto = round(until * left)
        if upto > done:
            search.generate(width, upto - done)
            done = upto
    search.refine()
    if left > done:
        search.generate(FINE_WIDTH, left - done)
    return PricedPlan(search.best_value, search.best)


class PriceSearch:
    """Best prices so far, columns so far.

    Parameters
    ----------
    tables : Tables
        The problem.
    """

    def __init__(self, tables: Tables) -> None:
        problem = tables.problem
        self.tables = tables
        self.capacity = np.array(tables.capacity, float)
        self.kinds = np.array([j.application for j in problem.jobs])
        self.starts = job_starts(np.array([j.release_s for j in problem.jobs]))
        self.lattices = {
            a: Lattice(tables, a, lower=True, cells=CELLS, spots=SPOTS)
            for a in sorted(set(self.kinds.tolist()))
        }
        longest = max(lat.least_fresh_s for lat in self.lattices.values())
        span = int(self.starts.max()) + math.ceil(2 * longest / ROUND_S) + FIRST_WIDTH
        self.rounds = -(-span // FIRST_WIDTH) * FIRST_WIDTH
        self.best = np.zeros((len(self.capacity), self.rounds))
        self.best_value = -np.inf
        self.paths: list[tuple[int, JobPath]] = []
        self.known: set[tuple[int, tuple[tuple[int, int, int], ...]]] = set()

    def refine(self) -> None:
        """Go over to the fine grids; what the columns so far come to is worked out anew."""
        self.lattices = {a: Lattice(self.tables, a, lower=True) for a in self.lattices}
        replay, paths = Replay(self.tables), self.paths
        self.paths, self.best_value = [], -np.inf
        self.known.clear()
        for j, path in paths:
            exact = replay.completed(int(self.kinds[j]), path.stays)
            if exact is not None and exact[0][-1][2] <= self.rounds:
                self._keep(j, JobPath(*exact))
        self.evaluate(self.best)

    def _keep(self, job: int, path: JobPath) -> None:
        """Take in a column unless it is known."""
        if (job, path.stays) not in self.known:
            self.known.add((job, path.stays))
            self.paths.append((job, path))

    def evaluate(self, prices: FloatArray, *, keep: bool = True) -> FloatArray:
        """Price all jobs; keep the best prices and new columns; return accelerators held."""
        value = -float((prices.sum(axis=1) * self.capacity).sum()) * ROUND_S
        asked = np.zeros_like(prices)
        for kind, lattice in self.lattices.items():
            jobs = np.flatnonzero(self.kinds == kind)
            begin = int(self.starts[jobs].min())
            pay = ROUND_S * prices[lattice.group] * lattice.count[:, None]
            paths = Paths(lattice, pay, begin=begin)
            for j in jobs.tolist():
                start = int(self.starts[j])
                value += paths.cost(start)
                path = paths.path(start)
                for c, first, last in path.stays:
                    asked[lattice.group[c], first:last] += lattice.count[c]
                if keep:
                    self._keep(j, path)
        if value > self.best_value:
            self.best_value, self.best = value, prices
        return asked

    def descend(self, steps: int) -> None:
        """Follow the demand on coarse buckets."""
        groups = len(self.capacity)
        wide = np.zeros((groups, self.rounds // FIRST_WIDTH))
        mean = np.zeros_like(wide)
        room = self.capacity[:, None]
        for step in range(steps):
            prices = np.repeat(wide, FIRST_WIDTH, axis=1)
            asked = self.evaluate(prices, keep=step == 0 or 4 * step >= steps)
            over = asked.reshape(groups, -1, FIRST_WIDTH).mean(axis=2) / room - 1
            mean = KEEP * mean + (1 - KEEP) * over
            wide = np.maximum(wide + STEP / (1 + step / FADE) * np.clip(mean, -1, 1), 0.0)

    def generate(self, width: int, rounds: int) -> None:
        """Generate columns on buckets of a width."""
        master = _Master(self, width)
        for _ in range(rounds):
            found = master.solve()
            if found is None:
                return
            before = self.best_value
            self.evaluate(INWARD * self.best + (1 - INWARD) * found)
            master.learn(self.best_value > before)
            master.extend()


class _Master:
    """The linear program over the columns on buckets of one width."""

    def __init__(self, search: PriceSearch, width: int) -> None:
        from ortools.linear_solver import pywraplp

        self.search = search
        groups = len(search.capacity)
        self.width = width = max(width, -(-groups * search.rounds // MOST_ROWS))
        self.optimal = pywraplp.Solver.OPTIMAL
        self.solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.shape = groups, -(-search.rounds // width)
        infinite = self.solver.infinity()
        limits = np.repeat(search.capacity, self.shape[1]).tolist()
        self.rows = [self.solver.Constraint(-infinite, size) for size in limits]
        self.more = [self.solver.NumVar(0.0, infinite, "") for _ in limits]
        self.less = [self.solver.NumVar(0.0, size, "") for size in limits]
        for row, more, less in zip(self.rows, self.more, self.less, strict=True):
            row.SetCoefficient(more, -1.0)
            row.SetCoefficient(less, 1.0)
        self.once = [self.solver.Constraint(1.0, 1.0) for _ in search.starts]
        self.solver.Objective().SetMinimization()
        self.variables: list[Any] = []
        self.reach = np.full(self.shape, BOX)
        self.extend()

    def extend(self) -> None:
        """Take in the columns that are new."""
        search, objective = self.search, self.solver.Objective()
        infinite = self.solver.infinity()
        for j, path in search.paths[len(self.variables) :]:
            variable = self.solver.NumVar(0.0, infinite, "")
            cost = path.end_s - search.starts[j] * ROUND_S
            objective.SetCoefficient(variable, cost / UNIT_S)
            self.once[j].SetCoefficient(variable, 1.0)
            lattice = search.lattices[int(search.kinds[j])]
            for row, mean in self._uses(path, lattice).items():
                self.rows[row].SetCoefficient(variable, mean)
            self.variables.append(variable)

    def _uses(self, path: JobPath, lattice: Lattice) -> dict[int, float]:
        """Return mean accelerators held, by row."""
        uses: dict[int, float] = {}
        for c, first, last in path.stays:
            count, base = float(lattice.count[c]), int(lattice.group[c]) * self.shape[1]
            for b in range(first // self.width, (last - 1) // self.width + 1):
                rounds = min(last, (b + 1) * self.width) - max(first, b * self.width)
                uses[base + b] = uses.get(base + b, 0.0) + count * rounds / self.width
        return uses

    def solve(self) -> FloatArray | None:
        """Return the program's prices by round, None where they are no better."""
        search, width_s = self.search, self.width * ROUND_S
        best = self._by_bucket(search.best)
        reach = self.reach * np.maximum(best, FLOOR * best.max(initial=EDGE))
        low, high = np.maximum(best - reach, 0.0), best + reach
        objective = self.solver.Objective()
        for variables, price in ((self.more, high), (self.less, -low)):
            for variable, cost in zip(variables, (price * width_s / UNIT_S).ravel(), strict=True):
                objective.SetCoefficient(variable, float(cost))
        if self.solver.Solve() != self.optimal:
            return None
        self.at_edge = self._taken(self.more) | (self._taken(self.less) & (low > 0))
        value = self.solver.Objective().Value() * UNIT_S
        if value - search.best_value <= CONVERGED * value and not self.at_edge.any():
            return None
        duals = np.array([-row.dual_value() for row in self.rows]).reshape(self.shape)
        prices = np.clip(duals * UNIT_S / width_s, low, high)
        return np.repeat(prices, self.width, axis=1)[:, : search.rounds]

    def learn(self, better: bool) -> None:
        """Widen the box where prices are at its edge, narrow it elsewhere."""
        if better:
            narrow = np.maximum(self.reach * SHRINK, LEAST)
            self.reach = np.where(self.at_edge, self.reach * GROW, narrow)
        else:
            self.reach = np.maximum(self.reach * SHRINK, LEAST)

    def _by_bucket(self, prices: FloatArray) -> FloatArray:
        short = self.shape[1] * self.width - prices.shape[1]
        wide = np.pad(prices, ((0, 0), (0, short)), mode="edge")
        return np.asarray(wide.reshape(*self.shape, self.width).mean(axis=2), float)

    def _taken(self, variables: list[Any]) -> Any:
        found = np.array([v.solution_value() for v in variables])
        return found.reshape(self.shape) > EDGE
