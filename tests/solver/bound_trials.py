"""Random runs under every rule, and the bounds that must lie below them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from random_terms import random_terms

from scheduler.core.bounds import lower_bounds
from scheduler.core.errors import PolicyError
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.simulate import simulate
from scheduler.solver.plan import Requests, plan_all, plan_bound, priced_bound
from scheduler.verify import verify_run

POLICIES = ("fifo", "easy_backfill", "best_fit", "srtf", "optimizer", "srtf+easy")


def drawn(seed: int) -> Problem:
    """A problem with some of all rules; a tenant pays for its service, requests at random."""
    rng = np.random.default_rng(seed)
    problem = random_terms(rng)
    workload = problem.workload
    if rng.random() < 0.5:
        services = tuple(
            replace(
                s,
                tenant=workload.tenants[-1],
                arrivals=str(rng.choice(["steady", "poisson"])),
                concurrency=int(rng.integers(1, 6)),
            )
            for s in workload.services
        )
        problem = replace(problem, workload=replace(workload, services=services))
    return problem


def played(seed: int) -> tuple[Problem, Run]:
    """A run of it under one of the policies, with noise in two out of three."""
    problem = drawn(seed)
    policy = POLICIES[seed % len(POLICIES)]
    run = simulate(problem, policy, seed=seed, noise_sigma=0.15 * (seed % 3), horizon_s=3e3)
    return problem, run


def terms_of(problem: Problem) -> list[str]:
    """What makes the problem special."""
    cluster, workload = problem.cluster, problem.workload
    failures = cluster.failures
    found = {
        "quota": bool(workload.tenancies),
        "reservation": bool(cluster.reservations),
        "outage": any(o.kind == "down" for o in cluster.outages),
        "drain": any(o.kind == "drain" for o in cluster.outages),
        "failures": failures.node_mtbf_s < np.inf or failures.crash_accelerator_s < np.inf,
        "power cap": any(s.power_cap_w is not None for s in cluster.sites),
        "services": bool(workload.services),
        "needs": any(workload.jobs.after),
        "labels": any(c.labels for c in workload.classes),
    }
    return [name for name, there in found.items() if there]


def hold_below(seed: int, *, buckets: int, rounds: int) -> tuple[list[str], list[str]] | None:
    """Hold the plan's bounds against one run; return its terms and what is wrong.

    None: no job finished.
    """
    try:
        problem, run = played(seed)
    except PolicyError as error:  # no bound's fault, and to be told all the same
        return [], [f"seed {seed}: {error}"]
    done = sorted(run.finished_us)
    if not done:
        return None
    wrong = [f"seed {seed}: {v.code}: {v.message}" for v in verify_run(problem, run)]
    release_s = problem.workload.jobs.release_s
    ends_s = np.array([run.finished_us[j] / 1e6 for j in done])
    mean_s = float((ends_s - release_s[done]).mean())
    span_s = float(ends_s.max() - release_s.min())
    least = lower_bounds(problem, run.actual_work, done)
    effort = {"buckets": buckets, "rounds": rounds}
    asked = None
    if run.demanded:
        asked = Requests(run.served, run.demanded, run.horizon_us / 1e6)
    if seed % 2:
        bound = plan_bound(problem, run.actual_work, done, **effort)
    else:  # prices of nominal work, and what services took counts
        plans = [plan_all(problem, **effort, serving=asked is not None)]
        bound = priced_bound(problem, plans, run.actual_work, done, asked=asked)
    if not least.mean_jct_s <= bound.mean_jct_s <= mean_s + 2e-6:
        wrong.append(f"seed {seed}: {least.mean_jct_s} <= {bound.mean_jct_s} <= {mean_s}")
    if bound.makespan_s > span_s + 2e-6:
        wrong.append(f"seed {seed}: {bound.makespan_s} <= {span_s}")
    if (bound.proof == "plan") != (bound.mean_jct_s > least.mean_jct_s):
        wrong.append(f"seed {seed}: {bound.proof}")
    return terms_of(problem), wrong


def hold_many_below(
    first: int, count: int, *, buckets: int, rounds: int
) -> tuple[Counter[str], list[str]]:
    """Hold the bounds against `count` runs in which jobs finished; return terms with counts."""
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    seed = first
    while seen["runs"] < count:
        seed += 1
        found = hold_below(seed, buckets=buckets, rounds=rounds)
        if found is not None:
            seen.update(["runs", *found[0]])
            wrong += found[1]
    return seen, wrong
