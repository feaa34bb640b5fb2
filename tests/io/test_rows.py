"""Streaming text: line ends, gzip by content, and caps."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.io import rows
from scheduler.io.rows import RowFaults, read_lines, read_table


def test_lines_are_the_same_plain_and_gzip_whatever_the_suffix(tmp_path: Path) -> None:
    text = "a\r\nb\n\n" + "x" * 70_000 + "\nlast"
    plain, packed = tmp_path / "t.gz", tmp_path / "t.csv"
    plain.write_bytes(b"\xef\xbb\xbf" + text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    expected = ["a", "b", "", "x" * 70_000, "last"]
    assert list(read_lines(plain)) == expected
    assert list(read_lines(packed)) == expected


def test_table_skips_comments_and_blank_lines_and_knows_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('# made up\na,b\n1, 2 \n\n"x\ny",3\n4,5\n')
    assert list(read_table(path, "t.csv")) == [
        (2, ["a", "b"]),
        (3, ["1", "2"]),
        (6, ["x\ny", "3"]),
        (7, ["4", "5"]),
    ]


def test_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress((b"x" * 999 + b"\n") * 40_000, 9))
    with pytest.raises(InputError, match="unfold too far"):
        list(read_lines(path))
    monkeypatch.setattr(rows, "FILE_CAP_BYTES", 1_000_000)
    with pytest.raises(InputError, match="the file is too large"):
        list(read_lines(path))
    path.write_bytes(b"\n" * 200)
    monkeypatch.setattr(rows, "LINES_CAP", 100)
    with pytest.raises(InputError, match="too many lines"):
        list(read_lines(path))


@pytest.mark.parametrize("text", ["", "x", "1_0", "nan", "inf", "-1", "0", "11"])
def test_numbers_out_of_bounds_are_noted(text: str) -> None:
    faults = RowFaults("f.csv")
    faults.number(7, "c", text, positive=True, high=10)
    (fault,) = faults.faults
    assert (fault.file, fault.line, fault.path, fault.value) == ("f.csv", 7, "c", text)
    assert fault.allowed == "a number above 0 and at most 10"
