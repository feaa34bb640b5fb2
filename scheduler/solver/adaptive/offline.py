"""Schedules of adaptive jobs with every arrival known, by large-neighbourhood search.

A schedule is a path of each job (`paths`) that fits beside the others, so that what is free when
some are taken out is known round by round, and each comes back by its own dynamic program on what
is left, paying part of the plan's prices for what it takes from those still to come. Two kinds of
move: some jobs that overlap are taken out and put back in another order; or a long job gets what
it likes best at prices, and those in its way are put back around it. Paths on the grids never
promise too much; what a path really takes is worked out exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.adaptive import AdaptiveRun
from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Tables
from scheduler.solver.adaptive.lattice import ROUND_S, Lattice
from scheduler.solver.adaptive.paths import JobPath, Paths, job_starts
from scheduler.solver.adaptive.replay import Replay, Stays

CELLS: Final = 150
SPOTS: Final = 150
"""Cells of a configuration and common positions, at most: fewer than for bounds."""

SLACK_ROUNDS: Final = 20
SPARE_ROUNDS: Final = 400
"""Rounds in which a path is sought beyond where it ended, and beyond the plan for all."""

TOGETHER: Final = 4
"""Jobs taken out at once, at most."""

LONG_SHARE: Final = 0.01
"""Share of the moves that give a long job what it likes: dear, and rarely of use."""

LONG_BESIDE: Final = 0.05
"""Share of the long jobs nearby that may be taken out with others."""

WARMTH_S: Final = 60.0
"""Mean worsening of the sum of completions that is accepted at first."""

LONG: Final = 0.2
"""A job is long that takes this share of the longest at its fastest."""

PRICE_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the prices that a job put back pays."""

NOISE: Final = 0.25
"""Spread of the logarithm of the prices that a long job sees, and share of the other long jobs
that may be in its way."""

BIDS: Final = (0.4, 1.3)
"""Range of the multiple of the prices that a long job pays."""


@dataclass(frozen=True, slots=True)
class OfflineSchedule:
    """Who holds what in which rounds.

    Parameters
    ----------
    stays : tuple of Stays
        By job: configuration, first round, round after the last.
    end_s : tuple of int
        Completions.
    """

    stays: tuple[Stays, ...]
    end_s: tuple[int, ...]


def offline_schedule(
    tables: Tables,
    prices: FloatArray,
    runs: Sequence[AdaptiveRun],
    rng: np.random.Generator,
    budget: int,
) -> OfflineSchedule:
    """Return a schedule that knows every arrival, no worse in mean JCT than any of the runs.

    Parameters
    ----------
    tables : Tables
        The problem.
    prices : ndarray, shape (groups, rounds)
        Of `scheduler.solver.adaptive.prices.priced_plan`.
    runs : sequence of AdaptiveRun
        Runs of elastic gangs; those that trained with other than the best batches are left out.
    rng : Generator
        For the search.
    budget : int
        Rounds over which paths are sought, all told: the search's effort.
    """
    search = OfflineSearch(tables, prices, rng)
    search.build()
    known = [search.schedule()]
    known += [found for run in runs if (found := search.taken(run)) is not None]
    search.restore(min(known, key=lambda schedule: sum(schedule.end_s)))
    return search.improve(budget)


class OfflineSearch:
    """Schedules built and mended at given prices.

    Parameters
    ----------
    tables : Tables
        The problem.
    prices : ndarray, shape (groups, rounds)
        Seconds that an accelerator-second is worth, of a plan.
    rng : Generator
        For the choice of moves.
    """

    def __init__(self, tables: Tables, prices: FloatArray, rng: np.random.Generator) -> None:
        problem = tables.problem
        self.rng = rng
        self.position = {config: c for c, (config, _) in enumerate(tables.configs)}
        self.kinds = [j.application for j in problem.jobs]
        self.starts = job_starts(np.array([j.release_s for j in problem.jobs])).tolist()
        self.capacity = np.array(tables.capacity, float)
        longest_s = 2.0 * prices.shape[1] * ROUND_S
        self.lattices = {
            a: Lattice(tables, a, lower=False, cells=CELLS, spots=SPOTS, longest_s=longest_s)
            for a in sorted(set(self.kinds))
        }
        spare = np.zeros((len(prices), SPARE_ROUNDS))
        self.prices = np.concatenate([prices, spare], axis=1)
        self.rounds = self.prices.shape[1]
        self.replay = Replay(tables)
        self.fastest = np.array([float(self.lattices[k].fresh_s.min()) for k in self.kinds])
        self.is_long = self.fastest >= LONG * self.fastest.max()
        self.long = np.flatnonzero(self.is_long)
        self.free = np.repeat(self.capacity[:, None], self.rounds, axis=1)
        self.stays: list[Stays] = [() for _ in self.kinds]
        self.end_s = np.zeros(len(self.kinds))
        self.searched = 0

    # --- whole schedules ---------------------------------------------------------------

    def schedule(self) -> OfflineSchedule:
        """Return the schedule at hand."""
        return OfflineSchedule(tuple(self.stays), tuple(int(e) for e in self.end_s))

    def restore(self, schedule: OfflineSchedule) -> None:
        """Take up a schedule."""
        self.stays, self.end_s = list(schedule.stays), np.array(schedule.end_s, float)
        last = max((s[-1][2] for s in self.stays if s), default=0)
        if last > self.rounds:
            extra = last - self.rounds
            self.prices = np.pad(self.prices, ((0, 0), (0, extra)))
            self.rounds = last
        self.free = np.repeat(self.capacity[:, None], self.rounds, axis=1)
        for j in range(len(self.kinds)):
            self._hold(j, -1)

    def build(self) -> None:
        """Put all jobs in one after another at the plan's prices, those soonest done first."""
        self.restore(OfflineSchedule(((),) * len(self.kinds), (0,) * len(self.kinds)))
        for j in np.lexsort((self.starts, self.fastest)).tolist():
            self._insert(j, 1.0, 0.0)

    def taken(self, run: AdaptiveRun) -> OfflineSchedule | None:
        """Return a run's schedule, None where it does not run each epoch with its best batch."""
        found: list[list[tuple[int, int, int]]] = [[] for _ in self.kinds]
        for stint in run.stints:
            c = self.position.get((stint.group, stint.accelerators))
            if c is None or run.round_s != ROUND_S:
                return None
            mine, first = found[stint.job], stint.start_s // ROUND_S
            if mine and mine[-1][0] == c and mine[-1][2] == first:
                first = mine.pop()[1]
            mine.append((c, first, stint.end_s // ROUND_S))
        try:
            played = [self.played(j, tuple(stays)) for j, stays in enumerate(found)]
        except ValueError:
            return None
        if tuple(end for _, end in played) != run.finished_s:
            return None
        return OfflineSchedule(tuple(stays for stays, _ in played), run.finished_s)

    # --- moves -------------------------------------------------------------------------

    def improve(self, budget: int) -> OfflineSchedule:
        """Move until paths were sought over `budget` rounds; return the best met on the way.

        A move for the worse is accepted with a probability that falls with what it costs, and
        ever more rarely (simulated annealing).
        """
        self.searched = 0
        best, least = self.schedule(), float(self.end_s.sum())
        while self.searched < budget:
            warmth = WARMTH_S * (1 - self.searched / budget)
            total = float(self.end_s.sum())
            before = self.stays.copy(), self.end_s.copy(), self.free.copy()
            if len(self.long) and self.rng.random() < LONG_SHARE:
                self._favour()
            else:
                self._reorder()
            now = float(self.end_s.sum())
            if now > total + warmth * self.rng.exponential():
                self.stays, self.end_s, free = before
                self.free[:] = self.capacity[:, None]  # rounds may have been added
                self.free[:, : free.shape[1]] = free
            elif now < least:
                best, least = self.schedule(), now
        return best

    def _reorder(self) -> None:
        """Take out some jobs that overlap; put them back in another order."""
        rng = self.rng
        first = int(rng.integers(len(self.kinds)))
        low, high = self.starts[first] * ROUND_S, self.end_s[first]
        starts = np.array(self.starts) * ROUND_S
        near = (starts < high) & (self.end_s > low)
        near &= ~self.is_long | (rng.random(len(near)) < LONG_BESIDE)
        near[first] = False
        many = int(rng.integers(1, TOGETHER))
        out = [first, *rng.permutation(np.flatnonzero(near))[:many].tolist()]
        before = sum(self.end_s[j] for j in out)
        latest = max(self.end_s[j] for j in out)
        for j in out:
            self._hold(j, 1)
        order = [out[i] for i in rng.permutation(len(out))]
        if rng.random() < 0.5:
            order.sort(key=lambda j: self.fastest[j])
        share = float(rng.choice(PRICE_SHARES))
        least = sum(self.starts[j] * ROUND_S + self.fastest[j] for j in out)
        now = 0.0
        for i, j in enumerate(order):
            self._insert(j, share if i + 1 < len(order) else 0.0, latest)
            now += self.end_s[j]
            least -= self.starts[j] * ROUND_S + self.fastest[j]
            if now + least > before:
                for rest in order[i + 1 :]:
                    self.end_s[rest] = np.inf  # given up: the caller takes it back
                return

    def _favour(self) -> None:
        """Give a long job what it likes best at prices; put back those in its way."""
        rng = self.rng
        job = int(rng.choice(self.long))
        self._hold(job, 1)
        firm = [int(j) for j in self.long if j != job and rng.random() < 1 - NOISE]
        room = np.repeat(self.capacity[:, None], self.rounds, axis=1)
        for j in firm:
            lattice = self.lattices[self.kinds[j]]
            for c, first, last in self.stays[j]:
                room[lattice.group[c], first:last] -= lattice.count[c]
        hours = -(-self.rounds // 60)
        noise = np.exp(rng.normal(0.0, NOISE, (len(room), hours))).repeat(60, axis=1)
        paid = self.prices * noise[:, : self.rounds] * rng.uniform(*BIDS)
        self._put(job, self._best_path(job, room, paid, self.rounds).stays)
        out: list[int] = []
        for g, t in np.argwhere(self.free < 0):
            while self.free[g, t] < 0:
                self._evict(int(g), int(t), job, firm, out)
        share = float(rng.choice(PRICE_SHARES))
        for j in sorted(out, key=lambda j: (self.fastest[j], j)):
            self._insert(j, share, float(self.end_s[j]))

    def _evict(self, group: int, t: int, job: int, firm: Sequence[int], out: list[int]) -> None:
        """Take out a job that holds accelerators of a group in a round."""
        holding = []
        for j, stays in enumerate(self.stays):
            lattice = self.lattices[self.kinds[j]]
            if any(first <= t < last and lattice.group[c] == group for c, first, last in stays):
                holding.append(j)
        choice = [j for j in holding if j != job and j not in firm and j not in out]
        choice = choice or [j for j in holding if j != job and j not in out]
        j = int(self.rng.choice(choice))
        self._hold(j, 1)
        self.stays[j] = ()
        out.append(j)

    # --- one job -----------------------------------------------------------------------

    def _hold(self, job: int, sign: int) -> None:
        """Give back (1) or take (-1) what a job's path holds."""
        lattice = self.lattices[self.kinds[job]]
        for c, first, last in self.stays[job]:
            self.free[lattice.group[c], first:last] += sign * lattice.count[c]

    def _insert(self, job: int, share: float, until_s: float) -> None:
        """Put a job in beside the others."""
        alone = self.starts[job] + math.ceil(2 * self.fastest[job] / ROUND_S)
        until = max(alone, math.ceil(until_s / ROUND_S)) + SLACK_ROUNDS
        self._put(job, self._best_path(job, self.free, share * self.prices, until).stays)

    def _best_path(self, job: int, room: FloatArray, prices: FloatArray, until: int) -> JobPath:
        """Return a job's path of least cost within what is free."""
        lattice, start = self.lattices[self.kinds[job]], self.starts[job]
        while True:
            until = min(until, self.rounds)
            fits = room[lattice.group, start:until] >= lattice.count[:, None]
            paid = ROUND_S * prices[lattice.group, start:until] * lattice.count[:, None]
            paths = Paths(lattice, np.where(fits, paid, np.inf), free_after=False)
            self.searched += until - start
            if np.isfinite(paths.cost(0)):
                path = paths.path(0)
                moved = tuple((c, f + start, e + start) for c, f, e in path.stays)
                return JobPath(moved, path.end_s + start * ROUND_S)
            if until == self.rounds:
                self._lengthen()
                room = np.pad(room, ((0, 0), (0, SPARE_ROUNDS)), mode="edge")
                prices = np.pad(prices, ((0, 0), (0, SPARE_ROUNDS)))
                room[:, -SPARE_ROUNDS:] = self.capacity[:, None]
            until = start + 2 * (until - start)

    def _lengthen(self) -> None:
        """Add free rounds at the end."""
        self.prices = np.pad(self.prices, ((0, 0), (0, SPARE_ROUNDS)))
        spare = np.repeat(self.capacity[:, None], SPARE_ROUNDS, axis=1)
        self.free = np.concatenate([self.free, spare], axis=1)
        self.rounds += SPARE_ROUNDS

    def _put(self, job: int, stays: Stays) -> None:
        """Hold what stays really need."""
        self.stays[job], self.end_s[job] = self.played(job, stays)
        self._hold(job, -1)

    def played(self, job: int, stays: Stays) -> tuple[Stays, int]:
        """Return the stays up to the job's end, and its end; see `Replay.played`."""
        return self.replay.played(self.kinds[job], stays)
