"""The cheapest schedule of one job at given prices.

A job that completes in bucket e pays its weight for every second from its due date (0 where only
the completion counts) until then, and the price of what it holds in each bucket. Up to e it may
use all time, in e each second used costs its weight more; which modes in which buckets is a
continuous knapsack: cheapest work first. Within a bucket the modes worth using are the lower hull
of (rate, price per second), whose pieces are the knapsack's items. The least over e is the
cheapest schedule, exactly, in continuous time: prices that are constant within buckets lose
nothing of it.

Where a job is not due before a bucket begins, completing in that bucket counts as in time: its
weight is nothing. In a bucket that begins after the job's limit it may not complete.

Jobs of a class and weight share the pieces. Sums over buckets and over pieces are tabled once
for all of them; where each knapsack of each job ends is then found by bisection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.groups import Buckets, Groups
from scheduler.solver.plan.resources import ClassTable


@dataclass(frozen=True, slots=True)
class Cheapest:
    """Cheapest schedules, one per group.

    Parameters
    ----------
    cost : ndarray of float64, shape (groups,)
        Weighted time past the due date and the price of what is held, of one job.
    usage : ndarray of float64, shape (groups, resources, buckets)
        Accelerator-seconds of one job.
    """

    cost: FloatArray
    usage: FloatArray


@dataclass(frozen=True, slots=True)
class Served:
    """What a service is to serve.

    Parameters
    ----------
    table : ClassTable
        Replicas; rates in requests per second.
    asked : ndarray of float64, shape (buckets,)
        Requests that arrive in each bucket.
    spared : float
        How many of them, at most, may go without.
    """

    table: ClassTable
    asked: FloatArray
    spared: float = 0.0


@dataclass(frozen=True, slots=True)
class Pieces:
    """Items of the knapsack of a class, cheapest first, and their sums.

    Parameters
    ----------
    bucket : ndarray of int64, shape (pieces,)
        Where.
    rate, slope : ndarray of float64, shape (pieces,)
        Work per second, and price per work.
    held : ndarray of float64, shape (pieces, resources)
        Accelerators more (or fewer) than on the piece before it.
    is_last : ndarray of bool, shape (pieces,)
        Whether it is for jobs that complete in its bucket; others are for those that do later.
    early, late : ndarray of float64, shape (2, buckets + 1, pieces)
        Work per second, and its price, of a bucket's pieces up to each: of jobs that complete
        later, and of those that do in it.
    before : ndarray of float64, shape (2, buckets + 1, pieces)
        Sums of `early` over all of the time before a bucket.
    """

    bucket: IntArray
    rate: FloatArray
    slope: FloatArray
    held: FloatArray
    is_last: NDArray[np.bool_]
    early: FloatArray
    late: FloatArray
    before: FloatArray


@dataclass(frozen=True, slots=True)
class Margins:
    """The knapsacks of jobs of one class, one for each bucket they may complete in.

    The last is the time after all buckets.

    Parameters
    ----------
    groups : ndarray of int64, shape (jobs,)
        Positions in `Groups`.
    weight : float
        What a second of completion counts: 0 in buckets in which the jobs are in time.
    since_s : ndarray of float64, shape (jobs,)
        Due dates, from which on completion counts.
    pieces : Pieces
        Items.
    begin_s, length_s : ndarray of float64, shape (jobs, buckets + 1)
        From when on a job may use a bucket, and for how long.
    allowed : ndarray of bool, shape (jobs, buckets + 1)
        Whether a job may complete there, and these are the right knapsacks for it.
    cost : ndarray of float64, shape (jobs, buckets + 1)
        Of completing in that bucket; inf if it is not allowed or the work does not fit.
    last : ndarray of int64, shape (jobs, buckets + 1)
        The last piece taken, whose price per work is the knapsack's dual.
    over : ndarray of float64, shape (jobs, buckets + 1)
        Work beyond the job's that the pieces up to the last would do.
    doubt : ndarray of float64, shape (2, jobs, buckets + 1)
        What rounding can have changed of the work that fits, and of the cost, at most: of n
        floating-point additions, n units in the last place of the sum of what is added.
    """

    groups: IntArray
    weight: float
    since_s: FloatArray
    pieces: Pieces
    begin_s: FloatArray
    length_s: FloatArray
    allowed: NDArray[np.bool_]
    cost: FloatArray
    last: IntArray
    over: FloatArray
    doubt: FloatArray


def cheapest_schedules(
    groups: Groups,
    tables: Sequence[ClassTable],
    buckets: Buckets,
    prices: FloatArray,
    at_most: FloatArray | None = None,
) -> Cheapest:
    """Return the cheapest schedule of one job of each group.

    Parameters
    ----------
    groups, tables, buckets : Groups, sequence of ClassTable, Buckets
        What to plan.
    prices : ndarray of float64, shape (resources, buckets)
        Per accelerator-second, not negative.
    at_most : ndarray of float64 or None, shape (groups,)
        What it costs to leave a job out; None: none may be.
    """
    cost = np.full(len(groups), np.inf) if at_most is None else at_most.copy()
    usage = np.zeros((len(groups), prices.shape[0], len(buckets)))
    for margin in margins(groups, tables, buckets, prices):
        end = margin.cost.argmin(axis=1)
        least = margin.cost[np.arange(len(end)), end]
        better = least < cost[margin.groups]
        cost[margin.groups[better]] = least[better]
        for row in np.flatnonzero(better).tolist():
            _use(margin, row, int(end[row]), usage[margin.groups[row]])
    return Cheapest(cost, usage)


def least_costs(
    groups: Groups, tables: Sequence[ClassTable], buckets: Buckets, prices: FloatArray
) -> FloatArray:
    """Return the cost of the cheapest schedule of one job of each group."""
    cost = np.full(len(groups), np.inf)
    for margin in margins(groups, tables, buckets, prices):
        least = margin.cost.min(axis=1)
        cost[margin.groups] = np.minimum(cost[margin.groups], least)
    return cost


def margins(
    groups: Groups, tables: Sequence[ClassTable], buckets: Buckets, prices: FloatArray
) -> Iterator[Margins]:
    """Yield the knapsacks of the jobs, by kind and weight.

    Jobs that may be in time come twice: for the buckets in which they are, and for the others.
    """
    width = np.diff(buckets.edges_s)
    keys = np.stack([groups.kind.astype(np.float64), groups.weight], axis=1)
    kinds, kind_of = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(kind_of.ravel(), kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(kind_of.ravel()[order])) + 1)
    for (c, weight), every in zip(kinds.tolist(), parts, strict=True):
        table = tables[int(c)]
        due = groups.due_s[every] > np.maximum(groups.ready_s[every], buckets.edges_s[0])
        for some, each, in_time in ((every, weight, False), (every[due], 0.0, True)):
            if in_time and not len(some):
                continue
            pieces = _pieces(table, prices, each, width)
            for first in range(0, len(some), _AT_ONCE):
                batch = some[first : first + _AT_ONCE]
                yield _fill(pieces, table, groups, batch, buckets.edges_s, each, in_time)


_AT_ONCE = 256
"""Jobs whose knapsacks are solved together; more would need more memory than a cache has."""

_ULP = float(np.finfo(np.float64).eps)


def _fill(
    pieces: Pieces,
    table: ClassTable,
    groups: Groups,
    some: IntArray,
    edges_s: FloatArray,
    weight: float,
    in_time: bool,
) -> Margins:
    """Solve the knapsacks of some jobs of one kind, for buckets in time or for the others."""
    ready, work = groups.ready_s[some, None], groups.work[some, None]
    due, limit = groups.due_s[some, None], groups.limit_s[some, None]
    since = due * (not in_time)
    begin = np.maximum(edges_s, ready)
    # the time after the last edge has no end: all the work, however slowly, fits twice
    endless = begin[:, -1:] + 2.0 * work / float(table.rates.min())
    ends_at = np.broadcast_to(edges_s[1:], (len(some), len(edges_s) - 1))
    stop = np.minimum(np.concatenate([ends_at, endless], axis=1), limit)
    length = np.maximum(stop - begin, 0.0)
    allowed = ((begin < due) == in_time) & (begin < limit)
    ends = np.arange(len(edges_s))
    # the bucket that the job becomes ready in is used from then on, those after it in full
    at = np.clip(np.searchsorted(edges_s, ready, side="right") - 1, 0, len(edges_s) - 1)
    partly = np.take_along_axis(length, at, axis=1) * (at < len(edges_s) - 1)
    after = np.minimum(at + 1, len(edges_s) - 1)
    later = ends > at

    def up_to(which: int, piece: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the sum over the pieces up to `piece`, and a bound on what it was made of."""
        full = pieces.before[which][ends, piece]
        less = pieces.before[which][after, piece]
        rest = partly * pieces.early[which][at, piece] * later
        own = length * pieces.late[which][ends, piece]
        return np.maximum(full - less, 0.0) * later + rest + own, full + less + rest + own

    low = np.zeros(begin.shape, dtype=np.int64)
    top = len(pieces.slope) - 1
    high = np.full_like(low, top)
    every, made_of = up_to(0, high)
    feasible = every >= work
    for _ in range(int(top).bit_length()):
        middle = (low + high) // 2
        enough = up_to(0, middle)[0] >= work
        high = np.where(enough, middle, high)
        low = np.where(enough, low, np.minimum(middle + 1, high))
    reached, _ = up_to(0, high)
    spent, paid_of = up_to(1, high)
    slope = pieces.slope[high]
    over = np.maximum(reached - work, 0.0)
    late_s = weight * (begin - since)
    cost = np.where(feasible & allowed, late_s + spent - over * slope, np.inf)
    units = 4.0 * _ULP * (top + len(edges_s) + 8)
    late_of = weight * (begin + since)
    doubt = units * np.stack(
        [made_of + work, late_of + paid_of + slope * (reached + made_of + work)]
    )
    since_s = since.ravel()
    return Margins(some, weight, since_s, pieces, begin, length, allowed, cost, high, over, doubt)


def _use(margin: Margins, row: int, end: int, usage: FloatArray) -> None:
    """Write the resources that a job uses which completes in bucket `end`, shape as `usage`."""
    pieces = margin.pieces
    final = int(margin.last[row, end])
    bucket, is_last = pieces.bucket[: final + 1], pieces.is_last[: final + 1]
    usable = np.where(is_last, bucket == end, bucket < end)
    taken = np.where(usable, margin.length_s[row][bucket], 0.0)
    taken[final] -= margin.over[row, end] / pieces.rate[final]
    inside = np.flatnonzero((taken != 0.0) & (bucket < usage.shape[1]))
    at, held = bucket[inside], pieces.held[inside] * taken[inside, None]
    for t in range(usage.shape[0]):
        usage[t] = np.bincount(at, held[:, t], minlength=usage.shape[1])


def _pieces(table: ClassTable, prices: FloatArray, weight: float, width: FloatArray) -> Pieces:
    """Return the items of a class; those of the last bucket of a job cost its weight more."""
    buckets = prices.shape[1] + 1
    per_s = table.counts @ prices
    parts = [(*part, False) for part in _hull(table, per_s)]
    after = np.concatenate([per_s, np.zeros((len(table.rates), 1))], axis=1)
    parts += [(*part, True) for part in _hull(table, after + weight)]
    bucket = np.concatenate([part[0] for part in parts])
    rate = np.concatenate([part[1] for part in parts])
    slope = np.concatenate([part[2] for part in parts])
    held = np.concatenate([part[3] for part in parts])
    is_last = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
    order = np.argsort(slope, kind="stable")
    bucket, rate, slope, is_last = bucket[order], rate[order], slope[order], is_last[order]
    sums = np.zeros((2, 2, buckets, len(bucket)))
    kind, position = is_last.astype(np.int64), np.arange(len(bucket))
    sums[kind, 0, bucket, position] = rate
    sums[kind, 1, bucket, position] = rate * slope
    np.cumsum(sums, axis=3, out=sums)
    before = np.zeros_like(sums[0])
    np.cumsum(sums[0, :, :-1] * width[:, None], axis=1, out=before[:, 1:])
    return Pieces(bucket, rate, slope, held[order], is_last, sums[0], sums[1], before)


def _hull(
    table: ClassTable, per_s: FloatArray
) -> list[tuple[IntArray, FloatArray, FloatArray, FloatArray]]:
    """Return the pieces of the lower hull of (rate, price per second) of all buckets.

    Each round takes every bucket from the mode it is at to the one of least price per work more.
    """
    rates = np.append(0.0, table.rates)
    counts = np.concatenate([np.zeros((1, table.counts.shape[1])), table.counts])
    costs = np.concatenate([np.zeros((1, per_s.shape[1])), per_s])
    bucket = np.arange(per_s.shape[1])
    now = np.zeros(len(bucket), dtype=np.int64)
    found = []
    while len(bucket):
        gain = rates[:, None] - rates[now]
        dear = costs[:, bucket] - costs[now, bucket]
        slopes = np.where(gain > 0, dear / np.where(gain > 0, gain, 1.0), np.inf)
        then = slopes.argmin(axis=0)
        slope = slopes[then, np.arange(len(bucket))]
        more = np.isfinite(slope)
        bucket, then, now, slope = bucket[more], then[more], now[more], slope[more]
        if len(bucket):
            found.append((bucket, rates[then] - rates[now], slope, counts[then] - counts[now]))
        now = then
    return found


def cheapest_service(service: Served, prices: FloatArray) -> tuple[float, FloatArray]:
    """Return what serving the requests costs at least, and in which use of resources.

    Parameters
    ----------
    service : Served
        Replicas and requests; those that may go without are the ones that cost most.
    prices : ndarray of float64, shape (resources, buckets)
        Per accelerator-second or joule.
    """
    table = service.table
    per_request = table.counts @ prices / table.rates[:, None]
    mode = per_request.argmin(axis=0)
    dear = np.argsort(-per_request.min(axis=0), kind="stable")
    before = np.concatenate([[0.0], np.cumsum(service.asked[dear])[:-1]])
    left_out = np.clip(service.spared - before, 0.0, service.asked[dear])
    kept = service.asked.copy()
    kept[dear] -= left_out
    seconds = kept / table.rates[mode]
    return float((per_request.min(axis=0) * kept).sum()), table.counts[mode].T * seconds
