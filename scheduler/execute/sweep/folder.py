"""The folder of a sweep: a lock, one file per finished cell, and an index.

::

    sweep-results/
      cells/3f2a....json     one per finished cell, named by its key
      grid.json              which cell is which
      index.sqlite           times, hosts, attempts, failures
      lock                   who is writing
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from scheduler.core.errors import Fault, InputError
from scheduler.execute.sweep.index import Index, Row
from scheduler.io import canonical_json, read_json, write_json
from scheduler.io.atomic_files import write_texts
from scheduler.io.cells import CellRecord, cell_from_text

CELLS: Final = "cells"
GRID: Final = "grid.json"
INDEX: Final = "index.sqlite"
LOCK: Final = "lock"


class SweepFolder:
    """A sweep's results on disk; used as a context, in which nobody else may write there.

    Parameters
    ----------
    path : Path
        The folder; made if missing.
    resume : bool
        Whether results that it holds already are wanted.

    Raises
    ------
    InputError
        On entry, if it cannot be made or written, another sweep holds it, or it holds results
        and `resume` is false.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._resume = resume
        self._lock: int | None = None
        self.index: Index

    def __enter__(self) -> Self:
        try:
            (self.path / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError([Fault(f"cannot be made: {error.strerror}", str(self.path))]) from None
        self._take_lock()
        try:
            if not self._resume and any((self.path / CELLS).glob("*.json")):
                message = "holds results already"
                allowed = "--resume to go on with them, or another --output"
                raise InputError([Fault(message, str(self.path), allowed=allowed)])
            for half_written in (self.path / CELLS).glob(".*.tmp"):
                half_written.unlink(missing_ok=True)
            self.index = Index(self.path / INDEX)
        except BaseException:
            self._drop_lock()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.index.close()
        self._drop_lock()

    def finished(self, keys: Iterable[str]) -> dict[str, CellRecord]:
        """Return the cells among `keys` whose files are there and in order.

        A file that is not in order is as good as none: its cell is played again.
        """
        found = {}
        for key in keys:
            try:
                text = self.file(key).read_text(encoding="utf-8")
                record = cell_from_text(text, str(self.file(key)))
            except (OSError, UnicodeDecodeError, InputError):
                continue
            if record.key == key:
                found[key] = record
        return found

    def file(self, key: str) -> Path:
        """Return where the cell `key` lies."""
        return self.path / CELLS / f"{key}.json"

    def describe(self, grid: dict[str, Any]) -> None:
        """Write which cell is which."""
        write_json(self.path / GRID, grid)

    def write(self, texts: Mapping[str, str]) -> None:
        """Write the files of finished cells, by key: each whole, or not at all.

        Raises
        ------
        InputError
            If one cannot be written (disk full, folder gone, read-only).
        """
        write_texts(self.path / CELLS, {self.file(key).name: text for key, text in texts.items()})

    def note(self, rows: Iterable[Row]) -> None:
        """Add rows to the index."""
        self.index.put(rows)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove cells that turned out not to be needed."""
        listed = list(keys)
        for key in listed:
            self.file(key).unlink(missing_ok=True)
        self.index.remove(listed)

    def _take_lock(self) -> None:
        """Lock the folder for this process; the system gives the lock back when it dies."""
        path = self.path / LOCK
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise InputError([Fault(f"cannot be written: {error.strerror}", str(path))]) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            process, host = _holder(path)
            message = f"another sweep is writing here (process {process} on {host})"
            if not isinstance(error, BlockingIOError):
                message = f"cannot be locked: {error.strerror}"
            raise InputError([Fault(message, str(self.path))]) from None
        process, host = _holder(path)
        here = socket.gethostname()
        if host not in ("", here):
            # A file system may keep locks to one machine, so its holder may still be at work.
            os.close(handle)
            message = f"was in use by process {process} on {host}, which did not say it had ended"
            allowed = f"to remove {path} once that process has ended"
            raise InputError([Fault(message, str(self.path), allowed=allowed)])
        os.ftruncate(handle, 0)
        os.pwrite(handle, canonical_json({"pid": os.getpid(), "host": here}).encode(), 0)
        self._lock = handle

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None


def _holder(path: Path) -> tuple[str, str]:
    """Return process id and host that the lock file names, empty where it names none."""
    try:
        found = read_json(path)
        return str(found["pid"]), str(found["host"])
    except (InputError, KeyError, TypeError):
        return "", ""
