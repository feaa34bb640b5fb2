"""Modes of gangs that mix accelerator types: which parts, where, and how fast.

Parts are whole nodes. All but the largest are powers of two of them, the largest makes up the
count; a mixed gang stays inside one domain. That leaves few modes, and solvers see all of them
(`scheduler.physics.mixed` rates each).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from scheduler.core.model import Model
from scheduler.core.problem import Group, Mode
from scheduler.core.workload import ModelPhysics
from scheduler.physics.mixed import CrossLink, MixedEstimate, MixedPart, mixed_estimate
from scheduler.physics.network import USABLE_SHARE, Network, Refusal
from scheduler.physics.spreads import Floor

Parts = tuple[tuple[int, int], ...]
"""(type, accelerators) of each part, by type."""


def mixed_modes(
    floor: Floor,
    model: Model,
    physics: ModelPhysics,
    types: Sequence[int],
    counts: Sequence[int],
    max_level: int,
    most_types: int,
) -> tuple[Mode, ...]:
    """Return the modes of mixed gangs, in no order.

    Parameters
    ----------
    floor : Floor
        Where gangs fit.
    model, physics : Model, ModelPhysics
        What is trained.
    types : sequence of int
        Positions in ``floor.types`` that the job may use.
    counts : sequence of int
        Permitted gang sizes, all types together.
    max_level : int
        Widest level.
    most_types : int
        Types in one gang, at most.

    Returns
    -------
    tuple of Mode
        None where a part alone would be as fast.
    """
    found: list[Mode] = []
    for count in counts:
        for parts in splits(floor, types, count, most_types):
            found += _modes_of(floor, model, physics, parts, max_level)
    return tuple(found)


def splits(floor: Floor, types: Sequence[int], count: int, most_types: int) -> Iterator[Parts]:
    """Yield the ways to deal `count` accelerators out over two or more types."""
    seen: set[Parts] = set()
    for number in range(2, most_types + 1):
        for kinds in itertools.permutations(types, number):
            *small, large = kinds
            for sizes in itertools.product(*(_powers(floor.node_size(t), count) for t in small)):
                rest = count - sum(sizes)
                if rest < max(sizes) or rest % floor.node_size(large):
                    continue
                parts = tuple(sorted(zip(kinds, (*sizes, rest), strict=True)))
                if parts not in seen:
                    seen.add(parts)
                    yield parts


def _powers(size: int, count: int) -> list[int]:
    """Return powers of two of a node of `size` up to half of `count`."""
    found = []
    while 2 * size <= count:
        found.append(size)
        size *= 2
    return found


def _modes_of(
    floor: Floor, model: Model, physics: ModelPhysics, parts: Parts, max_level: int
) -> list[Mode]:
    """Return the modes of some parts: the widest level of each rate."""
    rated: dict[int, MixedEstimate] = {}
    known: dict[tuple[CrossLink, tuple[Network, ...]], MixedEstimate | Refusal] = {}
    for level in range(1, len(floor.levels)):
        seen = floor.mixed_network(parts, level)
        if seen is None:
            continue
        bytes_per_s, latency_s, networks = seen
        link = CrossLink(bytes_per_s * USABLE_SHARE, latency_s)
        if (link, networks) not in known:
            pieces = [
                MixedPart(floor.types[t], n, floor.node_size(t), network)
                for (t, n), network in zip(parts, networks, strict=True)
            ]
            known[link, networks] = mixed_estimate(model, physics, pieces, link)
        found = known[link, networks]
        if isinstance(found, MixedEstimate):
            rated[level] = found
    best = max((found.work_per_s for found in rated.values()), default=0.0)
    groups = tuple(Group(t, n, floor.node_size(t)) for t, n in parts)
    modes: list[Mode] = []
    fastest = 0.0
    for level in sorted((level for level in rated if level <= max_level), reverse=True):
        found = rated[level]
        if found.work_per_s <= fastest:
            continue  # a wider level permits every place this one does
        fastest = found.work_per_s
        modes.append(
            Mode(
                groups=groups,
                level=level,
                rate=found.work_per_s,
                best_rate=best,
                power_w=found.power_w,
                memory_bytes=min(found.memory_bytes),  # parts differ: what every one needs
                straggler=found.straggler,
            )
        )
    return modes
