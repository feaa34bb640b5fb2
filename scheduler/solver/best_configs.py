"""Exactly: at most one configuration per job, within the accelerators of each group.

A multiple-choice knapsack with one capacity per group. A dynamic program over free accelerators
solves it exactly while the capacities multiply to something small; CP-SAT does beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray

STATES: Final = 200_000
"""Product of the capacities up to which the dynamic program is used."""

SCALE: Final = 1e6
"""Steps of value for CP-SAT, over the span of the values."""

LIMIT: Final = 2.0
"""Deterministic seconds of CP-SAT."""

Needs = Sequence[tuple[int, int]]


def best_configs(values: FloatArray, needs: Needs, capacity: Sequence[int]) -> list[int]:
    """Return the configuration of each job, -1 for none, of largest total value.

    Parameters
    ----------
    values : ndarray, shape (jobs, configs)
        Value of each configuration over none; none is better than those not above 0.
    needs : sequence of (int, int)
        Group and accelerators of each configuration.
    capacity : sequence of int
        Accelerators of each group.
    """
    values = np.where(values > 0, values, -np.inf)
    for c, (group, count) in enumerate(needs):
        if count > capacity[group]:
            values[:, c] = -np.inf
    if math.prod(size + 1 for size in capacity) <= STATES:
        return _by_states(values, needs, capacity)
    return _by_cp_sat(values, needs, capacity)


def _by_states(values: FloatArray, needs: Needs, capacity: Sequence[int]) -> list[int]:
    """Solve by the best value for every count of free accelerators."""
    best = [np.zeros([size + 1 for size in capacity])]
    usable = [_undominated(row, needs) for row in values]
    axes = range(len(capacity))
    for row, kept in zip(values, usable, strict=True):
        before, after = best[-1], best[-1].copy()
        for c in kept:
            group, count = needs[c]
            into = tuple(slice(count, None) if a == group else slice(None) for a in axes)
            out = tuple(slice(None, -count) if a == group else slice(None) for a in axes)
            np.maximum(after[into], before[out] + row[c], out=after[into])
        best.append(after)
    free = list(capacity)
    answer = [-1] * len(values)
    for j in range(len(values) - 1, -1, -1):
        at, before = float(best[j + 1][tuple(free)]), best[j]
        if at == before[tuple(free)]:
            continue
        for c in usable[j]:
            group, count = needs[c]
            left = [f - count * (a == group) for a, f in enumerate(free)]
            if left[group] >= 0 and before[tuple(left)] + values[j, c] == at:
                answer[j], free = c, left
                break
    return answer


def _undominated(row: FloatArray, needs: Needs) -> list[int]:
    """Return permitted configurations that no smaller one of the same group equals."""
    seen: dict[int, float] = {}
    kept = []
    for c in sorted(range(len(needs)), key=lambda c: needs[c][1]):
        group = needs[c][0]
        if row[c] > seen.get(group, 0.0):
            seen[group] = float(row[c])
            kept.append(c)
    return kept


def _by_cp_sat(values: FloatArray, needs: Needs, capacity: Sequence[int]) -> list[int]:
    """Solve by CP-SAT, one worker, within a deterministic limit."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    usable = [_undominated(row, needs) for row in values]
    x = {(j, c): model.new_bool_var("") for j, kept in enumerate(usable) for c in kept}
    for j, kept in enumerate(usable):
        model.add_at_most_one(x[j, c] for c in kept)
    for g, size in enumerate(capacity):
        model.add(sum(needs[c][1] * var for (_, c), var in x.items() if needs[c][0] == g) <= size)
    top = max((float(values[key]) for key in x), default=1.0)
    model.maximize(sum(round(float(values[key]) / top * SCALE) * var for key, var in x.items()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = LIMIT
    solver.solve(model)
    answer = [-1] * len(values)
    for (j, c), var in x.items():
        if solver.boolean_value(var):
            answer[j] = c
    return answer
