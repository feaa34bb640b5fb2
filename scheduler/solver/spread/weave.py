"""Annealing over whole chains: which machines stand side by side, and in which order.

A chain is a sequence of stages, each a set of machines that hold the same layers. At a target
flow, a stage holds as many layers as its machines can carry it through, so a chain is judged by
two things that it lacks: layers, and tokens/s between neighbouring stages (the source and the
sink are neighbours too). Both are known per stage and per pair of stages, and looked up once.
The target rises with every chain that meets it. Unlike segments settled by counts and wired
afterwards, this sees links while it chooses machines, which thin and missing links need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from scheduler.core.spread import Interval, SpreadInstance
from scheduler.solver.spread.flow import FlowMeter

MOVES: Final = 50_000
MOVES_PER_PAIR: Final = 60
"""Moves of one annealing, at most, and by pairs of machines."""

ROUNDS: Final = 20
"""Annealings, at most; a chain found early leaves the rest of its moves unspent."""

PATIENCE: Final = 8
"""Annealings in a row that find nothing better, after which the search stops."""

MOST_WIDE: Final = 5
"""Machines of a stage."""

_NARROW: Final = 3
"""Stages of up to so many machines are told exactly what they can hand over."""

_WARM: Final = (0.3, 0.1)
_COLD: Final = 0.02
"""Temperatures, in units of what is lacking: 1 is a pair of stages without a link. Annealings
start warm and tepid in turn."""

_WHOLE_MODEL: Final = 12.0
"""What a chain without a single layer lacks."""

_STEP, _LEAST_STEP = 0.03, 0.004
_EASE: Final = 0.92
_MET: Final = 1e-9
_AGREE: Final = 1e-6
_DRAWS: Final = 2048

Stage = tuple[int, ...]
"""Machines in rising order; the empty stage is the source or the sink."""


@dataclass(frozen=True, slots=True)
class _Woven:
    """A chain and the machines that it leaves out."""

    stages: list[Stage]
    spare: list[int]


class _Loom:
    """What chains lack at one flow."""

    def __init__(self, instance: SpreadInstance, flow: float) -> None:
        self.instance = instance
        self.flow = flow
        self._links: list[list[float]] = instance.links.tolist()
        self._source: list[float] = instance.source.tolist()
        self._sink: list[float] = instance.sink.tolist()
        self._held: dict[Stage, int] = {}
        self._lack: dict[tuple[Stage, Stage], float] = {}
        self._per_layer = _WHOLE_MODEL / instance.layers

    def held(self, stage: Stage) -> int:
        """Return the most layers at which the stage carries the flow (0: none)."""
        found = self._held.get(stage)
        if found is None:
            rates = [self.instance.rates[m] for m in stage]
            heights = range(min(map(len, rates)), 0, -1)
            found = next((k for k in heights if sum(r[k - 1] for r in rates) >= self.flow), 0)
            self._held[stage] = found
        return found

    def lack(self, stages: Sequence[Stage]) -> float:
        """Return what a chain lacks: links, as a share of the flow, and layers."""
        known, heights = self._lack, self._held
        total, layers = 0.0, 0
        before: Stage = ()
        for stage in stages:
            lack = known.get((before, stage))
            total += self._between(before, stage) if lack is None else lack
            held = heights.get(stage)
            layers += held or (self.held(stage) if held is None else 0)
            if not heights[stage]:
                total += 1.0
            before = stage
        lack = known.get((before, ()))
        total += self._between(before, ()) if lack is None else lack
        return total + self._per_layer * max(0, self.instance.layers - layers)

    def tighten(self, stages: Sequence[Stage]) -> None:
        """Judge pairs of neighbours anew, as if machines shared the flow by their rates.

        Pairs that can hand over the flow one by one may not do so one after the other; with
        fixed shares they do.
        """
        for before, after in pairwise(stages):
            self._lack[before, after] = self._by_shares(before, after)

    def _between(self, before: Stage, after: Stage) -> float:
        """Return the share of the flow for which there is no link, at least."""
        rates, links = self.instance.rates, self._links
        if before and after:
            out, into = max(self.held(before), 1) - 1, max(self.held(after), 1) - 1
            sent = got = 0.0
            for a in before:
                row = links[a]
                most, rate = 0.0, rates[a][out]
                for b in after:
                    most += row[b]
                sent += most if most < rate else rate
            for b in after:
                most, rate = 0.0, rates[b][into]
                for a in before:
                    most += links[a][b]
                got += most if most < rate else rate
            carried = min(sent, got)
            if 1 < len(before) <= _NARROW and carried > 0 and len(after) > 1:
                cut = self._least_cut(before, after, self._rates(before), self._rates(after))
                carried = min(carried, cut)
        else:
            stage, ends = (before, self._sink) if before else (after, self._source)
            at = max(self.held(stage), 1) - 1
            carried = sum(min(ends[m], rates[m][at]) for m in stage)
        found = max(0.0, 1 - carried / self.flow)
        self._lack[before, after] = found
        return found

    def _rates(self, stage: Stage) -> list[float]:
        at = max(self.held(stage), 1) - 1
        return [self.instance.rates[m][at] for m in stage]

    def _by_shares(self, before: Stage, after: Stage) -> float:
        """Return the share of the flow that cannot be handed over if rates fix the shares."""
        shares = []
        for stage in (before, after):
            rates = self._rates(stage)
            total = math.fsum(rates)
            shares.append([self.flow * r / total if total > 0 else 0.0 for r in rates])
        return max(0.0, 1 - self._least_cut(before, after, *shares) / self.flow)

    def _least_cut(
        self, before: Stage, after: Stage, out: Sequence[float], into: Sequence[float]
    ) -> float:
        """Return the maximum flow from machines that send `out` to machines that take `into`."""
        least = math.inf
        for kept in range(1 << len(before)):
            cut = sum([r for i, r in enumerate(out) if not kept >> i & 1])
            rows = [self._links[m] for i, m in enumerate(before) if kept >> i & 1]
            for m, rate in zip(after, into, strict=True):
                link = sum([row[m] for row in rows])
                cut += link if link < rate else rate
            least = min(least, cut)
        return least

    def intervals(self, stages: Sequence[Stage]) -> list[Interval]:
        """Return each machine's interval; layers too many are taken from the slowest stages."""
        rates, wanted = self.instance.rates, self.instance.layers
        held = [self.held(s) for s in stages]
        while sum(held) > wanted and max(held) > 1:
            high = [i for i, k in enumerate(held) if k > 1]
            held[min(high, key=lambda i: sum(rates[m][held[i] - 1] for m in stages[i]))] -= 1
        placed: list[Interval] = [(0, 0)] * len(rates)
        at = 0
        for stage, layers in zip(stages, held, strict=True):
            end = min(at + layers, wanted)
            for m in stage:
                placed[m] = (at, end) if end > at else (0, 0)
            at = end
        return placed


def weave(
    instance: SpreadInstance,
    meter: FlowMeter,
    intervals: Sequence[Interval],
    rng: np.random.Generator,
    high: float,
    *,
    rounds: int = ROUNDS,
    moves: int = MOVES,
    late: Callable[[], bool] = lambda: False,
) -> list[Interval]:
    """Return intervals of at least the same flow, found by annealing over chains.

    Parameters
    ----------
    instance, meter : SpreadInstance, FlowMeter
        The problem, and who measures.
    intervals : sequence of (int, int)
        The best known; where they form a chain, the search starts from it.
    rng : Generator
        Draws.
    high : float
        A bound on the flow: nothing above it is tried.
    rounds, moves : int
        Annealings, and moves of each.
    late : callable
        Whether time is up: asked between annealings.
    """
    moves = min(moves, MOVES_PER_PAIR * len(instance) ** 2)
    best, best_flow = list(intervals), meter.flow(intervals)
    now = kept = _chain_of(instance, intervals, rng)
    target = max(0.85 * high, best_flow * (1 + _STEP))
    since = 0
    for turn in range(rounds):
        tired = best_flow > 0 and since >= PATIENCE
        if best_flow >= high * (1 - _AGREE) or tired or late():
            break
        loom = _Loom(instance, min(target, high))
        found = _anneal(loom, meter, now, rng, moves, _WARM[turn % 2])
        placed = _settled(loom, found.stages)
        flow = meter.flow(placed)
        reached = flow >= loom.flow * (1 - _AGREE)
        since += 1
        if flow > best_flow:
            best, best_flow, kept, since = placed, flow, found, 0
        now = kept if turn % 3 == 2 else found
        if reached:
            target = best_flow * (1 + _STEP)
        elif not best_flow:
            target *= _EASE
        else:
            target = max((target + best_flow) / 2, best_flow * (1 + _LEAST_STEP))
    return best


def _chain_of(
    instance: SpreadInstance, intervals: Sequence[Interval], rng: np.random.Generator
) -> _Woven:
    """Return machines of equal intervals as stages in their order; alone and shuffled if none."""
    order = [int(m) for m in rng.permutation(len(instance))]
    held = sorted({span for span in intervals if span[1]})
    if not held:
        return _Woven([(m,) for m in order], [])
    stages, spare = [], [m for m in order if not intervals[m][1]]
    for span in held:
        inside = [m for m in sorted(order) if intervals[m] == span]
        stages.append(tuple(inside[:MOST_WIDE]))
        spare += inside[MOST_WIDE:]
    return _Woven(stages, spare)


def _settled(loom: _Loom, stages: Sequence[Stage]) -> list[Interval]:
    """Return intervals at the highest flow, up to the loom's, at which the chain holds all."""
    wanted = loom.instance.layers
    if sum(map(loom.held, stages)) >= wanted:
        return loom.intervals(stages)
    low, high = loom.flow / 4, loom.flow
    for _ in range(12):
        middle = (low + high) / 2
        enough = sum(map(_Loom(loom.instance, middle).held, stages)) >= wanted
        low, high = (middle, high) if enough else (low, middle)
    return _Loom(loom.instance, low).intervals(stages)


def _anneal(
    loom: _Loom,
    meter: FlowMeter,
    start: _Woven,
    rng: np.random.Generator,
    moves: int,
    warm: float,
) -> _Woven:
    """Return a chain that lacks nothing, or the one that lacks least of all seen."""
    now, lack = start, loom.lack(start.stages)
    best, least = now, lack
    draws = _draws(rng)
    cooling = math.log(_COLD / warm) / moves
    for step in range(moves):
        if lack <= _MET:
            if meter.flow(loom.intervals(now.stages)) >= loom.flow * (1 - _AGREE):
                return now
            loom.tighten(now.stages)
            lack = loom.lack(now.stages)
            best, least = now, lack
            if lack <= _MET:
                return now
        draw = next(draws)
        tried = _moved(now, draw)
        if tried is None:
            continue
        got = loom.lack(tried.stages)
        warmth = warm * math.exp(cooling * step)
        if got <= lack or draw[0] < math.exp((lack - got) / warmth):
            now, lack = tried, got
            if lack < least:
                best, least = now, lack
    return best


def _draws(rng: np.random.Generator) -> Iterator[list[float]]:
    """Yield draws for one move after the other; drawn in blocks, which is far quicker."""
    while True:
        yield from rng.random((_DRAWS, 6)).tolist()


def _moved(now: _Woven, draw: Sequence[float]) -> _Woven | None:
    """Return a neighbour of a chain; None where the draw does not make one."""
    kind = draw[1]
    for share, move in _MOVES:
        if kind < share:
            return move(now, draw)
    return None


def _reorder(now: _Woven, draw: Sequence[float]) -> _Woven | None:
    """Exchange two stages, turn a stretch around, or put a stretch elsewhere."""
    stages = list(now.stages)
    i, j = int(draw[2] * len(stages)), int(draw[3] * len(stages))
    if i == j:
        return None
    if draw[4] < 1 / 3:
        stages[i], stages[j] = stages[j], stages[i]
    elif draw[4] < 2 / 3:
        i, j = min(i, j), max(i, j)
        stages[i : j + 1] = stages[i : j + 1][::-1]
    else:
        length = 1 + int(draw[5] * 4)
        stretch = stages[i : i + length]
        del stages[i : i + length]
        j = int(draw[3] * (len(stages) + 1))
        stages[j:j] = stretch[::-1] if draw[4] > 5 / 6 else stretch
    return _Woven(stages, now.spare)


def _exchange(now: _Woven, draw: Sequence[float]) -> _Woven | None:
    """Exchange a machine of the chain with one of another stage, or one left out."""
    stages, spare = list(now.stages), now.spare
    i, j = int(draw[2] * len(stages)), int(draw[3] * (len(stages) + len(spare)))
    a = stages[i][int(draw[4] * len(stages[i]))]
    if j < len(stages):
        if i == j:
            return None
        b = stages[j][int(draw[5] * len(stages[j]))]
        stages[j] = tuple(sorted(a if m == b else m for m in stages[j]))
    else:
        j -= len(stages)
        b, spare = spare[j], [*spare[:j], a, *spare[j + 1 :]]
    stages[i] = tuple(sorted(b if m == a else m for m in stages[i]))
    return _Woven(stages, spare)


def _move(now: _Woven, draw: Sequence[float]) -> _Woven | None:
    """Move a machine to another stage, to a stage of its own, or out of the chain."""
    stages, spare = list(now.stages), list(now.spare)
    pick = int(draw[2] * (len(spare) + sum(map(len, stages))))
    if pick < len(spare):
        machine = spare.pop(pick)
    else:
        i = int(draw[3] * len(stages))
        machine = stages[i][pick % len(stages[i])]
        rest = tuple(m for m in stages[i] if m != machine)
        stages[i : i + 1] = [rest] if rest else []
    where = draw[4]
    if where < 0.1:
        spare.append(machine)
    elif where < 0.55 and stages:
        j = int(draw[5] * len(stages))
        if len(stages[j]) >= MOST_WIDE:
            return None
        stages[j] = tuple(sorted((*stages[j], machine)))
    else:
        stages.insert(int(draw[5] * (len(stages) + 1)), (machine,))
    return _Woven(stages, spare) if stages else None


_MOVES: Final[tuple[tuple[float, Callable[[_Woven, Sequence[float]], _Woven | None]], ...]] = (
    (0.3, _reorder),
    (0.6, _exchange),
    (1.0, _move),
)
"""Moves, and the share of draws up to which each is made."""
