"""Jobs: who waits, who runs, what they have done, and the log of what they held."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.run import AllocationColumns, Crash, Placement
from scheduler.core.units import US_PER_S, WHOLE_MILLI, all_us_from_s, us_from_s
from scheduler.core.workload import HELD_BACK, FloatArray
from scheduler.policies.present import RunningJob
from scheduler.simulate.access import Access, is_guarded
from scheduler.simulate.arrays import Turns
from scheduler.simulate.clock import Clock, Kind
from scheduler.simulate.dependencies import Dependencies
from scheduler.simulate.ground import Ground
from scheduler.simulate.hazard import Hazard
from scheduler.simulate.hopeless import MOST_STARTS, chance_of

FAR_US: Final = 1 << 62
"""Later than anything that happens."""

_WIDTH = 5
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
    finished : list of int
        Jobs that ended for good since then.
    unfinished, arriving : int
        Jobs that have not ended, and those of them that have not arrived.
    next_us : int
        When the next of them arrives.
    finished_us : list of int
        By job, when it finished, or -1.
    killed_us : dict of int to int
        End of each job that reached its time limit.
    cancelled : dict of int to str
        Jobs that need one which will never finish, and which.
    crashes : list of Crash
        Stops that are no node's fault.
    fruitless : int
        Failures in a row, of whatever jobs, since anything that any job did counted.
    outdated : int
        Foreseen ends that passed without one, as the job had been stopped before.
    log : list
        Flat: job, mode, start, end and placement of each allocation that has ended.
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
        self._modes = [tuple((m, m.count, m.rate) for m in modes) for modes in problem.modes]
        self._shares = problem.shares
        self._restart_us = [us_from_s(c.restart_s) for c in problem.workload.classes]
        self._preemptible = [c.preemptible for c in problem.workload.classes]
        self._loses = [not c.saves_state for c in problem.workload.classes]
        self._release_us: list[int] = all_us_from_s(jobs.release_s).tolist()
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
        self._tenant_us = [0] * len(problem.workload.tenants)
        self._tenants_seen = 0
        self._needs = Dependencies(jobs.after) if any(jobs.after) else None
        self.turns = Turns.of(jobs)
        self._left_us = _limits_us(jobs.limit_s)
        self._hazard = Hazard.of(problem, seed)
        self.joining: list[int] = []
        self.ended = 0
        self.finished: list[int] = []
        self.unfinished = 0
        self.arriving = 0
        self.next_us = FAR_US
        self.finished_us = [-1] * len(work)
        self.killed_us: dict[int, int] = {}
        self.cancelled: dict[int, str] = {}
        self.crashes: list[Crash] = []
        self.fruitless = 0
        self.outdated = 0
        self.log: list[Any] = []
        self._cut_short: dict[int, tuple[float, float]] = {}

    # --- what policies may know --------------------------------------------------

    def remaining_work(self, job: int) -> float:
        """Return the work a job has left."""
        running = self.running.get(job)
        left = self._remaining[job]
        if running is None:
            return left
        done = self._done(job, running)
        return left - done if done < left else 0.0

    def attained_s(self, job: int) -> float:
        """Return run time had so far, in seconds of the job's fastest mode."""
        running = self.running.get(job)
        attained = self._attained_best_s[job]
        if running is not None:
            attained += self._progress(job, running) / self._best_rate(job)
        elif self.finished_us[job] >= 0:  # all that was left at its last start
            attained += self._remaining[job] / self._best_rate(job)
        return attained

    def held_us(self) -> list[int]:
        """Return accelerator-microseconds of each tenant in allocations that have ended."""
        log, held, tenant_of = self.log, self._tenant_us, self._problem.workload.jobs.tenant_index
        for at in range(self._tenants_seen, len(log), _WIDTH):
            job, mode, start_us, end_us, _ = log[at : at + _WIDTH]
            kind, count, _ = self._modes[self._class_of[job]][mode]
            held_us = count * (end_us - start_us)
            held[tenant_of[job]] += held_us * kind.share_milli // WHOLE_MILLI
        self._tenants_seen = len(log)
        return held.copy()

    def _best_rate(self, job: int) -> float:
        return self._problem.modes[self._class_of[job]][0].rate

    def _progress(self, job: int, running: RunningJob) -> float:
        return min(self._remaining[job], self._done(job, running))

    def _done(self, job: int, running: RunningJob) -> float:
        """Return what a job would have done by now if there were no end to its work."""
        ran_us = self._clock.now_us - running.start_us - running.overhead_us
        if ran_us <= 0:
            return 0.0
        _, _, rate = self._modes[self._class_of[job]][running.mode]
        return rate * ran_us / US_PER_S

    # --- a job's life ------------------------------------------------------------

    def expect(self, arrivals: list[int], rejected: Mapping[int, str]) -> None:
        """Note which jobs will come, in that order, and which never."""
        self._arrivals = arrivals
        self._rejected = rejected
        self.unfinished = self.arriving = len(arrivals)
        self.next_us = self._release_us[arrivals[0]] if arrivals else FAR_US
        for job in rejected:
            self._lose(job, "can never run here")

    def to_come(self) -> list[int]:
        """Return the jobs that are not released, need one that has not finished, or a turn."""
        if self._needs is None and self.turns is None:
            return self._arrivals[len(self._arrivals) - self.arriving :]
        known = (self.killed_us, self.cancelled, self.waiting, self.running)
        unfinished = (job for job in self._arrivals if self.finished_us[job] < 0)
        return [job for job in unfinished if not any(job in some for some in known)]

    def arrive(self) -> None:
        """The next job is released."""
        arrivals, left = self._arrivals, self.arriving
        job = arrivals[-left]
        ready = self._needs is None or self._needs.release(job)
        if ready and (self.turns is None or not self.turns.asks(job)):
            self._wait(job)
        self.arriving = left = left - 1
        self.next_us = self._release_us[arrivals[-left]] if left else FAR_US

    def _wait(self, job: int) -> None:
        self.waiting[job] = None
        self.joining.append(job)
        want, wants = self.want_of[job], self.waiting_wants
        wants[want] = wants.get(want, 0) + 1

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
        """Start a waiting job (see `scheduler.policies.present.JobsNow`)."""
        if job not in self.waiting:
            raise self._ground.error(f"job {job} is not waiting, cannot start")
        self._begin(job, mode_index, placement)
        del self.waiting[job]
        want, wants = self.want_of[job], self.waiting_wants
        left = wants[want] - 1
        if left:
            wants[want] = left
        else:
            del wants[want]

    def move(self, job: int, mode_index: int, placement: Placement) -> None:
        """Go on at once elsewhere or in another mode (see `scheduler.policies.present.JobsNow`)."""
        self._check_stop(job)
        self._leave(job, self.running[job], loses=self._loses[self._class_of[job]])
        self._begin(job, mode_index, placement)

    def _begin(self, job: int, mode_index: int, placement: Placement) -> None:
        c = self._class_of[job]
        mode, count, rate = self._modes[c][mode_index]
        if self._shares:
            placement = self._ground.seat(mode, placement, job)
        if self.access is not None:
            fault = self.access.refuses(job, mode, placement, self._ground.occupancy)
            if fault:
                raise self._ground.error(f"job {job} {fault}")
        self._ground.take(mode, placement, count, job)
        now_us = self._clock.now_us
        overhead_us = self._restart_us[c]
        run_us = math.ceil(self._remaining[job] / rate * US_PER_S - 1e-6)
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
        running = self.running.get(job)
        if running is None or self._starts[job] != start_number:
            self.outdated += 1
            return
        self._end(job, running)
        self.finished_us[job] = self._clock.now_us
        self.fruitless = 0
        self.finished.append(job)
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
        work = self._progress(job, running)
        self._note_work(work, 0.0)
        self._attained_best_s[job] += work / self._best_rate(job)
        self._end(job, running)
        self.killed_us[job] = self._clock.now_us
        self.finished.append(job)
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
        running = self.running.get(job) if self._starts[job] == start_number else None
        self.outdated += running is None
        return running

    def stop(self, job: int) -> None:
        """Preempt a running job (see `scheduler.policies.present.JobsNow`)."""
        self._check_stop(job)
        self._interrupt(job, self.running[job], loses=self._loses[self._class_of[job]])

    def _check_stop(self, job: int) -> None:
        if job not in self.running:
            raise self._ground.error(f"job {job} is not running, cannot stop")
        if not self._preemptible[self._class_of[job]]:
            raise self._ground.error(f"job {job} is not preemptible")

    def hopeless(self) -> dict[int, str]:
        """Return the jobs that fail faster than they can save anything, and why."""
        found = {}
        for job in sorted([*self.running, *self.waiting]):
            if self._left_us is None or self._left_us[job] is None:  # else its limit ends it
                chance = chance_of(self._problem, self._class_of[job], self._remaining[job])
                if chance is not None and chance.starts > MOST_STARTS:
                    found[job] = str(chance)
        return found

    def preemptible(self, job: int) -> bool:
        """Return whether a job may be stopped."""
        return self._preemptible[self._class_of[job]]

    def fail(self, job: int) -> None:
        """A running job loses its accelerators, and what it did since its last checkpoint."""
        self._interrupt(job, self.running[job], loses=True)
        self.fruitless += 1

    def _interrupt(self, job: int, running: RunningJob, *, loses: bool) -> None:
        self._leave(job, running, loses=loses)
        self._wait(job)

    def _leave(self, job: int, running: RunningJob, *, loses: bool) -> None:
        work = self._progress(job, running)
        lost = self._lost_work(job, running, work) if loses else 0.0
        self._note_work(work, lost)
        self._end(job, running)
        if work > lost:
            self.fruitless = 0
        self._remaining[job] -= work - lost
        self._attained_best_s[job] += (work - lost) / self._best_rate(job)

    def _lost_work(self, job: int, running: RunningJob, work: float) -> float:
        """Return the work since the last checkpoint of this allocation."""
        every_s = self._problem.workload.classes[self._class_of[job]].checkpoint_s
        per_checkpoint = every_s * self._modes[self._class_of[job]][running.mode][2]
        if per_checkpoint <= 0:
            return 0.0
        if math.isinf(per_checkpoint):
            return work
        return work - math.floor(work / per_checkpoint + 1e-9) * per_checkpoint

    # --- the log -----------------------------------------------------------------

    def _end(self, job: int, running: RunningJob) -> None:
        """Take a job from its accelerators and note what it has held until now."""
        del self.running[job]
        mode_index, placement, start_us = running.mode, running.placement, running.start_us
        mode, count, _ = self._modes[self._class_of[job]][mode_index]
        self._ground.give(mode, placement)
        now_us = self._clock.now_us
        if self._left_us is not None:
            left_us = self._left_us[job]
            self._left_us[job] = None if left_us is None else left_us - (now_us - start_us)
        if self._hazard is not None:
            self._hazard.spend(job, count * (now_us - start_us))
        if self.access is not None:
            self.access.ended(job, mode, placement)
        self.log.extend((job, mode_index, start_us, now_us, placement))

    def _note_work(self, work: float, lost: float) -> None:
        """Note the work of the allocation that ends now, where it is not all that was left."""
        self._cut_short[len(self.log) // _WIDTH] = work, lost

    def allocations(self) -> AllocationColumns:
        """Return everything held so far, what still runs cut at the present instant."""
        log, cut_short = self.log, self._cut_short
        if self.running:
            log, cut_short = log.copy(), cut_short.copy()
            for job, running in self.running.items():
                cut_short[len(log) // _WIDTH] = self._progress(job, running), 0.0
                start_us, placement = running.start_us, running.placement
                log.extend((job, running.mode, start_us, self._clock.now_us, placement))
        return self._columns(log, cut_short)

    def _columns(
        self, log: list[Any], cut_short: Mapping[int, tuple[float, float]]
    ) -> AllocationColumns:
        """Return the columns of a log; what was held for no time at all is left out."""
        size = len(log) // _WIDTH
        job, mode, start_us, end_us = (
            np.fromiter(log[k::_WIDTH], np.int64, size) for k in range(4)
        )
        placements: list[Placement] = log[4::_WIDTH]
        classes = self._problem.workload.jobs.class_index[job]
        overhead_us = np.array(self._restart_us, dtype=np.int64)[classes]
        work = np.array(self._remaining, dtype=np.float64)[job]
        lost = np.zeros(size)
        for row, (done, undone) in cut_short.items():
            work[row], lost[row] = done, max(undone, 0.0)
        overhead_us = np.minimum(overhead_us, end_us - start_us)
        found = AllocationColumns(
            job, mode, start_us, end_us, overhead_us, work, lost, placements
        )  # fmt: skip
        held = end_us > start_us
        return found if held.all() else found.rows(np.flatnonzero(held))


def _limits_us(limit_s: FloatArray) -> list[int | None] | None:
    """Return how long each job may hold accelerators, None where no job has a limit."""
    if np.isnan(limit_s).all():
        return None
    return [None if math.isnan(s) else us_from_s(s) for s in limit_s.tolist()]
