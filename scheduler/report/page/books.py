"""The ledger over time: accelerator-seconds by pool or type, cause and hour.

The run's own ledger is one sum over the whole period. Here the same definitions are applied
again, hour by hour, from what the run recorded; summed over the hours they give the ledger
back, which the page checks and says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Final

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray
from scheduler.report.page.bins import Bins
from scheduler.report.page.history import History
from scheduler.report.page.sharers import Sharers
from scheduler.simulate.idle import IdleBook
from scheduler.simulate.power_meter import PowerMeter
from scheduler.verify.facts import Hold
from scheduler.verify.services import Serving
from scheduler.verify.shares import is_share

_HOLD, _OUT, _WANT, _EDGE = range(4)
"""What changes: accelerators held, out of use, a wait; or a bin ends."""

_ROUNDS: Final = 200


def ledger_over_time(history: History, bins: Bins) -> FloatArray:
    """Return accelerator-seconds by pool, cause and bin, shape (pools, causes, bins)."""
    return idle_over_time(history, bins) + held_over_time(history, bins)


def reconciled(by_pool: FloatArray, run: Run) -> FloatArray:
    """Return the hours brought into line with the ledger.

    Where rights that differ from job to job (quotas, reservations) decide a cause, the hours
    are only close to it. Each row of a pool is then scaled to the ledger's sum, and each bin
    back to the pool's capacity, in turn until both hold (iterative proportional fitting:
    Deming and Stephan, "On a least squares adjustment of a sampled frequency table", Annals
    of Mathematical Statistics 11(4), 1940).
    """
    due = run.ledger.amount_us / US_PER_S
    if by_pool.shape[:2] != due.shape or np.allclose(by_pool.sum(axis=2), due, atol=1e-2):
        return by_pool
    capacity = by_pool.sum(axis=1, keepdims=True)
    fitted = np.maximum(by_pool, 0.0)
    fitted += 1e-9 * capacity * (due > 0)[:, :, None]
    for _ in range(_ROUNDS):
        sums = fitted.sum(axis=2)
        fitted *= np.divide(due, sums, out=np.zeros_like(due), where=sums > 0)[:, :, None]
        sums = fitted.sum(axis=1, keepdims=True)
        fitted *= np.divide(capacity, sums, out=np.zeros_like(sums), where=sums > 0)
    return fitted


def idle_over_time(history: History, bins: Bins) -> FloatArray:
    """Return idle accelerator-seconds by pool, cause and bin, shape (pools, causes, bins).

    The changes of the fleet are gone through in the order of time, and the free
    accelerators classified after each, as the ledger defines it.
    """
    problem = history.problem
    layout = Layout(problem)
    sharers = Sharers(history, layout) if problem.shares else None
    occupancy = sharers.occupancy if sharers else Occupancy(layout)
    meter = PowerMeter(problem, layout)
    book = IdleBook(problem, layout, occupancy, meter.allows, meter.spare_w)
    waiting: dict[int, int] = {}
    room = list(history.facts.node_size)
    out = np.zeros((len(problem.pools), len(Cause), bins.count))
    before: FloatArray = np.zeros((len(problem.pools), len(Cause)))
    edge = 0
    for at_us, changes in groupby(sorted(_changes(history, bins)), key=itemgetter(0)):
        occupancy.now_us = at_us
        touched: set[int] = set()
        for _, kind, subject, amount in changes:
            if kind == _EDGE:
                sums = book.close(at_us).astype(np.float64)
                if sharers:
                    sums += sharers.left_us(at_us)
                out[:, :, edge] = (sums - before) / US_PER_S
                before, edge = sums, edge + 1
            elif kind == _HOLD:
                hold = history.holds[subject]
                meter.add(hold.mode, hold.placement, amount)
                touched.update(hold.placement.nodes)
                if sharers and is_share(hold.mode):
                    sharers.note(subject, amount)
                    continue
                for node, count in hold.held:
                    room[node] -= amount * count
            elif kind == _OUT:
                room[subject] -= amount
                touched.add(subject)
            else:
                waiting[subject] = waiting.get(subject, 0) + amount
                if not waiting[subject]:
                    del waiting[subject]
        if sharers:
            sharers.leave()
        for node in sorted(touched):
            now_free = max(0, room[node] - (sharers.open_on(node) if sharers else 0))
            if now_free != occupancy.free[node]:
                occupancy.withhold(node, occupancy.free[node] - now_free)
        jobs = {key: count for key, count in waiting.items() if key >= 0}
        short = frozenset(-1 - key for key in waiting if key < 0)
        if sharers:
            sharers.come()
            sharers.refresh(at_us, jobs, short, meter)
        book.refresh(at_us, jobs, short)
    return out


def _changes(history: History, bins: Bins) -> Iterator[tuple[int, int, int, int]]:
    """Yield (instant, kind, subject, amount) of every change, in any order."""
    end_us = history.end_us
    yield 0, _OUT, 0, 0  # a first instant, at which nothing may have happened yet
    for number, hold in enumerate(history.holds):
        yield hold.start_us, _HOLD, number, 1
        if hold.end_us < end_us:
            yield hold.end_us, _HOLD, number, -1
    for node, start_us, until_us, count in history.out_of_use():
        yield start_us, _OUT, node, count
        if until_us < end_us:
            yield until_us, _OUT, node, -count
    for want in history.wants:
        if want.end_us > want.start_us:
            yield want.start_us, _WANT, want.key, 1
            yield want.end_us, _WANT, want.key, -1
    for edge_us in bins.edges_us[1:].tolist():
        yield edge_us, _EDGE, 0, 0


def held_over_time(history: History, bins: Bins) -> FloatArray:
    """Return held and down accelerator-seconds by pool, cause and bin.

    What an allocation books to a cause is spread evenly over its time after the start.

    Returns
    -------
    ndarray of float64, shape (pools, causes, bins)
        Zero in the columns of idle causes.
    """
    facts = history.facts
    rows: list[tuple[int, int, float, int]] = []
    for hold in history.holds:
        pools = _by_pool(history, hold)
        ready_us = hold.start_us + hold.overhead_us
        for start_us, end_us, cause, share in _parts(hold, ready_us, history.servings):
            rows += [(start_us, end_us, n * share, p * len(Cause) + cause) for p, n in pools]
    for node, start_us, end_us, count in history.out_of_use():
        group = facts.node_pool[node] * len(Cause) + Cause.DOWN
        rows.append((start_us, end_us, count, group))
    pools_count = len(history.problem.pools)
    groups = pools_count * len(Cause)
    if not rows:
        return np.zeros((pools_count, len(Cause), bins.count))
    start, end, rate, group_of = (np.array(column) for column in zip(*rows, strict=True))
    booked = bins.amounts(start, end, rate.astype(np.float64), group_of, groups)
    return booked.reshape(pools_count, len(Cause), bins.count)


def _by_pool(history: History, hold: Hold) -> list[tuple[int, float]]:
    pools: dict[int, float] = {}
    for node, count in hold.held:
        pool = history.facts.node_pool[node]
        pools[pool] = pools.get(pool, 0) + count * hold.mode.share_milli / WHOLE_MILLI
    return list(pools.items())


def _parts(
    hold: Hold, ready_us: int, servings: tuple[Serving, ...]
) -> Iterator[tuple[int, int, int, float]]:
    """Yield start, end, cause and share of the held accelerators, as the ledger splits them."""
    yield hold.start_us, ready_us, Cause.RECONFIGURATION, 1.0
    efficiency = hold.mode.rate / hold.mode.best_rate
    if hold.job >= 0:
        lost = hold.lost_work / hold.work if hold.work > 0 else 0.0
        kept = (1 - lost) * (1 - hold.mode.straggler)
        for cause, share in (
            (Cause.LOST, lost),
            (Cause.STRAGGLER, (1 - lost) * hold.mode.straggler),
            (Cause.PRODUCTIVE, kept * efficiency),
            (Cause.COMMUNICATION, kept * (1 - efficiency)),
        ):
            if share > 0:
                yield ready_us, hold.end_us, cause, share
        return
    for start_us, end_us, used in used_shares(servings[hold.service], ready_us, hold.end_us):
        yield start_us, end_us, Cause.PRODUCTIVE, used * efficiency
        yield start_us, end_us, Cause.COMMUNICATION, used * (1 - efficiency)
        yield start_us, end_us, Cause.HEADROOM, 1 - used


def used_shares(serving: Serving, start_us: int, end_us: int) -> Iterator[tuple[int, int, float]]:
    """Yield pieces of an interval with the share of a service's capacity that is used."""
    at_us = serving.at_us
    first = max(0, int(np.searchsorted(at_us, start_us, side="right")) - 1)
    for (a, b), (u, v) in zip(
        pairwise(at_us[first:]), pairwise(serving.used_us[first:]), strict=True
    ):
        if a >= end_us:
            return
        yield max(a, start_us), min(b, end_us), min(1.0, (v - u) / (b - a))
