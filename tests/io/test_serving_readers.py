from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.io import load_workload
from scheduler.io.helix import read_helix
from scheduler.io.melange import read_melange
from scheduler.io.request_traces import load_requests

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:00:00.0000000,100,10
2023-11-16 18:00:30.5000000,300,30
2023-11-16 18:01:30.0000000,200,20
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(error: InputError) -> str:
    return "\n".join(str(f) for f in error.faults)


# --- request traces ------------------------------------------------------------------------------


def test_azure_counts_requests_by_step(tmp_path: Path) -> None:
    trace = load_requests(written(tmp_path, "conv.csv", AZURE))
    assert trace.at_s.tolist() == [0.0, 30.5, 90.0]
    assert trace.mean_tokens() == (200.0, 20.0)
    assert trace.span_s == pytest.approx(135.0)  # two gaps of 45 s on average, and one more
    times, rates = trace.curve(60.0)
    assert times.tolist() == [0.0, 60.0]
    assert rates == pytest.approx([2 / 60, 1 / 60])
    mix = trace.mix(np.array([150.0, 250.0]), np.array([25.0]))
    assert mix.sum() == pytest.approx(1.0)
    assert mix[:, 0] == pytest.approx([1 / 3, 2 / 3])


def test_a_gzip_file_says_the_same(tmp_path: Path) -> None:
    plain = load_requests(written(tmp_path, "conv.csv", AZURE))
    path = tmp_path / "conv.csv.gz"
    path.write_bytes(gzip.compress(AZURE.encode()))
    assert load_requests(path).at_s.tolist() == plain.at_s.tolist()


def test_mooncake_reads_csv_and_json_lines(tmp_path: Path) -> None:
    table = "timestamp,input_length,output_length\n0,10,5\n3000,20,7\n"
    rows = [
        {"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [1]},
        {"timestamp": 3000, "input_length": 20, "output_length": 7, "hash_ids": [2]},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    one = load_requests(written(tmp_path, "m.csv", table))
    two = load_requests(written(tmp_path, "m.jsonl", lines))
    for trace in (one, two):
        assert trace.at_s.tolist() == [0.0, 3.0]
        assert trace.mean_tokens() == (15.0, 6.0)


def test_samples_of_a_rate_stand_for_their_period(tmp_path: Path) -> None:
    text = "timestamp_anon,value,container_ip\n"
    text += "".join(f"{100 + 60 * i},{rate},a\n" for i, rate in enumerate((1, 2, 3, 0)))
    text += "".join(f"{100 + 60 * i},1,b\n" for i in range(4))
    trace = load_requests(written(tmp_path, "qps.csv", text))
    _, rates = trace.curve(60.0)
    assert rates[:4] == pytest.approx([2.0, 3.0, 4.0, 1.0])


def test_instances_are_a_standing_demand(tmp_path: Path) -> None:
    text = "gpu_request,creation_time,deletion_time\n2,,100\n1,50,\n1,0,200\n"
    trace = load_requests(written(tmp_path, "dlrm.csv", text))
    assert trace.standing
    times, rates = trace.curve(50.0)
    assert times.tolist() == [0.0, 50.0, 100.0, 150.0]
    assert rates == pytest.approx([3.0, 4.0, 2.0, 2.0])


def test_every_fault_of_a_trace_in_one_pass(tmp_path: Path) -> None:
    text = AZURE + "yesterday,1,1\n2023-11-16 18:02:00,-5,x\n"
    with pytest.raises(InputError) as caught:
        load_requests(written(tmp_path, "conv.csv", text))
    told = faults_of(caught.value)
    assert "not a time" in told
    assert "negative value" in told
    assert "not a number" in told
    with pytest.raises(InputError, match="not a request trace"):
        load_requests(written(tmp_path, "other.csv", "a,b\n1,2\n"))
    with pytest.raises(InputError, match="empty"):
        load_requests(written(tmp_path, "none.csv", AZURE.partition("\n")[0] + "\n"))
    with pytest.raises(InputError, match="azure"):
        load_requests(written(tmp_path, "c.csv", AZURE), format="azur")


@pytest.mark.parametrize(
    ("file", "requests", "mean_per_s"),
    [
        ("azure_llm/AzureLLMInferenceTrace_conv.csv.gz", 19_366, 5.53),
        ("mooncake/conversation_trace.csv.gz", 12_031, 3.40),
        ("genai/qps_generative.csv.gz", 23_513, None),
        ("genai/lora_request_trace.csv.gz", 13_217, None),
        ("dlrm/dlrm_dev.csv.gz", None, None),
    ],
)
def test_published_traces(file: str, requests: int | None, mean_per_s: float | None) -> None:
    path = SHARED / "traces" / file
    if not path.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    trace = load_requests(path)
    times, rates = trace.curve(60.0)
    assert len(times) == len(rates) > 50
    assert (rates >= 0).all()
    if requests is not None:
        assert len(trace) == requests
    if mean_per_s is not None:
        assert float(rates.mean()) == pytest.approx(mean_per_s, rel=0.01)
    if trace.standing:  # "nearly flat", half the applications
        assert 1_500 < rates.mean() < 2_000


# --- demand of a workload file -------------------------------------------------------------------

WORKLOAD = """schema: workload/1
title: traced
services:
  - name: chat
    model: {{name: llama-3-8b}}
    replica: 1
    demand: {{{demand}}}
"""


def test_a_service_follows_a_trace(tmp_path: Path) -> None:
    written(tmp_path, "conv.csv", AZURE)
    demand = "trace: conv.csv, step: 60 s, peak: 4 req/s, repeat: 5 min"
    path = written(tmp_path, "w.yaml", WORKLOAD.format(demand=demand))
    service = load_workload(path).services[0]
    assert float(service.demand_per_s.max()) == pytest.approx(4.0)
    assert (service.prompt_tokens, service.output_tokens) == (200.0, 20.0)
    assert float(service.times_s[-1]) < 300.0
    assert (np.diff(service.times_s) > 0).all()
    own = WORKLOAD.format(demand=demand) + "    output_tokens: 7\n"
    told = load_workload(written(tmp_path, "own.yaml", own)).services[0]
    assert (told.prompt_tokens, told.output_tokens) == (200.0, 7.0)


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ("trace: none.csv", "no such file"),
        ("trace: ../conv.csv", "outside this folder"),
        ("trace: conv.csv, step: 3", "demand.step"),
        ("trace: conv.csv, scale: -1", "not a factor"),
        ("trace: conv.csv, scale: 2, peak: 3 req/s", "given twice"),
        ("trace: conv.csv, stepp: 60 s", "did you mean 'step'"),
        ("trace: conv.csv, step: 1 ms, repeat: 30 d", "too many steps"),
        ("trace: conv.csv, format: azur", "unknown request format"),
        ("trace: 7", "not text"),
    ],
)
def test_a_faulty_demand_is_named(tmp_path: Path, demand: str, message: str) -> None:
    written(tmp_path, "conv.csv", AZURE)
    path = written(tmp_path, "w.yaml", WORKLOAD.format(demand=demand))
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert message in faults_of(caught.value)


# --- instances of the peers ----------------------------------------------------------------------


def helix_raw() -> dict[str, Any]:
    return {
        "instances": {
            "two": {
                "num_layers": 3,
                "nodes": [
                    {"id": 0, "type": "A", "tokens_per_s_by_layers_held": [9, 5.5]},
                    {"id": 1, "type": "B", "tokens_per_s_by_layers_held": [4.0]},
                ],
                "links": [["source", "0", 50], ["0", "1", 6.5], ["1", "sink", 50]],
            }
        }
    }


def test_helix_instance(tmp_path: Path) -> None:
    path = written(tmp_path, "i.json", json.dumps(helix_raw()))
    instance = read_helix(path)["two"]
    assert instance.ids == ("0", "1")
    assert instance.kinds == ("A", "B")
    assert instance.rates == ((9.0, 5.5), (4.0,))
    assert instance.links.tolist() == [[0.0, 6.5], [0.0, 0.0]]
    assert instance.source.tolist() == [50.0, 0.0]
    assert instance.sink.tolist() == [0.0, 50.0]
    alone = written(tmp_path, "solo.json", json.dumps(helix_raw()["instances"]["two"]))
    assert list(read_helix(alone)) == ["solo"]


def test_every_fault_of_a_helix_instance(tmp_path: Path) -> None:
    raw = helix_raw()
    two = raw["instances"]["two"]
    two["num_layers"] = 0
    two["nodes"][1]["id"] = 0
    two["nodes"][0]["tokens_per_s_by_layers_held"][1] = -3
    two["links"] += [["0", "moon", 1], ["0", "1"]]
    with pytest.raises(InputError) as caught:
        read_helix(written(tmp_path, "i.json", json.dumps(raw)))
    told = faults_of(caught.value)
    for part in ("num_layers", "the id is taken", "not a rate", "0 to moon", "not a link"):
        assert part in told
    for text in ("[]", '{"instances": {}}', '{"instances": {"a": 3}}'):
        with pytest.raises(InputError):
            read_helix(written(tmp_path, "j.json", text))


def melange_raw() -> dict[str, Any]:
    return {
        "in_edges": [100, 1000],
        "out_edges": [100],
        "gpu_info_by_slo": {
            "fast": {"G": {"cost": 2.5, "tputs": [[4], [0]], "supply": 3}},
        },
        "workload_distribution": {"chat": [[0.75], [0.25]]},
        "cases": [
            {
                "name": "c",
                "workload": "chat",
                "slo": "fast",
                "total_request_rate": 8,
                "slice_factor": 2,
            }
        ],
    }


def test_melange_cases(tmp_path: Path) -> None:
    (case,) = read_melange(written(tmp_path, "c.json", json.dumps(melange_raw())))
    assert case.demand_per_s.tolist() == [[6.0, 2.0]]
    assert case.slices == 2
    assert case.offers[0].supply == 3
    assert case.offers[0].requests_per_s.tolist() == [4.0, 0.0]


def test_every_fault_of_a_melange_file(tmp_path: Path) -> None:
    raw = melange_raw()
    raw["gpu_info_by_slo"]["fast"]["G"] |= {"cost": "dear", "supply": -1}
    raw["workload_distribution"]["chat"] = [[0.75]]
    raw["cases"].append({"workload": "chatt", "slo": "fast", "total_request_rate": 1})
    raw["cases"].append({"workload": "chat", "slo": "fast", "total_request_rate": -1})
    raw["cases"].append({**raw["cases"][0], "slice_factor": 0})
    with pytest.raises(InputError) as caught:
        read_melange(written(tmp_path, "c.json", json.dumps(raw)))
    told = faults_of(caught.value)
    for part in (
        "G.cost", "G.supply", "2 rows of 1 numbers", "did you mean 'chat'", "total_request_rate",
        "slice_factor",
    ):  # fmt: skip
        assert part in told
    for text in ("[]", "{}", '{"cases": []}'):
        with pytest.raises(InputError):
            read_melange(written(tmp_path, "d.json", text))
