"""Rules on the terms of a job: time limit, jobs it needs, crashes of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scheduler.core.run import Run, Violation
from scheduler.core.units import s_from_us, us_from_s
from scheduler.verify.facts import Facts, Hold

if TYPE_CHECKING:
    from scheduler.verify.lifecycle import Life


def within_limit(facts: Facts, life: Life) -> Iterator[Violation]:
    """``limit``: no job holds accelerators for longer than its time limit."""
    limit_s = float(facts.problem.workload.jobs.limit_s[life.job])
    held_us = sum(h.end_us - h.start_us for h in life.holds)
    if not math.isnan(limit_s) and held_us > us_from_s(limit_s):
        text = f"held {s_from_us(held_us)} s, its limit is {limit_s} s"
        yield Violation("limit", text, life.who)


def limits_kept(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``limit``: a job is killed exactly when it has held as long as its limit."""
    limits = facts.problem.workload.jobs.limit_s.tolist()
    for life in lives:
        held_us = sum(h.end_us - h.start_us for h in life.holds)
        limit_us = None if math.isnan(limits[life.job]) else us_from_s(limits[life.job])
        if life.killed_us is None:
            cut = any(h.end_us >= facts.end_us for h in life.holds)
            if held_us == limit_us and not cut and life.finished_us is None:
                text = f"held {s_from_us(held_us)} s, its limit, and was not killed"
                yield Violation("limit", text, life.who)
            continue
        last = max((h.end_us for h in life.holds), default=-1)
        if limit_us != held_us or life.killed_us != last:
            text = f"killed at {life.killed_us} us after {held_us} us held, limit {limit_us} us"
            yield Violation("killed", text, life.who, "", s_from_us(life.killed_us))


def needs_met(facts: Facts, lives: Sequence[Life]) -> Iterator[Violation]:
    """``needs``: nothing starts before every job that it needs has finished."""
    after = facts.problem.workload.jobs.after
    for job, needed in enumerate(after):
        for other in needed:
            end = lives[other].finished_us
            early = [h for h in lives[job].holds if end is None or h.start_us < end]
            if early:
                text = f"starts before {lives[other].who} has finished"
                at_s = s_from_us(early[0].start_us)
                yield Violation("needs", text, lives[job].who, "", at_s)


def arrays_kept(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``array``: of an array with a limit, no more jobs hold accelerators at once."""
    jobs = facts.problem.workload.jobs
    changes: list[list[tuple[int, int, str]]] = [[] for _ in jobs.array_most]
    for hold in holds if jobs.array_most else ():
        if hold.job >= 0 and jobs.array_index[hold.job] >= 0:
            of_array = changes[jobs.array_index[hold.job]]
            of_array += [(hold.start_us, 1, hold.who), (hold.end_us, 0, hold.who)]
    for array, most in enumerate(jobs.array_most):
        running = 0
        for at_us, starts, who in sorted(
            changes[array]
        ):  # ends first where both are at one instant
            running += 1 if starts else -1
            if running > most:
                text = f"runs beside {running - 1} others of its array, which may be {most} in all"
                yield Violation("array", text, who, "", s_from_us(at_us))
                break


def cancellation_just(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``cancelled``: exactly the jobs that need one which is rejected, killed or cancelled."""
    after = facts.problem.workload.jobs.after
    lost = {*run.rejected, *run.killed_us}
    grown = True
    while grown:
        more = {
            j for j, needed in enumerate(after) if j not in lost and not lost.isdisjoint(needed)
        }
        lost |= more
        grown = bool(more)
    for life in lives:
        due = life.job in lost and life.job not in run.rejected and life.job not in run.killed_us
        if due != (life.job in run.cancelled):
            text = "should be cancelled" if due else "cancelled, though nothing it needs is lost"
            yield Violation("cancelled", text, life.who)


def crashes_real(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``crash``: a crash ends an allocation of its job, where jobs crash at all.

    One that an accelerator brought about has its node lose one at that instant, which the
    allocation holds.
    """
    never = math.isinf(facts.problem.cluster.failures.crash_accelerator_s)
    for crash in run.crashes:
        at_s = s_from_us(crash.at_us)
        if not 0 <= crash.job < len(lives):
            yield Violation("unknown_job", f"no job {crash.job}", f"#{crash.job}", "", at_s)
            continue
        life = lives[crash.job]
        cut = [h for h in life.holds if h.end_us == crash.at_us]
        here = 0 <= crash.node < len(facts.partial) and any(
            d.cause == "accelerator" and d.start_us == crash.at_us
            for d in facts.partial[crash.node]
        )
        if crash.node >= 0:
            real = here and any(crash.node in h.placement.nodes for h in cut)
        else:
            real = not never and bool(cut)
        if not real or crash.at_us in (life.finished_us, life.killed_us):
            yield Violation("crash", "no allocation of it ends by a crash here", life.who, "", at_s)
