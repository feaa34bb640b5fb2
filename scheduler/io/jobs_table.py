"""Many jobs in a CSV or JSON Lines file, plain or gzip.

Columns (JSON Lines: fields), each at most once; the unit is in the name:

``id``
    unique; by default ``job-1``, ``job-2``, ... by row
``release_s``
    submit time, default 0
``class``
    a class of the workload file, or, where the file stands alone, leave it out and give
``gang``
    accelerators; several permitted counts are joined by ``|``; or a share of one accelerator
    that others may have the rest of, from 0.001 to 0.999 in thousandths, by itself
``accelerators``, ``reference``, ``memory_gib``, ``preemptible``
    of such a job without class: permitted types joined by ``|``, the type that the run time
    was recorded on, least device memory (of a share: what it takes), ``true`` or ``false``
``cpus``, ``host_memory_gib``
    of such a job, optional: what each of its accelerators, or its share, takes of its node
``run_time_s`` or ``work``
    seconds for classes that know only a run time; tokens, samples or steps for the others
``estimate_s``, ``deadline_s``, ``weight``, ``tenant``
    optional; a deadline counts from the start of the workload
``priority``, ``limit_s``, ``after``
    optional; higher goes first, where the policy looks at it; held time after which the job is
    killed; ids of jobs that must have finished first, joined by ``|``
``array``, ``at_once``
    optional; a name that rows share, which ``after`` may give for all of them; how many of them
    run at once, said in one of the rows or alike in several
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import InputError, nearest_name
from scheduler.core.units import GIB, WHOLE_MILLI
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.io.job_columns import JobColumns
from scheduler.io.json_text import parse_json
from scheduler.io.rows import LONGEST_S, RowFaults, check_width, read_lines, read_table

JOB_FIELDS: Final = (
    *("id", "class", "release_s", "run_time_s", "work", "estimate_s", "weight", "deadline_s"),
    *("tenant", "gang", "accelerators", "reference", "memory_gib", "preemptible"),
    *("priority", "limit_s", "after", "array", "at_once", "cpus", "host_memory_gib"),
)
CLASS_FIELDS: Final = (
    *("gang", "accelerators", "reference", "memory_gib", "preemptible"),
    *("cpus", "host_memory_gib"),
)
GANG_CAP: Final = 1_000_000
SHARES: Final = "0.001 to 0.999, in steps of 0.001"
SHARE_ALONE: Final = "the share alone, or whole numbers"
PRIORITY_CAP: Final = 1_000_000_000
_NAME_LENGTH: Final = 200


@dataclass(slots=True)
class JobsTable:
    """Reads rows into columns.

    Parameters
    ----------
    file : str
        Name for messages.
    columns : JobColumns
        Where the jobs go.
    classes : list of JobClass
        Classes that rows may name; classes of rows without one are appended.
    types : mapping of str to str
        Case-folded accelerator names and aliases to canonical names.
    taken : dict of str to str
        Ids in use, and where, for messages.
    """

    file: str
    columns: JobColumns
    classes: list[JobClass]
    types: Mapping[str, str]
    taken: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, list[int]] = field(default_factory=dict)
    _most: dict[str, int] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Add the jobs of the file at `path`.

        Raises
        ------
        InputError
            With every fault of the file, up to the cap.
        """
        faults = RowFaults(self.file)
        by_name = {c.name: i for i, c in enumerate(self.classes)}
        inline: dict[tuple[str, ...], int] = {}
        found = 0
        for line, row in read_records(path, self.file, faults):
            found += 1
            self._add(faults, line, row, found, by_name, inline)
        if not found and not faults.faults:
            faults.add(0, "", "no jobs", "", "at least one row")
        faults.finish()
        for name, rows in self._rows.items():
            self.columns.arrays[name] = tuple(self.columns.ids[row] for row in rows)
            if name in self._most:
                self.columns.limit_array(rows, self._most[name])

    def _add(
        self,
        faults: RowFaults,
        line: int,
        row: Mapping[str, str],
        number: int,
        by_name: Mapping[str, int],
        inline: dict[tuple[str, ...], int],
    ) -> None:
        before = len(faults.faults)
        job = row.get("id") or f"job-{number}"
        if len(job) > _NAME_LENGTH or not job.isprintable():
            faults.add(line, "id", "not a name", job, f"up to {_NAME_LENGTH} printable characters")
        if job in self.taken:
            faults.add(line, "id", f"used twice, first in {self.taken[job]}", job, "a unique id")
        self.taken[job] = f"line {line}"
        index = self._class_of(faults, line, row, by_name, inline)
        work = self._work(faults, line, row, None if index < 0 else self.classes[index])
        release = faults.number(
            line, "release_s", row.get("release_s", ""), blank=0.0, high=LONGEST_S
        )
        deadline = faults.number(
            line, "deadline_s", row.get("deadline_s", ""), blank=math.nan, positive=True
        )
        if deadline <= release:
            allowed = f"a time after the release at {release:g}"
            faults.add(line, "deadline_s", "deadline before release", row["deadline_s"], allowed)
        estimate = faults.number(
            *(line, "estimate_s", row.get("estimate_s", "")),
            blank=math.nan,
            positive=True,
            high=LONGEST_S,
        )
        weight = faults.number(line, "weight", row.get("weight", ""), blank=1.0, positive=True)
        limit = faults.number(
            *(line, "limit_s", row.get("limit_s", "")),
            blank=math.nan,
            positive=True,
            high=LONGEST_S,
        )
        priority = self._priority(faults, line, row.get("priority", ""))
        self._note_array(faults, line, row)
        if len(faults.faults) == before:
            self.columns.add(
                *(job, index, release, work),
                estimate_s=estimate,
                weight=weight,
                deadline_s=deadline,
                tenant=row.get("tenant") or "default",
                priority=priority,
                limit_s=limit,
                after=tuple(n.strip() for n in row.get("after", "").split("|") if n.strip()),
            )

    def _note_array(self, faults: RowFaults, line: int, row: Mapping[str, str]) -> None:
        """Note the array of the row that is added next, and how many of it run at once."""
        array, written = row.get("array", ""), row.get("at_once", "")
        if array:
            self._rows.setdefault(array, []).append(len(self.columns))
        if not written:
            return
        most = faults.whole(line, "at_once", written, high=GANG_CAP)
        if not array:
            faults.add(line, "at_once", "the row is of no array", written, "array: a name")
        elif self._most.setdefault(array, most) != most:
            said = f"{self._most[array]}, as in an earlier row"
            faults.add(line, "at_once", f"array {array!r} has another limit", written, said)

    def _priority(self, faults: RowFaults, line: int, written: str) -> int:
        digits = written.removeprefix("-")
        if not written:
            return 0
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
            faults.add(line, "priority", "not a whole number", written, "a whole number")
            return 0
        if int(digits) > PRIORITY_CAP:
            faults.add(line, "priority", "out of range", written, f"at most {PRIORITY_CAP}")
        return int(written)

    def _work(
        self, faults: RowFaults, line: int, row: Mapping[str, str], job_class: JobClass | None
    ) -> float:
        run_time, work = row.get("run_time_s", ""), row.get("work", "")
        if bool(run_time) == bool(work):
            message = "run time and work are both given" if work else "missing value"
            faults.add(line, "run_time_s", message, "", "either run_time_s or work")
            return math.nan
        knows_run_time = job_class is None or isinstance(job_class.physics, RunTimePhysics)
        if run_time and not knows_run_time:
            message = f"class {job_class.name!r} counts work" if job_class else ""
            faults.add(line, "run_time_s", message, run_time, "work")
        if run_time:
            return faults.number(line, "run_time_s", run_time, positive=True, high=LONGEST_S)
        high = LONGEST_S if job_class is not None and knows_run_time else math.inf
        return faults.number(line, "work", work, positive=True, high=high)

    def _class_of(
        self,
        faults: RowFaults,
        line: int,
        row: Mapping[str, str],
        by_name: Mapping[str, int],
        inline: dict[tuple[str, ...], int],
    ) -> int:
        """Return the row's class, making one for rows without; -1 after noting a fault."""
        name = row.get("class", "")
        if name:
            extra = [c for c in CLASS_FIELDS if row.get(c)]
            if extra:
                faults.add(line, extra[0], "the class says this", row[extra[0]], "nothing")
            if name not in by_name:
                known = ", ".join(list(by_name)[:8]) or "none is defined; give gang instead"
                faults.add(line, "class", "unknown class", name, known, nearest_name(name, by_name))
                return -1
            return by_name[name]
        key = tuple(row.get(c, "") for c in CLASS_FIELDS)
        if key not in inline:
            made = self._make_class(faults, line, row)
            if made is None:
                return -1
            inline[key] = self._keep_class(made)
        return inline[key]

    def _keep_class(self, made: JobClass) -> int:
        """Return the position of a class like `made`, under another name where that is taken."""
        by_name = {c.name: i for i, c in enumerate(self.classes)}
        name, number = made.name, 1
        while name in by_name:
            if replace(made, name=name) == self.classes[by_name[name]]:
                return by_name[name]
            number += 1
            name = f"{made.name}-{number}"
        self.classes.append(replace(made, name=name))
        return len(self.classes) - 1

    def _make_class(self, faults: RowFaults, line: int, row: Mapping[str, str]) -> JobClass | None:
        before = len(faults.faults)
        parts = row.get("gang", "").split("|")
        share_milli = share_of_one(parts[0]) if len(parts) == 1 else WHOLE_MILLI
        gang = [1]
        if share_milli == WHOLE_MILLI:
            gang = [self._gang_size(faults, line, part.strip()) for part in parts]
        types = [
            self._type(faults, line, "accelerators", part.strip())
            for part in row.get("accelerators", "").split("|")
            if part.strip()
        ]
        reference = row.get("reference", "")
        if reference:
            reference = self._type(faults, line, "reference", reference)
        memory = faults.number(line, "memory_gib", row.get("memory_gib", ""), blank=0.0)
        cpus = faults.number(line, "cpus", row.get("cpus", ""), blank=0.0)
        host = row.get("host_memory_gib", "")
        host_gib = faults.number(line, "host_memory_gib", host, blank=0.0)
        preemptible = row.get("preemptible") or "true"
        if preemptible not in ("true", "false"):
            faults.add(line, "preemptible", "neither true nor false", preemptible, "true or false")
        if len(faults.faults) > before:
            return None
        words = [f"gang-{'|'.join(parts)}", *types]
        words += [f"on-{reference}"] if reference else []
        words += [f"{memory:g}GiB"] if memory else []
        words += ["rigid"] if preemptible == "false" else []
        words += [f"{cpus:g}cpus"] if cpus else []
        words += [f"{host_gib:g}GiB-host"] if host_gib else []
        return JobClass(
            name="-".join(words),
            physics=RunTimePhysics(reference),
            gang=tuple(sorted(set(gang))),
            accelerators=tuple(types) or None,
            memory_bytes=memory * GIB,
            preemptible=preemptible == "true",
            cpus=cpus,
            host_memory_bytes=host_gib * GIB,
            share_milli=share_milli,
        )

    def _gang_size(self, faults: RowFaults, line: int, written: str) -> int:
        if share_of_one(written) < WHOLE_MILLI:
            faults.add(line, "gang", "a share beside other gang sizes", written, SHARE_ALONE)
            return 0
        if _is_below_one(written):
            faults.add(line, "gang", "not a share in thousandths", written, SHARES)
            return 0
        return faults.whole(line, "gang", written, high=GANG_CAP)

    def _type(self, faults: RowFaults, line: int, column: str, written: str) -> str:
        found = self.types.get(written.casefold())
        if found is None:
            near = self.types.get(nearest_name(written, self.types), "")
            faults.add(line, column, "unknown accelerator type", written, "", near)
            return written
        return found


def share_of_one(written: object) -> int:
    """Return the thousandths of an accelerator that a gang size means; 1000: no share of one."""
    try:
        value = Decimal(str(written).strip())
    except InvalidOperation:
        return WHOLE_MILLI
    milli = value * WHOLE_MILLI if value.is_finite() and 0 < value < 1 else Decimal(WHOLE_MILLI)
    return int(milli) if milli == milli.to_integral_value() else WHOLE_MILLI


def _is_below_one(written: str) -> bool:
    try:
        return 0 < float(written) < 1
    except ValueError:
        return False


def read_records(
    path: Path, file: str, faults: RowFaults
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (line, field to text) of a CSV or JSON Lines file of jobs.

    Faults of a row are noted and the row skipped; a header that does not fit ends reading.
    """
    first = next((line for line in read_lines(path, file) if line.strip()), "")
    if first.lstrip().startswith("{"):
        yield from _json_records(path, file, faults)
        return
    rows = read_table(path, file)
    at, header = next(rows)
    _check_fields(faults, at, header, "column")
    if "gang" not in header and "class" not in header:
        faults.add(at, "", "missing column", "", "gang or class")
    if "run_time_s" not in header and "work" not in header:
        faults.add(at, "", "missing column", "", "run_time_s or work")
    faults.finish()
    for line, cells in rows:
        if check_width(faults, line, cells, len(header)):
            yield line, dict(zip(header, cells, strict=True))


def _check_fields(faults: RowFaults, line: int, names: Sequence[str], what: str) -> bool:
    before = len(faults.faults)
    for i, name in enumerate(names):
        if name not in JOB_FIELDS:
            allowed = ", ".join(JOB_FIELDS)
            faults.add(line, "", f"unknown {what}", name, allowed, nearest_name(name, JOB_FIELDS))
        elif name in names[:i]:
            faults.add(line, "", f"duplicate {what}", name)
    return len(faults.faults) == before


def _json_records(
    path: Path, file: str, faults: RowFaults
) -> Iterator[tuple[int, Mapping[str, str]]]:
    for line, text in enumerate(read_lines(path, file), start=1):
        if not text.strip():
            continue
        try:
            record = parse_json(text, file, line)
        except InputError as error:
            for fault in error.faults:
                faults.add(line, "", fault.message)
            continue
        if not isinstance(record, dict):
            faults.add(line, "", "not a JSON object", text[:40], '{"id": ..., ...}')
        elif _check_fields(faults, line, list(record), "field"):
            cells = {k: _cell(faults, line, k, v) for k, v in record.items()}
            yield line, cells


def _cell(faults: RowFaults, line: int, name: str, value: Any) -> str:
    """Return a JSON value as the text that a CSV cell would hold."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list) and name in ("gang", "accelerators", "after"):
        return "|".join(_cell(faults, line, "", item) for item in value)
    faults.add(line, name, "not a number or text", "a list or mapping", "a number or text")
    return ""
