"""From counts to nodes: where each gang of a round goes.

A gang whose type and shape stay keeps its progress wherever its nodes are, so gangs are moved
freely between equal nodes; what counts is the shape.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.core.adaptive import AdaptiveProblem, Shape
from scheduler.core.errors import PolicyError
from scheduler.physics.adaptive_tables import Config

Place = tuple[Shape, tuple[int, ...]]
"""Accelerators on each node, and the nodes."""


def place(
    problem: AdaptiveProblem,
    wanted: Mapping[int, Config],
    held: Mapping[int, tuple[int, Place]],
    *,
    packed: bool,
) -> dict[int, Place]:
    """Return the nodes of each gang.

    Parameters
    ----------
    problem : AdaptiveProblem
        The fleet.
    wanted : mapping
        Group and accelerators by job.
    held : mapping
        Group and place of the round that ends, by job.
    packed : bool
        Whether every gang gets as few nodes as it can, moving others where that helps. Else
        gangs take the first free accelerators, as Gavel gives them.

    Returns
    -------
    dict
        Places by job. Gangs keep their nodes where their size stays; the largest go first.

    Raises
    ------
    PolicyError
        If the gangs of a group exceed its accelerators.
    """
    places: dict[int, Place] = {}
    for g, group in enumerate(problem.groups):
        sizes = {job: count for job, (at, count) in wanted.items() if at == g}
        if sum(sizes.values()) > group.accelerators or min(sizes.values(), default=1) < 1:
            raise PolicyError(f"{sum(sizes.values())} accelerators of {group.name} asked for")
        kept = {
            job: held[job][1]
            for job, count in sizes.items()
            if job in held and held[job][0] == g and sum(held[job][1][0]) == count
        }
        done = _fill(group.nodes, group.per_node, sizes, kept, packed)
        if packed and _broken(
            done, group.per_node
        ):  # odd gaps: move everybody, which costs only shapes
            again = _fill(group.nodes, group.per_node, sizes, {}, packed)
            if len(_broken(again, group.per_node)) < len(_broken(done, group.per_node)):
                done = _same_where_possible(again, kept)
        places.update(done)
    return places


def _fill(
    nodes: int,
    per_node: int,
    sizes: Mapping[int, int],
    kept: Mapping[int, Place],
    packed: bool,
) -> dict[int, Place]:
    """Place gangs around those that stay, the largest first."""
    free = [per_node] * nodes
    done: dict[int, Place] = dict(kept)
    for shape, at in kept.values():
        for count, node in zip(shape, at, strict=True):
            free[node] -= count
    for job in sorted((j for j in sizes if j not in done), key=lambda j: (-sizes[j], j)):
        done[job] = (_take if packed else _first)(free, per_node, sizes[job])
    return done


def _first(free: list[int], _per_node: int, count: int) -> Place:
    """Take the first free accelerators."""
    taken: dict[int, int] = {}
    for node, room in enumerate(free):
        if room and count:
            taken[node] = min(room, count)
            count -= taken[node]
            free[node] -= taken[node]
    return tuple(taken.values()), tuple(taken)


def _take(free: list[int], per_node: int, count: int) -> Place:
    """Take accelerators: empty nodes while whole ones are needed, then best fit, then any."""
    taken: dict[int, int] = {}
    left = count
    for node, room in enumerate(free):
        if left >= per_node and room == per_node:
            taken[node] = per_node
            left -= per_node
    while left:
        rest = [n for n in range(len(free)) if n not in taken and free[n]]
        fits = [n for n in rest if free[n] >= left]
        node = min(fits, key=lambda n: free[n]) if fits else max(rest, key=lambda n: free[n])
        taken[node] = min(left, free[node])
        left -= taken[node]
    for node, used in taken.items():
        free[node] -= used
    at = tuple(sorted(taken))
    return tuple(taken[n] for n in at), at


def _broken(places: Mapping[int, Place], per_node: int) -> list[int]:
    """Return gangs on more nodes than they need."""
    return [j for j, (shape, _) in places.items() if len(shape) > -(-sum(shape) // per_node)]


def _same_where_possible(done: dict[int, Place], kept: Mapping[int, Place]) -> dict[int, Place]:
    """Swap places among gangs of equal shape so that fewer of them move."""
    by_shape: dict[Shape, list[int]] = {}
    for job in sorted(done):
        by_shape.setdefault(done[job][0], []).append(job)
    result = dict(done)
    for shape, jobs in by_shape.items():
        spots = [done[job][1] for job in jobs]
        for job in list(jobs):
            if job in kept and kept[job][0] == shape and kept[job][1] in spots:
                result[job] = kept[job]
                spots.remove(kept[job][1])
                jobs.remove(job)
        for job, at in zip(jobs, spots, strict=True):
            result[job] = (shape, at)
    return result
