"""The accelerator catalogue as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from scheduler.report.words import plain

UNSURE: Final = "?"
"""Behind the name of a type whose figures are estimates or disputed."""

UNSURE_NOTE: Final = "figures of this type are estimates or disputed"

COLUMNS: Final = {
    "stack": "stack",
    "memory_gib": "GiB",
    "memory_gb_per_s": "GB/s",
    "bf16_tflops": "bf16",
    "fp8_tflops": "fp8",
    "fp4_tflops": "fp4",
    "price_usd": "USD",
    "usd_per_hour": "USD\nper h",
    "confidence": "confi-\ndence",
}
"""Headings by field; peaks are dense, in TFLOP/s."""

GIVE_WAY: Final = ("usd_per_hour", "fp4_tflops")
"""Columns that make room for the export status."""

NARROW: Final = ("price_usd", "fp8_tflops")
"""Columns that a narrow terminal does without."""

GAP: Final = 3
EDGES: Final = 2
LEAST_STATUS: Final = 28


def type_name(name: str, confidence: str) -> str:
    """Return the name of a type, marked where its figures are unsure."""
    return name + (UNSURE if confidence == "low" else "")


def accelerator_table(rows: Sequence[Mapping[str, object]], width: int) -> Table:
    """Return the accelerator types: memory, peaks, prices, export status, confidence.

    Parameters
    ----------
    rows : sequence of mapping
        Fields as `fleetfit list accelerators --json` prints them.
    width : int
        Columns of the terminal; the export status takes what is left.
    """
    names = [plain(type_name(str(row["name"]), str(row["confidence"]))) for row in rows]
    cells = {field: [_cell(row, field) for row in rows] for field in COLUMNS}
    sizes = {
        field: GAP + max(map(len, [*COLUMNS[field].split("\n"), *texts]))
        for field, texts in cells.items()
    }
    left = width - EDGES - max(map(len, names)) - sum(sizes.values())
    for wanted, fields in ((GAP + LEAST_STATUS, GIVE_WAY), (0, NARROW)):
        for field in fields:
            if left < wanted and field in cells:
                left += sizes[field]
                del cells[field]
    with_status = left - GAP >= LEAST_STATUS
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for field in cells:
        words = field in ("stack", "confidence")
        table.add_column(COLUMNS[field], justify="left" if words else "right", no_wrap=True)
    if with_status:
        table.add_column("export status", no_wrap=True)
    for i, row in enumerate(rows):
        table.add_row(
            escape(names[i]),
            *(escape(texts[i]) for texts in cells.values()),
            *([escape(plain(str(row["export_status"]) or "-", left - GAP))] if with_status else []),
        )
    return table


def _cell(row: Mapping[str, object], field: str) -> str:
    value, before = row[field], ""
    if field == "bf16_tflops" and value is None:  # what older types have instead
        other = next((p for p in ("fp16", "fp32") if row[f"{p}_tflops"] is not None), "bf16")
        value, before = row[f"{other}_tflops"], f"{other} "
    if value is None:
        return "-"
    return before + (f"{value:,.6g}" if isinstance(value, float | int) else plain(str(value)))
