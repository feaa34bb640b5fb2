"""Books held and down accelerator-time to causes."""

from __future__ import annotations

import math

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout
from scheduler.core.problem import Mode
from scheduler.core.run import Allocation, Down, Placement, ReplicaAllocation
from scheduler.core.workload import IntArray


class HeldBook:
    """Accelerator-microseconds by pool and cause of everything that was held or down.

    Shares are cut in whole microseconds of the gang and multiplied by its accelerators, so
    that they sum to the held time exactly.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.amount_us: IntArray = np.zeros((len(layout.problem.pools), len(Cause)), np.int64)

    def book_job(self, allocation: Allocation, mode: Mode) -> None:
        """Split an allocation of a job.

        The overhead is ``reconfiguration``; of the rest, the share of work a failure undid
        is ``lost``, the share spent waiting for slower members ``straggler``, and what the
        mode's rate falls short of the gang's best on these types ``communication``.
        """
        run_us = allocation.end_us - allocation.start_us - allocation.overhead_us
        lost_us = 0
        if allocation.lost_work > 0:
            lost_us = min(run_us, round(run_us * allocation.lost_work / allocation.work))
        kept_us = run_us - lost_us
        straggler_us = math.floor(kept_us * mode.straggler)
        productive_us = math.floor((kept_us - straggler_us) * (mode.rate / mode.best_rate))
        self._book(
            allocation.placement,
            {
                Cause.RECONFIGURATION: allocation.overhead_us,
                Cause.LOST: lost_us,
                Cause.STRAGGLER: straggler_us,
                Cause.PRODUCTIVE: productive_us,
                Cause.COMMUNICATION: kept_us - straggler_us - productive_us,
            },
        )

    def book_replica(self, allocation: ReplicaAllocation, mode: Mode, used_us: float) -> None:
        """Split an allocation of a replica.

        Parameters
        ----------
        allocation, mode
            What was held, and how.
        used_us : float
            Integral of the used share of its capacity; the rest is ``headroom``.
        """
        run_us = allocation.end_us - allocation.start_us - allocation.overhead_us
        used = min(run_us, math.floor(used_us))
        productive_us = math.floor(used * (mode.rate / mode.best_rate))
        self._book(
            allocation.placement,
            {
                Cause.RECONFIGURATION: allocation.overhead_us,
                Cause.PRODUCTIVE: productive_us,
                Cause.COMMUNICATION: used - productive_us,
                Cause.HEADROOM: run_us - used,
            },
        )

    def book_down(self, down: Down) -> None:
        """Book every accelerator of a node that was down."""
        pool = self._layout.node_pool[down.node]
        size = self._layout.pool_size[pool]
        self.amount_us[pool, Cause.DOWN] += size * (down.end_us - down.start_us)

    def _book(self, placement: Placement, shares: dict[Cause, int]) -> None:
        by_pool: dict[int, int] = {}
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            pool = self._layout.node_pool[node]
            by_pool[pool] = by_pool.get(pool, 0) + count
        for cause, share_us in shares.items():
            if share_us:
                for pool, count in by_pool.items():
                    self.amount_us[pool, cause] += count * share_us
