"""From a chain of segments to stages of machines, wired so that their links carry the flow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scheduler.core.spread import Interval, SpreadInstance
from scheduler.solver.spread.groups import Group
from scheduler.solver.spread.segments import Chain, Segment

Stage = tuple[tuple[int, ...], int]
"""Machines that hold the same layers, and how many."""

_MOVES = 12_000
_WARMTH = 0.3
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

    Annealing on the flow that the links of neighbouring stages lack: a machine changes places
    with an equal one, in use or not, or two stages do.
    """
    wiring = _Wiring(instance, groups, stages, flow)
    for step in range(_MOVES):
        if wiring.total <= 0:
            break
        wiring.try_move(rng, _WARMTH * flow * (1 - step / _MOVES))
    return wiring.stages()


class _Wiring:
    """Stages under exchange."""

    def __init__(
        self,
        instance: SpreadInstance,
        groups: Sequence[Group],
        stages: Sequence[Stage],
        flow: float,
    ) -> None:
        self._links: list[list[float]] = instance.links.tolist()
        self._rates = instance.rates
        self._equal = {m: group.machines for group in groups for m in group.machines}
        self._flow = flow
        self._now = [list(machines) for machines, _ in stages]
        self._layers = [held for _, held in stages]
        self._at = {m: i for i, machines in enumerate(self._now) for m in machines}
        self._source: list[float] = instance.source.tolist()
        self._sink: list[float] = instance.sink.tolist()
        self.total = math.fsum(self._lack(i) for i in range(-1, len(self._now)))

    def stages(self) -> list[Stage]:
        """Return the stages as they are now."""
        return [(tuple(m), held) for m, held in zip(self._now, self._layers, strict=True)]

    def try_move(self, rng: np.random.Generator, warmth: float) -> None:
        """Draw an exchange and keep it if it helps, or by luck while it is warm."""
        a = int(rng.integers(len(self._rates)))
        i = self._at.get(a, -1)
        whole = rng.random() < 0.3
        draw = int(rng.integers(1 << 30))
        equal = self._equal[a]
        b = self._now[draw % len(self._now)][0] if whole else equal[draw % len(equal)]
        j = self._at.get(b, -1)
        if i < 0 or i == j:
            return
        near = sorted({i - 1, i, j - 1, j} if j >= 0 else {i - 1, i})
        before = math.fsum(self._lack(t) for t in near)
        self._exchange(i, j, a, b, whole=whole)
        after = math.fsum(self._lack(t) for t in near)
        if after > before and rng.random() >= math.exp((before - after) / max(warmth, 1e-9)):
            self._exchange(i, j, b, a, whole=whole)
            return
        self.total += after - before
        for machine in (a, b):
            self._at.pop(machine, None)
        for t in (i, j):
            if t >= 0:
                self._at.update(dict.fromkeys(self._now[t], t))

    def _exchange(self, i: int, j: int, a: int, b: int, *, whole: bool) -> None:
        """Exchange machine `a` of stage `i` with `b` of stage `j` (-1: not used), or the stages."""
        now, layers = self._now, self._layers
        if whole:
            now[i], now[j], layers[i], layers[j] = now[j], now[i], layers[j], layers[i]
            return
        now[i][now[i].index(a)] = b
        if j >= 0:
            now[j][now[j].index(b)] = a

    def _lack(self, i: int) -> float:
        """Return what the links from stage `i` to the next lack; before and after: the ends."""
        last = len(self._now) - 1
        if not 0 <= i < last:
            at, ends = (0, self._source) if i < 0 else (last, self._sink)
            carried = sum(min(ends[m], self._rate(m, at)) for m in self._now[at])
            return float(max(0.0, self._flow - carried))
        out, into = self._now[i], self._now[i + 1]
        links = [[self._links[a][b] for b in into] for a in out]
        sent = sum(min(sum(row), self._rate(a, i)) for a, row in zip(out, links, strict=True))
        columns = zip(*links, strict=True)
        got = sum(min(sum(c), self._rate(b, i + 1)) for b, c in zip(into, columns, strict=True))
        return float(max(0.0, self._flow - min(sent, got)))

    def _rate(self, machine: int, stage: int) -> float:
        rates = self._rates[machine]
        return float(rates[min(self._layers[stage], len(rates)) - 1])
