"""Bounds and clairvoyant schedules against every schedule there is, on instances of minutes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from random_adaptive import application, step_times

from scheduler.core.adaptive import AdaptiveJob, AdaptiveProblem, NodeGroup
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive.agents import KnownAgents
from scheduler.policies.adaptive.scripted import Scripted
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.solver.adaptive.lattice import ROUND_S
from scheduler.solver.adaptive.offline import offline_schedule
from scheduler.solver.adaptive.prices import priced_plan
from scheduler.solver.adaptive_bound import adaptive_bounds

GROUP = NodeGroup("old", 1, 2)
NONE = -1
State = tuple[float, int, int, int]
"""Progress, epoch, configuration held and seconds of restart left."""


def tiny_problem(seed: int) -> AdaptiveProblem:
    """Return two or three jobs of a few minutes on one node of two accelerators."""
    rng = np.random.default_rng([seed, 7])
    kinds = []
    for i in range(2):
        kind = replace(
            application(rng, f"app{i}"),
            steps={"old": step_times(rng, GROUP, 1.0)},
            epoch_ends=np.cumsum(rng.uniform(1, 5, 2)),
            grad_sqr=rng.uniform(0.1, 1.0, (2, 5)),
            grad_var=rng.uniform(0.1, 20.0, (2, 5)),
            restart_s=int(rng.integers(5, 65)),
        )
        bare = AdaptiveProblem("bare", (GROUP,), (kind,), ())
        best = Tables(bare).best_goodputs(0)
        fastest = float((np.diff(kind.epoch_ends, prepend=0.0) / best).sum(axis=1).min())
        scale = float(rng.uniform(30, 90)) / fastest
        kinds.append(replace(kind, epoch_ends=kind.epoch_ends * scale))
    times = np.sort(rng.uniform(0, 130, int(rng.integers(2, 4))))
    jobs = tuple(
        AdaptiveJob(f"job-{i}", int(rng.integers(2)), float(t), 1, 64) for i, t in enumerate(times)
    )
    return AdaptiveProblem(f"tiny-{seed}", (GROUP,), tuple(kinds), jobs)


class EverySchedule:
    """The least sum of completions by depth-first search over all rounds' choices."""

    def __init__(self, problem: AdaptiveProblem, limit_s: float) -> None:
        self.problem, tables = problem, Tables(problem)
        self.counts = [count for (_, count), _ in tables.configs]
        self.goodput = {a: tables.best_goodputs(a) for a in range(len(problem.applications))}
        self.seen: dict[tuple[int, tuple[State | None, ...]], float] = {}
        self.limit_s = limit_s

    def least(self) -> float:
        """Return the least sum of completion times, none above the limit."""
        return self._from(0, tuple((0.0, 0, NONE, 0) for _ in self.problem.jobs))

    def _from(self, now: int, states: tuple[State | None, ...]) -> float:
        if all(state is None for state in states):
            return 0.0
        key = now, states
        if key in self.seen:
            return self.seen[key]
        # Those that have ended did so after their release, the others end now or later.
        ends = (
            job.release_s if state is None else max(now, job.release_s)
            for job, state in zip(self.problem.jobs, states, strict=True)
        )
        best = np.inf
        if sum(ends) <= self.limit_s:
            for choice in itertools.product(range(NONE, len(self.counts)), repeat=len(states)):
                best = min(best, self._after(now, states, choice))
        self.seen[key] = best
        return best

    def _after(self, now: int, states: tuple[State | None, ...], choice: tuple[int, ...]) -> float:
        if sum(self.counts[c] for c in choice if c != NONE) > 2:
            return np.inf
        found: list[State | None] = []
        ended = 0.0
        for job, state, c in zip(self.problem.jobs, states, choice, strict=True):
            if c != NONE and (state is None or job.release_s > now):
                return np.inf
            after, end = self._advanced(job.application, state, c, now) if state else (None, None)
            found.append(after)
            ended += end or 0
        return ended + self._from(now + ROUND_S, tuple(found))

    def _advanced(
        self, kind: int, state: State, config: int, now: int
    ) -> tuple[State | None, int | None]:
        progress, epoch, held, owed = state
        if config == NONE:
            return (progress, epoch, NONE, 0), None
        application = self.problem.applications[kind]
        owed = application.restart_s if config != held else owed
        paid = min(owed, ROUND_S)
        left, clock = ROUND_S - paid, now + paid
        while left > 0:
            rate = float(self.goodput[kind][config, epoch])
            end = float(application.epoch_ends[epoch])
            if progress + rate * left < end:
                progress += rate * left
                break
            took = round((end - progress) / rate)
            progress, epoch, clock, left = end, epoch + 1, clock + took, left - took
            if epoch == len(application.epoch_ends):
                return None, clock
        return (progress, epoch, config, owed - paid), None


@pytest.mark.parametrize("seed", range(60))
def test_the_least_of_all_schedules_lies_between_bound_and_clairvoyant(seed: int) -> None:
    problem = tiny_problem(seed)
    tables = Tables(problem)
    plan = priced_plan(tables, 24)
    found = offline_schedule(tables, plan.prices, [], np.random.default_rng(seed), 2000)
    run = simulate_adaptive(
        problem, Scripted(tables, found.stays, "clairvoyant"), KnownAgents(tables)
    )
    assert run.finished_s == found.end_s
    least = EverySchedule(problem, sum(found.end_s)).least()
    assert least <= sum(found.end_s)
    jct_h = (least - sum(job.release_s for job in problem.jobs)) / len(problem.jobs) / 3600
    assert adaptive_bounds(tables, plan).mean_jct_h <= jct_h
