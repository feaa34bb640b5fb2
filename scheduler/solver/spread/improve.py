"""Local search on the intervals themselves, with the max-flow as judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.spread import Interval, SpreadInstance
from scheduler.solver.spread.flow import FlowMeter

_COOLING = 0.02
"""Start temperature as a share of the flow; it falls to nothing along the search."""


def improve(
    instance: SpreadInstance,
    meter: FlowMeter,
    intervals: Sequence[Interval],
    rng: np.random.Generator,
    evaluations: int,
    enough: float,
) -> tuple[list[Interval], float]:
    """Return intervals of at least the same flow, found by simulated annealing.

    Moves: two machines change places; one machine shifts, grows or shrinks at an end; one
    machine moves to where another is (which adds a stage in parallel).

    Parameters
    ----------
    instance, meter : SpreadInstance, FlowMeter
        The problem, and who measures.
    intervals : sequence of (int, int)
        Where to start.
    rng : Generator
        Draws.
    evaluations : int
        Max-flows to spend.
    enough : float
        Stop at this flow.
    """
    now = list(intervals)
    value = meter.flow(now)
    best, best_value = list(now), value
    for step in range(evaluations):
        if best_value >= enough:
            break
        tried = _moved(instance, now, rng)
        if tried is None:
            continue
        got = meter.flow(tried)
        warmth = _COOLING * best_value * (1 - step / evaluations) + 1e-9
        if got >= value or rng.random() < np.exp((got - value) / warmth):
            now, value = tried, got
            if value > best_value:
                best, best_value = list(now), value
    return best, best_value


def _moved(
    instance: SpreadInstance, intervals: Sequence[Interval], rng: np.random.Generator
) -> list[Interval] | None:
    tried = list(intervals)
    kind = int(rng.integers(4))
    a = int(rng.integers(len(tried)))
    b = int(rng.integers(len(tried)))
    most_a, most_b = len(instance.rates[a]), len(instance.rates[b])
    start, end = tried[a]
    if kind == 0:  # change places
        if a == b or tried[a] == tried[b]:
            return None
        if tried[b][1] - tried[b][0] > most_a or end - start > most_b:
            return None
        tried[a], tried[b] = tried[b], tried[a]
        return tried
    if kind == 1:  # shift
        by = (-2, -1, 1, 2)[int(rng.integers(4))]
        start, end = start + by, end + by
    elif kind == 2:  # grow or shrink at one end
        by = (-1, 1)[int(rng.integers(2))]
        start, end = (start + by, end) if rng.random() < 0.5 else (start, end + by)
    else:  # go where another is
        where, until = tried[b]
        length = max(1, min(most_a, until - where))
        start = where if rng.random() < 0.5 else max(0, until - length)
        end = start + length
    if not (0 <= start < end <= instance.layers and end - start <= most_a):
        return None
    if (start, end) == tried[a]:
        return None
    tried[a] = (start, end)
    return tried
