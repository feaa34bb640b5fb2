"""Runs saved on their way, resumed to the same bytes, and forked, from the command line."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_terms import random_terms

from scheduler.core.errors import InputError
from scheduler.core.problem import Problem
from scheduler.core.version import VERSION
from scheduler.io import read_run, read_snapshot, write_snapshot
from scheduler.policies import make
from scheduler.report.page.pack import unpacked
from scheduler.simulate import Engine

Call = Callable[..., tuple[int, str, str]]

NOISY = ("--noise", "0.3", "--seed", "7")


def saved_at(call: Call, files: tuple[Path, Path], to: Path, at: str, *words: str) -> Path:
    """Play on to the end, having saved at an instant; return the snapshot."""
    snapshot = to / f"{at.replace(' ', '')}.json"
    code, _, said = call(
        *("run", *files, "--save-at", at, "--snapshot", snapshot, *words),
        *("-o", to / "on-the-way.json"),
    )
    assert code == 0, said
    return snapshot


@pytest.mark.parametrize("policy", ["fifo", "srtf", "tiresias", "las+preempt+worst_fit"])
def test_a_resumed_run_ends_in_the_bytes_of_one_that_was_never_stopped(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path, policy: str
) -> None:
    words = ("--policy", policy, *NOISY)
    assert call("run", *small_files, *words, "-o", tmp_path / "whole.json")[0] == 0
    whole = (tmp_path / "whole.json").read_bytes()
    for at in ("95 min", "5 h"):
        snapshot = saved_at(call, small_files, tmp_path, at, *words)
        assert (tmp_path / "on-the-way.json").read_bytes() == whole, "saving changes nothing"
        code, _, said = call(
            "run", *small_files, "--resume", snapshot, "-o", tmp_path / "again.json"
        )
        assert code == 0, said
        assert (tmp_path / "again.json").read_bytes() == whole, at


def test_a_resumed_run_can_be_saved_again(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    first = saved_at(call, small_files, tmp_path, "2 h", "--policy", "srtf")
    whole = (tmp_path / "on-the-way.json").read_bytes()
    second = saved_at(call, small_files, tmp_path, "6 h", "--resume", str(first))
    assert call("run", *small_files, "--resume", second, "-o", tmp_path / "b.json")[0] == 0
    assert (tmp_path / "b.json").read_bytes() == whole


@pytest.mark.parametrize("other", ["srtf", "easy_backfill", "sjf+conservative+best_fit"])
def test_a_fork_shares_the_past_and_passes_the_verifier(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path, other: str
) -> None:
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "fifo", *NOISY)
    fork = tmp_path / "fork.json"
    code, out, said = call(
        *("run", *small_files, "--resume", snapshot, "--policy", other, "-o", fork, "--json")
    )
    assert code == 0, said
    assert json.loads(out)["violations"] == 0
    assert call("verify", *small_files, fork)[0] == 0
    whole, forked = read_run(tmp_path / "on-the-way.json"), read_run(fork)
    assert forked.policy == f"fifo, then {other}"
    assert forked.actual_work == whole.actual_work
    at_us = 3 * 3600 * 10**6
    before = [a for a in whole.allocations if a.end_us < at_us]
    assert before == [a for a in forked.allocations if a.end_us < at_us]
    assert before
    once = fork.read_bytes()
    assert call("run", *small_files, "--resume", snapshot, "--policy", other, "-o", fork)[0] == 0
    assert fork.read_bytes() == once, "a fork is as repeatable as a run"


def test_a_fork_has_a_page(call: Call, small_files: tuple[Path, Path], tmp_path: Path) -> None:
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "fifo")
    fork, page = tmp_path / "fork.json", tmp_path / "fork.html"
    words = ("--resume", snapshot, "--policy", "srtf", "-o", fork, "--report", page)
    assert call("run", *small_files, *words)[0] == 0
    again = tmp_path / "again.html"
    assert call("report", *small_files, fork, "-o", again)[0] == 0
    commands = [command_on(file.read_text()) for file in (page, again)]
    assert commands[0].endswith(f"--policy srtf --resume {snapshot}")
    assert commands[1] == f"fleetfit report {' '.join(map(str, small_files))} {fork}"


def command_on(page: str) -> str:
    found = re.search(r'<script type="text/plain" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return str(unpacked(found[1])["origin"]["command"])


def test_a_fork_is_asked_at_the_instant_itself(
    call: Call, tmp_path: Path, small_files: tuple[Path, Path]
) -> None:
    """Strict order leaves accelerators idle behind a job that waits; best fit takes them."""
    workload = tmp_path / "blocked.yaml"
    workload.write_text(
        "schema: workload/1\ntitle: A head that blocks\nclasses:\n"
        "  - {name: half, run_time: {}, gang: 8, accelerators: [A100-80GB-SXM], restart: 0 s}\n"
        "  - {name: all, run_time: {}, gang: 16, accelerators: [A100-80GB-SXM], restart: 0 s}\n"
        "jobs:\n"
        "  - {id: first, class: half, run_time: 10 h}\n"
        "  - {id: head, class: all, run_time: 1 h, release: 1 h}\n"
        "  - {id: last, class: half, run_time: 1 h, release: 2 h}\n"
    )
    files = (small_files[0], workload)
    snapshot = saved_at(call, files, tmp_path, "4 h", "--policy", "fifo")
    fork = tmp_path / "fork.json"
    words = ("--resume", snapshot, "--policy", "best_fit", "-o", fork)
    assert call("run", *files, *words)[0] == 0
    starts_h = {a.job: a.start_us / 3.6e9 for a in read_run(fork).allocations}
    assert starts_h == {0: 0.0, 1: 10.0, 2: 4.0}


def test_a_snapshot_runs_no_code_that_the_command_line_does_not_name(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Mine:\n"
        "    def decide(self, view):\n"
        "        self.seen = view.now_us\n"
        "        for job in list(view.waiting):\n"
        "            found = view.find(job)\n"
        "            if found is not None:\n"
        "                view.start(job, *found)\n"
    )
    name = f"{file}:Mine"
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", name)
    whole, again = tmp_path / "on-the-way.json", tmp_path / "again.json"
    words = ("--resume", snapshot, "-o", again)
    assert call("run", *small_files, *words, "--policy", name)[0] == 0
    assert again.read_bytes() == whole.read_bytes()
    assert call("run", *small_files, *words, "--policy", "srtf")[0] == 0, "the file is not needed"
    file.write_text("raise SystemExit('this ran')\n")
    code, _, said = call("run", *small_files, *words)
    assert code == 2
    assert "--policy: the saved run's policy is code in a file" in said


def test_another_process_resumes_to_the_same_bytes(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "srtf", *NOISY)
    for hash_seed in ("1", "4242"):
        again = tmp_path / f"{hash_seed}.json"
        words = ["run", *small_files, "--resume", snapshot, "-o", again]
        subprocess.run(
            [sys.executable, "-m", "scheduler", *map(str, words)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        )
        assert again.read_bytes() == (tmp_path / "on-the-way.json").read_bytes()


def test_a_run_that_ends_earlier_is_not_saved(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    at = ("--save-at", "90 d", "--snapshot", tmp_path / "late.json")
    code, _, said = call("run", *small_files, "--policy", "fifo", *at)
    assert code == 1
    assert "before --save-at: nothing was saved" in said
    assert not (tmp_path / "late.json").exists()


def test_options_that_do_not_go_together_are_named_in_one_pass(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    code, _, said = call(
        *("run", *small_files, "--save-at", "soon", "--replays", "3", "--executor", "ray")
    )
    assert code == 2
    for part in (
        "--save-at: goes with --snapshot FILE",
        "--save-at: not a time, got 'soon'",
        "--replays: --save-at is for one replay, got '3'",
        "--executor: --save-at plays in this process, got 'ray'; allowed: local",
    ):
        assert part in said
    late = ("--save-at", "6 h", "--snapshot", tmp_path / "x.json", "--horizon", "5 h")
    assert (
        "--save-at: lies after the end, got '6 h'; allowed: before 5 h"
        in (call("run", *small_files, *late)[2])
    )
    assert "--snapshot: goes with --save-at TIME" in call(
        "run", *small_files, "--snapshot", tmp_path / "x.json"
    )[2]  # fmt: skip


def test_what_contradicts_the_saved_run_is_named(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "fifo", *NOISY)
    words = ("--resume", snapshot, "--seed", "8", "--noise", "0.1", "--horizon", "5 h")
    code, _, said = call("run", *small_files, *words, "--save-at", "1 h", "--snapshot", "x.json")
    assert code == 2
    for part in (
        "--seed: the saved run was played otherwise, got '8'; allowed: 7",
        "--noise: the saved run was played otherwise, got '0.1'; allowed: 0.3",
        "--horizon: the saved run was played otherwise, got '18000.0'; allowed: None",
        "--save-at: lies before the snapshot, got '3600 s'; allowed: from 10800 s",
    ):
        assert part in said
    code, _, said = call("run", *small_files, "--resume", snapshot, "--policy", "srft")
    assert code == 2
    assert "did you mean 'srtf'?" in said


def test_other_inputs_are_noticed_and_named(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    topology, workload = small_files
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "fifo")
    more = tmp_path / "more.yaml"
    more.write_text(topology.read_text().replace("nodes: 4, per_node: 4", "nodes: 5, per_node: 4"))
    code, out, said = call("run", more, workload, "--resume", snapshot)
    assert (code, out) == (2, "")
    assert "the snapshot is of another problem, with other topology;" in said
    assert str(snapshot) in said
    assert f"allowed: {topology.stem} and {workload.stem}, with the same --load" in said
    code, _, said = call("run", *small_files, "--resume", snapshot, "--load", "0.5")
    assert code == 2
    assert "with other jobs;" in said


def test_files_that_are_no_snapshots_end_in_one_message(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    snapshot = saved_at(call, small_files, tmp_path, "3 h", "--policy", "fifo")
    text = snapshot.read_text()
    for content, message in (
        ("", "the file is empty"),
        (text[: len(text) // 2], "not valid JSON"),
        ("[1]", "another kind of file"),
        ((tmp_path / "on-the-way.json").read_text(), "another kind of file"),
        (text.replace(f'"fleetfit":"{VERSION}"', '"fleetfit":"0.0.1"'), "another version"),
        (text.replace('"seed":0', '"seed":1', 1), "the snapshot is damaged"),
        (text.replace('"at_us"', '"at"'), "the snapshot is damaged"),
    ):
        snapshot.write_text(content)
        code, out, said = call("run", *small_files, "--resume", snapshot)
        assert (code, out) == (2, ""), message
        assert message in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1
    code, _, said = call("run", *small_files, "--resume", tmp_path / "none.json")
    assert code == 2
    assert "cannot be read" in said


@functools.cache
def a_snapshot() -> tuple[Problem, str]:
    problem = random_terms(np.random.default_rng(3))
    engine = Engine(
        problem, make("srtf"), policy_name="srtf", seed=0, information="exact", noise_sigma=0.1,
        horizon_s=400.0, account="run",
    )  # fmt: skip
    engine.play(50_000_000)
    return problem, json.dumps(engine.save())


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_always_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("snapshots") / "saved.json"
    write_snapshot(a_small_state(), path)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 2))  # the last is the end of the line
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != raw[at]))
    raw[at] = byte
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError):
        read_snapshot(path)


def a_small_state() -> dict[str, object]:
    return {
        "schema": "snapshot/2",
        "inputs": {"jobs": "0f" * 16},
        "policy_name": "fifo, then é",
        "arguments": {"seed": 3, "noise_sigma": 0.1, "horizon_s": None},
        "at_us": 2**40,
        "run": {"id": 0, "list": [1, -0.0, 1e-300, {"float": "inf"}, "\n\t\\", True, None]},
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    write_snapshot(a_small_state(), path, {"topology": "t"})
    found = read_snapshot(path)
    assert found == a_small_state() | {"fleetfit": VERSION, "made_from": {"topology": "t"}}
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert read_snapshot(path) == found, "laid out otherwise, it is still the same"
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with pytest.raises(InputError, match="link"):
        write_snapshot(a_small_state(), link)


_ODD = st.sampled_from(
    [None, True, -1, 10**30, 1.5, "", "x", [], [[]], {}, {"ref": 0}, {"ref": 10**6}, {"keep": True},
     {"object": "os:system", "state": {}, "id": 1}, {"given": ["problem", "__class__"]},
     {"given": ["x"]}, {"enum": "x", "value": 3}, {"array": "O", "shape": [9], "data": [], "id": 2},
     {"scalar": "V", "value": 1}, {"float": "x"}, {"tuple": 3}, {"deque": [], "most": -1, "id": 3}]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_state_that_was_made_up_is_restored_or_refused(data: st.DataObject) -> None:
    """Past the hash, too: nothing but an InputError comes out of a state that makes no sense."""
    problem, text = a_snapshot()
    saved = json.loads(text)
    place = saved
    for _ in range(data.draw(st.integers(1, 9))):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        last = data.draw(st.sampled_from(keys))
        holder, place = place, place[last]
        if not isinstance(place, (dict, list)) or not place:
            break
    holder[last] = data.draw(_ODD)
    fork = data.draw(st.booleans())
    with contextlib.suppress(InputError):
        Engine.restore(problem, saved, make("srtf"), fork=fork)
