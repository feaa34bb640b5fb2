"""Gavel's jobs: model types with step counts, for a measured throughput table.

Three encodings. The ``.trace`` files of stanford-futuredata/gavel (MIT) have ten tab-separated
fields without header: job type, command, working directory, name of the steps option, whether
data are needed, total steps, scale factor, priority weight, service-level objective, arrival in
seconds. Those of uw-mad-dash/shockwave (MIT) have twelve: how the batch size changes
(``static``, ``accordion``, ``gns``) after the scale factor, and the duration in seconds, which
becomes the user's estimate, before the arrival. A CSV of the ``msr`` job lists has columns
``seed, vc, job_type, total_steps, arrival_time_s, scale_factor``, arrivals counted from the
virtual cluster's first job.

Gavel's objective is a multiple of a run time that the file does not hold, so it does not
become a deadline. Batch sizes that change as a job runs are not modelled: such a job is taken
to do all its steps at the rate of the batch size it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.workload import JobClass, Profile, ProfilePhysics, Workload
from scheduler.io.job_columns import NAN, JobColumns
from scheduler.io.profiles import read_profile
from scheduler.io.rows import LONGEST_S, RowFaults, check_width, read_lines
from scheduler.io.trace_rows import (
    Selection,
    TraceOptions,
    Window,
    table_rows,
)

TRACE_FIELDS: Final = (
    *("job_type", "command", "working_directory", "num_steps_arg", "needs_data_dir"),
    *("total_steps", "scale_factor", "priority_weight", "SLO", "arrival_time"),
)
DYNAMIC_FIELDS: Final = (
    *TRACE_FIELDS[:7],
    "mode",
    *TRACE_FIELDS[7:9],
    "duration",
    TRACE_FIELDS[9],
)
MODES: Final = ("static", "accordion", "gns")
MSR_COLUMNS: Final = ("seed", "vc", "job_type", "total_steps", "arrival_time_s", "scale_factor")
GANG_CAP: Final = 100_000

Class = tuple[str, int]  # job type, scale factor


def read_gavel(path: Path, options: TraceOptions) -> Workload:
    """Return the jobs of a ``.trace`` file of Gavel or Shockwave.

    Job types with a scale factor are classes; ids are ``job-<line>``; times count from the
    first job kept.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    file = str(path)
    faults = RowFaults(file)
    reader = _GavelReader(path, options, faults)
    lines = ((n, line) for n, line in enumerate(read_lines(path), start=1) if line.strip())
    rows = ((n, [cell.strip() for cell in line.split("\t")]) for n, line in lines)
    first = next(rows, (0, [""] * len(TRACE_FIELDS)))
    dynamic = len(first[1]) == len(DYNAMIC_FIELDS)
    fields = DYNAMIC_FIELDS if dynamic else TRACE_FIELDS
    at = {name: place for place, name in enumerate(fields)}
    selection = Selection(options.select, fields, file)
    kept = 0
    for line, cells in [first, *rows] if first[0] else ():
        if not check_width(faults, line, cells, len(fields)) or not selection.keeps(cells):
            continue
        kept += 1
        weight = faults.number(line, "priority_weight", cells[at["priority_weight"]], positive=True)
        estimate_s = NAN
        if dynamic:
            mode = cells[at["mode"]]
            if mode not in MODES:
                faults.add(line, "mode", "unknown mode", mode, ", ".join(MODES))
            estimate_s = faults.number(
                line, "duration", cells[at["duration"]], positive=True, high=LONGEST_S
            )
        reader.add(
            line, line, cells[0], cells[5], cells[6], cells[-1], "default", weight, estimate_s
        )
    faults.finish()
    selection.finish(kept)
    return reader.workload("Shockwave trace" if dynamic else "Gavel trace")


def read_gavel_msr(path: Path, options: TraceOptions) -> Workload:
    """Return the jobs of a CSV of Gavel's ``msr`` lists; each virtual cluster is a tenant.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap; if the file holds several seeds and none
        is selected (they are alternatives, not parts).
    """
    file = str(path)
    faults = RowFaults(file)
    reader = _GavelReader(path, options, faults)
    seeds: dict[str, None] = {}
    for line, number, cells in table_rows(path, file, MSR_COLUMNS, options, faults):
        seeds[cells[0]] = None
        reader.add(line, number, cells[2], cells[3], cells[5], cells[4], cells[1], 1.0)
    if len(seeds) > 1:
        fault = Fault("several seeds; select one", file, "select", "", f"seed={' or '.join(seeds)}")
        raise InputError([*faults.faults, fault])
    return reader.workload("Gavel job list")


class _GavelReader:
    """Turns typed jobs of either encoding into a Workload."""

    def __init__(self, path: Path, options: TraceOptions, faults: RowFaults) -> None:
        if options.profile is None:
            message = "a Gavel trace needs a throughput table"
            allowed = "a CSV or JSON file of steps per second by job type and accelerator"
            raise InputError([Fault(message, "--profile", allowed=allowed)])
        self.path = path
        self.profile: Profile = read_profile(options.profile)
        self.job_types = {key[0]: None for key in self.profile.rates}
        self.window = Window(options)
        self.faults = faults
        self.columns = JobColumns()
        self.classes: dict[Class, int] = {}

    def add(
        self,
        line: int,
        number: int,
        job_type: str,
        steps_text: str,
        gang_text: str,
        arrival_text: str,
        tenant: str,
        weight: float,
        estimate_s: float = NAN,
    ) -> None:
        """Check and keep one job."""
        faults = self.faults
        if job_type not in self.job_types:
            near = nearest_name(job_type, self.job_types)
            message = f"not a job type of table {self.profile.name!r}"
            faults.add(line, "job_type", message, job_type, nearest=near)
        steps = faults.number(line, "total_steps", steps_text, positive=True)
        gang = faults.whole(line, "scale_factor", gang_text, high=GANG_CAP)
        arrival = faults.number(line, "arrival_time", arrival_text, high=LONGEST_S)
        if self.window.keeps(arrival):
            index = self.classes.setdefault((job_type, gang), len(self.classes))
            self.columns.add(
                f"job-{number}",
                index,
                arrival,
                steps,
                estimate_s=estimate_s,
                weight=weight,
                tenant=tenant,
            )

    def workload(self, what: str) -> Workload:
        """Return what was added."""
        if not len(self.columns):
            self.faults.add(0, "", "no job is left", "", "a non-empty file, a wider window")
        self.faults.finish()
        order = sorted(self.classes)
        return Workload(
            name=self.path.name.split(".")[0],
            title=f"{what}: {len(self.columns)} jobs",
            classes=tuple(self._class(c) for c in order),
            jobs=self.columns.jobs(
                {self.classes[c]: i for i, c in enumerate(order)}, from_first=True
            ),
            profiles={self.profile.name: self.profile},
            tenants=self.columns.tenants,
            source="stanford-futuredata/gavel",
            licence="MIT",
        )

    def _class(self, key: Class) -> JobClass:
        job_type, gang = key
        physics = ProfilePhysics(self.profile.name, job_type)
        return JobClass(f"{job_type} x{gang}", physics, (gang,))
