"""Plays a policy forward from a present, on the jobs known and on twins of past ones.

The policies are the real ones, on a `View` of a make-believe present: capacity, shapes, restarts
and checkpoints are those of the run. What a rehearsal leaves out is what cannot be foreseen, or
what the one who rehearses does not decide on: failures, power caps; services keep the replicas
they have.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Problem
from scheduler.core.run import Placement
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import Jobs
from scheduler.policies.present import RunningJob, RunningReplica, ServiceNow
from scheduler.policies.view import Policy, View

STANDSTILL: Final = 3
"""Instants at which nothing runs or starts, after which nothing will."""

FAR_US: Final = 1 << 62


Coming = tuple[tuple[int, int, float], ...]
"""Instants, jobs and work."""


@dataclass(frozen=True, slots=True)
class Present:
    """A state of the fleet and its jobs, independent of what happens next.

    Parameters
    ----------
    at_us : int
        When.
    occupancy : Occupancy
        What is free.
    waiting : tuple of int
        Jobs that hold nothing, in the order in which they joined.
    running : mapping of int to RunningJob
        Jobs that hold accelerators, with the ends that are expected.
    work : mapping of int to tuple of (float, float)
        Of each of them the work left, and the run time had in seconds of its fastest mode.
    coming : tuple of tuple of (int, int, float)
        Instant, job and work of those that are to come, in order: each is a twin of the job
        named, with work of its own.
    """

    at_us: int
    occupancy: Occupancy
    waiting: tuple[int, ...]
    running: Mapping[int, RunningJob]
    work: Mapping[int, tuple[float, float]]
    coming: Coming = ()


def present_of(view: View) -> Present:
    """Return the present as a view has it; what is left of a job is what the view expects."""
    running = {job: replace(r, end_us=view.expected_end_us(job)) for job, r in view.running.items()}
    work = {
        job: (view.remaining_s(job) * view.modes(job)[0].rate, view.attained_s(job))
        for job in (*view.waiting, *view.running)
    }
    return Present(view.now_us, view.occupancy.copy(), tuple(view.waiting), running, work)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How a rehearsal went.

    Parameters
    ----------
    unfinished : int
        Jobs that had not ended when nothing more happened, or when it was given up.
    there_s : float
        Weighted time that the jobs were there, from the present to their ends.
    """

    unfinished: int
    there_s: float

    @property
    def rank(self) -> tuple[int, float]:
        """Return what to compare by; less is better."""
        return self.unfinished, self.there_s


class _NoReplicas:
    """Services: somebody else's."""

    def __init__(self) -> None:
        self.running: dict[int, RunningReplica] = {}
        self.services: Sequence[ServiceNow] = ()

    def start(self, service: int, mode: int, placement: Placement) -> None:
        """Never asked for."""

    def stop(self, number: int) -> None:
        """Never asked for."""


class Rehearsal:
    """A make-believe run, played again and again; also the jobs of its view.

    Arithmetic and order of events are those of the run itself, so that where nothing unforeseen
    comes and the lengths are true, a rehearsed policy does in the run what it did here.

    Parameters
    ----------
    problem : Problem
        Fleet, classes and modes.
    occupancy : Occupancy
        Any one, for its layout.
    """

    def __init__(self, problem: Problem, occupancy: Occupancy) -> None:
        self._count = len(problem.workload.jobs)
        self._problem = problem = _with_twins(problem)
        self._class_of: list[int] = problem.workload.jobs.class_index.tolist()
        self._restart_us = [us_from_s(c.restart_s) for c in problem.workload.classes]
        self.waiting: dict[int, None] = {}
        self.running: dict[int, RunningJob] = {}
        self.access = None
        self._left: dict[int, float] = {}
        self._had_s: dict[int, float] = {}
        self._starts: dict[int, int] = {}
        self._ends: list[tuple[int, int, int, int]] = []
        self._wakes: list[int] = []
        self._pushed = 0
        self._joined: list[int] = []
        self.view = View(
            problem,
            occupancy,
            "exact",
            jobs=self,
            replicas=_NoReplicas(),
            power_allows=lambda mode, placement: True,
        )

    # --- what the view asks for --------------------------------------------------

    def remaining_work(self, job: int) -> float:
        """Return the work a job has left."""
        running = self.running.get(job)
        left = self._left[job]
        return left if running is None else max(0.0, left - self._done(job, running))

    def attained_s(self, job: int) -> float:
        """Return run time had so far, in seconds of the job's fastest mode."""
        running = self.running.get(job)
        had_s = self._had_s[job]
        if running is not None:
            done = min(self._left[job], self._done(job, running))
            had_s += done / self._best_rate(job)
        return had_s

    def held_us(self) -> list[int]:
        """Return nothing: what tenants held before is not rehearsed."""
        return [0] * len(self._problem.workload.tenants)

    def _best_rate(self, job: int) -> float:
        return self._problem.modes[self._class_of[job]][0].rate

    def _rate(self, job: int, mode: int) -> float:
        return self._problem.modes[self._class_of[job]][mode].rate

    def _done(self, job: int, running: RunningJob) -> float:
        ran_us = self.view.now_us - running.start_us - running.overhead_us
        return self._rate(job, running.mode) * ran_us / US_PER_S if ran_us > 0 else 0.0

    # --- what policies do --------------------------------------------------------

    def start(self, job: int, mode: int, placement: Placement) -> None:
        """Start a waiting job."""
        self._begin(job, mode, placement)
        del self.waiting[job]

    def stop(self, job: int) -> None:
        """Preempt a running job."""
        self._leave(job)
        self.waiting[job] = None
        self._joined.append(job)

    def move(self, job: int, mode: int, placement: Placement) -> None:
        """Let a running job go on elsewhere, or in another mode."""
        self._leave(job)
        self._begin(job, mode, placement)

    def _begin(self, job: int, mode: int, placement: Placement) -> None:
        self.view.occupancy.take(placement)
        now_us, overhead_us = self.view.now_us, self._restart_us[self._class_of[job]]
        run_us = math.ceil(self._left[job] / self._rate(job, mode) * US_PER_S - 1e-6)
        end_us = now_us + overhead_us + max(1, run_us)
        self._expect(job, RunningJob(mode, placement, now_us, overhead_us, end_us))

    def _expect(self, job: int, running: RunningJob) -> None:
        self.running[job] = running
        self._starts[job] = number = self._starts.get(job, 0) + 1
        self._pushed += 1
        heapq.heappush(self._ends, (running.end_us, self._pushed, job, number))

    def _leave(self, job: int) -> None:
        running = self.running.pop(job)
        done = min(self._left[job], self._done(job, running))
        kind = self._problem.workload.classes[self._class_of[job]]
        if not kind.saves_state:
            every = kind.checkpoint_s * self._rate(job, running.mode)
            if math.isinf(every):
                done = 0.0
            elif every > 0:
                done = math.floor(done / every + 1e-9) * every
        self._left[job] -= done
        self._had_s[job] += done / self._best_rate(job)
        self.view.occupancy.give(running.placement)

    # --- a rehearsal -------------------------------------------------------------

    def play(
        self, policy: Policy, present: Present, *, most_decisions: int, most_s: float = math.inf
    ) -> Rehearsed:
        """Play until all jobs have ended.

        Parameters
        ----------
        policy : Policy
            A fresh one.
        present : Present
            Where it begins.
        most_decisions : int
            Given up after so many: what is left counts as unfinished.
        most_s : float
            Given up once the jobs were there for so long together, weighted.
        """
        self._set(present)
        view, waiting, running, ends = self.view, self.waiting, self.running, self._ends
        coming = [(at_us, self._count + job, work) for at_us, job, work in reversed(present.coming)]
        there = math.fsum(view.weight(job) for job in (*waiting, *running))
        total, decisions, standing, wake_us = 0.0, 0, 0, -1
        while True:
            there -= self._finish_due()
            while coming and coming[-1][0] <= view.now_us:
                _, job, work = coming.pop()
                self._left[job] = work
                self._had_s[job] = 0.0
                waiting[job] = None
                self._joined.append(job)
                there += view.weight(job)
            if not waiting and not running and not coming:
                break
            view.joined, self._joined = self._joined, []
            policy.decide(view)
            decisions += 1
            if view.wake_us is not None:
                if not view.now_us < wake_us <= view.wake_us:
                    wake_us = view.wake_us
                    heapq.heappush(self._wakes, wake_us)
                view.wake_us = None
            standing = 0 if running or coming else standing + 1
            after = min((ends[0][0] if ends else FAR_US, *self._wakes[:1]))
            after = min(after, coming[-1][0]) if coming else after
            if after == FAR_US or standing > STANDSTILL or decisions >= most_decisions:
                break
            total += there * (after - view.now_us) / US_PER_S
            if total > most_s:
                break
            view.now_us = view.occupancy.now_us = after
        return Rehearsed(len(waiting) + len(running) + len(coming), total)

    def _finish_due(self) -> float:
        """Let the jobs end whose time has come; return their weight."""
        view, ended, gone = self.view, 0, 0.0
        while self._ends and self._ends[0][0] <= view.now_us:
            _, _, job, number = heapq.heappop(self._ends)
            if job in self.running and self._starts[job] == number:
                view.occupancy.give(self.running.pop(job).placement)
                gone += view.weight(job)
                ended += 1
        while self._wakes and self._wakes[0] <= view.now_us:
            heapq.heappop(self._wakes)
        view.ended = ended
        return gone

    def _set(self, present: Present) -> None:
        view = self.view
        view.now_us, view.wake_us = present.at_us, None
        view.occupancy = present.occupancy.copy()
        for kept in (self.waiting, self.running, self._starts, self._ends, self._wakes):
            kept.clear()
        self._left, self._had_s = {}, {}
        for job, (left, had_s) in present.work.items():
            self._left[job], self._had_s[job] = left, had_s
        self.waiting.update(dict.fromkeys(present.waiting))
        for job, running in present.running.items():
            self.running[job] = running
            done = max(0.0, self._done(job, running))
            self._left[job] += done
            self._had_s[job] -= done / self._best_rate(job)
            self._expect(job, replace(running))
        self._joined = list(present.waiting)


def _with_twins(problem: Problem) -> Problem:
    """Return the problem with every job a second time, behind the others in the same order."""
    jobs = problem.workload.jobs
    every = np.tile(np.arange(len(jobs)), 2)
    twice = Jobs(
        (*jobs.ids, *jobs.ids),
        jobs.class_index[every],
        jobs.release_s[every],
        jobs.work[every],
        jobs.estimate_s[every],
        jobs.weight[every],
        jobs.deadline_s[every],
        jobs.tenant_index[every],
        jobs.priority[every],
    )
    return replace(problem, workload=replace(problem.workload, jobs=twice))
