"""A first plan: jobs in some order, each in the place and mode in which it ends first."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.core.run import Placement
from scheduler.solver.offline.instance import Choice, Instance, Planned, lay_out, node_types


class _Profile:
    """What is held on each node over time."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.size = [node.count for node in instance.problem.cluster.nodes]
        self.held: list[list[tuple[int, int, int]]] = [[] for _ in self.size]
        for n, spans in instance.downs.items():
            self.held[n] += [(a, b, self.size[n]) for a, b in spans]

    def free(self, node: int, start: int, end: int) -> int:
        """Return what is free on a node over the whole of ``[start, end)``."""
        if any(a <= start < b for a, b in self.instance.drains.get(node, ())):
            return 0
        rows = [r for r in self.held[node] if r[0] < end and r[1] > start]
        if not rows:
            return self.size[node]
        at = {start, *(a for a, _, _ in rows if a > start)}
        most = max(sum(c for a, b, c in rows if a <= t < b) for t in at)
        return max(0, self.size[node] - most)

    def starts(self, nodes: Iterable[int], first: int) -> list[int]:
        """Return the instants at which room may appear on some of `nodes`."""
        found = {first}
        for n in nodes:
            found |= {b for _, b, _ in self.held[n] if b > first}
            found |= {b for _, b in self.instance.drains.get(n, ()) if b > first}
        return sorted(found)

    def add(self, planned: Planned) -> None:
        place = planned.placement
        for n, count in zip(place.nodes, place.counts, strict=True):
            self.held[n].append((planned.start, planned.end, count))


def greedy_plan(instance: Instance, order: Iterable[int]) -> dict[int, Planned] | None:
    """Place jobs one by one, each where it ends first; None if one finds no place.

    Parameters
    ----------
    instance : Instance
        Jobs and ways.
    order : iterable of int
        Every job once; those that a job needs go before it whatever the order says.

    Notes
    -----
    O(jobs^2 x nodes x choices): meant for up to some hundred jobs.
    """
    types = node_types(instance.problem)
    profile = _Profile(instance)
    plan: dict[int, Planned] = {}
    for job in _needed_first(instance, order):
        first = max([instance.release[job], *(plan[k].end for k in instance.after.get(job, ()))])
        best: Planned | None = None
        for choice in instance.choices(job):
            latest = None if best is None else best.end - choice.duration
            found = _earliest(instance, profile, types, job, choice, first, latest)
            if found is not None:
                best = Planned(choice.mode, found[0], found[0] + choice.duration, found[1])
        if best is None:
            return None
        plan[job] = best
        profile.add(best)
    return plan


def _earliest(
    instance: Instance,
    profile: _Profile,
    types: list[int],
    job: int,
    choice: Choice,
    first: int,
    latest: int | None,
) -> tuple[int, Placement] | None:
    """Return the first start before `latest` with a place, and the place."""
    mode = instance.mode(job, choice.mode)
    for start in profile.starts(choice.nodes, first):
        if latest is not None and start >= latest:
            return None
        free = {n: profile.free(n, start, start + choice.duration) for n in choice.nodes}
        place = lay_out(mode, choice.nodes, types, free)
        if place is not None:
            return start, place
    return None


def _needed_first(instance: Instance, order: Iterable[int]) -> list[int]:
    done: dict[int, None] = {}
    for job in order:
        stack = [job]
        while stack:
            needed = [k for k in instance.after.get(stack[-1], ()) if k not in done]
            if needed:
                stack.append(needed[0])
            else:
                done[stack.pop()] = None
    return list(done)
