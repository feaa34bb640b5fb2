"""Philly: Microsoft's training jobs of 2017, as CSV.

Columns ``timestamp`` (local submit time without zone), ``duration`` (seconds, summed over
attempts), ``num_gpus`` and ``cluster`` (virtual cluster); ``gpu_time`` is their product and is
not read. Rows are unsorted. Published by msr-fiddle/philly-traces (CC-BY-4.0); this encoding is
that of siasosp23/artifacts. Load is thin before 2017-10-02 and after 2017-12-10: use `since`
and `until`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scheduler.core.workload import JobClass, RunTimePhysics, Workload
from scheduler.io.job_columns import JobColumns
from scheduler.io.rows import LONGEST_S, RowFaults
from scheduler.io.trace_rows import Clock, TraceOptions, refuse_options, table_rows

COLUMNS: Final = ("timestamp", "duration", "num_gpus", "cluster")
GANG_CAP: Final = 100_000


def read_philly(path: Path, options: TraceOptions) -> Workload:
    """Return the Philly jobs in the file at `path`.

    Each gang size is a class that knows only run times; each virtual cluster is a tenant.
    Job ids are ``job-<row of the file>``; times count from the first job kept.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    refuse_options(options, ("profile",), "philly")
    file = str(path)
    faults = RowFaults(file)
    clock = Clock(options)
    columns = JobColumns()
    gangs: list[int] = []
    for line, number, cells in table_rows(path, file, COLUMNS, options, faults):
        at_s = clock.seconds(cells[0])
        if at_s is None:
            faults.add(line, "timestamp", "not a time", cells[0], "YYYY-MM-DD HH:MM:SS")
        duration = faults.number(line, "duration", cells[1], positive=True, high=LONGEST_S)
        gang = faults.whole(line, "num_gpus", cells[2], high=GANG_CAP)
        if at_s is not None and clock.keeps(at_s):
            gangs.append(gang)
            columns.add(f"job-{number}", gang, at_s, duration, tenant=cells[3] or "default")
    if not gangs:
        faults.add(0, "", "no job is left", "", "a wider window")
    faults.finish()
    sizes = sorted(set(gangs))
    return Workload(
        name=path.name.split(".")[0],
        title=f"Philly trace: {len(columns)} jobs",
        classes=tuple(JobClass(f"gang-{g}", RunTimePhysics(), (g,)) for g in sizes),
        jobs=columns.jobs({g: i for i, g in enumerate(sizes)}, from_first=True),
        tenants=columns.tenants,
        source="msr-fiddle/philly-traces",
        licence="CC-BY-4.0",
    )
