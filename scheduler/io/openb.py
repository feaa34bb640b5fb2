"""openb: Alibaba's production nodes and pods of 2023 with shared GPUs, as CSV.

Nodes: ``sn``, ``cpu_milli``, ``memory_mib``, ``gpu`` (how many) and ``model``. Pods: ``name``,
``cpu_milli``, ``memory_mib``, ``num_gpu``, ``gpu_milli`` (of each; below 1000 only for one GPU)
and, in some lists, ``gpu_spec`` (allowed models joined by ``|``). Other columns, such as the
times, are not read: the lists are snapshots, meant as an order of arrival. Published by
hkust-adsl/kubernetes-scheduler-simulator and alibaba/clusterdata gpu-v2023 (Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.packing import (
    ACCELERATORS_CAP,
    ANY_TYPE,
    WHOLE_MILLI,
    PackingNodes,
    PackingProblem,
    Pods,
)
from scheduler.core.workload import IntArray
from scheduler.io.rows import RowFaults, check_width, read_table

NODE_COLUMNS: Final = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS: Final = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
MIB: Final = 2**20
CPU_CAP_MILLI: Final = 10**9
MEMORY_CAP_MIB: Final = 2**40
_BAD: Final = -1  # a cell with a fault, not to be compared with others


@dataclass(frozen=True, slots=True)
class _Row:
    """A node or a pod as read."""

    id: str
    cpu_milli: int
    memory_mib: int
    accelerators: int
    share_milli: int
    types: tuple[str, ...]


def read_openb(nodes: Path, pods: Path) -> PackingProblem:
    """Return the packing problem of a node list and a pod list.

    Pods are sorted by name. A pod may ask for a model that no node has: it fits nowhere.

    Raises
    ------
    InputError
        With the faults of both files, up to the cap of each.
    """
    tables: list[list[_Row]] = []
    faults: list[Fault] = []
    readers = ((nodes, NODE_COLUMNS, (), _node), (pods, POD_COLUMNS, ("gpu_spec",), _pod))
    for path, columns, optional, reader in readers:
        try:
            tables.append(_read(path, columns, optional, reader))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    node_rows, pod_rows = tables
    types = sorted({t for row in (*node_rows, *pod_rows) for t in row.types})
    if len(types) > ACCELERATORS_CAP:
        message = "too many accelerator models"
        raise InputError([Fault(message, str(pods), "gpu_spec", allowed=f"{ACCELERATORS_CAP}")])
    index = {name: t for t, name in enumerate(types)}
    pod_rows.sort(key=lambda row: row.id)
    allowed = [sum(1 << index[t] for t in set(row.types)) or ANY_TYPE for row in pod_rows]
    cluster = PackingNodes(
        tuple(row.id for row in node_rows),
        _column([index[row.types[0]] if row.types else -1 for row in node_rows]),
        _column([row.accelerators for row in node_rows]),
        _column([row.cpu_milli for row in node_rows]),
        _column([row.memory_mib * MIB for row in node_rows]),
    )
    arriving = Pods(
        tuple(row.id for row in pod_rows),
        _column([row.cpu_milli for row in pod_rows]),
        _column([row.memory_mib * MIB for row in pod_rows]),
        _column([row.accelerators for row in pod_rows]),
        _column([row.share_milli for row in pod_rows]),
        _column(allowed),
        tuple("|".join(row.types) for row in pod_rows),
    )
    return PackingProblem(
        list_name(pods), tuple(types), cluster, arriving, "alibaba/clusterdata", "Apache-2.0"
    )


def list_name(path: Path) -> str:
    """Return the short name of a pod list: ``default`` of openb_pod_list_default.csv.gz."""
    return path.name.split(".")[0].removeprefix("openb_pod_list_")


def _column(values: Sequence[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


class _Cells:
    """The cells of one row by column, with the faults met on the way."""

    def __init__(self, faults: RowFaults, line: int, cells: dict[str, str]) -> None:
        self.faults, self.line, self._cells = faults, line, cells

    def text(self, column: str) -> str:
        return self._cells.get(column, "")

    def whole(self, column: str, high: int) -> int:
        """Return the whole number from 0 to `high` in a cell; `_BAD` after noting a fault."""
        value = self.faults.number(self.line, column, self.text(column), high=high)
        if math.isnan(value):
            return _BAD
        if value != int(value):
            self.fault(column, "not a whole number", f"from 0 to {high}")
            return _BAD
        return int(value)

    def fault(self, column: str, message: str, allowed: str) -> None:
        self.faults.add(self.line, column, message, self.text(column), allowed)


def _read(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str],
    reader: Callable[[_Cells], _Row],
) -> list[_Row]:
    """Return the rows of one file."""
    file = str(path)
    faults = RowFaults(file)
    rows = read_table(path, file)
    at, header = next(rows)
    for column in columns:
        if column not in header:
            near = nearest_name(column, header)
            faults.add(at, "", "missing column", column, ", ".join(header), near)
    faults.finish()
    wanted = {c: header.index(c) for c in (*columns, *optional) if c in header}
    found: list[_Row] = []
    lines: dict[str, int] = {}
    for line, cells in rows:
        if not check_width(faults, line, cells, len(header)):
            continue
        row = reader(_Cells(faults, line, {c: cells[i] for c, i in wanted.items()}))
        if not row.id:
            faults.add(line, columns[0], "missing value", allowed="a unique name")
        elif row.id in lines:
            seen = f"a name that line {lines[row.id]} does not have"
            faults.add(line, columns[0], "used twice", row.id, seen)
        lines.setdefault(row.id, line)
        found.append(row)
    if not found:
        faults.add(at, "", "no rows", allowed="at least one")
    faults.finish()
    return found


def _node(cells: _Cells) -> _Row:
    accelerators = cells.whole("gpu", ACCELERATORS_CAP)
    model = cells.text("model")
    if accelerators != _BAD and bool(accelerators) != bool(model):
        cells.fault("model", "model and number of GPUs disagree", "a model where there are GPUs")
    return _Row(
        cells.text("sn"),
        cells.whole("cpu_milli", CPU_CAP_MILLI),
        cells.whole("memory_mib", MEMORY_CAP_MIB),
        accelerators,
        0,
        (model,) if model else (),
    )


def _pod(cells: _Cells) -> _Row:
    accelerators = cells.whole("num_gpu", ACCELERATORS_CAP)
    share = cells.whole("gpu_milli", WHOLE_MILLI)
    if _BAD in (accelerators, share):
        pass
    elif accelerators == 0 and share:
        cells.fault("gpu_milli", "a share of no GPU", "0 where num_gpu is 0")
    elif accelerators == 1 and not share:
        cells.fault("gpu_milli", "nothing of a GPU", f"from 1 to {WHOLE_MILLI}")
    elif accelerators > 1 and share != WHOLE_MILLI:
        cells.fault("gpu_milli", "shares of several GPUs", f"{WHOLE_MILLI} where num_gpu > 1")
    types = tuple(t for t in cells.text("gpu_spec").split("|") if t) if accelerators else ()
    return _Row(
        cells.text("name"),
        cells.whole("cpu_milli", CPU_CAP_MILLI),
        cells.whole("memory_mib", MEMORY_CAP_MIB),
        accelerators,
        share,
        types,
    )
