"""Ways to fill one accelerator with shares: an unbounded knapsack over thousandths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import IntArray


class ShareKnapsack:
    """Best fills of one accelerator, for many rows of worths at once.

    Parameters
    ----------
    sizes : ndarray of int64, shape (sizes,)
        Distinct shares, in thousandths, each from 1 to 999.

    Notes
    -----
    Cells are as wide as the greatest common divisor of the sizes and of a whole, so nothing is
    rounded. A size may be used any number of times.
    """

    def __init__(self, sizes: IntArray) -> None:
        self.unit = int(np.gcd.reduce(np.append(sizes, WHOLE_MILLI)))
        self.cells = WHOLE_MILLI // self.unit
        self.steps = sizes // self.unit

    def best(self, worth: NDArray[Any]) -> tuple[NDArray[Any], IntArray]:
        """Return the best worth within each number of cells, and the size that comes last.

        Parameters
        ----------
        worth : ndarray, shape (rows, sizes)
            Of one pod of each size; whole numbers give exact answers.

        Returns
        -------
        best : ndarray of the same kind, shape (cells + 1, rows)
            Best worth of a fill of at most so many cells; at least 0.
        last : ndarray of int64, shape (cells + 1, rows)
            Position of a size in that fill; -1: one cell stays empty.
        """
        rows = len(worth)
        best = np.zeros((self.cells + 1, rows), dtype=worth.dtype)
        last = np.full((self.cells + 1, rows), -1, dtype=np.int64)
        order = np.argsort(self.steps, kind="stable")
        steps, columns = self.steps[order], worth.T[order]
        every = np.arange(rows)
        reach = np.searchsorted(steps, np.arange(self.cells + 1), side="right").tolist()
        for cell in range(1, self.cells + 1):
            usable = reach[cell]
            best[cell] = best[cell - 1]
            if not usable:
                continue
            tried = best[cell - steps[:usable]] + columns[:usable]
            pick = tried.argmax(axis=0)
            found = tried[pick, every]
            better = found > best[cell]
            best[cell] = np.where(better, found, best[cell])
            last[cell] = np.where(better, order[pick], -1)
        return best, last

    def sizes_of(self, last: IntArray, cells: int) -> tuple[int, ...]:
        """Return the sizes (positions, ascending) of the best fill of at most `cells` cells.

        Parameters
        ----------
        last : ndarray of int64, shape (cells + 1,)
            One row's column of what `best` returned.
        cells : int
            Room.
        """
        found = []
        while cells > 0:
            size = int(last[cells])
            if size < 0:
                cells -= 1
            else:
                found.append(size)
                cells -= int(self.steps[size])
        return tuple(sorted(found))
