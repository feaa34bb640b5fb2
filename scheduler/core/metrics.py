"""What a Run amounts to: one definition of each figure, and intervals over replays.

Times are seconds. A figure that a run gives no data for is NaN (mean completion time when
nothing finished, SLO attainment without services).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scheduler.core.ledger import IDLE_CAUSES, WASTE_CAUSES, Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Run
from scheduler.core.student_t import t_quantile
from scheduler.core.units import US_PER_S, s_from_us, us_from_s
from scheduler.core.workload import FloatArray


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one run.

    Shares of accelerator-time are those of the ledger, over the period it covers; figures of
    jobs are those of the whole run.

    Parameters
    ----------
    mean_jct_s, p50_jct_s, p99_jct_s : float
        Job completion time, end less release, over finished jobs; percentiles by linear
        interpolation.
    mean_queueing_s : float
        First start less release, over jobs that started.
    mean_slowdown : float
        Completion time over the ideal run time (restart time plus work at the rate of the
        class's fastest mode, alone on the fleet), over finished jobs; at least 1.
    mean_tardiness_s : float
        Time past the deadline, 0 if kept, over finished jobs that have one.
    makespan_s : float
        Last end of a finished job less the first release.
    utilisation : float
        Held accelerator-time over accelerator-time that was not down.
    goodput : float
        Productive accelerator-time over all accelerator-time.
    fairness : float
        Jain's index over tenants of their mean pace; a job's pace is its ideal time for the
        work it has kept over its time in the system (1 / slowdown once it has finished). 1:
        all tenants fare alike, 1 / tenants: one has everything.
    preemptions, resizes, moves, restarts : int
        Allocations that a policy cut short, by what came next: the job waits (preemption),
        goes on at once in another mode (resize) or in the same mode (move); restarts are
        allocations that a failure or a crash cut short.
    lost_accelerator_s : float
        Held accelerator-time whose work was undone.
    slo_attainment : float
        Served over demanded requests, all services together.
    idle_fraction, waste_fraction : float
        Idle, and idle or held without being productive, over all accelerator-time.
    finished, running, waiting, rejected, killed, cancelled : int
        Jobs by final state; killed at their time limit, cancelled as what they need never ends.
    energy_j, cost_usd, carbon_g : float
        As the run says.

    References
    ----------
    R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination for
    resource allocation in shared computer systems", DEC-TR-301, 1984.
    """

    mean_jct_s: float
    p50_jct_s: float
    p99_jct_s: float
    mean_queueing_s: float
    mean_slowdown: float
    mean_tardiness_s: float
    makespan_s: float
    utilisation: float
    goodput: float
    fairness: float
    preemptions: int
    resizes: int
    moves: int
    restarts: int
    lost_accelerator_s: float
    slo_attainment: float
    idle_fraction: float
    waste_fraction: float
    finished: int
    running: int
    waiting: int
    rejected: int
    killed: int
    cancelled: int
    energy_j: float
    cost_usd: float
    carbon_g: float


def metrics_of(problem: Problem, run: Run) -> Metrics:
    """Return the figures of `run`.

    Jobs that did not finish count in no mean of completion times: compare those of two runs
    only where `finished` agrees.

    Parameters
    ----------
    problem : Problem
        What was played.
    run : Run
        What happened.
    """
    jobs = problem.workload.jobs
    done = np.array(sorted(run.finished_us), dtype=np.int64)
    release_us = np.array([us_from_s(t) for t in jobs.release_s.tolist()], dtype=np.int64)
    end_us = np.array([run.finished_us[j] for j in done.tolist()], dtype=np.int64)
    jct_s = (end_us - release_us[done]) / US_PER_S
    ideal_s = _ideal_s(problem, run)[done]
    deadline_s = jobs.deadline_s[done]
    late_s = np.maximum(0.0, end_us / US_PER_S - deadline_s)[~np.isnan(deadline_s)]
    first = _first_starts(run)
    queued_s = [s_from_us(at - int(release_us[j])) for j, at in first.items()]
    cuts = _cuts(run)
    ledger = run.ledger
    total = ledger.total_us()
    idle = ledger.of(IDLE_CAUSES)
    up = total - ledger.of((Cause.DOWN,))
    productive = ledger.of((Cause.PRODUCTIVE,))
    return Metrics(
        mean_jct_s=_mean(jct_s),
        p50_jct_s=_percentile(jct_s, 50),
        p99_jct_s=_percentile(jct_s, 99),
        mean_queueing_s=_mean(queued_s),
        mean_slowdown=_mean(jct_s / ideal_s),
        mean_tardiness_s=_mean(late_s),
        makespan_s=s_from_us(int(end_us.max()) - int(release_us.min())) if len(done) else math.nan,
        utilisation=_ratio(up - idle, up),
        goodput=_ratio(productive, total),
        fairness=_fairness(problem, run, release_us),
        preemptions=cuts["preemption"],
        resizes=cuts["resize"],
        moves=cuts["move"],
        restarts=cuts["restart"],
        lost_accelerator_s=s_from_us(ledger.of((Cause.LOST,))),
        slo_attainment=_ratio(math.fsum(run.served), math.fsum(run.demanded)),
        idle_fraction=_ratio(idle, total),
        waste_fraction=_ratio(ledger.of(WASTE_CAUSES), total),
        finished=len(run.finished_us),
        running=len(run.running),
        waiting=len(run.waiting),
        rejected=len(run.rejected),
        killed=len(run.killed_us),
        cancelled=len(run.cancelled),
        energy_j=run.energy_j,
        cost_usd=run.cost_usd,
        carbon_g=run.carbon_g,
    )


def _best_rates(problem: Problem) -> FloatArray:
    """Return the rate of the fastest mode by class; NaN where a class has none."""
    return np.array([max((m.rate for m in ms), default=math.nan) for ms in problem.modes])


def _ideal_s(problem: Problem, run: Run) -> FloatArray:
    classes = problem.workload.jobs.class_index
    restart_s = np.array([c.restart_s for c in problem.workload.classes])
    work = np.array(run.actual_work, dtype=np.float64)
    if not len(work):
        return work
    return np.asarray(restart_s[classes] + work / _best_rates(problem)[classes])


def _first_starts(run: Run) -> dict[int, int]:
    first: dict[int, int] = {}
    for a in run.allocations:
        first[a.job] = min(a.start_us, first.get(a.job, a.start_us))
    return first


def _cuts(run: Run) -> dict[str, int]:
    """Return how many allocations were cut short, by what happened to the job."""
    fell: dict[int, set[int]] = {}
    for down in run.downs:
        if not down.count:
            fell.setdefault(down.node, set()).add(down.start_us)
    crashed = {(crash.job, crash.at_us) for crash in run.crashes}
    by_job: dict[int, list[Allocation]] = {}
    for a in run.allocations:
        by_job.setdefault(a.job, []).append(a)
    counts = {"preemption": 0, "resize": 0, "move": 0, "restart": 0}
    for job, history in by_job.items():
        history.sort(key=lambda a: a.start_us)
        for i, a in enumerate(history):
            later = history[i + 1] if i + 1 < len(history) else None
            ended = job in run.finished_us or job in run.killed_us
            if later is None and (ended or a.end_us >= run.horizon_us):
                continue
            fallen = any(a.end_us in fell.get(node, ()) for node in a.placement.nodes)
            if fallen or (job, a.end_us) in crashed:
                counts["restart"] += 1
            elif later is None or later.start_us > a.end_us:
                counts["preemption"] += 1
            elif later.mode != a.mode:
                counts["resize"] += 1
            else:
                counts["move"] += 1
    return counts


def _fairness(problem: Problem, run: Run, release_us: np.ndarray) -> float:
    jobs = problem.workload.jobs
    classes = jobs.class_index.tolist()
    best = _best_rates(problem)
    ideal_s = [0.0] * len(jobs)  # for the work kept so far
    for job, allocations in _kept(run).items():
        c = classes[job]
        ideal_s[job] = problem.workload.classes[c].restart_s + allocations / float(best[c])
    paces: list[list[float]] = [[] for _ in problem.workload.tenants]
    for job, tenant in enumerate(jobs.tenant_index.tolist()):
        system_us = run.finished_us.get(job, run.horizon_us) - int(release_us[job])
        if job not in run.rejected and system_us > 0:
            paces[tenant].append(min(1.0, ideal_s[job] * US_PER_S / system_us))
    return jain([statistics.fmean(p) for p in paces if p])


def _kept(run: Run) -> dict[int, float]:
    kept: dict[int, float] = {}
    for a in run.allocations:
        kept[a.job] = kept.get(a.job, 0.0) + a.work - a.lost_work
    return kept


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index ``(sum x)^2 / (n sum x^2)``; NaN for none, 1 if all are zero."""
    if not shares:
        return math.nan
    squares = math.fsum(x * x for x in shares)
    return math.fsum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _mean(values: Sequence[float] | FloatArray) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan


def _percentile(values: FloatArray, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


class Interval(NamedTuple):
    """A mean over replays and its confidence interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent replays with its Student t interval.

    One value alone says nothing about the spread: its interval is infinite. NaN among the
    values makes all three NaN.

    Parameters
    ----------
    values : sequence of float
        One figure per replay, at least one.
    confidence : float
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If there is no value or `confidence` is out of range.

    References
    ----------
    Student (W. S. Gosset), "The probable error of a mean", Biometrika 6(1), 1908.
    """
    if not values or not 0 < confidence < 1:
        raise ValueError(f"no interval of {len(values)} values at confidence {confidence}")
    if not all(math.isfinite(v) for v in values):
        return Interval(math.nan, math.nan, math.nan)
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    spread = statistics.stdev(values) / math.sqrt(len(values))
    half = t_quantile(0.5 + confidence / 2, len(values) - 1) * spread
    return Interval(mean, mean - half, mean + half)


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Return the interval of `values` less `baseline`, replay by replay.

    Pair replays of the same seed: what the seed decides (arrivals, failures, noise) then
    cancels, and the interval is far narrower than that of two separate means.

    Raises
    ------
    ValueError
        If the lengths differ or are zero.
    """
    if len(values) != len(baseline):
        raise ValueError(f"{len(values)} values cannot be paired with {len(baseline)}")
    return interval([a - b for a, b in zip(values, baseline, strict=True)], confidence)
