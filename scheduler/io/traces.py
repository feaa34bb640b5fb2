"""Recorded inputs of real sites: which reader fits a file, and what it may select."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.workload import JobClass, Workload
from scheduler.io import catalogue, gavel, openb_jobs, philly
from scheduler.io.job_columns import JobColumns
from scheduler.io.jobs_table import JOB_FIELDS, JobsTable
from scheduler.io.rows import read_lines
from scheduler.io.trace_rows import TraceOptions, refuse_options


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A kind of trace.

    Parameters
    ----------
    name, title : str
        Its name, and a line for people.
    published, licence : str
        Where traces of this kind are published, and under what licence.
    recognises : callable
        From the first line that is neither blank nor a comment to whether this is it.
    read : callable
        From path and options to a Workload.
    """

    name: str
    title: str
    published: str
    licence: str
    recognises: Callable[[str], bool]
    read: Callable[[Path, TraceOptions], Workload]


def load_trace(
    path: str | Path,
    *,
    format: str | None = None,
    select: Mapping[str, str] | None = None,
    since: str | None = None,
    until: str | None = None,
    profile: str | None = None,
) -> Workload:
    """Return the jobs of a trace file.

    Parameters
    ----------
    path : str or Path
        The file, plain or gzip.
    format : str, optional
        A key of `TRACE_FORMATS`; by default recognised by its first line.
    select, since, until, profile
        See `scheduler.io.trace_rows.TraceOptions`.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError([Fault("no such trace file", str(path))])
    if format is not None and format not in TRACE_FORMATS:
        allowed = ", ".join(TRACE_FORMATS)
        near = nearest_name(format, TRACE_FORMATS)
        fault = Fault("unknown trace format", "--format", "", format, allowed, near)
        raise InputError([fault])
    chosen = _recognise(path) if format is None else TRACE_FORMATS[format]
    return chosen.read(path, TraceOptions(dict(select or {}), since, until, profile))


def _recognise(path: Path) -> TraceFormat:
    lines = (line for line in read_lines(path) if line.strip() and not line.startswith("#"))
    first = next(lines, None)
    if first is None:
        raise InputError([Fault("the file is empty", str(path))])
    for trace_format in TRACE_FORMATS.values():
        if trace_format.recognises(first):
            return trace_format
    allowed = "; ".join(f"{f.name}: {f.title}" for f in TRACE_FORMATS.values())
    raise InputError([Fault("not a trace of a known format", str(path), "", first[:80], allowed)])


def _read_jobs(path: Path, options: TraceOptions) -> Workload:
    refuse_options(options, ("select", "since", "until", "profile"), "jobs")
    columns = JobColumns()
    classes: list[JobClass] = []
    JobsTable(str(path), columns, classes, catalogue_names()).read(path)
    faults = columns.faulty_needs()
    if faults:
        file = str(path)
        raise InputError(
            Fault(f"{message}: {job!r}", file, "after", value, "", near)
            for job, message, value, near in faults
        )
    return Workload(
        name=path.name.split(".")[0],
        title=f"{len(columns)} jobs",
        classes=tuple(classes),
        jobs=columns.jobs(),
        tenants=columns.tenants,
        source=str(path.name),
    )


def catalogue_names() -> dict[str, str]:
    """Return the case-folded names and aliases of the accelerator catalogue."""
    return {
        alias.casefold(): t.name
        for t in catalogue.accelerators().values()
        for alias in (t.name, *t.aliases)
    }


def _has_columns(*columns: str) -> Callable[[str], bool]:
    def check(first: str) -> bool:
        found = {c.strip().strip('"') for c in first.split(",")}
        return found.issuperset(columns)

    return check


def _is_jobs(first: str) -> bool:
    found = [c.strip().strip('"') for c in first.split(",")]
    known = sum(c in JOB_FIELDS for c in found)
    return first.lstrip().startswith("{") or 2 * known > len(found)


def _is_gavel(first: str) -> bool:
    cells = first.split("\t")
    widths = (len(gavel.TRACE_FIELDS), len(gavel.DYNAMIC_FIELDS))
    return len(cells) in widths and cells[5].strip().isdecimal()


TRACE_FORMATS: Final[Mapping[str, TraceFormat]] = MappingProxyType(
    {
        f.name: f
        for f in (
            TraceFormat(
                "philly",
                "CSV with timestamp, duration, num_gpus, cluster (Microsoft, 2017)",
                "https://github.com/msr-fiddle/philly-traces",
                "CC-BY-4.0",
                _has_columns(*philly.COLUMNS),
                philly.read_philly,
            ),
            TraceFormat(
                "gavel-msr",
                "CSV with seed, vc, job_type, total_steps, arrival_time_s, scale_factor",
                "https://github.com/stanford-futuredata/gavel (scheduler/traces/msr)",
                "MIT",
                _has_columns(*gavel.MSR_COLUMNS),
                gavel.read_gavel_msr,
            ),
            TraceFormat(
                "gavel",
                "Gavel's .trace files, or Shockwave's: ten or twelve tab-separated fields",
                "https://github.com/stanford-futuredata/gavel (scheduler/traces)",
                "MIT",
                _is_gavel,
                gavel.read_gavel,
            ),
            TraceFormat(
                "openb",
                "CSV with cpu_milli, memory_mib, num_gpu, gpu_milli and times (Alibaba, 2023)",
                "https://github.com/alibaba/clusterdata (cluster-trace-gpu-v2023)",
                "Apache-2.0",
                _has_columns(*openb_jobs.COLUMNS),
                openb_jobs.read_openb_jobs,
            ),
            TraceFormat(
                "jobs",
                "our own CSV or JSON Lines of jobs: gang, run_time_s, release_s, ...",
                "written by you",
                "yours",
                _is_jobs,
                _read_jobs,
            ),
        )
    }
)
"""Readers by name, in the order they are tried."""
