"""Reports on published training runs, and the fit to them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler.io.catalogue import accelerators, find_accelerator
from scheduler.io.published_runs import PublishedRun
from scheduler.physics.network import Refusal
from scheduler.physics.published_training import (
    leave_one_source_out,
    predict_run,
    predict_runs,
)
from scheduler.physics.run_description import run_count, run_job
from scheduler.physics.training import TrainingEstimate
from scheduler.physics.training_constants import GOODPUT, SHIPPED
from scheduler.physics.training_fit import counted_options, fit, folds_of, unpack

RUN = PublishedRun(
    id="one",
    source="lab",
    model="a 7B",
    accelerator=find_accelerator("A100-80GB-SXM"),
    precision="bf16",
    task="pretrain",
    parameters=7e9,
    active_parameters=7e9,
    layers=32,
    hidden=4096,
    sequence_tokens=2048,
    tokens_per_s=3500.0,
    measured="steady",
    count=64,
    global_batch=512,
    per_node=8,
    tensor=1,
    context=None,
    pipeline=1,
    expert=None,
    interleave=None,
    micro_batch=2,
    recompute="none",
    confidence="high",
)


def predicted(run: PublishedRun) -> float:
    return predict_runs([run]).predictions[0].predicted


def test_errors_are_quantiles_of_what_counts() -> None:
    base = predicted(RUN)
    ratios = {"a": 1.0, "b": 1.1, "c": 0.5, "low": 9.0, "none": None}
    runs = [
        replace(
            RUN,
            id=name,
            tokens_per_s=None if ratio is None else base / ratio,
            confidence="low" if name == "low" else "high",
        )
        for name, ratio in ratios.items()
    ]
    report = predict_runs(runs, unknown={"x": "no such chip"})
    assert report.errors.rows == 3
    assert report.errors.median == pytest.approx(0.1)
    assert report.errors.p90 == pytest.approx(0.1 + 0.8 * (0.5 - 0.1))
    assert [p.id for p in report.predictions] == list(ratios)
    assert report.unpredicted == {"x": "no such chip"}
    document = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert document["rows"] == 3
    assert set(document["groups"]) == {
        "kind/dense pretrain",
        "precision/bf16",
        "source/lab",
        "stack/cuda",
    }
    assert document["predictions"][4]["measured"] is None
    assert math.isnan(report.predictions[4].relative_error)


def test_a_report_without_counted_rows_is_still_json() -> None:
    report = predict_runs([replace(RUN, confidence="low")])
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["rows"] == 0


def test_impossible_rows_carry_their_reason() -> None:
    found = predict_runs([replace(RUN, accelerator=find_accelerator("v100"))])
    assert found.predictions == ()
    assert "does not support bf16" in found.unpredicted["one"]


def test_a_run_just_beyond_memory_is_predicted_and_named() -> None:
    """It was measured: a leaner optimizer or offloading made room. Twice the memory did not."""
    model = replace(RUN, parameters=52e9, active_parameters=52e9, layers=64, hidden=8192)
    tight = replace(model, id="tight", count=8, global_batch=8)
    report = predict_runs([tight, replace(tight, id="far", count=4), RUN])
    assert report.beyond_memory == ("tight",)
    assert "usable" in report.unpredicted["far"]
    assert [p.fits for p in report.predictions] == [False, True]
    assert report.as_dict()["beyond_memory"] == ["tight"]


def test_published_figures_count_what_they_measured() -> None:
    for measured, share in GOODPUT.items():
        run = replace(RUN, measured=measured)
        assert predicted(run) == pytest.approx(share * predicted(RUN))


def test_stated_degrees_are_kept_and_impossible_ones_dropped() -> None:
    found = predict_run(RUN)
    assert isinstance(found, TrainingEstimate)
    assert (found.layout.data, found.layout.micro_batch) == (64, 2)
    big = replace(RUN, parameters=70e9, active_parameters=70e9, layers=80, hidden=8192)
    found = predict_run(replace(big, micro_batch=64))
    assert isinstance(found, TrainingEstimate)
    assert found.layout.micro_batch < 64


def test_unstated_shapes_follow_from_the_parameters() -> None:
    bare = replace(RUN, layers=0, hidden=0, count=None, global_batch=None)
    model = run_job(bare).model
    assert 12 * model.layers * model.hidden**2 == pytest.approx(7e9, rel=0.05)
    assert predicted(bare) == pytest.approx(predicted(RUN), rel=0.15)
    assert run_count(replace(bare, global_batch=2048)) == 128


def test_adapters_train_faster_than_everything() -> None:
    assert 1.2 < predicted(replace(RUN, task="lora")) / predicted(RUN) < 1.6


def test_experts_train_faster_than_dense_models_of_their_size() -> None:
    moe = replace(RUN, parameters=30e9, active_parameters=3e9, hidden=2048, layers=48, tensor=None)
    dense = replace(moe, active_parameters=30e9)
    assert predicted(moe) > 2 * predicted(dense)


def test_fitting_finds_the_constants_that_made_the_rates() -> None:
    """Rates made by known constants are explained by the fit, without a trace of error."""
    truth = replace(SHIPPED, cuda=0.5, tpu=0.6, traffic_passes=150.0)
    runs = []
    rng = np.random.default_rng(1)
    for i in range(60):
        name = ("A100-80GB-SXM", "H100-SXM", "TPU-v5p")[i % 3]
        run = replace(
            RUN,
            id=str(i),
            source=f"s{i % 4}",
            accelerator=accelerators()[name],
            parameters=(size := float(rng.choice([1e9, 7e9, 30e9]))),
            active_parameters=size,
            layers=0,
            hidden=0,
            sequence_tokens=int(rng.choice([2048, 8192, 32768])),
            tensor=8,
            micro_batch=1,
            recompute="full" if i % 2 else "none",
        )
        found = predict_run(run, truth)
        assert not isinstance(found, Refusal)
        runs.append(replace(run, tokens_per_s=found.work_per_s / 64))
    options = counted_options(runs)
    assert len(options) == 60
    report = predict_runs(runs, constants=unpack(fit(options))[0])
    assert report.errors.p90 < 0.02
    assert report.errors.p90 < predict_runs(runs).errors.p90 / 5
    assert leave_one_source_out(runs).median < 0.02
    fold = folds_of(options, 5, np.random.default_rng(0))
    assert np.bincount(fold).tolist() == [12] * 5


def test_leaving_out_the_only_source_leaves_nothing() -> None:
    assert leave_one_source_out([RUN, replace(RUN, id="two")]).rows == 0
