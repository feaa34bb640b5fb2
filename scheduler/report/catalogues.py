"""The catalogues of accelerators and models as tables that fit the terminal."""

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

PEAKS_NOTE: Final = "precisions: dense peak in TFLOP/s, - where unsupported"

CHIP: Final = {
    "stack": "stack",
    "memory_gib": "GiB",
    "memory_gb_per_s": "GB/s",
    "fp32_tflops": "fp32",
    "tf32_tflops": "tf32",
    "bf16_tflops": "bf16",
    "fp16_tflops": "fp16",
    "fp8_tflops": "fp8",
    "int8_tflops": "int8",
    "fp4_tflops": "fp4",
    "confidence": "confi-\ndence",
}
"""Headings by field."""

SYSTEM: Final = {
    "scaleup_gb_per_s": "link\nGB/s",
    "scaleup_devices": "link\njoins",
    "devices_per_node": "per\nnode",
    "idle_w": "idle\nW",
    "peak_w": "peak\nW",
    "price_usd": "price\nUSD",
    "usd_per_hour": "USD\nper h",
    "export_status": "export status",
}

MODEL: Final = {
    "kind": "kind",
    "parameters_1e9": "1e9\nweights",
    "active_1e9": "1e9\nactive",
    "layers": "layers",
    "hidden": "hidden",
    "heads": "heads",
    "kv_heads": "KV\nheads",
    "vocabulary": "vocab-\nulary",
    "experts": "experts",
    "experts_per_token": "per\ntoken",
}

GIVE_WAY: Final = (
    *("tf32_tflops", "fp32_tflops", "int8_tflops", "fp4_tflops", "confidence", "fp16_tflops"),
    *("usd_per_hour", "export_status", "experts_per_token", "vocabulary", "experts", "kv_heads"),
    *("heads", "fp8_tflops", "price_usd", "idle_w", "hidden", "layers"),
)
"""Columns that a narrow terminal does without, the first first."""

WORDS: Final = frozenset(("stack", "confidence", "export_status", "kind"))
TEXT: Final = frozenset(("export_status",))
"""Columns that take what is left, cut to it, and the least they need."""

GAP: Final = 3
EDGES: Final = 2
LEAST_TEXT: Final = 20


def type_name(name: str, confidence: str) -> str:
    """Return the name of a type, marked where its figures are unsure."""
    return name + (UNSURE if confidence == "low" else "")


def accelerator_tables(rows: Sequence[Mapping[str, object]], width: int) -> tuple[Table, Table]:
    """Return the accelerator types: the chips, then their links, power, prices and export status.

    Parameters
    ----------
    rows : sequence of mapping
        Fields as `fleetfit list accelerators --json` prints them.
    width : int
        Columns of the terminal.
    """
    names = [type_name(str(row["name"]), str(row["confidence"])) for row in rows]
    return _fitted(names, rows, CHIP, width), _fitted(names, rows, SYSTEM, width)


def model_table(rows: Sequence[Mapping[str, object]], width: int) -> Table:
    """Return the models; rows as `fleetfit list models --json` prints them."""
    return _fitted([str(row["name"]) for row in rows], rows, MODEL, width)


def _fitted(
    names: Sequence[str],
    rows: Sequence[Mapping[str, object]],
    headings: Mapping[str, str],
    width: int,
) -> Table:
    """Return a table of as many columns as fit."""
    cells = {field: [_cell(row[field]) for row in rows] for field in headings}
    sizes = {field: _size(field, headings[field], texts) for field, texts in cells.items()}
    left = width - EDGES - max(len(plain(name)) for name in names) - sum(sizes.values())
    for field in GIVE_WAY:
        if left < 0 and field in cells:
            left += sizes[field]
            del cells[field]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for field in cells:
        table.add_column(
            headings[field], justify="left" if field in WORDS else "right", no_wrap=True
        )
    for i, name in enumerate(names):
        table.add_row(
            escape(plain(name)),
            *(
                escape(plain(texts[i], LEAST_TEXT + max(0, left)) if field in TEXT else texts[i])
                for field, texts in cells.items()
            ),
        )
    return table


def _size(field: str, heading: str, texts: Sequence[str]) -> int:
    if field in TEXT:
        return GAP + LEAST_TEXT
    return GAP + max(map(len, (*heading.split("\n"), *texts)))


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:,.6g}" if isinstance(value, float | int) else plain(str(value))
