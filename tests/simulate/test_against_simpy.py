"""The engine under FIFO equals a SimPy model of the same queue, job by job."""

from __future__ import annotations

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
