"""Memory of a training step against the published accounting."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.model import Model
from scheduler.io.catalogue import models
from scheduler.physics.memory import (
    MemoryColumns,
    activation_bytes_per_token_layer,
    local_parameters,
    training_memory,
)
from scheduler.physics.parallelism import Layouts, Wanted, candidate_layouts


def layouts_of(model: Model, count: int, batch: int, **degrees: object) -> Layouts:
    wanted = Wanted(**({"context": 1} | degrees))  # type: ignore[arg-type]
    return candidate_layouts(
        count,
        batch,
        model.layers,
        model.heads,
        model.experts,
        model.counts_tokens,
        wanted,
    ).layouts


def single(model: Model, count: int, batch: int, sharded: bool, **degrees: object) -> Layouts:
    found = layouts_of(model, count, batch, **degrees)
    found = found.take(np.flatnonzero((found.sharded > 0) == sharded))
    assert len(found) == 1
    return found


def held(memory: MemoryColumns) -> float:
    return float((memory.parameters + memory.gradients + memory.optimizer)[0])


DEGREES = {"tensor": 1, "pipeline": 1, "expert": 1, "micro_batch": 1, "recompute": "none"}


def test_adam_in_mixed_precision_takes_sixteen_bytes_a_weight() -> None:
    m = models()["llama-2-7b"]
    alone = training_memory(m, single(m, 1, 8, False, **DEGREES), 1, 2048.0)
    assert held(alone) == pytest.approx(16 * m.parameters)
    full = training_memory(m, single(m, 1, 8, False, **DEGREES), 1, 2048.0, full_precision=True)
    assert held(full) == pytest.approx(16 * m.parameters)


def test_zero_stages_shard_as_published() -> None:
    """ZeRO, arXiv:1910.02054, figure 1: (2 + 2 + 12/N) psi and 16/N psi."""
    m = models()["llama-2-7b"]
    first = training_memory(m, single(m, 64, 64, False, **DEGREES), 64, 2048.0)
    third = training_memory(m, single(m, 64, 64, True, **DEGREES), 64, 2048.0)
    assert held(first) == pytest.approx((4 + 12 / 64) * m.parameters)
    assert held(third) == pytest.approx(16 / 64 * m.parameters)


def test_adapters_keep_state_for_one_weight_in_a_hundred() -> None:
    m = models()["llama-2-70b"]
    found = training_memory(m, single(m, 8, 8, True, **DEGREES), 8, 8192.0, lora=True)
    assert held(found) == pytest.approx((2 + 0.14) * m.parameters / 8)


def test_tensor_and_pipeline_degrees_cut_the_weights() -> None:
    m = models()["llama-3-405b"]
    cut = layouts_of(m, 128, 128, tensor=8, pipeline=16, micro_batch=1, recompute="full")
    assert local_parameters(m, cut) == pytest.approx(m.parameters / 128)


def test_experts_are_dealt_over_their_ranks() -> None:
    m = models()["mixtral-8x7b"]
    degrees = {**DEGREES, "expert": 8}
    local = local_parameters(m, layouts_of(m, 8, 64, **degrees))
    rest = m.parameters - m.expert_parameters
    assert local == pytest.approx(rest + m.expert_parameters / 8)


@pytest.mark.parametrize("name", ["gpt-3-175b", "mt-nlg-530b"])
def test_activations_are_34_bytes_per_token_layer_and_hidden_unit(name: str) -> None:
    """Korthikanti et al., arXiv:2205.05198, equation 4 with selective recomputation."""
    m = models()[name]
    per_layer = activation_bytes_per_token_layer(m)
    assert per_layer == pytest.approx(34 * m.hidden, rel=0.03)
    one = training_memory(
        m, single(m, 8, 8, False, **{**DEGREES, "tensor": 8}), 8, 2048.0
    ).activations[0]
    assert one == pytest.approx(m.layers * 34 * m.hidden * 2048 / 8, rel=0.03)


def test_recomputing_keeps_the_boundaries_and_one_layer() -> None:
    m = models()["gpt-3-175b"]
    found = [
        float(
            training_memory(
                m, single(m, 1, 8, False, **{**DEGREES, "recompute": level}), 1, 2048.0
            ).activations[0]
        )
        for level in ("none", "selective", "half", "full")
    ]
    assert sorted(found, reverse=True) == found
    tokens_hidden = 2048 * m.hidden
    assert found[3] == pytest.approx(tokens_hidden * (2 * m.layers + 34) + 8192 * 50257, rel=0.03)


def test_pipelines_keep_a_micro_batch_per_stage_in_flight() -> None:
    """Narayanan et al., arXiv:2104.04473: 1F1B keeps at most as many as there are stages."""
    m = models()["gpt-3-175b"]
    degrees = {**DEGREES, "tensor": 8, "pipeline": 8, "interleave": 1}
    many = training_memory(m, single(m, 64, 512, False, **degrees), 64, 2048.0).activations[0]
    few = training_memory(m, single(m, 64, 2, False, **degrees), 64, 2048.0).activations[0]
    assert many / few == pytest.approx(8 / 2)


def test_parts_behind_keep_more_in_flight() -> None:
    m = models()["gpt-3-175b"]
    one = single(m, 8, 64, False, **{**DEGREES, "tensor": 8})
    before = training_memory(m, one, 8, 2048.0).activations[0]
    after = training_memory(m, one, 8, 2048.0, stages_behind=2).activations[0]
    assert after / before == pytest.approx(3, rel=0.01)


def test_images_keep_their_activation_values() -> None:
    m = models()["resnet-50"]
    one = single(m, 1, 64, False, micro_batch=64, recompute="none")
    found = training_memory(m, one, 1, 1.0)
    assert found.activations[0] == pytest.approx(2 * 64 * 2.2e7)


def test_recommender_tables_are_dealt_over_the_gang() -> None:
    m = models()["dlrm-dcnv2"]
    one = single(m, 8, 4096, False, micro_batch=512, recompute="none")
    found = training_memory(m, one, 8, 1.0)
    assert found.parameters[0] == pytest.approx(m.parameters)  # 8 bytes over 8 accelerators


@given(
    st.sampled_from(sorted(name for name, m in models().items() if m.counts_tokens)),
    st.sampled_from([8, 16, 64, 96]),
    st.floats(128.0, 8192.0),
)
def test_memory_is_positive_and_grows_with_the_sequence(name: str, count: int, unit: float) -> None:
    m = models()[name]
    layouts = layouts_of(m, count, 256)
    short = training_memory(m, layouts, count, unit)
    long = training_memory(m, layouts, count, 2 * unit)
    assert (short.total > 0).all()
    assert (long.total >= short.total).all()
    bigger = replace(m, parameters=m.parameters * 2, active_parameters=m.active_parameters * 2)
    assert (training_memory(bigger, layouts, count, unit).total >= short.total).all()
