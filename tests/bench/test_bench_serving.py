from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.spread_instances import made_instance
from scheduler.core.spread import SpreadInstance

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def as_json(instance: SpreadInstance) -> dict[str, Any]:
    n = len(instance)
    links: list[list[object]] = [
        [instance.ids[i], instance.ids[j], float(instance.links[i, j])]
        for i in range(n)
        for j in range(n)
        if instance.links[i, j] > 0
    ]
    links += [["source", instance.ids[i], float(instance.source[i])] for i in range(n)]
    links += [[instance.ids[i], "sink", float(instance.sink[i])] for i in range(n)]
    nodes = [
        {"id": int(i), "type": kind, "tokens_per_s_by_layers_held": list(rates)}
        for i, kind, rates in zip(instance.ids, instance.kinds, instance.rates, strict=True)
    ]
    return {"num_layers": instance.layers, "nodes": nodes, "links": links}


def test_helix_tells_flow_bound_depth_and_placement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = as_json(made_instance(1, machines=12, kinds=3, layers=40))
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"instances": {"mine": made}}), encoding="utf-8")
    (case,) = told(capsys, "helix", "--instance", str(path))["cases"]
    assert case["violations"] == 0
    assert case["flow"] == pytest.approx(case["networkx_flow"], rel=1e-5)
    assert case["flow"] <= case["bound"]
    assert case["depth"] == case["networkx_depth"]
    spans = case["placement"]
    assert set(spans) <= {str(i) for i in range(12)}
    held = {layer for start, end in spans.values() for layer in range(start, end)}
    assert held == set(range(40))
    assert case["front"][0]["depth"] == case["depth"]


@pytest.mark.slow
def test_helix_on_the_published_instances(capsys: pytest.CaptureFixture[str]) -> None:
    if not (SHARED / "peers" / "helix" / "instances.json").exists():
        pytest.skip("needs the shared reference data beside the checkout")
    (single,) = told(capsys, "helix", "--instance", "single24")["cases"]
    assert single["flow"] == pytest.approx(2045.64, abs=0.01)
    assert single["status"] == "optimal"
    assert max(p["flow"] for p in single["front"] if p["depth"] <= 15) >= 1289.6
    (geo,) = told(capsys, "helix", "--instance", "geo24", "--no-front")["cases"]
    assert geo["flow"] >= 1476
    assert geo["gap"] < 0.15
    assert single["violations"] == geo["violations"] == 0


def melange_file(folder: Path) -> Path:
    rates = {"S": [[1.0, 0.4], [0.5, 0.2]], "L": [[3.0, 1.5], [1.9, 0.9]]}
    raw = {
        "in_edges": [100, 1000],
        "out_edges": [100, 1000],
        "gpu_info_by_slo": {
            "slo": {name: {"cost": c, "tputs": rates[name]} for name, c in (("S", 1.0), ("L", 3.5))}
        },
        "workload_distribution": {"chat": [[0.4, 0.3], [0.2, 0.1]]},
        "cases": [
            {"name": f"r{r}", "workload": "chat", "slo": "slo", "total_request_rate": r,
             "slice_factor": 2}
            for r in (1, 7.5)
        ],
    }  # fmt: skip
    path = folder / "cases.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


def test_melange_is_never_dearer_than_the_peers_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "melange", "--cases", str(melange_file(tmp_path)), "--repeats", "1")
    assert found["summary"]["never_dearer"]
    assert found["summary"]["violations"] == 0
    for case in found["cases"]:
        assert case["ours"] <= case["sliced"] + 1e-9
        assert case["sliced"] == pytest.approx(case["peer"])  # equal terms, equal cost
        assert case["status"] == "optimal"
        assert case["bound"] == pytest.approx(case["ours"])
        assert case["two_steps"]["cost"] <= case["two_steps"]["machines_for_the_peak_all_day"]


@pytest.mark.slow
def test_melange_on_the_published_cases(capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHARED / "peers" / "melange"
    if not (folder / "cases.json").exists():
        pytest.skip("needs the shared reference data beside the checkout")
    names = ("arxiv_tpot60_r8_sf4", "conv_tpot120_r128_sf4", "conv_tpot60_r32_sf1")
    chosen = [word for name in names for word in ("--case", name)]
    found = told(capsys, "melange", "--no-peer", "--repeats", "1", *chosen)
    for case in found["cases"]:
        assert case["ours"] <= case["recorded_cost"] * (1 + 1e-6)
        assert case["violations"] == 0
    costs = {case["case"]: case["ours"] for case in found["cases"]}
    assert costs["arxiv_tpot60_r8_sf4"] == pytest.approx(154.14)


@pytest.mark.parametrize(
    "words",
    [
        ("helix", "--instance", "none.json"),
        ("helix", "--instance", "nowhere", "--instances", "none.json"),
        ("melange", "--cases", "none.json"),
        ("melange", "--repeats", "0"),
        ("train_and_serve", "--philly", "none.csv"),
        ("train_and_serve", "--seed", "-1"),
        ("alpaserve", "--models", "0"),
        ("fluid", "--services", "0"),
    ],
)
def test_bad_options_end_in_one_message(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.strip()
    assert "Traceback" not in message


def test_fluid_compares_both_models(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "fluid", "--services", "2")
    for case in found["cases"]:
        assert 0 <= case["ours"] <= 1
        assert 0 <= case["peer"] <= 1
