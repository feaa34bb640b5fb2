"""A whole schedule for the jobs known, kept to until others come: makespan first, then JCT."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.autoscale import Autoscale
from scheduler.policies.rounds import TypeModes, times_on_types
from scheduler.policies.view import View
from scheduler.solver.strips import Piece, strip_plan

PLAN_S = 600.0
"""Least time between two plans."""

TRIES = 60
"""Orders tried at random where at least half of the jobs are new."""

LATE_US = us_from_s(1.0)
"""A piece whose turn comes within this starts now: ends are rounded to microseconds."""


class StripPlanner:
    """Lays all known jobs out to end together, and starts each in its turn.

    The plan is `scheduler.solver.strips.strip_plan`: its makespan is close to what any
    schedule can reach, and short jobs end early. It is kept to until jobs arrive or one that
    it counted on is stopped by a failure. Where nodes are too fragmented for a gang, or run
    times turn out longer than known, its turn comes as soon as there is room.
    """

    def __init__(self) -> None:
        self._services = Autoscale()
        self._table: TypeModes | None = None
        self._pieces: list[Piece] = []
        self._stop_us: dict[int, int] = {}
        self._parts: dict[int, int] = {}
        self._planned: dict[int, None] = {}
        self._plan_us: int | None = None
        self.counters = {"plans": 0.0, "least_makespan_s": 0.0}

    def decide(self, view: View) -> None:
        """Plan if jobs came, then stop and start what the plan says."""
        self._services.provision(view)
        if self._table is None:
            self._table = TypeModes(view.problem)
        new = any(job not in self._planned for job in view.waiting)
        if new and (self._plan_us is None or view.now_us - self._plan_us >= us_from_s(PLAN_S)):
            self._plan(view)
        elif new and self._plan_us is not None:
            view.wake_at(self._plan_us + us_from_s(PLAN_S))
        for job, at_us in list(self._stop_us.items()):
            if at_us <= view.now_us + LATE_US:
                del self._stop_us[job]
                if job in view.running and view.preemptible(job):
                    view.stop(job)
        self._start_due(view)
        if self._stop_us:
            view.wake_at(min(self._stop_us.values()))

    def _plan(self, view: View) -> None:
        """Lay out everything that waits or runs; what runs on where its plan has it stays."""
        assert self._table is not None
        jobs = [job for job in sorted([*view.waiting, *view.running]) if self._movable(view, job)]
        new = sum(job not in self._planned for job in jobs)
        self._planned = dict.fromkeys([*view.waiting, *view.running])
        self._plan_us = view.now_us
        self._stop_us = {}
        if not jobs:
            return
        kinds = [view.class_of(job) for job in jobs]
        rate, gang = self._table.rate[kinds], self._table.gang[kinds]
        left_s = np.array([max(1e-3, view.remaining_s(job)) for job in jobs])
        start_s = np.array([view.restart_us(job) / US_PER_S for job in jobs])
        held = [job for job in view.running if self._movable(view, job)]
        capacity = np.array(view.free_without(held), dtype=np.float64)
        run_s = times_on_types(left_s, rate, gang, capacity)
        able = np.asarray(np.isfinite(run_s).any(axis=1))
        jobs = [job for job, may in zip(jobs, able.tolist(), strict=True) if may]
        if not jobs:
            return
        holds = np.array([self._type_of(view, job) for job in jobs], dtype=np.int64)
        tries = TRIES if 2 * new >= len(jobs) else 0
        plan = strip_plan(run_s[able], start_s[able], gang[able], capacity, holds, tries)
        now_s = view.now_us / US_PER_S
        self._pieces = [replace(p, job=jobs[p.job], start_s=now_s + p.start_s) for p in plan.pieces]
        self._parts = dict(Counter(p.job for p in self._pieces))
        self.counters["plans"] += 1
        self.counters["least_makespan_s"] = now_s + plan.least_makespan_s
        self._keep_in_place(view)

    @staticmethod
    def _type_of(view: View, job: int) -> int:
        running = view.running.get(job)
        return -1 if running is None else view.modes(job)[running.mode].type_index

    @staticmethod
    def _movable(view: View, job: int) -> bool:
        return job in view.waiting or view.preemptible(job)

    def _keep_in_place(self, view: View) -> None:
        """Stop what runs but is not first in the plan, on the same type."""
        first: dict[int, Piece] = {}
        for piece in self._pieces:
            first.setdefault(piece.job, piece)
        due_s = (view.now_us + LATE_US) / US_PER_S
        for job in list(view.running):
            mine = first.get(job)
            if mine is None:
                continue
            if mine.type_index == self._type_of(view, job) and mine.start_s <= due_s:
                self._pieces.remove(mine)
                self._started(mine, view.now_us)
            else:
                view.stop(job)

    def _started(self, piece: Piece, at_us: int) -> None:
        """Note when the piece ends if more of its job is to come elsewhere."""
        self._parts[piece.job] -= 1
        if self._parts[piece.job]:
            self._stop_us[piece.job] = at_us + us_from_s(piece.run_s)

    def _start_due(self, view: View) -> None:
        """Start pieces in their turn; if nothing runs, whatever fits first."""
        due_us = view.now_us + LATE_US
        count = sum(us_from_s(p.start_s) <= due_us for p in self._pieces)
        kept = []
        for piece in self._pieces[:count]:
            if piece.job in view.running:
                kept.append(piece)  # its earlier part is late
            elif piece.job in view.waiting and not self._start(view, piece):
                kept.append(piece)
        later = self._pieces[count:]
        self._pieces = [*kept, *later]
        if later:
            view.wake_at(us_from_s(later[0].start_s))
        if not view.running:
            self._start_anything(view)

    def _start(self, view: View, piece: Piece) -> bool:
        assert self._table is not None
        for m, _ in self._table.modes[view.class_of(piece.job)][piece.type_index]:
            placement = view.place_job(piece.job, m)
            if placement is not None:
                view.start(piece.job, m, placement)
                self._started(piece, view.now_us)
                return True
        return False

    def _start_anything(self, view: View) -> None:
        """Fall back on the first job that fits in any way, so that nothing stands still."""
        for job in sorted(view.waiting):
            found = view.find(job)
            if found is not None:
                view.start(job, *found)
                self._pieces = [p for p in self._pieces if p.job != job]
