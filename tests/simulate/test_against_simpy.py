"""The engine under FIFO equals SimPy models of the same queue, job by job."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import simpy
from random_problems import fleet, workload

from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.units import US_PER_S
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.simulate import simulate


def ends_in_simpy(size: int, jobs: list[tuple[int, float, float]], restart_s: float) -> list[float]:
    """A container of accelerators whose requests are met strictly in order."""
    env = simpy.Environment()
    free = simpy.Container(env, capacity=size, init=size)
    ends = [0.0] * len(jobs)

    def job(number: int, gang: int, release_s: float, work_s: float):
        yield env.timeout(release_s)
        yield free.get(gang)
        yield env.timeout(restart_s + work_s)
        ends[number] = env.now
        yield free.put(gang)

    for number, (gang, release_s, work_s) in enumerate(jobs):
        env.process(job(number, gang, release_s, work_s))
    env.run()
    return ends


@pytest.mark.parametrize("block", range(5))
def test_finish_times_are_equal_on_random_instances(block: int) -> None:
    for seed in range(100 * block, 100 * (block + 1)):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 9))
        n = int(rng.integers(1, 25))
        gangs = rng.integers(1, size + 1, n).tolist()
        release = np.sort(rng.integers(0, 60, n)).astype(float).tolist()
        work = rng.integers(1, 40, n).astype(float).tolist()
        restart_s = float(rng.integers(0, 4))
        cluster, names, domains, pools = fleet([[("A", size)]])
        classes = tuple(
            JobClass(f"g{k}", RunTimePhysics(), (k,), restart_s=restart_s)
            for k in range(1, size + 1)
        )
        modes = tuple((Mode((Group(0, k, k),), 0, 1.0, 1.0, 1.0),) for k in range(1, size + 1))
        jobs = workload(classes, [g - 1 for g in gangs], release, work)
        levels = ("node", "pod", "site", "fleet")
        problem = Problem(cluster, jobs, names, levels, domains, pools, modes)
        run = simulate(problem, "fifo")
        expected = ends_in_simpy(size, list(zip(gangs, release, work, strict=True)), restart_s)
        assert [run.finished_us[j] / US_PER_S for j in range(n)] == expected, f"seed {seed}"


def ends_with_limits(
    size: int, jobs: list[tuple[int, float, float, float]], restart_s: float
) -> tuple[dict[int, float], dict[int, float]]:
    """The same container; a timer interrupts the job that reaches its limit."""
    env = simpy.Environment()
    free = simpy.Container(env, capacity=size, init=size)
    finished: dict[int, float] = {}
    killed: dict[int, float] = {}

    def timer(limit_s: float, victim: simpy.Process):
        yield env.timeout(limit_s)
        if victim.is_alive:
            victim.interrupt()

    def body(work_s: float):
        yield env.timeout(restart_s + work_s)

    def job(number: int, gang: int, release_s: float, work_s: float, limit_s: float):
        yield env.timeout(release_s)
        yield free.get(gang)
        running = env.process(body(work_s))
        if limit_s < restart_s + work_s:
            env.process(timer(limit_s, running))
        try:
            yield running
            finished[number] = env.now
        except simpy.Interrupt:
            killed[number] = env.now
        yield free.put(gang)

    for number, details in enumerate(jobs):
        env.process(job(number, *details))
    env.run()
    return finished, killed


def ends_with_needs(
    jobs: list[tuple[float, float]], after: list[tuple[int, ...]], restart_s: float
) -> list[float]:
    """Enough accelerators for all; a job waits for its release and for the jobs it needs."""
    env = simpy.Environment()
    ends = [0.0] * len(jobs)
    done = [env.event() for _ in jobs]

    def job(number: int, release_s: float, work_s: float):
        yield env.timeout(release_s)
        yield env.all_of([done[k] for k in after[number]])
        yield env.timeout(restart_s + work_s)
        ends[number] = env.now
        done[number].succeed()

    for number, (release_s, work_s) in enumerate(jobs):
        env.process(job(number, release_s, work_s))
    env.run()
    return ends


def gangs_of(size: int, restart_s: float, gangs: list[int], release: list[float], work, **columns):
    cluster, names, domains, pools = fleet([[("A", size)]])
    classes = tuple(
        JobClass(f"g{k}", RunTimePhysics(), (k,), restart_s=restart_s) for k in range(1, size + 1)
    )
    modes = tuple((Mode((Group(0, k, k),), 0, 1.0, 1.0, 1.0),) for k in range(1, size + 1))
    load = workload(classes, [g - 1 for g in gangs], release, work)
    load = replace(load, jobs=replace(load.jobs, **columns))
    levels = ("node", "pod", "site", "fleet")
    return Problem(cluster, load, names, levels, domains, pools, modes)


def test_limits_end_jobs_as_interrupts_do() -> None:
    kills = 0
    for seed in range(250):
        rng = np.random.default_rng([seed, 1])
        size, n = int(rng.integers(1, 9)), int(rng.integers(1, 25))
        gangs = rng.integers(1, size + 1, n).tolist()
        release = np.sort(rng.integers(0, 60, n)).astype(float).tolist()
        work = rng.integers(1, 40, n).astype(float).tolist()
        limit = (rng.integers(1, 60, n) + 0.5).tolist()
        restart_s = float(rng.integers(0, 4))
        problem = gangs_of(size, restart_s, gangs, release, work, limit_s=np.array(limit))
        run = simulate(problem, "fifo")
        jobs = list(zip(gangs, release, work, limit, strict=True))
        finished, killed = ends_with_limits(size, jobs, restart_s)
        assert {j: t / US_PER_S for j, t in run.finished_us.items()} == finished, f"seed {seed}"
        assert {j: t / US_PER_S for j, t in run.killed_us.items()} == killed, f"seed {seed}"
        kills += len(killed)
    assert kills > 250


def test_needs_hold_jobs_back_as_events_do() -> None:
    for seed in range(250):
        rng = np.random.default_rng([seed, 2])
        n = int(rng.integers(2, 20))
        release = np.sort(rng.integers(0, 60, n)).astype(float).tolist()
        work = rng.integers(1, 40, n).astype(float).tolist()
        order = rng.permutation(n).tolist()  # needs may point forward in time, never in a circle
        after: list[tuple[int, ...]] = [()] * n
        for place, job in enumerate(order[1:], start=1):
            chosen = rng.integers(0, place, int(rng.integers(0, 3))).tolist()
            after[job] = tuple(sorted({order[k] for k in chosen}))
        restart_s = float(rng.integers(0, 4))
        problem = gangs_of(n, restart_s, [1] * n, release, work, after=tuple(after))
        run = simulate(problem, "best_fit")
        expected = ends_with_needs(list(zip(release, work, strict=True)), after, restart_s)
        assert [run.finished_us[j] / US_PER_S for j in range(n)] == expected, f"seed {seed}"
