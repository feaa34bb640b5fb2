"""The Slurm-like policy does what slurm.conf(5) says, and its runs verify."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.core.units import US_PER_S
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.physics.problem import build_problem
from scheduler.policies.slurm import Slurm
from scheduler.policies.slurm_backfill import Table
from scheduler.simulate import simulate
from scheduler.verify import verify_run

QUICK = SlurmSettings(
    cycle_s=1.0, submit_delay_s=0.0, backfill_interval_s=1.0, resolution_s=1.0, age_weight=0.0
)

Ask = tuple[float, int, float, float, int]
"""Release, accelerators, run time, limit, partition."""


def problem_of(asks: list[Ask], nodes: int = 2, leaves: int = 1, partitions: int = 1) -> Problem:
    kind = AcceleratorType("gpu", "x", "cuda", 80e9, 2e12, {"bf16": 3e14}, 3e11, 50.0, 400.0)
    pods = tuple(
        Pod(
            f"leaf{i}",
            "here",
            tuple(Node(f"{i}-{n}", "gpu", 8, 1e9, 1e9) for n in range(nodes)),
            Fabric("tree"),
            1e9,
        )
        for i in range(leaves)
    )
    cluster = Cluster("c", "", {"gpu": kind}, pods, (Site("here"),))
    gangs = sorted({ask[1] for ask in asks})
    classes = tuple(
        JobClass(
            str(g), RunTimePhysics(), (g,), restart_s=0, checkpoint_s=np.inf, saves_state=False
        )
        for g in gangs
    )
    rows = sorted(asks)
    columns = Jobs(
        tuple(f"j{i:02}" for i in range(len(rows))),
        np.array([gangs.index(r[1]) for r in rows], dtype=np.int64),
        np.array([r[0] for r in rows]),
        np.array([r[2] for r in rows]),
        np.array([r[3] for r in rows]),
        np.ones(len(rows)),
        np.full(len(rows), np.nan),
        np.array([r[4] for r in rows], dtype=np.int64),
    )
    tenants = tuple(f"p{i}" for i in range(partitions))
    return build_problem(cluster, Workload("w", "", classes, columns, tenants=tenants))


def play(problem: Problem, settings: SlurmSettings = QUICK) -> Run:
    run = simulate(problem, Slurm(settings, 0.0, 0.0), information="estimates")
    assert verify_run(problem, run) == []
    return run


def starts(run: Run) -> list[list[float]]:
    by_job: dict[int, list[float]] = {}
    for a in sorted(run.allocations, key=lambda a: a.start_us):
        by_job.setdefault(a.job, []).append(a.start_us / US_PER_S)
    return [by_job[j] for j in sorted(by_job)]


def test_a_short_job_passes_the_blocked_head_and_a_long_one_does_not() -> None:
    asks = [
        (0.0, 8, 50.0, 60.0, 0),  # fills a node until its limit, second 60
        (1.0, 16, 10.0, 10.0, 0),  # the head: needs both nodes
        (2.0, 8, 20.0, 30.0, 0),  # ends by 32: passes
        (3.0, 8, 20.0, 120.0, 0),  # would hold the head up
    ]
    found = starts(play(problem_of(asks)))
    assert found[0] == [0.0]
    assert found[2] == [2.0]
    assert found[1] == [50.0]
    assert found[3] == [60.0]


def test_without_backfill_nothing_passes() -> None:
    asks = [(0.0, 8, 50.0, 60.0, 0), (1.0, 16, 10.0, 10.0, 0), (2.0, 8, 20.0, 30.0, 0)]
    found = starts(play(problem_of(asks), replace(QUICK, backfills=False)))
    assert found == [[0.0], [50.0], [60.0]]


def test_a_reservation_takes_whole_nodes() -> None:
    """Half of the node would be free beside the job in front, yet it is reserved whole."""
    asks = [
        (0.0, 4, 100.0, 100.0, 0),
        (1.0, 8, 10.0, 10.0, 0),  # reserves the only node from second 100 on
        (2.0, 4, 10.0, 200.0, 0),  # runs past 100
        (3.0, 4, 10.0, 90.0, 0),  # does not
    ]
    found = starts(play(problem_of(asks, nodes=1)))
    assert found[3] == [3.0]
    assert found[1] == [100.0]
    assert found[2] == [110.0]


def test_the_leaf_with_the_fewest_usable_nodes_is_filled_first() -> None:
    asks = [(0.0, 8, 90.0, 90.0, 0), (1.0, 4, 90.0, 90.0, 0), (2.0, 16, 9.0, 9.0, 0)]
    run = play(problem_of(asks, nodes=2, leaves=2))
    nodes = {a.job: a.placement.nodes for a in run.allocations}
    assert nodes[0] == (0,)
    assert nodes[1] == (1,)  # leaf 0 has one usable node left, leaf 1 has two
    assert nodes[2] == (2, 3)


def test_who_was_made_room_for_starts_wherever_it_fits_first() -> None:
    """A recorded run has it: the node of a job that ended meanwhile, not that of the victim."""
    asks = [(0.0, 8, 30.1, 60.0, 0), (0.0, 8, 100.0, 120.0, 1), (30.0, 8, 10.0, 20.0, 2)]
    partitions = (
        SlurmPartition("p0", requeues=False),
        SlurmPartition("p1"),
        SlurmPartition("p2", tier=10),
    )
    problem = problem_of(asks, partitions=3)
    settings = replace(QUICK, preempts=True, partitions=partitions, killed_s=0.2, epilog=True)
    run = play(problem, settings)
    assert starts(run)[2] == [30.1], "later than what was requeued has left, sooner than its hold"
    held = {a.job: a.placement.nodes for a in run.allocations if a.start_us < 40 * US_PER_S}
    assert held[2] == held[0] != held[1]
    assert len(starts(run)[1]) == 2, "requeued in vain"


def test_submissions_wait_for_the_tick_of_the_background_loop() -> None:
    settings = replace(QUICK, cycle_s=60.0, submit_delay_s=3.0, backfills=False)
    problem = problem_of([(0.4, 8, 10.0, 20.0, 0), (1.6, 8, 10.0, 20.0, 0)])
    assert starts(play(problem, settings)) == [[3.0], [3.0]], "not sooner than the delay"
    late = problem_of([(10.4, 8, 10.0, 20.0, 0), (11.6, 8, 10.0, 20.0, 0)])
    assert starts(play(late, settings)) == [[11.0], [14.0]]


def test_an_end_asks_for_a_pass_and_an_epilog_starts_one() -> None:
    """As a slurmctld's log has it: nodes without an epilog do not report the end of a batch job."""
    problem = problem_of([(0.0, 16, 30.3, 60.0, 0), (1.0, 16, 10.0, 20.0, 0)])
    settings = replace(QUICK, cycle_s=60.0, backfills=False)
    assert starts(play(problem, settings))[1] == [31.0], "the next tick"
    assert starts(play(problem, replace(settings, epilog=True)))[1] == [30.3]


def test_what_is_blocked_closes_its_nodes_to_partitions_after_it() -> None:
    asks = [(0.0, 8, 50.0, 60.0, 1), (1.0, 16, 5.0, 60.0, 1), (2.0, 8, 5.0, 60.0, 0)]
    partitions = (SlurmPartition("p0"), SlurmPartition("p1", tier=10))
    settings = replace(QUICK, backfills=False, partitions=partitions)
    found = starts(play(problem_of(asks, partitions=2), settings))
    assert found == [[0.0], [50.0], [55.0]]
    apart = (SlurmPartition("p0", (2,)), SlurmPartition("p1", (0, 1), tier=10))
    other = replace(settings, partitions=apart)
    assert starts(play(problem_of(asks, nodes=3, partitions=2), other))[2] == [2.0]


def test_backfill_preempts_for_whom_the_main_scheduler_does_not_reach() -> None:
    """The gang in front waits for its own tier; the one behind it may preempt."""
    asks = [
        (0.0, 8, 90.0, 120.0, 1),
        (1.0, 8, 90.0, 120.0, 0),
        (2.0, 16, 5.0, 60.0, 1),
        (3.0, 8, 5.0, 60.0, 1),
    ]
    partitions = (SlurmPartition("p0"), SlurmPartition("p1", tier=10))
    settings = replace(QUICK, preempts=True, partitions=partitions)
    problem = problem_of(asks, partitions=2)
    found = starts(play(problem, settings))
    assert found[3] == [4.0], "in the next round of backfill: the gang still blocks the other loop"
    assert len(found[1]) == 2
    without = starts(play(problem, replace(settings, backfills=False)))
    assert without[3] > without[2]


def test_who_preempted_does_so_again_only_after_a_while() -> None:
    """A third tier takes the room that was made, a job of the lowest the rest of it."""
    asks = [
        (0.0, 8, 300.0, 400.0, 0),
        (0.0, 8, 300.0, 400.0, 0),
        (10.0, 16, 5.0, 60.0, 1),  # requeues both, who leave by second 12
        (10.5, 8, 10.0, 20.0, 2),
        (13.0, 8, 60.0, 15.0, 0),  # passes, and runs past its limit
    ]
    partitions = (
        SlurmPartition("p0"),
        SlurmPartition("p1", tier=10, requeues=False),
        SlurmPartition("p2", tier=20),
    )
    settings = replace(QUICK, preempts=True, partitions=partitions, killed_s=2.0)
    found = starts(play(problem_of(asks, partitions=3), settings))
    assert found[3] == [12.0]
    assert (found[4][0], len(found[4])) == (13.0, 2)
    assert found[2] == [52.0], "40 s after it preempted, and when who passed has left"


def test_a_pass_that_was_asked_for_looks_at_few() -> None:
    """The head of each partition is looked at; a third partition is beyond the depth."""
    asks = [(0.5 + i / 10, 8, 10.0, 20.0, i) for i in range(3)]
    settings = replace(
        QUICK, cycle_s=20.0, backfills=False, queue_depth=1, partitions=(), multifactor=False
    )
    found = starts(play(problem_of(asks, nodes=3, partitions=3), settings))
    assert found == [[1.0], [1.0], [11.0]], "an end asks for the next pass"


def test_late_ticks_shift_the_loop() -> None:
    settings = replace(QUICK, cycle_s=2.0, backfills=False, tick_lag_s=0.01)
    problem = problem_of([(50.2, 8, 1.0, 20.0, 0)])
    assert starts(play(problem, settings)) == [[pytest.approx(50.5)]], "fifty ticks of 1.01 s"


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 15), st.integers(0, 15)), max_size=6)


@given(spans, st.integers(0, 35), st.integers(1, 20), st.integers(0, 15))
def test_the_table_of_backfill_against_second_by_second(
    held: list[tuple[int, int, int]], start_s: int, length_s: int, allowed: int
) -> None:
    table = Table(0, 60, 15)
    free = [15] * 60
    for at_s, for_s, nodes in held:
        table.set_aside(at_s, at_s + for_s, nodes)
        for second in range(at_s, at_s + for_s):
            free[second] &= ~nodes
    end_s = start_s + length_s
    usable, later_s = table.usable(start_s, end_s, allowed)
    least = allowed
    for second in range(start_s, end_s):
        least &= free[second]
    # a span that begins just when the job would end still counts, as in Slurm
    assert usable & ~least == 0
    assert least & ~usable & free[end_s] == 0
    assert later_s == 0 or free[later_s] & ~free[later_s - 1] & allowed
    clash = any(free[second] & 5 != 5 for second in range(start_s, end_s))
    assert table.clashes(start_s, end_s, 5) == clash


def test_a_higher_tier_requeues_a_lower_one_which_starts_from_nothing() -> None:
    asks = [(0.0, 16, 100.0, 120.0, 0), (30.0, 8, 10.0, 20.0, 1)]
    partitions = (SlurmPartition("p0"), SlurmPartition("p1", tier=10))
    settings = replace(QUICK, preempts=True, partitions=partitions, killed_s=0.2)
    problem = problem_of(asks, partitions=2)
    run = play(problem, settings)
    assert starts(run) == [[0.0, 151.0], [30.2]], "when what was requeued has left"
    assert run.finished_us[0] == 251 * 1_000_000
    lost = [a.lost_work for a in run.allocations if a.job == 0]
    assert lost == [pytest.approx(30.0), 0.0]


def test_size_weight_puts_large_jobs_first() -> None:
    asks = [(0.0, 16, 10.0, 10.0, 0), (1.0, 1, 10.0, 10.0, 0), (2.0, 16, 10.0, 10.0, 0)]
    first_come = starts(play(problem_of(asks), replace(QUICK, multifactor=False)))
    large_first = starts(play(problem_of(asks), replace(QUICK, size_weight=1000.0)))
    assert first_come[1] < first_come[2]
    assert large_first[2] < large_first[1]


def test_a_partition_keeps_to_its_nodes() -> None:
    asks = [(0.0, 8, 10.0, 10.0, 0), (0.0, 8, 10.0, 10.0, 1), (1.0, 8, 10.0, 10.0, 0)]
    partitions = (SlurmPartition("p0", (1,)), SlurmPartition("p1", (0,)))
    run = play(problem_of(asks, partitions=2), replace(QUICK, partitions=partitions))
    nodes = {a.job: a.placement.nodes for a in run.allocations}
    assert nodes == {0: (1,), 1: (0,), 2: (1,)}
