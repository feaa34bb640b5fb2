"""`fleetfit sweep`: what it prints, its exit codes, its one message when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sweeps import files_of, install_misbehaving, write_sweep

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are cut where the terminal is narrow, which whoever runs the tests may say."""
    monkeypatch.setenv("COLUMNS", "120")


SCENARIOS = "scenarios: [{name: quiet}, {name: failing, failures: {node_mtbf: 2 d}}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_sweep(tmp_path, "policies: [fifo, srtf]\nseeds: 3\n" + SCENARIOS, short=True)


def test_the_table_and_the_results(file: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "out"
    code, shown, err = call("sweep", file, "-o", out, "--executor", "local")
    assert code == 0
    assert "small, jobs" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert [r[:3] for r in rows if r[:1] == ["quiet"]] == [["quiet", "fifo", "3"]]
    assert [r[:2] for r in rows if r[:1] == ["srtf"]] == [["srtf", "3"]] * 2
    assert err.splitlines()[-1] == f"12 cells done; results in {out}"
    grid = json.loads((out / "grid.json").read_text())
    names = {f"{cell['key']}.json" for cell in grid["cells"]}
    assert set(files_of(out)) == names | {"grid.json"}

    again = call("sweep", file, "-o", out, "--executor", "local", "--resume")
    assert again[:2] == (0, shown)
    assert again[2] == f"12 cells done (12 by an earlier sweep); results in {out}\n"


def test_json_has_an_entry_per_group_and_policy(file: Path, tmp_path: Path, call: Call) -> None:
    words = ("sweep", file, "-o", tmp_path / "out", "--executor", "local", "--json")
    code, shown, _ = call(*words)
    assert code == 0
    data = json.loads(shown)
    assert [(r["scenario"], r["policy"], r["replays"]) for r in data["results"]] == [
        (s, p, 3) for s in ("quiet", "failing") for p in ("fifo", "srtf")
    ]
    first = data["results"][0]
    assert (first["cluster"], first["workload"], first["failed"]) == ("small", "jobs", 0)
    assert first["inputs"]["noise_sigma"] == 0.1
    assert first["intervals"]["mean_jct_s"][0] < first["mean_jct_s"]
    assert data["results"][1]["against"]["policy"] == "fifo"
    assert data["failures"] == []


def test_failed_cells_are_named_and_the_exit_code_says_so(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install_misbehaving(tmp_path / "plugins"))
    file = write_sweep(tmp_path, "policies: [fifo, raises]\nseeds: 2\n", short=True)
    code, shown, err = call("sweep", file, "-o", tmp_path / "out", "--executor", "local")
    assert code == 1
    rows = [line.split() for line in shown.splitlines()]
    assert [r for r in rows if "raises" in r] == [["raises", "0", *"-------", "2"]]
    assert [r[:3] + r[-1:] for r in rows if "fifo" in r] == [["base", "fifo", "2", "0"]]
    assert [line for line in err.splitlines() if line.startswith("failed: ")] == [
        f"failed: small, jobs, base, raises, seed {seed}: ValueError: this policy always fails "
        "(tried once)"
        for seed in (0, 1)
    ]


def test_results_are_not_overwritten(file: Path, tmp_path: Path, call: Call) -> None:
    words = ("sweep", file, "-o", tmp_path / "out", "--executor", "local")
    assert call(*words)[0] == 0
    code, _, err = call(*words)
    assert code == 2
    assert "holds results already; allowed: --resume to go on with them" in err


def test_faults_of_all_files_come_together(tmp_path: Path, call: Call) -> None:
    file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 1\n")
    (tmp_path / "small.yaml").write_text("schema: topology/1\ntitle: t\nsites: []\npods: []\n")
    (tmp_path / "jobs.yaml").write_text("schema: workload/1\ntitle: t\njobs: []\nclases: []\n")
    code, _, err = call("sweep", file, "-o", tmp_path / "out")
    assert code == 2
    assert "small.yaml:4: pods: the list is empty" in err
    assert "jobs.yaml:4: clases: unknown field" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--executor", "dask"), "--executor: unknown name, got 'dask'"),
        (("--executor", "local", "--address", "h:1"), "--address: goes with --executor ray"),
        (("--address", "127.0.0.1:1"), "--address: no Ray cluster answers there"),
        (("-o", "/proc/nowhere/out"), "cannot be made: No such file or directory"),
    ],
)
def test_one_message(
    words: tuple[str, ...],
    message: str,
    file: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, err = call("sweep", file, *words)
    assert (code, shown) == (2, "")
    (line,) = err.splitlines()
    assert message in line


def test_a_scenario_that_cannot_be_is_named(tmp_path: Path, call: Call) -> None:
    text = "policies: [fifo]\nseeds: 1\nscenarios: [{name: a}, {name: b, load: 0.5}]\n"
    file = write_sweep(tmp_path, text)
    jobs = (tmp_path / "jobs.yaml").read_text()
    at_once = "jobs: [{id: a, class: tiny, run_time: 1 h}]\n"
    (tmp_path / "jobs.yaml").write_text(jobs.split("jobs:\n")[0] + at_once)
    code, _, err = call("sweep", file, "-o", tmp_path / "out")
    assert code == 2
    assert "sweep.yaml: scenarios[1].load: load cannot be set" in err


def test_validate_knows_sweep_files(file: Path, call: Call) -> None:
    code, shown, _ = call("validate", file)
    assert code == 0
    assert shown == (
        f"ok: {file}: sweep, 1 clusters, 1 workloads, 2 policies, 3 seeds, 2 scenarios\n"
    )
    file.write_text(file.read_text().replace("srtf", "strf"))
    code, _, err = call("validate", file)
    assert code == 2
    assert "did you mean 'srtf'?" in err


def test_the_bound_is_in_the_cells_and_an_option(tmp_path: Path, call: Call) -> None:
    file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 2\n", short=True)
    played = ("sweep", file, "--executor", "local")
    code, shown, err = call(*played, "-o", tmp_path / "plan", "--bound", "plan")
    assert code == 0
    assert "bound" in shown
    assert "of the jobs that finished, for every schedule" in " ".join(shown.split())
    rows = [json.loads(cell.read_text()) for cell in (tmp_path / "plan" / "cells").glob("*.json")]
    for row in rows:
        assert row["inputs"]["bound"] == "plan"
        assert 0 < row["bounds"]["mean_jct_s"] <= row["metrics"]["mean_jct_s"]
    other = (*played, "-o", tmp_path / "plan", "--resume", "--json")
    code, shown, err = call(*other, "--bound", "plan")
    assert (code, "(2 by an earlier sweep)" in err) == (0, True)
    (result,) = json.loads(shown)["results"]
    assert result["bound_holds_for"] == "every schedule"
    assert result["gap"] == pytest.approx(result["mean_jct_s"] / result["bound"] - 1)
    code, shown, err = call(*other, "--bound", "none")  # other cells than those of the plan
    assert (code, "by an earlier sweep" in err) == (0, False)
    (result,) = json.loads(shown)["results"]
    assert (result["bound"], result["bound_holds_for"]) == (None, "")
    code, shown, err = call(*other, "--bound", "best")
    assert (code, shown) == (2, "")
    assert "--bound" in err
