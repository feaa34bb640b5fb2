"""Models on shared groups of devices: AlpaServe's placement, simplified, and swaps on top.

Li et al., "AlpaServe: statistical multiplexing with model parallelism for deep learning serving"
(OSDI 2023, arXiv 2302.11665): a group of devices holds several models, each cut into as many
stages as the group has devices, so that a burst of one model finds all of them. Its second
algorithm tries group sizes, its first adds replicas one by one, the model with the most misses
to the least used group, each time judged by simulation.

Simplified: stages are equally long and only pipelines are tried (no tensor parallelism), groups
are of one size, and a model's requests all cost the same. Queues are the paper's: first come,
first served, to the group with the shortest line, and a request that cannot be in time is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.workload import FloatArray, IntArray

STAGE_OVERHEAD = 0.05
"""Share of the latency that cutting a model into stages adds."""


@dataclass(frozen=True, slots=True)
class SharedCase:
    """Models to be served on like devices.

    Parameters
    ----------
    latency_s : ndarray of float64, shape (models,)
        Of a request on one device.
    size_bytes : ndarray of float64, shape (models,)
        Weights.
    devices : int
        How many there are.
    memory_bytes : float
        Of each.
    slo_scale : float
        A request is in time within this many latencies.
    """

    latency_s: FloatArray
    size_bytes: FloatArray
    devices: int
    memory_bytes: float
    slo_scale: float


@dataclass(frozen=True, slots=True)
class Groups:
    """A placement: devices of each group, and the models that it holds."""

    devices: tuple[int, ...]
    models: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a placement does: share in time, misses by model, busy seconds by group."""

    in_time: float
    missed: tuple[int, ...]
    busy_s: tuple[float, ...]


def judge(case: SharedCase, placed: Groups, at_s: FloatArray, model: IntArray) -> Judged:
    """Play requests, ascending in time, through a placement."""
    count = len(case.latency_s)
    holders: list[list[int]] = [[] for _ in range(count)]
    for g, held in enumerate(placed.models):
        for m in held:
            holders[m].append(g)
    whole = [1 + (STAGE_OVERHEAD if d > 1 else 0.0) for d in placed.devices]
    stage = [whole[g] / d for g, d in enumerate(placed.devices)]
    latency = case.latency_s.tolist()
    free = [0.0] * len(placed.devices)
    busy = [0.0] * len(placed.devices)
    missed = [0] * count
    for now, m in zip(at_s.tolist(), model.tolist(), strict=True):
        g = min(holders[m], key=free.__getitem__, default=-1)
        if g < 0:
            missed[m] += 1
            continue
        start = free[g] if free[g] > now else now
        if start + latency[m] * whole[g] > now + case.slo_scale * latency[m]:
            missed[m] += 1
            continue
        held_s = latency[m] * stage[g]
        free[g] = start + held_s
        busy[g] += held_s
    total = max(1, len(at_s))
    return Judged(1 - sum(missed) / total, tuple(missed), tuple(busy))


def replicate(case: SharedCase, sizes: Sequence[int], at_s: FloatArray, model: IntArray) -> Groups:
    """Fill groups of these sizes with replicas, greedily (the paper's first algorithm)."""
    placed = Groups(tuple(sizes), ((),) * len(sizes))
    best, best_share = placed, -1.0
    while True:
        judged = judge(case, placed, at_s, model)
        if judged.in_time > best_share:
            best, best_share = placed, judged.in_time
        added = _add(case, placed, judged)
        if added is None:
            return best
        placed = added


def _add(case: SharedCase, placed: Groups, judged: Judged) -> Groups | None:
    """Return the placement with one more replica: of the model that misses most."""
    load = [busy / d for busy, d in zip(judged.busy_s, placed.devices, strict=True)]
    for m in sorted(range(len(judged.missed)), key=lambda k: (-judged.missed[k], k)):
        rooms = [g for g in range(len(load)) if _fits(case, placed, g, m)]
        if rooms and judged.missed[m]:
            g = min(rooms, key=lambda r: (load[r], r))
            return _with(placed, g, (*placed.models[g], m))
    return None


def _fits(case: SharedCase, placed: Groups, g: int, m: int, without: int = -1) -> bool:
    """Return whether group `g` has room for model `m`, perhaps instead of another."""
    held = [k for k in placed.models[g] if k != without]
    if m in held:
        return False
    needed = float(case.size_bytes[[*held, m]].sum()) / placed.devices[g]
    return needed <= case.memory_bytes * (1 + 1e-9)


def _with(placed: Groups, g: int, models: tuple[int, ...]) -> Groups:
    rows = list(placed.models)
    rows[g] = tuple(sorted(models))
    return replace(placed, models=tuple(rows))


def alpaserve(
    case: SharedCase, at_s: FloatArray, model: IntArray, largest: int | None = None
) -> Groups:
    """Return the best placement over group sizes up to `largest` (the second algorithm)."""
    found = []
    size = 1
    while size <= min(case.devices, largest or case.devices):
        sizes = [size] * (case.devices // size)
        placed = replicate(case, sizes, at_s, model)
        found.append((judge(case, placed, at_s, model).in_time, placed))
        size *= 2
    return max(found, key=lambda pair: pair[0])[1]


def improved(
    case: SharedCase,
    placed: Groups,
    at_s: FloatArray,
    model: IntArray,
    rng: np.random.Generator,
    tries: int = 200,
) -> Groups:
    """Return `placed` after swaps that the simulation finds better, never worse on its requests.

    A try takes a model that misses, drawn by its misses, and puts it into a random group,
    instead of a random model of that group if it has no room.
    """
    judged = judge(case, placed, at_s, model)
    for _ in range(tries):
        if not any(judged.missed):
            return placed
        chances = np.array(judged.missed) / sum(judged.missed)
        m = int(rng.choice(len(chances), p=chances))
        g = int(rng.integers(len(placed.devices)))
        held = placed.models[g]
        leaves = -1 if _fits(case, placed, g, m) or not held else int(rng.choice(np.array(held)))
        if not _fits(case, placed, g, m, leaves):
            continue
        other = _with(placed, g, (*(k for k in held if k != leaves), m))
        then = judge(case, other, at_s, model)
        if then.in_time > judged.in_time:
            placed, judged = other, then
    return placed
