"""Units: physics does not depend on how long a second is or how large a byte.

If every clock ticks `k` times faster, every rate of the hardware falls to 1/k of its figure
and every duration grows to k times. What the formulas say must follow exactly; one
that added seconds to bytes, or forgot a rate, would not.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cluster import AcceleratorType
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.collectives import (
    all_reduce_s,
    all_to_all_s,
    point_to_point_s,
    ring_all_reduce_s,
    two_level_all_reduce_s,
    two_level_all_to_all_s,
)
from scheduler.physics.gang_rates import TrainingEstimate
from scheduler.physics.inference_constants import SHIPPED as SERVING
from scheduler.physics.network import Network, usual_network
from scheduler.physics.roofline import (
    Replica,
    Runtime,
    build_replica,
    decode_step_time_s,
    prefill_time_s,
)
from scheduler.physics.step_time import TrainingJob
from scheduler.physics.training import estimate_job
from scheduler.physics.training_constants import SHIPPED as TRAINING

TYPES = ("H100-SXM", "A100-40GB-SXM", "Ascend-910B", "MI300X", "TPU-v5p", "Gaudi3")
TICKS = st.floats(1e-3, 1e3)


def ticking(kind: AcceleratorType, k: float) -> AcceleratorType:
    """Return the type in a unit of time `k` times shorter: rates fall."""
    return replace(
        kind,
        peak_flops={p: peak / k for p, peak in kind.peak_flops.items()},
        memory_bytes_per_s=kind.memory_bytes_per_s / k,
        scaleup_bytes_per_s=kind.scaleup_bytes_per_s / k,
        nic_bytes_per_s=kind.nic_bytes_per_s / k,
    )


def ticking_links(network: Network, k: float) -> Network:
    return replace(
        network,
        scaleup_bytes_per_s=network.scaleup_bytes_per_s / k,
        scaleup_latency_s=network.scaleup_latency_s * k,
        scaleout_bytes_per_s=network.scaleout_bytes_per_s / k,
        scaleout_latency_s=network.scaleout_latency_s * k,
    )


@given(
    st.sampled_from(TYPES),
    st.sampled_from(["llama-3-8b", "mixtral-8x7b", "bert-large"]),
    st.sampled_from([32, 64]),
    TICKS,
)
def test_training_rates_are_per_unit_of_time(name: str, model: str, count: int, k: float) -> None:
    kind = accelerators()[name]
    network = usual_network(kind, count)
    job = TrainingJob(models()[model], "bf16", 2048.0, 256)
    constants = replace(TRAINING, dispatch_s=TRAINING.dispatch_s * k)
    before = estimate_job(job, kind, count, kind.devices_per_node, network)
    after = estimate_job(
        job,
        ticking(kind, k),
        count,
        kind.devices_per_node,
        ticking_links(network, k),
        constants=constants,
    )
    assert isinstance(before, TrainingEstimate)
    assert isinstance(after, TrainingEstimate)
    assert after.work_per_s == pytest.approx(before.work_per_s / k)
    assert after.step_s.total == pytest.approx(before.step_s.total * k)


SECONDS = (
    *("layer_gap_s", "prefill_layer_s", "collective_call_s", "eager_layer_s"),
    *("eager_sequence_s", "first_token_s"),
)


@given(
    st.sampled_from(TYPES),
    st.sampled_from(["llama-3-70b", "mixtral-8x7b"]),
    st.sampled_from(list(Runtime)),
    TICKS,
)
def test_serving_times_are_in_units_of_time(
    name: str, model: str, runtime: Runtime, k: float
) -> None:
    assert set(SECONDS) == {f for f in SERVING.__slots__ if f.endswith("_s")}
    kind = accelerators()[name]
    network = usual_network(kind, 8)
    slower = replace(SERVING, **{f: getattr(SERVING, f) * k for f in SECONDS})
    before = build_replica(models()[model], "bf16", kind, 8, network, runtime=runtime)
    after = build_replica(
        models()[model],
        "bf16",
        ticking(kind, k),
        8,
        ticking_links(network, k),
        runtime=runtime,
        constants=slower,
    )
    assert isinstance(before, Replica)
    assert isinstance(after, Replica)
    took_s, takes_s = prefill_time_s(before, 1000.0, 3.0), prefill_time_s(after, 1000.0, 3.0)
    assert takes_s == pytest.approx(k * took_s)
    took_s, takes_s = (
        decode_step_time_s(before, 16.0, 800.0),
        decode_step_time_s(after, 16.0, 800.0),
    )
    assert takes_s == pytest.approx(k * took_s)


@given(
    st.floats(1.0, 1e10),
    st.integers(2, 64),
    st.floats(1e8, 1e12),
    st.floats(1e-7, 1e-4),
    TICKS,
    TICKS,
)
def test_collectives_scale_with_seconds_and_bytes(
    size: float, ranks: int, rate: float, latency: float, k: float, b: float
) -> None:
    """Half as large a byte is twice as many of them, at twice the rate."""
    for one_level in (all_reduce_s, ring_all_reduce_s, all_to_all_s):
        assert one_level(b * size, ranks, b * rate / k, k * latency) == pytest.approx(
            k * one_level(size, ranks, rate, latency)
        )
    assert point_to_point_s(b * size, b * rate / k, k * latency) == pytest.approx(
        k * point_to_point_s(size, rate, latency)
    )
    for two_levels in (two_level_all_reduce_s, two_level_all_to_all_s):
        scaled = two_levels(
            b * size, ranks, 4, b * rate / k, k * latency, b * rate / k / 8, 3 * k * latency
        )
        assert scaled == pytest.approx(
            k * two_levels(size, ranks, 4, rate, latency, rate / 8, 3 * latency)
        )
