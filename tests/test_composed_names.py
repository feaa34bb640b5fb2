"""Composed policy names wherever a policy can be named: command line, sweep files, the form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.commands.showing import shelf_of
from scheduler.core.errors import InputError
from scheduler.io import read_run
from scheduler.policies import known, parts

Call = Callable[..., tuple[int, str, str]]

SWEEP = """\
schema: sweep/1
title: Composed
clusters: [small.yaml]
workloads: [forty.yaml]
policies: [fifo, srtf+easy+worst_fit, las+preempt]
seeds: 2
"""


@pytest.fixture
def folder(small_files: tuple[Path, Path], tmp_path: Path) -> Path:
    for file in small_files:
        (tmp_path / file.name).write_text(file.read_text())
    return tmp_path


def test_a_sweep_plays_them(folder: Path, call: Call) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)
    words = ("sweep", folder / "sweep.yaml", "-o", folder / "out", "--executor", "local", "--json")
    code, out, said = call(*words)
    assert code == 0, said
    played = [row["policy"] for row in json.loads(out)["results"]]
    assert played == ["fifo", "srtf+easy+worst_fit", "las+preempt"]


def test_a_sweep_file_names_the_nearest(folder: Path, call: Call) -> None:
    (folder / "sweep.yaml").write_text(SWEEP.replace("easy+worst_fit", "esy+worst_ft"))
    code, _, said = call("validate", folder / "sweep.yaml")
    assert code == 2
    assert "policies[1]: unknown policy, got 'srtf+esy+worst_ft'" in said
    assert "did you mean 'srtf+easy+worst_fit'?" in said


def test_a_sweep_file_runs_no_code(folder: Path, call: Call) -> None:
    (folder / "mine.py").write_text("raise SystemExit('ran')\n")
    (folder / "sweep.yaml").write_text(SWEEP.replace("las+preempt", "mine.py:Mine"))
    code, _, said = call("validate", folder / "sweep.yaml")
    assert code == 2
    assert "unknown policy, got 'mine.py:Mine'" in said


def test_the_command_line_names_the_nearest(small_files: tuple[Path, Path], call: Call) -> None:
    code, _, said = call("run", *small_files, "--policy", "srft+easy")
    assert code == 2
    assert "did you mean 'srtf+easy'?" in said
    assert call("run", *small_files, "--policy", "srtf+easy")[0] == 0


def test_the_form_plays_them_and_names_the_nearest(tmp_path: Path) -> None:
    form = {"topology": "demo-mixed", "workload": "demo-day", "replays": "1", "load": "0.3"}
    shelf = shelf_of(tmp_path)
    with pytest.raises(InputError, match=r"did you mean 'sjf\+easy\+best_fit'\?"):
        shelf.start({**form, "policies": "sjf+eazy+best_fit"})
    with pytest.raises(InputError, match=r"unknown policy, got 'x\.py:Y'"):
        shelf.start({**form, "policies": "x.py:Y"})
    name = shelf.start({**form, "policies": "sjf+easy+best_fit"})
    (file,) = (tmp_path / name).iterdir()
    assert read_run(file).policy == "sjf+easy+best_fit"


def test_the_list_explains_how_they_are_made(call: Call) -> None:
    code, out, _ = call("list", "policies")
    assert code == 0
    assert "ORDER+ADMISSION+PLACEMENT: srtf+easy+worst_fit" in out
    for choice, words in parts().items():
        assert f"  {choice}: {words[0]}," in out
        assert all(word in out for word in words)
    composed = json.loads(call("list", "policies", "--json")[1])["composed"]
    assert {k: tuple(v) for k, v in composed.items()} == parts()
    for order in composed["order"]:
        for admission in composed["admission"]:
            assert all(known(f"{order}+{admission}+{p}") for p in composed["placement"])
