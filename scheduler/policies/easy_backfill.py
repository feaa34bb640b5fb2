"""EASY backfilling (Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995)."""

from __future__ import annotations

from itertools import islice

from scheduler.core.occupancy import Occupancy
from scheduler.core.run import Placement
from scheduler.policies.fifo import ArrivalQueue
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View

BACKFILL_DEPTH = 500
"""Waiting jobs looked at behind the head (Slurm's ``bf_max_job_test`` defaults to 500)."""


class EasyBackfill:
    """The head of the queue holds a reservation; a later job may pass if it does not delay it.

    The reservation is the earliest instant at which the expected ends of running jobs leave
    a legal placement for the head. A later job passes if it is expected to end by then, or
    if the head still has its placement with the later job in place.
    """

    def __init__(self) -> None:
        self._queue = ArrivalQueue()
        self._services = StaticPeak()

    def decide(self, view: View) -> None:
        """Start the head of the queue while it fits, then backfill around its reservation."""
        if view.services:
            self._services.provision(view)
        if view.joined:
            self._queue.update(view)
        head = self._queue.start_head(view)
        if head is None or len(self._queue.jobs) < 2 or not view.occupancy.has_free():
            return
        shadow_us, then = reserve_head(view, head)
        self._backfill(view, shadow_us, then)

    def _backfill(self, view: View, shadow_us: int, then: Occupancy) -> None:
        failed: set[int] = set()
        passed: set[int] = set()
        for job in islice(self._queue.jobs, 1, 1 + BACKFILL_DEPTH):
            want = view.want_of(job)
            if want in failed:
                continue
            found = view.find(job, "first")
            if found is None:
                failed.add(want)
                continue
            mode, placement = found
            if view.now_us + view.run_s(job, mode) * 1e6 > shadow_us:
                if not then.fits(placement):
                    continue
                then.take(placement)
            view.start(job, mode, placement)
            passed.add(job)
            if not view.occupancy.has_free():
                break
        if passed:
            self._queue.jobs = type(self._queue.jobs)(
                job for job in self._queue.jobs if job not in passed
            )


def reserve_head(view: View, head: int) -> tuple[int, Occupancy]:
    """Return when `head` can start, and what is free at that instant with it in place.

    More ends leave more room, so the first end that leaves enough is found by bisection.
    Power is not reserved: a head that only the cap holds back waits for the next end.
    """
    ends = sorted((view.expected_end_us(job), job) for job in view.running)

    def place_after(count: int) -> tuple[Occupancy, Placement | None]:
        then = view.occupancy.copy()
        for _, job in ends[:count]:
            then.give(view.running[job].placement)
        places = (then.find(mode, "first") for mode in view.modes(head))
        return then, next((p for p in places if p is not None), None)

    low, high = 1, len(ends)
    while low < high:
        middle = (low + high) // 2
        if place_after(middle)[1] is None:
            low = middle + 1
        else:
            high = middle
    while low < len(ends) and ends[low][0] == ends[low - 1][0]:
        low += 1  # all that ends at that instant is free then
    then, placement = place_after(low)
    if placement is None or not ends:
        return 1 << 62, then  # replicas or outages stand in the way: nothing can be promised
    then.take(placement)
    return ends[low - 1][0], then
