"""Which jobs a step of the search frees: by time, by type, the critical ones, any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from scheduler.solver.offline.instance import Instance, Planned

Draws = np.random.Generator
Neighbourhood = Callable[[Instance, Mapping[int, Planned], int, Draws], list[int]]
"""From a plan and a size, the jobs to free."""


def by_time(instance: Instance, plan: Mapping[int, Planned], size: int, draws: Draws) -> list[int]:
    """Return jobs that run about when one does, those on the same nodes first."""
    units = sorted(plan)
    mine = plan[units[int(draws.integers(len(units)))]]
    nodes = set(mine.placement.nodes)

    def apart(unit: int) -> tuple[int, int, int]:
        other = plan[unit]
        gap = max(other.start - mine.end, mine.start - other.end, 0)
        return gap, -len(nodes & set(other.placement.nodes)), unit

    return sorted(units, key=apart)[:size]


def by_type(instance: Instance, plan: Mapping[int, Planned], size: int, draws: Draws) -> list[int]:
    """Return consecutive jobs, by start, that hold or might hold one accelerator type."""
    problem = instance.problem
    t = int(draws.integers(len(problem.types)))
    able = {
        c: any(g.type_index == t for m, _ in ways for g in problem.modes[c][m].groups)
        for c, ways in instance.ways.items()
    }
    units = [u for u in sorted(plan) if able[instance.class_of(u)]]
    return _run_of(units or sorted(plan), plan, size, draws)


def critical(instance: Instance, plan: Mapping[int, Planned], size: int, draws: Draws) -> list[int]:
    """Return a job that waits or ends late, and what holds the nodes while it waits."""
    units = sorted(plan)
    shortest = {u: min(instance.lengths[u].values()) for u in units}
    lost = np.array(
        [max(0, plan[u].end - instance.release[u] - shortest[u]) for u in units], dtype=np.float64
    )
    late = np.array([plan[u].end for u in units], dtype=np.float64)
    weight = lost / max(1.0, lost.max()) + (late / late.max()) ** 8
    pick = int(draws.choice(len(units), p=weight / weight.sum()))
    mine = units[pick]
    first = instance.release[mine]

    def blocks(unit: int) -> tuple[bool, int, int]:
        other = plan[unit]
        here = other.start < plan[mine].end and other.end > first
        return not here, -min(other.end, plan[mine].start) + max(other.start, first), unit

    rest = sorted((u for u in units if u != mine), key=blocks)
    among = rest[: 2 * size]
    chosen = draws.permutation(len(among))[: size - 1].tolist()
    return sorted([mine, *(among[i] for i in chosen)])


def anywhere(instance: Instance, plan: Mapping[int, Planned], size: int, draws: Draws) -> list[int]:
    """Return any jobs."""
    units = sorted(plan)
    return sorted(units[i] for i in draws.permutation(len(units))[:size].tolist())


def _run_of(units: list[int], plan: Mapping[int, Planned], size: int, draws: Draws) -> list[int]:
    ordered = sorted(units, key=lambda u: (plan[u].start, u))
    begin = int(draws.integers(max(1, len(ordered) - size + 1)))
    return ordered[begin : begin + size]


NEIGHBOURHOODS: Final[dict[str, Neighbourhood]] = {
    "time": by_time,
    "type": by_type,
    "critical": critical,
    "random": anywhere,
}
