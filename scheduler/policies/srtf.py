"""Shortest remaining time first, preemptive."""

from __future__ import annotations

import heapq

from scheduler.core.occupancy import Occupancy
from scheduler.policies.class_queues import ClassQueues
from scheduler.policies.provision import Provisioner, StaticPeak
from scheduler.policies.view import View


class Srtf:
    """The waiting job with the least remaining time runs, if need be in place of longer ones.

    Optimal for mean completion time on one machine (Schrage, Operations Research 16, 1968).
    A running job is preempted only by one that is shorter even with its restart counted, so
    that jobs of like length do not push each other out in turn. Known from attained service
    alone (``information="none"``) the rule is least attained service.
    """

    def __init__(self) -> None:
        self._queues = ClassQueues(key=lambda view, job: view.remaining_s(job))
        self._services: Provisioner = StaticPeak()

    def decide(self, view: View) -> None:
        """Start the shortest waiting jobs, preempting longer ones where that makes room."""
        self._services.provision(view)
        self._queues.update(view)
        heads = self._queues.heads(view)
        order = [(*next(entries), c) for c, entries in heads.items()]
        heapq.heapify(order)
        victims: list[tuple[float, int]] | None = None
        while order:
            remaining_s, job, c = heapq.heappop(order)
            found = view.find(job, "first")
            if found is None:
                if victims is None:
                    victims = _longest_first(view)
                if not _make_room(view, job, remaining_s, victims):
                    continue
                found = view.find(job, "first")
                if found is None:
                    continue
            view.start(job, *found)
            following = next(heads[c], None)
            if following is not None:
                heapq.heappush(order, (*following, c))


def _longest_first(view: View) -> list[tuple[float, int]]:
    found = [(view.remaining_s(job), job) for job in view.running if view.preemptible(job)]
    return sorted(found, reverse=True)


def _make_room(view: View, job: int, remaining_s: float, victims: list[tuple[float, int]]) -> bool:
    """Preempt the longest jobs until `job` fits; preempt none if it would not."""
    needs_s = remaining_s + view.restart_us(job) / 1e6
    if not victims or victims[0][0] <= needs_s:
        return False  # the usual case: nothing runs that is longer
    then: Occupancy = view.occupancy.copy()
    chosen: list[tuple[float, int]] = []
    for length_s, victim in victims:
        if length_s <= needs_s:
            return False
        if victim not in view.running:
            continue
        placement = view.running[victim].placement
        if not view.may_use(job, placement):
            continue
        then.give(placement)
        chosen.append((length_s, victim))
        if view.find(job, "first", then) is not None:
            break
    else:
        return False
    for entry in chosen:
        view.stop(entry[1])
        victims.remove(entry)
    return True
