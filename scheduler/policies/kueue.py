"""Kueue-like admission: quota by flavour, flavours tried in list order.

After the documentation of kubernetes-sigs/kueue (Cluster Queue: queueing strategy and flavor
fungibility; Topology Aware Scheduling). A flavour is an accelerator type, its quota all of
it; a workload takes the first flavour in the order of the fleet's list that has the quota and
a place for the gang, however slow it is there: Kueue knows no rates.
"""

from __future__ import annotations

from itertools import islice

from scheduler.core.run import Placement
from scheduler.policies.fifo import ArrivalQueue
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View

DEPTH = 1000
"""Workloads looked at behind one that stays; Kueue looks at all, one per cycle."""


class BestEffortFifo:
    """Older workloads first; one that cannot be admitted does not hold up those behind it."""

    strict = False

    def __init__(self) -> None:
        self._queue = ArrivalQueue()
        self._services = StaticPeak()

    def decide(self, view: View) -> None:
        """Admit workloads in order of arrival."""
        self._services.provision(view)
        self._queue.update(view)
        failed: set[int] = set()
        admitted: set[int] = set()
        for job in islice(self._queue.jobs, DEPTH):
            if not view.occupancy.has_free():
                break
            want = view.want_of(job)
            if want in failed:
                continue
            found = self._flavour(view, job)
            if found is not None:
                view.start(job, *found)
                admitted.add(job)
            elif self.strict:
                break
            else:
                failed.add(want)
        if admitted:
            jobs = self._queue.jobs
            self._queue.jobs = type(jobs)(job for job in jobs if job not in admitted)

    @staticmethod
    def _flavour(view: View, job: int) -> tuple[int, Placement] | None:
        """Return the fastest mode with a place on the first type that has one."""
        modes = view.modes(job)
        order = sorted(range(len(modes)), key=lambda m: (modes[m].type_index, m))
        for m in order:
            if len(modes[m].groups) == 1:
                placement = view.place_job(job, m, "first")
                if placement is not None:
                    return m, placement
        return None


class StrictFifo(BestEffortFifo):
    """Older workloads first; one that cannot be admitted holds up all behind it."""

    strict = True
