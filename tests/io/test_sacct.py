"""Reading what sacct prints."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.io.sacct import read_sacct

FORMATS = Path(__file__).resolve().parents[2] / ".." / "shared" / "formats" / "slurm"

ROWS = (
    ("JobID", "State", "Submit", "Start", "End", "NodeList"),
    ("-" * 12, "-" * 10, "-" * 19, "-" * 19, "-" * 19, "-" * 15),
    ("7", "COMPLETED", *(f"2026-03-02T10:{t}" for t in ("00:00", "00:05", "01:05")), "h[00-03]"),
    ("7.batch", "COMPLETED", *(f"2026-03-02T10:{t}" for t in ("00:05", "00:05", "01:05")), "h00"),
    ("8", "CANCELLED+", "2026-03-02T10:00:09", "Unknown", "Unknown", "None assigned"),
)
WIDE = "".join(
    " ".join(f"{cell:>{len(dashes)}}" for cell, dashes in zip(row, ROWS[1], strict=True)) + " \n"
    for row in ROWS
)


def test_columns_of_fixed_width(tmp_path: Path) -> None:
    (tmp_path / "sacct.txt").write_text(WIDE.replace("CANCELLED+", " CANCELLED"))
    first, second = read_sacct(tmp_path / "sacct.txt")
    assert (first.job_id, first.state, first.node_list) == ("7", "COMPLETED", "h[00-03]")
    assert (first.start_s - first.submit_s, first.end_s - first.start_s) == (5.0, 60.0)
    assert second.state == "CANCELLED"
    assert math.isnan(second.start_s)


def test_what_is_cut_short_or_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sacct.txt"
    path.write_text(WIDE)
    with pytest.raises(InputError, match=r"State: cut short, got 'CANCELLED\+'"):
        read_sacct(path)
    path.write_text("JobID|State\n1|COMPLETED\n")
    with pytest.raises(InputError, match="missing column"):
        read_sacct(path)
    path.write_text("JobID|State|Submit|Start|End\n1|COMPLETED|soon|Unknown|None\n")
    with pytest.raises(InputError, match="not a time"):
        read_sacct(path)
    path.write_text("JobID|State|Submit|Start|End\n1|COMPLETED|None\n")
    with pytest.raises(InputError, match="wrong number of fields"):
        read_sacct(path)


def test_totals_of_a_made_up_site() -> None:
    if not FORMATS.is_dir():
        pytest.skip("needs the shared reference data beside the checkout")
    expected = json.loads((FORMATS / "expected.json").read_text())
    rows = read_sacct(FORMATS / "sacct.psv")
    assert len(rows) == expected["rows"]
    assert Counter(row.state for row in rows) == expected["by_state"]
    assert len({row.job_id for row in rows}) == expected["unique_JobID"]
    held: Counter[str] = Counter()
    for row in rows:
        for kind, count in row.accelerators.items():
            held[kind] += int(row.elapsed_s) * count
    assert {k: n for k, n in held.items() if k and n} == expected["gpu_seconds_by_type"]
