"""Each figure on runs small enough to work out by hand; intervals against published tables."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.metrics import interval, jain, metrics_of, paired_difference
from scheduler.core.problem import Domain, Group, Mode, Pool, Problem
from scheduler.core.run import Allocation, Down, Placement, Run
from scheduler.core.student_t import t_quantile, upper_tail
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload

S = 1_000_000


def problem(release_s: list[float], tenants: list[int], deadline_s: list[float]) -> Problem:
    """Two nodes of two; modes: two accelerators at rate 2, one at rate 1; restart 1 s."""
    device = AcceleratorType("A", "", "", 1, 1, {}, 1, 1, 1)
    nodes = (Node("n0", "A", 2, 1, 1), Node("n1", "A", 2, 1, 1))
    n = len(release_s)
    return Problem(
        Cluster("c", "", {"A": device}, (Pod("p", "s", nodes, Fabric("tree")),), (Site("s"),)),
        Workload(
            "w",
            "",
            (JobClass("k", RunTimePhysics(), (1, 2), restart_s=1.0),),
            Jobs(
                tuple(f"j{i}" for i in range(n)),
                np.zeros(n, np.int64),
                np.array(release_s),
                np.full(n, 8.0),
                np.full(n, np.nan),
                np.ones(n),
                np.array(deadline_s),
                np.array(tenants),
            ),
            tenants=("x", "y"),
        ),
        ("A",),
        ("node", "pod"),
        (Domain(("p",), 1, (0,), 1, 1),),
        (Pool(0, 2, (0, 1), (0,), 0),),
        ((Mode((Group(0, 2, 2),), 0, 2.0, 2.0, 1), Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 1)),),
    )


def held(job, mode, start, end, node, *, lost=0.0, count=None) -> Allocation:
    rate = 2.0 if mode == 0 else 1.0
    placement = Placement((node,), (count or (2 if mode == 0 else 1),))
    run_s = max(0.0, end - start - 1)
    return Allocation(
        job, mode, int(start * S), int(end * S), int(min(1, end - start) * S), rate * run_s, lost,
        placement,
    )  # fmt: skip


def run_of(allocations, **fields) -> Run:
    amounts = np.zeros((1, len(Cause)), np.int64)
    for cause, seconds in fields.pop("booked", {}).items():
        amounts[0, cause] = seconds * S
    values = {
        "policy": "p", "information": "exact", "seed": 0, "horizon_us": 40 * S,
        "ledger_end_us": 40 * S,
        "allocations": tuple(allocations), "replicas": (), "downs": (),
        "actual_work": (8.0,) * 4, "finished_us": {}, "rejected": {}, "running": (),
        "waiting": (), "ledger": Ledger(amounts, ("A",), ("p",)),
    }  # fmt: skip
    return Run(**{**values, **fields})


NAN = math.nan


def test_completion_times_and_what_follows_from_them() -> None:
    p = problem([0, 2, 4, 4], [0, 0, 1, 1], [6.0, 10.0, NAN, NAN])
    run = run_of(
        [
            held(0, 0, 0, 5, 0),  # at once, alone: 5 s, the ideal
            held(1, 0, 5, 10, 0),  # waits 3 s
            held(2, 1, 4, 13, 1),  # at once, in the slow mode
        ],
        finished_us={0: 5 * S, 1: 10 * S, 2: 13 * S},
        waiting=(3,),
    )
    m = metrics_of(p, run)
    assert m.mean_jct_s == pytest.approx((5 + 8 + 9) / 3)
    assert m.p50_jct_s == 8
    assert m.p99_jct_s == pytest.approx(8 + 0.98 * 1)
    assert m.mean_queueing_s == pytest.approx(1)
    assert m.mean_slowdown == pytest.approx((5 + 8 + 9) / 5 / 3)
    assert m.mean_tardiness_s == 0
    assert m.makespan_s == 13
    assert (m.finished, m.running, m.waiting, m.rejected) == (3, 0, 1, 0)
    # paces: tenant x 1 and 5/8; tenant y 5/9 and 0
    x, y = (1 + 5 / 8) / 2, (5 / 9 + 0) / 2
    assert m.fairness == pytest.approx((x + y) ** 2 / (2 * (x * x + y * y)))


def test_tardiness_counts_only_lateness() -> None:
    p = problem([0, 0, 0, 0], [0] * 4, [4.0, 100.0, NAN, 1.0])
    run = run_of(
        [held(0, 0, 0, 5, 0), held(1, 0, 5, 10, 0)],
        finished_us={0: 5 * S, 1: 10 * S},
        waiting=(2, 3),
    )
    assert metrics_of(p, run).mean_tardiness_s == pytest.approx((1 + 0) / 2)


def test_cut_allocations_are_told_apart() -> None:
    p = problem([0, 0, 0, 0], [0] * 4, [NAN] * 4)
    run = run_of(
        [
            held(0, 0, 0, 3, 0), held(0, 0, 6, 9, 0),  # preempted, finishes
            held(1, 1, 0, 3, 1), held(1, 0, 3, 6, 1),  # resized
            held(1, 0, 6, 9, 0),  # then moved
            held(2, 1, 9, 12, 1), held(2, 1, 15, 40, 1),  # node fails; runs to the horizon
            held(3, 1, 12, 14, 0),  # preempted, never returns
        ],
        downs=(Down(1, 12 * S, 15 * S),),
        finished_us={0: 9 * S, 1: 9 * S},
        running=(2,),
        waiting=(3,),
    )  # fmt: skip
    m = metrics_of(p, run)
    assert (m.preemptions, m.resizes, m.moves, m.restarts) == (2, 1, 1, 1)


def test_shares_of_the_ledger() -> None:
    p = problem([0.0], [0], [NAN])
    booked = {
        Cause.DOWN: 20, Cause.PRODUCTIVE: 60, Cause.COMMUNICATION: 10, Cause.RECONFIGURATION: 4,
        Cause.LOST: 6, Cause.SHAPE: 25, Cause.NO_DEMAND: 35,
    }  # fmt: skip
    m = metrics_of(p, run_of([], booked=booked, actual_work=(8.0,), waiting=(0,)))
    assert m.utilisation == pytest.approx(80 / 140)
    assert m.goodput == pytest.approx(60 / 160)
    assert m.idle_fraction == pytest.approx(60 / 160)
    assert m.waste_fraction == pytest.approx(80 / 160)
    assert m.lost_accelerator_s == 6


def test_what_a_run_gives_no_data_for_is_nan() -> None:
    m = metrics_of(problem([0.0], [0], [NAN]), run_of([], actual_work=(8.0,), waiting=(0,)))
    for value in (m.mean_jct_s, m.p99_jct_s, m.mean_queueing_s, m.makespan_s, m.slo_attainment):
        assert math.isnan(value)
    assert math.isnan(m.utilisation)


def test_slo_attainment_is_served_over_demanded() -> None:
    run = run_of([], served=(30.0, 50.0), demanded=(60.0, 40.0), waiting=(0,), actual_work=(8.0,))
    assert metrics_of(problem([0.0], [0], [NAN]), run).slo_attainment == pytest.approx(0.8)


def test_jain() -> None:
    assert jain([3.0, 3.0, 3.0]) == 1
    assert jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert jain([0.0, 0.0]) == 1
    assert math.isnan(jain([]))


# Percentage points of Student's t: NIST/SEMATECH e-Handbook of Statistical Methods, table
# 1.3.6.7.2 (three decimals).
NIST = {
    1: (3.078, 6.314, 12.706, 31.821, 63.657, 318.313),
    2: (1.886, 2.920, 4.303, 6.965, 9.925, 22.327),
    3: (1.638, 2.353, 3.182, 4.541, 5.841, 10.215),
    5: (1.476, 2.015, 2.571, 3.365, 4.032, 5.893),
    9: (1.383, 1.833, 2.262, 2.821, 3.250, 4.297),
    10: (1.372, 1.812, 2.228, 2.764, 3.169, 4.143),
    19: (1.328, 1.729, 2.093, 2.539, 2.861, 3.579),
    30: (1.310, 1.697, 2.042, 2.457, 2.750, 3.385),
    60: (1.296, 1.671, 2.000, 2.390, 2.660, 3.232),
    100: (1.290, 1.660, 1.984, 2.364, 2.626, 3.174),
}


@pytest.mark.parametrize("degrees", sorted(NIST))
def test_quantiles_agree_with_the_published_table(degrees: int) -> None:
    for probability, value in zip(
        (0.90, 0.95, 0.975, 0.99, 0.995, 0.999), NIST[degrees], strict=True
    ):
        # Some last digits are cut, not rounded; 318.313 is 318.3088 by the closed form.
        assert t_quantile(probability, degrees) == pytest.approx(value, abs=1e-3, rel=2e-5)


def test_quantiles_agree_with_closed_forms() -> None:
    for p in (0.501, 0.6, 0.75, 0.9, 0.975, 0.9995, 0.9999999):
        assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9)
        a = 4 * p * (1 - p)
        assert t_quantile(p, 2) == pytest.approx(2 * (p - 0.5) * math.sqrt(2 / a), rel=1e-9)
        z = statistics.NormalDist().inv_cdf(p)  # Abramowitz and Stegun 26.7.5
        expansion = z + (z**3 + z) / 4e5 + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * 1e10)
        assert t_quantile(p, 1e5) == pytest.approx(expansion, rel=1e-8, abs=1e-9)
        assert t_quantile(1 - p, 7) == pytest.approx(-t_quantile(p, 7), rel=1e-9)
    assert t_quantile(0.5, 3) == 0


def test_quantile_inverts_the_tail() -> None:
    for degrees in (1, 2, 3.5, 8, 40, 1000):
        for tail in (0.4, 0.1, 1e-3, 1e-8):
            t = t_quantile(1 - tail, degrees)
            assert upper_tail(t, degrees) == pytest.approx(1 - (1 - tail), rel=1e-7)


@pytest.mark.parametrize(("p", "degrees"), [(0, 1), (1, 1), (0.5, 0), (math.nan, 1)])
def test_quantile_refuses_what_has_none(p: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(p, degrees)


def test_interval_of_gossets_sleep_data() -> None:
    # Cushny and Peebles' ten differences, Student 1908: mean 1.58, standard error 0.389;
    # t(0.975, 9) = 2.262157.
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    mean, low, high = interval(differences)
    assert mean == pytest.approx(1.58)
    assert low == pytest.approx(0.7001142, abs=1e-6)
    assert high == pytest.approx(2.4598858, abs=1e-6)


def test_interval_covers_at_the_stated_rate() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(1500):
        _, low, high = interval(rng.normal(3.0, 2.0, 5).tolist(), confidence=0.9)
        covered += low <= 3.0 <= high
    assert covered / 1500 == pytest.approx(0.9, abs=0.025)  # three standard deviations


def test_interval_edges() -> None:
    assert interval([4.0]) == (4.0, -math.inf, math.inf)
    assert interval([4.0, 4.0, 4.0]) == (4.0, 4.0, 4.0)
    assert all(math.isnan(x) for x in interval([1.0, math.nan]))
    with pytest.raises(ValueError, match="no interval"):
        interval([])
    with pytest.raises(ValueError, match="no interval"):
        interval([1.0, 2.0], confidence=1.0)


def test_pairing_removes_what_replays_share() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(100, 30, 12)
    ours, theirs = shared - 2 + rng.normal(0, 0.1, 12), shared + rng.normal(0, 0.1, 12)
    mean, low, high = paired_difference(ours.tolist(), theirs.tolist())
    assert mean == pytest.approx(-2, abs=0.2)
    assert high - low < 0.5
    with pytest.raises(ValueError, match="paired"):
        paired_difference([1.0], [1.0, 2.0])
