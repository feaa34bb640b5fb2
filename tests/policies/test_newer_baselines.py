"""AlloX, Hadar, Lucid and the studied placements: optima, hand-worked cases, recorded figures."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_problems import fleet, random_problem, workload
from random_terms import random_terms

from bench.gavel import read_case, recorded_runs
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.io.results import run_to_json
from scheduler.policies import make
from scheduler.policies.hadar import prices
from scheduler.policies.lucid import Lucid
from scheduler.simulate import simulate
from scheduler.simulate.engine import Engine
from scheduler.solver.position_matching import match_positions
from scheduler.verify import verify_run

LEVELS = ("node", "pod", "site", "fleet")
PEER = Path(__file__).resolve().parents[2] / ".." / "shared" / "peers"
needs_shared = pytest.mark.skipif(
    not PEER.is_dir(), reason="needs the shared reference data beside the checkout"
)


def unlike(
    rates: list[list[float]],
    machines: list[int],
    work: list[float],
    *,
    release_s: list[float] | None = None,
    gang: int = 1,
    restart_s: float = 0.0,
) -> Problem:
    """One class per job; `rates[job][type]`, 0 where it cannot run; single nodes per type."""
    names = [chr(65 + t) for t in range(len(machines))]
    cluster, types, domains, pools = fleet([[(n, m) for n, m in zip(names, machines, strict=True)]])
    classes = tuple(
        JobClass(f"c{i}", RunTimePhysics(), (gang,), restart_s=restart_s) for i in range(len(rates))
    )
    modes = []
    for row in rates:
        able = [(r, t) for t, r in enumerate(row) if r > 0]
        modes.append(
            tuple(
                Mode((Group(t, gang, gang),), 0, r, r, 1.0)
                for r, t in sorted(able, key=lambda pair: (-pair[0], pair[1]))
            )
        )
    jobs = workload(classes, list(range(len(rates))), release_s or [0.0] * len(work), work)
    return Problem(cluster, jobs, types, LEVELS, domains, pools, tuple(modes))


def ends_s(run: Run) -> list[float]:
    return [run.finished_us[j] / 1e6 for j in sorted(run.finished_us)]


def least_sum_s(rates: list[list[float]], machines: list[int], work: list[float]) -> float:
    """Every assignment of jobs to machines, each machine's queue shortest first (Smith 1956)."""
    kinds = [t for t, m in enumerate(machines) for _ in range(m)]
    best = math.inf
    for chosen in itertools.product(range(len(kinds)), repeat=len(work)):
        if any(not rates[i][kinds[m]] for i, m in enumerate(chosen)):
            continue
        total = 0.0
        for m in range(len(kinds)):
            run_s = sorted(work[i] / rates[i][kinds[m]] for i, c in enumerate(chosen) if c == m)
            total += sum(itertools.accumulate(run_s))
        best = min(best, total)
    return best


def drawn(seed: int) -> tuple[list[list[float]], list[int], list[float]]:
    rng = np.random.default_rng([seed, 21])
    machines = [[1, 1], [2, 1], [1, 2], [3], [1, 1, 1]][seed % 5]
    n = int(rng.integers(2, 7))
    rates = np.round(rng.uniform(0.2, 4.0, (n, len(machines))), 2)
    rates[rng.random(rates.shape) < 0.2] = 0.0
    for row in rates:
        if not row.any():
            row[0] = 1.0
    return rates.tolist(), machines, np.round(rng.uniform(5, 200, n), 1).tolist()


@pytest.mark.parametrize("block", range(5))
def test_allox_has_the_least_sum_of_completion_times(block: int) -> None:
    for seed in range(block, 60, 5):
        rates, machines, work = drawn(seed)
        run = simulate(unlike(rates, machines, work), "allox")
        expected = least_sum_s(rates, machines, work)
        assert sum(ends_s(run)) == pytest.approx(expected, rel=1e-4), f"seed {seed}"


def test_the_matching_counts_positions_from_the_end() -> None:
    # one machine, run times 1, 2 and 4: the longest last, at cost 1 x 4 + 2 x 2 + 3 x 1
    run_s = np.array([[1.0], [2.0], [4.0]])
    found = match_positions(run_s, run_s, np.array([1]), np.array([0.0]))
    assert [slot.position for slot in found if slot] == [3, 2, 1]
    # a machine that is busy for long is left alone; one that nobody can use, too
    run_s = np.array([[1.0, 1.0, np.inf], [2.0, 2.0, np.inf], [np.inf] * 3])
    held_s = np.where(np.isfinite(run_s), run_s, 0.0)
    found = match_positions(run_s, held_s, np.array([1, 1, 1]), np.array([0.0, 50.0, 0.0]))
    assert [slot and slot.group for slot in found] == [0, 0, None]


def test_allox_waits_for_a_machine_that_is_worth_it() -> None:
    # The first job runs on the fast type until 10. The second would take 100 on the slow one:
    # it waits. SJF and best fit, which know no queues, start it at once.
    problem = unlike([[1.0, 0.0], [1.0, 0.1]], [1, 1], [10.0, 10.0])
    assert ends_s(simulate(problem, "allox")) == [10.0, 20.0]
    assert ends_s(simulate(problem, "sjf")) == [10.0, 100.0]


def test_allox_stops_nothing_and_plays_gangs_of_any_size() -> None:
    for seed in range(6):
        problem = random_problem(np.random.default_rng([seed, 31]))
        run = simulate(problem, "allox", seed=seed, noise_sigma=0.2)
        assert verify_run(problem, run) == []
        assert metrics_of(problem, run).preemptions == 0
        assert not run.waiting


@needs_shared
def test_allox_on_jobs_of_one_accelerator_that_arrive_over_time() -> None:
    """Gavel's list of 300 such jobs: without stopping any, no worse than its max-min, and far
    better than the shortest first, which knows no queues."""
    name = "gavel_continuous_single_300_lam1200_seed0.trace"
    tables = PEER / "gavel" / "simulation_throughputs.json"
    problem = read_case(PEER / "gavel" / name, tables, (12, 12, 12), 0.0)
    ours, shares, shortest = (
        metrics_of(problem, simulate(problem, policy))
        for policy in ("allox", "gavel_max_min_perf", "sjf")
    )
    assert ours.finished == 300
    assert ours.preemptions == 0
    assert ours.mean_jct_s <= shares.mean_jct_s
    assert ours.mean_jct_s <= 0.75 * shortest.mean_jct_s


# --- Hadar -----------------------------------------------------------------------------


def test_prices_grow_from_least_to_most_by_equal_factors() -> None:
    taken = np.array([0.0, 2.0, 4.0, 0.0])
    found = prices(0.5, 8.0, taken, np.array([4.0, 4.0, 4.0, 0.0]))
    np.testing.assert_allclose(found, [0.5, 2.0, 8.0, 8.0])  # a type without any is dear


def test_hadar_gives_each_type_to_whom_it_is_worth_most() -> None:
    # Both are fastest on A; the first gains ten times by it, the second hardly. With A taken
    # the second settles for B at once.
    problem = unlike([[1.0, 0.1], [1.0, 0.9]], [1, 1], [100.0, 100.0])
    run = simulate(problem, "hadar")
    nodes = {a.job: a.placement.nodes for a in sorted(run.allocations, key=lambda a: a.start_us)}
    assert ends_s(run)[0] == 100.0
    assert nodes[0] == (0,)
    first = min((a for a in run.allocations if a.job == 1), key=lambda a: a.start_us)
    assert (first.start_us, first.placement.nodes) == (0, (1,))


def test_hadar_may_spread_a_gang_over_types() -> None:
    """Its point over Gavel: tasks of one job on unlike accelerators, where none has room alone."""
    problem = unlike([[1.0, 1.0]], [1, 1], [50.0])
    both = Mode((Group(0, 1, 1), Group(1, 1, 1)), 1, 1.0, 1.0, 1.0)
    kind = replace(problem.workload.classes[0], gang=(2,), mixed_types=2)
    mixed = replace(
        problem,
        modes=((both,),),
        workload=replace(problem.workload, classes=(kind,)),
    )
    run = simulate(mixed, "hadar")
    assert verify_run(mixed, run) == []
    assert ends_s(run) == [50.0]
    assert run.allocations[0].placement.nodes == (0, 1)


@needs_shared
def test_hadar_is_through_sooner_than_gavel() -> None:
    """Its paper: the total time is 1.20 times shorter than Gavel's (another list, 60 GPUs)."""
    name = "gavel_static_multi_120_seed0.trace"
    tables = PEER / "gavel" / "simulation_throughputs.json"
    problem = read_case(PEER / "gavel" / name, tables, (12, 12, 12), 0.0)
    recorded = recorded_runs(PEER / "results-training.json", name, (12, 12, 12))
    run = simulate(problem, "hadar")
    assert verify_run(problem, run) == []
    hours = metrics_of(problem, run).makespan_s / 3600
    assert 1.1 < recorded["max_min_fairness_perf"]["makespan_h"] / hours < 1.3


# --- Sia -------------------------------------------------------------------------------


def elastic(counts: list[int], rates: list[list[float]], size: int) -> Problem:
    """One node of `size`; `rates[job][i]` on `counts[i]` accelerators; all jobs at 0, long."""
    cluster, types, domains, pools = fleet([[("A", size)]])
    classes = tuple(
        JobClass(f"c{i}", RunTimePhysics(), tuple(counts), restart_s=0.0) for i in range(len(rates))
    )
    modes = tuple(
        tuple(
            Mode((Group(0, c, c),), 0, r, r, 1.0)
            for r, c in sorted(zip(row, counts, strict=True), reverse=True)
        )
        for row in rates
    )
    n = len(rates)
    jobs = workload(classes, list(range(n)), [0.0] * n, [1e4] * n)
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes)


def test_sia_minimises_its_sum_over_jobs() -> None:
    """The second round (all may double once) against every combination of counts."""
    for seed in range(15):
        rng = np.random.default_rng([seed, 61])
        n, size, counts = int(rng.integers(2, 5)), int(rng.integers(3, 7)), [1, 2]
        rates = [[1.0, float(r)] for r in np.round(rng.uniform(1.05, 2.0, n), 3)]
        problem = elastic(counts, rates, size)
        run = simulate(problem, "sia", horizon_s=1.0)
        held = {a.job: sum(a.placement.counts) for a in run.allocations}
        # at first, a job may have its least count only (Sia starts jobs small)
        assert set(held.values()) == {1}
        assert len(held) == min(n, size)
        # a round later those that were there may have two, and one that comes then only one
        late = replace(problem.workload.jobs, release_s=np.array([0.0] * (n - 1) + [90.0]))
        later = replace(problem, workload=replace(problem.workload, jobs=late))
        run = simulate(later, "sia", horizon_s=170.0)
        end = [a for a in run.allocations if a.end_us == run.horizon_us]
        found = {a.job: sum(a.placement.counts) for a in end}
        options = itertools.product(*([0, 1, 2] for _ in range(n - 1)), [0, 1])
        least = min(penalty(c, rates) for c in options if sum(c) <= size)
        ours = penalty(tuple(found.get(j, 0) for j in range(n)), rates)
        assert ours == pytest.approx(least), f"seed {seed}"


def penalty(counts: tuple[int, ...], rates: list[list[float]]) -> float:
    """Sia's sum: 1.1 for a job that has nothing, its scaled rate to the power of -1/2 else."""
    pairs = zip(counts, rates, strict=True)
    return sum(1.1 if c == 0 else (row[c - 1] / row[0]) ** -0.5 for c, row in pairs)


def test_sia_doubles_a_job_round_by_round() -> None:
    problem = elastic([1, 2, 4, 8], [[1.0, 1.9, 3.5, 6.0]], 8)
    run = simulate(problem, "sia", horizon_s=300.0)
    steps = [(a.start_us // 60_000_000, a.placement.counts) for a in run.allocations]
    assert sorted(steps) == [(0, (1,)), (1, (2,)), (2, (4,)), (3, (8,))]


# --- Lucid -----------------------------------------------------------------------------


def test_lucid_takes_the_least_area_first_and_stops_nothing() -> None:
    cluster, types, domains, pools = fleet([[("A", 4)]])
    classes = tuple(JobClass(f"g{g}", RunTimePhysics(), (g,), restart_s=0.0) for g in (1, 4))
    modes = tuple((Mode((Group(0, g, g),), 0, 1.0, 1.0, 1.0),) for g in (1, 4))
    # areas 4 x 10, 1 x 30 and, later, 1 x 1: the last waits for nobody but may not stop them
    jobs = workload(classes, [1, 0, 0], [0.0, 0.0, 5.0], [10.0, 30.0, 1.0])
    problem = Problem(cluster, jobs, types, LEVELS, domains, pools, modes)
    run = simulate(problem, "lucid")
    assert ends_s(run) == [40.0, 30.0, 6.0]
    assert metrics_of(problem, run).preemptions == 0


def test_lucid_is_smiths_rule_on_one_machine() -> None:
    work = [50.0, 20.0, 90.0, 10.0]
    run = simulate(unlike([[1.0]] * 4, [1], work), "lucid")
    assert sum(ends_s(run)) == pytest.approx(least_sum_s([[1.0]] * 4, [1], work))


def test_lucid_learns_durations_from_what_has_ended() -> None:
    # Two classes on one machine, one short and one long; nothing is known of any job. The first
    # of each class teaches; from then on the short ones go first.
    cluster, types, domains, pools = fleet([[("A", 1)]])
    classes = tuple(JobClass(n, RunTimePhysics(), (1,), restart_s=0.0) for n in ("long", "short"))
    modes = ((Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 1.0),),) * 2
    jobs = workload(
        classes, [0, 1, 0, 1, 0, 1], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        [1000.0, 10.0, 1000.0, 10.0, 1000.0, 10.0],
    )  # fmt: skip
    problem = Problem(cluster, jobs, types, LEVELS, domains, pools, modes)
    policy = Lucid()
    run = simulate(problem, policy, information="none")
    order = [a.job for a in sorted(run.allocations, key=lambda a: a.start_us)]
    # nothing is known at first; after the first job all are taken for long, so the next in line
    # goes; it was short, and so are those of its class
    assert order == [0, 1, 3, 5, 2, 4]


# --- studied placements ----------------------------------------------------------------


def placed(rule: str, problem: Problem) -> list[int]:
    run = simulate(problem, f"fifo+greedy+{rule}")
    assert verify_run(problem, run) == []
    return [a.placement.nodes[0] for a in sorted(run.allocations, key=lambda a: a.job)]


def nodes_of(sizes: list[int], gangs: list[int], **host: float) -> Problem:
    cluster, types, domains, pools = fleet([[("A", s) for s in sizes]])
    kinds = sorted(set(gangs))
    classes = tuple(JobClass(f"g{g}", RunTimePhysics(), (g,), restart_s=0.0) for g in kinds)
    modes = tuple((Mode((Group(0, g, g),), 0, 1.0, 1.0, 1.0),) for g in kinds)
    jobs = workload(
        classes, [kinds.index(g) for g in gangs], [float(i) for i in range(len(gangs))],
        [1000.0] * len(gangs),
    )  # fmt: skip
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes)


def test_packing_opens_no_node_while_a_used_one_has_room() -> None:
    # after the first gang of 3 on the node of 4, one accelerator: the used node takes it; a
    # pair then goes to an untouched node of 2, and the next single beside it rather than to 8
    problem = nodes_of([2, 4, 8], [3, 1, 2])
    assert placed("gpu_packing", problem) == [1, 1, 0]
    # best fit would open the small node for a single although a larger one is in use
    problem = nodes_of([2, 8], [4, 1])
    assert placed("gpu_packing", problem) == [1, 1]
    assert placed("best_fit", problem) == [1, 0]


def test_clustering_keeps_sizes_together() -> None:
    # a pair and a single open a node each; later ones join their like, though best fit differs
    problem = nodes_of([4, 4], [2, 1, 1, 2])
    assert placed("gpu_clustering", problem) == [0, 1, 1, 0]
    assert placed("best_fit", problem) == [0, 0, 0, 1]


def test_fgd_keeps_room_for_the_usual_gang() -> None:
    # Nodes with 4 and 5 free; most jobs want 4. A single on the first leaves 3 that they
    # cannot use; on the second it costs nothing. Best fit takes the first.
    problem = nodes_of([4, 5], [1, 4, 4])
    assert placed("fgd", problem)[0] == 1
    assert placed("best_fit", problem)[0] == 0
    assert metrics_of(problem, simulate(problem, "fgd")).mean_queueing_s == 0
    assert metrics_of(problem, simulate(problem, "best_fit")).mean_queueing_s > 0


def test_dot_product_looks_at_the_host_too() -> None:
    # equal accelerators, but the first node's CPUs are plenty: a job that needs CPUs goes where
    # its demand meets least
    problem = nodes_of([4, 4], [1])
    pod = problem.cluster.pods[0]
    hosts = tuple(replace(n, cpus=c) for n, c in zip(pod.nodes, (64.0, 16.0), strict=True))
    kind = replace(problem.workload.classes[0], cpus=4.0)
    problem = replace(
        problem,
        cluster=replace(problem.cluster, pods=(replace(pod, nodes=hosts),)),
        workload=replace(problem.workload, classes=(kind,)),
    )
    assert placed("dot_product", problem) == [1]
    assert placed("best_fit", problem) == [0]


# --- all of them -----------------------------------------------------------------------

NEW = ("allox", "hadar", "lucid", "sia", "dot_product", "gpu_packing", "gpu_clustering", "fgd")


@pytest.mark.parametrize("name", NEW)
def test_they_keep_to_quotas_labels_and_reservations(name: str) -> None:
    for seed in range(12):
        problem = random_terms(np.random.default_rng([seed, 41]))
        levels = ("exact", "estimates", "none")
        run = simulate(
            problem, name, seed=seed, noise_sigma=0.2, horizon_s=500.0,
            information=levels[seed % 3],  # type: ignore[arg-type]
        )  # fmt: skip
        assert verify_run(problem, run) == [], f"seed {seed}"


@pytest.mark.parametrize("name", NEW)
def test_they_go_on_from_a_snapshot_as_they_would_have(name: str) -> None:
    def engine(problem: Problem) -> Engine:
        return Engine(
            problem, make(name), policy_name=name, seed=1, information="none", noise_sigma=0.2,
            horizon_s=400.0, account="run",
        )  # fmt: skip

    for seed in range(5):
        problem = random_problem(np.random.default_rng([seed, 43]))
        whole = json.dumps(run_to_json(engine(problem).run()), sort_keys=True)
        first = engine(problem)
        first.play(60_000_000 + 20_000_000 * seed)
        saved = json.loads(json.dumps(first.save()))
        again = Engine.restore(problem, saved, make(name)).run()
        assert json.dumps(run_to_json(again), sort_keys=True) == whole, f"seed {seed}"
