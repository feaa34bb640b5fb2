"""Training rates: refusals, the choice of layout, monotonicity, published runs."""

import itertools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import named, rate, work

from scheduler.core.workload import ModelPhysics
from scheduler.io.catalogue import accelerators, models
from scheduler.io.published_runs import PublishedRunsTable, read_published_runs
from scheduler.physics.network import Network, Refusal, usual_network
from scheduler.physics.parallelism import Wanted
from scheduler.physics.published_training import leave_one_source_out, predict_runs
from scheduler.physics.step_time import TrainingJob
from scheduler.physics.training import (
    TrainingEstimate,
    estimate_job,
    training_estimate,
)
from scheduler.physics.training_constants import SHIPPED, STACKS

RUNS = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "training-runs.csv"


@pytest.mark.parametrize(
    ("accelerator", "count", "model", "precision", "words"),
    [
        ("V100-32GB-SXM", 64, "llama-2-7b", "bf16", "does not support bf16 (it has fp32, fp16"),
        ("A100-80GB-SXM", 64, "llama-2-7b", "fp8", "does not support fp8 (it has fp32, tf32, bf16"),
        ("H20", 8, "llama-3-405b", "bf16", "llama-3-405b needs"),
        ("MI308X", 8, "llama-3-8b", "bf16", "no peak rate of MI308X is public"),
        ("K80", 8, "resnet-50", "fp16", "does not support fp16 (it has fp32)"),
    ],
)
def test_the_impossible_is_refused_with_its_reason(
    accelerator: str, count: int, model: str, precision: str, words: str
) -> None:
    kind, network = named(accelerator, model)
    found = rate(network, kind, count, precision=precision)
    assert isinstance(found, Refusal)
    assert words in found.reason
    assert not found.reason.endswith(".")


def test_a_memory_refusal_states_need_and_supply() -> None:
    kind, model = named("H20", "llama-3-405b")
    found = rate(model, kind, 8)
    assert isinstance(found, Refusal)
    # 16 bytes per weight over eight accelerators, before activations
    need = int(found.reason.split(" needs ")[1].split(" GiB")[0])
    assert need >= 405.85e9 * 16 / 8 / 2**30
    assert "H20 has 90 GiB usable" in found.reason


def test_a_batch_too_small_for_the_gang_is_refused() -> None:
    kind, model = named("H100-SXM", "resnet-50")
    found = rate(model, kind, 64, global_batch=32)
    assert isinstance(found, Refusal)
    assert "global batch of 32 cannot be split over 64" in found.reason


def test_a_gang_without_links_is_refused() -> None:
    kind, model = named("H100-SXM", "llama-3-8b")
    found = rate(model, kind, 16, Network(360e9, 2e-6, 8, 0.0, 5e-6))
    assert isinstance(found, Refusal)
    assert "no network" in found.reason


@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-30b-a3b", "bert-large", "resnet-50"])
def test_the_parts_of_a_step_make_the_rate(name: str) -> None:
    kind, model = named("H100-SXM", name)
    found = rate(model, kind, 16, global_batch=1024)
    assert isinstance(found, TrainingEstimate)
    unit = 4096 if model.counts_tokens else 1
    assert found.work_per_s == pytest.approx(1024 * unit / found.step_s.total)
    assert min(asdict(found.step_s).values()) >= 0
    layout = found.layout
    assert layout.tensor * layout.context * layout.pipeline * layout.data == 16
    assert 16 * kind.idle_w < found.power_w < 16 * kind.peak_w
    assert found.work_per_joule == found.work_per_s / found.power_w


@pytest.mark.parametrize(
    ("accelerator", "name", "count", "batch"),
    [
        ("A100-40GB-SXM", "llama-2-13b", 16, 64),
        ("H100-SXM", "llama-3-70b", 64, 128),
        ("H800-SXM", "mixtral-8x7b", 32, 128),
        ("L40S", "llama-3-8b", 24, 48),
    ],
)
def test_no_layout_beats_the_chosen_one(
    accelerator: str, name: str, count: int, batch: int
) -> None:
    kind, model = named(accelerator, name)
    network = usual_network(kind, count)
    job = TrainingJob(model, "bf16", 4096.0, batch)
    best = estimate_job(job, kind, count, 8, network)
    assert isinstance(best, TrainingEstimate)
    rates = [
        work(
            estimate_job(
                job,
                kind,
                count,
                8,
                network,
                wanted=Wanted(tensor=t, pipeline=p, micro_batch=m, recompute=r),
            )
        )
        for t, p, m, r in itertools.product(
            (1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4), ("none", "selective", "half", "full")
        )
    ]
    assert max(rates) > 0
    assert best.work_per_s >= max(rates) * (1 - 1e-12)


def test_a_stated_layout_is_kept() -> None:
    kind, model = named("A100-80GB-SXM", "gpt-3-175b")
    wanted = Wanted(tensor=8, pipeline=8, interleave=6, micro_batch=1, recompute="full")
    job = TrainingJob(model, "bf16", 2048.0, 1536)
    found = estimate_job(job, kind, 1024, 8, usual_network(kind, 1024), wanted=wanted)
    assert isinstance(found, TrainingEstimate)
    assert str(found.layout) in ("tp8 pp8 dp16 full recompute", "tp8 pp8 dp16 zero3 full recompute")
    # (stages - 1) / (micro-batches x chunks), arXiv:2104.04473
    busy = found.step_s.total - found.step_s.bubble
    assert found.step_s.bubble / busy == pytest.approx(7 / (96 * 6))


FACTORS = st.floats(1.0, 8.0)
CASES = st.sampled_from(
    [
        ("A100-40GB-SXM", "llama-2-7b", 16, "bf16"),
        ("H100-SXM", "llama-3-70b", 64, "fp8"),
        ("V100-32GB-SXM", "gpt-2-xl", 6, "fp16"),
        ("MI300X", "qwen3-235b-a22b", 128, "bf16"),
        ("L40S", "sdxl", 32, "bf16"),
        ("P100-16GB-SXM", "resnet-50", 8, "fp32"),
        ("A100-80GB-SXM", "dlrm-dcnv2", 8, "bf16"),
        ("TPU-v5e", "llama-3-8b", 64, "bf16"),
    ]
)


@given(CASES, FACTORS, st.sampled_from(["memory_bytes", "memory_bytes_per_s"]))
def test_more_memory_or_bandwidth_never_hurts(case, factor: float, field: str) -> None:
    accelerator, name, count, precision = case
    kind, model = named(accelerator, name)
    network = usual_network(kind, count)
    better = replace(kind, **{field: getattr(kind, field) * factor})
    before = work(rate(model, kind, count, network, precision=precision))
    after = work(rate(model, better, count, network, precision=precision))
    assert after >= before * (1 - 1e-12)


@given(CASES, FACTORS, st.data())
def test_a_higher_peak_never_hurts(case, factor: float, data) -> None:
    accelerator, name, count, precision = case
    kind, model = named(accelerator, name)
    network = usual_network(kind, count)
    which = data.draw(st.sampled_from(sorted(kind.peak_flops)))
    peaks = {**kind.peak_flops, which: kind.peak_flops[which] * factor}
    before = work(rate(model, kind, count, network, precision=precision))
    after = work(rate(model, replace(kind, peak_flops=peaks), count, network, precision=precision))
    assert after >= before * (1 - 1e-12)


@given(
    CASES,
    st.floats(1.0, 64.0),
    st.sampled_from(["scaleup_bytes_per_s", "scaleout_bytes_per_s"]),
)
def test_faster_links_never_hurt(case, factor: float, field: str) -> None:
    accelerator, name, count, precision = case
    kind, model = named(accelerator, name)
    network = usual_network(kind, count)
    faster = replace(network, **{field: getattr(network, field) * factor})
    before = work(rate(model, kind, count, network, precision=precision))
    after = work(rate(model, kind, count, faster, precision=precision))
    assert after >= before * (1 - 1e-12)


@given(CASES, FACTORS, st.sampled_from(["scaleup_latency_s", "scaleout_latency_s"]))
def test_latency_never_helps(case, factor: float, field: str) -> None:
    accelerator, name, count, precision = case
    kind, model = named(accelerator, name)
    network = usual_network(kind, count)
    slower = replace(network, **{field: getattr(network, field) * factor})
    before = work(rate(model, kind, count, network, precision=precision))
    after = work(rate(model, kind, count, slower, precision=precision))
    assert after <= before * (1 + 1e-12)


@given(
    CASES,
    st.sampled_from([(8, 4), (8, 2), (8, 1), (4, 2), (4, 1), (2, 1)]),
    st.floats(0.01, 1.0),
)
def test_a_wider_spread_never_helps(case, devices: tuple[int, int], share: float) -> None:
    accelerator, name, count, precision = case
    kind, model = named(accelerator, name)
    packed = replace(usual_network(kind, count), scaleup_devices=min(devices[0], count))
    packed = replace(packed, scaleout_bytes_per_s=packed.scaleup_bytes_per_s * share)
    spread = replace(packed, scaleup_devices=min(devices[1], count))
    how = ModelPhysics(name, precision)
    before = work(training_estimate(model, how, kind, count, min(devices[0], count), packed))
    after = work(training_estimate(model, how, kind, count, min(devices[1], count), spread))
    assert after <= before * (1 + 1e-9)


def test_narrower_formats_are_faster_but_by_less_than_their_peaks() -> None:
    kind, model = named("B300", "llama-3-70b")
    found = {p: work(rate(model, kind, 64, precision=p)) for p in ("bf16", "fp8", "fp4")}
    peaks = kind.peak_flops
    assert found["bf16"] < found["fp8"] < found["fp4"]
    assert found["fp8"] / found["bf16"] < peaks["fp8"] / peaks["bf16"]
    assert found["fp4"] / found["bf16"] < peaks["fp4"] / peaks["bf16"]
    assert work(rate(model, kind, 64, precision="nvfp4")) == found["fp4"]


def test_types_that_share_a_name_are_told_apart() -> None:
    kind, model = named("H100-SXM", "llama-3-8b")
    before = work(rate(model, kind, 8))
    faster = replace(kind, peak_flops={"bf16": 2e15})
    assert work(rate(model, faster, 8)) > before
    assert work(rate(model, kind, 8)) == before


@pytest.mark.parametrize(
    ("accelerator", "name", "count", "how", "measured"),
    [
        # Llama 3 405B: 400-430 TFLOP/s per GPU (arXiv:2407.21783, table 4)
        ("H100-SXM", "llama-3-405b", 8192, {"sequence_length": 8192, "global_batch": 2048}, 169.5),
        # MPT-13B on A100-80GB (llm-foundry, scripts/train/benchmarking)
        ("A100-80GB-SXM", "llama-2-13b", 8, {"sequence_length": 2048, "global_batch": 48}, 2262),
        # GPT-3 175B, 64 A100, 13.75 s a step of 64 x 2048 tokens (arXiv:2205.05198, table 5)
        ("A100-80GB-SXM", "gpt-3-175b", 64, {"sequence_length": 2048, "global_batch": 64}, 149),
        # Llama 3.1 8B on 8 H100 with FSDP (torchtitan: 5.7k-6.7k at 500 W; NeMo bf16 about 9k)
        ("H100-SXM", "llama-3-8b", 8, {"sequence_length": 8192, "global_batch": 16}, 7500),
        # LLaMA2-70B, 32 Ascend 910B (MindSpeed-LLM README)
        ("Ascend-910B", "llama-2-70b", 32, {"global_batch": 512}, 420),
        # DeepSeek-V3: 180K H800 hours per trillion tokens (arXiv:2412.19437)
        ("H800-SXM", "deepseek-v3", 2048, {"precision": "fp8", "global_batch": 15360}, 1543),
    ],
)
def test_published_rates_within_a_third(
    accelerator: str, name: str, count: int, how: dict[str, object], measured: float
) -> None:
    kind, model = named(accelerator, name)
    found = rate(model, kind, count, **how)
    assert isinstance(found, TrainingEstimate)
    assert found.work_per_s / count == pytest.approx(measured, rel=1 / 3)


def test_images_of_resnet_50_per_second() -> None:
    # NVIDIA DeepLearningExamples, ResNet-50 v1.5 in mixed precision, one accelerator
    for name, precision, measured in (
        ("V100-16GB-SXM", "fp16", 1350.0),
        ("A100-80GB-SXM", "bf16", 2500.0),
    ):
        kind, model = named(name, "resnet-50")
        found = work(rate(model, kind, 1, precision=precision, global_batch=256))
        assert found == pytest.approx(measured, rel=0.4)


def published() -> PublishedRunsTable:
    if not RUNS.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    return read_published_runs(RUNS)


def test_published_runs_are_predicted_within_the_stated_errors() -> None:
    table = published()
    report = predict_runs(table.runs, unknown=table.unknown)
    assert report.unpredicted == {}, "every published run fits in some layout"
    assert report.errors.median <= 0.10
    assert report.errors.p90 <= 0.33
    assert report.groups["kind/dense pretrain"].p90 <= 0.30
    document = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    low = sum(run.confidence == "low" for run in table.runs)
    assert document["rows"] == len(table.runs) - low
    assert len(document["predictions"]) == len(table.runs)


def test_uncertainty_covers_two_thirds_of_the_published_runs() -> None:
    report = predict_runs(published().runs)
    counted = [p for p in report.predictions if p.counted and p.measured]
    inside = [abs(math.log(p.predicted / (p.measured or 1))) <= p.sigma_log for p in counted]
    assert 0.65 <= float(np.mean(inside)) <= 0.95


def test_unseen_sources_are_predicted_too() -> None:
    assert leave_one_source_out(published().runs).median <= 0.15


def test_each_constant_is_positive_and_efficiencies_are_shares() -> None:
    values = asdict(SHIPPED)
    assert min(values.values()) > 0
    assert max(values[stack] for stack in STACKS) < 1
    assert SHIPPED.efficiency("maca") == min(values[stack] for stack in STACKS)


def test_every_catalogue_model_trains_somewhere() -> None:
    kind = accelerators()["B300"]
    for model in models().values():
        found = rate(model, kind, 64, global_batch=4096, sequence_length=512)
        assert isinstance(found, TrainingEstimate), (model.name, found)
        assert math.isfinite(found.work_per_s)
