"""Gangs of several types: limits, bounds, and the integer splits."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import rate

from scheduler.core.workload import ModelPhysics
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.mixed import (
    DEFAULTS,
    CrossLink,
    MixedEstimate,
    MixedPart,
    balanced_layers,
    balanced_shares,
    data_shares,
    mixed_estimate,
    pipeline_by_type,
)
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.training import TrainingEstimate

LINK = CrossLink(40e9, 5e-6)


def part(name: str, count: int) -> MixedPart:
    kind = accelerators()[name]
    return MixedPart(kind, count, min(8, count), usual_network(kind, count))


def alone(model: str, name: str, count: int, batch: int) -> float:
    found = rate(models()[model], accelerators()[name], count, global_batch=batch)
    assert isinstance(found, TrainingEstimate)
    return found.work_per_s


def mixed(model: str, batch: int, *parts: MixedPart, link: CrossLink = LINK) -> MixedEstimate:
    found = mixed_estimate(models()[model], ModelPhysics(model, global_batch=batch), parts, link)
    assert isinstance(found, MixedEstimate), found
    return found


@pytest.mark.parametrize(("model", "each"), [("llama-3-8b", 32), ("llama-2-13b", 64)])
def test_two_equal_types_are_the_homogeneous_gang(model: str, each: int) -> None:
    halves = data_shares(
        models()[model],
        ModelPhysics(model, global_batch=512),
        [part("H100-SXM", each), part("H100-SXM", each)],
        LINK,
    )
    assert isinstance(halves, MixedEstimate)
    assert halves.shares == (256, 256)
    assert halves.straggler == 0
    assert halves.work_per_s == pytest.approx(alone(model, "H100-SXM", 2 * each, 512), rel=0.01)


@pytest.mark.parametrize(
    ("fast", "slow"),
    [("H100-SXM", "A100-80GB-SXM"), ("H200-SXM", "H20"), ("B200", "H100-SXM")],
)
def test_shares_never_beat_the_sum_of_the_parts(fast: str, slow: str) -> None:
    model = "llama-3-8b"
    both = alone(model, fast, 32, 512) + alone(model, slow, 32, 512)
    found = data_shares(
        models()[model],
        ModelPhysics(model, global_batch=512),
        [part(fast, 32), part(slow, 32)],
        LINK,
    )
    assert isinstance(found, MixedEstimate)
    # what is lost beyond the efficiency of mixing: a sequence at most, the exchange, and
    # smaller steps for the slow type
    assert 0.97 * DEFAULTS.same_stack * both <= found.work_per_s <= DEFAULTS.same_stack * both
    assert found.straggler <= 1 / min(found.shares)


def test_more_than_the_sum_only_where_one_type_alone_lacks_memory() -> None:
    """H2, arXiv:2505.17548: up to 109 % where dealing layers out ends recomputation."""
    model = models()["llama-3-70b"]
    how = ModelPhysics(model.name, global_batch=512)
    pair = [part("H800-SXM", 16), part("H20", 32)]
    both = sum(alone(model.name, p.accelerator.name, p.count, 512) for p in pair)
    found = pipeline_by_type(model, how, pair, LINK)
    assert isinstance(found, MixedEstimate)
    assert found.work_per_s > DEFAULTS.same_stack * both
    roomy = [replace(p, accelerator=replace(p.accelerator, memory_bytes=1e12)) for p in pair]
    rates = []
    for p in roomy:
        got = rate(model, p.accelerator, p.count, p.network, global_batch=512)
        assert isinstance(got, TrainingEstimate)
        rates.append(got.work_per_s)
    found = pipeline_by_type(model, how, roomy, LINK)
    assert isinstance(found, MixedEstimate)
    assert found.work_per_s <= DEFAULTS.same_stack * sum(rates)


def test_removing_the_slow_type_costs_no_more_than_its_share() -> None:
    model = "llama-3-8b"
    fast, slow = alone(model, "H100-SXM", 32, 512), alone(model, "A100-80GB-SXM", 16, 512)
    both = mixed(model, 512, part("H100-SXM", 32), part("A100-80GB-SXM", 16)).work_per_s
    assert fast < both <= fast + slow


def test_a_part_that_only_hinders_is_refused() -> None:
    model = models()["llama-3-70b"]
    how = ModelPhysics(model.name, global_batch=512)
    found = mixed_estimate(model, how, [part("H100-SXM", 64), part("A100-80GB-SXM", 8)], LINK)
    assert isinstance(found, Refusal)
    assert found.reason == "64 x H100-SXM alone are as fast as the mixed gang"


def test_across_stacks_only_a_pipeline() -> None:
    """HETHUB, arXiv:2405.16256, and arXiv:2602.18007: 0.90-0.97 of the sum, at best."""
    model = models()["llama-3-70b"]
    how = ModelPhysics(model.name, global_batch=512)
    pair = [part("H100-SXM", 64), part("Ascend-910B", 64)]
    refused = data_shares(model, how, pair, LINK)
    assert isinstance(refused, Refusal)
    assert "one software stack" in refused.reason
    found = mixed(model.name, 512, *pair)
    both = sum(alone(model.name, p.accelerator.name, p.count, 512) for p in pair)
    assert found.way == "pipeline by type"
    assert sum(found.shares) == model.layers
    assert 0.80 <= found.work_per_s / both <= DEFAULTS.cross_stack
    forwarded = pipeline_by_type(model, how, pair, replace(LINK, host_forwarded=True))
    assert isinstance(forwarded, MixedEstimate)
    assert forwarded.work_per_s < found.work_per_s


def test_three_types() -> None:
    found = mixed(
        "llama-3-70b", 512, part("H100-SXM", 32), part("A100-80GB-SXM", 32), part("L40S", 32)
    )
    assert len(found.shares) == len(found.memory_bytes) == 3
    limits = [accelerators()[n].memory_bytes for n in ("H100-SXM", "A100-80GB-SXM", "L40S")]
    assert all(m <= limit for m, limit in zip(found.memory_bytes, limits, strict=True))


def test_limits_of_a_mixed_gang() -> None:
    model = models()["llama-3-8b"]
    how = ModelPhysics(model.name)
    four = [part("H100-SXM", 8)] * 4
    for parts, link, words in (
        (four, LINK, "allowed are 2 to 3"),
        (four[:1], LINK, "allowed are 2 to 3"),
        (four[:2], CrossLink(0.0, 1e-6), "no network"),
        ([part("H100-SXM", 8), part("V100-32GB-SXM", 8)], LINK, "does not support bf16"),
    ):
        found = mixed_estimate(model, how, parts, link)
        assert isinstance(found, Refusal)
        assert words in found.reason


def test_a_slower_link_between_the_parts_never_helps() -> None:
    pair = (part("H100-SXM", 32), part("A100-80GB-SXM", 32))
    rates = [
        mixed("llama-3-8b", 512, *pair, link=CrossLink(b, 5e-6)).work_per_s
        for b in (400e9, 40e9, 10e9, 4e9)
    ]
    assert sorted(rates, reverse=True) == rates


def test_layers_of_two_nodes_of_speeds_1_and_07() -> None:
    layers = balanced_layers(32, [1.0, 0.7])
    assert layers == (19, 13)
    slowest = max(layers[0] / 1.0, layers[1] / 0.7)
    assert slowest == 19
    assert 1 - (32 / 1.7) / slowest < 0.01  # lost to whole layers


@given(
    st.integers(2, 24),
    st.lists(st.floats(0.05, 10.0), min_size=2, max_size=3),
)
def test_shares_are_optimal_by_brute_force(total: int, rates: list[float]) -> None:
    shares = balanced_shares(total, rates)
    assert sum(shares) == total
    best = min(
        max(s / r for s, r in zip((*split, total - sum(split)), rates, strict=True))
        for split in itertools.product(range(total + 1), repeat=len(rates) - 1)
        if sum(split) <= total
    )
    assert max(s / r for s, r in zip(shares, rates, strict=True)) <= best * (1 + 1e-9)
