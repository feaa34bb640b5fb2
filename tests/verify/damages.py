"""Kinds of damage to a valid run, each with the violation codes that must answer it.

A kind returns the damaged (problem, run), or None where it cannot be done to this run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from scheduler.core.cluster import Outage
from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation, Down, Placement, Run
from scheduler.core.units import US_PER_S, us_from_s

Case = tuple[Problem, Run]
Damage = Callable[[np.random.Generator, Problem, Run], Case | None]
KINDS: dict[str, tuple[Damage, frozenset[str]]] = {}
T = TypeVar("T")


def damage(*codes: str) -> Callable[[Damage], Damage]:
    def register(function: Damage) -> Damage:
        KINDS[function.__name__] = (function, frozenset(codes))
        return function

    return register


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T | None:
    return options[int(rng.integers(len(options)))] if options else None


def _mode(problem: Problem, a: Allocation) -> Mode:
    return problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]


def _class(problem: Problem, job: int):
    return problem.workload.classes[int(problem.workload.jobs.class_index[job])]


def _changed(problem: Problem, run: Run, i: int, **fields: object) -> Case:
    allocations = list(run.allocations)
    allocations[i] = replace(allocations[i], **fields)
    return problem, replace(run, allocations=tuple(allocations))


def _last(run: Run, a: Allocation) -> bool:
    return all(b.end_us <= a.end_us for b in run.allocations if b.job == a.job)


def _moved(placement: Placement, changes: dict[int, int]) -> Placement:
    held = dict(zip(placement.nodes, placement.counts, strict=True))
    for node, count in changes.items():
        held[node] = held.get(node, 0) + count
    nodes = tuple(sorted(n for n, c in held.items() if c))
    return Placement(nodes, tuple(held[n] for n in nodes))


def _type(problem: Problem, node: int) -> str:
    return problem.cluster.nodes[node].accelerator


def _pool(problem: Problem, node: int) -> int:
    return next(p for p, pool in enumerate(problem.pools) if node in pool.nodes)


def _failed(run: Run, a: Allocation) -> bool:
    return any(d.node in a.placement.nodes and d.start_us == a.end_us for d in run.downs)


# --- time -----------------------------------------------------------------------------


@damage("finished")
def shift_one_second_later(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.job in run.finished_us and _last(run, a) and a.end_us + US_PER_S <= run.horizon_us
    ]  # fmt: skip
    if (i := _pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return _changed(problem, run, i, start_us=a.start_us + US_PER_S, end_us=a.end_us + US_PER_S)


@damage("release")
def start_one_us_before_release(rng, problem, run):
    release = [us_from_s(t) for t in problem.workload.jobs.release_s]
    options = [i for i, a in enumerate(run.allocations) if release[a.job] > 0]
    if (i := _pick(rng, options)) is None:
        return None
    return _changed(problem, run, i, start_us=release[run.allocations[i].job] - 1)


@damage("overlap")
def overlap_by_one_us(rng, problem, run):
    if (a := _pick(rng, [a for a in run.allocations if a.end_us < run.horizon_us])) is None:
        return None
    again = replace(a, start_us=a.end_us - 1, end_us=a.end_us + 1, work=0.0, lost_work=0.0)
    again = replace(again, overhead_us=min(2, again.overhead_us))
    return problem, replace(run, allocations=(*run.allocations, again))


@damage("overlap")
def run_twice_at_once(rng, problem, run):
    if (a := _pick(rng, run.allocations)) is None:
        return None
    return problem, replace(run, allocations=(*run.allocations, a))


@damage("interval")
def end_after_the_horizon(rng, problem, run):
    i = _pick(rng, [i for i, a in enumerate(run.allocations) if a.end_us == run.horizon_us])
    return None if i is None else _changed(problem, run, i, end_us=run.horizon_us + 1)


@damage("interval")
def end_before_the_start(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    return _changed(problem, run, i, end_us=run.allocations[i].start_us)


@damage("interval")
def overhead_beyond_the_end(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    return _changed(problem, run, i, overhead_us=a.end_us - a.start_us + 1)


@damage("interval")
def start_before_zero(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    return None if i is None else _changed(problem, run, i, start_us=-1)


@damage("ledger_total")
def horizon_one_us_later(rng, problem, run):
    return problem, replace(run, horizon_us=run.horizon_us + 1)


@damage("overhead")
def overhead_one_us_short(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.overhead_us and a.end_us - a.start_us > a.overhead_us
    ]  # fmt: skip
    if (i := _pick(rng, options)) is None:
        return None
    return _changed(problem, run, i, overhead_us=run.allocations[i].overhead_us - 1)


@damage("ledger_reconfiguration")
def overhead_one_us_long(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations) if a.end_us - a.start_us > a.overhead_us
    ]  # fmt: skip
    if (i := _pick(rng, options)) is None:
        return None
    return _changed(problem, run, i, overhead_us=run.allocations[i].overhead_us + 1)


# --- place ----------------------------------------------------------------------------


@damage("gang")
def drop_a_member(rng, problem, run):
    options = [i for i, a in enumerate(run.allocations) if sum(a.placement.counts) > 1]
    if (i := _pick(rng, options)) is None:
        return None
    placement = run.allocations[i].placement
    return _changed(problem, run, i, placement=_moved(placement, {placement.nodes[-1]: -1}))


@damage("gang")
def add_a_member(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    placement = run.allocations[i].placement
    return _changed(problem, run, i, placement=_moved(placement, {placement.nodes[0]: 1}))


@damage("gang")
def swap_two_placements(rng, problem, run):
    options = [
        (i, j)
        for i, a in enumerate(run.allocations)
        for j, b in enumerate(run.allocations[:i])
        if sum(a.placement.counts) != sum(b.placement.counts)
    ]
    if (pair := _pick(rng, options)) is None:
        return None
    i, j = pair
    allocations = list(run.allocations)
    a, b = allocations[i], allocations[j]
    allocations[i] = replace(a, placement=b.placement)
    allocations[j] = replace(b, placement=a.placement)
    return problem, replace(run, allocations=tuple(allocations))


@damage("type")
def move_to_another_type(rng, problem, run):
    options = []
    for i, a in enumerate(run.allocations):
        used = {problem.types[g.type_index] for g in _mode(problem, a).groups}
        options += [
            (i, n) for n in range(len(problem.cluster.nodes)) if _type(problem, n) not in used
        ]
    if (choice := _pick(rng, options)) is None:
        return None
    i, node = choice
    placement = run.allocations[i].placement
    count = placement.counts[0]
    moved = _moved(placement, {placement.nodes[0]: -count, node: count})
    return _changed(problem, run, i, placement=moved)


def _split(rng, problem, run, wanted):
    """Move one accelerator to another node of the type where `wanted(mode, from, to)`."""
    options = []
    for i, a in enumerate(run.allocations):
        mode = _mode(problem, a)
        for node in a.placement.nodes:
            options += [
                (i, node, other)
                for other in range(len(problem.cluster.nodes))
                if other != node
                and _type(problem, other) == _type(problem, node)
                and wanted(a, mode, node, other)
            ]
    if (choice := _pick(rng, options)) is None:
        return None
    i, node, other = choice
    moved = _moved(run.allocations[i].placement, {node: -1, other: 1})
    return _changed(problem, run, i, placement=moved)


@damage("domain")
def leave_the_node(rng, problem, run):
    return _split(
        rng, problem, run, lambda a, m, node, other: m.level == 0 and sum(a.placement.counts) > 1
    )


@damage("domain")
def leave_the_domain(rng, problem, run):
    def outside(a, mode, node, other):
        if mode.level == 0 or a.placement.counts == (1,):
            return False
        here, there = (problem.pools[_pool(problem, n)].domains for n in (node, other))
        return here[mode.level - 1] != there[mode.level - 1]

    return _split(rng, problem, run, outside)


@damage("shape")
def split_a_slot(rng, problem, run):
    def breaks(a, mode, node, other):
        group = next(g for g in mode.groups if problem.types[g.type_index] == _type(problem, node))
        held = dict(zip(a.placement.nodes, a.placement.counts, strict=True))
        rest = group.count % group.per_node
        # One less here and one more there: not whole slots unless they trade the remainder.
        after = sorted(
            [(held[node] - 1) % group.per_node, (held.get(other, 0) + 1) % group.per_node]
        )
        return group.per_node > 1 and after not in ([0, rest], [rest, 0], [0, 0])

    return _split(rng, problem, run, breaks)


@damage("capacity")
def one_more_than_the_node_has(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    node = a.placement.nodes[0]
    held = [(b.start_us, b.end_us, b.placement) for b in (*run.allocations, *run.replicas)]
    most = max(
        sum(
            dict(zip(p.nodes, p.counts, strict=True)).get(node, 0)
            for start, end, p in held
            if start <= at < end
        )
        for at in {a.start_us, *(s for s, _, _ in held if a.start_us <= s < a.end_us)}
    )
    extra = problem.cluster.nodes[node].count + 1 - most
    return _changed(problem, run, i, placement=_moved(a.placement, {node: extra}))


@damage("unknown_node")
def unknown_node(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    count = sum(run.allocations[i].placement.counts)
    placement = Placement((len(problem.cluster.nodes),), (count,))
    return _changed(problem, run, i, placement=placement)


@damage("placement")
def node_listed_twice(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    node = run.allocations[i].placement.nodes[0]
    return _changed(problem, run, i, placement=Placement((node, node), (1, 1)))


@damage("down")
def node_fails_unnoticed(rng, problem, run):
    options = [a for a in run.allocations if a.end_us - a.start_us > 1]
    if (a := _pick(rng, options)) is None:
        return None
    down = Down(a.placement.nodes[0], a.end_us - 1, a.end_us)
    return problem, replace(run, downs=(*run.downs, down))


@damage("down")
def declared_outage_ignored(rng, problem, run):
    if (a := _pick(rng, run.allocations)) is None:
        return None
    name = problem.cluster.nodes[a.placement.nodes[0]].id
    outage = Outage(name, a.start_us / US_PER_S, a.start_us / US_PER_S + 1e-3)
    cluster = replace(problem.cluster, outages=(*problem.cluster.outages, outage))
    return replace(problem, cluster=cluster), run


@damage("power_cap")
def cap_one_watt_lower_than_the_draw(rng, problem, run):
    if (a := _pick(rng, run.allocations)) is None:
        return None
    cluster = problem.cluster
    site = problem.pools[_pool(problem, a.placement.nodes[0])].site_index
    live = [
        (_mode(problem, b), b.placement)
        for b in run.allocations
        if b.start_us <= a.start_us < b.end_us
    ]
    live += [
        (problem.service_modes[r.service][r.mode], r.placement)
        for r in run.replicas
        if r.start_us <= a.start_us < r.end_us
    ]
    off = {d.node for d in run.downs if d.start_us <= a.start_us < d.end_us}
    watts = 0.0
    for n, node in enumerate(cluster.nodes):
        if problem.pools[_pool(problem, n)].site_index != site or n in off:
            continue
        held = 0
        for mode, placement in live:
            count = dict(zip(placement.nodes, placement.counts, strict=True)).get(n, 0)
            watts += count * mode.power_w / mode.count
            held += count
        watts += (
            node.overhead_w + (node.count - held) * cluster.accelerators[node.accelerator].idle_w
        )
    sites = list(cluster.sites)
    sites[site] = replace(sites[site], power_cap_w=watts - 1)
    return replace(problem, cluster=replace(cluster, sites=tuple(sites))), run


# --- work -----------------------------------------------------------------------------


def _more_work(problem, a, factor):
    mode = _mode(problem, a)
    return factor * (1e-8 * a.work + 3 * mode.rate / US_PER_S)


@damage("work")
def work_beyond_the_rate(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    most = _mode(problem, a).rate * (a.end_us - a.start_us - a.overhead_us) / US_PER_S
    return _changed(problem, run, i, work=most + _more_work(problem, a, 1))


@damage("work")
def work_behind_the_rate(rng, problem, run):
    options = [i for i, a in enumerate(run.allocations) if a.work > 1]
    if (i := _pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return _changed(problem, run, i, work=a.work - _more_work(problem, a, 1))


@damage("work")
def negative_work(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    return None if i is None else _changed(problem, run, i, work=-1e-9)


@damage("number")
def work_not_a_number(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    return None if i is None else _changed(problem, run, i, work=math.nan)


@damage("work_total")
def job_needed_more(rng, problem, run):
    if (job := _pick(rng, sorted(run.finished_us))) is None:
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
    if (i := _pick(rng, options)) is None:
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
    options = [i for i, a in enumerate(run.allocations) if a.work > 0 and not _failed(run, a)]
    if (i := _pick(rng, options)) is None:
        return None
    return _changed(problem, run, i, lost_work=run.allocations[i].work * 1e-3)


@damage("lost_work")
def failure_forgiven(rng, problem, run):
    def noticeable(a):  # more than rounding, and not as good as a whole checkpoint interval
        interval = _class(problem, a.job).checkpoint_s * _mode(problem, a).rate
        slack = _more_work(problem, a, 1)
        return slack < a.lost_work < interval - slack

    i = _pick(rng, [i for i, a in enumerate(run.allocations) if noticeable(a)])
    return None if i is None else _changed(problem, run, i, lost_work=0.0)


@damage("lost_work")
def more_lost_than_unsaved(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.lost_work > 0 and a.work - a.lost_work > 1e-3
    ]  # fmt: skip
    if (i := _pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return _changed(problem, run, i, lost_work=a.lost_work + 0.37 * min(1.0, a.work - a.lost_work))


# --- state ----------------------------------------------------------------------------


@damage("finished")
def finish_off_by_one_us(rng, problem, run):
    if (job := _pick(rng, sorted(run.finished_us))) is None:
        return None
    at = run.finished_us[job] + int(rng.choice([-1, 1]))
    return problem, replace(run, finished_us={**run.finished_us, job: at})


@damage("state")
def lose_a_job(rng, problem, run):
    if (job := _pick(rng, sorted(run.finished_us))) is None:
        return None
    return problem, replace(run, finished_us={j: t for j, t in run.finished_us.items() if j != job})


@damage("state")
def count_a_job_twice(rng, problem, run):
    if (job := _pick(rng, sorted(run.finished_us))) is None:
        return None
    return problem, replace(run, waiting=(*run.waiting, job))


@damage("work_total")
def finished_called_waiting(rng, problem, run):
    options = [j for j, t in sorted(run.finished_us.items()) if t < run.horizon_us]
    if (job := _pick(rng, options)) is None:
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
    if (a := _pick(rng, options)) is None:
        return None
    running = tuple(j for j in run.running if j != a.job)
    finished = {**run.finished_us, a.job: a.end_us}
    return problem, replace(run, finished_us=finished, running=running)


@damage("running")
def waiting_called_running(rng, problem, run):
    if (job := _pick(rng, run.waiting)) is None:
        return None
    waiting = tuple(j for j in run.waiting if j != job)
    return problem, replace(run, waiting=waiting, running=(*run.running, job))


@damage("waiting")
def running_called_waiting(rng, problem, run):
    if (job := _pick(rng, run.running)) is None:
        return None
    running = tuple(j for j in run.running if j != job)
    return problem, replace(run, waiting=(*run.waiting, job), running=running)


@damage("rejected")
def waiting_called_rejected(rng, problem, run):
    if (job := _pick(rng, run.waiting)) is None:
        return None
    waiting = tuple(j for j in run.waiting if j != job)
    return problem, replace(run, waiting=waiting, rejected={**run.rejected, job: "no"})


@damage("rejected")
def rejected_called_waiting(rng, problem, run):
    if (job := _pick(rng, sorted(run.rejected))) is None:
        return None
    rejected = {j: why for j, why in run.rejected.items() if j != job}
    return problem, replace(run, rejected=rejected, waiting=(*run.waiting, job))


@damage("interrupted")
def preempt_what_may_not_be(rng, problem, run):
    options = [
        a.job for a in run.allocations
        if not _failed(run, a) and not _last(run, a)
        and _class(problem, a.job).preemptible
    ]  # fmt: skip
    if (job := _pick(rng, options)) is None:
        return None
    classes = list(problem.workload.classes)
    c = int(problem.workload.jobs.class_index[job])
    classes[c] = replace(classes[c], preemptible=False)
    workload = replace(problem.workload, classes=tuple(classes))
    return replace(problem, workload=workload), run


@damage("unknown_job")
def unknown_job(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    return None if i is None else _changed(problem, run, i, job=len(run.actual_work))


@damage("unknown_mode")
def unknown_mode(rng, problem, run):
    i = _pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    modes = problem.modes[int(problem.workload.jobs.class_index[run.allocations[i].job])]
    return _changed(problem, run, i, mode=len(modes))


# --- services -------------------------------------------------------------------------


def _changed_replica(problem, run, i, **fields):
    replicas = list(run.replicas)
    replicas[i] = replace(replicas[i], **fields)
    return problem, replace(run, replicas=tuple(replicas))


@damage("gang")
def replica_drops_a_member(rng, problem, run):
    options = [i for i, r in enumerate(run.replicas) if sum(r.placement.counts) > 1]
    if (i := _pick(rng, options)) is None:
        return None
    placement = run.replicas[i].placement
    return _changed_replica(problem, run, i, placement=_moved(placement, {placement.nodes[0]: -1}))


@damage("overhead")
def replica_loads_too_fast(rng, problem, run):
    options = [
        i for i, r in enumerate(run.replicas)
        if r.overhead_us and r.end_us - r.start_us > r.overhead_us
    ]  # fmt: skip
    if (i := _pick(rng, options)) is None:
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
    if (r := _pick(rng, options)) is None:
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
