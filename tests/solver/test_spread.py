from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.spread_instances import made_instance
from scheduler.core.run import Status
from scheduler.core.spread import SpreadInstance, SpreadPlan
from scheduler.solver.spread import solve_spread
from scheduler.solver.spread.bound import flow_bound, throughput_bound
from scheduler.solver.spread.flow import FlowMeter
from scheduler.solver.spread.weave import weave
from scheduler.verify.spread import placement_flow, verify_spread


def small(seed: int, thin: bool) -> SpreadInstance:
    """Four machines of two kinds, four layers: every placement can be tried."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, 4)
    tables = [np.sort(rng.integers(1, 100, n))[::-1].astype(float) for n in (2, 3)]
    links = rng.uniform(20 if thin else 1e3, 60 if thin else 2e3, (4, 4))
    np.fill_diagonal(links, 0.0)
    return SpreadInstance(
        f"small-{seed}",
        4,
        tuple("abcd"),
        tuple(f"k{k}" for k in kinds),
        tuple(tuple(float(x) for x in tables[k]) for k in kinds),
        np.full(4, 1e6),
        np.full(4, 1e6),
        links,
    )


def best_of_all(instance: SpreadInstance) -> float:
    """Return the highest flow over every placement."""
    meter = FlowMeter(instance)
    spans = [
        [(0, 0)]
        + [(s, s + k) for k in range(1, len(rates) + 1) for s in range(instance.layers - k + 1)]
        for rates in instance.rates
    ]
    return max(meter.flow(placed) for placed in itertools.product(*spans))


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_for_every_placement_of_small_instances(seed: int, thin: bool) -> None:
    instance = small(seed, thin)
    best = best_of_all(instance)
    answer = solve_spread(instance, evaluations=2000)
    bound, _ = flow_bound(instance, answer.plan.flow)
    assert answer.plan.flow <= best * (1 + 1e-6)
    assert bound >= best * (1 - 1e-6)
    assert answer.bound >= best * (1 - 1e-6)
    assert throughput_bound(instance) >= bound * (1 - 1e-6)
    assert flow_bound(instance, 0.0)[0] >= best * (1 - 1e-6)
    assert answer.plan.flow >= 0.7 * best  # the search finds most of it on the smallest, too
    assert verify_spread(instance, answer) == []


def test_a_chain_of_equal_machines_is_proved_optimal() -> None:
    rates = (400.0, 200.0, 100.0)
    links = np.full((8, 8), 1e4)
    ends = np.full(8, 1e6)
    instance = SpreadInstance(
        "equal", 16, tuple("abcdefgh"), ("x",) * 8, (rates,) * 8, ends, ends, links
    )
    answer = solve_spread(instance)
    assert answer.plan.flow == pytest.approx(200.0)  # 8 machines of 2 layers
    assert answer.status is Status.OPTIMAL
    assert answer.plan.depth == 8


def test_thin_links_are_crossed_side_by_side() -> None:
    """Two regions of which neither holds the model: one link carries 60 of 100 tokens/s."""
    near = np.array([0, 0, 0, 1, 1, 1])
    links = np.where(near[:, None] == near[None, :], 1e4, 60.0)
    np.fill_diagonal(links, 0.0)
    ends = np.full(6, 1e6)
    instance = SpreadInstance(
        "two", 8, tuple("abcdef"), ("x",) * 6, ((200.0, 100.0),) * 6, ends, ends, links
    )
    answer = solve_spread(instance)
    # alone on its layers each machine would carry 100; a second machine at the crossing
    # leaves five that count, which hold ten layers at 100
    assert answer.plan.flow == pytest.approx(100.0)
    assert verify_spread(instance, answer) == []


def test_the_front_trades_flow_for_depth() -> None:
    answer = solve_spread(made_instance(3, machines=24, kinds=3))
    depths = [p.depth for p in answer.front]
    flows = [p.flow for p in answer.front]
    assert depths == sorted(set(depths), reverse=True)
    assert flows == sorted(set(flows), reverse=True)
    assert len(answer.front) > 3
    assert answer.front[0].flow == answer.plan.flow


@pytest.mark.parametrize(
    "made",
    [
        {"seed": 0},
        {"seed": 1, "layers": 60},
        {"seed": 2, "machines": 24, "kinds": 3, "spread": 0.9},
    ],
)
def test_forty_two_machines_of_seven_kinds_are_near_the_bound(made: dict[str, int]) -> None:
    instance = made_instance(**made)  # type: ignore[arg-type]
    answer = solve_spread(instance, front=False, evaluations=500, annealings=1)
    assert answer.gap < 0.15
    assert verify_spread(instance, answer) == []


def test_a_pruned_link_graph_is_woven_through() -> None:
    """As pruned by the peer, half of the machines have links to the other half only."""
    instance = made_instance(2, machines=14, kinds=4, layers=36, spread=0.0, keep=6)
    assert (instance.source > 0).sum() == 6
    assert np.median((instance.links > 0).sum(axis=1)) == 6
    answer = solve_spread(instance, front=False, evaluations=200, annealings=6)
    assert answer.gap < 0.15
    assert verify_spread(instance, answer) == []


def test_regions_are_joined_by_a_link_in_one_direction() -> None:
    """A bound that parts them would be below what the chain from a to b carries."""
    links = np.array([[0.0, 1e4], [0.0, 0.0]])
    ends = np.full(2, 1e6)
    tables = ((100.0,), (100.0,))
    instance = SpreadInstance("one-way", 2, ("a", "b"), ("x", "x"), tables, ends, ends, links)
    answer = solve_spread(instance)
    assert answer.plan.flow == pytest.approx(100.0)
    assert answer.status is Status.OPTIMAL


@pytest.mark.parametrize("seed", range(3))
def test_weaving_never_loses_flow_and_repeats_itself(seed: int) -> None:
    instance = made_instance(seed, machines=12, kinds=3, layers=24, regions=2, degree=6)
    meter = FlowMeter(instance)
    nothing = [(0, 0)] * len(instance)
    high = throughput_bound(instance)

    def woven(start: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        rng = np.random.default_rng(seed)
        return weave(instance, meter, start, rng, high, rounds=4, moves=2000)

    once = woven(nothing)
    assert once == woven(nothing)
    assert meter.flow(once) > 0
    assert meter.flow(woven(once)) >= meter.flow(once)


@pytest.mark.slow
def test_three_regions_joined_by_thin_links() -> None:
    instance = made_instance(5, machines=24, kinds=3, regions=3)
    answer = solve_spread(instance, front=False, evaluations=1000)
    blind = solve_spread(replace(instance, links=np.full((24, 24), 1e5)), front=False)
    assert 0 < answer.plan.flow <= blind.bound
    assert answer.bound <= blind.bound * (1 + 1e-6)
    assert verify_spread(instance, answer) == []


def test_same_seed_same_answer() -> None:
    instance = made_instance(4, machines=16, kinds=4, regions=2)
    once, again = (
        solve_spread(instance, seed=5, evaluations=500, annealings=3, front=False) for _ in range(2)
    )
    assert once == again


def test_a_model_that_does_not_fit_has_no_flow() -> None:
    ends = np.full(2, 1.0)
    instance = SpreadInstance(
        "large", 9, ("a", "b"), ("x", "x"), ((5.0,), (5.0,)), ends, ends, np.ones((2, 2))
    )
    answer = solve_spread(instance)
    assert answer.plan.flow == 0.0
    assert answer.plan.depth == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_meter_agrees_with_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instance = made_instance(seed % 7, machines=9, kinds=3, layers=12, regions=2)
    intervals = []
    for rates in instance.rates:
        held = int(rng.integers(0, min(len(rates), 12) + 1))
        start = int(rng.integers(0, 12 - held + 1))
        intervals.append((start, start + held) if held else (0, 0))
    meter = FlowMeter(instance)
    flow, depth = placement_flow(instance, intervals)
    assert meter.flow(intervals) == pytest.approx(flow, rel=1e-5, abs=0.1)
    assert meter.depth(intervals) == depth


def test_a_false_plan_is_refused() -> None:
    instance = made_instance(3, machines=24, kinds=3)
    answer = solve_spread(instance, front=False)
    plan = answer.plan
    tall = replace(plan, flow=plan.flow * 1.01)
    deep = replace(plan, depth=plan.depth - 1)
    start, _ = plan.intervals[0]
    wide = replace(plan, intervals=((start, start + 99), *plan.intervals[1:]))
    for damaged, code in ((tall, "flow"), (deep, "depth"), (wide, "interval")):
        found = verify_spread(instance, replace(answer, plan=damaged, bound=1e9))
        assert code in {v.code for v in found}
    low = replace(answer, bound=plan.flow / 2)
    assert {v.code for v in verify_spread(instance, low)} == {"bound"}
    assert isinstance(plan, SpreadPlan)
