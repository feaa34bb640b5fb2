"""Hours, or what serves as hours: the bins of time that every picture of a page shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray, IntArray

WIDTHS_S: Final = (60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
MOST_BINS: Final = 240
LEAST_BINS: Final = 12
HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal pieces of ``[0, end_us)``; the last may be shorter.

    Parameters
    ----------
    width_us, end_us : int
        Length of a piece, and of the whole.
    """

    width_us: int
    end_us: int

    @property
    def count(self) -> int:
        """Number of pieces, at least one."""
        return max(1, -(-self.end_us // self.width_us))

    @property
    def edges_us(self) -> IntArray:
        """Ends of the pieces, shape (count + 1,)."""
        edges = np.arange(self.count + 1, dtype=np.int64) * self.width_us
        edges[-1] = max(self.end_us, 1)
        return edges

    def amounts(
        self,
        start_us: IntArray,
        end_us: IntArray,
        rate: FloatArray,
        group: IntArray | None = None,
        groups: int = 1,
    ) -> FloatArray:
        """Return the integral, by group and bin, of rates that hold over intervals.

        Parameters
        ----------
        start_us, end_us : ndarray of int64, shape (n,)
            Half-open intervals; what lies outside the bins is left out.
        rate : ndarray of float64, shape (n,)
            What accrues per second.
        group : ndarray of int64, shape (n,), or None
            Row of the answer that each interval adds to; None: the first.
        groups : int
            Rows of the answer.

        Returns
        -------
        ndarray of float64, shape (groups, count)
            Rate times seconds. O(n + groups x count).
        """
        count = self.count
        out = np.zeros((groups, count))
        edges = self.edges_us
        start = np.clip(np.asarray(start_us, dtype=np.int64), 0, edges[-1])
        end = np.clip(np.asarray(end_us, dtype=np.int64), 0, edges[-1])
        row = np.zeros(len(start), dtype=np.int64) if group is None else np.asarray(group)
        some = end > start
        start, end, row = start[some], end[some], row[some]
        rate = np.asarray(rate, dtype=np.float64)[some]
        first = start // self.width_us
        last = np.minimum((end - 1) // self.width_us, count - 1)
        inside = first == last
        np.add.at(out, (row[inside], first[inside]), (rate * (end - start))[inside])
        across = ~inside
        row, rate, first, last = row[across], rate[across], first[across], last[across]
        np.add.at(out, (row, first), rate * (edges[first + 1] - start[across]))
        np.add.at(out, (row, last), rate * (end[across] - edges[last]))
        steps = np.zeros((groups, count + 1))
        np.add.at(steps, (row, first + 1), rate)
        np.add.at(steps, (row, last), -rate)
        out += np.cumsum(steps[:, :count], axis=1) * self.width_us
        return out / US_PER_S


def bins_for(end_us: int) -> Bins:
    """Return bins of one hour, or of what suits a period much shorter or longer than a day."""
    period_s = max(1, -(-end_us // US_PER_S))
    if LEAST_BINS * HOUR_S <= period_s <= MOST_BINS * HOUR_S:
        return Bins(HOUR_S * US_PER_S, end_us)
    width_s = next((w for w in WIDTHS_S if period_s <= MOST_BINS / 2 * w), 0)
    while not width_s or period_s > MOST_BINS * width_s:
        width_s = max(2 * width_s, WIDTHS_S[-1])
    return Bins(width_s * US_PER_S, end_us)
