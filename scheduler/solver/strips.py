"""Schedules for known jobs that end together: strips of time by accelerator type.

A type is a strip as wide as its accelerators; a piece of a job is a rectangle, its gang wide
and its run time long. Rectangles are laid from the end of the schedule backwards, the largest
first, so that the ragged side lies at the beginning, where there is still plenty to fill it
with: the mirror image of largest-area-first list scheduling. What is short ends up early, what
is long ends at the common end, which keeps the mean completion time low at a makespan close
to the linear program's. A second pass, in order of start, moves everything as early as it fits.

The types of the jobs come from a linear program (Lawler and Labetoulle's, with gangs): a basic
optimal solution splits at most as many jobs as it has rows besides those of the jobs. The rows
for one gang size count slots, ``floor(capacity / size)``, so that three gangs of eight do not
share twelve accelerators at once.

References
----------
E. Lawler, J. Labetoulle, "On preemptive scheduling of unrelated parallel processors by linear
programming", Journal of the ACM 25(4), 1978.
R. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Applied Mathematics 17(2),
1969 (list scheduling, longest first).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from scheduler.core.random import stream
from scheduler.core.workload import FloatArray, IntArray

_LEAST_SHARE = 1e-6
"""Parts of a job smaller than this are rounding errors of the linear program."""

_MAKESPAN_TOLERANCE = 0.01
"""What a lower mean completion time may cost in makespan."""

_CLOSE_ENOUGH = 0.005
"""A makespan within this of the bound is not searched further."""

_PRICE_TOLERANCE = 1e-3
"""Types on which a job takes this much more, at the program's prices, are as good."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a job on one type, without interruption.

    Parameters
    ----------
    job, type_index : int
        Which job (row of the problem), and where.
    start_s, run_s : float
        When, and for how long, its start included.
    """

    job: int
    type_index: int
    start_s: float
    run_s: float

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.start_s + self.run_s


@dataclass(frozen=True, slots=True)
class StripPlan:
    """Pieces by start, and what no schedule of these jobs can better."""

    pieces: tuple[Piece, ...]
    makespan_s: float
    mean_end_s: float
    least_makespan_s: float


class Strip:
    """Free width of a strip over time: a step function from 0 on."""

    def __init__(self, width: float) -> None:
        self._times = [0.0]
        self._free = [width]

    def earliest(self, width: float, length: float, after: float = 0.0) -> float:
        """Return the first instant from `after` at which a rectangle fits."""
        times, free = self._times, self._free
        step = bisect.bisect_right(times, after) - 1
        start = max(after, times[step])
        while True:
            if free[step] < width:
                step += 1
                start = times[step]
            elif step + 1 == len(times) or times[step + 1] >= start + length:
                return start
            else:
                step += 1

    def put(self, width: float, start: float, length: float) -> None:
        """Take a rectangle out of the free width."""
        first = self._cut(start)
        last = self._cut(start + length)
        for step in range(first, last):
            self._free[step] -= width

    def _cut(self, at: float) -> int:
        step = bisect.bisect_left(self._times, at)
        if step == len(self._times) or self._times[step] != at:
            self._times.insert(step, at)
            self._free.insert(step, self._free[step - 1])
        return step


def strip_plan(
    run_s: FloatArray,
    start_s: FloatArray,
    gang: FloatArray,
    capacity: FloatArray,
    holds: IntArray,
    tries: int = 0,
) -> StripPlan:
    """Return a schedule of short makespan, and of low mean completion time for that.

    Parameters
    ----------
    run_s : ndarray of float64, shape (jobs, types)
        Time of the whole job on a type; infinite where it cannot run. Every job can run
        somewhere.
    start_s : ndarray of float64, shape (jobs,)
        Time a start takes, paid by each piece.
    gang : ndarray of float64, shape (jobs, types)
        Accelerators held there, at most the capacity.
    capacity : ndarray of float64, shape (types,)
        Accelerators.
    holds : ndarray of int64, shape (jobs,)
        Type that a job runs on now, on which it would not have to start again; -1: none.
    tries : int
        Further orders, drawn at random, while the makespan is not close to the bound.

    Notes
    -----
    Four orders (area, length, and two between) are laid to end together, on the types of the
    program and on any that are as good at its prices; and one forwards: what runs stays, then
    the shortest first. Of those within a hundredth of the least
    makespan, the one of least mean completion time wins.
    """
    share, bound_s, priced = makespan_program(run_s + start_s[:, None], gang, capacity)
    parts = [
        [
            (float(share[i, t] * run_s[i, t] + start_s[i]), t)
            for t in range(len(capacity))
            if share[i, t] > _LEAST_SHARE
        ]
        for i in range(len(run_s))
    ]
    fixed = [[list(sequence) for sequence in itertools.permutations(row)] for row in parts]
    freer = [
        way if len(way) > 1 else _as_good(way[0][0][1], run_s[i] + start_s[i], priced[i])
        for i, way in enumerate(fixed)
    ]
    length = np.array([sum(part[0] for part in row) for row in parts])
    width = np.where(np.isfinite(run_s), gang, np.inf).min(axis=1)
    plans = []
    for power, ways in itertools.product((1.0, 0.5, 0.75, 0.0), (fixed, freer)):
        order = np.argsort(-length * width**power, kind="stable").tolist()
        plans.append(_compacted(_mirrored(_laid(order, ways, gang, capacity)), gang, capacity))
    generator = stream(0, "strip orders")
    for number in range(tries):
        if min(_end_s(plan) for plan in plans) <= bound_s * (1 + _CLOSE_ENOUGH):
            break
        power, sigma = generator.uniform(0, 1.5), generator.uniform(0, 0.5)
        noise = np.exp(sigma * generator.standard_normal(len(run_s)))
        order = np.argsort(-length * width**power * noise, kind="stable").tolist()
        ways = freer if number % 2 else fixed
        plans.append(_compacted(_mirrored(_laid(order, ways, gang, capacity)), gang, capacity))
    ways = [_whole(run_s[i], start_s[i], int(holds[i])) for i in range(len(run_s))]
    order = np.lexsort((run_s.min(axis=1), holds < 0)).tolist()
    plans.append(_laid(order, ways, gang, capacity))
    found = [_plan(pieces, len(run_s), bound_s) for pieces in plans]
    least_s = min(plan.makespan_s for plan in found)
    close = [plan for plan in found if plan.makespan_s <= least_s * (1 + _MAKESPAN_TOLERANCE)]
    return min(close, key=lambda plan: plan.mean_end_s)


def _end_s(pieces: Sequence[Piece]) -> float:
    return max(piece.end_s for piece in pieces)


def _as_good(
    chosen: int, length_s: FloatArray, priced: FloatArray
) -> list[list[tuple[float, int]]]:
    """Return the types on which a job takes no more, at the program's prices, than on its own."""
    least = priced[chosen] * (1 + _PRICE_TOLERANCE)
    types = [t for t in range(len(priced)) if t == chosen or priced[t] <= least]
    return [[(float(length_s[t]), t)] for t in types]


def _whole(run_s: FloatArray, start_s: float, holds: int) -> list[list[tuple[float, int]]]:
    """Return the ways to run a job in one piece: where it is, or anywhere."""
    if holds >= 0 and np.isfinite(run_s[holds]):
        return [[(float(run_s[holds]), holds)]]
    return [[(float(run_s[t] + start_s), t)] for t in np.flatnonzero(np.isfinite(run_s)).tolist()]


def _plan(pieces: Sequence[Piece], jobs: int, bound_s: float) -> StripPlan:
    end_s = np.zeros(jobs)
    for piece in pieces:
        end_s[piece.job] = max(end_s[piece.job], piece.end_s)
    ordered = tuple(sorted(pieces, key=lambda p: (p.start_s, p.job)))
    return StripPlan(ordered, float(end_s.max()), float(end_s.mean()), bound_s)


class Split(NamedTuple):
    """The solution of the makespan program.

    Parameters
    ----------
    share : ndarray of float64, shape (jobs, types)
        Part of each job's work done on each type.
    makespan_s : float
        The least makespan, preemption and moves free: a bound on every schedule.
    priced : ndarray of float64, shape (jobs, types)
        What the whole job would take of each type, at the duals of the capacities.
    """

    share: FloatArray
    makespan_s: float
    priced: FloatArray


def makespan_program(run_s: FloatArray, gang: FloatArray, capacity: FloatArray) -> Split:
    """Return how each job's work is split over types for the least makespan.

    Raises
    ------
    RuntimeError
        If the solver fails.
    """
    from ortools.linear_solver import pywraplp

    jobs, types = run_s.shape
    unit_s = float(np.where(np.isfinite(run_s), run_s, np.inf).min(axis=1).max())
    solver = pywraplp.Solver.CreateSolver("GLOP")
    free = -solver.infinity()
    horizon = solver.NumVar(0, solver.infinity(), "")
    rooms: list[list[tuple[float, Any]]] = []
    for t in range(types):
        usable = np.isfinite(run_s[:, t])
        sizes = [1.0, *(z for z in np.unique(gang[usable, t]).tolist() if capacity[t] % z)]
        rows = []
        for size in sizes:
            row = solver.Constraint(free, 0.0)
            row.SetCoefficient(horizon, -float(capacity[t] // size))
            rows.append((size, row))
        rooms.append(rows)
    variables = {}
    for i in range(jobs):
        whole = solver.Constraint(1.0, 1.0)
        alone = solver.Constraint(free, 0.0)
        alone.SetCoefficient(horizon, -1.0)
        for t in np.flatnonzero(np.isfinite(run_s[i])).tolist():
            variables[i, t] = share = solver.NumVar(0, 1, "")
            time = float(run_s[i, t] / unit_s)
            whole.SetCoefficient(share, 1.0)
            alone.SetCoefficient(share, time)
            for size, row in rooms[t]:
                if gang[i, t] >= size:
                    row.SetCoefficient(share, time * float(gang[i, t] // size))
    solver.Minimize(horizon)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        raise RuntimeError("GLOP found no optimum of the makespan program")
    split, priced = np.zeros((jobs, types)), np.full((jobs, types), np.inf)
    for (i, t), share in variables.items():
        split[i, t] = share.solution_value()
        taken = sum(-row.dual_value() * (gang[i, t] // size) for size, row in rooms[t])
        priced[i, t] = taken * run_s[i, t] / unit_s
    return Split(split, float(horizon.solution_value()) * unit_s, priced)


def _laid(
    order: Sequence[int],
    ways: Sequence[Sequence[Sequence[tuple[float, int]]]],
    gang: FloatArray,
    capacity: FloatArray,
) -> list[Piece]:
    """Lay the jobs in order, each in the way that ends first, its parts one after another."""
    strips = [Strip(width) for width in capacity.tolist()]
    laid = []
    for i in order:
        best: list[Piece] = []
        for sequence in ways[i]:
            pieces, at = [], 0.0
            for length, t in sequence:
                start = strips[t].earliest(float(gang[i, t]), length, at)
                pieces.append(Piece(i, t, start, length))
                at = pieces[-1].end_s
            if not best or at < best[-1].end_s:
                best = pieces
        for piece in best:
            strips[piece.type_index].put(
                float(gang[i, piece.type_index]), piece.start_s, piece.run_s
            )
        laid += best
    return laid


def _mirrored(pieces: list[Piece]) -> list[Piece]:
    """Return the schedule that runs backwards."""
    end_s = max(piece.end_s for piece in pieces)
    return [Piece(p.job, p.type_index, end_s - p.end_s, p.run_s) for p in pieces]


def _compacted(pieces: list[Piece], gang: FloatArray, capacity: FloatArray) -> list[Piece]:
    """Move every piece as early as it fits, in order of start."""
    strips = [Strip(width) for width in capacity.tolist()]
    done_s: dict[int, float] = {}
    moved = []
    for p in sorted(pieces, key=lambda p: (p.start_s, p.job)):
        width = float(gang[p.job, p.type_index])
        start = strips[p.type_index].earliest(width, p.run_s, done_s.get(p.job, 0.0))
        strips[p.type_index].put(width, start, p.run_s)
        done_s[p.job] = start + p.run_s
        moved.append(Piece(p.job, p.type_index, start, p.run_s))
    return moved
