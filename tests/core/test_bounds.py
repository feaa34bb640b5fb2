"""Lower bounds against exhaustive search, closed cases and valid runs."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from scheduler.core.bounds import lower_bounds
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.problem import Domain, Group, Mode, Pool, Problem
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload

CLOCK = 2e-6


@dataclass(frozen=True)
class Job:
    kind: int
    release: int
    work: float


@dataclass(frozen=True)
class Kind:
    """Modes as (accelerators by type, rate), and the restart time."""

    modes: tuple[tuple[tuple[int, ...], float], ...]
    restart: int = 0


def problem_of(capacity: tuple[int, ...], kinds: list[Kind], jobs: list[Job]) -> Problem:
    """One node per type, so that only counts matter."""
    types = tuple(f"T{t}" for t in range(len(capacity)))
    device = {t: AcceleratorType(t, "", "", 1, 1, {}, 1, 1, 1) for t in types}
    nodes = tuple(Node(f"n{t}", types[t], size, 1, 1) for t, size in enumerate(capacity))
    n = len(jobs)
    return Problem(
        Cluster("c", "", device, (Pod("p", "s", nodes, Fabric("tree")),), (Site("s"),)),
        Workload(
            "w",
            "",
            tuple(
                JobClass(f"k{i}", RunTimePhysics(), (1,), restart_s=float(k.restart))
                for i, k in enumerate(kinds)
            ),
            Jobs(
                tuple(f"j{i}" for i in range(n)),
                np.array([j.kind for j in jobs]),
                np.array([float(j.release) for j in jobs]),
                np.array([j.work for j in jobs]),
                np.full(n, np.nan),
                np.ones(n),
                np.full(n, np.nan),
                np.zeros(n, np.int64),
            ),
        ),
        types,
        ("node", "pod"),
        (Domain(("p",), 1, tuple(range(len(types))), 1, 1),),
        tuple(Pool(t, capacity[t], (t,), (0,), 0) for t in range(len(types))),
        tuple(
            tuple(
                Mode(tuple(Group(t, c, c) for t, c in enumerate(counts) if c), 1, rate, rate, 1.0)
                for counts, rate in kind.modes
            )
            for kind in kinds
        ),
    )


def best_schedules(
    capacity: tuple[int, ...], kinds: list[Kind], jobs: list[Job]
) -> tuple[float, float]:
    """Return the least total completion and the least last end, by exhaustive search.

    Decisions at whole seconds: any set of modes that fits; a change of mode, or a pause,
    costs the restart again. A job may end within a second, its room is free at the next.
    """
    options = [[None, *range(len(kinds[j.kind].modes))] for j in jobs]  # nothing, or a mode
    last = max(j.release for j in jobs) + 40

    def search(combine) -> float:
        @functools.cache
        def least(now: int, state: tuple) -> float:
            # state: per job (work left, mode held, restart seconds left), or None when done
            if all(s is None for s in state):
                return 0.0
            if now > last:
                return float("inf")
            best = float("inf")
            for choice in itertools.product(*options):
                used = [0] * len(capacity)
                legal = True
                for job, s, mode in zip(jobs, state, choice, strict=True):
                    if mode is None:
                        continue
                    if s is None or now < job.release:
                        legal = False
                        break
                    for t, c in enumerate(kinds[job.kind].modes[mode][0]):
                        used[t] += c
                if not legal or any(u > c for u, c in zip(used, capacity, strict=True)):
                    continue
                after, ended = [], []
                for job, s, mode in zip(jobs, state, choice, strict=True):
                    if s is None or mode is None:
                        after.append(s if s is None else (s[0], None, 0))
                        continue
                    left, held, restart = s
                    if held != mode:
                        restart = kinds[job.kind].restart
                    if restart:
                        after.append((left, mode, restart - 1))
                        continue
                    rate = kinds[job.kind].modes[mode][1]
                    if left <= rate + 1e-9:
                        after.append(None)
                        ended.append(now + left / rate)
                    else:
                        after.append((round(left - rate, 9), mode, 0))
                if tuple(after) == state and all(now >= j.release for j in jobs):
                    continue
                best = min(best, combine(ended, least(now + 1, tuple(after))))
            return best

        return least(0, tuple((j.work, None, 0) for j in jobs))

    total = search(lambda ended, rest: sum(ended) + rest)
    last_end = search(lambda ended, rest: max([*ended, rest]))
    return total, last_end


def random_case(rng: np.random.Generator) -> tuple[tuple[int, ...], list[Kind], list[Job]]:
    types = int(rng.integers(1, 3))
    capacity = tuple(int(c) for c in rng.integers(1, 4, types))
    kinds = []
    for _ in range(int(rng.integers(1, 3))):
        modes = []
        for _ in range(int(rng.integers(1, 3))):
            counts = [0] * types
            for t in rng.permutation(types)[: int(rng.integers(1, types + 1))].tolist():
                counts[t] = int(rng.integers(1, capacity[t] + 1))
            modes.append((tuple(counts), float(rng.choice([0.5, 1.0, 2.0]))))
        kinds.append(Kind(tuple(modes), int(rng.choice([0, 0, 1]))))
    jobs = [
        Job(int(rng.integers(len(kinds))), int(rng.integers(0, 3)), float(rng.integers(1, 4)))
        for _ in range(int(rng.integers(1, 4)))
    ]
    return capacity, kinds, sorted(jobs, key=lambda j: j.release)


def test_the_search_itself_on_a_known_optimum() -> None:
    kinds = [Kind((((1,), 1.0),), restart=1)]
    # shortest first, each with one second of restart: ends 2, 5
    assert best_schedules((1,), kinds, [Job(0, 0, 2.0), Job(0, 0, 1.0)]) == (7, 5)


@pytest.mark.parametrize(
    "block", [*range(4), *(pytest.param(b, marks=pytest.mark.slow) for b in range(4, 24))]
)
def test_never_above_the_best_schedule(block: int) -> None:
    rng = np.random.default_rng(block)
    tightness = []
    for _ in range(8):
        capacity, kinds, jobs = random_case(rng)
        total, last_end = best_schedules(capacity, kinds, jobs)
        bounds = lower_bounds(problem_of(capacity, kinds, jobs))
        mean = total / len(jobs) - sum(j.release for j in jobs) / len(jobs)
        span = last_end - min(j.release for j in jobs)
        assert bounds.mean_jct_s <= mean + 1e-9
        assert bounds.makespan_s <= span + 1e-9
        tightness.append(bounds.mean_jct_s / mean)
    assert np.mean(tightness) > 0.75  # not merely valid


def test_one_accelerator_is_solved_exactly_by_shortest_remaining_time() -> None:
    kinds = [Kind((((1,), 1.0),))]
    jobs = [Job(0, 0, 4.0), Job(0, 1, 1.0), Job(0, 2, 2.0)]
    bounds = lower_bounds(problem_of((1,), kinds, jobs))
    # 0-1 first, 1-2 second, 2-4 third, 4-7 first
    assert bounds.mean_jct_s == pytest.approx((7 + 1 + 2) / 3, abs=CLOCK)
    assert bounds.makespan_s == pytest.approx(7, abs=CLOCK)


def test_a_roomy_fleet_leaves_each_job_alone() -> None:
    kinds = [Kind((((2,), 0.5), ((1,), 0.3)), restart=3)]
    jobs = [Job(0, r, w) for r, w in ((0, 5.0), (1, 2.0), (9, 1.0))]
    bounds = lower_bounds(problem_of((100,), kinds, jobs))
    assert bounds.mean_jct_s == pytest.approx(3 + (10 + 4 + 2) / 3, abs=CLOCK)
    assert bounds.makespan_s == pytest.approx(9 + 3 + 2, abs=CLOCK)


def test_prices_find_the_joint_throughput_of_unlike_types() -> None:
    # Rates 2 and 1: three units of work a second, so 30 jobs of 1 take 10 s.
    kinds = [Kind((((1, 0), 2.0), ((0, 1), 1.0)))]
    bounds = lower_bounds(problem_of((1, 1), kinds, [Job(0, 0, 1.0)] * 30))
    assert bounds.makespan_s == pytest.approx(10, rel=0.02)
    assert bounds.makespan_s <= 10


def test_comparative_advantage_of_two_classes() -> None:
    # Each class is best kept on its own type: 10 s each; a shared price must not promise less.
    kinds = [Kind((((1, 0), 1.0), ((0, 1), 0.1))), Kind((((1, 0), 0.1), ((0, 1), 1.0)))]
    jobs = [Job(0, 0, 1.0)] * 10 + [Job(1, 0, 1.0)] * 10
    bounds = lower_bounds(problem_of((1, 1), kinds, jobs))
    assert bounds.makespan_s == pytest.approx(10, rel=0.02)


def test_many_gangs_side_by_side() -> None:
    # 4 machines, 40 equal unit jobs: ten rounds of four, mean completion 5.5.
    kinds = [Kind((((1,), 1.0),))]
    bounds = lower_bounds(problem_of((4,), kinds, [Job(0, 0, 1.0)] * 40))
    assert 5.4 < bounds.mean_jct_s <= 5.5
    # shortest remaining time first alone would say 41/8 = 5.125


def test_late_releases_count_in_the_makespan() -> None:
    kinds = [Kind((((1,), 1.0),))]
    jobs = [Job(0, 0, 1.0), *[Job(0, 100, 1.0)] * 5]
    bounds = lower_bounds(problem_of((1,), kinds, jobs))
    assert bounds.makespan_s == pytest.approx(105, abs=CLOCK)


def test_jobs_without_a_mode_do_not_count() -> None:
    kinds = [Kind((((1,), 1.0),)), Kind(())]
    jobs = [Job(0, 0, 3.0), Job(1, 0, 9.0)]
    bounds = lower_bounds(problem_of((1,), kinds, jobs))
    assert bounds.jobs == 1
    assert bounds.mean_jct_s == pytest.approx(3, abs=CLOCK)
    nothing = lower_bounds(problem_of((1,), [Kind(())], [Job(0, 0, 9.0)]))
    assert (nothing.mean_jct_s, nothing.makespan_s, nothing.jobs) == (0, 0, 0)


def test_subset_and_actual_work() -> None:
    kinds = [Kind((((1,), 1.0),))]
    jobs = [Job(0, 1, 3.0), Job(0, 2, 9.0)]
    bounds = lower_bounds(problem_of((1,), kinds, jobs), work=[5.0, 7.0], jobs=[1])
    assert bounds.jobs == 1
    assert bounds.mean_jct_s == pytest.approx(7, abs=CLOCK)
    assert bounds.makespan_s == pytest.approx(2 + 7 - 1, abs=CLOCK)


def test_scaling_time_scales_the_bounds() -> None:
    rng = np.random.default_rng(5)
    capacity, kinds = (3, 2), [Kind((((2, 0), 1.0), ((0, 1), 0.4))), Kind((((1, 1), 2.0),))]
    jobs = sorted(
        (
            Job(int(rng.integers(2)), int(rng.integers(20)), float(rng.integers(1, 30)))
            for _ in range(30)
        ),
        key=lambda j: j.release,
    )
    once = lower_bounds(problem_of(capacity, kinds, jobs))
    slow = [Job(j.kind, j.release * 7, j.work * 7) for j in jobs]
    sevenfold = lower_bounds(problem_of(capacity, kinds, slow))
    assert sevenfold.mean_jct_s == pytest.approx(7 * once.mean_jct_s, rel=1e-6)
    assert sevenfold.makespan_s == pytest.approx(7 * once.makespan_s, rel=1e-6)
