"""The index of a sweep's folder: when and where cells ran, and what became of those that failed.

It holds nothing that the cells' files depend on and is made anew where it is lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError

WAIT_S: Final = 5.0
"""How long to wait for somebody who reads the index meanwhile."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell in the index.

    Parameters
    ----------
    key : str
        Of the cell.
    cluster, workload, scenario, policy : str
        As tables call them.
    seed : int
        Of the replay.
    state : str
        ``done`` or ``failed``.
    attempts : int
        How often it was started, in the sweep that ended it.
    seconds : float or None
        Of the last attempt; None: not known any more.
    host : str
        Where that ran.
    finished_at : str
        When, UTC.
    message, details : str
        Why it failed, and the end of the traceback.
    """

    key: str
    cluster: str
    workload: str
    scenario: str
    policy: str
    seed: int
    state: str
    attempts: int
    seconds: float | None
    host: str
    finished_at: str
    message: str
    details: str


_COLUMNS: Final = tuple(f.name for f in fields(Row))
_TABLE: Final = """
create table if not exists cells (
    key text primary key, cluster text, workload text, scenario text, policy text,
    seed integer, state text, attempts integer, seconds real, host text, finished_at text,
    message text, details text
)
"""


class Index:
    """An SQLite file with one row per cell.

    Parameters
    ----------
    path : Path
        Made if missing; put aside and made anew if it is no index.

    Raises
    ------
    InputError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._as_fault():
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                path.replace(path.with_suffix(".broken"))
                self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None)
        # Not synced: after a power failure it is made anew from the cells.
        connection.execute("pragma journal_mode = delete")
        connection.execute("pragma synchronous = off")
        connection.execute(_TABLE)
        columns = tuple(row[1] for row in connection.execute("pragma table_info(cells)"))
        if columns != _COLUMNS:
            connection.close()
            raise sqlite3.DatabaseError("made by another version")
        return connection

    def put(self, rows: Iterable[Row]) -> None:
        """Add rows, or replace those of the same key, all or none."""
        marks = ", ".join("?" * len(_COLUMNS))
        with self._as_fault():
            self._connection.execute("begin")
            try:
                self._connection.executemany(
                    f"insert or replace into cells values ({marks})",  # noqa: S608 (marks only)
                    [astuple(row) for row in rows],
                )
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.execute("commit")

    def rows(self) -> list[Row]:
        """Return every row by key."""
        with self._as_fault():
            found = self._connection.execute(
                f"select {', '.join(_COLUMNS)} from cells order by key"  # noqa: S608
            ).fetchall()
        return [Row(*values) for values in found]

    def remove(self, keys: Iterable[str]) -> None:
        """Remove rows by key."""
        with self._as_fault():
            self._connection.executemany("delete from cells where key = ?", [(k,) for k in keys])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _as_fault(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError([Fault(f"cannot be written: {error}", str(self._path))]) from error


def now() -> str:
    """Return the time of day, for the index only."""
    return datetime.now(UTC).isoformat(timespec="seconds")
