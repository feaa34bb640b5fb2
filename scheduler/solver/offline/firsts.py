"""Orders of the jobs that first plans are made in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scheduler.core.problem import Problem
from scheduler.core.run import Allocation
from scheduler.solver.offline.instance import Instance
from scheduler.solver.offline.planning import Planning


def orders_worth_trying(
    problem: Problem,
    instance: Instance,
    known: Sequence[tuple[str, Sequence[Allocation]]],
    planned: Planning | None,
) -> list[tuple[str, list[int]]]:
    """Return named orders of the jobs: by what is known of each, and as others serve them."""
    columns, lengths = problem.workload.jobs, instance.lengths
    release = instance.release
    shortest = {j: min(lengths[j].values()) for j in instance.jobs}
    due = {j: math.inf if math.isnan(t) else t for j, t in enumerate(columns.deadline_s.tolist())}
    keys: dict[str, Mapping[int, float]] = {
        "earliest deadline first": due,
        "shortest first": {j: s / float(columns.weight[j]) for j, s in shortest.items()},
        "earliest end alone first": {j: float(release[j] + s) for j, s in shortest.items()},
        "in order of release": {j: float(release[j]) for j in shortest},
        "longest first": {j: -float(s) for j, s in shortest.items()},
    }
    for title, allocations in known:
        ends = {a.job: float(a.end_us) for a in sorted(allocations, key=lambda a: a.end_us)}
        if set(shortest) <= set(ends):
            keys[f"as {title} ends them"] = ends
    if planned is not None:
        served = {j: planned.served_s.get(j, math.inf) for j in shortest}
        keys = {"as the plan serves them": served} | keys
    return [
        (title, sorted(instance.jobs, key=lambda j, of=of: (of[j], j)))  # type: ignore[misc]
        for title, of in keys.items()
    ]
