"""Every figure for the terminal: distributions, fairness, tenants, and what differs for sure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from scheduler.core.metrics import DISTRIBUTIONS, FIGURES, PERCENTS
from scheduler.report.summary import Summary, half_width, is_clear
from scheduler.report.words import count, number, plain, spread, time_unit

MOST_TENANTS: Final = 20
HOUR_S: Final = 3600.0
_TITLES: Final = {
    "jct_s": "JCT",
    "queueing_s": "queueing",
    "slowdown": "slowdown",
    "finish_time_ratio": "finish-time ratio",
}
_COUNTS: Final = ("finished", "running", "waiting", "rejected", "killed", "cancelled")


def metric_tables(summaries: Sequence[Summary]) -> Iterator[tuple[str, Table]]:
    """Yield title and table of what the first tables leave out."""
    yield "Distributions over jobs: mean, percentiles", distribution_table(summaries)
    yield "Fairness (finish-time ratio: JCT over JCT on an equal part)", fairness_table(summaries)
    if any(len(s.tenants) > 1 for s in summaries):
        yield "Tenants", tenant_table(summaries)
    if len(summaries) > 1:
        title = f"Difference from {plain(summaries[0].policy)}"
        if len(summaries[0].seeds) > 1:
            title += f", paired over {len(summaries[0].seeds)} seeds (*: clear at 95 %)"
        yield title, difference_table(summaries)


def distribution_table(summaries: Sequence[Summary]) -> Table:
    """Return mean and percentiles by quantity and policy; ± is the 95 % interval."""
    table = _table("", "policy")
    for title in ("mean", *(f"p{p}" for p in PERCENTS)):
        table.add_column(title, justify="right", no_wrap=True)
    for quantity in DISTRIBUTIONS:
        names = [f"mean_{quantity}", *(f"p{p}_{quantity}" for p in PERCENTS)]
        length, unit = 1.0, ""
        if quantity.endswith("_s"):
            length, unit = time_unit(s.mean(names[0]) for s in summaries)
        for summary in summaries:
            figures = [summary.figures[name] for name in names]
            cells = [spread(f.mean / length, half_width(f) / length) for f in figures]
            first = summary is summaries[0]
            head = f"{_TITLES[quantity]} {unit}".strip() if first else ""
            table.add_row(head, escape(plain(summary.policy)), *cells)
        table.add_section()
    return table


def fairness_table(summaries: Sequence[Summary]) -> Table:
    """Return the measures of fairness by policy."""
    table = _table("policy")
    columns = (
        ("jobs worse off\nthan on a part, %", "unfair_fraction", 100.0),
        ("worst\nratio", "max_finish_time_ratio", 1.0),
        ("Jain of\ntenants' pace", "fairness", 1.0),
        ("Jain of\ntenants' shares", "share_fairness", 1.0),
    )
    for title, _, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for summary in summaries:
        figures = [(summary.figures[name], scale) for _, name, scale in columns]
        cells = [spread(f.mean * scale, half_width(f) * scale) for f, scale in figures]
        table.add_row(escape(plain(summary.policy)), *cells)
    return table


def tenant_table(summaries: Sequence[Summary]) -> Table:
    """Return what tenants had, those that had most first."""
    table = _table("tenant", "policy")
    for title in ("weight", "accelerator-h", "share\n%", "dominant share\nover weight, %"):
        table.add_column(title, justify="right", no_wrap=True)
    of_first = summaries[0].tenants
    names = sorted(of_first, key=lambda n: (-of_first[n].accelerator_s.mean, n))
    for name in names[:MOST_TENANTS]:
        for summary in summaries:
            use = summary.tenants[name]
            shares = [use.share, use.dominant_share]
            table.add_row(
                escape(plain(name)) if summary is summaries[0] else "",
                escape(plain(summary.policy)),
                count(use.weight),
                number(use.accelerator_s.mean / HOUR_S),
                *(spread(100 * f.mean, 100 * half_width(f)) for f in shares),
            )
        table.add_section()
    if len(names) > MOST_TENANTS:
        table.add_row(f"+{len(names) - MOST_TENANTS} more (--json)")
    return table


def difference_table(summaries: Sequence[Summary]) -> Table:
    """Return each figure's difference from the first policy; a star where it is clear."""
    table = _table("metric")
    table.add_column(escape(plain(summaries[0].policy)), justify="right", no_wrap=True)
    others = summaries[1:]
    for summary in others:
        table.add_column(escape(plain(summary.policy)), justify="right", no_wrap=True)
    for name in FIGURES:
        base = summaries[0].mean(name)
        changes = [(s.differences or {}).get(name) for s in others]
        if not any(c is not None and math.isfinite(c.mean) and c.mean for c in changes):
            continue
        length, unit = _unit(name, base)
        cells = []
        for change in changes:
            if change is None or not math.isfinite(change.mean):
                cells.append("-")
                continue
            text = spread(change.mean / length, half_width(change) / length, "+")
            cells.append(f"{text} {'*' if is_clear(change) else ' '}")
        table.add_row(f"{name.removesuffix('_s')}{unit}", number(base / length), *cells)
    return table


def _unit(name: str, base: float) -> tuple[float, str]:
    """Return what one of the table's units is in the figure's own, and how to write it."""
    if name == "lost_accelerator_s":
        return HOUR_S, ", accelerator-h"
    if name.endswith("_s"):
        length, unit = time_unit([base])
        return length, f", {unit}"
    if name.endswith("_fraction") or name in ("utilisation", "goodput", "slo_attainment"):
        return 0.01, ", %"
    if name == "energy_j":
        return 3.6e6, ", kWh"
    return 1.0, ", jobs" if name in _COUNTS else ""


def _table(*titles: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table
