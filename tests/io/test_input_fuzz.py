"""Damaged documents: whatever happens to them, they load or end in an InputError."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import EDGES, JOBS_CSV, TOPOLOGY, WORKLOAD
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InputError
from scheduler.io import (
    list_topologies,
    list_workloads,
    load_trace,
    parse_cluster,
    parse_workload,
)

PLAIN = yaml.SafeLoader  # the documents hold only what PyYAML and we read alike

VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 3, 2**63, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf")),
        *("", " ", "x", "no", "12:30:00", "007", "nan s", "-1 s", "1e999 s", "5 GB", "5 Gbit/s"),
        *("T4", "H100-SXM", "main", "topology/1", "workload/1", "\x1b[31m", "a" * 300, "é"),
        *([], {}, [[]], [1], {"a": 1}, [None], ["x", "x"], {"": ""}, {"name": "p"}),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            found += places(item, (*path, i))
    return found


def damage(document: Any, draw: Any) -> Any:
    """Drop, duplicate, retype, rename or move one value somewhere in `document`."""
    damaged = copy.deepcopy(document)
    path = draw(st.sampled_from(places(damaged)))
    holder = damaged
    for part in path[:-1]:
        holder = holder[part]
    last = path[-1]
    kind = draw(st.sampled_from(["drop", "set", "wrap", "copy", "rename", "swap"]))
    if kind == "drop":
        del holder[last]
    elif kind == "set":
        holder[last] = copy.deepcopy(draw(VALUES))
    elif kind == "wrap":
        holder[last] = [holder[last]] if draw(st.booleans()) else {"name": holder[last]}
    elif kind == "copy" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    elif kind == "rename" and isinstance(holder, dict):
        holder[str(last)[:-1] + draw(st.sampled_from("sxé"))] = holder.pop(last)
    else:
        other = draw(st.sampled_from(places(damaged)))
        value = document
        for part in other:
            with contextlib.suppress(KeyError, IndexError, TypeError):
                value = value[part]
        holder[last] = copy.deepcopy(value)
    return damaged


@pytest.mark.parametrize("text", [TOPOLOGY, EDGES])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_topologies(text: str, data: st.DataObject) -> None:
    document = yaml.load(text, PLAIN)
    for _ in range(data.draw(st.integers(1, 3))):
        document = damage(document, data.draw)
    with contextlib.suppress(InputError):
        cluster = parse_cluster(yaml.safe_dump(document))
        assert cluster.accelerator_count > 0


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_workloads(data: st.DataObject) -> None:
    document = yaml.load(WORKLOAD, PLAIN)
    for _ in range(data.draw(st.integers(1, 3))):
        document = damage(document, data.draw)
    with contextlib.suppress(InputError):
        workload = parse_workload(yaml.safe_dump(document))
        assert len(workload.jobs) or workload.services
        assert (workload.jobs.work > 0).all()
        assert (workload.jobs.release_s >= 0).all()


SHIPPED = [f.path for f in (*list_topologies(), *list_workloads())]


@settings(deadline=None, max_examples=100)
@given(data=st.data(), path=st.sampled_from(SHIPPED))
def test_shipped_files_with_damaged_bytes(data: st.DataObject, path: Path) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            raw[at:at] = data.draw(st.sampled_from([b"\n", b"  ", b": ", b"- ", b"{", b"'", b"-"]))
        else:
            del raw[at : at + data.draw(st.integers(1, 30))]
    parse = parse_cluster if path.parent.name == "topologies" else parse_workload
    with contextlib.suppress(InputError):
        parse(bytes(raw))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_job_tables_with_damaged_cells(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = [line.split(",") for line in JOBS_CSV.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        at = data.draw(st.integers(0, len(row) - 1))
        cell = data.draw(
            st.sampled_from(["", "-1", "nan", "1e400", "x", '"', "a\nb", "0", "1|", "é"])
        )
        row[at] = cell
    path = tmp_path_factory.mktemp("jobs") / "jobs.csv"
    path.write_text("\n".join(",".join(row) for row in rows))
    with contextlib.suppress(InputError):
        jobs = load_trace(path).jobs
        assert (jobs.work > 0).all()
        assert (jobs.weight > 0).all()
