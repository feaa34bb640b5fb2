"""Replica estimates: refusals with reasons, published capacity, monotone in all that helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import AcceleratorType
from scheduler.core.units import GIB
from scheduler.core.workload import ModelPhysics, ProfilePhysics, Service
from scheduler.io.catalogue import find_accelerator, find_model
from scheduler.physics.inference import ReplicaEstimate, replica_estimate
from scheduler.physics.network import Network, Refusal
from scheduler.physics.roofline import Replica, build_replica, decode_step_time_s
from scheduler.physics.serving import Objectives, mean_batch, serving_point

NVLINK = Network(360e9, 1e-6, 8, 40e9, 5e-6)
ALONE = Network(0.0, 0.0, 1, 0.0, 0.0)


def service(
    model: str,
    precision: str,
    *,
    prompt: float = 1024.0,
    output: float = 128.0,
    ttft_s: float = 2.0,
    tpot_s: float = 0.1,
) -> Service:
    return Service(
        name="chat",
        physics=ModelPhysics(model, precision),
        replica=(1,),
        times_s=np.zeros(1),
        demand_per_s=np.ones(1),
        prompt_tokens=prompt,
        output_tokens=output,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
    )


def estimate(
    model: str,
    precision: str,
    accelerator: str | AcceleratorType,
    count: int,
    network: Network = NVLINK,
    **asked: float,
) -> ReplicaEstimate | Refusal:
    kind = find_accelerator(accelerator) if isinstance(accelerator, str) else accelerator
    return replica_estimate(
        find_model(model), service(model, precision, **asked), kind, count, network
    )


def rate(found: ReplicaEstimate | Refusal) -> float:
    return 0.0 if isinstance(found, Refusal) else found.requests_per_s


def reason(found: ReplicaEstimate | Refusal) -> str:
    assert isinstance(found, Refusal), found
    return found.reason


def test_70b_in_16_bits_needs_two_80_gb_accelerators():
    assert reason(estimate("llama-3-70b", "fp16", "H100-SXM", 1)) == (
        "llama-3-70b in fp16 on 1 x H100-SXM needs 133.1 GiB on each for a single request,"
        " of which 76.0 GiB can be had"
    )
    assert rate(estimate("llama-3-70b", "fp16", "H100-SXM", 2)) > 0


def test_unsupported_precision_is_refused():
    assert "T4 does not support bf16" in reason(estimate("llama-3-8b", "bf16", "T4", 1))


def test_objectives_out_of_reach_name_the_best_time():
    late = reason(estimate("llama-3-70b", "bf16", "H100-SXM", 4, ttft_s=0.01))
    slow = reason(estimate("llama-3-70b", "bf16", "H100-SXM", 4, tpot_s=0.001))
    assert "first token of a lone request takes" in late
    assert "objective is 10 ms" in late
    assert "output token of a lone request takes" in slow
    assert "objective is 1 ms" in slow


def test_a_profile_is_not_a_model():
    profiled = replace(service("llama-3-8b", "bf16"), physics=ProfilePhysics("t", "j"))
    with pytest.raises(TypeError, match="profile"):
        replica_estimate(find_model("llama-3-8b"), profiled, find_accelerator("L4"), 1, ALONE)


def test_a_met_estimate_meets_its_objectives_and_memory():
    for accelerator, count in (("H100-SXM", 2), ("A100-80GB-SXM", 4), ("MI300X", 1), ("L40S", 8)):
        for ttft_s, tpot_s in ((0.5, 0.05), (2.0, 0.1), (10.0, 1.0)):
            found = estimate("llama-3-70b", "fp8", accelerator, count, ttft_s=ttft_s, tpot_s=tpot_s)
            if isinstance(found, Refusal):
                continue
            kind = find_accelerator(accelerator)
            assert found.ttft_s <= ttft_s
            assert found.tpot_s <= tpot_s
            assert found.memory_bytes < kind.memory_bytes
            assert count * kind.idle_w < found.power_w < count * kind.peak_w
            assert found.limited_by in ("memory", "sequences", "ttft", "tpot")


def test_the_limit_is_tight():
    found = estimate("llama-3-70b", "bf16", "H100-SXM", 4, tpot_s=0.03)
    assert isinstance(found, ReplicaEstimate)
    assert found.limited_by == "tpot"
    assert found.tpot_s == pytest.approx(0.03, rel=1e-6)
    found = estimate("llama-3-70b", "bf16", "H20", 4, ttft_s=1.0)
    assert isinstance(found, ReplicaEstimate)
    assert found.limited_by == "ttft"
    assert found.ttft_s == pytest.approx(1.0, rel=1e-6)


def test_littles_law_and_time_shares_hold_at_any_point():
    built = build_replica(
        find_model("llama-3-70b"), "bf16", find_accelerator("H100-SXM"), 4, NVLINK
    )
    assert isinstance(built, Replica)
    asked = Objectives(1024.0, 256.0, 10.0, 10.0)
    for batch in (1.0, 7.0, 50.0, 400.0):
        point = serving_point(built, asked, batch)
        assert point.requests_per_s * 256 * point.tpot_s == pytest.approx(batch)
        step_s = decode_step_time_s(built, batch, 1024 + 128)
        decoding = step_s * point.requests_per_s * 256 / batch
        assert decoding + point.prefill_share == pytest.approx(1.0)


def test_square_root_staffing_leaves_a_standard_deviation():
    for slots in (1, 2, 10, 1000):
        batch = mean_batch(slots)
        assert batch + batch**0.5 == pytest.approx(slots)


@pytest.mark.parametrize(
    ("model", "precision", "accelerator", "prompt", "output", "tokens_per_s"),
    [
        # TensorRT-LLM 0.19 performance overview, Llama 3.3 70B at maximum load
        ("llama-3-70b", "fp4", "B200", 128.0, 128.0, 11_253.0),
        ("llama-3-70b", "fp4", "B200", 128.0, 2048.0, 9_925.0),
        ("llama-3-70b", "fp4", "B200", 128.0, 4096.0, 6_319.0),
        ("llama-3-70b", "fp4", "B200", 500.0, 2000.0, 7_560.0),
        # TensorRT-LLM 0.6 performance page, LLaMA 7B at the largest batch in memory
        ("llama-2-7b", "fp8", "H100-SXM", 128.0, 2048.0, 6_818.0),
        ("llama-2-7b", "fp8", "L40S", 128.0, 2048.0, 1_622.0),
        ("llama-2-7b", "fp16", "A100-80GB-SXM", 128.0, 128.0, 5_586.0),
        ("llama-2-7b", "fp16", "A100-80GB-SXM", 2048.0, 128.0, 591.0),
    ],
)
def test_capacity_without_objectives_is_near_published_maximum_load(
    model: str,
    precision: str,
    accelerator: str,
    prompt: float,
    output: float,
    tokens_per_s: float,
):
    found = estimate(
        model, precision, accelerator, 1, prompt=prompt, output=output, ttft_s=100.0, tpot_s=10.0
    )
    assert rate(found) * output == pytest.approx(tokens_per_s, rel=0.35)


def test_models_of_every_kind_can_be_served():
    for model, accelerator, count in (
        ("bert-large", "T4", 1),
        ("resnet-50", "T4", 4),
        ("vit-l-16", "V100-16GB-SXM", 1),
        ("sdxl", "A100-80GB-SXM", 1),
        ("dlrm-dcnv2", "H100-SXM", 1),
        ("deepseek-v3", "H200-SXM", 8),
    ):
        precision = "fp8" if model == "deepseek-v3" else "fp16"
        found = estimate(model, precision, accelerator, count, prompt=256.0)
        assert rate(found) > 0, found


def test_samples_stay_below_the_compute_peak():
    found = estimate("resnet-50", "fp16", "A100-80GB-SXM", 1, ttft_s=1.0)
    assert 0 < rate(found) * 8.18e9 < 312e12


def test_recommendation_tables_are_dealt_out():
    assert "needs" in reason(estimate("dlrm-dcnv2", "fp16", "T4", 1))
    assert rate(estimate("dlrm-dcnv2", "fp16", "T4", 4)) > 0
    cut = replace(NVLINK, scaleup_bytes_per_s=0.0)
    assert "no connection" in reason(estimate("dlrm-dcnv2", "fp16", "T4", 4, cut))


CASES = st.sampled_from(
    [
        ("llama-3-70b", "bf16", "H100-SXM", 2),
        ("llama-3-70b", "fp8", "H100-SXM", 8),
        ("llama-3-70b", "fp8", "A100-80GB-SXM", 4),
        ("llama-3-8b", "int8", "V100-32GB-SXM", 1),
        ("mixtral-8x7b", "bf16", "MI300X", 2),
        ("gpt-oss-120b", "fp4", "H100-SXM", 2),
        ("deepseek-v3", "fp8", "H200-SXM", 16),
        ("bert-large", "fp16", "T4", 2),
        ("dlrm-dcnv2", "fp16", "T4", 4),
        ("sdxl", "fp16", "L40S", 1),
    ]
)
ASKED = st.fixed_dictionaries(
    {
        "prompt": st.floats(16, 16384),
        "output": st.floats(1, 4096),
        "ttft_s": st.floats(0.02, 20),
        "tpot_s": st.floats(0.005, 0.5),
    }
)
FACTOR = st.floats(1.0, 8.0)
TIGHT = 1 - 1e-6
"""Bisection stops within this share of the limit."""


def scaled(kind: AcceleratorType, what: str, factor: float) -> AcceleratorType:
    if what == "compute":
        return replace(kind, peak_flops={p: f * factor for p, f in kind.peak_flops.items()})
    if what == "bandwidth":
        return replace(kind, memory_bytes_per_s=kind.memory_bytes_per_s * factor)
    return replace(kind, memory_bytes=kind.memory_bytes * factor)


@settings(max_examples=150, deadline=None)
@given(CASES, ASKED, st.sampled_from(["compute", "bandwidth", "memory"]), FACTOR)
def test_better_hardware_never_lowers_a_rate(case, asked, what, factor):
    model, precision, name, count = case
    kind = find_accelerator(name)
    before = estimate(model, precision, kind, count, **asked)
    after = estimate(model, precision, scaled(kind, what, factor), count, **asked)
    assert rate(after) >= rate(before) * TIGHT


@settings(max_examples=60, deadline=None)
@given(CASES, ASKED, st.sampled_from(["bf16", "fp16", "fp8", "int8", "fp4"]), FACTOR)
def test_one_better_peak_never_lowers_a_rate(case, asked, peak, factor):
    model, precision, name, count = case
    kind = find_accelerator(name)
    peaks = {p: f * (factor if p == peak else 1.0) for p, f in kind.peak_flops.items()}
    before = estimate(model, precision, kind, count, **asked)
    after = estimate(model, precision, replace(kind, peak_flops=peaks), count, **asked)
    assert rate(after) >= rate(before) * TIGHT


@settings(max_examples=100, deadline=None)
@given(CASES, ASKED, FACTOR, FACTOR, FACTOR)
def test_a_slower_network_never_raises_a_rate(case, asked, inside, outside, latency):
    model, precision, name, count = case
    slower = Network(
        NVLINK.scaleup_bytes_per_s / inside,
        NVLINK.scaleup_latency_s * latency,
        NVLINK.scaleup_devices,
        NVLINK.scaleout_bytes_per_s / outside,
        NVLINK.scaleout_latency_s * latency,
    )
    before = estimate(model, precision, name, count, **asked)
    after = estimate(model, precision, name, count, slower, **asked)
    assert rate(after) <= rate(before) / TIGHT


@settings(max_examples=100, deadline=None)
@given(CASES, ASKED, FACTOR, FACTOR)
def test_looser_objectives_never_lower_capacity(case, asked, ttft, tpot):
    model, precision, name, count = case
    looser = asked | {"ttft_s": asked["ttft_s"] * ttft, "tpot_s": asked["tpot_s"] * tpot}
    before = estimate(model, precision, name, count, **asked)
    after = estimate(model, precision, name, count, **looser)
    assert rate(after) >= rate(before) * TIGHT


@settings(max_examples=100, deadline=None)
@given(CASES, ASKED, FACTOR, FACTOR)
def test_longer_requests_never_raise_requests_per_second(case, asked, prompt, output):
    model, precision, name, count = case
    longer = asked | {"prompt": asked["prompt"] * prompt, "output": asked["output"] * output}
    before = estimate(model, precision, name, count, **asked)
    after = estimate(model, precision, name, count, **longer)
    assert rate(after) <= rate(before) / TIGHT


def test_the_same_question_is_answered_once():
    first = estimate("llama-3-70b", "bf16", "H100-SXM", 4, ttft_s=1.5)
    assert estimate("llama-3-70b", "bf16", "H100-SXM", 4, ttft_s=1.5) is first
    kind = replace(find_accelerator("H100-SXM"), memory_bytes=120 * GIB)
    assert estimate("llama-3-70b", "bf16", kind, 4, ttft_s=1.5) is not first
