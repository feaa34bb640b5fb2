"""Sia's simulator inputs: workloads (one CSV of jobs) and profiles (a folder per application).

Formats of siasosp23/artifacts: ``placements-<type>.csv`` and ``scalability-<type>.csv`` hold
seconds per step, ``validation-<batch>.csv`` one row per epoch. Columns go by name, since their
order differs between files. What the simulator fixes per application (epochs, restart seconds,
slowdown) is no column of any file and stands here as constants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from scheduler.core.adaptive import (
    AdaptiveJob,
    AdaptiveProblem,
    Application,
    NodeGroup,
    Shape,
    StepRows,
    StepTimes,
)
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.io.rows import LONGEST_S, RowFaults, check_width, read_table

DEFAULT_GROUPS: Final = (NodeGroup("aws", 6, 4), NodeGroup("rtx", 3, 8), NodeGroup("dgx-ext", 2, 8))
"""The simulator's default cluster: 24 T4, 24 RTX 2080 Ti and 16 A100 accelerators."""

EPOCHS: Final = {
    **{"cifar10": 100, "deepspeech2": 80, "bert": 2, "yolov3": 50, "imagenet": 90},
    **{"ncf": 10, "gpt_pmp": 2},
}
RESTART_S: Final = {
    **{"imagenet": 250, "bert": 120, "yolov3": 80, "cifar10": 50, "deepspeech2": 25, "ncf": 15},
}
OTHER_RESTART_S: Final = 30
SLOWDOWN: Final = {"cifar10": 1.8, "ncf": 1.5, "gpt_pmp": 1.0}
OTHER_SLOWDOWN: Final = 1.2
LARGEST_LOCAL: Final = {("deepspeech2", "rtx"): 57.0}
"""Batch per accelerator that fits, below the largest measured."""

JOB_COLUMNS: Final = ("name", "time", "application", "num_replicas", "batch_size")
STEP_COLUMNS: Final = ("local_bsz", "step_time", "sync_time")
STATISTICS: Final = ("progress", "grad_sqr", "grad_var")
GANG_CAP: Final = 100_000
BATCH_CAP: Final = 10**9

Row = tuple[int, Mapping[str, str]]


def read_sia(
    workload: Path, profiles: Path, groups: Sequence[NodeGroup] = DEFAULT_GROUPS
) -> AdaptiveProblem:
    """Return the jobs of a workload with the profiles of their applications.

    Parameters
    ----------
    workload : Path
        CSV of jobs.
    profiles : Path
        Folder with one folder per application.
    groups : sequence of NodeGroup
        The fleet; names are the ``<type>`` of profile files.

    Raises
    ------
    InputError
        With every fault of the file at hand, up to the cap.
    """
    known = sorted(p.name for p in profiles.iterdir() if p.is_dir()) if profiles.is_dir() else []
    if not known:
        raise InputError([Fault("no folder of profiles", str(profiles), allowed="<application>/")])
    faults = RowFaults(str(workload))
    found: dict[str, int] = {}
    jobs = []
    for line, row in _rows(workload, JOB_COLUMNS, faults):
        name = row["application"]
        if name not in known:
            near = nearest_name(name, known)
            faults.add(line, "application", "no profiles", name, ", ".join(known), near)
        release = faults.number(line, "time", row["time"], high=LONGEST_S)
        gang = faults.whole(line, "num_replicas", row["num_replicas"], high=GANG_CAP)
        batch = faults.whole(line, "batch_size", row["batch_size"], high=BATCH_CAP)
        category = row.get("category", "adaptive")
        if category not in ("", "adaptive"):
            faults.add(line, "category", "such jobs are not simulated", category, "adaptive")
        jobs.append(
            AdaptiveJob(row["name"], found.setdefault(name, len(found)), release, gang, batch)
        )
    if not jobs:
        faults.add(0, "", "no jobs", "", "a header and rows")
    faults.finish()
    jobs.sort(key=lambda job: job.release_s)
    types = [group.name for group in groups]
    applications = tuple(_application(profiles / name, name, types) for name in found)
    title = f"{workload.parent.name}/{workload.stem}"
    return AdaptiveProblem(title, tuple(groups), applications, tuple(jobs))


def parse_groups(text: str) -> tuple[NodeGroup, ...]:
    """Return the node groups of a text such as ``aws=6x4,rtx=3x8``.

    Raises
    ------
    InputError
        If the text is anything else.
    """
    groups = []
    for part in text.split(","):
        name, _, size = part.strip().partition("=")
        nodes, _, per_node = size.partition("x")
        counts = [c for c in (nodes, per_node) if c.isascii() and c.isdigit() and len(c) < 6]
        if not name or len(counts) < 2 or "0" in {c.lstrip("0") or "0" for c in counts}:
            allowed = "TYPE=NODESxACCELERATORS, separated by commas"
            raise InputError([Fault("not a fleet", "--fleet", "", text, allowed)])
        groups.append(NodeGroup(name, int(nodes), int(per_node)))
    if len({group.name for group in groups}) < len(groups):
        raise InputError([Fault("a type twice", "--fleet", "", text)])
    return tuple(groups)


def _rows(path: Path, needed: Sequence[str], faults: RowFaults) -> Iterator[Row]:
    """Yield (line, cells by column) of a table that has at least the columns `needed`."""
    header: list[str] = []
    for line, cells in read_table(path, str(path)):
        if not header:
            header = cells
            missing = [name for name in needed if name not in header]
            if missing:
                faults.add(line, "header", "missing columns", ", ".join(missing))
                faults.finish()
            continue
        if check_width(faults, line, cells, len(header)):
            yield line, dict(zip(header, cells, strict=True))


def _application(folder: Path, name: str, types: Sequence[str]) -> Application:
    """Return one application from its folder."""
    batches, progress, sqr, var = _statistics(folder)
    epochs = EPOCHS.get(name, progress.shape[0])
    if epochs > progress.shape[0]:
        message = f"{progress.shape[0]} epochs of statistics"
        raise InputError([Fault(message, str(folder), "validation", allowed=f"{epochs} epochs")])
    ends = progress.min(axis=1)[:epochs]
    if np.any(np.diff(ends, prepend=0.0) <= 0):
        raise InputError([Fault("progress does not increase", str(folder), "validation-*.csv")])
    return Application(
        name=name,
        steps={t: _step_times(folder, t, LARGEST_LOCAL.get((name, t), np.inf)) for t in types},
        batches=batches,
        epoch_ends=ends,
        grad_sqr=sqr[:epochs],
        grad_var=var[:epochs],
        slowdown=SLOWDOWN.get(name, OTHER_SLOWDOWN),
        restart_s=RESTART_S.get(name, OTHER_RESTART_S),
    )


def _statistics(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return batch sizes (ascending), progress, squared norm and variance (epochs, batches)."""
    files = {}
    for path in sorted(folder.glob("validation-*.csv")):
        text = path.stem.removeprefix("validation-")
        if text.isascii() and text.isdigit() and 0 < int(text) <= BATCH_CAP:
            files[int(text)] = path
    if not files:
        raise InputError([Fault("no statistics", str(folder), allowed="validation-<batch>.csv")])
    columns: list[list[list[float]]] = []
    for size in sorted(files):
        faults = RowFaults(str(files[size]))
        rows = [
            [faults.number(line, key, row[key]) for key in STATISTICS]
            for line, row in _rows(files[size], STATISTICS, faults)
        ]
        if not rows:
            faults.add(0, "", "no epochs")
        elif any(sqr + var == 0 for _, sqr, var in rows):
            faults.add(0, "grad_sqr", "neither norm nor variance in some epoch")
        faults.finish()
        columns.append(rows)
    epochs = min(len(rows) for rows in columns)
    table = np.array([rows[:epochs] for rows in columns])  # batches, epochs, statistics
    progress, sqr, var = np.moveaxis(table, 2, 0)
    return np.array(sorted(files), float), progress.T, sqr.T, var.T


def _step_times(folder: Path, kind: str, largest: float) -> StepTimes:
    """Return the measured step times on one accelerator type."""
    path = folder / f"placements-{kind}.csv"
    faults = RowFaults(str(path))
    shapes: dict[Shape, list[list[float]]] = defaultdict(list)
    for line, row in _rows(path, ("placement", *STEP_COLUMNS), faults):
        digits = row["placement"]
        if not (digits.isascii() and digits.isdigit() and digits.strip("0")):
            faults.add(line, "placement", "not a shape", digits, "one digit per node")
            continue
        shapes[canonical(tuple(int(d) for d in digits if d != "0"))].append(
            _step(line, row, faults)
        )
    if not shapes:
        faults.add(0, "", "no placements")
    faults.finish()
    path = folder / f"scalability-{kind}.csv"
    faults = RowFaults(str(path))
    pairs: dict[tuple[int, int], list[list[float]]] = defaultdict(list)
    for line, row in _rows(path, ("num_nodes", "num_replicas", *STEP_COLUMNS), faults):
        nodes = faults.whole(line, "num_nodes", row["num_nodes"], high=GANG_CAP)
        gang = faults.whole(line, "num_replicas", row["num_replicas"], high=GANG_CAP)
        pairs[nodes, gang].append(_step(line, row, faults))
    faults.finish()
    for shape, rows in shapes.items():
        pairs[len(shape), sum(shape)] += rows
    return StepTimes(
        {shape: _merged(rows) for shape, rows in shapes.items()},
        {pair: _merged(rows) for pair, rows in sorted(pairs.items())},
        largest,
    )


def canonical(shape: Shape) -> Shape:
    """Return the smallest rotation of a shape, by which profiles go."""
    return min(shape[i:] + shape[:i] for i in range(len(shape)))


def _step(line: int, row: Mapping[str, str], faults: RowFaults) -> list[float]:
    local, step = (faults.number(line, c, row[c], positive=True) for c in STEP_COLUMNS[:2])
    sync = faults.number(line, "sync_time", row["sync_time"])
    if sync > step:
        faults.add(line, "sync_time", "more than the whole step", row["sync_time"])
    return [local, step, sync]


def _merged(rows: list[list[float]]) -> StepRows:
    """Return rows by local batch, equal ones averaged."""
    table = np.array(rows)
    local, where = np.unique(table[:, 0], return_inverse=True)
    count = np.bincount(where)
    means = [np.bincount(where, table[:, c]) / count for c in (1, 2)]
    return np.column_stack([local, *means])
