"""The cheapest schedule of one job at given prices.

A job that completes in bucket e pays its weight for every second until then, and the price of
what it holds in each bucket. Up to e it may use all time, in e each second used costs its
weight more; which modes in which buckets is a continuous knapsack: cheapest work first. Within
a bucket the modes worth using are the lower hull of (rate, price per second), whose pieces are
the knapsack's items. The least over e is the cheapest schedule, exactly, in continuous time:
prices that are constant within buckets lose nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.groups import Buckets, Groups
from scheduler.solver.plan.resources import ClassTable


@dataclass(frozen=True, slots=True)
class Cheapest:
    """Cheapest schedules, one per group.

    Parameters
    ----------
    cost : ndarray of float64, shape (groups,)
        Weighted completion and the price of what is held, of one job.
    usage : ndarray of float64, shape (groups, resources, buckets)
        Accelerator-seconds of one job.
    """

    cost: FloatArray
    usage: FloatArray


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Items of the knapsack of a class, cheapest first.

    Parameters
    ----------
    bucket : ndarray of int64, shape (pieces,)
        Where.
    rate : ndarray of float64, shape (pieces,)
        Work per second.
    slope : ndarray of float64, shape (pieces,)
        Price per work.
    held : ndarray of float64, shape (pieces, resources)
        Accelerators more (or fewer) than on the piece before it.
    usable : ndarray of bool, shape (buckets + 1, pieces)
        Whether a job that completes in that bucket may use it.
    """

    bucket: IntArray
    rate: FloatArray
    slope: FloatArray
    held: FloatArray
    usable: FloatArray


def cheapest_schedules(
    groups: Groups, tables: list[ClassTable], buckets: Buckets, prices: FloatArray
) -> Cheapest:
    """Return the cheapest schedule of one job of each group.

    Parameters
    ----------
    groups, tables, buckets : Groups, list of ClassTable, Buckets
        What to plan.
    prices : ndarray of float64, shape (resources, buckets)
        Per accelerator-second, not negative.
    """
    cost = np.zeros(len(groups))
    usage = np.zeros((len(groups), prices.shape[0], len(buckets)))
    every = margins(groups, tables, buckets, prices, usage)
    for g, margin in enumerate(every):
        cost[g] = float(margin.cost.min())
    return Cheapest(cost, usage)


@dataclass(frozen=True, slots=True)
class Margins:
    """The knapsacks of one job, one for each bucket it may complete in and the time after.

    Parameters
    ----------
    begin_s, length_s : ndarray of float64, shape (buckets + 1,)
        From when on it may use a bucket, and for how long.
    cost : ndarray of float64, shape (buckets + 1,)
        Of completing in that bucket; inf if the work does not fit.
    slope : ndarray of float64, shape (buckets + 1,)
        Price per work of the last piece: the knapsack's dual.
    """

    begin_s: FloatArray
    length_s: FloatArray
    cost: FloatArray
    slope: FloatArray


def margins(
    groups: Groups,
    tables: list[ClassTable],
    buckets: Buckets,
    prices: FloatArray,
    usage: FloatArray | None = None,
) -> Iterator[Margins]:
    """Yield the knapsacks of each group in turn; write usages where asked for."""
    made: dict[tuple[int, float], _Pieces] = {}
    for g in range(len(groups)):
        key = int(groups.class_index[g]), float(groups.weight[g])
        pieces = made.get(key)
        if pieces is None:
            pieces = made[key] = _pieces(tables[key[0]], prices, key[1])
        begin = np.maximum(buckets.edges_s, float(groups.ready_s[g]))
        length = np.maximum(buckets.edges_s[1:] - begin[:-1], 0.0)
        # the time after the last edge has no end: all the work, however slowly, fits twice
        length = np.append(length, 2.0 * float(groups.work[g]) / float(tables[key[0]].rates.min()))
        into = None if usage is None else usage[g]
        yield _fill(pieces, key[1], float(groups.work[g]), begin, length, into)


def _fill(
    pieces: _Pieces,
    weight: float,
    work: float,
    begin: FloatArray,
    length: FloatArray,
    usage: FloatArray | None,
) -> Margins:
    """Solve the knapsacks of one job; write the usage of the cheapest."""
    seconds = length[pieces.bucket]
    offered = seconds * pieces.rate
    reached = np.cumsum(pieces.usable * offered, axis=1)
    last = (reached >= work).argmax(axis=1)
    buckets = np.arange(len(reached))
    feasible = reached[buckets, last] >= work
    spent = np.cumsum(pieces.usable * (offered * pieces.slope), axis=1)
    over = reached[buckets, last] - work
    cost = weight * begin + spent[buckets, last] - over * pieces.slope[last]
    cost = np.where(feasible, cost, np.inf)
    margin = Margins(begin, length, cost, pieces.slope[last])
    if usage is None:
        return margin
    end = int(cost.argmin())
    final = int(last[end])
    taken = pieces.usable[end, : final + 1] * seconds[: final + 1]
    taken[final] -= over[end] / pieces.rate[final]
    at = pieces.bucket[: final + 1]
    inside = at < usage.shape[1]
    held = pieces.held[: final + 1] * taken[:, None]
    for t in range(usage.shape[0]):
        usage[t] = np.bincount(at[inside], held[inside, t], minlength=usage.shape[1])
    return margin


def _pieces(table: ClassTable, prices: FloatArray, weight: float) -> _Pieces:
    """Return the items of a class; those of the last bucket of a job cost its weight more."""
    buckets = prices.shape[1] + 1
    per_s = np.concatenate([table.counts @ prices, np.zeros((len(table.rates), 1))], axis=1)
    parts = [(*part, False) for part in _hull(table, per_s)]
    parts += [(*part, True) for part in _hull(table, per_s + weight)]
    bucket = np.concatenate([part[0] for part in parts])
    rate = np.concatenate([part[1] for part in parts])
    slope = np.concatenate([part[2] for part in parts])
    held = np.concatenate([part[3] for part in parts])
    is_last = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
    order = np.argsort(slope, kind="stable")
    bucket, rate, slope = bucket[order], rate[order], slope[order]
    ends = np.arange(buckets)[:, None]
    usable = np.where(is_last[order], bucket == ends, bucket < ends)
    return _Pieces(bucket, rate, slope, held[order], usable.astype(np.float64))


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


def cheapest_service(
    table: ClassTable, requests: FloatArray, prices: FloatArray
) -> tuple[float, FloatArray]:
    """Return what serving all requests costs at least, and in which use of resources.

    Parameters
    ----------
    table : ClassTable
        Replicas; rates in requests per second.
    requests : ndarray of float64, shape (buckets,)
        To be served in each.
    prices : ndarray of float64, shape (resources, buckets)
        Per accelerator-second or joule.
    """
    per_request = table.counts @ prices / table.rates[:, None]
    mode = per_request.argmin(axis=0)
    seconds = requests / table.rates[mode]
    return float((per_request.min(axis=0) * requests).sum()), table.counts[mode].T * seconds
