"""Jobs: who waits, who runs, what they have done, and the log of what they held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from scheduler.core.problem import Mode, Problem
from scheduler.core.run import AllocationColumns, Crash, Placement
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import HELD_BACK, FloatArray
from scheduler.policies.view import RunningJob
from scheduler.simulate.access import Access, is_guarded
from scheduler.simulate.arrays import Turns
from scheduler.simulate.clock import Clock, Kind
from scheduler.simulate.dependencies import Dependencies
from scheduler.simulate.ground import Ground
from scheduler.simulate.hazard import Hazard

_WIDTH = 8
"""Entries of one allocation in the log."""


class JobBook:
    """The state of every job, as columns indexed by job.

    Parameters
    ----------
    problem : Problem
        Workload and modes.
    ground : Ground
        Where gangs stand.
    clock : Clock
        Present instant; ends are pushed to it.
    work : list of float
        What each job turns out to need.
    seed : int
        Seed of crashes.

    Attributes
    ----------
    waiting : dict of int to None
        Released jobs that hold nothing.
    waiting_wants : dict of int to int
        How many of them, by want (their class where `Access` rules nothing); no zeros.
    want_of : list of int
        By job, its want.
    running : dict of int to RunningJob
        Jobs that hold accelerators.
    joining : list of int
        Jobs that joined `waiting` since the policy was last asked.
    ended : int
        Allocations that ended by themselves since then.
    unfinished, arriving : int
        Jobs that have not ended, and those of them that have not arrived.
    finished_us, killed_us : dict of int to int
        End of each finished job, and of each that reached its time limit.
    cancelled : dict of int to str
        Jobs that need one which will never finish, and which.
    crashes : list of Crash
        Stops that are no node's fault.
    tenant_us : list of int
        Accelerator-microseconds held by each tenant in allocations that have ended.
    log : list
        Flat: job, mode, start, end, overhead, work, lost work, placement of each allocation.
    """

    def __init__(
        self,
        problem: Problem,
        ground: Ground,
        clock: Clock,
        work: list[float],
        seed: int,
    ) -> None:
        jobs = problem.workload.jobs
        self._problem = problem
        self._ground = ground
        self._clock = clock
        self._class_of: list[int] = jobs.class_index.tolist()
        self._counts = [tuple(mode.count for mode in modes) for modes in problem.modes]
        self._restart_us = [us_from_s(c.restart_s) for c in problem.workload.classes]
        self._preemptible = [c.preemptible for c in problem.workload.classes]
        self._loses = [not c.saves_state for c in problem.workload.classes]
        self._release_us = [us_from_s(t) for t in jobs.release_s.tolist()]
        self._arrivals: list[int] = []
        self._rejected: Mapping[int, str] = {}
        self._remaining = work.copy()
        self._attained_best_s = [0.0] * len(work)
        self._starts = [0] * len(work)
        self.waiting: dict[int, None] = {}
        self.waiting_wants: dict[int, int] = {}
        self.running: dict[int, RunningJob] = {}
        self.access = Access(problem, self.running) if is_guarded(problem) else None
        self.want_of = self._class_of if self.access is None else self.access.want_of
        self._tenant_of: list[int] = jobs.tenant_index.tolist()
        self.tenant_us = [0] * len(problem.workload.tenants)
        self._needs = Dependencies(jobs.after) if any(jobs.after) else None
        self.turns = Turns.of(jobs)
        self._left_us = _limits_us(jobs.limit_s)
        self._hazard = Hazard.of(problem, seed)
        self.joining: list[int] = []
        self.ended = 0
        self.unfinished = 0
        self.arriving = 0
        self.finished_us: dict[int, int] = {}
        self.killed_us: dict[int, int] = {}
        self.cancelled: dict[int, str] = {}
        self.crashes: list[Crash] = []
        self.log: list[object] = []

    # --- what policies may know --------------------------------------------------

    def remaining_work(self, job: int) -> float:
        """Return the work a job has left."""
        running = self.running.get(job)
        left = self._remaining[job]
        return left if running is None else max(0.0, left - self._progress(job, running))

    def attained_s(self, job: int) -> float:
        """Return run time had so far, in seconds of the job's fastest mode."""
        running = self.running.get(job)
        attained = self._attained_best_s[job]
        if running is not None:
            attained += self._progress(job, running) / self._best_rate(job)
        return attained

    def _mode(self, job: int, mode: int) -> Mode:
        return self._problem.modes[self._class_of[job]][mode]

    def _best_rate(self, job: int) -> float:
        return self._problem.modes[self._class_of[job]][0].rate

    def _progress(self, job: int, running: RunningJob) -> float:
        ran_us = self._clock.now_us - running.start_us - running.overhead_us
        if ran_us <= 0:
            return 0.0
        done = self._mode(job, running.mode).rate * ran_us / US_PER_S
        return min(self._remaining[job], done)

    # --- a job's life ------------------------------------------------------------

    def expect(self, arrivals: list[int], rejected: Mapping[int, str]) -> None:
        """Note which jobs will come, in that order, and which never; they are pushed one by one."""
        self._arrivals = arrivals
        self._rejected = rejected
        self.unfinished = self.arriving = len(arrivals)
        if arrivals:
            self._clock.push(self._release_us[arrivals[0]], Kind.ARRIVE, arrivals[0])
        for job in rejected:
            self._lose(job, "can never run here")

    def to_come(self) -> list[int]:
        """Return the jobs that are not released, need one that has not finished, or a turn."""
        known = (self.finished_us, self.killed_us, self.cancelled, self.waiting, self.running)
        if self._needs is None and self.turns is None:
            return self._arrivals[len(self._arrivals) - self.arriving :]
        return [job for job in self._arrivals if not any(job in some for some in known)]

    def arrive(self, job: int, _: int) -> None:
        """A job is released."""
        ready = self._needs is None or self._needs.release(job)
        if ready and (self.turns is None or not self.turns.asks(job)):
            self._wait(job)
        arrivals = self._arrivals
        self.arriving = left = self.arriving - 1
        if left:
            following = arrivals[-left]
            self._clock.push(self._release_us[following], Kind.ARRIVE, following)

    def _wait(self, job: int) -> None:
        self.waiting[job] = None
        self.joining.append(job)
        want = self.want_of[job]
        wants = self.waiting_wants
        if want in wants:
            wants[want] += 1
        else:
            wants[want] = 1

    def deal_turns(self) -> None:
        """Let those jobs of arrays wait that have a turn now; all events here are handled."""
        if self.turns is None:
            return
        for job in self.turns.deal():
            self._wait(job)
        if self.turns.held:
            self.waiting_wants[HELD_BACK] = self.turns.held
        else:
            self.waiting_wants.pop(HELD_BACK, None)

    def start(self, job: int, mode_index: int, placement: Placement) -> None:
        """Start a waiting job (see `scheduler.policies.view.JobsNow`)."""
        if job not in self.waiting:
            raise self._ground.error(f"job {job} is not waiting, cannot start")
        self._begin(job, mode_index, placement)
        del self.waiting[job]
        want = self.want_of[job]
        wants = self.waiting_wants
        if wants[want] > 1:
            wants[want] -= 1
        else:
            del wants[want]

    def move(self, job: int, mode_index: int, placement: Placement) -> None:
        """Go on at once elsewhere or in another mode (see `scheduler.policies.view.JobsNow`)."""
        self._check_stop(job)
        self._leave(job, self.running[job], loses=self._loses[self._class_of[job]])
        self._begin(job, mode_index, placement)

    def _begin(self, job: int, mode_index: int, placement: Placement) -> None:
        c = self._class_of[job]
        mode = self._problem.modes[c][mode_index]
        count = self._counts[c][mode_index]
        if self.access is not None:
            fault = self.access.refuses(job, mode, placement, self._ground.occupancy)
            if fault:
                raise self._ground.error(f"job {job} {fault}")
        self._ground.take(mode, placement, count, job)
        now_us = self._clock.now_us
        overhead_us = self._restart_us[c]
        run_us = math.ceil(self._remaining[job] / mode.rate * US_PER_S - 1e-6)
        end_us = now_us + overhead_us + (run_us if run_us > 1 else 1)
        kind = Kind.FINISH
        if self._left_us is not None:
            left_us = self._left_us[job]
            if left_us is not None and now_us + left_us < end_us:
                end_us, kind = now_us + left_us, Kind.LIMIT
        self.running[job] = RunningJob(mode_index, placement, now_us, overhead_us, end_us)
        self._starts[job] = number = self._starts[job] + 1
        self._clock.push(end_us, kind, job, number)
        if self._hazard is not None:
            crash_us = now_us + self._hazard.after_us(job, count)
            if crash_us < end_us:
                self._clock.push(crash_us, Kind.CRASH, job, number)
        if self.access is not None:
            self.access.began(job, mode, placement)

    def finish(self, job: int, start_number: int) -> None:
        """All work of a job is done, unless it was stopped since that was foreseen."""
        running = self._still(job, start_number)
        if running is None:
            return
        self._end(job, running, self._remaining[job], 0.0)
        self.finished_us[job] = self._clock.now_us
        self.ended += 1
        self.unfinished -= 1
        if self._needs is not None:
            for other in self._needs.finish(job):
                if self.turns is None or not self.turns.asks(other):
                    self._wait(other)
        if self.turns is not None:
            self.turns.ended(job)

    def reach_limit(self, job: int, start_number: int) -> None:
        """A job has held accelerators for as long as it may."""
        running = self._still(job, start_number)
        if running is None:
            return
        self._end(job, running, self._progress(job, running), 0.0)
        self.killed_us[job] = self._clock.now_us
        self.ended += 1
        self.unfinished -= 1
        self._lose(job, "reached its time limit")
        if self.turns is not None:
            self.turns.ended(job)

    def crash(self, job: int, start_number: int) -> None:
        """A job stops through no fault of a node, and goes back to its last checkpoint."""
        running = self._still(job, start_number)
        if running is None or self._hazard is None:
            return
        self.ended += 1
        self.fail(job)
        self.crashes.append(Crash(job, self._clock.now_us))
        self._hazard.renew(job)

    def _lose(self, job: int, why: str) -> None:
        """Cancel every job that needs `job`, which will never finish."""
        if self._needs is None:
            return
        ids = self._problem.workload.jobs.ids
        for other, needed in self._needs.lose(job):
            if other not in self._rejected:
                fate = why if needed == job else "was cancelled"
                self.cancelled[other] = f"needs {ids[needed]}, which {fate}"
                self.unfinished -= 1

    def _still(self, job: int, start_number: int) -> RunningJob | None:
        """Return what a job holds if it is still in the start that an event was pushed for."""
        return self.running.get(job) if self._starts[job] == start_number else None

    def stop(self, job: int) -> None:
        """Preempt a running job (see `scheduler.policies.view.JobsNow`)."""
        self._check_stop(job)
        self._interrupt(job, self.running[job], loses=self._loses[self._class_of[job]])

    def _check_stop(self, job: int) -> None:
        if job not in self.running:
            raise self._ground.error(f"job {job} is not running, cannot stop")
        if not self._preemptible[self._class_of[job]]:
            raise self._ground.error(f"job {job} is not preemptible")

    def preemptible(self, job: int) -> bool:
        """Return whether a job may be stopped."""
        return self._preemptible[self._class_of[job]]

    def fail(self, job: int) -> None:
        """A running job loses its accelerators, and what it did since its last checkpoint."""
        self._interrupt(job, self.running[job], loses=True)

    def _interrupt(self, job: int, running: RunningJob, *, loses: bool) -> None:
        self._leave(job, running, loses=loses)
        self._wait(job)

    def _leave(self, job: int, running: RunningJob, *, loses: bool) -> None:
        work = self._progress(job, running)
        lost = self._lost_work(job, running, work) if loses else 0.0
        self._end(job, running, work, lost)
        self._remaining[job] -= work - lost
        self._attained_best_s[job] += (work - lost) / self._best_rate(job)

    def _lost_work(self, job: int, running: RunningJob, work: float) -> float:
        """Return the work since the last checkpoint of this allocation."""
        every_s = self._problem.workload.classes[self._class_of[job]].checkpoint_s
        per_checkpoint = every_s * self._mode(job, running.mode).rate
        if per_checkpoint <= 0:
            return 0.0
        if math.isinf(per_checkpoint):
            return work
        return work - math.floor(work / per_checkpoint + 1e-9) * per_checkpoint

    # --- the log -----------------------------------------------------------------

    def _end(self, job: int, running: RunningJob, work: float, lost: float) -> None:
        del self.running[job]
        c, placement = self._class_of[job], running.placement
        mode = self._problem.modes[c][running.mode]
        self._ground.give(mode, placement)
        held_us = self._clock.now_us - running.start_us
        spent_us = held_us * self._counts[c][running.mode]
        self.tenant_us[self._tenant_of[job]] += spent_us
        if self._left_us is not None:
            left_us = self._left_us[job]
            self._left_us[job] = None if left_us is None else left_us - held_us
        if self._hazard is not None:
            self._hazard.spend(job, spent_us)
        if self.access is not None:
            self.access.ended(job, mode, placement)
        self._write(self.log, job, running, work, lost)

    def _write(
        self, log: list[object], job: int, running: RunningJob, work: float, lost: float
    ) -> None:
        """Note what the job has held until now, unless for no time at all."""
        now_us = self._clock.now_us
        held_us = now_us - running.start_us
        if not held_us:
            return
        overhead_us = running.overhead_us
        if overhead_us > held_us:  # noqa: PLR1730 - a call less, a million times
            overhead_us = held_us
        log.extend(
            (job, running.mode, running.start_us, now_us, overhead_us, work,
             lost if lost > 0.0 else 0.0, running.placement)
        )  # fmt: skip

    def cut(self) -> None:
        """End every allocation here: the run is over."""
        for job in sorted(self.running):
            running = self.running[job]
            self._end(job, running, self._progress(job, running), 0.0)

    def allocations(self) -> AllocationColumns:
        """Return everything held so far, what still runs cut at the present instant."""
        log = self.log
        if self.running:
            log = log.copy()
            for job, running in self.running.items():
                self._write(log, job, running, self._progress(job, running), 0.0)
        return columns_of(log)


def _limits_us(limit_s: FloatArray) -> list[int | None] | None:
    """Return how long each job may hold accelerators, None where no job has a limit."""
    if np.isnan(limit_s).all():
        return None
    return [None if math.isnan(s) else us_from_s(s) for s in limit_s.tolist()]


def columns_of(log: Sequence[object]) -> AllocationColumns:
    """Return the columns of a flat log."""
    ints = [np.array(log[k::_WIDTH], dtype=np.int64) for k in range(5)]
    floats = [np.array(log[k::_WIDTH], dtype=np.float64) for k in (5, 6)]
    placements: list[Placement] = log[7::_WIDTH]  # type: ignore[assignment]
    return AllocationColumns(
        ints[0], ints[1], ints[2], ints[3], ints[4], floats[0], floats[1], placements
    )
