"""Arrival order without blocking, each gang where it fits most tightly."""

from __future__ import annotations

import heapq

from scheduler.policies.class_queues import ClassQueues
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View


class BestFit:
    """Every waiting job that fits starts, oldest first, where it leaves the least room.

    Best fit is the classic bin-packing rule (Johnson et al., SIAM J. Comput. 3, 1974);
    cluster schedulers use it as "most allocated" scoring.
    """

    def __init__(self) -> None:
        self._queues = ClassQueues(key=lambda _, job: float(job))
        self._services = StaticPeak("best")

    def decide(self, view: View) -> None:
        """Start what fits; a class whose oldest job does not fit is dropped for now."""
        self._services.provision(view)
        self._queues.update(view)
        heads = self._queues.heads(view)
        order = [(*next(entries), c) for c, entries in heads.items()]
        heapq.heapify(order)
        while order:
            _, job, c = heapq.heappop(order)
            found = view.find(job, "best")
            if found is None:
                continue
            view.start(job, *found)
            following = next(heads[c], None)
            if following is not None:
                heapq.heappush(order, (*following, c))
