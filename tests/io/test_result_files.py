"""Runs and schedules through JSON and back, canonical bytes, and atomic files."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InputError
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.run import (
    Allocation,
    Down,
    Placement,
    ReplicaAllocation,
    Run,
    Schedule,
    Status,
)
from scheduler.io import (
    canonical_json,
    read_run,
    read_schedule,
    run_from_json,
    run_to_json,
    write_run,
    write_schedule,
    write_text,
)

TIMES = st.integers(0, 2**62)
FLOATS = st.floats(allow_nan=False)
INDEX = st.integers(0, 10**6)


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    counts = draw(st.lists(st.integers(1, 16), max_size=4))
    nodes = draw(st.lists(INDEX, min_size=len(counts), max_size=len(counts)))
    return Placement(tuple(nodes), tuple(counts))


ALLOCATIONS = st.builds(Allocation, INDEX, INDEX, TIMES, TIMES, TIMES, FLOATS, FLOATS, placements())
REPLICAS = st.builds(ReplicaAllocation, INDEX, INDEX, TIMES, TIMES, TIMES, placements())
DOWNS = st.builds(Down, INDEX, TIMES, TIMES)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    pools = draw(st.integers(0, 3))
    rows = [draw(st.lists(TIMES, min_size=len(Cause), max_size=len(Cause))) for _ in range(pools)]
    amount = np.array(rows, dtype=np.int64).reshape(pools, len(Cause))
    return Ledger(amount, tuple(f"T{i}" for i in range(pools)), ("d",) * pools)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=4).map(tuple)


RUNS = st.builds(
    Run,
    policy=st.text(max_size=10),
    information=st.sampled_from(["exact", "estimates", "none"]),
    seed=st.integers(0, 2**31),
    horizon_us=TIMES,
    ledger_end_us=TIMES,
    allocations=lists(ALLOCATIONS),
    replicas=lists(REPLICAS),
    downs=lists(DOWNS),
    actual_work=lists(FLOATS),
    finished_us=st.dictionaries(INDEX, TIMES, max_size=4),
    rejected=st.dictionaries(INDEX, st.text(max_size=10), max_size=3),
    running=lists(INDEX),
    waiting=lists(INDEX),
    ledger=ledgers(),
    served=lists(FLOATS),
    demanded=lists(FLOATS),
    energy_j=FLOATS,
    cost_usd=FLOATS,
    carbon_g=FLOATS,
    events=INDEX,
    solver=st.dictionaries(st.text(max_size=5), FLOATS, max_size=3),
)


def same(one: Run, other: Run) -> bool:
    for field in fields(Run):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Ledger):
            parts = ("pool_types", "pool_domains")
            equal = np.array_equal(a.amount_us, b.amount_us) and a.amount_us.dtype == np.int64
            equal = equal and all(getattr(a, p) == getattr(b, p) for p in parts)
        else:
            equal = a == b
        if not equal:
            return False
    return True


def one_run() -> Run:
    return Run(
        policy="fifo",
        information="exact",
        seed=3,
        horizon_us=100,
        ledger_end_us=90,
        allocations=(Allocation(0, 1, 0, 50, 5, 1.5, 0.25, Placement((0, 2), (8, 4))),),
        replicas=(ReplicaAllocation(0, 0, 10, 90, 5, Placement((1,), (2,))),),
        downs=(Down(3, 20, 40),),
        actual_work=(1.5,),
        finished_us={0: 50},
        rejected={1: "does not fit"},
        running=(),
        waiting=(),
        ledger=Ledger(np.arange(13, dtype=np.int64).reshape(1, 13), ("T4",), ("pod",)),
        solver={"worst_gap": math.inf},
    )


@given(run=RUNS)
def test_runs_come_back_equal(run: Run) -> None:
    text = canonical_json(run_to_json(run))
    back = run_from_json(json.loads(text))
    assert same(run, back)
    assert canonical_json(run_to_json(back)) == text


def test_every_field_of_a_run_is_written() -> None:
    assert set(run_to_json(one_run())) == {"schema", *(f.name for f in fields(Run))}


def test_run_files(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_run(one_run(), path, {"topology": "demo-mixed"})
    assert same(read_run(path), one_run())
    data = json.loads(path.read_text())
    assert data["schema"] == "run/1"
    assert data["inputs"] == {"topology": "demo-mixed"}
    assert data["solver"] == {"worst_gap": "inf"}
    assert path.read_text() == canonical_json(data)
    assert os.listdir(tmp_path) == ["run.json"]  # noqa: PTH208


def test_schedule_files(tmp_path: Path) -> None:
    schedule = Schedule(one_run().allocations, "mean_jct", 5.0, 4.5, Status.TIME_LIMIT)
    write_schedule(schedule, tmp_path / "s.json")
    assert read_schedule(tmp_path / "s.json") == schedule
    with pytest.raises(InputError, match="another kind of file, got 'schedule/1'"):
        read_run(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "run/9"}, "schema: another kind of file, got 'run/9'; allowed: run/1"),
        ({"policy": None}, "policy: missing field"),
        ({"seed": "3"}, "seed: not what is expected here, got '3'"),
        ({"seed": True}, "seed: not what is expected here"),
        ({"seed": 2**63}, "seed: not what is expected here"),
        ({"horizon_us": 1.5}, "horizon_us: not what is expected here"),
        ({"running": 5}, "running: not what is expected here"),
        ({"running": [1, "x"]}, "running[1]: not what is expected here, got 'x'"),
        ({"finished_us": {"0": 50}}, "finished_us: not what is expected here"),
        ({"finished_us": [[0]]}, "finished_us[0]: not what is expected here"),
        ({"allocations": {}}, "allocations.job: missing field"),
        ({"allocations": 3}, "allocations.nodes: missing field"),
        ({"downs": {"node": [1], "start_us": [], "end_us": []}}, "downs: columns of different"),
        ({"ledger": {"causes": ["down"]}}, "ledger.causes: other causes than ours"),
        ({"energy_j": "much"}, "energy_j: not what is expected here"),
    ],
)
def test_damaged_runs(change: dict[str, object], message: str) -> None:
    data = run_to_json(one_run()) | change
    with pytest.raises(InputError) as caught:
        run_from_json(data, "r.json")
    assert message in str(caught.value)
    assert all(f.file == "r.json" for f in caught.value.faults)


def test_placements_that_do_not_match_their_rows() -> None:
    data = run_to_json(one_run())
    data["replicas"]["nodes"] = []
    data["allocations"]["work"] = []
    with pytest.raises(InputError) as caught:
        run_from_json(data)
    assert str(caught.value).count("columns of different length") >= 2


@given(damage=st.data())
def test_any_replaced_value_is_read_or_refused(damage: st.DataObject) -> None:
    data = run_to_json(one_run())
    key = damage.draw(st.sampled_from(sorted(data)))
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
        max_leaves=5,
    )
    if isinstance(data[key], dict) and data[key]:
        inner = damage.draw(st.sampled_from(sorted(data[key])))
        data[key] = data[key] | {inner: damage.draw(json_values)}
    else:
        data[key] = damage.draw(json_values)
    try:
        run = run_from_json(data)
    except InputError:
        return
    assert isinstance(run, Run)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty"),
        (b"{", "not valid JSON"),
        (b"[]", "another kind of file"),
        (b'{"schema": "run/1", "seed": NaN}', "NaN is not a number"),
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable_run_files(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message):
        read_run(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "missing.json")


def test_canonical_json_depends_on_the_value_alone() -> None:
    assert canonical_json({"b": 0.1, "a": [1, "é"]}) == '{"a":[1,"\\u00e9"],"b":0.1}\n'
    assert canonical_json({"x": 1, "y": 2}) == canonical_json({"y": 2, "x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": math.nan})


def test_writing_replaces_whole_files_and_not_links(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    write_text(target, "old")
    write_text(target, "new")
    assert target.read_text() == "new"
    link.symlink_to(target)
    with pytest.raises(InputError, match="will not write through a link"):
        write_text(link, "x")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="will not write through a link"):
        write_text(dangling, "x")
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "x")
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_text(tmp_path / "missing" / "f", "x")
    assert target.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "link", "target"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
