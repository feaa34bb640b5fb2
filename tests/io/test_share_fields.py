"""Gang sizes below one: shares of an accelerator, in every file that holds jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.core.units import GIB
from scheduler.core.workload import Workload
from scheduler.io.workload import load_workload, parse_workload

HEAD = "schema: workload/1\ntitle: shares\nclasses:\n"
JOB = "jobs:\n  - {id: a, class: c, run_time: 1 h}\n"


def read(fields: str, jobs: str = JOB) -> Workload:
    return parse_workload(f"{HEAD}  - {{name: c, {fields}}}\n{jobs}")


def fault_of(fields: str) -> str:
    with pytest.raises(InputError) as caught:
        read(fields)
    (fault,) = caught.value.faults
    return f"{fault.path}: {fault.message}; {fault.allowed}"


@pytest.mark.parametrize(
    ("written", "milli"),
    [("0.3", 300), ("[0.25]", 250), ("0.001", 1), ("0.999", 999), ("1", 1000), ("1.0", 1000)],
)
def test_a_share_is_a_gang_size_below_one(written: str, milli: int) -> None:
    (kind,) = read(f"run_time: {{}}, gang: {written}, memory: 5 GiB").classes
    assert (kind.gang, kind.share_milli, kind.memory_bytes) == ((1,), milli, 5 * GIB)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0.0005", "classes[0].gang: not a share in thousandths; 0.001 to 0.999"),
        ("0.3333", "classes[0].gang: not a share in thousandths; 0.001 to 0.999"),
        ("0", "classes[0].gang: out of range; a whole number from 1"),
        ("-0.5", "classes[0].gang: not a whole number; a whole number from 1"),
        ("1.5", "classes[0].gang: not a whole number; a whole number from 1"),
        ("half", "classes[0].gang[0]: not a number of accelerators; a whole number from 1"),
        ("[0.5, 1]", "classes[0]: a share beside other gang sizes; the share alone"),
        ("[0.5, 0.6]", "classes[0]: a share beside other gang sizes; the share alone"),
    ],
)
def test_what_is_no_share_is_refused(written: str, expected: str) -> None:
    assert fault_of(f"run_time: {{}}, gang: {written}").startswith(expected)


def test_a_share_mixes_no_types() -> None:
    model = "model: {name: llama-2-7b}, gang: 0.5, mixed_types: 2"
    assert "a share of one accelerator cannot mix types" in fault_of(model)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_tables_of_jobs_hold_shares(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"id": "a", "gang": "0.3", "run_time_s": "10", "memory_gib": "4"},
        {"id": "b", "gang": "2|4", "run_time_s": "10", "memory_gib": ""},
        {"id": "c", "gang": "0.3", "run_time_s": "5", "memory_gib": "4"},
    ]
    path = tmp_path / f"jobs.{suffix}"
    if suffix == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(row | {"gang": 0.3} if row["id"] == "a" else row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    workload = load_workload(path)
    kinds = [workload.classes[c] for c in workload.jobs.class_index.tolist()]
    assert [(k.gang, k.share_milli) for k in kinds] == [((1,), 300), ((2, 4), 1000), ((1,), 300)]
    assert kinds[0] is kinds[2]
    assert kinds[0].memory_bytes == 4 * GIB


def test_tables_hold_what_a_share_takes_of_its_node(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    text = "gang,run_time_s,cpus,host_memory_gib\n0.5,1,4,16\n0.5,1,,\n0.5,1,-1,2\n"
    path.write_text(text.removesuffix("0.5,1,-1,2\n"), encoding="utf-8")
    first, second = load_workload(path).classes
    assert (first.cpus, first.host_memory_bytes, first.share_milli) == (4.0, 16 * GIB, 500)
    assert (second.cpus, second.host_memory_bytes) == (0.0, 0.0)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="cpus: negative value"):
        load_workload(path)


def test_tables_refuse_what_is_no_share(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(
        "id,gang,run_time_s\na,0.3333,1\nb,0.5|1,1\nc,1.5,1\nd,nan,1\ne,0.2,1\n", encoding="utf-8"
    )
    with pytest.raises(InputError) as caught:
        load_workload(path)
    found = [(f.line, f.message) for f in caught.value.faults]
    assert found == [
        (2, "not a share in thousandths"),
        (3, "a share beside other gang sizes"),
        (4, "not a whole number"),
        (5, "not a finite number"),
    ]
