"""Jobs matched to machines and to positions counted from the end of each machine's queue.

The sum of completion times of jobs on unrelated machines is a matching: the job that is k-th
from the end of a machine's queue delays k jobs, itself included, by its run time there
(W. Horn, "Minimizing average flow time with parallel machines", Operations Research 21, 1973;
J. Bruno, E. Coffman, R. Sethi, Communications of the ACM 17(7), 1974). Machines that do not
differ share their positions, so the matching is a minimum-cost flow from jobs to positions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from scheduler.core.workload import FloatArray, IntArray

MOST_ARCS: Final = 60_000
"""Beyond, queues are taken to be no longer than what keeps to it."""

_TICKS_PER_S: Final = 1000  # costs are whole


class Slot(NamedTuple):
    """Where a job was matched: a group of machines, and its place from the end, from 1."""

    group: int
    position: int


def match_positions(
    run_s: FloatArray, held_s: FloatArray, machines: IntArray, delay_s: FloatArray
) -> list[Slot | None]:
    """Return the matching with the least sum of completion times.

    Parameters
    ----------
    run_s : ndarray of float64, shape (jobs, groups)
        Run time of a job on a machine of a group; infinite: it cannot run there.
    held_s : ndarray of float64, shape (jobs, groups)
        How long it keeps the machine from others, finite: `run_s`, unless machines are shared.
    machines : ndarray of int64, shape (groups,)
        Equal machines in each group, positive.
    delay_s : ndarray of float64, shape (groups,)
        When its machines are free.

    Returns
    -------
    list of Slot or None
        By job; None for a job that can run nowhere, or for which no position was left.
    """
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

    jobs, groups = run_s.shape
    able = np.isfinite(run_s).any(axis=1)
    count = int(able.sum())
    if not count:
        return [None] * jobs
    most = max(1, MOST_ARCS // count)
    depth = np.full(groups, count)
    while int(depth.sum()) > most and int(depth.max()) > 1:
        depth = np.maximum(1, np.minimum(depth, int(depth.max()) * 3 // 4))
    of_group = np.repeat(np.arange(groups), depth)
    position = np.concatenate([np.arange(1, d + 1) for d in depth.tolist()])
    cost_s = run_s[:, of_group] + held_s[:, of_group] * (position - 1) + delay_s[of_group]
    job, slot = np.nonzero(np.isfinite(cost_s))
    cost = np.rint(cost_s[job, slot] * _TICKS_PER_S).astype(np.int64)
    flow = SimpleMinCostFlow()
    ones = np.ones(len(job), dtype=np.int64)
    arcs = flow.add_arcs_with_capacity_and_unit_cost(job, jobs + slot, ones, cost)
    sink = jobs + len(position)
    ends = np.arange(len(position))
    flow.add_arcs_with_capacity_and_unit_cost(
        jobs + ends, np.full(len(ends), sink), machines[of_group], np.zeros(len(ends), np.int64)
    )
    flow.set_nodes_supplies(np.flatnonzero(able), np.ones(count, dtype=np.int64))
    flow.set_node_supply(sink, -count)
    if flow.solve_max_flow_with_min_cost() != flow.OPTIMAL:
        return [None] * jobs
    found: list[Slot | None] = [None] * jobs
    for a in np.flatnonzero(flow.flows(arcs)).tolist():
        s = int(slot[a])
        found[int(job[a])] = Slot(int(of_group[s]), int(position[s]))
    return found
