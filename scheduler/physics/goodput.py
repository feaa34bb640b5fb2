"""Goodput of an adaptive job: progress per second by accelerator type, shape, epoch and batch.

Progress per second is statistical gain over iteration time (Pollux, OSDI'21; Sia, SOSP'23). The
gain of a batch ``b`` over the reference batch ``b0`` is ``(var + sqr) / (var * b0 / b + sqr)``,
with the gradient's variance and squared norm at the epoch at hand. All jobs of an application
share these tables.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.adaptive import Application, Shape, StepRows, StepTimes
from scheduler.core.workload import FloatArray, IntArray

GRID: Final = 60
MOST_NODES: Final = 16
"""Shapes on more nodes take the rows of this many."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a gang does at each epoch, each with the batch chosen for it.

    Parameters
    ----------
    batch : ndarray of int, shape (epochs,)
        Global batch asked for.
    goodput : ndarray, shape (epochs,)
        Progress per second.
    sync : ndarray, shape (epochs,)
        Share of the time spent synchronising.
    """

    batch: IntArray
    goodput: FloatArray
    sync: FloatArray


@dataclass(frozen=True, slots=True)
class Batches:
    """Candidate batches of a shape, split over its accelerators.

    Parameters
    ----------
    asked : ndarray of int, shape (batches,)
        Global batch asked for, ascending.
    accumulation : ndarray of int, shape (batches,)
        Extra passes before a step.
    local : ndarray of int, shape (batches,)
        Samples per accelerator and pass.
    real : ndarray of int, shape (batches,)
        Global batch that results.
    """

    asked: IntArray
    accumulation: IntArray
    local: IntArray
    real: IntArray


class Goodput:
    """Tables of one application on one accelerator type.

    Parameters
    ----------
    application : Application
        Measured rows and statistics.
    kind : str
        Accelerator type.
    """

    def __init__(self, application: Application, kind: str) -> None:
        self.application = application
        self._steps = application.steps[kind]
        self._rows: dict[Shape, StepRows] = {}
        self._best: dict[Shape, Rates] = {}
        self._fixed: dict[tuple[Shape, int], Rates] = {}

    def rows(self, shape: Shape) -> StepRows:
        """Return measured or interpolated step times of a shape."""
        shape = min(shape[i:] + shape[:i] for i in range(len(shape)))
        found = self._rows.get(shape)
        if found is None:
            found = self._steps.placements.get(shape)
            if found is None:
                found = between(self._steps, min(len(shape), MOST_NODES), sum(shape))
            self._rows[shape] = found
        return found

    def candidates(self, shape: Shape) -> Batches:
        """Return the batches worth trying on a shape: a geometric grid, both ends included."""
        rows, gang = self.rows(shape), sum(shape)
        low, high = self.application.batches[0], self.application.batches[-1]
        low = min(max(low, float(np.ceil(rows[0, 0])) * gang), high)
        grid = np.rint(np.geomspace(low, high, GRID)).astype(np.int64)
        full = gang * self._most(shape)  # passes that fill the memory
        return self.split(shape, np.unique(np.append(grid, np.arange(full, high + 1, full))))

    def split(self, shape: Shape, asked: IntArray) -> Batches:
        """Split global batches over the accelerators of a shape, accumulating what is too large."""
        application, gang = self.application, sum(shape)
        most = self._most(shape)
        local = -(-asked // gang)
        accumulation = -(-local // most) - 1
        if gang == 1:  # one accelerator needs two passes to see the gradient's noise
            above = asked > application.batches[0]
            accumulation = np.where(above, np.maximum(accumulation, 1), accumulation)
        passes = accumulation + 1
        local = np.minimum(-(-local // passes), most)
        local = np.minimum(local, int(application.batches[-1]) // (gang * passes))
        local = np.maximum(local, 1)
        return Batches(asked, accumulation, local, local * gang * passes)

    def seconds(self, shape: Shape, batches: Batches) -> tuple[FloatArray, FloatArray]:
        """Return seconds of an iteration and those of them that synchronise."""
        rows = self.rows(shape)
        step = np.interp(batches.local, rows[:, 0], rows[:, 1])
        sync = np.interp(batches.local, rows[:, 0], rows[:, 2])
        return step + batches.accumulation * (step - sync), sync

    def _most(self, shape: Shape) -> int:
        """Return the largest batch per accelerator and pass."""
        return max(int(min(self.rows(shape)[-1, 0], self._steps.largest_local)), 1)

    def best(self, shape: Shape) -> Rates:
        """Return the rates with the best batch of each epoch."""
        found = self._best.get(shape)
        if found is None:
            batches = self.candidates(shape)
            seconds, _ = self.seconds(shape, batches)
            found = self._best[shape] = self.chosen(shape, seconds, batches)
        return found

    def chosen(self, shape: Shape, seconds: FloatArray, batches: Batches) -> Rates:
        """Return true rates where the batch goes by somebody's estimate of the `seconds`."""
        goodput = gain(self.application, batches.real) / seconds
        return self._rates(shape, batches, goodput.argmax(axis=1))

    def fixed(self, shape: Shape, batch: int) -> Rates:
        """Return the rates of a fixed global batch."""
        key = (shape, batch)
        found = self._fixed.get(key)
        if found is None:
            batches = self.split(shape, np.array([batch], np.int64))
            choice = np.zeros(self.application.epochs, np.int64)
            found = self._fixed[key] = self._rates(shape, batches, choice)
        return found

    def _rates(self, shape: Shape, batches: Batches, choice: IntArray) -> Rates:
        seconds, sync = self.seconds(shape, batches)
        gains = gain(self.application, batches.real)
        goodput = (gains / seconds)[np.arange(len(choice)), choice] / self.application.slowdown
        return Rates(batches.asked[choice], goodput, (sync / seconds)[choice])


def gain(application: Application, batch: IntArray) -> FloatArray:
    """Return the progress of one iteration, shape (epochs, batches).

    Statistics between two measured batches are interpolated linearly.
    """
    known = application.batches
    at = np.clip(batch, known[0], known[-1])
    right = np.clip(np.searchsorted(known, at), 1, max(len(known) - 1, 1))
    if len(known) == 1:
        sqr, var = application.grad_sqr[:, [0] * len(at)], application.grad_var[:, [0] * len(at)]
    else:
        share = (at - known[right - 1]) / (known[right] - known[right - 1])
        sqr, var = (
            table[:, right - 1] * (1 - share) + table[:, right] * share
            for table in (application.grad_sqr, application.grad_var)
        )
    scale = batch / known[0]
    return np.asarray((var + sqr) / (var / scale + sqr))


def between(steps: StepTimes, nodes: int, gang: int) -> StepRows:
    """Return the step times of a shape that was not measured.

    Linear in nodes, at equal accelerators per node, between the nearest measured node counts;
    on each of them linear in accelerators; at each local batch that all those rows know. Beyond
    what was measured the nearest counts hold.
    """
    if (nodes, gang) in steps.scaling:
        return steps.scaling[nodes, gang]
    counts = sorted({n for n, _ in steps.scaling})
    parts: list[tuple[StepRows, float]] = []
    for n, share in _neighbours(counts, nodes):
        gangs = sorted(g for m, g in steps.scaling if m == n)
        for g, inner in _neighbours(gangs, gang / nodes * n):
            parts.append((steps.scaling[int(n), int(g)], share * inner))
    low = max(rows[0, 0] for rows, _ in parts)
    high = min(rows[-1, 0] for rows, _ in parts)
    local = np.unique(np.concatenate([rows[:, 0] for rows, _ in parts]))
    local = local[(local >= low) & (local <= high)]
    columns = [
        np.sum([share * np.interp(local, rows[:, 0], rows[:, c]) for rows, share in parts], axis=0)
        for c in (1, 2)
    ]
    return np.column_stack([local, *columns])


def _neighbours(values: Sequence[int], at: float) -> list[tuple[int, float]]:
    """Return the ascending `values` around a point and their shares in it, shares above zero."""
    right = bisect.bisect_left(values, at)
    if right == len(values) or values[right] == at or right == 0:
        return [(values[min(right, len(values) - 1)], 1.0)]
    low, high = values[right - 1], values[right]
    share = (at - low) / (high - low)
    return [(low, 1 - share), (high, share)]
