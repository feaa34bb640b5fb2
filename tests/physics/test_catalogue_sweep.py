"""Every accelerator of the catalogue gets plausible rates, also where nothing is published."""

import pytest

from scheduler.core.cluster import AcceleratorType
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.roofline import build_replica, decode_step_time_s, prefill_time_s
from scheduler.physics.step_time import TrainingJob
from scheduler.physics.training import estimate_job

KNOWN = [kind for kind in accelerators().values() if kind.peak_flops]
IDS = [kind.name for kind in KNOWN]


def widest(kind: AcceleratorType) -> str:
    """Return the 16-bit format, or what older types have instead."""
    return next(p for p in ("bf16", "fp16", "fp32") if p in kind.peak_flops)


@pytest.mark.parametrize("kind", KNOWN, ids=IDS)
def test_dense_training_uses_a_plausible_share_of_the_peak(kind: AcceleratorType) -> None:
    """Published runs lie between 0.2 and 0.65; chips with little compute for their memory
    bandwidth (H20, fp32) may come close to what GEMM loops sustain, about 0.7."""
    for name, count in (("llama-3-8b", 64), ("gpt-3-175b", 512)):
        model = models()[name]
        job = TrainingJob(model, widest(kind), 4096.0, 8 * count)
        found = estimate_job(job, kind, count, kind.devices_per_node, usual_network(kind, count))
        assert not isinstance(found, Refusal), found
        token_flops = 6 * model.active_parameters + 6 * model.layers * model.hidden * 4096
        used = found.work_per_s / count * token_flops / kind.peak_flops[widest(kind)]
        assert 0.15 <= used <= 0.70


@pytest.mark.parametrize("kind", KNOWN, ids=IDS)
def test_serving_stays_below_both_roofs(kind: AcceleratorType) -> None:
    model = models()["llama-3-8b"]
    served = 0
    for precision in ("bf16", "fp16", "fp8", "int8", "int4", "fp4"):
        replica = build_replica(model, precision, kind, 1, usual_network(kind, 1))
        if isinstance(replica, Refusal):
            assert "does not support" in replica.reason
            continue
        served += 1
        weights = model.parameters * replica.precision.weight_bytes
        reading_s = weights / kind.memory_bytes_per_s
        assert reading_s <= decode_step_time_s(replica, 1, 512) <= 10 * reading_s
        computing_s = 2 * model.active_parameters * 2048 / max(kind.peak_flops.values())
        assert prefill_time_s(replica, 2048) >= computing_s
    assert served or set(kind.peak_flops) == {"fp32"}
