"""What the trace readers share: choosing rows, windows of time, and the resulting Workload."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.io.quantities import TIME, QuantityError, parse_quantity
from scheduler.io.rows import RowFaults, check_width, read_table

_VALUES_KEPT: Final = 1000  # distinct values remembered for the message
_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What part of a trace is wanted.

    Parameters
    ----------
    select : mapping of str to str
        Keep rows whose columns have these values.
    since, until : str or None
        Keep jobs submitted in ``[since, until)``: ISO dates or times for traces with
        timestamps (a bare date is its midnight), and lengths of time such as ``"36 h"`` from
        the start of the trace for the others.
    profile : str or None
        Throughput table that the jobs are for.
    """

    select: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    profile: str | None = None


class Selection:
    """Keeps the rows that `select` asks for and remembers what it met.

    Parameters
    ----------
    select : mapping of str to str
        Column to value.
    header : sequence of str
        Columns of the file.
    file : str
        Name for messages.

    Raises
    ------
    InputError
        If `select` names a column that the file lacks.
    """

    def __init__(self, select: Mapping[str, str], header: Sequence[str], file: str) -> None:
        unknown = [c for c in select if c not in header]
        if unknown:
            allowed = ", ".join(header)
            raise InputError(
                Fault(
                    "no such column to select by",
                    file,
                    "select",
                    c,
                    allowed,
                    nearest_name(c, header),
                )
                for c in unknown
            )
        self.file = file
        self._wanted = [(header.index(c), c, v) for c, v in select.items()]
        self._met: dict[str, dict[str, None]] = {c: {} for c in select}

    def keeps(self, cells: Sequence[str]) -> bool:
        """Return whether a row is wanted."""
        kept = True
        for place, column, value in self._wanted:
            met = self._met[column]
            if len(met) < _VALUES_KEPT:
                met[cells[place]] = None
            kept = kept and cells[place] == value
        return kept

    def values(self, column: str) -> list[str]:
        """Return the values met in a selected column."""
        return sorted(self._met[column])

    def finish(self, kept: int) -> None:
        """Raise if nothing was kept: first for values that the file does not hold."""
        faults = [
            Fault(
                f"no row has this {column}",
                self.file,
                "select",
                value,
                ", ".join(self.values(column)[:12]),
                nearest_name(value, self._met[column]),
            )
            for _, column, value in self._wanted
            if value not in self._met[column] and len(self._met[column]) < _VALUES_KEPT
        ]
        if not faults and not kept:
            faults = [Fault("no job is left", self.file, allowed="a wider selection or window")]
        if faults:
            raise InputError(faults)


def table_rows(
    path: Path, file: str, columns: Sequence[str], options: TraceOptions, faults: RowFaults
) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (line, row number, cells of `columns`) of the selected rows of a CSV trace.

    Row numbers start at 1 and count rows that are not selected too, so that an id made from
    them means the same whatever is selected.

    Raises
    ------
    InputError
        If a column is missing, or no row is selected.
    """
    rows = read_table(path, file)
    at, header = next(rows)
    for column in columns:
        if column not in header:
            faults.add(
                at, "", "missing column", column, ", ".join(header), nearest_name(column, header)
            )
    faults.finish()
    places = [header.index(c) for c in columns]
    selection = Selection(options.select, header, file)
    number = kept = 0
    for line, cells in rows:
        number += 1
        if check_width(faults, line, cells, len(header)) and selection.keeps(cells):
            kept += 1
            yield line, number, [cells[i] for i in places]
    if not number:
        faults.add(at, "", "the trace is empty", "", "at least one job")
    faults.finish()
    selection.finish(kept)


class Clock:
    """The window of a trace with timestamps: ISO text to seconds."""

    def __init__(self, options: TraceOptions) -> None:
        self._since = _moment(options.since, "--since")
        self._until = _moment(options.until, "--until")
        _check_order(self._since, self._until)

    def seconds(self, text: str) -> float | None:
        """Return seconds since 1970 of a zoneless timestamp, None if it is not one."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return None if moment.tzinfo else (moment - _EPOCH).total_seconds()

    def keeps(self, at_s: float) -> bool:
        """Return whether the moment lies in the window."""
        return self._since <= at_s < self._until


class Window:
    """The window of a trace that counts from its own start."""

    def __init__(self, options: TraceOptions) -> None:
        self._since = _length(options.since, "--since", 0.0)
        self._until = _length(options.until, "--until", math.inf)
        _check_order(self._since, self._until)

    def keeps(self, at_s: float) -> bool:
        """Return whether the moment lies in the window."""
        return self._since <= at_s < self._until


def refuse_options(options: TraceOptions, names: Iterable[str], trace_format: str) -> None:
    """Raise if one of the options `names`, which a format has no use for, is given."""
    given = [n for n in names if getattr(options, n)]
    if given:
        raise InputError(
            Fault(f"the {trace_format} format has no use for it", f"--{n}") for n in given
        )


def _moment(text: str | None, option: str) -> float:
    if text is None:
        return -math.inf if option == "--since" else math.inf
    allowed = "a date or time such as '2017-10-02' or '2017-10-02 08:00:00', without zone"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError([Fault("not a time", option, value=text, allowed=allowed)]) from None
    if moment.tzinfo:
        raise InputError([Fault("the trace has no time zone", option, value=text, allowed=allowed)])
    return (moment - _EPOCH).total_seconds()


def _length(text: str | None, option: str, default: float) -> float:
    if text is None:
        return default
    try:
        return parse_quantity(text, TIME)
    except QuantityError as error:
        message = f"{error.message} (the trace has no dates)"
        fault = Fault(message, option, value=text, allowed=error.allowed, nearest=error.nearest)
        raise InputError([fault]) from None


def _check_order(since: float, until: float) -> None:
    if since >= until:
        raise InputError([Fault("the window is empty", "--until", allowed="a time after --since")])
