"""Strict first come, first served."""

from __future__ import annotations

from collections import deque

from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View


class ArrivalQueue:
    """Waiting jobs in order of release; a job that was stopped returns to its old place."""

    def __init__(self) -> None:
        self.jobs: deque[int] = deque()

    def update(self, view: View) -> None:
        """Take in the jobs that joined since the last decision (indices follow release)."""
        jobs = self.jobs
        for job in view.joined:
            if not jobs or job > jobs[-1]:
                jobs.append(job)
            elif job < jobs[0]:
                jobs.appendleft(job)
            else:
                self.jobs = jobs = deque(sorted({*jobs, job}))

    def start_head(self, view: View) -> int | None:
        """Start jobs from the head while they fit; return the job that blocks, if any."""
        jobs = self.jobs
        while jobs:
            found = view.find(jobs[0], "first")
            if found is None:
                return jobs[0]
            view.start(jobs.popleft(), *found)
        return None


class Fifo:
    """The head of the queue starts as soon as it fits; nothing passes it.

    Each job takes its fastest mode that has room, on the first nodes that have it.
    """

    def __init__(self) -> None:
        self._queue = ArrivalQueue()
        self._services = StaticPeak()

    def decide(self, view: View) -> None:
        """Start what fits, in order of arrival."""
        if view.services:
            self._services.provision(view)
        if view.joined:
            self._queue.update(view)
        self._queue.start_head(view)
