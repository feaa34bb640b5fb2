"""`fleetfit estimate`: fields, exit codes, and tables of published runs of any quality."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scheduler.cli import main
from scheduler.commands.estimating import read_and_predict
from scheduler.io.catalogue import accelerators

Call = Callable[..., tuple[int, str, str]]

REFERENCE = Path(__file__).resolve().parents[1] / ".." / "shared" / "reference"
TRAINING = """\
run_id,accelerator,precision,seq_len,params_total_b,device_count,global_batch_seqs,\
tokens_per_s_per_device,source_group,confidence
a,A100-80GB-SXM,bf16,2048,7,64,512,3500,lab,high
b,H100-SXM,fp8,4096,70.6,64,256,1500,lab,medium
c,H100-SXM,fp8,4096,70.6,64,256,150,lab,low
d,NoSuchChip,bf16,2048,7,64,512,3500,lab,high
e,V100-32GB-SXM,bf16,2048,1,8,64,1000,lab,high
"""
INFERENCE = """\
row,model,precision,accelerator,n_accel,tp,engine,isl,osl,batch,prefill_ms,decode_step_ms,kind,source
a,llama2-70b,fp16,a100-80gb,4,4,vllm-2023,512,128,1,127,45,static,org/repo x.csv
b,nobody/knows-70B,fp8,h100_sxm,4,4,trtllm,1024,1024,4,,11.8,serving,org/repo x.csv
c,who-knows,fp8,h100_sxm,4,4,trtllm,1024,1024,4,,11.8,serving,org/repo x.csv
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process; return exit code, standard output, standard error."""

    def run(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fleetfit", "estimate", *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def saved(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text(text, encoding="utf-8")
    return path


class TestOneJob:
    def test_one_type_in_words(self, call: Call) -> None:
        code, out, err = call("--model", "llama-3-70b", "--count", 64, "--on", "h100")
        assert (code, err) == (0, "")
        for word in ("tokens/s", "tp4", "compute", "bubble", "optimizer", "tokens/J", "tokens/USD"):
            assert word in out
        assert "of high confidence" in out

    def test_replicas_without_tokens_tell_a_latency(self, call: Call) -> None:
        code, out, _ = call("--model", "resnet-50", "--serve", "--on", "l40s", "--count", 1)
        assert code == 0
        assert "latency" in out
        assert "token" not in out

    def test_all_types_in_a_table_with_bars(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "160")
        code, out, _ = call("--model", "llama-3-70b", "--count", 64, "--all-types")
        assert code == 0
        names = {line.split()[0].rstrip("?") for line in out.splitlines() if line.strip()}
        assert set(accelerators()) <= names
        assert "█" in out or "#" in out
        assert "V100-16GB-SXM does not support bf16 (it has fp32, fp16, int8)" in out
        assert "Trainium3?" in out
        assert "? figures of this type are estimates or disputed" in out

    def test_json_of_a_training_job(self, call: Call) -> None:
        code, out, _ = call("--model", "llama-3-8b", "--on", "H100-SXM", "--on", "V100", "--json")
        assert code == 0
        data = json.loads(out)
        assert (data["kind"], data["unit"], data["count"]) == ("training", "tokens", 8)
        first, second = data["estimates"]
        assert second["refused"].startswith("V100-16GB-SXM does not support bf16")
        step = first["step_s"]
        assert set(step) == {"compute", "memory", "communication", "bubble"}
        assert sum(step.values()) == pytest.approx(512 * 4096 / first["work_per_s"])
        assert set(first["memory_bytes"]) == {
            "parameters",
            "gradients",
            "optimizer",
            "activations",
        }
        assert first["work_per_joule"] == pytest.approx(first["work_per_s"] / first["power_w"])

    def test_json_of_a_replica(self, call: Call) -> None:
        options = ("--serve", "--count", 1, "--on", "H100", "--tpot", "50 ms", "--output", 256)
        code, out, _ = call("--model", "llama-3-8b", *options, "--json")
        assert code == 0
        data = json.loads(out)
        assert (data["kind"], data["tpot_s"], data["output_tokens"]) == ("serving", 0.05, 256.0)
        (row,) = data["estimates"]
        assert row["tpot_s"] <= 0.05 * (1 + 1e-9)
        assert row["ttft_s"] <= data["ttft_s"]
        assert row["work_per_s"] == pytest.approx(256 * row["requests_per_s"])

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--model", "llama-3-405b", "--count", 8, "--on", "H20"), "needs 759 GiB on each"),
            (("--model", "llama-3-8b", "--on", "V100"), "does not support bf16"),
            (
                ("--model", "llama-3-8b", "--precision", "fp8", "--on", "A100"),
                "does not support fp8",
            ),
            (
                ("--model=llama-3-70b", "--precision=fp16", "--serve", "-n1", "--on=H100-SXM"),
                "needs 133",
            ),
        ],
    )
    def test_the_answer_no_is_exit_code_1_and_says_why(
        self, call: Call, options: tuple[str, ...], words: str
    ) -> None:
        code, out, _ = call(*options)
        assert code == 1
        assert words in out

    def test_every_fault_at_once(self, call: Call) -> None:
        code, out, err = call(
            *("--model", "lama-3-70b", "--precision", "bf61", "--count", 0, "--seq", -1),
            *("--on", "H10O-SXM", "--on", "H100"),
        )
        assert (code, out) == (2, "")
        for words in (
            "--model: unknown model, got 'lama-3-70b'; did you mean 'llama-3-70b'?",
            "--on: unknown accelerator, got 'H10O-SXM'; did you mean 'H100-SXM'?",
            "did you mean 'bf16'?",
            "--count: out of range",
            "--seq: out of range",
        ):
            assert words in err

    def test_what_is_missing_or_does_not_go_together(self, call: Call, tmp_path: Path) -> None:
        code, _, err = call()
        assert code == 2
        assert "--model: is missing" in err
        assert "--on: is missing" in err
        code, _, err = call("--model", "llama-3-8b", "--on", "H100", "--all-types")
        assert code == 2
        assert "--all-types: goes without --on" in err
        path = saved(tmp_path, TRAINING)
        assert call("--runs", path, "--model", "llama-3-8b")[0] == 2
        code, _, err = call("--model", "llama-3-8b", "--on", "H100", "--cross-validate")
        assert code == 2
        assert "--cross-validate: goes with --runs" in err
        code, _, err = call("--model", "llama-3-8b", "--on", "H100", "--serve", "--ttft", "2")
        assert code == 2
        assert "--ttft: a time needs a unit" in err


class TestPublishedRuns:
    def test_training_runs(self, call: Call, tmp_path: Path) -> None:
        code, out, err = call("--runs", saved(tmp_path, TRAINING), "--json")
        assert code == 0
        data = json.loads(out)
        assert list(data)[:5] == [
            "rows",
            "median_relative_error",
            "p90_relative_error",
            "groups",
            "predictions",
        ]
        assert data["rows"] == 2  # low confidence is predicted, not counted
        assert [p["id"] for p in data["predictions"]] == ["a", "b", "c"]
        for prediction in data["predictions"]:
            assert set(prediction) == {"id", "quantity", "predicted", "measured", "sigma_log"}
            assert prediction["quantity"] == "tokens_per_s_per_device"
        errors = [abs(p["predicted"] / p["measured"] - 1) for p in data["predictions"][:2]]
        assert data["median_relative_error"] == pytest.approx(np.median(errors))
        assert data["groups"]["source/lab"]["rows"] == 2
        assert data["groups"]["precision/fp8"]["rows"] == 1
        assert set(data["unpredicted"]) == {"d", "e"}
        assert "not predicted: d: unknown accelerator" in err
        assert "does not support bf16" in err

    def test_sources_left_out(self, call: Call, tmp_path: Path) -> None:
        """Two sources whose figures follow the formula are predicted from one another."""
        header, *rows = TRAINING.splitlines()
        made = [header]
        for i in range(24):
            cells = rows[i % 2].split(",")
            cells[0], cells[4], cells[8] = f"r{i}", str(2 + i), f"lab{i % 2}"
            made.append(",".join(cells))
        path = saved(tmp_path, "\n".join(made))
        data = json.loads(call("--runs", path, "--json")[1])
        by_id = {p["id"]: p["predicted"] for p in data["predictions"]}
        for i, line in enumerate(made[1:], 1):
            cells = line.split(",")
            cells[7] = str(by_id[cells[0]])
            made[i] = ",".join(cells)
        path = saved(tmp_path, "\n".join(made))
        code, out, _ = call("--runs", path, "--cross-validate", "--json")
        assert code == 0
        left_out = json.loads(out)["leave_one_source_out"]
        assert left_out["rows"] == 24
        assert left_out["median_relative_error"] < 0.3
        code, _, err = call("--runs", saved(tmp_path, INFERENCE), "--cross-validate")
        assert code == 2
        assert "--cross-validate: goes with tables of training runs" in err

    def test_inference_measurements(self, call: Call, tmp_path: Path) -> None:
        code, out, err = call("--runs", saved(tmp_path, INFERENCE), "--json")
        assert code == 0
        data = json.loads(out)
        assert data["rows"] == 2
        assert [(p["id"], p["quantity"]) for p in data["predictions"]] == [
            ("a", "prefill_ms"),
            ("a", "decode_step_ms"),
            ("b", "decode_step_ms"),
        ]
        assert {"stack/cuda", "source/org/repo", "precision/fp16"} <= set(data["groups"])
        assert "not predicted: c: unknown model" in err

    def test_tables_of_errors(self, call: Call, tmp_path: Path) -> None:
        code, out, _ = call("--runs", saved(tmp_path, TRAINING))
        assert code == 0
        for words in ("median %", "p90 %", "stack", "precision", "source", "up to here"):
            assert words in out

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a,b\n1,2\n", "is no table of published runs"),
            ("accelerator,seq_len\nH100,2048\n", "one of params_total_b, params_active_b, model"),
            (TRAINING.replace("2048,7", "2o48,7"), "row a: seq_len: bad number, got '2o48'"),
            (INFERENCE.replace("512,128", "512,-1"), "row a: osl: bad number"),
            ("run_id,accelerator,model,seq_len\n", "holds no rows"),
            ("", "the file is empty"),
        ],
    )
    def test_faults_of_a_table(self, call: Call, tmp_path: Path, text: str, words: str) -> None:
        code, out, err = call("--runs", saved(tmp_path, text))
        assert (code, out) == (2, "")
        assert words in err

    def test_a_missing_file(self, call: Call, tmp_path: Path) -> None:
        code, _, err = call("--runs", tmp_path / "absent.csv")
        assert code == 2
        assert "cannot be read" in err


def reference(name: str) -> list[list[str]]:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip("needs the shared reference data beside the checkout")
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines))


NUMBERS = ("", "n/a", "0", "1", "3", "8", "64", "2048", "131072", "1e9", "0.5")
WORDS = ("", "H100", "b300_sxm", "my-model", "Foo-30B-A3B", "FP8 block", "w4a16", "lora", "TPU-v7")


@pytest.mark.parametrize("name", ["training-runs.csv", "inference-throughput.csv"])
def test_any_half_with_any_cells_is_predicted_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    """Rows of unseen files have other names and gaps: none may stop the others."""
    header, *rows = reference(name)
    rng = np.random.default_rng(7)
    numeric = [
        sum(cell.replace(".", "", 1).isdigit() for cell in column) > len(rows) / 10
        for column in zip(*rows, strict=True)
    ]
    for round_ in range(12):
        chosen = [list(rows[i]) for i in rng.permutation(len(rows))[: len(rows) // 2]]
        for row in chosen if round_ else []:
            for column in rng.integers(len(row), size=int(rng.integers(0, 4))).tolist():
                row[column] = str(rng.choice(NUMBERS if numeric[column] else WORDS))
        kept = [i for i in range(len(header)) if header[i] in KEPT or rng.random() > 0.1 * round_]
        path = tmp_path / f"{round_}.csv"
        with path.open("w", encoding="utf-8", newline="") as lines:
            csv.writer(lines).writerows([[row[i] for i in kept] for row in (header, *chosen)])
        report = read_and_predict(path)
        json.dumps(report.as_dict(), allow_nan=False)
        assert all(0 < p.predicted < math.inf and p.sigma_log > 0 for p in report.predictions)
        assert {p.id for p in report.predictions}.isdisjoint(report.unpredicted) or round_
        if round_ == 0:
            assert report.unpredicted == {}
            assert report.errors.median <= 0.15


KEPT = {"accelerator", "model", "params_active_b", "seq_len", "decode_step_ms", "isl"}
