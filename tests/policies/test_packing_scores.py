"""Each score by hand, and the fragmentation measure against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_packings import packing_problem, random_packing_problem

from scheduler.core.errors import InputError
from scheduler.core.packing import ANY_TYPE, PackingProblem
from scheduler.policies.packing import NodeState, PackingPolicy, Request, make, names
from scheduler.policies.packing.fragmentation import Fragmentation, usual_pods

RNG = np.random.default_rng(0)
NODES = [("A", 8, 128_000, 100), ("B", 2, 104_000, 100)]
HALF = Request(4_000, 1, 500)
TWO = Request(8_000, 2, 1000)
NO_GPU = Request(8_000, 0, 0)


def policy(name: str) -> PackingPolicy:
    return make(name, packing_problem(NODES, [(4_000, 1, 1, 500, "")]))


def node(*free: int, cpu: int = 64_000, kinds: tuple[int, ...] = ()) -> NodeState:
    return NodeState(0, cpu, free, kinds)


@pytest.mark.parametrize(
    ("name", "request_", "state", "points"),
    [
        # 1 - (60 of 128 cores + 1.25 of 8 GPUs left) / 2 = 0.6875
        ("best_fit", HALF, node(750, 1000, cpu=64_000), 68),
        ("worst_fit", HALF, node(750, 1000, cpu=64_000), 31),
        # 1 - (64 * 4 / 128^2 + 1.75 * 0.5 / 8^2) / 2 = 0.98535
        ("dot_product", HALF, node(750, 1000, cpu=64_000), 98),
        # 1 - (128 * 8 / 128^2 + 8 * 2 / 8^2) / 2 = 0.84375
        ("dot_product", TWO, node(*[1000] * 8, cpu=128_000), 84),
        ("gpu_packing", HALF, node(750, 1000), 93),  # 75 % free on a used GPU: 100 - 7
        ("gpu_packing", HALF, node(400, 1000), 49),  # opens one GPU of a used node
        ("gpu_packing", TWO, node(0, 1000, 1000, 1000), 48),
        ("gpu_packing", HALF, node(1000, 1000), 31),  # untouched: 33 less its GPUs
        ("gpu_packing", NO_GPU, node(1000, 1000), 0),
        ("gpu_clustering", HALF, node(0, 500, kinds=(0,)), 75 + 23),  # 7.5 of 8 used: 23.4
        ("gpu_clustering", HALF, node(0, 500, kinds=(0, 1)), 50 + 23),
        ("gpu_clustering", HALF, node(1000, 1000), 25 + 18),
        ("gpu_clustering", TWO, node(0, 500, kinds=(0,)), 23),
        ("gpu_clustering", NO_GPU, node(0, 500, kinds=(0,)), 0),
        ("random", HALF, node(750, 1000), 0),
        ("first_fit", TWO, node(1000, 1000), 0),
    ],
)
def test_points_by_hand(name: str, request_: Request, state: NodeState, points: int) -> None:
    assert policy(name).score(request_, state) == points


@pytest.mark.parametrize(
    ("name", "taken"),
    [("best_fit", 2), ("worst_fit", 1), ("dot_product", 2), ("gpu_packing", 2)],
)
def test_the_accelerator_that_a_sharing_pod_takes(name: str, taken: int) -> None:
    assert policy(name).pick(HALF, node(400, 1000, 600, 600), RNG) == taken


def test_random_takes_every_accelerator_that_fits() -> None:
    picks = {policy("random").pick(HALF, node(400, 1000, 600, 700), RNG) for _ in range(100)}
    assert picks == {1, 2, 3}


def test_fgd_prefers_to_fill_what_only_small_pods_can_use() -> None:
    """Half of the pods want half an accelerator, half want a whole one.

    Before: 500 of the first accelerator is lost to those that want a whole one, 250 on
    average. On the first accelerator nothing is lost afterwards: a gain of 250. On the
    second, both halves are lost to them, 500 on average: a loss of 250.
    """
    problem = packing_problem(NODES, [(0, 0, 1, 500, ""), (0, 0, 1, 1000, "")])
    state = NodeState(1, 64_000, (500, 1000))
    request = Request(0, 1, 500)
    unrounded = make("fgd_unrounded", problem)
    assert unrounded.score(request, state) == pytest.approx(100 / (1 + math.exp(-0.25)))
    assert make("fgd", problem).score(request, state) == 56
    assert unrounded.pick(request, state, RNG) == 0
    assert unrounded.score(request, NodeState(1, 64_000, (1000, 1000))) == pytest.approx(
        100 / (1 + math.exp(0.25))
    )


def test_usual_pods_cover_95_percent() -> None:
    rows = [(1, 0, 1, 500, "")] * 90 + [(2, 0, 1, 500, "")] * 6 + [(3, 0, 8, 1000, "")] * 4
    usual = usual_pods(packing_problem(NODES, rows))
    assert [(u.cpu_milli, u.accelerators) for u in usual] == [(1, 1), (2, 1)]
    assert [u.weight for u in usual] == pytest.approx([90 / 96, 6 / 96])
    assert len(usual_pods(packing_problem(NODES, rows), 97)) == 3


def defined_fragmentation(problem: PackingProblem, state: NodeState) -> float:
    """Sum over the usual pods of what they cannot use, straight from the definition."""
    total = 0.0
    for pod in usual_pods(problem):
        may = pod.allowed == ANY_TYPE or (
            state.type_index >= 0 and pod.allowed >> state.type_index & 1
        )
        large = [left for left in state.free_milli if left >= pod.share_milli]
        fits = may and state.cpu_milli >= pod.cpu_milli and len(large) >= pod.accelerators
        if fits and pod.accelerators:
            total += pod.weight * (sum(state.free_milli) - sum(large))
        else:
            total += pod.weight * sum(state.free_milli)
    return total


@given(
    seed=st.integers(0, 2**32 - 1),
    type_index=st.integers(0, 3),
    cpu_milli=st.integers(0, 6) | st.integers(0, 20_000),
    free=st.lists(st.sampled_from([0, 90, 100, 190, 250, 500, 750, 810, 1000]), max_size=8),
)
def test_fragmentation_is_what_is_defined(
    seed: int, type_index: int, cpu_milli: int, free: list[int]
) -> None:
    problem = random_packing_problem(np.random.default_rng(seed))
    at = min(type_index, len(problem.types) - 1)
    state = NodeState(at if free else -1, cpu_milli, tuple(free))
    measure = Fragmentation(problem)
    for _ in range(2):  # computed, and remembered
        assert measure.of(state) == pytest.approx(defined_fragmentation(problem, state), abs=1e-6)


def test_every_name_makes_a_policy_and_others_are_refused() -> None:
    problem = packing_problem(NODES, [(4_000, 1, 1, 500, "")])
    for name in names():
        assert isinstance(make(name, problem), PackingPolicy)
    assert type(make("BestFit", problem)) is type(make("best-fit", problem))
    with pytest.raises(InputError, match=r"unknown packing policy, got 'bestfirst'.*'best_fit'"):
        make("bestfirst", problem)
