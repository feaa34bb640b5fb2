"""Pass times, weights touched, caches and all-reduces against arithmetic done by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.core.units import GIB
from scheduler.io.catalogue import find_accelerator, find_model
from scheduler.physics.inference_constants import SHIPPED
from scheduler.physics.kv_cache import (
    kv_bytes_per_token,
    kv_share,
    serving_memory,
    touched_weight_bytes,
    weight_bytes,
)
from scheduler.physics.network import Network, Refusal
from scheduler.physics.precision import find_precision, sustained_flops
from scheduler.physics.roofline import (
    Replica,
    build_replica,
    decode_step_time_s,
    prefill_time_s,
)

NVLINK = Network(360e9, 1e-6, 8, 40e9, 5e-6)


def replica(model: str, precision: str, accelerator: str, count: int) -> Replica:
    built = build_replica(
        find_model(model), precision, find_accelerator(accelerator), count, NVLINK
    )
    assert isinstance(built, Replica)
    return built


def test_weights_of_a_70b_model_take_two_bytes_each_in_16_bits():
    assert weight_bytes(find_model("llama-2-70b"), find_precision("fp16")) == pytest.approx(
        2 * 68.977e9
    )


def test_four_bit_weights_carry_scales_and_a_16_bit_vocabulary_matrix():
    model = find_model("llama-2-70b")
    vocabulary = 32000 * 8192
    expected = (68.977e9 - vocabulary) * 0.5625 + 2 * vocabulary
    assert weight_bytes(model, find_precision("nvfp4")) == pytest.approx(expected)


def test_cache_of_llama_2_70b_is_320_kib_a_token():
    # 80 layers x 8 heads x 128 x (key and value) x 2 bytes
    per_token = kv_bytes_per_token(find_model("llama-2-70b"), find_precision("fp16"))
    assert per_token == 320 * 1024


def test_latent_attention_keeps_70_kb_a_token_on_every_accelerator():
    # arXiv:2405.04434, section 2.1.4: 512 + 64 numbers per token and layer, 61 layers
    model = find_model("deepseek-v3")
    assert kv_bytes_per_token(model, find_precision("bf16")) == 61 * 576 * 2
    assert kv_share(model, 8) == 1.0


def test_heads_are_dealt_out_until_each_accelerator_has_one():
    model = find_model("llama-3-70b")
    assert [kv_share(model, n) for n in (1, 2, 8, 16)] == [1, 1 / 2, 1 / 8, 1 / 8]


def test_touched_experts_match_enumeration_of_all_routings():
    model = replace(
        find_model("mixtral-8x7b"), experts=4, experts_per_token=1, vocabulary=0, layers=1
    )
    model = replace(model, parameters=10.0, active_parameters=4.0)  # 8 in experts, 2 elsewhere
    byte = replace(find_precision("fp8"), weight_bytes=1.0)
    for tokens in (1, 2, 3):
        routings = list(itertools.product(range(4), repeat=tokens))
        distinct = np.mean([len(set(r)) for r in routings])
        touched = touched_weight_bytes(model, byte, tokens)
        assert touched == pytest.approx(2 + 8 * distinct / 4)


def test_one_token_touches_the_active_weights_and_many_tokens_all():
    model = find_model("mixtral-8x7b")
    bf16 = find_precision("bf16")
    assert touched_weight_bytes(model, bf16, 1) == pytest.approx(2 * model.active_parameters)
    assert touched_weight_bytes(model, bf16, 10_000) == pytest.approx(2 * model.parameters)


def test_a_decode_step_is_never_faster_than_reading_the_weights():
    for count in (2, 4, 8):
        built = replica("llama-2-70b", "fp16", "A100-80GB-SXM", count)
        ideal_s = 2 * 68.977e9 / (count * 2.039e12)
        step_s = decode_step_time_s(built, 1, 512)
        assert ideal_s < step_s < 5 * ideal_s


def test_prefill_runs_below_the_peak_and_above_a_third_of_it():
    built = replica("llama-3-8b", "bf16", "H100-SXM", 1)
    time_s = prefill_time_s(built, 4096)
    share = 2 * 8.03e9 * 4096 / time_s / 989.4e12
    assert 1 / 3 < share < SHIPPED.compute_efficiency


def test_times_grow_with_batch_context_and_prompt():
    built = replica("gpt-oss-120b", "fp4", "H100-SXM", 2)
    steps = [decode_step_time_s(built, b, 1024) for b in (1, 2, 8, 64, 256)]
    contexts = [decode_step_time_s(built, 8, c) for c in (1, 1024, 8192, 65536)]
    prompts = [prefill_time_s(built, p) for p in (16, 256, 4096, 16384)]
    for times in (steps, contexts, prompts):
        assert times == sorted(times)
        assert len(set(times)) == len(times)


def test_a_step_per_sequence_gets_cheaper_with_the_batch():
    built = replica("mixtral-8x7b", "bf16", "H100-SXM", 2)
    each = [decode_step_time_s(built, b, 1024) / b for b in range(1, 300, 7)]
    assert all(later < earlier for earlier, later in itertools.pairwise(each))


def test_two_all_reduces_a_layer_separate_a_slow_from_a_fast_network():
    model, kind = find_model("llama-3-70b"), find_accelerator("H100-SXM")
    fast = build_replica(model, "bf16", kind, 8, replace(NVLINK, scaleup_latency_s=0.0))
    slow = build_replica(model, "bf16", kind, 8, replace(NVLINK, scaleup_latency_s=1e-3))
    assert isinstance(fast, Replica)
    assert isinstance(slow, Replica)
    gap_s = decode_step_time_s(slow, 1, 1) - decode_step_time_s(fast, 1, 1)
    hops = 2 * math.log2(8)  # a tree up and down
    assert gap_s == pytest.approx(80 * 2 * hops * 1e-3, rel=0.01)


def test_leaving_the_scale_up_domain_costs_time():
    model, kind = find_model("llama-3-70b"), find_accelerator("H100-SXM")
    inside = build_replica(model, "bf16", kind, 16, replace(NVLINK, scaleup_devices=16))
    across = build_replica(model, "bf16", kind, 16, NVLINK)
    assert isinstance(inside, Replica)
    assert isinstance(across, Replica)
    assert decode_step_time_s(across, 32, 512) > decode_step_time_s(inside, 32, 512)


@pytest.mark.parametrize(
    ("network", "count", "words"),
    [
        (replace(NVLINK, scaleup_bytes_per_s=0.0), 4, "no links inside"),
        (replace(NVLINK, scaleout_bytes_per_s=0.0), 16, "do not share"),
        (NVLINK, 6, "do not divide its 64 attention heads"),
    ],
)
def test_groups_that_cannot_communicate_are_refused(network: Network, count: int, words: str):
    refused = build_replica(
        find_model("llama-3-70b"), "bf16", find_accelerator("H100-SXM"), count, network
    )
    assert isinstance(refused, Refusal)
    assert words in refused.reason


@pytest.mark.parametrize(
    ("accelerator", "precision"),
    [("V100-16GB-SXM", "bf16"), ("T4", "fp8"), ("A100-80GB-SXM", "bf16"), ("TPU-v5e", "fp16")],
)
def test_precision_support_follows_the_datasheet(accelerator: str, precision: str):
    kind = find_accelerator(accelerator)
    found = sustained_flops(kind, find_precision(precision), SHIPPED)
    if precision in kind.peak_flops:
        assert not isinstance(found, Refusal)
    else:
        assert isinstance(found, Refusal)
        assert precision in found.reason


def test_small_weights_widen_to_16_bits_where_kernels_exist():
    a100 = find_accelerator("A100-80GB-SXM")
    for precision in ("fp4", "int4", "w8a16"):
        found = sustained_flops(a100, find_precision(precision), SHIPPED)
        assert not isinstance(found, Refusal)
        assert found.widened
        assert found.flops_per_s < 312e12 * SHIPPED.compute_efficiency
    refused = sustained_flops(a100, find_precision("fp8"), SHIPPED)
    assert isinstance(refused, Refusal)
    assert refused.reason.startswith("A100-80GB-SXM does not support fp8 (it has fp32, tf32, bf16")
    native = sustained_flops(find_accelerator("H100-SXM"), find_precision("fp8"), SHIPPED)
    assert not isinstance(native, Refusal)
    assert not native.widened
    assert 989.4e12 < native.flops_per_s / SHIPPED.compute_efficiency < 1978.9e12


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'nvfp4'"):
        find_precision("nvfp-4x")


def test_memory_adds_up_and_whole_sequences_fit():
    model, fp16 = find_model("llama-2-70b"), find_precision("fp16")
    memory = serving_memory(model, fp16, 80 * GIB, 2, 4096)
    batch = memory.max_batch
    assert batch >= 1
    assert memory.used_bytes(batch) <= memory.available_bytes < memory.used_bytes(batch + 1)
    assert serving_memory(model, fp16, 80 * GIB, 1, 4096).max_batch == 0
