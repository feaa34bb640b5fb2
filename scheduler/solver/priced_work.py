"""The least cost of one job's work when accelerator-time has a price.

Work is measured in seconds at its fastest. Time advances in steps, work in cells, `CELLS` of them
a step at full speed. Within a step a job may mix configurations: the cost of a speed is the lower
envelope of the configurations' points (speed, price of what they hold), idleness being the
origin. A job is held to be at the end of the cell it is in, and to have paid for reaching its
start, so that every value is a lower bound. Epochs are grouped; a group has the highest speeds of
its epochs and of those a step can reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray

CELLS: Final = 40
GROUPS: Final = 12
STEPS_S: Final = (60, 120, 300, 600)
WORK_PER_STEP: Final = 12
"""Steps that a job's work should take at least, where steps can be that short."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per accelerator-second by group and bucket; zero beyond the last bucket."""

    value: FloatArray
    bucket_s: int


class WorkCells:
    """One application's work.

    Parameters
    ----------
    seconds : ndarray, shape (configs, epochs)
        Time of each epoch in each configuration, its share of the restart included.
    needs : sequence of (int, int)
        Group and accelerators of each configuration.
    bucket_s : int
        Seconds a price holds; steps divide it.
    """

    def __init__(
        self, seconds: FloatArray, needs: Sequence[tuple[int, int]], bucket_s: int
    ) -> None:
        fastest = seconds.min(axis=0)
        self.config_s = seconds.sum(axis=1)
        self.total_s = float(fastest.sum())
        fit = [s for s in STEPS_S if bucket_s % s == 0 and s * WORK_PER_STEP <= self.total_s]
        self.step_s = max(fit, default=STEPS_S[0])
        self.cell_s = self.step_s / CELLS
        self.cells = max(math.ceil(self.total_s / self.cell_s - 1e-9), 1)
        self.needs = list(needs)
        self.group = np.array([g for g, _ in needs])
        self.count = np.array([n for _, n in needs], float)
        speeds = fastest / np.maximum(seconds, 1e-9)
        ends = fastest.cumsum()
        size = math.ceil(self.cells / GROUPS)
        self.block = np.arange(self.cells) // size
        blocks = int(self.block[-1]) + 1
        self.speeds = np.zeros((blocks, len(needs)))
        for b in range(blocks):
            low, high = b * size * self.cell_s, (b + 1) * size * self.cell_s + self.step_s
            first = min(int(np.searchsorted(ends, low, side="right")), len(ends) - 1)
            last = min(int(np.searchsorted(ends, high, side="left")), len(ends) - 1)
            self.speeds[b] = speeds[:, first : last + 1].max(axis=1)

    def least_costs(self, prices: Prices, starts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return each job's least cost from its start on, and what the jobs hold at it.

        Parameters
        ----------
        prices : Prices
            Prices.
        starts : ndarray, shape (jobs,)
            Seconds at which the jobs may start.

        Returns
        -------
        costs : ndarray, shape (jobs,)
            Seconds: time to completion plus what is paid.
        held : ndarray, shape (groups, buckets)
            Accelerator-seconds held.
        """
        sheet = _Sheet(self, prices)
        last = prices.value.shape[1] * prices.bucket_s // self.step_s
        left = self.total_s - np.arange(self.cells) * self.cell_s
        value = np.empty((last + 1, self.cells + CELLS + 2))
        value[:, self.cells :] = 0.0
        value[last, : self.cells] = left
        moves = np.empty((last, self.cells), np.int16)
        per_bucket = prices.bucket_s // self.step_s
        ahead = np.lib.stride_tricks.sliding_window_view(value, CELLS + 2, axis=1)
        reach = np.arange(self.cells)[:, None] + np.arange(CELLS + 2) >= self.cells
        for k in range(last - 1, -1, -1):
            bucket = k // per_bucket
            through = sheet.through[bucket][self.block] * self.step_s + ahead[k + 1, : self.cells]
            through[reach] = np.inf
            best = through.argmin(axis=1)
            cost = through[np.arange(self.cells), best] + self.step_s
            finish = np.where(left <= self.step_s, left * sheet.finish[bucket][self.block], np.inf)
            moves[k] = np.where(finish <= cost, -1, best)
            value[k, : self.cells] = np.minimum(finish, cost)
        return self._from(starts, value, moves, sheet, last)

    def _from(
        self, starts: FloatArray, value: FloatArray, moves: IntArray, sheet: _Sheet, last: int
    ) -> tuple[FloatArray, FloatArray]:
        """Run jobs from their starts along the best moves."""
        held = np.zeros_like(sheet.prices.value)
        costs = np.empty(len(starts))
        arrivals: dict[tuple[int, int], int] = {}
        per_bucket = sheet.prices.bucket_s // self.step_s
        for i, start in enumerate(starts.tolist()):
            k = int(start // self.step_s)
            rest = (k + 1) * self.step_s - start
            bucket = k // per_bucket
            if self.total_s <= rest:
                costs[i] = self.total_s * sheet.finish[bucket][0]
                sheet.hold_finish(held, bucket, 0, self.total_s)
                continue
            most = min(int(rest / self.cell_s + 1e-9) + 1, self.cells - 1)
            reach = np.arange(most + 1)
            paid = sheet.cost(bucket, 0, np.maximum(reach - 1, 0) * self.cell_s / rest) * rest
            total = paid + value[k + 1, : most + 1] + rest
            m = int(total.argmin())
            costs[i] = total[m]
            sheet.hold(held, bucket, 0, max(m - 1, 0) * self.cell_s / rest, rest)
            arrivals[k + 1, m] = arrivals.get((k + 1, m), 0) + 1
        while arrivals:
            k, cell = min(arrivals)
            jobs = arrivals.pop((k, cell))
            if k >= last:
                continue
            move, block = int(moves[k, cell]), int(self.block[cell])
            bucket = k // per_bucket
            if move < 0:
                sheet.hold_finish(held, bucket, block, jobs * (self.total_s - cell * self.cell_s))
                continue
            sheet.hold(held, bucket, block, max(move - 1, 0) / CELLS, jobs * self.step_s)
            arrivals[k + 1, cell + move] = arrivals.get((k + 1, cell + move), 0) + jobs
        return costs, held


class _Sheet:
    """Costs of speeds by bucket and block of cells, at given prices."""

    def __init__(self, work: WorkCells, prices: Prices) -> None:
        self.work = work
        self.prices = prices
        paid = prices.value[work.group] * work.count[:, None]  # configs, buckets
        per_work = (1 + paid.T)[:, None, :] / np.maximum(work.speeds, 1e-12)[None]
        self.cheapest = per_work.argmin(axis=2)
        self.finish = per_work.min(axis=2)  # buckets, blocks
        marks = np.maximum(np.arange(CELLS + 2) - 1, 0) / CELLS
        buckets, blocks = self.finish.shape
        self.hulls = [
            [_lower_hull(work.speeds[b], paid[:, t]) for b in range(blocks)] for t in range(buckets)
        ]
        self.through = np.array(
            [[np.interp(marks, hull[0], hull[1]) for hull in row] for row in self.hulls]
        )

    def cost(self, bucket: int, block: int, speed: FloatArray) -> FloatArray:
        """Return the price per second of speeds."""
        xs, ys, _ = self.hulls[bucket][block]
        return np.interp(speed, xs, ys)

    def hold(self, held: FloatArray, bucket: int, block: int, speed: float, seconds: float) -> None:
        """Add what running at a speed holds."""
        xs, _, configs = self.hulls[bucket][block]
        i = min(max(int(np.searchsorted(xs, speed)), 1), len(xs) - 1)
        share = min((speed - xs[i - 1]) / (xs[i] - xs[i - 1]), 1.0)
        for config, part in ((configs[i - 1], 1 - share), (configs[i], share)):
            if config >= 0:
                held[self.work.group[config], bucket] += self.work.count[config] * part * seconds

    def hold_finish(self, held: FloatArray, bucket: int, block: int, work_s: float) -> None:
        """Add what finishing some work holds."""
        c = int(self.cheapest[bucket, block])
        seconds = work_s / max(float(self.work.speeds[block, c]), 1e-12)
        held[self.work.group[c], bucket] += self.work.count[c] * seconds


def _lower_hull(speeds: FloatArray, paid: FloatArray) -> tuple[list[float], list[float], list[int]]:
    """Return speeds, prices and configurations of the lower envelope from the origin (-1) on."""
    hull = [(0.0, 0.0, -1)]
    for c in np.lexsort((paid, speeds)).tolist():
        x, y = float(speeds[c]), float(paid[c])
        if x <= hull[-1][0] + 1e-12:
            continue
        while len(hull) > 1:
            (x0, y0, _), (x1, y1, _) = hull[-2:]
            if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y, c))
    return [p[0] for p in hull], [p[1] for p in hull], [p[2] for p in hull]
