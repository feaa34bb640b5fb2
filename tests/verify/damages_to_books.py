"""Kinds of damage to the work, the final states, the services and the books of a run."""

from __future__ import annotations

import math
from dataclasses import replace

from damages import changed, class_of, damage, failed, is_last, mode_of, moved, pick

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.units import US_PER_S

# --- work -----------------------------------------------------------------------------


def _more_work(problem, a, factor):
    mode = mode_of(problem, a)
    return factor * (1e-8 * a.work + 3 * mode.rate / US_PER_S)


@damage("work")
def work_beyond_the_rate(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    most = mode_of(problem, a).rate * (a.end_us - a.start_us - a.overhead_us) / US_PER_S
    return changed(problem, run, i, work=most + _more_work(problem, a, 1))


@damage("work")
def work_behind_the_rate(rng, problem, run):
    options = [i for i, a in enumerate(run.allocations) if a.work > 1]
    if (i := pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return changed(problem, run, i, work=a.work - _more_work(problem, a, 1))


@damage("work")
def negative_work(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    return None if i is None else changed(problem, run, i, work=-1e-9)


@damage("number")
def work_not_a_number(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    return None if i is None else changed(problem, run, i, work=math.nan)


@damage("work_total")
def job_needed_more(rng, problem, run):
    if (job := pick(rng, sorted(run.finished_us))) is None:
        return None
    work = list(run.actual_work)
    work[job] = work[job] * 1.001 + 1e-3
    return problem, replace(run, actual_work=tuple(work))


@damage("work_total", "finished")
def forget_an_allocation(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.job in run.finished_us and a.work - a.lost_work > 1
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    allocations = run.allocations[:i] + run.allocations[i + 1 :]
    return problem, replace(run, allocations=allocations)


@damage("actual_work")
def actual_work_not_positive(rng, problem, run):
    job = int(rng.integers(len(run.actual_work)))
    work = list(run.actual_work)
    work[job] = float(rng.choice([0.0, -1.0, math.nan, math.inf]))
    return problem, replace(run, actual_work=tuple(work))


@damage("lost_work")
def lost_without_a_failure(rng, problem, run):
    options = [i for i, a in enumerate(run.allocations) if a.work > 0 and not failed(run, a)]
    if (i := pick(rng, options)) is None:
        return None
    return changed(problem, run, i, lost_work=run.allocations[i].work * 1e-3)


@damage("lost_work")
def failure_forgiven(rng, problem, run):
    def noticeable(a):  # more than rounding, and not as good as a whole checkpoint interval
        interval = class_of(problem, a.job).checkpoint_s * mode_of(problem, a).rate
        slack = _more_work(problem, a, 1)
        return slack < a.lost_work < interval - slack

    i = pick(rng, [i for i, a in enumerate(run.allocations) if noticeable(a)])
    return None if i is None else changed(problem, run, i, lost_work=0.0)


@damage("lost_work")
def more_lost_than_unsaved(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.lost_work > 0 and a.work - a.lost_work > 1e-3
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return changed(problem, run, i, lost_work=a.lost_work + 0.37 * min(1.0, a.work - a.lost_work))


# --- state ----------------------------------------------------------------------------


@damage("finished")
def finish_off_by_one_us(rng, problem, run):
    if (job := pick(rng, sorted(run.finished_us))) is None:
        return None
    at = run.finished_us[job] + int(rng.choice([-1, 1]))
    return problem, replace(run, finished_us={**run.finished_us, job: at})


@damage("state")
def lose_a_job(rng, problem, run):
    if (job := pick(rng, sorted(run.finished_us))) is None:
        return None
    return problem, replace(run, finished_us={j: t for j, t in run.finished_us.items() if j != job})


@damage("state")
def count_a_job_twice(rng, problem, run):
    if (job := pick(rng, sorted(run.finished_us))) is None:
        return None
    return problem, replace(run, waiting=(*run.waiting, job))


@damage("work_total")
def finished_called_waiting(rng, problem, run):
    options = [j for j, t in sorted(run.finished_us.items()) if t < run.horizon_us]
    if (job := pick(rng, options)) is None:
        return None
    finished = {j: t for j, t in run.finished_us.items() if j != job}
    return problem, replace(run, finished_us=finished, waiting=(*run.waiting, job))


@damage("work_total")
def running_called_finished(rng, problem, run):
    def left(job):
        kept = sum(b.work - b.lost_work for b in run.allocations if b.job == job)
        return run.actual_work[job] - kept

    options = [
        a for a in run.allocations
        if a.job in run.running and a.end_us == run.horizon_us and left(a.job) > 1e-3
    ]  # fmt: skip
    if (a := pick(rng, options)) is None:
        return None
    running = tuple(j for j in run.running if j != a.job)
    finished = {**run.finished_us, a.job: a.end_us}
    return problem, replace(run, finished_us=finished, running=running)


@damage("running")
def waiting_called_running(rng, problem, run):
    if (job := pick(rng, run.waiting)) is None:
        return None
    waiting = tuple(j for j in run.waiting if j != job)
    return problem, replace(run, waiting=waiting, running=(*run.running, job))


@damage("waiting")
def running_called_waiting(rng, problem, run):
    if (job := pick(rng, run.running)) is None:
        return None
    running = tuple(j for j in run.running if j != job)
    return problem, replace(run, waiting=(*run.waiting, job), running=running)


@damage("rejected")
def waiting_called_rejected(rng, problem, run):
    if (job := pick(rng, run.waiting)) is None:
        return None
    waiting = tuple(j for j in run.waiting if j != job)
    return problem, replace(run, waiting=waiting, rejected={**run.rejected, job: "no"})


@damage("rejected")
def rejected_called_waiting(rng, problem, run):
    if (job := pick(rng, sorted(run.rejected))) is None:
        return None
    rejected = {j: why for j, why in run.rejected.items() if j != job}
    return problem, replace(run, rejected=rejected, waiting=(*run.waiting, job))


@damage("interrupted")
def preempt_what_may_not_be(rng, problem, run):
    options = [
        a.job for a in run.allocations
        if not failed(run, a) and not is_last(run, a)
        and class_of(problem, a.job).preemptible
    ]  # fmt: skip
    if (job := pick(rng, options)) is None:
        return None
    classes = list(problem.workload.classes)
    c = int(problem.workload.jobs.class_index[job])
    classes[c] = replace(classes[c], preemptible=False)
    workload = replace(problem.workload, classes=tuple(classes))
    return replace(problem, workload=workload), run


@damage("unknown_job")
def unknown_job(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    return None if i is None else changed(problem, run, i, job=len(run.actual_work))


@damage("unknown_mode")
def unknown_mode(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    modes = problem.modes[int(problem.workload.jobs.class_index[run.allocations[i].job])]
    return changed(problem, run, i, mode=len(modes))


def _demanding(problem, job, **fields):
    classes = list(problem.workload.classes)
    c = int(problem.workload.jobs.class_index[job])
    classes[c] = replace(classes[c], **fields)
    return replace(problem, workload=replace(problem.workload, classes=tuple(classes)))


@damage("permitted")
def class_permits_less(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    mode = mode_of(problem, a)
    wishes = [
        {"gang": (mode.count + 1,)},
        {"accelerators": ("Z",)},
        {"stacks": ("other",)},
        {"precision": "fp4"},
        {"memory_bytes": 1e15},
    ]
    if mode.level:
        wishes.append({"max_level": problem.levels[mode.level - 1]})
    return _demanding(problem, a.job, **pick(rng, wishes)), run


@damage("permitted")
def mode_needs_more_memory_than_the_device_has(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    c = int(problem.workload.jobs.class_index[a.job])
    modes = list(problem.modes)
    full = min(d.memory_bytes for d in problem.cluster.accelerators.values())
    modes[c] = tuple(replace(m, memory_bytes=full + 1) for m in modes[c])
    return replace(problem, modes=tuple(modes)), run


# --- services -------------------------------------------------------------------------


def _changed_replica(problem, run, i, **fields):
    replicas = list(run.replicas)
    replicas[i] = replace(replicas[i], **fields)
    return problem, replace(run, replicas=tuple(replicas))


@damage("gang")
def replica_drops_a_member(rng, problem, run):
    options = [i for i, r in enumerate(run.replicas) if sum(r.placement.counts) > 1]
    if (i := pick(rng, options)) is None:
        return None
    placement = run.replicas[i].placement
    return _changed_replica(problem, run, i, placement=moved(placement, {placement.nodes[0]: -1}))


@damage("overhead")
def replica_loads_too_fast(rng, problem, run):
    options = [
        i for i, r in enumerate(run.replicas)
        if r.overhead_us and r.end_us - r.start_us > r.overhead_us
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    return _changed_replica(problem, run, i, overhead_us=run.replicas[i].overhead_us - 1)


@damage("capacity")
def replica_held_twice(rng, problem, run):
    options = [
        r
        for r in run.replicas
        if any(
            2 * c > problem.cluster.nodes[n].count
            for n, c in zip(r.placement.nodes, r.placement.counts, strict=True)
        )
    ]
    if (r := pick(rng, options)) is None:
        return None
    return problem, replace(run, replicas=(*run.replicas, r))


@damage("service_end")
def replica_outlives_its_service(rng, problem, run):
    if not run.replicas:
        return None
    services = tuple(
        replace(s, end_s=max(r.end_us for r in run.replicas) / US_PER_S - 1e-3)
        for s in problem.workload.services
    )
    return replace(problem, workload=replace(problem.workload, services=services)), run


@damage("permitted")
def replica_on_a_type_not_asked(rng, problem, run):
    if not run.replicas:
        return None
    services = tuple(replace(s, accelerators=("Z",)) for s in problem.workload.services)
    return replace(problem, workload=replace(problem.workload, services=services)), run


@damage("unknown_service")
def unknown_service(rng, problem, run):
    if not run.replicas:
        return None
    return _changed_replica(problem, run, 0, service=len(problem.workload.services))


@damage("served")
def served_too_much(rng, problem, run):
    if not run.served:
        return None
    return problem, replace(run, served=tuple(x * 1.0001 + 1e-3 for x in run.served))


@damage("demanded")
def demanded_too_little(rng, problem, run):
    if not run.demanded:
        return None
    return problem, replace(run, demanded=tuple(x * 0.9999 - 1e-3 for x in run.demanded))


# --- books ----------------------------------------------------------------------------


def _rebooked(problem, run, changes):
    amounts = run.ledger.amount_us.copy()
    for (pool, cause), amount in changes.items():
        amounts[pool, cause] += amount
    return problem, replace(run, ledger=replace(run.ledger, amount_us=amounts))


def _random_pool(rng, problem):
    return int(rng.integers(len(problem.pools)))


@damage("ledger_total")
def ledger_off_by_one_us(rng, problem, run):
    cell = (_random_pool(rng, problem), int(rng.integers(len(Cause))))
    return _rebooked(problem, run, {cell: int(rng.choice([-1, 1]))})


@damage("ledger_negative")
def ledger_entry_negative(rng, problem, run):
    p = _random_pool(rng, problem)
    row = run.ledger.amount_us[p]
    a, b = rng.permutation(len(Cause))[:2].tolist()
    return _rebooked(problem, run, {(p, a): -int(row[a]) - 1, (p, b): int(row[a]) + 1})


@damage("ledger_down")
def down_called_idle(rng, problem, run):
    p = _random_pool(rng, problem)
    sign = int(rng.choice([-1, 1]))
    return _rebooked(problem, run, {(p, Cause.DOWN): sign, (p, Cause.NO_DEMAND): -sign})


@damage("ledger_held")
def idle_called_held(rng, problem, run):
    p = _random_pool(rng, problem)
    sign = int(rng.choice([-1, 1]))
    return _rebooked(problem, run, {(p, Cause.PRODUCTIVE): sign, (p, Cause.NO_DEMAND): -sign})


@damage("ledger_reconfiguration")
def restart_called_productive(rng, problem, run):
    p = _random_pool(rng, problem)
    return _rebooked(problem, run, {(p, Cause.RECONFIGURATION): -1, (p, Cause.PRODUCTIVE): 1})


@damage(*(f"ledger_{c.label}" for c in IDLE_CAUSES))
def idle_cause_swapped_by_one_us(rng, problem, run):
    p = _random_pool(rng, problem)
    a, b = rng.permutation([int(c) for c in IDLE_CAUSES])[:2].tolist()
    return _rebooked(problem, run, {(p, a): -1, (p, b): 1})


@damage("ledger_productive")
def held_cause_swapped(rng, problem, run):
    holds = len(run.allocations) + len(run.replicas)
    p = _random_pool(rng, problem)
    other = int(rng.choice([Cause.COMMUNICATION, Cause.STRAGGLER, Cause.LOST, Cause.HEADROOM]))
    amount = 1000 * (holds + 1)  # beyond what rounding can explain: 2 us per accelerator held
    return _rebooked(problem, run, {(p, Cause.PRODUCTIVE): amount, (p, other): -amount})


@damage("ledger_rows")
def ledger_rows_renamed(rng, problem, run):
    types = tuple(f"{t}?" for t in run.ledger.pool_types)
    return problem, replace(run, ledger=replace(run.ledger, pool_types=types))


@damage("ledger_rows")
def ledger_row_missing(rng, problem, run):
    ledger = replace(run.ledger, amount_us=run.ledger.amount_us[1:])
    return problem, replace(run, ledger=ledger)


@damage("energy")
def energy_rounded(rng, problem, run):
    return problem, replace(run, energy_j=run.energy_j * (1 + 1e-5))


@damage("cost")
def cost_without_pue(rng, problem, run):
    return problem, replace(run, cost_usd=run.cost_usd / 1.2)


@damage("carbon")
def carbon_not_a_number(rng, problem, run):
    return problem, replace(run, carbon_g=math.nan)


@damage("run")
def work_of_a_job_missing(rng, problem, run):
    return problem, replace(run, actual_work=run.actual_work[:-1])
