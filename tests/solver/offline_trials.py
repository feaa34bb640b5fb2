"""The offline search against exhaustive search, and bounds on every objective against runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from exhaustive import definitions, tiny_problems
from random_terms import random_terms

from scheduler.core.bounds import lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.run import Status
from scheduler.simulate import simulate
from scheduler.solver.offline import OBJECTIVES, general_bound, solve_offline
from scheduler.solver.offline.model import Limits
from scheduler.solver.offline.objectives import loss_of
from scheduler.solver.offline.planning import limited_bound, plan_whole
from scheduler.verify import verify_run, verify_schedule

QUICK = Limits(2.0)

UNUSED = ("idle", "waste")

_NEAR = 1e-9


@dataclass
class Tally:
    """What came of trials, by objective where they differ by it."""

    instances: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    proved: Counter[str] = field(default_factory=Counter)
    solved: int = 0
    accepted: int = 0
    wrong: list[str] = field(default_factory=list)


def near(name: str, a: float, b: float, relative: float) -> bool:
    """Equal but for rounding; the ledger books whole microseconds of each accelerator."""
    return math.isclose(a, b, rel_tol=relative, abs_tol=1e-4 if name in UNUSED else 2e-6)


def against_every_schedule(
    first: int, count: int, leaves: int, names: Sequence[str] = tuple(OBJECTIVES)
) -> Tally:
    """Solve small instances until each objective was compared `count` times.

    Round drains it may leave less idle to start late, which the schedules enumerated never do:
    there the answer may be better than all of them, and is not counted as compared.
    """
    tally = Tally()
    for seed, problem, brute in tiny_problems(first, 10**9, leaves):
        missing = [name for name in names if tally.compared[name] < count]
        if not missing:
            return tally
        tally.instances += 1
        every = list(brute.schedules())
        figures = definitions(problem)
        for name in missing:
            sign = -1.0 if OBJECTIVES[name].maximised else 1.0
            best = sign * min(figures[name](rows) for rows in every)
            waits = name in UNUSED and bool(brute.drains)
            if waits and tally.instances % 10:  # there is little to learn from more of them
                continue
            answer = solve_offline(problem, name, limits=QUICK)
            stage, where = answer.stages[0], f"seed {seed}, {name}"
            tally.solved += 1
            tally.accepted += not verify_schedule(problem, answer.schedule)
            if sign * (best - stage.general_bound) < -1e-4 - 2e-9 * abs(best) and not waits:
                tally.wrong.append(f"{where}: bound {stage.general_bound}, reached {best}")
            if waits:
                if stage.value > best + 1e-4:
                    tally.wrong.append(f"{where}: {stage.value}, and {best} can be had")
                continue
            tally.compared[name] += 1
            if not near(name, stage.value, best, 2e-9):
                tally.wrong.append(f"{where}: {stage.value}, best is {best}")
            if answer.schedule.status is Status.OPTIMAL:
                tally.proved[name] += 1
                if not near(name, stage.bound, best, 2e-6):
                    tally.wrong.append(f"{where}: bound {stage.bound}, best is {best}")
    raise AssertionError("there is always another instance")


def completed_runs(first: int) -> Iterator[tuple[int, Problem, object]]:
    """Runs under all rules but random failures in which every job that has a mode finished."""
    seed = first
    while True:
        seed += 1
        problem = random_terms(np.random.default_rng(seed))
        workload = replace(problem.workload, services=())
        failures = type(problem.cluster.failures)()
        cluster = replace(problem.cluster, failures=failures)
        problem = replace(problem, cluster=cluster, workload=workload, service_modes=())
        jobs = workload.jobs
        rng = np.random.default_rng(seed)
        n = len(jobs)
        deadline_s = np.where(rng.random(n) < 0.7, np.round(rng.uniform(1, 500, n), 2), np.nan)
        dated = replace(jobs, weight=np.round(rng.uniform(0.1, 3, n), 1), deadline_s=deadline_s)
        problem = replace(problem, workload=replace(workload, jobs=dated))
        policy = ("fifo", "srtf", "easy_backfill", "best_fit")[seed % 4]
        run = simulate(problem, policy, horizon_s=2e4)
        able = sum(bool(problem.modes[c]) for c in jobs.class_index.tolist())
        if run.finished_us and len(run.finished_us) >= able:
            yield seed, problem, run


def bounds_below_runs(first: int, count: int, *, plans: int) -> Tally:
    """Hold every objective's bound below `count` completed runs, preempting ones among them.

    In every `plans`-th of them also those that the plan over time gives.
    """
    tally = Tally()
    for seed, problem, run in completed_runs(first):
        if tally.instances == count:
            return tally
        tally.instances += 1
        tally.accepted += not verify_run(problem, run)
        base = lower_bounds(problem)
        for name in OBJECTIVES:
            loss = loss_of(problem, name, run.allocations)
            bounds = [general_bound(problem, name, base)]
            if tally.instances % plans == 0:
                planned = plan_whole(problem, name)
                bounds += [planned.bound] if planned is not None else []
                bounds.append(limited_bound(problem, name, bounds[0], loss))
            tally.compared[name] += 1
            if max(bounds) > loss * (1 + _NEAR) + 1e-9:
                tally.wrong.append(f"seed {seed}, {name}: bounds {bounds}, reached {loss}")
    raise AssertionError("there is always another run")
