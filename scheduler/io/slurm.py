"""Reads Slurm's configuration, and folders that record what a real Slurm did.

A recorded run is a folder with ``slurm.conf``, ``gres.conf`` (optional: devices of nodes whose
``Gres`` slurm.conf leaves out), ``topology.conf`` (optional), ``jobs.csv`` (what was asked) and
``completed.csv`` (what happened), or in its place ``sacct.txt`` (printed by sacct -D).
Formats: slurm.conf(5), gres.conf(5), topology.conf(5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.io.rows import LONGEST_S, RowFaults, check_width, read_lines, read_table
from scheduler.io.sacct import read_sacct
from scheduler.io.slurm_settings import MINUTE_S, not_played, settings_of

_PAIR: Final = re.compile(r"""([A-Za-z_]+)\s*=\s*("[^"]*"|\S+)""")
_RANGE: Final = re.compile(r"^(?P<head>.*?)\[(?P<inside>[^\]]*)\](?P<tail>.*)$")
_GPU: Final = re.compile(r"gpu(?::(?P<type>[A-Za-z0-9_.\-]+))?:(?P<count>\d+)")
_MOST_NODES: Final = 1_000_000
JOB_COLUMNS: Final = (
    *("job_id", "submit_s", "nodes", "gres_type", "gpus_per_node", "run_s"),
    *("time_limit_min", "partition"),
)
RUN_COLUMNS: Final = ("job_id", "state", "start_s", "end_s")


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """A node: name, accelerator type as Slurm names it (``""``: untyped), devices, CPUs."""

    name: str
    accelerator: str
    count: int
    cpus: int


@dataclass(frozen=True, slots=True)
class SlurmSite:
    """What a configuration says.

    Parameters
    ----------
    nodes : tuple of SlurmNode
        With accelerators, in file order.
    leaves : tuple of tuple of int
        Nodes of each leaf switch; all nodes in one where no topology is given.
    settings : SlurmSettings
        How it schedules; `partitions` in file order.
    not_played : tuple of str
        Settings that a real Slurm heeds and our policy does not, as they stand in the file.
    """

    nodes: tuple[SlurmNode, ...]
    leaves: tuple[tuple[int, ...], ...]
    settings: SlurmSettings
    not_played: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What was asked: per-node shape, true run time, limit, and when."""

    job_id: str
    submit_s: float
    nodes: int
    accelerator: str
    per_node: int
    run_s: float
    limit_s: float
    partition: str


@dataclass(frozen=True, slots=True)
class SlurmRunRow:
    """One run of a job that Slurm recorded; a requeued job has several.

    Times are whole seconds of Slurm's clock; `submit_s`, where it is known, tells what fraction
    of a second that clock is ahead.
    """

    job_id: str
    state: str
    start_s: float
    end_s: float
    submit_s: float = math.nan


@dataclass(frozen=True, slots=True)
class SlurmRecord:
    """A recorded run."""

    site: SlurmSite
    jobs: tuple[SlurmJob, ...]
    rows: tuple[SlurmRunRow, ...]


def read_record(folder: Path) -> SlurmRecord:
    """Read a recorded run.

    Raises
    ------
    InputError
        With every fault of its files.
    """
    site = read_site(folder)
    jobs = tuple(_jobs(folder / "jobs.csv", site))
    accounts = folder / "sacct.txt"
    if accounts.exists() and not (folder / "completed.csv").exists():
        return SlurmRecord(site, jobs, tuple(_accounted(accounts, jobs)))
    rows = tuple(_rows(folder / "completed.csv", {job.job_id for job in jobs}))
    return SlurmRecord(site, jobs, rows)


def read_site(folder: Path) -> SlurmSite:
    """Read ``slurm.conf`` and, where they exist, ``gres.conf`` and ``topology.conf``.

    Raises
    ------
    InputError
        If slurm.conf is missing, names no node with accelerators, or is inconsistent.
    """
    path = folder / "slurm.conf"
    lines = list(_lines(path))
    options = {k: v for line in lines for k, v in line.items() if _is_option(line)}
    gres = folder / "gres.conf"
    devices = _devices(gres) if gres.exists() else {}
    nodes = tuple(_nodes(path, lines, devices))
    if not nodes:
        raise InputError([Fault("no node with accelerators", str(path), "NodeName")])
    index = {node.name: n for n, node in enumerate(nodes)}
    switches = folder / "topology.conf"
    leaves = _leaves(switches, index) if switches.exists() else ()
    partitions = tuple(_partitions(path, lines, index, options))
    return SlurmSite(
        nodes,
        leaves or (tuple(range(len(nodes))),),
        settings_of(path, options, partitions, sum(n.cpus for n in nodes) / len(nodes)),
        not_played(options, lines),
    )


def expand(hosts: str) -> list[str]:
    """Return the names of a host list: ``a-[01-03,7],b`` is a-01 a-02 a-03 a-7 b.

    Raises
    ------
    ValueError
        If a range is not one, or there are more than a million names.
    """
    names: list[str] = []
    for part in _split(hosts):
        match = _RANGE.match(part)
        if match is None:
            names.append(part)
            continue
        for piece in match["inside"].split(","):
            first, _, last = piece.partition("-")
            stop = last or first
            if not (first.isdigit() and stop.isdigit()) or int(stop) < int(first):
                raise ValueError(f"{piece!r} is not a range of numbers")
            if int(stop) - int(first) + len(names) > _MOST_NODES:
                raise ValueError(f"more than {_MOST_NODES} hosts")
            inner = (f"{n:0{len(first)}d}" for n in range(int(first), int(stop) + 1))
            names += [f"{match['head']}{n}{rest}" for n in inner for rest in expand_tail(match)]
    return names


def expand_tail(match: re.Match[str]) -> list[str]:
    """Return the names of what follows a range (``[1-2]-[a]`` has two)."""
    return expand(match["tail"]) if match["tail"] else [""]


def _split(hosts: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(hosts):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            parts.append(hosts[start:i])
            start = i + 1
    return [part for part in (*parts, hosts[start:]) if part]


def _lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the key-value pairs of each line, keys in lower case, continuations joined."""
    text = "\n".join(read_lines(path))
    for line in text.replace("\\\n", "").splitlines():
        pairs = _PAIR.findall(line.partition("#")[0])
        if pairs:
            yield {key.casefold(): value.strip('"') for key, value in pairs}


def _is_option(line: Mapping[str, str]) -> bool:
    return not {"nodename", "partitionname", "downnodes", "nodeset", "switchname"} & line.keys()


def _devices(path: Path) -> dict[str, tuple[str, int]]:
    """Return accelerator type and count by node name, from gres.conf."""
    found: dict[str, tuple[str, int]] = {}
    for line in _lines(path):
        if line.get("name", "").casefold() != "gpu" or "nodename" not in line:
            continue
        count = line.get("count") or str(len(expand(line.get("file", ""))))
        for name in _hosts(path, line["nodename"]):
            before = found.get(name, ("", 0))[1]
            found[name] = (line.get("type", "").casefold(), before + _whole(path, "Count", count))
    return found


def _nodes(
    path: Path, lines: list[dict[str, str]], devices: Mapping[str, tuple[str, int]]
) -> Iterator[SlurmNode]:
    default: dict[str, str] = {}
    for line in lines:
        if "nodename" not in line:
            continue
        if line["nodename"].casefold() == "default":
            default = line
            continue
        row = {**default, **line}
        cpus = _whole(path, "CPUs", row.get("cpus", "1"))
        stated = _GPU.search(row.get("gres", ""))
        for name in _hosts(path, row["nodename"]):
            kind, count = devices.get(name, ("", 0))
            if stated is not None:
                kind, count = (stated["type"] or kind).casefold(), int(stated["count"])
            if count:
                yield SlurmNode(name, kind, count, cpus)


def _leaves(path: Path, index: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    leaves = []
    for line in _lines(path):
        if "nodes" in line:
            names = _hosts(path, line["nodes"])
            leaves.append(tuple(sorted(index[n] for n in names if n in index)))
    placed = {n for leaf in leaves for n in leaf}
    alone = tuple(n for n in index.values() if n not in placed)
    return tuple(leaf for leaf in (*leaves, alone) if leaf)


def _partitions(
    path: Path, lines: list[dict[str, str]], index: Mapping[str, int], options: Mapping[str, str]
) -> Iterator[SlurmPartition]:
    rows = [line for line in lines if "partitionname" in line]
    sets = {line["nodeset"]: line.get("nodes", "") for line in lines if "nodeset" in line}
    default: dict[str, str] = {}
    most = max([float(r.get("priorityjobfactor", 1)) for r in rows], default=1.0) or 1.0
    for line in rows:
        if line["partitionname"].casefold() == "default":
            default = line
            continue
        row = {**default, **line}
        hosts = row.get("nodes", "ALL")
        parts = [sets.get(part, part) for part in _split(hosts)]
        names = list(index) if hosts.casefold() == "all" else _hosts(path, ",".join(parts))
        mode = row.get("preemptmode", options.get("preemptmode", "off")).casefold()
        yield SlurmPartition(
            row["partitionname"],
            tuple(sorted(index[n] for n in names if n in index)),
            int(row.get("prioritytier", 1)),
            float(row.get("priorityjobfactor", 1)) / most,
            "requeue" in mode,
        )


def _jobs(path: Path, site: SlurmSite) -> Iterator[SlurmJob]:
    """Yield what was asked, by time of submission as Slurm numbered it."""
    faults = RowFaults(str(path))
    largest = max(node.count for node in site.nodes)
    types = {node.accelerator for node in site.nodes}
    partitions = {p.name for p in site.settings.partitions}
    found = []
    for line, row in _records(path, JOB_COLUMNS, faults):
        job = SlurmJob(
            row["job_id"],
            faults.number(line, "submit_s", row["submit_s"], high=LONGEST_S),
            faults.whole(line, "nodes", row["nodes"], high=len(site.nodes)),
            row["gres_type"].casefold(),
            faults.whole(line, "gpus_per_node", row["gpus_per_node"], high=largest),
            faults.number(line, "run_s", row["run_s"], positive=True, high=LONGEST_S),
            faults.number(
                line, "time_limit_min", row["time_limit_min"], positive=True, high=LONGEST_S
            )
            * MINUTE_S,
            row["partition"],
        )
        if job.accelerator not in types:
            near = nearest_name(job.accelerator, types)
            allowed = ", ".join(sorted(types))
            faults.add(line, "gres_type", "no node has it", job.accelerator, allowed, near or "")
        if partitions and job.partition not in partitions:
            near = nearest_name(job.partition, partitions)
            allowed = ", ".join(sorted(partitions))
            faults.add(line, "partition", "unknown", job.partition, allowed, near or "")
        found.append(job)
    if not found:
        faults.add(0, "", "no jobs")
    faults.finish()
    yield from found


def _rows(path: Path, known: set[str]) -> Iterator[SlurmRunRow]:
    """Yield what happened, row by row."""
    faults = RowFaults(str(path))
    found = []
    for line, row in _records(path, RUN_COLUMNS, faults):
        if row["job_id"] not in known:
            faults.add(line, "job_id", "not in jobs.csv", row["job_id"])
        start_s = faults.number(line, "start_s", row["start_s"], high=LONGEST_S)
        end_s = faults.number(line, "end_s", row["end_s"], high=LONGEST_S)
        submit_s = math.nan
        if "submit_s" in row:
            submit_s = faults.number(line, "submit_s", row["submit_s"], high=LONGEST_S)
        found.append(SlurmRunRow(row["job_id"], row["state"], start_s, end_s, submit_s))
    faults.finish()
    yield from found


def _accounted(path: Path, jobs: Sequence[SlurmJob]) -> Iterator[SlurmRunRow]:
    """Yield what happened by ``sacct``, in seconds from the start of the jobs' clock."""
    asked = {job.job_id: job.submit_s for job in jobs}
    rows = [row for row in read_sacct(path) if row.job_id in asked and not math.isnan(row.submit_s)]
    if not rows:
        raise InputError([Fault("no run of a job of jobs.csv", str(path), "JobID")])
    # the fraction of a second between the two clocks is told from all submissions later
    first = min(rows, key=lambda row: row.submit_s)
    zero_s = first.submit_s - math.floor(asked[first.job_id])
    for row in rows:
        if not (math.isnan(row.start_s) or math.isnan(row.end_s)):
            times = (row.start_s - zero_s, row.end_s - zero_s, row.submit_s - zero_s)
            yield SlurmRunRow(row.job_id, row.state, *times)


def _records(
    path: Path, columns: Sequence[str], faults: RowFaults
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by column name; columns may stand in any order, others beside them."""
    rows = read_table(path, str(path))
    _, header = next(rows)
    missing = [name for name in columns if name not in header]
    for name in missing:
        faults.add(1, name, "missing column", allowed=", ".join(columns))
    if missing:
        faults.finish()
    for line, cells in rows:
        if check_width(faults, line, cells, len(header)):
            yield line, dict(zip(header, cells, strict=True))


def _hosts(path: Path, text: str) -> list[str]:
    try:
        return expand(text)
    except ValueError as error:
        raise InputError([Fault(f"not a host list: {error}", str(path), value=text)]) from None


def _whole(path: Path, name: str, text: str) -> int:
    if not text.isdigit():
        raise InputError([Fault("not a whole number", str(path), name, text)])
    return int(text)
