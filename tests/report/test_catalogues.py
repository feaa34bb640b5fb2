"""The catalogues as tables: what they show, and that they fit."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from scheduler.commands.listing import _accelerator_rows, _model_rows
from scheduler.report.catalogues import CHIP, MODEL, SYSTEM, accelerator_tables, model_table


def lines_of(*tables: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def row_of(lines: list[str], name: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[:1] == [name])


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_tables_keep_within_the_terminal(width: int) -> None:
    rows = _accelerator_rows()
    lines = lines_of(
        *accelerator_tables(rows, width), model_table(_model_rows(), width), width=width
    )
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(str(row["name"]) in text for row in rows), "a name is never cut"
    assert "…" not in "\n".join(line[:60] for line in lines), "nor is a number"


def test_a_usual_terminal_shows_every_column() -> None:
    rows = _accelerator_rows()
    head = lines_of(*accelerator_tables(rows, 120), width=120)
    for heading in (*CHIP.values(), *SYSTEM.values()):
        assert all(any(part in line for line in head) for part in heading.split("\n")), heading
    head = lines_of(model_table(_model_rows(), 120), width=120)
    for heading in MODEL.values():
        assert all(any(part in line for line in head) for part in heading.split("\n")), heading


def test_unsure_rows_are_marked_and_unsupported_peaks_absent() -> None:
    rows = _accelerator_rows()
    chips, systems = (lines_of(table, width=140) for table in accelerator_tables(rows, 140))
    for row in rows:
        mark = "?" if row["confidence"] == "low" else ""
        cells = row_of(chips, f"{row['name']}{mark}")
        assert cells[-1] == row["confidence"]
        assert (cells[list(CHIP).index("bf16_tflops") + 1] == "-") == (row["bf16_tflops"] is None)
        assert row_of(systems, f"{row['name']}{mark}")
    assert row_of(chips, "V100-32GB-SXM")[6:9] == ["-", "125", "-"]
