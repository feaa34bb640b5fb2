"""A round where quotas, labels, reservations, hosts or neighbours say who may start where.

Rules like these make one gang's place depend on who else runs, so there is no supply to share
out: gangs start one by one, by worth per accelerator, each asked for in the state that those
before it have made. One that finds no room may take that of gangs worth less together; who
would have to go is tried out first, and nothing is stopped that does not make room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from scheduler.core.run import Placement
from scheduler.policies.view import View
from scheduler.solver.round_types import Candidate, Option

MOST_VICTIMS: Final = 24
"""Gangs that may make way for one."""

MOST_TRIALS: Final = 600
"""States tried out in one round; a large fleet's round stays short."""


class GuardedRound:
    """One round: starts, preempts and moves as it goes.

    Parameters
    ----------
    view : View
        The present.
    candidates : sequence of Candidate
        What waits, and what runs and may be stopped.
    """

    def __init__(self, view: View, candidates: Sequence[Candidate]) -> None:
        self._view = view
        self._candidates = candidates
        self._kept = {c.job: c for c in candidates if c.held is not None}
        self._weakest = sorted(self._kept.values(), key=_held_density)
        self._trials = MOST_TRIALS

    def play(self) -> float:
        """Carry the round out; return the utility reached."""
        reached: list[float] = []
        given_up: set[int] = set()
        waiting = [c for c in self._candidates if c.held is None and c.options]
        for candidate in sorted(waiting, key=_by_density):
            want = self._view.want_of(candidate.job)
            if want in given_up:
                continue
            found = self._room(candidate.job, candidate.options)
            if found is None:
                found = self._make_room(candidate)
            if found is None:
                given_up.add(want)  # those behind it are worth less in the same places
                continue
            self._view.start(candidate.job, found[0].mode, found[1])
            reached.append(found[0].utility)
        reached += [self._better_place(candidate) for candidate in [*self._kept.values()]]
        return math.fsum(reached)

    def _room(self, job: int, options: Sequence[Option]) -> tuple[Option, Placement] | None:
        for option in options:
            placement = self._view.place_job(job, option.mode)
            if placement is not None:
                return option, placement
        return None

    def _make_room(self, candidate: Candidate) -> tuple[Option, Placement] | None:
        """Stop the gangs of least worth that let `candidate` start, if they are worth less."""
        chosen = self._victims(candidate)
        if not chosen:
            return None
        for victim in sorted(chosen, key=_held_density, reverse=True):
            fewer = [c for c in chosen if c is not victim]
            if fewer and self._without(candidate, fewer) is not None:
                chosen = fewer
        found = self._without(candidate, chosen)
        if found is None or found.utility <= _worth(chosen):
            return None
        for victim in chosen:
            self._view.stop(victim.job)
            del self._kept[victim.job]
        return self._room(candidate.job, candidate.options)

    def _victims(self, candidate: Candidate) -> list[Candidate]:
        """Return gangs, worth less than the candidate together, without which it has room."""
        view = self._view
        most = max(option.utility for option in candidate.options)
        types = {g.type_index for option in candidate.options for g in option.shape.groups}
        tenant = view.tenant_of(candidate.job)
        chosen: list[Candidate] = []
        lost = 0.0
        with ExitStack() as gone:
            then = view.occupancy.copy()
            for victim in self._weakest:
                if victim.job not in self._kept or victim.held is None:
                    continue
                held = view.modes(victim.job)[view.running[victim.job].mode]
                in_the_way = any(g.type_index in types for g in held.groups)
                if not in_the_way and view.tenant_of(victim.job) != tenant:
                    continue
                lost += victim.held.utility
                if lost >= most or len(chosen) >= MOST_VICTIMS or self._trials <= 0:
                    return []
                self._trials -= 1
                gone.enter_context(view.without([victim.job]))
                then.give(victim.held.placement)
                chosen.append(victim)
                for option in candidate.options:
                    if view.place_job(candidate.job, option.mode, occupancy=then) is not None:
                        return chosen if option.utility > lost else []
        return []

    def _without(self, candidate: Candidate, gone: Sequence[Candidate]) -> Option | None:
        """Return the first option that has room once some gangs have stopped."""
        view = self._view
        self._trials -= 1
        then = view.occupancy.copy()
        for victim in gone:
            assert victim.held is not None
            then.give(victim.held.placement)
        with view.without([victim.job for victim in gone]):
            for option in candidate.options:
                if view.place_job(candidate.job, option.mode, occupancy=then) is not None:
                    return option
        return None

    def _better_place(self, candidate: Candidate) -> float:
        """Move a running gang where that pays; return what it is worth now."""
        held = candidate.held
        assert held is not None
        better = tuple(o for o in candidate.options if o.utility > held.utility)
        if not better or self._trials <= 0:
            return held.utility
        if self._without(Candidate(candidate.job, better), [candidate]) is None:
            return held.utility
        self._view.stop(candidate.job)
        found = self._room(candidate.job, better)
        if found is None:
            return 0.0
        self._view.start(candidate.job, found[0].mode, found[1])
        return found[0].utility


def _by_density(candidate: Candidate) -> tuple[float, int]:
    return -max(o.utility / o.shape.count for o in candidate.options), candidate.job


def _held_density(candidate: Candidate) -> tuple[float, int]:
    assert candidate.held is not None
    return candidate.held.utility / sum(candidate.held.placement.counts), candidate.job


def _worth(candidates: Sequence[Candidate]) -> float:
    return math.fsum(c.held.utility for c in candidates if c.held is not None)
