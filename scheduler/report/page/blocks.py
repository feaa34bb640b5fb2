"""The largest idle blocks: which accelerators, when, why, and which jobs are around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.units import US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.report.page.bins import Bins
from scheduler.report.page.history import History

MOST_BLOCKS: Final = 40
SHOWN_JOBS: Final = 5


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes of one pool that stood partly or wholly free over one interval.

    Parameters
    ----------
    pool : int
        Position in `Problem.pools`.
    nodes : tuple of int
        Node indices, ascending.
    start_us, end_us : int
        From when the first accelerator came free to when none was.
    idle_s : float
        Accelerator-seconds that were free.
    causes : tuple of (Cause, float)
        Accelerator-seconds by cause of what was free in this pool at the time, largest first.
    before, after : tuple of int
        Jobs whose end began the block, and whose start ended it.
    waiting : tuple of int
        Jobs that waited meanwhile and have a mode on this type, longest wait first.
    waiting_count : int
        How many there were.
    unable : tuple of int
        Jobs that waited meanwhile and have no mode on this type, longest wait first.
    unable_count : int
        How many there were.
    """

    pool: int
    nodes: tuple[int, ...]
    start_us: int
    end_us: int
    idle_s: float
    causes: tuple[tuple[Cause, float], ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    waiting: tuple[int, ...]
    waiting_count: int
    unable: tuple[int, ...] = ()
    unable_count: int = 0

    @property
    def caused_by(self) -> tuple[tuple[int, ...], int]:
        """Return the jobs whose wants the largest cause speaks of, and how many there were.

        Where it is `incompatible`, those that waited and may not use the type; where nothing
        waited (`no_demand`), none; else those that waited and may.
        """
        cause = self.causes[0][0] if self.causes else Cause.NO_DEMAND
        if cause is Cause.NO_DEMAND:
            return (), 0
        if cause is Cause.INCOMPATIBLE and self.unable_count:
            return self.unable, self.unable_count
        return self.waiting, self.waiting_count


def largest_blocks(
    history: History, bins: Bins, by_pool: FloatArray, most: int = MOST_BLOCKS
) -> list[Block]:
    """Return the blocks with the most idle accelerator-seconds, largest first.

    Parameters
    ----------
    history : History
        What happened.
    bins : Bins
        Bins of `by_pool`.
    by_pool : ndarray of float64, shape (pools, causes, bins)
        The ledger over time.
    most : int
        Blocks at most.
    """
    merged: dict[tuple[int, int, int], tuple[list[int], float]] = {}
    for node, start_us, end_us, idle_s in _free_spans(history):
        key = (history.facts.node_pool[node], start_us, end_us)
        nodes, sum_s = merged.get(key, ([], 0.0))
        merged[key] = ([*nodes, node], sum_s + idle_s)
    largest = sorted(merged.items(), key=lambda item: (-item[1][1], item[0]))[:most]
    by_end, by_start = _neighbours(history)
    waits = np.array(
        [(w.job, w.start_us, w.end_us, w.key) for w in history.waits], dtype=np.int64
    ).reshape(-1, 4)
    return [
        Block(
            pool,
            tuple(nodes),
            start_us,
            end_us,
            idle_s,
            _causes(bins, by_pool[pool], start_us, end_us),
            _jobs_of(by_end, nodes, start_us),
            _jobs_of(by_start, nodes, end_us),
            *_waiting(history, waits, pool, start_us, end_us),
        )
        for (pool, start_us, end_us), (nodes, idle_s) in largest
    ]


def _free_spans(history: History) -> Iterator[tuple[int, int, int, float]]:
    """Yield node, start, end and free accelerator-seconds of every maximal span with room."""
    facts = history.facts
    changes: list[list[tuple[int, int]]] = [[] for _ in facts.node_ids]
    for hold in history.holds:
        for node, count in hold.held:
            milli = count * hold.mode.share_milli
            changes[node] += ((hold.start_us, -milli), (hold.end_us, milli))
    for node, start_us, end_us, count in history.out_of_use():
        milli = count * WHOLE_MILLI
        changes[node] += ((start_us, -milli), (end_us, milli))
    for node, steps in enumerate(changes):
        steps.sort()
        free, since, area = facts.node_size[node] * WHOLE_MILLI, 0, 0
        last = opened = 0
        for at, change in [*steps, (history.end_us, -(1 << 40))]:
            if at > last:
                if free > 0:
                    area += free * (at - last)
                    since = last if not opened else since
                    opened = 1
                elif opened:
                    yield node, since, last, area / WHOLE_MILLI / US_PER_S
                    area = opened = 0
                last = at
            free += change
        if opened:
            yield node, since, history.end_us, area / WHOLE_MILLI / US_PER_S


Neighbours = dict[tuple[int, int], list[int]]


def _neighbours(history: History) -> tuple[Neighbours, Neighbours]:
    """Return the jobs that ended, and that started, by node and instant."""
    by_end: Neighbours = {}
    by_start: Neighbours = {}
    for hold in history.holds:
        if hold.job >= 0:
            for node in hold.placement.nodes:
                by_end.setdefault((node, hold.end_us), []).append(hold.job)
                by_start.setdefault((node, hold.start_us), []).append(hold.job)
    return by_end, by_start


def _jobs_of(found: Neighbours, nodes: Sequence[int], at_us: int) -> tuple[int, ...]:
    jobs = dict.fromkeys(job for node in nodes for job in found.get((node, at_us), ()))
    return tuple(jobs)[:SHOWN_JOBS]


def _causes(
    bins: Bins, amounts: FloatArray, start_us: int, end_us: int
) -> tuple[tuple[Cause, float], ...]:
    first = start_us // bins.width_us
    last = min(bins.count, -(-end_us // bins.width_us))
    sums = amounts[:, first:last].sum(axis=1)
    found = [(c, float(sums[c])) for c in IDLE_CAUSES if sums[c] > 0]
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def _waiting(
    history: History, waits: IntArray, pool: int, start_us: int, end_us: int
) -> tuple[tuple[int, ...], int, tuple[int, ...], int]:
    """Return who waited meanwhile and could use the type, and who could not.

    The longest overlap comes first. One of an array that has no turn yet may use nothing.
    """
    kind = history.problem.pools[pool].type_index
    modes_of = history.problem.modes
    can = [any(g.type_index == kind for m in modes for g in m.groups) for modes in modes_of]
    able = np.append(np.array(can, dtype=bool), False)  # the last stands for HELD_BACK
    if not len(waits):
        return (), 0, (), 0
    overlap = np.minimum(waits[:, 2], end_us) - np.maximum(waits[:, 1], start_us)
    may_use = able[np.minimum(waits[:, 3], len(modes_of))]
    found: list[tuple[tuple[int, ...], int]] = []
    for who in (may_use, ~may_use):
        chosen = np.flatnonzero((overlap > 0) & who)
        order = chosen[np.lexsort((waits[chosen, 0], -overlap[chosen]))]
        jobs = list(dict.fromkeys(waits[order, 0].tolist()))
        found.append((tuple(jobs[:SHOWN_JOBS]), len(jobs)))
    return (*found[0], *found[1])
