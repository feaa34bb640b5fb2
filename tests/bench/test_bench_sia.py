"""The Sia bench: recorded runs are met, schedules verified, missing inputs named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.io.sia import read_sia
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive import make_adaptive
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.verify.adaptive import verify_adaptive

CHECKOUT = Path(__file__).resolve().parents[2]
SIA = CHECKOUT / ".." / "shared" / "peers" / "sia"
WORKLOADS = SIA / "workloads"
PROFILES = SIA / "profiles"

needs_data = pytest.mark.skipif(
    not WORKLOADS.exists(), reason="needs the shared reference data beside the checkout"
)

RECORDED = {  # mean JCT (h), makespan (h), accelerator-hours per job, recorded in Sia's simulator
    ("philly", "gavel_max_min"): (1.9043, 39.0706, 11.1786),
    ("philly", "gavel_max_sum"): (1.6712, 35.6592, 9.7320),
    ("saturn", "gavel_max_sum"): (1.7984, 27.3850, 6.6166),
    ("philly", "sia"): (0.5416, 15.5611, 3.9804),
    ("saturn", "sia"): (0.5809, 12.5722, 3.5739),
}


@pytest.fixture(autouse=True)
def _bench_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))


def played(family: str, name: str, **settings: str) -> dict[str, float]:
    from bench.sia import measures

    problem = read_sia(WORKLOADS / family / "workload-1.csv", PROFILES)
    policy, agents = make_adaptive(name, Tables(problem), **settings)
    run = simulate_adaptive(problem, policy, agents)
    assert verify_adaptive(problem, run, rigid=policy.rigid) == []
    return measures(problem, run)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("case", RECORDED, ids="-".join)
def test_recorded_runs_are_met(case: tuple[str, str]) -> None:
    family, name = case
    ours = played(family, name, rates="learned" if name == "sia" else "known")
    near = 0.15 if name == "sia" else 0.08  # the last bit of a rate may turn a run
    keys = ("mean_jct_h", "makespan_h", "accelerator_h_per_job")
    for key, recorded in zip(keys, RECORDED[case], strict=True):
        assert ours[key] == pytest.approx(recorded, rel=near), key


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "information", "jct_h", "makespan_h"),
    [
        ("philly", "exact", 0.44, 15.0),
        ("philly", "estimates", 0.48, 16.0),
        ("philly", "none", 0.48, 15.0),
        ("saturn", "exact", 0.49, 15.0),
        ("saturn", "estimates", 0.52, 15.0),
        ("saturn", "none", 0.52, 15.0),
    ],
)
def test_the_optimizer_beats_the_recorded_runs(
    family: str, information: str, jct_h: float, makespan_h: float
) -> None:
    ours = played(family, "optimizer", information=information)
    assert ours["mean_jct_h"] <= jct_h
    assert ours["makespan_h"] <= makespan_h


def test_missing_inputs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    assert main(["sia", "--workload", str(tmp_path / "no.csv"), "--profiles", str(tmp_path)]) == 2
    assert "fetch" in capsys.readouterr().err


@needs_data
def test_a_case_names_its_peer_and_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.__main__ import main

    workload = str(WORKLOADS / "saturn" / "workload-1.csv")
    words = ["sia", "--json", "--workload", workload, "--policy", "sia", "--rates", "known"]
    words += ["--bound-steps", "2", "--search", "500"]
    assert main(words) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    first = result["cases"][0]
    assert first["peer"] == pytest.approx(0.5809)
    assert first["violations"] == 0
    assert first["bound"] < first["clairvoyant"] <= first["ours"]
    assert result["cases"][-3]["case"].endswith("clairvoyant")
    assert result["cases"][-3]["violations"] == 0
    assert set(first) >= {"case", "metric", "ratio", "gap", "seconds", "information", "peer_name"}
