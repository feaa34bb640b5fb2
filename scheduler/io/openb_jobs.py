"""openb's pods as jobs that come and go: the lists of `scheduler.io.openb` with their times.

``creation_time``, ``scheduled_time`` and ``deletion_time`` are seconds; a pod ran from when it was
scheduled until it was deleted. Pods without accelerators, and those that were never scheduled, are
left out. ``cpu_milli`` and ``memory_mib`` become host resources, ``gpu_milli`` below 1000 a share
of an accelerator, ``gpu_spec`` the permitted types. Published by alibaba/clusterdata gpu-v2023
(Apache-2.0).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from scheduler.core.packing import ACCELERATORS_CAP, WHOLE_MILLI
from scheduler.core.workload import JobClass, RunTimePhysics, Workload
from scheduler.io.job_columns import JobColumns
from scheduler.io.openb import CPU_CAP_MILLI, MEMORY_CAP_MIB, MIB, POD_COLUMNS
from scheduler.io.rows import LONGEST_S, RowFaults, read_table
from scheduler.io.trace_rows import TraceOptions, Window, refuse_options, table_rows

COLUMNS: Final = (*POD_COLUMNS, "creation_time", "deletion_time", "scheduled_time")
_SPEC: Final = "gpu_spec"

_Ask = tuple[int, int, int, int, str]
"""CPU in thousandths, memory in MiB, accelerators, thousandths of each, permitted types."""


def read_openb_jobs(path: Path, options: TraceOptions) -> Workload:
    """Return the pods with accelerators in the list at `path`, as jobs.

    Pods that ask for the same are a class that knows only run times; job ids are the pods'
    names, and times count from the first job kept.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    refuse_options(options, ("profile",), "openb")
    file = str(path)
    _, header = next(read_table(path, file))
    wanted = (*COLUMNS, *((_SPEC,) if _SPEC in header else ()))
    faults, window = RowFaults(file), Window(options)
    columns, asks = JobColumns(), dict[_Ask, int]()
    taken: dict[str, int] = {}
    for line, _, found in table_rows(path, file, wanted, options, faults):
        cells = dict(zip(wanted, found, strict=True))
        name = cells["name"]
        if not name or name in taken:
            faults.add(line, "name", "used twice" if name else "missing value", name, "a new name")
        taken[name] = line
        ask = _ask(faults, line, cells)
        created = faults.number(line, "creation_time", cells["creation_time"], high=LONGEST_S)
        if ask is None or not cells["scheduled_time"]:
            continue
        began = faults.number(line, "scheduled_time", cells["scheduled_time"], high=LONGEST_S)
        ended = faults.number(line, "deletion_time", cells["deletion_time"], high=LONGEST_S)
        if ended <= began:
            allowed = f"a time after {began:g}, when it was scheduled"
            faults.add(line, "deletion_time", "ends before it begins", f"{ended:g}", allowed)
        elif window.keeps(created):
            columns.add(name, asks.setdefault(ask, len(asks)), created, ended - began)
    if not len(columns) and not faults.faults:
        faults.add(0, "", "no job is left", "", "pods with accelerators; a wider window")
    faults.finish()
    return Workload(
        name=path.name.split(".")[0],
        title=f"openb pods with accelerators: {len(columns)}",
        classes=tuple(_class_of(ask) for ask in asks),
        jobs=columns.jobs(from_first=True),
        tenants=columns.tenants,
        source="alibaba/clusterdata",
        licence="Apache-2.0",
    )


def _ask(faults: RowFaults, line: int, cells: dict[str, str]) -> _Ask | None:
    """Return what a pod asks for; None if it asks for no accelerator, or after noting a fault."""
    numbers = []
    for column, high in (
        ("cpu_milli", CPU_CAP_MILLI),
        ("memory_mib", MEMORY_CAP_MIB),
        ("num_gpu", ACCELERATORS_CAP),
        ("gpu_milli", WHOLE_MILLI),
    ):
        value = faults.number(line, column, cells[column], high=high)
        if not value.is_integer():
            if not math.isnan(value):
                allowed = f"a whole number from 0 to {high}"
                faults.add(line, column, "not a whole number", cells[column], allowed)
            return None
        numbers.append(int(value))
    cpu, memory, count, share = numbers
    if not count:
        return None
    if not share or (count > 1 and share < WHOLE_MILLI):
        message = "nothing of a GPU" if not share else "shares of several GPUs"
        faults.add(line, "gpu_milli", message, cells["gpu_milli"], f"{WHOLE_MILLI}")
        return None
    return cpu, memory, count, share, cells.get(_SPEC, "")


def _class_of(ask: _Ask) -> JobClass:
    cpu, memory, count, share, spec = ask
    size = f"{share / WHOLE_MILLI:g}" if share < WHOLE_MILLI else f"{count}"
    types = tuple(t for t in spec.split("|") if t)
    return JobClass(
        "-".join((f"gpu-{size}", f"cpu-{cpu / 1000:g}", f"{memory}MiB", *types)),
        RunTimePhysics(),
        (count,),
        accelerators=types or None,
        cpus=cpu / 1000 / count,
        host_memory_bytes=memory * MIB / count,
        share_milli=share,
    )
