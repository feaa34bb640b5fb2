"""Rows of published tables: cells read leniently where empty, strictly where wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.io.rows import read_table

ID_COLUMNS: Final = ("run_id", "row", "id")
EMPTY: Final = frozenset(("", "-", "?", "n/a", "na", "nan", "none", "null", "unknown", "unstated"))
"""What stands in cells that say nothing, case-folded."""


@dataclass(slots=True)
class Row:
    """One row of a published table, collecting its faults.

    Parameters
    ----------
    cells : mapping of str to str
        By column; cells that say nothing are left out.
    file : str
        Name for messages.
    number_in_file : int
        Position among the rows, from 1: the name of a row without one.
    """

    cells: Mapping[str, str]
    file: str
    number_in_file: int
    faults: list[Fault] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Name of the row."""
        named = (self.cells[c] for c in ID_COLUMNS if c in self.cells)
        return next(named, str(self.number_in_file))

    def text(self, column: str) -> str:
        """Return a cell, ``""`` where it says nothing."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float | None:
        """Return a positive number; None where nothing, or zero, is stated."""
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= 0:
            return value or None
        self.fault("bad number", column, "a positive number, or empty")
        return None

    def whole(self, column: str) -> int | None:
        """Return a number rounded to a whole one of at least 1 (averages are published too)."""
        value = self.number(column)
        return None if value is None else max(1, round(value))

    def fault(self, message: str, column: str, allowed: str = "", nearest: str = "") -> None:
        """Note what is wrong with a cell."""
        place = f"row {self.id}: {column}"
        self.faults.append(Fault(message, self.file, place, self.text(column), allowed, nearest))


def read_header(path: Path) -> tuple[str, ...]:
    """Return the column names of a table.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    for _, cells in read_table(path, str(path)):
        return tuple(cells)
    return ()


def read_published(path: Path, required: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """Yield the rows of a table.

    Parameters
    ----------
    path : Path
        CSV with a header; comment lines (``#``) may stand above it.
    required : sequence of tuple of str
        Columns of which one each must be there.

    Raises
    ------
    InputError
        If the file cannot be read, lacks columns or holds no rows.
    """
    header: list[str] = []
    number = 0
    for _, cells in read_table(path, str(path)):
        if not header:
            header = cells
            faults = [_missing(columns, header, str(path)) for columns in required]
            if any(faults):
                raise InputError([fault for fault in faults if fault])
            continue
        number += 1
        said = {
            column: cell
            for column, cell in zip(header, cells, strict=False)
            if cell.casefold() not in EMPTY
        }
        yield Row(said, str(path), number)
    if not number:
        raise InputError([Fault("holds no rows", str(path))])


def _missing(columns: tuple[str, ...], header: list[str], file: str) -> Fault | None:
    if any(column in header for column in columns):
        return None
    near = nearest_name(columns[0], header)
    if len(columns) == 1:
        return Fault("missing column", file, value=columns[0], nearest=near)
    return Fault("missing column", file, allowed="one of " + ", ".join(columns), nearest=near)
