"""Collectives of a training step against the scalar formulas and against sampling."""

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.model import Model
from scheduler.io.catalogue import models
from scheduler.physics.collectives import ring_all_reduce_s
from scheduler.physics.network import Network
from scheduler.physics.parallelism import Wanted, candidate_layouts
from scheduler.physics.step_communication import EXPOSED_DISPATCH, communication_s

QUICK = Network(400e9, 0.0, 8, 40e9, 0.0)
SEQUENCE = 2048.0


def seconds(model: Model, count: int, batch: int, network: Network, **degrees: int) -> float:
    wanted = Wanted(interleave=1, recompute="none", **degrees)
    layouts = candidate_layouts(
        count, batch, model.layers, model.heads, model.experts, True, wanted
    ).layouts
    layouts = layouts.take(np.flatnonzero(layouts.sharded == 0))
    assert len(layouts) == 1
    return float(communication_s(model, layouts, network, SEQUENCE)[0])


def dense() -> Model:
    return models()["llama-2-7b"]


def test_one_accelerator_says_nothing() -> None:
    got = seconds(dense(), 1, 8, QUICK, tensor=1, context=1, pipeline=1, expert=1, micro_batch=1)
    assert got == 0


def test_tensor_parallelism_is_four_all_reduces_a_layer() -> None:
    m = dense()
    got = seconds(m, 8, 4, QUICK, tensor=8, context=1, pipeline=1, expert=1, micro_batch=1)
    one = ring_all_reduce_s(2 * SEQUENCE * m.hidden, 8, 400e9, 0.0)
    assert got == pytest.approx(4 * m.layers * 4 * one)


def test_data_parallelism_in_two_levels() -> None:
    m = dense()
    got = seconds(m, 32, 32, QUICK, tensor=1, context=1, pipeline=1, expert=1, micro_batch=1)
    size = 2 * m.parameters
    # reduce-scatter and all-gather inside the node, then of one part between four nodes
    expected = 2 * (7 / 8 * size / 400e9 + 3 / 4 * size / 8 / 40e9)
    assert got == pytest.approx(expected)


def test_pipelines_send_hidden_states_there_and_back() -> None:
    m = dense()
    slow = replace(QUICK, scaleup_devices=1)
    got = seconds(m, 4, 16, slow, tensor=1, context=1, pipeline=4, expert=1, micro_batch=2)
    assert got == pytest.approx(8 * 2 * 2 * 2 * SEQUENCE * m.hidden / 40e9)


def test_zero3_gathers_weights_for_every_micro_batch() -> None:
    m = dense()
    wanted = Wanted(tensor=1, context=1, pipeline=1, micro_batch=1, recompute="none")
    layouts = candidate_layouts(8, 32, m.layers, m.heads, 0, True, wanted).layouts
    found = communication_s(m, layouts, QUICK, SEQUENCE)
    gather = 7 / 8 * 2 * m.parameters / 400e9
    assert found[layouts.sharded == 0] == pytest.approx(2 * gather)
    assert found[layouts.sharded == 1] == pytest.approx(4 * 3 * gather)


@pytest.mark.parametrize("inside", [1, 2, 8])
def test_expert_dispatch_counts_distinct_places(inside: int) -> None:
    """The expected copies of a token, drawn with numpy."""
    # one layer and hardly a weight: nothing is exchanged but hidden states
    m = replace(models()["qwen3-30b-a3b"], layers=1, parameters=1.0, active_parameters=1.0)
    network = Network(400e9, 0.0, inside, 40e9, 0.0)
    got = seconds(m, 8, 8, network, tensor=1, context=1, pipeline=1, expert=8, micro_batch=1)
    crossing = staying = 0
    tokens = 20000
    for row in np.random.default_rng(0).integers(8, size=(tokens, m.experts_per_token)):
        devices = {0, *row.tolist()}
        domains = {device // inside for device in devices}
        crossing += len(domains) - 1
        staying += len(devices) - len(domains)
    states = 2 * SEQUENCE * m.hidden / tokens
    once = states * (staying / 400e9 + crossing / 40e9)
    assert got == pytest.approx(4 * EXPOSED_DISPATCH * once, rel=0.01)
