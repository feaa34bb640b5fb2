"""A placement round of thousands of nodes and jobs, by the counted sizes of `solver.scale`.

What runs may stay, move or stop, so its accelerators count as free and keeping it is one of
its options. The counts say who runs, in which mode; nodes are then found by the exact rules,
with everything that stays left in place. What the counts cannot say exactly (gangs of mixed
types or of several slots that are not whole nodes, domains above the innermost) they say
either not at all or too well, so that the exact rules have the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode
from scheduler.core.run import Placement
from scheduler.solver.greedy_round import improved
from scheduler.solver.round_types import Candidate, Option, RoundAnswer
from scheduler.solver.scale.columns import NODE, POD, SPAN, Fleet, Options, PriceList, Round
from scheduler.solver.scale.deciding import decide

ENOUGH: Final = 5e-3
"""Gap of the counts that is left alone: keeping gangs in place costs as much."""

COUNTING_TIME: Final = 0.1
"""Deterministic time limit of the counts."""

MOST_SEARCHES: Final = 200
"""Searches, after the counts, for gangs that should make way."""

_KEEP: Final = -1


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Accelerator types told apart by node size, as `solver.scale` wants them.

    Parameters
    ----------
    of_pool : list of int
        Kind of each pool.
    of_type : dict of int to list of int
        Kinds of each type.
    size : list of int
        Accelerators of a node of each kind.
    """

    of_pool: list[int]
    of_type: dict[int, list[int]]
    size: list[int]


def large_round(
    layout: Layout,
    occupancy: Occupancy,
    candidates: Sequence[Candidate],
    bound: float,
    start: PriceList | None = None,
) -> tuple[RoundAnswer, PriceList]:
    """Choose which candidates run now, in which mode and where.

    Parameters
    ----------
    layout, occupancy, candidates
        As for `solve_round`.
    bound : float
        From `Prices.search`; the counts' own bound holds only where they are exact.
    start : PriceList or None
        Prices of the last round.

    Returns
    -------
    RoundAnswer
        Feasible, with that bound.
    PriceList
        For the next round.
    """
    kinds = _kinds(layout)
    rows: list[tuple[int, int, int]] = []  # kind, count, level
    worth: list[float] = []
    which: list[tuple[int, int]] = []  # candidate, position of its option or _KEEP
    first = [0]
    fixed: list[Candidate] = []
    asked: list[int] = []
    known: dict[int, list[tuple[int, int, int]]] = {}  # a few hundred modes, ten thousand options
    for c, candidate in enumerate(candidates):
        held = candidate.held
        if held is not None:
            row = _held_row(layout, kinds, held.placement)
            if row is None:
                fixed.append(candidate)
                continue
            rows.append(row)
            worth.append(held.utility)
            which.append((c, _KEEP))
        for o, option in enumerate(candidate.options):
            sizes = known.get(id(option.shape))
            if sizes is None:
                sizes = known[id(option.shape)] = _option_rows(kinds, option.shape)
            for row in sizes:
                rows.append(row)
                worth.append(option.utility)
                which.append((c, o))
        asked.append(c)
        first.append(len(rows))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 3)
    options = Options(
        np.array(first, dtype=np.int64), table[:, 0], table[:, 1], table[:, 2], np.array(worth)
    )
    fleet = _fleet(layout, occupancy, kinds, [candidates[c] for c in asked])
    found = decide(
        Round(fleet, options), start=start, enough=ENOUGH, deterministic_time=COUNTING_TIME
    )
    chosen = [which[o] for o in found.option.tolist() if o >= 0]
    answer = _placed(layout, occupancy, candidates, fixed, chosen, bound)
    return answer, found.prices


def _kinds(layout: Layout) -> _Kinds:
    index: dict[tuple[int, int], int] = {}
    of_pool = []
    for pool, t in enumerate(layout.pool_type):
        of_pool.append(index.setdefault((t, layout.pool_size[pool]), len(index)))
    of_type: dict[int, list[int]] = {}
    for (t, _), kind in index.items():
        of_type.setdefault(t, []).append(kind)
    return _Kinds(of_pool, of_type, [size for _, size in index])


def _held_row(layout: Layout, kinds: _Kinds, placement: Placement) -> tuple[int, int, int] | None:
    """Return a placement as a size, if it is a slot or whole nodes of one kind."""
    pools = {layout.node_pool[node] for node in placement.nodes}
    found = {kinds.of_pool[pool] for pool in pools}
    if len(found) > 1:
        return None
    kind = found.pop()
    if len(placement.nodes) == 1:
        return kind, placement.counts[0], NODE
    if any(count != kinds.size[kind] for count in placement.counts):
        return None
    return kind, sum(placement.counts), SPAN


def _option_rows(kinds: _Kinds, mode: Mode) -> list[tuple[int, int, int]]:
    """Return a mode as a size of each kind of its type that it may run on."""
    if len(mode.groups) > 1:
        return []
    group = mode.groups[0]
    found = []
    for kind in kinds.of_type.get(group.type_index, ()):
        size = kinds.size[kind]
        if len(group.slots) == 1:
            if group.count <= size:
                found.append((kind, group.count, NODE))
        else:  # smaller slots share nodes and mostly fill them; what is left over is not counted
            whole = -(-group.count // size) * size
            found.append((kind, whole, POD if mode.level == 1 else SPAN))
    return found


def _fleet(
    layout: Layout, occupancy: Occupancy, kinds: _Kinds, candidates: Sequence[Candidate]
) -> Fleet:
    """Return the nodes with what the candidates hold counted as free."""
    free = occupancy.free.copy()
    for candidate in candidates:
        if candidate.held is not None:
            placement = candidate.held.placement
            for node, count in zip(placement.nodes, placement.counts, strict=True):
                if node not in occupancy.down:
                    free[node] += count
    pools = layout.problem.pools
    inner = [pool.domains[0] if pool.domains else 0 for pool in pools]
    usable = [n for n in range(len(free)) if pools[layout.node_pool[n]].size > 0]
    of_node = [layout.node_pool[n] for n in usable]
    return Fleet(
        np.array(kinds.size, dtype=np.int64),
        np.array([kinds.of_pool[p] for p in of_node], dtype=np.int64),
        np.array([inner[p] for p in of_node], dtype=np.int64),
        np.array([free[n] for n in usable], dtype=np.int64),
    )


def _placed(
    layout: Layout,
    occupancy: Occupancy,
    candidates: Sequence[Candidate],
    fixed: Sequence[Candidate],
    chosen: Sequence[tuple[int, int]],
    bound: float,
) -> RoundAnswer:
    """Leave in place what stays, then find nodes for the rest, wide gangs first.

    Gangs left in place may lie across the nodes that a new one was counted on, and what is
    worth little hardly counts: a pass by worth per accelerator sees to both.
    """
    scratch = occupancy.copy()
    kept = {c.job: c for c in fixed}
    starts: dict[int, tuple[Option, Placement]] = {}
    stays = {candidates[c].job for c, o in chosen if o == _KEEP}
    may_go = []
    for candidate in candidates:
        if candidate.held is not None and candidate.job not in kept:
            if candidate.job in stays:
                kept[candidate.job] = candidate
            else:
                scratch.give(candidate.held.placement)
                may_go.append(candidate)
    news = [(candidates[c], candidates[c].options[o]) for c, o in chosen if o != _KEEP]
    news.sort(key=lambda new: (-new[1].shape.count, -new[1].utility, new[0].job))
    for candidate, option in news:
        placement = scratch.find(option.shape)
        if placement is not None:
            scratch.take(placement)
            starts[candidate.job] = option, placement
    for candidate in sorted(may_go, key=_held_density, reverse=True):
        held = candidate.held
        assert held is not None
        if candidate.job not in starts and scratch.fits(held.placement):
            scratch.take(held.placement)
            kept[candidate.job] = candidate
    return improved(layout, scratch, candidates, kept, starts, bound, most_searches=MOST_SEARCHES)


def _held_density(candidate: Candidate) -> tuple[float, int]:
    assert candidate.held is not None
    return candidate.held.utility / sum(candidate.held.placement.counts), candidate.job
