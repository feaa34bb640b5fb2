"""Who waits, when: the demand side of the idle causes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby
from operator import itemgetter

from scheduler.core.problem import Problem
from scheduler.core.workload import HELD_BACK
from scheduler.verify.facts import Facts
from scheduler.verify.lifecycle import Life
from scheduler.verify.services import Serving


@dataclass(frozen=True, slots=True)
class Want:
    """An interval over which a job waits, or over which a service lacks capacity.

    Parameters
    ----------
    key : int
        Class index, ``-1 - service``, or `HELD_BACK` for a job that its array has no turn for.
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
    One of an array with a limit waits in its own right only from its turn on.
    A service waits while its demand exceeds the rate of all its replicas, those that still
    load included.
    """
    wants = []
    turns = turns_of(facts, lives, rejected)
    classes = facts.problem.workload.jobs.class_index.tolist()
    for life in lives:
        ready = None if life.job in rejected else _ready_us(facts, lives, life.job)
        if ready is None:
            continue
        since = turns.get(life.job, ready)
        if ready < min(since, facts.end_us):
            wants.append(Want(HELD_BACK, ready, min(since, facts.end_us), life.job))
        for hold in life.holds:
            if hold.start_us > since:
                wants.append(Want(classes[life.job], since, hold.start_us, life.job))
            since = max(since, hold.end_us)
        if life.finished_us is None and life.killed_us is None and since < facts.end_us:
            wants.append(Want(classes[life.job], since, facts.end_us, life.job))
    for service, serving in enumerate(servings):
        wants += [Want(-1 - service, start, end) for start, end in serving.short_spans()]
    return wants


def _ready_us(facts: Facts, lives: Sequence[Life], job: int) -> int | None:
    """Return when a job is released and all that it needs has finished, None if never."""
    after = facts.problem.workload.jobs.after
    at = [facts.release_us[job]]
    for other in after[job] if after else ():
        finished_us = lives[other].finished_us
        if finished_us is None:
            return None
        at.append(finished_us)
    return max(at)


def turns_of(facts: Facts, lives: Sequence[Life], rejected: Collection[int]) -> dict[int, int]:
    """Return when each job of an array with a limit has its turn; after the horizon if never.

    At any instant, ended jobs have given their turns back, and the first jobs that are ready
    have taken those that are left.
    """
    jobs = facts.problem.workload.jobs
    turns: dict[int, int] = {}
    members: list[list[Life]] = [[] for _ in jobs.array_most]
    for life in lives if jobs.array_most else ():
        if jobs.array_index[life.job] >= 0:
            members[jobs.array_index[life.job]].append(life)
    for array, most in enumerate(jobs.array_most):
        steps: list[tuple[int, int, int]] = []  # instant; 0: ended, 1: ready; job
        for life in members[array]:
            ready = None if life.job in rejected else _ready_us(facts, lives, life.job)
            if ready is not None:
                steps.append((ready, 1, life.job))
                turns[life.job] = facts.end_us + 1
            if (ended := _end_us(life)) is not None:
                steps.append((ended, 0, life.job))
        left = most
        queue: list[int] = []
        for at, group in groupby(sorted(steps), key=itemgetter(0)):
            for _, is_ready, job in group:
                if is_ready:
                    heappush(queue, job)
                else:
                    left += 1
            while queue and left > 0:
                left -= 1
                turns[heappop(queue)] = at
    return turns


def _end_us(life: Life) -> int | None:
    return life.finished_us if life.finished_us is not None else life.killed_us


def types_wanted(problem: Problem, key: int) -> frozenset[int]:
    """Return the accelerator types that a class or service has a mode on."""
    if key == HELD_BACK:
        return frozenset()
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
