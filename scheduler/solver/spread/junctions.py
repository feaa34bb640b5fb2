"""Where a chain crosses from one region into the next: enough thin links side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from scheduler.core.spread import SpreadInstance
from scheduler.solver.spread.groups import Group
from scheduler.solver.spread.segments import Junction

MOST_WIDE = 4
"""Machines on the wider side of a junction."""


def junctions_between(
    instance: SpreadInstance, groups: Sequence[Group], sender: int, receiver: int, flow: float
) -> list[Junction]:
    """Return the ways to hand `flow` tokens/s from region `sender` to region `receiver`.

    Of the ways that use the same kinds of machine and hold the same layers, the one with the
    widest links.
    """
    group_of = {m: g for g, group in enumerate(groups) for m in group.machines}
    out = [m for m, g in sorted(group_of.items()) if groups[g].region == sender]
    into = [m for m, g in sorted(group_of.items()) if groups[g].region == receiver]
    best: dict[tuple[tuple[tuple[int, int], ...], int, int], tuple[float, Junction]] = {}
    for senders, receivers in _sets(instance, group_of, out, into, flow):
        for k_out, k_in, width in _heights(instance, groups, group_of, senders, receivers, flow):
            counts: dict[int, int] = {}
            for m in (*senders, *receivers):
                counts[group_of[m]] = counts.get(group_of[m], 0) + 1
            uses = tuple(sorted(counts.items()))
            key = (uses, k_out, k_in)
            if key not in best or width > best[key][0]:
                best[key] = (width, Junction(senders, receivers, k_out, k_in, uses))
    return _undominated([j for _, (_, j) in sorted(best.items())])


def _undominated(junctions: list[Junction]) -> list[Junction]:
    """Keep, of the junctions that use the same machines, those of most layers."""
    most: dict[tuple[tuple[int, int], ...], Junction] = {}
    for junction in junctions:
        known = most.get(junction.uses)
        if known is None or junction.layers > known.layers:
            most[junction.uses] = junction
    return list(most.values())


def _sets(
    instance: SpreadInstance,
    group_of: dict[int, int],
    out: list[int],
    into: list[int],
    flow: float,
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield sets of senders and receivers whose links carry `flow`, none wider than it must be."""
    links = instance.links[np.ix_(out, into)]
    top = -np.sort(-links, axis=1)
    for many in range(1, MOST_WIDE + 1):
        for senders in _widest(links.sum(axis=1), group_of, out, many):
            rows = [out.index(m) for m in senders]
            joint = links[rows].sum(axis=0)
            order = np.sort(joint)[::-1].cumsum()
            least = int(np.searchsorted(order, flow)) + 1
            if many > 1 and float(top[rows, :1].sum()) >= flow:
                continue  # one receiver would do, which the loop below yields
            if least <= MOST_WIDE:
                for receivers in _widest(joint, group_of, into, least):
                    yield senders, receivers
    for b in range(len(into)):
        order = np.sort(links[:, b])[::-1].cumsum()
        least = int(np.searchsorted(order, flow)) + 1
        if least <= MOST_WIDE:
            for senders in _widest(links[:, b], group_of, out, least):
                yield senders, (into[b],)
    if float(top[:, :MOST_WIDE].sum(axis=1).max(initial=0.0)) >= flow:
        for a in range(len(out)):
            least = int(np.searchsorted(top[a].cumsum(), flow)) + 1
            if least <= MOST_WIDE:
                for receivers in _widest(links[a], group_of, into, least):
                    yield (out[a],), receivers


def _widest(
    links: np.ndarray, group_of: dict[int, int], machines: list[int], size: int
) -> Iterator[tuple[int, ...]]:
    """Yield, for each multiset of `size` machines of at most two groups, those of widest links.

    `links` goes with `machines`, entry by entry.
    """
    by_group: dict[int, list[int]] = {}
    for i in np.argsort(-links, kind="stable").tolist():
        if links[i] > 0:
            by_group.setdefault(group_of[machines[i]], []).append(machines[i])
    names = sorted(by_group)
    for name in names:
        if len(by_group[name]) >= size:
            yield tuple(sorted(by_group[name][:size]))
    for one, other in combinations(names, 2):
        for n in range(1, size):
            if len(by_group[one]) >= n and len(by_group[other]) >= size - n:
                yield tuple(sorted((*by_group[one][:n], *by_group[other][: size - n])))


def _heights(
    instance: SpreadInstance,
    groups: Sequence[Group],
    group_of: dict[int, int],
    senders: tuple[int, ...],
    receivers: tuple[int, ...],
    flow: float,
) -> Iterator[tuple[int, int, float]]:
    """Yield (layers of the senders, of the receivers, link rate) that carry `flow`."""
    links = instance.links[np.ix_(senders, receivers)]
    width = float(links.sum())
    if width < flow:
        return
    k_out = _most_layers(groups, [group_of[m] for m in senders], links.sum(axis=1), flow)
    k_in = _most_layers(groups, [group_of[m] for m in receivers], links.sum(axis=0), flow)
    if k_out and k_in:
        yield k_out, k_in, width


def _most_layers(
    groups: Sequence[Group], members: list[int], links: np.ndarray, flow: float
) -> int:
    """Return the most layers at which the machines, each behind its links, carry `flow`."""
    most = min(len(groups[g].rates) for g in members)
    for layers in range(most, 0, -1):
        carried = sum(
            min(groups[g].rate(layers), float(c)) for g, c in zip(members, links, strict=True)
        )
        if carried >= flow:
            return layers
    return 0
