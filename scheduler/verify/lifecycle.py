"""Rules on the life of a job: release, interruption, work, loss, end, final state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from scheduler.core.run import Run, Violation
from scheduler.core.units import US_PER_S, s_from_us
from scheduler.core.workload import JobClass
from scheduler.verify.access import claim_of, is_guarded
from scheduler.verify.facts import RELATIVE, Facts, Hold
from scheduler.verify.legal import could_start
from scheduler.verify.terms import cancellation_just, crashes_real, limits_kept, within_limit


@dataclass(frozen=True, slots=True)
class Life:
    """One job with everything recorded of it.

    Parameters
    ----------
    job : int
        Position in the workload.
    who : str
        Id.
    kind : JobClass
        Its class.
    holds : tuple of Hold
        By start.
    work : float
        Work it needs.
    finished_us, killed_us : int or None
        When it finished, or reached its time limit; None if it did not.
    """

    job: int
    who: str
    kind: JobClass
    holds: tuple[Hold, ...]
    work: float
    finished_us: int | None
    killed_us: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it finished or was killed."""
        return self.finished_us is not None or self.killed_us is not None


def released(facts: Facts, life: Life) -> Iterator[Violation]:
    """``release``: nothing starts before the job's release."""
    release = facts.release_us[life.job]
    for hold in life.holds:
        if hold.start_us < release:
            text = f"starts {release - hold.start_us} us before its release"
            yield Violation("release", text, life.who, "", s_from_us(hold.start_us))


def one_at_a_time(facts: Facts, life: Life) -> Iterator[Violation]:
    """``overlap``: a job holds one allocation at a time."""
    latest = -1
    for hold in life.holds:
        if hold.start_us < latest:
            text = f"starts {latest - hold.start_us} us before its previous allocation ends"
            yield Violation("overlap", text, life.who, "", s_from_us(hold.start_us))
        latest = max(latest, hold.end_us)


def not_interrupted(facts: Facts, life: Life) -> Iterator[Violation]:
    """``interrupted``: only its end, its limit, the horizon or a failure ends such a job."""
    if life.kind.preemptible:
        return
    for i, hold in enumerate(life.holds):
        last = i == len(life.holds) - 1
        ended = last and (life.ended or hold.end_us >= facts.end_us)
        if not ended and not facts.went_down(hold):
            text = "stopped although its class is not preemptible and no node of it failed"
            yield Violation("interrupted", text, life.who, "", s_from_us(hold.end_us))


def work_possible(facts: Facts, life: Life) -> Iterator[Violation]:
    """``work``: no allocation does more than its mode's rate gives in its running time."""
    for hold in life.holds:
        most = _full_rate_work(hold)
        if not 0 <= hold.work <= most + _slack(most, hold):
            text = f"work {hold.work:.9g} in {s_from_us(hold.run_us)} s, the rate gives {most:.9g}"
            yield Violation("work", text, life.who, "", s_from_us(hold.start_us))


def work_done(facts: Facts, life: Life) -> Iterator[Violation]:
    """``work``: what runs makes progress at its mode's rate.

    Only the last microsecond of a job may be used in part.
    """
    for hold in life.holds:
        least = _full_rate_work(hold)
        if hold.work < least - _slack(least, hold):
            text = f"work {hold.work:.9g} in {s_from_us(hold.run_us)} s, the rate gives {least:.9g}"
            yield Violation("work", text, life.who, "", s_from_us(hold.start_us))


def loss_explained(facts: Facts, life: Life) -> Iterator[Violation]:
    """``lost_work``: a failure undoes the work since the last checkpoint.

    So does the preemption of a class that does not save its state; nothing else does.

    Checkpoints lie at multiples of the class's `checkpoint_s` of running time within the
    allocation.
    """
    for hold in life.holds:
        finished = life.ended and hold is life.holds[-1]
        at_s = s_from_us(hold.end_us)
        cut = hold.end_us < facts.end_us and not life.kind.saves_state
        if finished or not (cut or facts.went_down(hold)):
            if hold.lost_work != 0:
                text = f"lost {hold.lost_work:.9g}, but no node of it went down at the end"
                yield Violation("lost_work", text, life.who, "", at_s)
            continue
        interval = hold.mode.rate * life.kind.checkpoint_s  # work between two checkpoints
        slack = _slack(hold.work, hold)
        kept = hold.work - hold.lost_work
        safe = round(kept / interval) * interval if 0 < interval < math.inf else 0.0
        if interval <= 0:
            safe = hold.work
        if abs(kept - safe) > slack or not 0 <= hold.lost_work <= interval + slack:
            text = f"lost {hold.lost_work:.9g} of {hold.work:.9g}, checkpoints every {interval:.9g}"
            yield Violation("lost_work", text, life.who, "", at_s)


def work_conserved(facts: Facts, life: Life) -> Iterator[Violation]:
    """``work_total``: kept work equals the job's work if finished, stays below otherwise."""
    kept = math.fsum(h.work - h.lost_work for h in life.holds)
    slack = RELATIVE * life.work + max((_slack(0.0, h) for h in life.holds), default=0.0)
    finished = life.finished_us is not None
    cut = bool(life.holds) and (life.holds[-1].end_us >= facts.end_us or life.killed_us is not None)
    if finished and abs(kept - life.work) > slack:
        text = f"finished with {kept:.9g} of {life.work:.9g} work done"
    elif kept > life.work + slack:
        text = f"did {kept:.9g} of {life.work:.9g} work"
    elif not finished and not cut and life.holds and kept >= life.work * (1 - RELATIVE):
        text = f"all its work ({life.work:.9g}) is done, yet it is not finished"
    else:
        return
    yield Violation("work_total", text, life.who)


def finish_recorded(facts: Facts, life: Life) -> Iterator[Violation]:
    """``finished``: a job finishes as its last allocation ends, within the horizon."""
    if life.finished_us is None:
        return
    end = max((h.end_us for h in life.holds), default=-1)
    if life.finished_us != end or life.finished_us > facts.end_us:
        text = f"finish recorded at {life.finished_us} us, last allocation ends at {end} us"
        yield Violation("finished", text, life.who, "", s_from_us(life.finished_us))


LIFE_RULES = (
    released,
    one_at_a_time,
    not_interrupted,
    work_possible,
    loss_explained,
    work_conserved,
    finish_recorded,
    within_limit,
)
"""On a Run or a Schedule."""

RUN_LIFE_RULES = (*LIFE_RULES, work_done)
"""On a Run, which wastes no time that a plan on ticks may."""


def lives_of(
    facts: Facts,
    holds: Sequence[Hold],
    work: Sequence[float],
    finished_us: Mapping[int, int],
    killed_us: Mapping[int, int] = MappingProxyType({}),
) -> list[Life]:
    """Return every job of the workload with its holds by start."""
    problem = facts.problem
    by_job: list[list[Hold]] = [[] for _ in problem.workload.jobs.ids]
    for hold in holds:
        if hold.job >= 0:
            by_job[hold.job].append(hold)
    classes = problem.workload.classes
    return [
        Life(
            job,
            who,
            classes[c],
            tuple(sorted(by_job[job], key=lambda h: (h.start_us, h.end_us))),
            work[job],
            finished_us.get(job),
            killed_us.get(job),
        )
        for job, (who, c) in enumerate(
            zip(problem.workload.jobs.ids, problem.workload.jobs.class_index.tolist(), strict=True)
        )
    ]


def one_state(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``state``: each job is finished, running, waiting, rejected, killed or cancelled."""
    count = [0] * len(lives)
    for name, members in (
        ("finished", run.finished_us),
        ("running", run.running),
        ("waiting", run.waiting),
        ("rejected", run.rejected),
        ("killed", run.killed_us),
        ("cancelled", run.cancelled),
    ):
        for job in members:
            if 0 <= job < len(lives):
                count[job] += 1
            else:
                yield Violation("unknown_job", f"{name}: no job {job}", f"#{job}")
    for job, times in enumerate(count):
        if times != 1:
            text = "in no final state" if not times else f"in {times} final states"
            yield Violation("state", text, lives[job].who)


def state_fits(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``running``, ``waiting``: the recorded state is what the holds say."""
    known = range(len(lives))
    for job in run.running:
        if job in known and not _holds_at_end(facts, lives[job]):
            yield Violation("running", "running, but nothing held at the horizon", lives[job].who)
    for job in run.waiting:
        if job in known and _holds_at_end(facts, lives[job]):
            yield Violation("waiting", "waiting, but held at the horizon", lives[job].who)


def rejection_just(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``rejected``: exactly the jobs are rejected that no empty fleet could ever start.

    That is, no mode of the class has a legal placement within the power caps, its tenant's
    quota and what its nodes must carry.
    """
    classes = facts.problem.workload.jobs.class_index.tolist()
    guarded = is_guarded(facts.problem)
    jobs = facts.problem.workload.jobs
    possible: dict[tuple[object, ...], bool] = {}
    for life in lives:
        key: tuple[object, ...] = (classes[life.job],)
        if guarded:
            key = (classes[life.job], int(jobs.tenant_index[life.job]))
        if key not in possible:
            possible[key] = _could_start(facts, life.job, guarded=guarded)
        if possible[key] == (life.job in run.rejected):
            text = "rejected, though it could run" if life.job in run.rejected else "can never run"
            yield Violation("rejected", text, life.who)


def _could_start(facts: Facts, job: int, *, guarded: bool) -> bool:
    c = int(facts.problem.workload.jobs.class_index[job])
    if not guarded:
        return any(could_start(facts, mode) for mode in facts.problem.modes[c])
    claim = claim_of(facts, job, (), facts.node_size, -1)
    return any(could_start(facts, mode, claim.usable) for mode in claim.modes)


def work_drawn(facts: Facts, run: Run, lives: Sequence[Life]) -> Iterator[Violation]:
    """``actual_work``: every job's actual work is a positive number."""
    for life in lives:
        if not (math.isfinite(life.work) and life.work > 0):
            yield Violation("actual_work", f"actual work {life.work!r}", life.who)


STATE_RULES = (
    one_state,
    state_fits,
    rejection_just,
    work_drawn,
    limits_kept,
    cancellation_just,
    crashes_real,
)


def _holds_at_end(facts: Facts, life: Life) -> bool:
    return bool(life.holds) and life.holds[-1].end_us >= facts.end_us


def _full_rate_work(hold: Hold) -> float:
    return hold.mode.rate * hold.run_us / US_PER_S


def _slack(work: float, hold: Hold) -> float:
    """Return the tolerance on an amount of work: relative, plus one microsecond of rate."""
    return RELATIVE * work + hold.mode.rate / US_PER_S
