"""From a chain of segments to stages of machines, wired so that their links carry the flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.spread import Interval, SpreadInstance
from scheduler.solver.spread.groups import Group
from scheduler.solver.spread.segments import Chain, Segment

Stage = tuple[tuple[int, ...], int]
"""Machines that hold the same layers, and how many."""

_MOVES = 4000
_WARMTH = 0.05
"""Start temperature of the wiring search, as a share of the flow."""


def stages_of(
    instance: SpreadInstance, groups: Sequence[Group], chain: Chain, order: Sequence[int] = (0,)
) -> list[Stage]:
    """Return the chain's stages: regions in `order`, inside a region wide segments first.

    Layers beyond the model's are taken off the end of the chain.
    """
    group_of = {m: g for g, group in enumerate(groups) for m in group.machines}
    reserved = {m for j in chain.junctions for m in (*j.senders, *j.receivers)}
    free = {g: [m for m in group.machines if m not in reserved] for g, group in enumerate(groups)}
    used: set[int] = set()
    stages: list[Stage] = []
    for place, region in enumerate(order):
        before = chain.junctions[place - 1] if place else None
        after = chain.junctions[place] if place < len(chain.junctions) else None
        if before is not None:
            stages.append((_settle(before.receivers, used, free, group_of), before.receiver_layers))
        inside = [(s, n) for s, n in chain.segments if groups[s.counts[0][0]].region == region]
        for segment, times in sorted(inside, key=lambda e: (-e[0].machines, e[0].counts)):
            stages += [(_draw(segment, free), segment.layers) for _ in range(times)]
        if after is not None:
            stages.append((_settle(after.senders, used, free, group_of), after.sender_layers))
    return _cut(stages, instance.layers)


def _cut(stages: Sequence[Stage], layers: int) -> list[Stage]:
    kept: list[Stage] = []
    for machines, held in stages:
        if not layers:
            break
        kept.append((machines, min(held, layers)))
        layers -= kept[-1][1]
    return kept


def intervals_of(instance: SpreadInstance, stages: Sequence[Stage]) -> list[Interval]:
    """Return each machine's interval."""
    intervals: list[Interval] = [(0, 0)] * len(instance)
    at = 0
    for machines, layers in stages:
        for m in machines:
            intervals[m] = (at, at + layers)
        at += layers
    return intervals


def _draw(segment: Segment, free: dict[int, list[int]]) -> tuple[int, ...]:
    return tuple(free[g].pop(0) for g, n in segment.counts for _ in range(n))


def _settle(
    machines: Sequence[int], used: set[int], free: dict[int, list[int]], group_of: dict[int, int]
) -> tuple[int, ...]:
    """Return the machines of a junction side; one that another junction has is replaced."""
    settled = []
    for machine in machines:
        chosen = machine
        if machine in used:
            spare = free[group_of[machine]]
            if not spare:
                continue
            chosen = spare.pop(0)
        used.add(chosen)
        settled.append(chosen)
    return tuple(settled)


def wire(
    instance: SpreadInstance,
    groups: Sequence[Group],
    stages: Sequence[Stage],
    flow: float,
    rng: np.random.Generator,
) -> list[Stage]:
    """Return the stages with machines, and stages, exchanged until their links carry `flow`.

    A descent with random moves on the flow that the links of neighbouring stages lack: equal
    machines change places, or a machine with one that is not used, or two stages do.
    """
    links = instance.links.tolist()
    now = [list(machines) for machines, _ in stages]
    layers = [held for _, held in stages]
    at = {m: i for i, machines in enumerate(now) for m in machines}
    group_of = {m: g for g, group in enumerate(groups) for m in group.machines}
    rates = {m: [instance.rates[m][min(k, len(instance.rates[m])) - 1] for k in layers] for m in at}

    def lack(i: int) -> float:
        """Return what the links from stage `i` to the next lack."""
        if not 0 <= i < len(now) - 1:
            return 0.0
        out = [sum(links[a][b] for b in now[i + 1]) for a in now[i]]
        into = [sum(links[a][b] for a in now[i]) for b in now[i + 1]]
        sent = sum(min(c, rate(a, i)) for c, a in zip(out, now[i], strict=True))
        got = sum(min(c, rate(b, i + 1)) for c, b in zip(into, now[i + 1], strict=True))
        return max(0.0, flow - min(sent, got))

    def rate(m: int, i: int) -> float:
        if m not in rates:
            own = instance.rates[m]
            rates[m] = [own[min(k, len(own)) - 1] for k in layers]
        return rates[m][i]

    def swap(i: int, j: int, a: int, b: int) -> None:
        """Exchange machine `a` of stage `i` with `b` of stage `j` (-1: not used)."""
        now[i][now[i].index(a)] = b
        if j >= 0:
            now[j][now[j].index(b)] = a

    total = sum(lack(i) for i in range(len(now)))
    for step in range(_MOVES):
        if total <= 0:
            break
        a = int(rng.integers(len(instance)))
        i = at.get(a, -1)
        if i < 0:
            continue
        whole = rng.random() < 0.3
        if whole:
            b = now[int(rng.integers(len(now)))][0]
        else:
            members = groups[group_of[a]].machines
            b = members[int(rng.integers(len(members)))]
        j = at.get(b, -1)
        if i == j:
            continue
        touched = {i - 1, i, j - 1, j} if j >= 0 else {i - 1, i}
        before = sum(lack(t) for t in sorted(touched))
        if whole:
            now[i], now[j], layers[i], layers[j] = now[j], now[i], layers[j], layers[i]
            rates.clear()
        else:
            swap(i, j, a, b)
        after = sum(lack(t) for t in sorted(touched))
        warmth = _WARMTH * flow * (1 - step / _MOVES)
        if after > before and rng.random() >= np.exp((before - after) / max(warmth, 1e-9)):
            if whole:
                now[i], now[j], layers[i], layers[j] = now[j], now[i], layers[j], layers[i]
                rates.clear()
            else:
                swap(i, j, b, a)
            continue
        total += after - before
        if whole:
            at.update({m: i for m in now[i]} | {m: j for m in now[j]})
        else:
            at[b] = i
            if j >= 0:
                at[a] = j
            else:
                del at[a]
    return [(tuple(machines), held) for machines, held in zip(now, layers, strict=True)]
