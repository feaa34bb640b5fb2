"""Reads what ``sacct`` prints: columns between bars (``-P``), or of fixed width (``%20``).

Formats: sacct(1); TRES counts as its ``AllocTRES``. Times are of the site's clock and carry no
zone; they are counted in seconds as if they were UTC. Steps (``12.batch``) are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scheduler.io.rows import RowFaults, check_width, read_lines

NEEDED: Final = ("JobID", "State", "Submit", "Start", "End")
_DASHES: Final = re.compile(r"-+")
_TYPED: Final = re.compile(r"gres/gpu:([A-Za-z0-9_.\-]+)=(\d+)")
_UNTYPED: Final = re.compile(r"gres/gpu=(\d+)")
_NO_TIME: Final = frozenset(("", "unknown", "none", "n/a"))


@dataclass(frozen=True, slots=True)
class SacctRow:
    """One run of a job.

    Parameters
    ----------
    job_id, state, partition, node_list : str
        As printed; of the state the first word (``CANCELLED by 0``). Empty where not printed.
    submit_s, eligible_s, start_s, end_s : float
        Seconds since 1970 of the site's clock; NaN: not yet, or not printed.
    elapsed_s : float
        Time run, without suspensions; NaN where not printed.
    accelerators : mapping of str to int
        Devices held by type; ``""``: untyped.
    """

    job_id: str
    state: str
    submit_s: float
    eligible_s: float
    start_s: float
    end_s: float
    elapsed_s: float
    partition: str
    node_list: str
    accelerators: Mapping[str, int]


def read_sacct(path: Path) -> tuple[SacctRow, ...]:
    """Read the rows of a file that ``sacct`` printed.

    Raises
    ------
    InputError
        With every fault: a missing column, a value cut short (it ends in ``+``), a bad time.
    """
    faults = RowFaults(str(path))
    found = []
    for line, row in _records(path, faults):
        if "." in row["JobID"]:
            continue
        elapsed = row.get("ElapsedRaw", "")
        found.append(
            SacctRow(
                row["JobID"],
                row["State"].split(" ")[0],
                _time_s(faults, line, "Submit", row),
                _time_s(faults, line, "Eligible", row),
                _time_s(faults, line, "Start", row),
                _time_s(faults, line, "End", row),
                faults.number(line, "ElapsedRaw", elapsed) if elapsed else math.nan,
                row.get("Partition", ""),
                row.get("NodeList", ""),
                _accelerators(row.get("AllocTRES", "")),
            )
        )
    faults.finish()
    return tuple(found)


def _records(path: Path, faults: RowFaults) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by column name, from either form."""
    lines = ((n, text) for n, text in enumerate(read_lines(path), start=1) if text.strip())
    _, head = next(lines, (0, ""))
    spans: list[tuple[int, int]] | None = None
    closed = head.endswith("|")  # -p closes each line with a bar, -P does not
    if "|" not in head:
        spans = [m.span() for m in _DASHES.finditer(next(lines, (0, ""))[1])]
    names = [name.split("%")[0] for name in _cells(head, spans, closed)]
    missing = [name for name in NEEDED if name not in names]
    for name in missing:
        faults.add(1, name, "missing column", allowed=", ".join(NEEDED))
    if missing:
        faults.finish()
    for line, text in lines:
        cells = _cells(text, spans, closed)
        if not check_width(faults, line, cells, len(names)):
            continue
        row = dict(zip(names, cells, strict=True))
        for name in (*NEEDED, "NodeList", "AllocTRES"):
            if spans and row.get(name, "").endswith("+"):
                faults.add(line, name, "cut short", row[name], f"print more: {name}%60, or -P")
        yield line, row


def _cells(text: str, spans: Sequence[tuple[int, int]] | None, closed: bool) -> list[str]:
    if spans is None:
        cells = [cell.strip() for cell in text.split("|")]
        return cells[:-1] if closed else cells
    return [text[start:end].strip() for start, end in spans]


def _time_s(faults: RowFaults, line: int, name: str, row: Mapping[str, str]) -> float:
    text = row.get(name, "")
    if text.casefold() in _NO_TIME:
        return math.nan
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        faults.add(line, name, "not a time", text, "such as 2026-03-02T10:00:00, or Unknown")
        return math.nan


def _accelerators(tres: str) -> dict[str, int]:
    """Return devices by type; the untyped count is of the same devices where types are given."""
    typed = {kind.casefold(): int(count) for kind, count in _TYPED.findall(tres)}
    if typed:
        return typed
    untyped = _UNTYPED.search(tres)
    return {"": int(untyped[1])} if untyped else {}
