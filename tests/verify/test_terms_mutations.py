"""Every rule on quotas, limits, reservations and the like is broken on purpose, and found."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from damages import Case, class_of, pick, pool_of
from random_terms import RandomMover, random_terms

from scheduler.core.cluster import Outage, Reservation
from scheduler.core.ledger import Cause
from scheduler.core.run import Crash, Down
from scheduler.core.units import US_PER_S
from scheduler.core.workload import Tenancy
from scheduler.simulate import simulate
from scheduler.verify import verify_run

BASES = 400
LEAST, MOST = 15, 25
KINDS: dict[str, tuple[Callable[..., Case | None], frozenset[str]]] = {}


def damage(*codes: str):
    def register(function):
        KINDS[function.__name__] = (function, frozenset(codes))
        return function

    return register


@functools.cache
def valid_run(seed: int) -> Case:
    rng = np.random.default_rng([seed, 11])
    problem = random_terms(rng)
    policy = RandomMover(rng) if seed % 2 else "best_fit"
    return problem, simulate(
        problem, policy, seed=seed, horizon_s=float(rng.choice([120.0, 400.0]))
    )


def with_jobs(problem, **columns):
    jobs = replace(problem.workload.jobs, **columns)
    return replace(problem, workload=replace(problem.workload, jobs=jobs))


def with_class(problem, job, **fields):
    c = int(problem.workload.jobs.class_index[job])
    classes = list(problem.workload.classes)
    classes[c] = replace(classes[c], **fields)
    return replace(problem, workload=replace(problem.workload, classes=tuple(classes)))


def with_cluster(problem, **fields):
    return replace(problem, cluster=replace(problem.cluster, **fields))


def held_us(run, job):
    return sum(a.end_us - a.start_us for a in run.allocations if a.job == job)


def without(mapping, key):
    return {k: v for k, v in mapping.items() if k != key}


# --- limits, dependencies, crashes ----------------------------------------------------


@damage("limit")
def limit_one_us_shorter(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    limit = problem.workload.jobs.limit_s.copy()
    limit[a.job] = (held_us(run, a.job) - 1) / US_PER_S
    return with_jobs(problem, limit_s=limit), run


@damage("killed")
def killed_one_us_early(rng, problem, run):
    if (job := pick(rng, sorted(run.killed_us))) is None:
        return None
    return problem, replace(run, killed_us={**run.killed_us, job: run.killed_us[job] - 1})


@damage("killed", "work_total")
def kill_before_the_limit(rng, problem, run):
    done = [j for j in sorted(run.finished_us) if math.isnan(problem.workload.jobs.limit_s[j])]
    if (job := pick(rng, done)) is None:
        return None
    killed = {**run.killed_us, job: run.finished_us[job]}
    return problem, replace(run, killed_us=killed, finished_us=without(run.finished_us, job))


@damage("limit")
def kill_forgotten(rng, problem, run):
    if (job := pick(rng, [j for j, t in run.killed_us.items() if t < run.horizon_us])) is None:
        return None
    waiting = tuple(sorted((*run.waiting, job)))
    return problem, replace(run, killed_us=without(run.killed_us, job), waiting=waiting)


@damage("needs")
def starts_before_what_it_needs(rng, problem, run):
    n = len(problem.workload.jobs)
    options = [
        (a.job, k) for a in run.allocations for k in run.finished_us
        if k < a.job and run.finished_us[k] > a.start_us
    ]  # fmt: skip
    if (found := pick(rng, options)) is None:
        return None
    after = list(problem.workload.jobs.after or ((),) * n)
    after[found[0]] = tuple(sorted({*after[found[0]], found[1]}))
    return with_jobs(problem, after=tuple(after)), run


@damage("cancelled")
def cancelled_without_need(rng, problem, run):
    if (job := pick(rng, [j for j in run.waiting if not held_us(run, j)])) is None:
        return None
    waiting = tuple(j for j in run.waiting if j != job)
    return problem, replace(run, waiting=waiting, cancelled={**run.cancelled, job: "so"})


@damage("cancelled")
def cancellation_forgotten(rng, problem, run):
    if (job := pick(rng, sorted(run.cancelled))) is None:
        return None
    waiting = tuple(sorted((*run.waiting, job)))
    return problem, replace(run, waiting=waiting, cancelled=without(run.cancelled, job))


@damage("crash")
def crash_out_of_nothing(rng, problem, run):
    if (a := pick(rng, [a for a in run.allocations if a.end_us - a.start_us > 2])) is None:
        return None
    crashes = (*run.crashes, Crash(a.job, a.end_us - 1))
    return problem, replace(run, crashes=crashes)


@damage("lost_work", "interrupted")
def crash_forgotten(rng, problem, run):
    lost = {(a.job, a.end_us) for a in run.allocations if a.lost_work > 0}
    options = [c for c in run.crashes if (c.job, c.at_us) in lost]
    options = [c for c in options if class_of(problem, c.job).saves_state]
    if (crash := pick(rng, options)) is None:
        return None
    return problem, replace(run, crashes=tuple(c for c in run.crashes if c != crash))


@damage("array")
def one_turn_less_than_jobs_that_ran_at_once(rng, problem, run):
    options = []
    for a in run.allocations:
        around = {b.job for b in run.allocations if b.start_us <= a.start_us < b.end_us}
        if len(around) > 1:
            options.append(sorted(around))
    if (found := pick(rng, options)) is None:
        return None
    index = np.full(len(problem.workload.jobs), -1)
    index[found] = 0
    return with_jobs(problem, array_index=index, array_most=(len(found) - 1,)), run


# --- nodes ----------------------------------------------------------------------------


@damage("drain")
def drain_ignored(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    name = problem.cluster.nodes[a.placement.nodes[0]].id
    start_s = a.start_us / US_PER_S
    drain = Outage(name, start_s, start_s + 1e-3, "drain")
    return with_cluster(problem, outages=(*problem.cluster.outages, drain)), run


@damage("drain")
def drained_time_forgotten(rng, problem, run):
    if (down := pick(rng, [d for d in run.downs if d.cause == "drain"])) is None:
        return None
    return problem, replace(run, downs=tuple(d for d in run.downs if d is not down))


@damage("drain", "capacity")
def one_accelerator_more_is_drained(rng, problem, run):
    if (down := pick(rng, [d for d in run.downs if d.cause == "drain"])) is None:
        return None
    more = replace(down, count=down.count + 1)
    return problem, replace(run, downs=tuple(more if d is down else d for d in run.downs))


@damage("ledger_down", "crash", "capacity", "drain")
def failed_accelerator_forgotten(rng, problem, run):
    if (down := pick(rng, [d for d in run.downs if d.cause == "accelerator"])) is None:
        return None
    return problem, replace(run, downs=tuple(d for d in run.downs if d is not down))


@damage("capacity")
def failed_accelerators_are_held(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    node = a.placement.nodes[0]
    size = problem.cluster.nodes[node].count
    down = Down(node, a.end_us - 1, a.end_us, size, "accelerator")
    return problem, replace(run, downs=(*run.downs, down))


@damage("down_cause")
def cause_of_a_down_mistaken(rng, problem, run):
    if (down := pick(rng, run.downs)) is None:
        return None
    other = replace(down, cause="drain" if down.cause == "down" else "down")
    return problem, replace(run, downs=tuple(other if d is down else d for d in run.downs))


# --- who may use what -----------------------------------------------------------------


@damage("reserved")
def reservation_ignored(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    name = problem.cluster.nodes[a.placement.nodes[0]].id
    start_s = a.start_us / US_PER_S
    kept = Reservation("other", (name,), start_s, start_s + 1.0, ("nobody",))
    return with_cluster(problem, reservations=(*problem.cluster.reservations, kept)), run


@damage("quota")
def quota_one_below_what_is_held(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    jobs = problem.workload.jobs
    tenant = int(jobs.tenant_index[a.job])
    used = sum(
        sum(b.placement.counts) for b in run.allocations
        if b.start_us <= a.start_us < b.end_us and int(jobs.tenant_index[b.job]) == tenant
    )  # fmt: skip
    name = problem.workload.tenants[tenant]
    others = tuple(t for t in problem.workload.tenancies if t.tenant != name)
    rule = Tenancy(name, total=used - 1)
    workload = replace(problem.workload, tenancies=(*others, rule))
    return replace(problem, workload=workload), run


@damage("quota")
def borrowed_more_than_others_leave(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    name = problem.workload.tenants[int(problem.workload.jobs.tenant_index[a.job])]
    rule = Tenancy(name, total=sum(a.placement.counts) - 1, borrow=None)
    return replace(problem, workload=replace(problem.workload, tenancies=(rule,))), run


@damage("quota")
def quota_that_leaves_out_one_replica(rng, problem, run):
    if (r := pick(rng, run.replicas)) is None:
        return None
    workload = problem.workload
    name = workload.services[r.service].tenant
    tenants = dict.fromkeys((*workload.tenants, name))
    used = sum(
        sum(h.placement.counts) for h in run.replicas
        if h.start_us <= r.start_us < h.end_us and workload.services[h.service].tenant == name
    )  # fmt: skip
    others = tuple(t for t in workload.tenancies if t.tenant != name)
    rules = (*others, Tenancy(name, total=used - 1))
    return replace(
        problem, workload=replace(workload, tenants=tuple(tenants), tenancies=rules)
    ), run


@damage("labels")
def label_missing(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    return with_class(problem, a.job, labels=(("region", "elsewhere"),)), run


@damage("host")
def cpus_one_below_what_is_taken(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    problem = with_class(problem, a.job, cpus=2.0)
    node, count = a.placement.nodes[0], a.placement.counts[0]
    name = problem.cluster.nodes[node].id
    pods = tuple(
        replace(
            pod,
            nodes=tuple(replace(n, cpus=2.0 * count - 1) if n.id == name else n for n in pod.nodes),
        )
        for pod in problem.cluster.pods
    )
    return with_cluster(problem, pods=pods), run


def _around(problem, run, a):
    """The allocations of other jobs of its class that run on over the start of `a`."""
    classes = problem.workload.jobs.class_index
    return [
        b for b in run.allocations
        if a.job != b.job and classes[a.job] == classes[b.job]
        and b.start_us < a.start_us < b.end_us
    ]  # fmt: skip


def _pods(problem, a):
    return {problem.pools[pool_of(problem, n)].domains[0] for n in a.placement.nodes}


@damage("apart")
def shares_a_node_with_its_group(rng, problem, run):
    options = [
        a for a in run.allocations for b in _around(problem, run, a)
        if set(a.placement.nodes) & set(b.placement.nodes)
    ]  # fmt: skip
    if (a := pick(rng, options)) is None:
        return None
    return with_class(problem, a.job, apart="node", near=None, group=""), run


@damage("near", "rejected")
def is_far_from_its_group(rng, problem, run):
    options = []
    for a in run.allocations:
        around = _around(problem, run, a)
        if around and not any(_pods(problem, a) & _pods(problem, b) for b in around):
            options.append(a)
    if (a := pick(rng, options)) is None:
        return None
    return with_class(problem, a.job, near="pod", apart=None, group=""), run


@damage("ledger_incompatible", "ledger_policy", "ledger_shape", "ledger_gang_wait")
def incompatible_called_policy(rng, problem, run):
    rows = np.flatnonzero(run.ledger.amount_us[:, Cause.INCOMPATIBLE] > 0).tolist()
    if (row := pick(rng, rows)) is None:
        return None
    amount = run.ledger.amount_us.copy()
    amount[row, Cause.INCOMPATIBLE] -= 1
    amount[row, Cause.POLICY] += 1
    return problem, replace(run, ledger=replace(run.ledger, amount_us=amount))


def test_undamaged_runs_are_accepted() -> None:
    for seed in range(BASES):
        assert verify_run(*valid_run(seed)) == [], f"seed {seed}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_damage_is_found(kind: str) -> None:
    inflict, codes = KINDS[kind]
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    done = 0
    for seed in range(BASES):
        case = inflict(rng, *valid_run(seed))
        if case is None:
            continue
        done += 1
        found = {violation.code for violation in verify_run(*case)}
        assert found & codes, f"{kind} on seed {seed}: found only {sorted(found)}"
        if done == MOST:
            break
    assert done >= LEAST, f"{kind} could be done to {done} runs only"
