"""What prices prove, in whole numbers.

The cheapest schedule of a job that completes in bucket e costs at least, by weak duality of its
knapsack and for any price of work lambda,
``weight * (begin_e - due) + lambda * work - sum_b length_b max_m(lambda rate_m - price_mb)+``,
where in bucket e itself the weight adds to the price, and where jobs that are not due before it
begins have no weight. The least of these over all e in which the work fits at all, summed over
jobs, less the worth of the fleet's time, is the bound. All of it is
computed in integers: prices and lambdas are rounded to binary fractions first, which any
prices may be; times, rates and works are rounded so that the bound can only fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.workload import FloatArray
from scheduler.solver.plan.groups import Buckets, Groups
from scheduler.solver.plan.resources import ClassTable
from scheduler.solver.plan.schedules import Margins, Served, margins

_TIME_BITS = 30
_PRICE_BITS = 40
_RATE_BITS = 40
_LAMBDA_BITS = 50
_COUNT_BITS = 20
"""Bits after the binary point, of values scaled to about one, except times, in seconds."""

Integers = NDArray[np.object_]


def proved_value(
    groups: Groups,
    tables: Sequence[ClassTable],
    buckets: Buckets,
    prices: FloatArray,
    served: Sequence[Served] = (),
    at_most: FloatArray | None = None,
) -> Fraction | None:
    """Return a bound on the sum of weighted times past the due dates, in seconds.

    Parameters
    ----------
    groups, tables, buckets : Groups, sequence of ClassTable, Buckets
        What was planned.
    prices : ndarray of float64, shape (resources, buckets)
        Per accelerator-second, not negative.
    served : sequence of Served
        Requests that are to be served.
    at_most : ndarray of float64 or None, shape (groups,)
        What it costs to leave a job out; None: none may be.

    Returns
    -------
    Fraction or None
        None: some job cannot complete by its limit, whatever the others do.

    Raises
    ------
    ValueError
        If a price is negative or not a number: it would prove nothing.
    """
    if not np.all(prices >= 0.0):
        raise ValueError("prices that prove a bound are not negative")
    top = max(float(prices.max(initial=0.0)), float(groups.weight.max(initial=0.0)))
    scale = _PRICE_BITS - int(np.ceil(np.log2(top))) if top > 0 else _PRICE_BITS
    whole = _floor(prices, scale)
    rounded = np.ldexp(whole.astype(np.float64), -scale)  # at most 41 bits: exact
    supply = _ceil(buckets.supply, _TIME_BITS)
    total = Fraction(-int((whole * supply).sum()), _power(scale + _TIME_BITS))
    least: list[Fraction | None] = [None] * len(groups)
    if at_most is not None:
        least = [Fraction(most) for most in at_most.tolist()]
    for margin in margins(groups, tables, buckets, rounded):
        kind = int(groups.kind[int(margin.groups[0])])
        exact = _Exact(tables[kind], margin.weight, whole, scale)
        for row, g in enumerate(margin.groups.tolist()):
            found, before = exact.least(margin, row, float(groups.work[g])), least[g]
            if found is not None:
                least[g] = found if before is None else min(found, before)
    for g, cost in enumerate(least):
        if cost is None:
            return None
        total += int(groups.count[g]) * cost
    for service in served:
        total += Fraction(_least_service(service, whole), _power(scale + _TIME_BITS))
    return total


def _least_service(service: Served, prices: Integers) -> int:
    """Return at most what serving the requests costs, in units of price times time.

    Those that go without are the ones that cost most.
    """
    table = service.table
    unit = _RATE_BITS - int(np.ceil(np.log2(float(table.rates.max()))))
    rates = _ceil(table.rates, unit)
    cost = _per_second(table, prices)
    spared = int(_ceil(np.array([service.spared]), unit + _TIME_BITS)[0])
    each = [
        (min(Fraction(int(c), int(r)) for c, r in zip(cost[:, b], rates, strict=True)), need)
        for b, need in enumerate(_floor(service.asked, unit + _TIME_BITS).tolist())
    ]
    total = Fraction(0)
    for price, need in sorted(each, reverse=True):
        kept = max(0, need - spared)
        spared = max(0, spared - need)
        total += price * kept
    return math.floor(total)


def _per_second(table: ClassTable, prices: Integers) -> Integers:
    """Return at most what a second in each mode costs; exactly so of whole accelerators."""
    return np.asarray(_floor(table.counts, _COUNT_BITS).dot(prices) >> _COUNT_BITS)


class _Exact:
    """Cheapest schedules of the jobs of one class, in whole numbers."""

    def __init__(self, table: ClassTable, weight: float, prices: Integers, scale: int) -> None:
        self.unit = _RATE_BITS - int(np.ceil(np.log2(float(table.rates.max()))))
        self.rates = _ceil(table.rates, self.unit)
        self.fastest = int(self.rates.max())
        self.cost = _per_second(table, prices)
        self.pay = int(_floor(np.array([weight]), scale)[0])
        self.scale = scale

    def least(self, margin: Margins, row: int, work: float) -> Fraction | None:
        """Return at most the cost of the cheapest schedule of one job; None if there is none.

        Completions whose cost is above that of the cheapest found, by more than rounding can
        have changed it, are not gone through again.
        """
        need = int(_floor(np.array([work]), self.unit + _TIME_BITS)[0])
        begin = np.maximum(_floor(margin.begin_s[row], _TIME_BITS) - 1, 0)
        length = _ceil(margin.length_s[row, :-1], _TIME_BITS) + 2  # begin was rounded too
        within = [0, *np.cumsum(length * self.fastest).tolist()]
        slopes = margin.pieces.slope[margin.last[row]]
        size = float(slopes.max())
        fine = _LAMBDA_BITS - (int(np.ceil(np.log2(size))) if size > 0 else 0)
        fine = max(fine, self.scale - self.unit)
        cost = margin.cost[row]
        surely = np.where(np.isfinite(cost), cost - margin.doubt[1, row], -np.inf)
        late = float((cost + margin.doubt[1, row]).min())
        since = int(_ceil(margin.since_s[row : row + 1], _TIME_BITS)[0])
        best: Fraction | None = None
        for end in np.flatnonzero(margin.allowed[row] & (surely <= late)).tolist():
            if np.isinf(cost[end]) and within[end + 1] < need:
                continue
            slope = int(_floor(slopes[end : end + 1], fine)[0])
            value = self._value(end, slope, fine, need, begin, length, since)
            best = value if best is None else min(best, value)
        return best

    def _value(
        self,
        end: int,
        slope: int,
        fine: int,
        need: int,
        begin: Integers,
        length: Integers,
        since: int,
    ) -> Fraction:
        """Return at most the cost of completing in bucket `end`, by a price of work."""
        shift = fine + self.unit - self.scale  # prices in the units of lambda times rate
        last = end == len(begin) - 1
        if last:  # time after the last bucket is endless: nothing may be gained from it
            slope = min(slope, (self.pay << shift) // self.fastest)
        gained = 0
        if end:
            gain = slope * self.rates[:, None] - (self.cost[:, :end] << shift)
            gained = int((np.maximum(gain.max(axis=0), 0) * length[:end]).sum())
        if not last:
            dear = (self.cost[:, end] + self.pay) << shift
            gained += max(0, int((slope * self.rates - dear).max())) * int(length[end])
        paid = Fraction(self.pay * (int(begin[end]) - since), _power(self.scale + _TIME_BITS))
        return paid + Fraction(slope * need - gained, _power(fine + self.unit + _TIME_BITS))


def _power(bits: int) -> int | Fraction:
    return 1 << bits if bits >= 0 else Fraction(1, 1 << -bits)


def _floor(values: FloatArray, bits: int) -> Integers:
    """Return ``floor(value * 2**bits)`` as Python integers."""
    return _whole(np.floor(np.ldexp(values, bits)))


def _ceil(values: FloatArray, bits: int) -> Integers:
    return _whole(np.ceil(np.ldexp(values, bits)))


def _whole(values: FloatArray) -> Integers:
    found: Any = np.array([int(v) for v in values.ravel().tolist()], dtype=object)
    return np.asarray(found.reshape(values.shape))
