"""Who waits, when: the demand side of the idle causes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from scheduler.core.problem import Problem
from scheduler.verify.facts import Facts
from scheduler.verify.lifecycle import Life
from scheduler.verify.services import Serving


@dataclass(frozen=True, slots=True)
class Want:
    """An interval over which a job waits, or over which a service lacks capacity.

    Parameters
    ----------
    key : int
        Class index, or ``-1 - service``.
    start_us, end_us : int
        Half-open.
    job : int
        Who waits; -1 for a service.
    """

    key: int
    start_us: int
    end_us: int
    job: int = -1


def wants_of(
    facts: Facts, lives: Sequence[Life], rejected: Collection[int], servings: Sequence[Serving]
) -> list[Want]:
    """Return every wait within the horizon.

    A job waits from its release, or the later end of the last job that it needs, while it
    holds nothing, until it finishes or is killed; a rejected or cancelled job never waits.
    A service waits while its demand exceeds the rate of all its replicas, those that still
    load included.
    """
    wants = []
    classes = facts.problem.workload.jobs.class_index.tolist()
    after = facts.problem.workload.jobs.after
    for life in lives:
        if life.job in rejected:
            continue
        since = facts.release_us[life.job]
        needed = [lives[k].finished_us for k in after[life.job]] if after else []
        if None in needed:
            continue
        since = max([since, *(at for at in needed if at is not None)])
        for hold in life.holds:
            if hold.start_us > since:
                wants.append(Want(classes[life.job], since, hold.start_us, life.job))
            since = max(since, hold.end_us)
        if life.finished_us is None and life.killed_us is None and since < facts.end_us:
            wants.append(Want(classes[life.job], since, facts.end_us, life.job))
    for service, serving in enumerate(servings):
        wants += [Want(-1 - service, start, end) for start, end in serving.short_spans()]
    return wants


def types_wanted(problem: Problem, key: int) -> frozenset[int]:
    """Return the accelerator types that a class or service has a mode on."""
    modes = problem.modes[key] if key >= 0 else problem.service_modes[-1 - key]
    return frozenset(group.type_index for mode in modes for group in mode.groups)


class Clock:
    """Measures how much of an interval some wait covers, exactly, by prefix sums.

    Parameters
    ----------
    wants : sequence of Want
        Any order, may overlap.
    """

    def __init__(self, wants: Sequence[Want]) -> None:
        changes: dict[int, int] = {}
        for want in wants:
            changes[want.start_us] = changes.get(want.start_us, 0) + 1
            changes[want.end_us] = changes.get(want.end_us, 0) - 1
        self._at_us = sorted(changes)
        self._until: list[int] = []
        self._open: list[bool] = []
        count = total = before = 0
        for at in self._at_us:
            if count:
                total += at - before
            count += changes[at]
            before = at
            self._until.append(total)
            self._open.append(count > 0)

    def covered(self, start_us: int, end_us: int) -> int:
        """Return the microseconds of ``[start_us, end_us)`` in which something waits."""
        return self._before(end_us) - self._before(start_us)

    def _before(self, at_us: int) -> int:
        i = bisect_right(self._at_us, at_us) - 1
        if i < 0:
            return 0
        return self._until[i] + (at_us - self._at_us[i] if self._open[i] else 0)
