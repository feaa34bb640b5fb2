"""One job on every accelerator type: order, refusals, and that the parts make the whole."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.model import Model
from scheduler.core.workload import ModelPhysics, Service
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.gang_rates import TrainingEstimate
from scheduler.physics.inference import ReplicaEstimate
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.training import training_estimate
from scheduler.physics.type_estimates import serve_on_types, train_on_types

TYPES = accelerators()
LLAMA = models()["llama-3-8b"]


def service(model: Model, precision: str = "bf16", **changes: object) -> Service:
    base = Service(
        "s", ModelPhysics(model.name, precision), (1,), np.zeros(1), np.ones(1), ttft_s=5.0
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_training_on_every_type() -> None:
    rows = train_on_types(LLAMA, ModelPhysics(LLAMA.name), 8, TYPES.values())
    assert {r.accelerator.name for r in rows} == set(TYPES)
    rates = [r.work_per_s for r in rows]
    assert rates == sorted(rates, reverse=True)
    by_name = {r.accelerator.name: r for r in rows}
    refused = by_name["V100-16GB-SXM"].found
    assert isinstance(refused, Refusal)
    assert "does not support bf16" in refused.reason
    assert 2.0 < by_name["H100-SXM"].work_per_s / by_name["A100-80GB-SXM"].work_per_s < 3.3
    rent = TYPES["H100-SXM"].usd_per_hour or 0.0
    h100 = by_name["H100-SXM"]
    assert h100.work_per_usd == pytest.approx(h100.work_per_s * 3600 / (8 * rent))
    assert math.isnan(by_name["A40"].work_per_usd)


def test_many_types_at_once_are_each_alone() -> None:
    """Rating all places together drops layouts early, never the best one."""
    for name, count in (("llama-3-70b", 64), ("qwen3-30b-a3b", 16), ("resnet-50", 4)):
        model = models()[name]
        how = ModelPhysics(name, "fp16", global_batch=256)
        for row in train_on_types(model, how, count, TYPES.values()):
            kind = row.accelerator
            per_node = min(count, kind.devices_per_node)
            alone = training_estimate(model, how, kind, count, per_node, usual_network(kind, count))
            if isinstance(alone, Refusal):
                assert row.found == alone
            else:
                assert row.work_per_s == pytest.approx(alone.work_per_s, rel=1e-12)
                assert isinstance(row.found, TrainingEstimate)
                assert row.found.memory == alone.memory


@pytest.mark.parametrize("name", ["llama-3-8b", "gpt-oss-20b", "bert-large", "resnet-50"])
def test_serving_on_every_type(name: str) -> None:
    model = models()[name]
    rows = serve_on_types(model, service(model), 1, TYPES.values())
    rates = [r.work_per_s for r in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0
    for row in rows:
        if not isinstance(row.found, ReplicaEstimate):
            continue
        step = row.found.step_s
        assert min(step.compute, step.memory, step.communication) >= 0
        if row.found.tpot_s:
            assert step.total == pytest.approx(row.found.tpot_s, rel=1e-9)
            assert row.work_per_s == pytest.approx(128 * row.found.requests_per_s)
        assert row.work_per_joule == row.work_per_s / row.found.power_w


def test_splitting_a_model_adds_communication() -> None:
    model = models()["llama-3-70b"]
    kinds = [TYPES["H200-SXM"]]
    shares = []
    for count in (2, 8):
        (row,) = serve_on_types(model, service(model), count, kinds)
        assert isinstance(row.found, ReplicaEstimate)
        shares.append(row.found.step_s.communication / row.found.step_s.total)
    assert 0 < shares[0] < shares[1] < 0.5


def test_rows_are_json_and_their_parts_sum() -> None:
    how = ModelPhysics(LLAMA.name)
    trained = train_on_types(LLAMA, how, 8, TYPES.values())
    served = serve_on_types(LLAMA, service(LLAMA), 1, TYPES.values())
    for rows in (trained, served):
        document = json.loads(json.dumps([r.as_dict() for r in rows], allow_nan=False))
        assert any("refused" in row for row in document)
        for row, made in zip(document, rows, strict=True):
            if "refused" in row or isinstance(made.found, Refusal):
                continue
            assert sum(row["memory_bytes"].values()) == pytest.approx(made.found.memory_bytes)
            assert sum(row["memory_bytes"].values()) <= row["memory_available_bytes"]
            low, high = row["work_per_s_range"]
            assert low < row["work_per_s"] < high
            assert math.log(high / row["work_per_s"]) == pytest.approx(row["sigma_log"])
    first = trained[0].as_dict()["step_s"]
    assert isinstance(first, dict)
    assert sum(first.values()) == pytest.approx(512 * 4096 / trained[0].work_per_s)


@pytest.mark.parametrize(
    ("model", "precision", "count", "kind", "words"),
    [
        ("llama-3-70b", "fp16", 1, "H100-SXM", "needs 133"),
        ("llama-3-70b", "fp16", 1, "A100-80GB-SXM", "needs 133"),
        ("llama-3-8b", "bf16", 1, "V100-32GB-SXM", "does not support bf16 (it has fp32, fp16"),
        ("llama-3-8b", "fp8", 1, "A100-80GB-SXM", "does not support fp8 (it has fp32, tf32"),
    ],
)
def test_impossible_replicas_are_refused_with_the_reason(
    model: str, precision: str, count: int, kind: str, words: str
) -> None:
    served = models()[model]
    (row,) = serve_on_types(served, service(served, precision), count, [TYPES[kind]])
    assert isinstance(row.found, Refusal)
    assert words in row.found.reason
    assert row.work_per_s == 0
    assert math.isnan(row.work_per_joule)
