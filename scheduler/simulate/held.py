"""Books held and down accelerator-time to causes, from the log of what was held.

Shares are cut in whole microseconds of the gang and multiplied by its accelerators, so that
they sum to the held time exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout
from scheduler.core.problem import Problem
from scheduler.core.run import AllocationColumns, Down
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import IntArray
from scheduler.simulate.power_meter import flat_by_mode
from scheduler.simulate.replicas import Served


def held_us(
    problem: Problem,
    layout: Layout,
    allocations: AllocationColumns,
    replicas: Iterable[Served],
    downs: Iterable[Down],
) -> IntArray:
    """Return accelerator-microseconds by pool and cause of all that was held or down.

    Shares of accelerators are left out: they are for `scheduler.simulate.shared`.

    Returns
    -------
    ndarray of int64, shape (pools, causes)
    """
    amount_us: IntArray = np.zeros((len(problem.pools), len(Cause)), dtype=np.int64)
    if problem.shares:
        allocations = _of_whole(problem, allocations)
    _book_jobs(amount_us, problem, layout, allocations)
    for replica in replicas:
        _book_replica(amount_us, problem, layout, replica)
    for down in downs:
        pool = layout.node_pool[down.node]
        held = (down.count or layout.pool_size[pool]) * (down.end_us - down.start_us)
        amount_us[pool, Cause.DOWN] += held
    return amount_us


def _of_whole(problem: Problem, held: AllocationColumns) -> AllocationColumns:
    """Return the allocations that hold accelerators whole."""
    share, first = flat_by_mode(problem, lambda mode: mode.share_milli)
    kind = first[problem.workload.jobs.class_index[held.job]] + held.mode
    return held.rows(np.flatnonzero(share[kind] == WHOLE_MILLI))


def _book_jobs(
    amount_us: IntArray, problem: Problem, layout: Layout, held: AllocationColumns
) -> None:
    """Split every allocation of a job."""
    if not len(held):
        return
    row, nodes, counts = held.parts()
    pool = np.array(layout.node_pool, dtype=np.int64)[nodes]
    for cause, each_us in splits_us(problem, held):
        np.add.at(amount_us[:, cause], pool, counts * each_us[row])


def splits_us(problem: Problem, held: AllocationColumns) -> tuple[tuple[Cause, IntArray], ...]:
    """Return the microseconds of each allocation by cause.

    The overhead is ``reconfiguration``; of the rest, the share of work a failure undid
    is ``lost``, the share spent waiting for slower members ``straggler``, and what the
    mode's rate falls short of the gang's best on these types ``communication``.
    """
    pace, first = flat_by_mode(problem, lambda mode: mode.rate / mode.best_rate)
    wait, _ = flat_by_mode(problem, lambda mode: mode.straggler)
    kind = first[problem.workload.jobs.class_index[held.job]] + held.mode
    run_us = held.end_us - held.start_us - held.overhead_us
    some = held.lost_work > 0
    lost_us = np.zeros_like(run_us)
    share_us = run_us[some] * held.lost_work[some] / held.work[some]
    lost_us[some] = np.minimum(run_us[some], np.rint(share_us).astype(np.int64))
    kept_us = run_us - lost_us
    straggler_us = np.floor(kept_us * wait[kind]).astype(np.int64)
    productive_us = np.floor((kept_us - straggler_us) * pace[kind]).astype(np.int64)
    return (
        (Cause.RECONFIGURATION, held.overhead_us),
        (Cause.LOST, lost_us),
        (Cause.STRAGGLER, straggler_us),
        (Cause.PRODUCTIVE, productive_us),
        (Cause.COMMUNICATION, kept_us - straggler_us - productive_us),
    )


def _book_replica(amount_us: IntArray, problem: Problem, layout: Layout, replica: Served) -> None:
    """Split what a replica held: the unused share of its capacity is ``headroom``."""
    held = replica.allocation
    mode = problem.service_modes[held.service][held.mode]
    run_us = held.end_us - held.start_us - held.overhead_us
    used_us = min(run_us, math.floor(replica.used_us))
    productive_us = math.floor(used_us * (mode.rate / mode.best_rate))
    shares = {
        Cause.RECONFIGURATION: held.overhead_us,
        Cause.PRODUCTIVE: productive_us,
        Cause.COMMUNICATION: used_us - productive_us,
        Cause.HEADROOM: run_us - used_us,
    }
    for node, count in zip(held.placement.nodes, held.placement.counts, strict=True):
        for cause, share_us in shares.items():
            amount_us[layout.node_pool[node], cause] += count * share_us
