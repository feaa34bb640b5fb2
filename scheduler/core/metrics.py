"""What a Run amounts to: one definition of each figure, and intervals over replays.

Times are seconds. A figure that a run gives no data for is NaN (mean completion time when
nothing finished, SLO attainment without services).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np

from scheduler.core.job_figures import best_rates, job_figures, releases_us
from scheduler.core.ledger import IDLE_CAUSES, WASTE_CAUSES, Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Run
from scheduler.core.student_t import t_quantile, upper_tail
from scheduler.core.tenant_use import TenantUse, tenant_use
from scheduler.core.units import US_PER_S, s_from_us
from scheduler.core.workload import FloatArray

PERCENTS: Final = (50, 90, 95, 99)
"""Percentiles that distributions are described by."""

DISTRIBUTIONS: Final = ("jct_s", "queueing_s", "slowdown", "finish_time_ratio")
"""What is described by its mean and percentiles: fields ``mean_<name>``, ``p50_<name>``, ..."""

FAIR: Final = 1 + 1e-6
"""Finish-time ratio up to which a job counts as fairly treated: times are whole microseconds."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one run.

    Shares of accelerator-time are those of the ledger, over the period it covers; figures of
    jobs are those of the whole run.

    Parameters
    ----------
    mean_jct_s, p50_jct_s, p90_jct_s, p95_jct_s, p99_jct_s : float
        Job completion time, end less release, over finished jobs; percentiles by linear
        interpolation.
    mean_queueing_s, p50_queueing_s, p90_queueing_s, p95_queueing_s, p99_queueing_s : float
        First start less release, over jobs that started.
    mean_slowdown, p50_slowdown, p90_slowdown, p95_slowdown, p99_slowdown : float
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
    mean_finish_time_ratio, max_finish_time_ratio : float
        Themis's rho over finished jobs: completion time over that on an equal part of the fleet
        (`scheduler.core.job_figures.exclusive_s`); percentiles likewise.
    unfair_fraction : float
        Share of finished jobs whose finish-time ratio is above 1: an equal part would have
        served them better.
    share_fairness : float
        Jain's index over tenants, those that have jobs or services, of their weighted dominant
        share.
    tenants : tuple of TenantUse
        What each tenant had.

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
    p90_jct_s: float = math.nan
    p95_jct_s: float = math.nan
    p50_queueing_s: float = math.nan
    p90_queueing_s: float = math.nan
    p95_queueing_s: float = math.nan
    p99_queueing_s: float = math.nan
    p50_slowdown: float = math.nan
    p90_slowdown: float = math.nan
    p95_slowdown: float = math.nan
    p99_slowdown: float = math.nan
    mean_finish_time_ratio: float = math.nan
    p50_finish_time_ratio: float = math.nan
    p90_finish_time_ratio: float = math.nan
    p95_finish_time_ratio: float = math.nan
    p99_finish_time_ratio: float = math.nan
    max_finish_time_ratio: float = math.nan
    unfair_fraction: float = math.nan
    share_fairness: float = math.nan
    tenants: tuple[TenantUse, ...] = ()


FIGURES: Final = tuple(f.name for f in fields(Metrics) if f.name != "tenants")
"""Names of the figures that are one number each."""


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
    each = job_figures(problem, run)
    done = each.finished
    release_us = releases_us(problem)
    end_us = np.array([run.finished_us[j] for j in done.tolist()], dtype=np.int64)
    deadline_s = jobs.deadline_s[done]
    late_s = np.maximum(0.0, end_us / US_PER_S - deadline_s)[~np.isnan(deadline_s)]
    ratios = each.finish_time_ratio
    tenants = tenant_use(problem, run)
    cuts = _cuts(run)
    ledger = run.ledger
    total = ledger.total_us()
    idle = ledger.of(IDLE_CAUSES)
    up = total - ledger.of((Cause.DOWN,))
    productive = ledger.of((Cause.PRODUCTIVE,))
    return Metrics(
        **{
            name: value
            for quantity in DISTRIBUTIONS
            for name, value in _described(quantity, getattr(each, quantity)).items()
        },
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
        max_finish_time_ratio=float(ratios.max()) if len(ratios) else math.nan,
        unfair_fraction=_ratio(int((ratios > FAIR).sum()), len(ratios)),
        share_fairness=jain([t.dominant_share for t in _asking(problem, tenants)]),
        tenants=tenants,
    )


def _described(quantity: str, values: FloatArray) -> dict[str, float]:
    """Return the mean and the percentiles of a distribution by field name."""
    some = len(values) > 0
    points = np.percentile(values, PERCENTS).tolist() if some else [math.nan] * len(PERCENTS)
    named = {f"p{p}_{quantity}": v for p, v in zip(PERCENTS, points, strict=True)}
    return {f"mean_{quantity}": _mean(values), **named}


def _asking(problem: Problem, tenants: Sequence[TenantUse]) -> list[TenantUse]:
    """Return the tenants that have jobs or services."""
    workload = problem.workload
    counts = np.bincount(workload.jobs.tenant_index, minlength=len(workload.tenants))
    asking = {name for name, n in zip(workload.tenants, counts.tolist(), strict=True) if n}
    asking.update(s.tenant for s in workload.services)
    return [t for t in tenants if t.tenant in asking]


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
    best = best_rates(problem)
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


def p_value(difference: Sequence[float]) -> float:
    """Return how likely differences as large as these are by chance alone, if there were none.

    Two-sided, by Student's t test on the mean of paired differences; NaN for fewer than two or
    where one is not finite.

    References
    ----------
    Student (W. S. Gosset), "The probable error of a mean", Biometrika 6(1), 1908.
    """
    if len(difference) < 2 or not all(math.isfinite(v) for v in difference):
        return math.nan
    mean = math.fsum(difference) / len(difference)
    spread = statistics.stdev(difference) / math.sqrt(len(difference))
    if spread == 0:
        return 0.0 if mean else 1.0
    return min(1.0, 2 * upper_tail(abs(mean) / spread, len(difference) - 1))
