"""The least cost of a job's whole schedule, round by round, when rounds have prices.

A path is what a job holds in each round: idle rounds, and stays in one configuration that each
begin with the whole restart and are paid in whole rounds to their end. A dynamic program goes
back over the rounds on the grids of `Lattice`; all starts of an application share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.adaptive.lattice import ROUND_S, Lattice

WAIT = -1


@dataclass(frozen=True, slots=True)
class JobPath:
    """One job's schedule.

    Parameters
    ----------
    stays : tuple of (int, int, int)
        Configuration, first round and the round after the last, in order.
    end_s : float
        Completion.
    """

    stays: tuple[tuple[int, int, int], ...]
    end_s: float


class Paths:
    """Least-cost paths from every round on.

    Parameters
    ----------
    lattice : Lattice
        The application's grids.
    pay : ndarray, shape (configs, rounds)
        Cost of holding a configuration in each round, in seconds; infinite: not possible.
    begin : int
        Round before which no path starts.
    free_after : bool
        Whether after the last round the rest is charged its least time and nothing else; else
        nothing ends after it.
    """

    def __init__(
        self,
        lattice: Lattice,
        pay: FloatArray,
        *,
        begin: int = 0,
        free_after: bool = True,
    ) -> None:
        self.lattice, self.begin = lattice, begin
        self.rounds = rounds = pay.shape[1]
        lat, span, lead = lattice, rounds - begin, lattice.restart_rounds
        states = len(lat.part)
        # values of the rounds ahead that a start may reach; the last state is the end
        values = np.full((lead + 2, states + 1), np.inf)
        hub = np.full(lat.spots, np.inf)
        self.fresh = np.full(rounds + 1, np.inf)
        if free_after:
            values[:, :states] = lat.least_s
            hub = lat.least_at_spots.copy()
            self.fresh[rounds] = lat.least_fresh_s
        values[:, states] = 0.0
        self.begin_with = np.full(rounds, WAIT, np.int16)
        self.go_with = np.full((span, lat.spots), WAIT, np.int16)
        self.leaves = np.zeros((span, states), bool)
        lead_s = lead * ROUND_S
        run_s = np.where(lat.later < 0, lat.left_s, ROUND_S)
        enter_s = lead_s + np.where(lat.enter < 0, lat.entry_s + lat.enter_s, ROUND_S)
        fresh_s = lead_s + np.where(lat.fresh < 0, lat.entry_s + lat.fresh_s, ROUND_S)
        paid, every = np.ascontiguousarray(pay.T), np.arange(lat.spots)
        sizes = np.diff(lat.first)
        entered, out = np.empty(lat.enter.shape), np.empty(states)
        starts = _sums(pay, lead + 1, 0.0 if free_after else np.inf)
        for t in range(rounds - 1, begin - 1, -1):
            now, soon = values[t % (lead + 2)], values[(t + 1) % (lead + 2)]
            then = values[(t + lead + 1) % (lead + 2)]
            begun = fresh_s + starts[:, t] + then[lat.fresh]
            c = int(begun.argmin())
            self.fresh[t] = ROUND_S + self.fresh[t + 1]
            if begun[c] <= self.fresh[t]:
                self.fresh[t], self.begin_with[t] = begun[c], c
            np.take(then, lat.enter, out=entered, mode="wrap")
            entered += enter_s
            entered += starts[:, t, None]
            which = entered.argmin(axis=0)
            hub += ROUND_S
            least = entered[which, every]
            self.go_with[t - begin] = np.where(hub < least, WAIT, which)
            np.minimum(hub, least, out=hub)
            np.take(soon, lat.later, out=now[:states], mode="wrap")
            now[:states] += run_s
            now[:states] += np.repeat(paid[t], sizes)
            np.take(hub, lat.spot, out=out, mode="clip")
            np.less(out, now[:states], out=self.leaves[t - begin])
            np.minimum(now[:states], out, out=now[:states])

    def cost(self, start: int) -> float:
        """Return the least cost from a round on: seconds to completion plus what is paid."""
        return float(self.fresh[start])

    def path(self, start: int) -> JobPath:
        """Return a least-cost path from a round on; what is after the last round is left out."""
        lat, t = self.lattice, start
        lead = lat.restart_rounds
        while t < self.rounds and self.begin_with[t] == WAIT:
            t += 1
        if t >= self.rounds:
            return JobPath((), self.rounds * ROUND_S + lat.least_fresh_s)
        stays = []
        c = int(self.begin_with[t])
        state, seconds = int(lat.fresh[c]), float(lat.fresh_s[c])
        while True:
            first = t
            if state < 0:
                end = (t + lead) * ROUND_S + lat.entry_s + seconds
                stays.append((c, first, t + lead + 1))
                return JobPath(tuple(stays), end)
            t += lead + 1
            while t < self.rounds and not self.leaves[t - self.begin, state]:
                if lat.later[state] < 0:
                    stays.append((c, first, t + 1))
                    return JobPath(tuple(stays), t * ROUND_S + float(lat.left_s[state]))
                state = int(lat.later[state])
                t += 1
            stays.append((c, first, min(t, self.rounds)))
            if t >= self.rounds:
                return JobPath(tuple(stays), t * ROUND_S + float(lat.least_s[state]))
            spot = int(lat.spot[state])
            while t < self.rounds and self.go_with[t - self.begin, spot] == WAIT:
                t += 1
            if t >= self.rounds:
                return JobPath(tuple(stays), t * ROUND_S + float(lat.least_at_spots[spot]))
            c = int(self.go_with[t - self.begin, spot])
            state, seconds = int(lat.enter[c, spot]), float(lat.enter_s[c, spot])


def _sums(pay: FloatArray, length: int, beyond: float) -> FloatArray:
    """Return what the rounds from each on cost over a length."""
    wide = np.concatenate([pay, np.full((len(pay), length), beyond)], axis=1)
    blocked = np.isinf(wide)
    total = np.cumsum(np.where(blocked, 0.0, wide), axis=1)
    shut = np.cumsum(blocked, axis=1)
    total = np.concatenate([np.zeros((len(pay), 1)), total], axis=1)
    shut = np.concatenate([np.zeros((len(pay), 1), shut.dtype), shut], axis=1)
    sums = total[:, length:] - total[:, :-length]
    return np.where(shut[:, length:] > shut[:, :-length], np.inf, sums)[:, : pay.shape[1]]


def job_starts(releases: FloatArray) -> IntArray:
    """Return the first round of each job."""
    return np.asarray(-(-np.asarray(releases) // ROUND_S), np.int64)
