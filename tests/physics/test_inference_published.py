"""The formulas against published measurements: ours, and the shared reference table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.io.catalogue import find_accelerator, find_model
from scheduler.io.published_inference import (
    PublishedInference,
    read_published_inference,
)
from scheduler.physics.network import Refusal
from scheduler.physics.published_serving import (
    one_layer,
    predict_inference,
    predict_run,
    run_memory,
    runtime_of,
)
from scheduler.physics.roofline import Runtime

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "bench" / "published_inference.csv"
REFERENCE = ROOT / ".." / "shared" / "reference" / "inference-throughput.csv"


def tables() -> list[Path]:
    return [OURS, *([REFERENCE] if REFERENCE.is_file() else [])]


def check_accuracy(path: Path) -> None:
    table = read_published_inference(path)
    assert not table.unknown
    report = predict_inference(table.runs)
    assert report.errors.rows == len(table.runs)
    assert report.unpredicted == {}
    assert report.errors.median <= 0.15
    assert report.errors.p90 <= 0.40


def test_our_gathered_figures_are_met():
    check_accuracy(OURS)


def test_the_reference_table_is_met():
    if not REFERENCE.is_file():
        pytest.skip("needs the shared reference data beside the checkout")
    check_accuracy(REFERENCE)


@pytest.mark.parametrize("path", tables(), ids=lambda p: p.stem)
def test_every_published_run_fits_in_memory(path: Path):
    for run in read_published_inference(path).runs:
        assert run_memory(run).max_batch >= 1, run.id


def test_stated_scatter_covers_the_figures():
    # about 95 % of figures within two standard deviations; heavy tails are allowed a little
    report = predict_inference(read_published_inference(OURS).runs)
    inside = [
        abs(math.log(p.predicted / p.measured)) < 2 * p.sigma_log
        for p in report.predictions
        if p.measured
    ]
    assert sum(inside) / len(inside) >= 0.85


def run(**changes: object) -> PublishedInference:
    base = PublishedInference(
        id="1",
        model=find_model("llama-3-70b"),
        accelerator=find_accelerator("H100-SXM"),
        precision="fp8",
        count=4,
        tensor_parallel=4,
        engine="vllm 0.10",
        kind="serving",
        prompt_tokens=1000.0,
        output_tokens=1000.0,
        batch=8.0,
        prefill_s=1.0,
        decode_step_s=1.0,
        decode_tokens_per_s=None,
        source="",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def figures(of: PublishedInference) -> dict[str, float]:
    found = predict_run(of)
    assert not isinstance(found, Refusal)
    return {p.quantity: p.predicted for p in found}


def test_the_report_is_json_with_every_figure():
    source = "org/repository table.csv (licence), id 7"
    report = predict_inference([run(id="a", source=source), run(id="b", prefill_s=None)])
    read = json.loads(json.dumps(report.as_dict()))
    assert read["rows"] == 2
    assert [(p["id"], p["quantity"]) for p in read["predictions"]] == [
        ("a", "prefill_ms"),
        ("a", "decode_step_ms"),
        ("b", "decode_step_ms"),
    ]
    assert {name: group["rows"] for name, group in read["groups"].items()} == {
        "kind/decode serving": 2,
        "kind/first token serving": 1,
        "precision/fp8": 2,
        "source/": 1,
        "source/org/repository": 1,
        "stack/cuda": 2,
    }
    assert all(p["sigma_log"] > 0 for p in read["predictions"])


def test_copies_share_the_clients():
    one = figures(run(batch=8.0))
    two = figures(run(batch=16.0, count=8))
    assert one == two


def test_tokens_per_second_count_all_sequences():
    per_step = figures(run())["decode_step_ms"]
    per_second = figures(run(decode_step_s=None, decode_tokens_per_s=1.0, batch=16.0, count=8))
    assert per_second["decode_tok_s"] == pytest.approx(16 / per_step * 1e3)


def test_clients_beyond_memory_queue():
    # NIM 1.8.0, 2 x H100, 5000 in, 500 out: tokens/s level off between 50 and 100 clients
    long = {"prompt_tokens": 5000.0, "output_tokens": 500.0, "count": 2, "tensor_parallel": 2}
    assert 50 < run_memory(run(**long)).max_batch < 110
    first, second = (figures(run(**long, batch=float(c))) for c in (200, 300))
    assert first["decode_step_ms"] == second["decode_step_ms"]
    assert second["prefill_ms"] > first["prefill_ms"] + 10_000


def test_a_run_that_cannot_be_is_reported_not_guessed():
    big = run(count=1, tensor_parallel=1, precision="bf16")
    report = predict_inference([big], unknown={"2": "unknown model"})
    assert report.errors.rows == 0
    assert report.unpredicted == {
        "2": "unknown model",
        "1": "llama-3-70b in bf16 on 1 x H100-SXM needs 131 GiB on each for its weights alone,"
        " each has 80",
    }


def test_an_unknown_precision_costs_one_row_only():
    report = predict_inference([run(id="a", precision="ternary"), run(id="b")])
    assert report.errors.rows == 1
    assert "unknown precision" in report.unpredicted["a"]


@pytest.mark.parametrize(
    ("engine", "runtime"),
    [
        ("vllm-2023", Runtime.EAGER),
        ("vllm 0.2.1", Runtime.EAGER),
        ("vllm-2024 (Helix)", Runtime.CAPTURED),
        ("vllm 0.18.0", Runtime.CAPTURED),
        ("vllm (version unrecorded)", Runtime.CAPTURED),
        ("vllm 1.0", Runtime.CAPTURED),
        ("trtllm 0.5", Runtime.CAPTURED),
        ("transformers 4.40", Runtime.EAGER),
        ("sglang", Runtime.CAPTURED),
    ],
)
def test_engines_before_captured_graphs(engine: str, runtime: Runtime):
    assert runtime_of(engine) is runtime


def test_layers_add_up_to_the_model():
    model = find_model("llama-2-70b")
    layer = one_layer(model)
    assert layer.parameters * 80 + 2 * 32000 * 8192 == pytest.approx(model.parameters)


HEADER = "row,model,precision,accelerator,n_accel,tp,engine,isl,osl,batch,decode_step_ms\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("model", "accelerator"),
    [
        ("meta-llama/Llama-3.1-70B", "h100_sxm"),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", "h200_sxm"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "b200_sxm"),
        ("openai/gpt-oss-120b", "NVIDIA H100"),
        ("Qwen/Qwen2.5-72B-Instruct", "a100-80gb"),
        ("deepseek-ai/DeepSeek-R1-0528", "mi300x"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "l40s"),
        ("llama2-70b", "a100"),
    ],
)
def test_usual_spellings_are_understood(tmp_path: Path, model: str, accelerator: str):
    path = written(tmp_path, f"{HEADER}a,{model},fp8,{accelerator},8,8,vllm,100,100,1,10\n")
    table = read_published_inference(path)
    assert not table.unknown
    assert len(table.runs) == 1


def test_unknown_names_are_listed_with_their_rows(tmp_path: Path):
    rows = "a,no-such-model,fp8,H100,8,8,vllm,1,1,1,9\nb,llama2-70b,fp16,Z9000,8,8,vllm,1,1,1,9\n"
    table = read_published_inference(written(tmp_path, HEADER + rows))
    assert table.runs == ()
    assert list(table.unknown) == ["a", "b"]
    assert "unknown model" in table.unknown["a"]
    assert "unknown accelerator" in table.unknown["b"]
    odd = "a,llama2-70b,fp16,h100,8,3,vllm,1,1,1,9\n"
    table = read_published_inference(written(tmp_path, HEADER + odd))
    assert table.unknown == {"a": "8 accelerators are no multiple of tp 3"}


def test_a_size_in_the_name_stands_for_an_unknown_model(tmp_path: Path):
    rows = "a,acme/Foo-70B-Chat,fp8,h100,8,8,vllm,100,100,1,10\n"
    rows += "b,acme/Bar-235B-A22B,fp8,h100,8,8,vllm,100,100,1,10\n"
    table = read_published_inference(written(tmp_path, HEADER + rows))
    assert not table.unknown
    dense, moe = predict_inference(table.runs).predictions
    like, _ = predict_inference(
        [
            run(
                model=find_model(m),
                tensor_parallel=8,
                count=8,
                kind="static",
                batch=1.0,
                prompt_tokens=100.0,
                output_tokens=100.0,
                prefill_s=None,
            )
            for m in ("llama-3-70b", "qwen3-235b-a22b")
        ]
    ).predictions
    assert dense.predicted == pytest.approx(like.predicted, rel=0.15)
    assert moe.predicted < dense.predicted


def test_a_format_the_device_lacks_runs_in_the_nearest_it_has():
    """Measured runs did run: vLLM keeps fp8 weights on A100 and multiplies in 16 bits."""
    a100 = find_accelerator("A100-80GB-SXM")
    as_stated, widened = (figures(run(accelerator=a100, precision=p)) for p in ("fp8", "w8a16"))
    assert as_stated == widened
    v100 = run(accelerator=find_accelerator("V100-32GB-SXM"), tensor_parallel=8, count=8)
    assert figures(replace(v100, precision="bf16")) == figures(replace(v100, precision="fp16"))
    none = run(accelerator=find_accelerator("K80"), model=find_model("gpt-2"), precision="bf16")
    assert "does not support bf16 (it has fp32)" in predict_inference([none]).unpredicted["1"]


def test_rows_without_figures_are_predicted_in_all_of_them(tmp_path: Path):
    rows = "a,llama2-70b,,h100,8,8,vllm,100,100,1,\nb,llama2-70b,fp16,h100,,4,,,,,n/a\n"
    report = predict_inference(read_published_inference(written(tmp_path, HEADER + rows)).runs)
    assert [(p.id, p.quantity) for p in report.predictions] == [
        ("a", "prefill_ms"),
        ("a", "decode_step_ms"),
        ("a", "decode_tok_s"),
        ("b", "decode_step_ms"),
        ("b", "decode_tok_s"),
    ]
    assert report.errors.rows == 0
    assert all(p.predicted > 0 and p.measured is None for p in report.predictions)


def test_every_fault_is_reported_at_once(tmp_path: Path):
    rows = "a,llama2-70b,fp16,h100,8,3,vllm,x,1,1,9\nb,llama2-70b,fp16,h100,8,8,vllm,1,1,-4,9\n"
    with pytest.raises(InputError) as caught:
        read_published_inference(written(tmp_path, HEADER + rows))
    text = str(caught.value)
    assert "row a: isl" in text
    assert "row b: batch" in text


def test_a_table_of_something_else_is_named_by_its_missing_columns(tmp_path: Path):
    with pytest.raises(InputError, match="missing column") as caught:
        read_published_inference(written(tmp_path, "a,b\n1,2\n"))
    assert "one of prefill_ms, decode_step_ms, decode_tok_s" in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_published_inference(tmp_path / "absent.csv")
