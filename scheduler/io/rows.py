"""Streaming large text files: lines, tables and JSON Lines, with caps and line numbers.

Trace files come from elsewhere. Gzip is recognised by content; what a small file may
unfold to is capped, as are the file and each line, so that a hostile file ends in a
message and not in an exhausted machine.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, cast

from scheduler.core.errors import FAULT_CAP, Fault, InputError

FILE_CAP_BYTES: Final = 2 * 2**30
LINE_CAP_BYTES: Final = 2**20
LINES_CAP: Final = 20_000_000
RATIO_CAP: Final = 200
_RATIO_FROM_BYTES: Final = 16 * 2**20  # small files may be as regular as they like
_CHUNK_BYTES: Final = 2**16
_GZIP_MAGIC: Final = b"\x1f\x8b"

LONGEST_S: Final = 3.2e9
"""A century: times beyond it are slips, and would overflow the microsecond clock."""


def read_lines(path: Path, file: str | None = None) -> Iterator[str]:
    """Yield the lines of a text file, plain or gzip, without their ends.

    Parameters
    ----------
    path : Path
        Where it lies.
    file : str, optional
        Name for messages, by default `path` as text.

    Raises
    ------
    InputError
        If it cannot be read, is damaged or truncated, is not UTF-8, holds a NUL character,
        or exceeds a cap.
    """
    name = file or str(path)
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError([Fault(f"cannot be read: {error.strerror}", name)]) from error
    with raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        total, number, rest = 0, 0, b""
        while chunk := _read_chunk(stream, name, number + 1):
            total += len(chunk)
            if total > FILE_CAP_BYTES:
                _stop("the file is too large", name, number, f"at most {FILE_CAP_BYTES} bytes")
            if packed and total > max(_RATIO_FROM_BYTES, RATIO_CAP * raw.tell()):
                _stop("the gzip data unfold too far", name, number, f"a ratio below {RATIO_CAP}")
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                yield _decode(line, name, number)
            if number > LINES_CAP:
                _stop("the file has too many lines", name, number, f"at most {LINES_CAP}")
            if len(rest) > LINE_CAP_BYTES:
                _decode(rest, name, number + 1)
        if rest:
            yield _decode(rest, name, number + 1)


def _read_chunk(stream: BinaryIO, file: str, line: int) -> bytes:
    try:
        return stream.read(_CHUNK_BYTES)
    except EOFError:
        _stop("the gzip data end early: the file is truncated", file, line)
    except (gzip.BadGzipFile, zlib.error):
        _stop("damaged gzip data", file, line)
    except OSError as error:
        _stop(f"cannot be read: {error.strerror or error}", file, line)


def _decode(line: bytes, file: str, number: int) -> str:
    if len(line) > LINE_CAP_BYTES:
        _stop("the line is too long", file, number, f"at most {LINE_CAP_BYTES} bytes")
    if number == 1:
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            _stop("the file is UTF-16", file, 1, "UTF-8")
        line = line.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in line:
        _stop("NUL character", file, number, "text")
    try:
        return line.decode().removesuffix("\r")
    except UnicodeDecodeError:
        _stop("not UTF-8 text", file, number, "UTF-8")


def _stop(message: str, file: str, line: int, allowed: str = "") -> NoReturn:
    raise InputError([Fault(message, file, allowed=allowed, line=line)])


class RowFaults:
    """Collects the faults of a file read row by row, and gives up at the cap.

    Parameters
    ----------
    file : str
        Name for messages.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []

    def add(
        self,
        line: int,
        column: str,
        message: str,
        value: str = "",
        allowed: str = "",
        nearest: str = "",
    ) -> None:
        """Note a fault in `column` of `line`.

        Raises
        ------
        InputError
            With all faults so far once there are `FAULT_CAP`: the rest is not read.
        """
        self.faults.append(Fault(message, self.file, column, value, allowed, nearest, line))
        if len(self.faults) >= FAULT_CAP:
            stopped = Fault(f"stopped reading after {FAULT_CAP} faults", self.file)
            raise InputError([*self.faults, stopped])

    def finish(self) -> None:
        """Raise what was noted, if anything."""
        if self.faults:
            raise InputError(self.faults)

    def number(
        self,
        line: int,
        column: str,
        text: str,
        *,
        blank: float | None = None,
        positive: bool = False,
        high: float = math.inf,
    ) -> float:
        """Return the non-negative number in a cell; NaN after noting a fault.

        Parameters
        ----------
        line, column, text
            Where, and what the cell holds.
        blank : float or None
            Value of an empty cell; None: an empty cell is a fault.
        positive : bool
            Whether zero is a fault.
        high : float
            Largest permitted value.
        """
        if not text and blank is not None:
            return blank
        least = "a number above 0" if positive else "a number of at least 0"
        allowed = least + (f" and at most {high:g}" if high < math.inf else "")
        try:
            value = float(text) if "_" not in text else math.nan
        except ValueError:
            self.add(line, column, "not a number" if text else "missing value", text, allowed)
            return math.nan
        if not math.isfinite(value):
            self.add(line, column, "not a finite number", text, allowed)
            return math.nan
        if value < 0 or (positive and value == 0) or value > high:
            message = "negative value" if value < 0 else "out of range"
            self.add(line, column, message, text, allowed)
            return math.nan
        return value

    def whole(self, line: int, column: str, text: str, *, high: int) -> int:
        """Return the whole number from 1 to `high` in a cell; 0 after noting a fault."""
        value = self.number(line, column, text, positive=True, high=high)
        if math.isnan(value):
            return 0
        if value != int(value):
            self.add(line, column, "not a whole number", text, f"from 1 to {high}")
            return 0
        return int(value)


def read_table(path: Path, file: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of a delimited text file, the header first.

    Blank lines are skipped, as are comment lines (``#``) above the header. Cells are
    stripped of blanks.

    Raises
    ------
    InputError
        As `read_lines`; if the file is empty; if quotes are left open.
    """
    width = 0
    lines = (f"{line}\n" for line in read_lines(path, file))  # a quoted cell may span lines
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            _stop(f"not a table: {error}", file, reader.line_num)
        if cells is None:
            break
        if not any(cells) or (not width and cells[0].startswith("#")):
            continue
        width = width or len(cells)
        yield reader.line_num, [cell.strip() for cell in cells]
    if not width:
        _stop("the file is empty", file, 0, "a header and rows")


def check_width(faults: RowFaults, line: int, cells: Sequence[str], width: int) -> bool:
    """Return whether a row is as wide as the header, noting a fault where it is not."""
    if len(cells) == width:
        return True
    faults.add(line, "", "wrong number of fields", str(len(cells)), f"{width}, as in the header")
    return False
