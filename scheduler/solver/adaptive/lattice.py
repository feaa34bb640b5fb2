"""Where the work of one application stands, on grids that rounds fall on exactly.

Every configuration has a grid of its own, in seconds left if the job stays in it: a round moves a
whole number of cells, and a job that never changes is held exactly, to the second. Only a change
rounds. On the way out a job is put on the common grid of positions, from where it enters another
configuration's grid: forward if the values are to be lower bounds, back if a plan is to be kept.

Seconds of an epoch are rounded to whole ones, which a change inside an epoch may gain or lose by:
the part before it is exact, the part after it is rounded by itself. Against the rounded seconds
of the whole epoch in proportion that is at most half a second at the end of a stay and a whole
one at its start, so that much is given (or taken) at each.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.adaptive_tables import Tables

ROUND_S: Final = 60
PARTS: Final = (12, 6, 4, 3, 2, 1)
"""Cells that a round may have."""

CELLS: Final = 2000
"""Cells that a configuration has at most where rounds can be parted less finely."""

SPOTS: Final = 2000
SPOT_S: Final = 2.0
"""Positions of the common grid at most, and the least seconds between them. A change gains a bound
up to one of them and one cell, so both are a small part of a restart; else a job would train for
nothing by hopping between slow configurations."""

OUT_S: Final = 0.5
IN_S: Final = 1.0
"""Seconds by which a stay's end and start may differ from the rounded seconds in proportion."""

TINY: Final = 1e-6


class Lattice:
    """Grids of one application.

    Parameters
    ----------
    tables : Tables
        The problem.
    application : int
        Position in the problem's applications.
    lower : bool
        Whether rounding favours the job, for bounds; else it never does, for plans.

    Attributes
    ----------
    restart_rounds : int
        Rounds of a start that are all restart.
    entry_s : int
        Seconds of restart in the round after those.
    first : ndarray of int, shape (configs + 1,)
        Where each configuration's states begin among all.
    part : ndarray of int, shape (states,)
        Cells of a round.
    config : ndarray of int, shape (states,)
        Configuration of each state.
    left_s : ndarray, shape (states,)
        Seconds of work left in that configuration.
    spot : ndarray of int, shape (states,)
        Common position on leaving; the last one is the end.
    enter : ndarray of int, shape (configs, spots)
        State after the first round that does any work, -1 where that round ends the job.
    enter_s : ndarray, shape (configs, spots)
        Seconds of work on entering.
    fresh : ndarray of int, shape (configs,)
        As `enter`, for jobs that have done nothing.
    fresh_s : ndarray, shape (configs,)
        Seconds of all work.
    least_s, least_at_spots : ndarray, shapes (states,) and (spots,)
        Seconds that the rest takes at least, whatever is held.
    """

    def __init__(
        self,
        tables: Tables,
        application: int,
        *,
        lower: bool,
        cells: int = CELLS,
        spots: int = SPOTS,
        longest_s: float = np.inf,
    ) -> None:
        restart = tables.problem.applications[application].restart_s
        exact = tables.lengths[application] / tables.best_goodputs(application)
        rounded = np.round(exact)
        self.needs = [config for config, _ in tables.configs]
        self.group = np.array([g for g, _ in self.needs])
        self.count = np.array([n for _, n in self.needs], float)
        self.restart_rounds, self.entry_s = divmod(restart, ROUND_S)
        self.fresh_s = rounded.sum(axis=1)
        least = np.maximum(exact.min(axis=0) - OUT_S, 0.0)
        left = _left(rounded)  # seconds left at the start of each epoch, by configuration
        grid = _spots(exact.min(axis=0), spots)
        at = np.array([_at(row, grid) for row in left])
        side = -1.0 if lower else 1.0  # rounding in the job's favour, or never
        if lower:
            self.enter_s = np.maximum(at - IN_S, 0.0)
        else:  # and the round in which the last fraction of a second falls is held
            self.enter_s = at + IN_S + OUT_S
            self.fresh_s = self.fresh_s + OUT_S
        self.enter_s[:, -1] = 0.0
        first, part, left_s, spot, enter, fresh = [0], [], [], [], [], []
        for c in range(len(left)):
            row: FloatArray = left[c]
            total = float(self.fresh_s[c])
            if total > longest_s:  # never entered
                self.enter_s[c] = self.fresh_s[c] = np.inf
                total, row = 1.0, np.minimum(left[c], 1.0)
            parts = next((p for p in PARTS if total * p <= cells * ROUND_S), PARTS[-1])
            cell = ROUND_S / parts
            work = ROUND_S - self.entry_s
            offset = (total - work) % cell or cell
            top = max(round((total - work - offset) / cell), 0)
            states = top + (1 if lower else 2)
            here: FloatArray = np.asarray(offset + cell * np.arange(states), float)
            reached = _positions(row, np.asarray(here + side * OUT_S, float), late=lower)
            after = (self.enter_s[c] - work - offset) / cell
            if lower:
                where = np.searchsorted(grid, reached, side="left")
                ends = after < 0
                self.enter_s[c] = np.where(ends, np.minimum(self.enter_s[c], work), self.enter_s[c])
                state = np.floor(after)
            else:
                where = np.searchsorted(grid, reached, side="right") - 1
                ends = self.enter_s[c] <= work
                state = np.ceil(after)
            ends |= np.isinf(self.enter_s[c])
            state = np.where(ends, 0, np.clip(state, 0, states - 1)).astype(np.int64)
            enter.append(np.where(ends, -1, state + first[-1]))
            fresh.append(-1 if total <= work else first[-1] + top)
            first.append(first[-1] + states)
            part.append(np.full(states, parts))
            left_s.append(here)
            spot.append(np.clip(where, 0, len(grid) - 1))
        self.first = np.array(first)
        self.part: IntArray = np.concatenate(part)
        self.left_s: FloatArray = np.concatenate(left_s)
        self.spot: IntArray = np.concatenate(spot)
        self.config: IntArray = np.repeat(np.arange(len(left)), np.diff(self.first))
        self.enter = np.array(enter)
        self.fresh = np.array(fresh)
        self.least_at_spots = _at(_left(least[None])[0], grid)
        self.least_s = self.least_at_spots[self.spot]
        self.least_fresh_s = float(least.sum())
        self.spots = len(grid)
        # where a state is a round later, -1 where the job has ended
        later = np.arange(len(self.part)) - self.part
        self.later = np.where(self.left_s <= ROUND_S + TINY, -1, later)


def _left(seconds: FloatArray) -> FloatArray:
    """Return seconds left at the start of each epoch and at the end; (rows, epochs + 1)."""
    found = np.zeros((len(seconds), seconds.shape[1] + 1))
    found[:, :-1] = seconds[:, ::-1].cumsum(axis=1)[:, ::-1]
    return found


def _spots(fastest: FloatArray, many: int) -> FloatArray:
    """Return positions, in epochs, that part the work evenly at its fastest, `many` at most."""
    done = np.concatenate([[0.0], fastest.cumsum()])
    many = min(many, max(round(float(done[-1]) / SPOT_S), 1))
    even = np.linspace(0.0, done[-1], many + 1)
    return np.unique(np.interp(even, done, np.arange(len(done))))


def _at(left: FloatArray, spots: FloatArray) -> FloatArray:
    """Return seconds left at positions."""
    return np.interp(spots, np.arange(len(left)), left)


def _positions(left: FloatArray, seconds: FloatArray, *, late: bool) -> FloatArray:
    """Return the last (or first) position at which that many seconds are left."""
    seconds = np.clip(seconds, 0.0, left[0])
    down: FloatArray = -left  # ascending
    if late:
        e = np.clip(np.searchsorted(down, -seconds, side="right") - 1, 0, len(left) - 2)
    else:
        e = np.clip(np.searchsorted(down, -seconds, side="left") - 1, 0, len(left) - 2)
    length = left[e] - left[e + 1]
    share = np.where(length > 0, (left[e] - seconds) / np.where(length > 0, length, 1.0), late)
    return np.asarray(e + np.clip(share, 0.0, 1.0), float)
