"""Measured throughput tables: CSV rows, or Gavel's nested JSON.

CSV: ``accelerator,job_type,scale_factor,steps_per_s``, the rate of the whole gang, zero where
it does not fit. An accelerator called ``<name>_unconsolidated`` holds the rates of gangs that
are spread over servers.

Gavel's JSON (`simulation_throughputs.json`, stanford-futuredata/gavel):
``{worker: {"('<job type>', <scale factor>)": {"null": rate, <other job>: [rate, rate]}}}``.
Only the rate alone (``null``) is read; the keys are matched, never evaluated.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.workload import Profile
from scheduler.io.json_text import read_json
from scheduler.io.rows import RowFaults, check_width, read_lines, read_table

COLUMNS: Final = ("accelerator", "job_type", "scale_factor", "steps_per_s")
COUNT_CAP: Final = 1_000_000
_SPREAD_SUFFIX: Final = "_unconsolidated"
_PAIR = re.compile(r"""\((?:'([^'"\\]*)'|"([^"\\]*)"), ?([1-9][0-9]{0,6})\)""")

Rates = dict[tuple[str, str, int, str], float]


def read_profile(path: str | Path, name: str | None = None) -> Profile:
    """Return the throughput table in the file at `path`.

    Parameters
    ----------
    path : str or Path
        A CSV file or Gavel's JSON; CSV may be gzip.
    name : str, optional
        Name of the table, by default the file's name without suffixes.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError([Fault("no such throughput table", str(path))])
    first = next((line for line in read_lines(path) if line.strip()), "")
    is_json = first.lstrip().startswith("{")
    rates = _read_json(path) if is_json else _read_csv(path)
    return Profile(name or path.name.split(".")[0], rates)


def profile_key(job_type: str, accelerator: str, count: int) -> tuple[str, str, int, str]:
    """Return the key of a rate, with the spread read off the accelerator's suffix."""
    folded = accelerator.casefold()
    spread = "spread" if folded.endswith(_SPREAD_SUFFIX) else "packed"
    return (job_type, folded.removesuffix(_SPREAD_SUFFIX), count, spread)


def _read_csv(path: Path) -> Rates:
    faults = RowFaults(str(path))
    rows = read_table(path, str(path))
    at, header = next(rows)
    for column in COLUMNS:
        if column not in header:
            found = ", ".join(header)
            faults.add(at, "", "missing column", column, found, nearest_name(column, header))
    faults.finish()
    places = [header.index(c) for c in COLUMNS]
    rates: Rates = {}
    for line, cells in rows:
        if not check_width(faults, line, cells, len(header)):
            continue
        accelerator, job_type, count_text, rate_text = (cells[i] for i in places)
        if not accelerator or not job_type:
            faults.add(line, "", "missing value", "", "an accelerator and a job type")
            continue
        count = faults.whole(line, "scale_factor", count_text, high=COUNT_CAP)
        rate = faults.number(line, "steps_per_s", rate_text)
        key = profile_key(job_type, accelerator, count)
        if key in rates and count:
            faults.add(line, "", "duplicate row", f"{accelerator}, {job_type}, {count}")
        rates[key] = rate
    if not rates:
        faults.add(0, "", "no rates", "", "at least one row")
    faults.finish()
    return rates


def _read_json(path: Path) -> Rates:
    data = read_json(path)
    faults = RowFaults(str(path))
    rates: Rates = {}
    for worker, entries in data.items() if isinstance(data, dict) else ():
        if not isinstance(entries, dict):
            faults.add(0, worker, "not a mapping", "", "job types and their rates")
            continue
        for pair, entry in entries.items():
            _add_entry(faults, rates, worker, pair, entry)
    if not rates:
        faults.add(0, "", "no rates", "", "at least one entry")
    faults.finish()
    return rates


def _add_entry(faults: RowFaults, rates: Rates, worker: str, pair: str, entry: Any) -> None:
    match = _PAIR.fullmatch(pair)
    where = f"{worker}[{pair!r}]"
    if match is None:
        faults.add(0, worker, "not a job type and scale factor", pair, "('<job type>', <number>)")
        return
    alone = entry.get("null") if isinstance(entry, dict) else None
    if isinstance(alone, bool) or not isinstance(alone, (int, float)):
        faults.add(0, where, "no rate alone", "", 'a number under "null"')
        return
    if alone < 0 or not math.isfinite(alone):
        faults.add(0, where, "negative value", str(alone), "a number of at least 0")
        return
    job_type = match[1] if match[1] is not None else match[2]
    rates[profile_key(job_type, worker, int(match[3]))] = float(alone)
