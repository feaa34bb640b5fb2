"""Estimates of one job on accelerator types, and errors against published runs, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from scheduler.core.units import GIB
from scheduler.physics.gang_rates import TrainingEstimate
from scheduler.physics.inference import ReplicaEstimate
from scheduler.physics.network import Refusal
from scheduler.physics.predictions import Errors, Prediction, Report
from scheduler.physics.type_estimates import TypeEstimate, memory_parts
from scheduler.report.catalogues import type_name
from scheduler.report.words import bar, number, percent, plain

BAR: Final = 12
LEAST_HOW: Final = 12
"""Room that must be left to say how."""

LEAST_COLUMNS: Final = 3
GAP: Final = 3
EDGES: Final = 2
STEP_PARTS: Final = ("compute", "memory", "communication", "bubble")
BUCKETS: Final = (0.05, 0.10, 0.20, 0.33, 0.50, math.inf)
LIMITS: Final = {
    "tpot": "time per output token",
    "ttft": "time to first token",
    "memory": "memory for caches",
    "sequences": "the serving software",
}


def estimate_table(rows: Sequence[TypeEstimate], unit: str, width: int) -> Table:
    """Return the types that can do it, fastest first; parts of a step in percent.

    Parameters
    ----------
    rows : sequence of TypeEstimate
        Refused ones are left out.
    unit : str
        What is counted: ``"tokens"`` or ``"samples"``.
    width : int
        Columns of the terminal.
    """
    possible = [row for row in rows if row.work_per_s > 0]
    top = max((row.work_per_s for row in possible), default=1.0)
    columns = estimate_columns(possible, unit)
    left = width - EDGES - sum(GAP + column.width for column in columns)
    while left < 0 and len(columns) > LEAST_COLUMNS:
        left += GAP + columns.pop().width
    with_bar = left >= BAR + GAP
    room = left - GAP - (BAR + GAP) * with_bar
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(escape(column.title), justify="right" if i else "left", no_wrap=True)
        if with_bar and i == 1:
            table.add_column("", no_wrap=True)
    if room >= LEAST_HOW:
        table.add_column("how", no_wrap=True)
    for i, row in enumerate(possible):
        cells = [escape(column.cells[i]) for column in columns]
        table.add_row(
            *cells[:2],
            *([_Bar(row.work_per_s / top)] if with_bar else []),
            *cells[2:],
            *([escape(plain(how_of(row.found), room))] if room >= LEAST_HOW else []),
        )
    return table


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands below it."""

    title: str
    cells: list[str]

    @property
    def width(self) -> int:
        """Characters of the longest line."""
        return max(len(line) for text in (self.title, *self.cells) for line in text.split("\n"))


def estimate_columns(rows: Sequence[TypeEstimate], unit: str) -> list[Column]:
    """Return what tables of estimates say, what matters most first."""
    steps = [row.found.step_s for row in rows if not isinstance(row.found, Refusal)]
    sigmas = [row.found.sigma_log for row in rows if not isinstance(row.found, Refusal)]
    needs = [row.found.memory_bytes for row in rows if not isinstance(row.found, Refusal)]
    return [
        Column(
            "accelerator",
            [plain(type_name(r.accelerator.name, r.accelerator.confidence)) for r in rows],
        ),
        Column(f"{unit}/s", [number(row.work_per_s) for row in rows]),
        Column("± %", [f"{100 * math.expm1(sigma):.0f}" for sigma in sigmas]),
        Column(
            "% of a step:\ncom mem net bub",
            [
                " ".join(f"{100 * getattr(step, part) / step.total:3.0f}" for part in STEP_PARTS)
                for step in steps
            ],
        ),
        Column(
            "GiB of\neach",
            [
                f"{need / GIB:.0f}/{row.accelerator.memory_bytes / GIB:.0f}"
                for need, row in zip(needs, rows, strict=True)
            ],
        ),
        Column("per\nJ", [number(row.work_per_joule) for row in rows]),
        Column("million\nper USD", [number(row.work_per_usd / 1e6) for row in rows]),
    ]


def how_of(found: TrainingEstimate | ReplicaEstimate | Refusal) -> str:
    """Return the layout of a training job, or what a replica can do."""
    if isinstance(found, Refusal):
        return ""
    if isinstance(found, TrainingEstimate):
        return str(found.layout)
    return f"{number(found.requests_per_s)} requests/s, limited by {LIMITS[found.limited_by]}"


def refusal_table(rows: Sequence[TypeEstimate]) -> Table | None:
    """Return why the other types cannot do it; None if all can."""
    refused = [row for row in rows if isinstance(row.found, Refusal)]
    if not refused:
        return None
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("impossible on", no_wrap=True)
    table.add_column("because")
    for row in refused:
        assert isinstance(row.found, Refusal)
        name = type_name(row.accelerator.name, row.accelerator.confidence)
        table.add_row(escape(plain(name)), escape(plain(row.found.reason, 200)))
    return table


def estimate_details(row: TypeEstimate, unit: str) -> Table:
    """Return all there is to say about one type, line by line."""
    found, kind = row.found, row.accelerator
    assert not isinstance(found, Refusal)
    step, factor = found.step_s, math.exp(found.sigma_log)
    low, high = number(row.work_per_s / factor), number(row.work_per_s * factor)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("rate", f"{number(row.work_per_s)} {unit}/s ({low} to {high} with odds of 2:1)")
    what = "step"
    if isinstance(found, ReplicaEstimate):
        what = "token" if found.tpot_s else "batch"
        table.add_row("", f"{how_of(found)}, {number(found.batch)} at once")
        first = "first token" if found.tpot_s else "latency"
        table.add_row(first, f"{1e3 * found.ttft_s:.3g} ms with queueing headroom")
        if found.tpot_s:
            table.add_row("per token", f"{1e3 * found.tpot_s:.3g} ms")
    else:
        table.add_row("layout", str(found.layout))
    table.add_row(
        what,
        f"{number(1e3 * step.total)} ms: "
        + ", ".join(
            f"{part} {percent(getattr(step, part) / step.total, 0)}" for part in STEP_PARTS
        ),
    )
    parts = memory_parts(found)
    table.add_row(
        "memory",
        f"{number(found.memory_bytes / GIB)} of {number(kind.memory_bytes / GIB)} GiB on each: "
        + ", ".join(f"{name} {number(size / GIB)}" for name, size in parts.items()),
    )
    cost = "" if kind.usd_per_hour is None else f", {number(row.work_per_usd)} {unit}/USD"
    table.add_row(
        "power", f"{number(found.power_w)} W: {number(row.work_per_joule)} {unit}/J{cost}"
    )
    table.add_row("figures", f"of {kind.confidence} confidence: {plain(kind.source, 160)}")
    return table


def error_table(report: Report) -> Table:
    """Return the errors in all and by source, stack, precision and kind."""
    longest = max((e.median for e in report.groups.values() if e.rows), default=1.0) or 1.0
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("by", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in ("rows", "median %", "p90 %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_row("all", "", *_error_cells(report.errors, longest))
    previous = ""
    for axis in ("stack", "precision", "kind", "source"):
        for name, errors in report.groups.items():
            head, _, rest = name.partition("/")
            if head != axis or not errors.rows:
                continue
            if axis != previous:
                table.add_section()
            table.add_row(
                axis if axis != previous else "",
                escape(plain(rest)) or "-",
                *_error_cells(errors, longest),
            )
            previous = axis
    return table


def _error_cells(errors: Errors, longest: float) -> tuple[str | _Bar, ...]:
    if not errors.rows:
        return ("0", "-", "-", "")
    return (
        str(errors.rows),
        f"{100 * errors.median:.1f}",
        f"{100 * errors.p90:.1f}",
        _Bar(errors.median / longest),
    )


def distribution_table(predictions: Sequence[Prediction]) -> Table:
    """Return how many figures are how far off."""
    errors = [p.relative_error for p in predictions if p.counted]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("error", no_wrap=True)
    table.add_column("figures", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("up to here", justify="right")
    low, below = 0.0, 0
    counts = []
    for high in BUCKETS:
        counts.append((low, high, sum(low <= e < high for e in errors)))
        low = high
    longest = max(c for *_, c in counts) or 1
    for low, high, many in counts:
        below += many
        span = (
            f"{100 * low:.0f} - {100 * high:.0f} %"
            if math.isfinite(high)
            else f"above {100 * low:.0f} %"
        )
        share = percent(below / len(errors), 0) if errors else "-"
        table.add_row(span, str(many), _Bar(many / longest), share)
    return table


class _Bar:
    """A bar, drawn in what the terminal's encoding holds."""

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield bar(self.fraction, BAR, ascii_only=options.ascii_only)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(BAR, BAR)
