"""Tables for the terminal: policies side by side, and where idle time goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from scheduler.core.ledger import (
    HELD_UNPRODUCTIVE_CAUSES,
    IDLE_CAUSES,
    WASTE_CAUSES,
    Cause,
)
from scheduler.report.summary import Summary, fewest, half_width
from scheduler.report.words import bar, count, number, plain, spread, time_unit

GAP: Final = 3
EDGES: Final = 2
SHARE_WIDTH: Final = len("100.0 %")
MIN_BAR: Final = 3
MAX_BAR: Final = 12

REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.DOWN: "repair",
    Cause.COMMUNICATION: "placement, network",
    Cause.STRAGGLER: "balance",
    Cause.RECONFIGURATION: "fewer moves",
    Cause.LOST: "checkpoints",
    Cause.HEADROOM: "autoscaling, co-scheduling",
    Cause.POWER_CAP: "power, shifting",
    Cause.POLICY: "another policy",
    Cause.SHAPE: "defragmentation",
    Cause.GANG_WAIT: "backfill, elasticity",
    Cause.INCOMPATIBLE: "porting, another mix",
    Cause.NO_DEMAND: "more work, fewer chips",
}
"""What would remove each cause."""

STYLES: Final[Mapping[Cause, str]] = {
    Cause.DOWN: "bright_black",
    Cause.PRODUCTIVE: "green",
    **dict.fromkeys(HELD_UNPRODUCTIVE_CAUSES, "yellow"),
    **dict.fromkeys(IDLE_CAUSES, "red"),
    Cause.NO_DEMAND: "blue",
}


def policy_tables(summaries: Sequence[Summary], width: int) -> list[Table]:
    """Return the figures of each policy: one table, or several where `width` is too small.

    Intervals are those of the mean over replays, 95 %; the change is paired by seed with the
    first policy.
    """
    times = [
        _times("mean JCT", "mean_jct_s", summaries),
        *([_change_column(summaries)] if len(summaries) > 1 else []),
        *_bound_columns(summaries),
        _times("p99 JCT", "p99_jct_s", summaries),
        _times("makespan", "makespan_s", summaries),
        _times("queueing", "mean_queueing_s", summaries),
    ]
    use = [
        _shares("idle", "idle_fraction", summaries),
        _shares("waste", "waste_fraction", summaries),
        _Column("utilised\n%", [number(100 * s.mean("utilisation")) for s in summaries]),
        _Column("preemp-\ntions", [count(s.mean("preemptions")) for s in summaries]),
        # jobs that an equal part of the fleet to themselves would have served better
        _Column("unfair\n%", [number(100 * s.mean("unfair_fraction")) for s in summaries]),
    ]
    if any(math.isfinite(s.mean("slo_attainment")) for s in summaries):
        served = [number(100 * s.mean("slo_attainment")) for s in summaries]
        use.append(_Column("served\n%", served))  # of the services' requests
    names = _Column("policy", [escape(plain(s.policy)) for s in summaries])
    tables = [
        _table(names, columns) for columns in _packed([times, use], width - EDGES - names.width)
    ]
    if any(s.bounds for s in summaries):
        held_for = fewest(s.bound_holds_for for s in summaries)
        tables[0].caption = f"bound: on the mean JCT of the jobs that finished, for {held_for}"
        tables[0].caption_justify = "left"
    return tables


def ledger_table(summaries: Sequence[Summary], width: int) -> Table:
    """Return the share of all accelerator-time by cause, one column per policy."""
    bars = _bar_width(summaries, width - max(len(text) for text in REMEDIES.values()) - GAP)
    with_remedies = bars >= MIN_BAR
    if not with_remedies:
        bars = max(0, _bar_width(summaries, width))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("cause", no_wrap=True)
    for summary in summaries:
        table.add_column(escape(plain(summary.policy)), no_wrap=True)
    if with_remedies:
        table.add_column("what would remove it", style="dim", no_wrap=True)
    longest = max((s.share(c.label) for s in summaries for c in Cause), default=0.0)
    for group, causes in _GROUPS.items():
        shown = [c for c in causes if any(s.ledger[c.label] for s in summaries)]
        for cause in shown:
            cells = [
                _ShareBar(s.share(cause.label), longest, bars, STYLES[cause]) for s in summaries
            ]
            remedy = [REMEDIES.get(cause, "")] if with_remedies else []
            table.add_row(group if cause is shown[0] else "", cause.label, *cells, *remedy)
    table.add_section()
    for title, causes in _SUMS.items():
        shares = [sum(s.share(c.label) for c in causes) for s in summaries]
        sums = [Text(f"{100 * share:5.1f} %", "bold") for share in shares]
        table.add_row("sum", title, *sums, *([""] if with_remedies else []))
    return table


def _bar_width(summaries: Sequence[Summary], width: int) -> int:
    """Return the room for bars in a ledger table of `width`; negative where there is none."""
    left = width - EDGES - len("idle") - GAP - len("reconfiguration")
    for bars in range(MAX_BAR, 0, -1):
        shares = (max(len(plain(s.policy)), SHARE_WIDTH + 1 + bars) for s in summaries)
        if sum(GAP + share for share in shares) <= left:
            return bars
    return -1


def type_table(summaries: Sequence[Summary], width: int) -> Table:
    """Return the idle share of each accelerator type and its largest cause, by policy."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("accelerator", no_wrap=True)
    table.add_column("fleet", justify="right")
    longest_name = max(len(plain(name)) for name in summaries[0].by_type)
    left = width - EDGES - longest_name - GAP - len("fleet")
    share = SHARE_WIDTH + 1 + len("incompatible")
    with_cause = sum(GAP + max(share, len(plain(s.policy))) for s in summaries) <= left
    for summary in summaries:
        table.add_column(escape(plain(summary.policy)), no_wrap=True)
    for name in summaries[0].by_type:
        total = sum(summaries[0].by_type[name].values())
        table.add_row(
            escape(plain(name)),
            f"{100 * total / summaries[0].accelerator_s:.0f} %",
            *(_idle_and_cause(s.by_type[name], with_cause) for s in summaries),
        )
    return table


def listing_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return rows of equal fields as they are, numbers to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(rows[0] if rows else ()):
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(
            escape(name.replace("_", " ")),
            justify="right" if numeric else "left",
            # The first column is what can be named: never cut.
            min_width=max(len(plain(str(r[name]))) for r in rows) if position == 0 else None,
        )
    for row in rows:
        table.add_row(*("-" if v is None else escape(plain(str(v), 120)) for v in row.values()))
    return table


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cells: list[str]

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.title, *self.cells) for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class _ShareBar:
    """A percentage with a bar, drawn in what the terminal's encoding holds."""

    share: float
    longest: float
    width: int
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text(f"{100 * self.share:5.1f} %", no_wrap=True)
        if self.width and self.longest:
            blocks = bar(self.share / self.longest, self.width, ascii_only=options.ascii_only)
            text.append(" " + blocks, style=self.style)
        yield text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = SHARE_WIDTH + (1 + self.width if self.width else 0)
        return Measurement(width, width)


_GROUPS: Final[Mapping[str, Sequence[Cause]]] = {
    "down": (Cause.DOWN,),
    "held": (Cause.PRODUCTIVE, *HELD_UNPRODUCTIVE_CAUSES),
    "idle": IDLE_CAUSES,
}
_SUMS: Final[Mapping[str, Sequence[Cause]]] = {
    "idle": IDLE_CAUSES,
    "- jobs waiting": tuple(c for c in IDLE_CAUSES if c is not Cause.NO_DEMAND),
    "waste": WASTE_CAUSES,
}


def _packed(groups: Sequence[Sequence[_Column]], width: int) -> list[list[_Column]]:
    """Return the columns in as few tables as fit; a new table begins with a group if it can."""

    def size(columns: Sequence[_Column]) -> int:
        return sum(GAP + c.width for c in columns)

    tables: list[list[_Column]] = [[]]
    for group in groups:
        if tables[-1] and size([*tables[-1], *group]) > width:
            tables.append([])
        for column in group:
            if tables[-1] and size([*tables[-1], column]) > width:
                tables.append([])
            tables[-1].append(column)
    return tables


def _table(names: _Column, columns: Sequence[_Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(names.title, no_wrap=True)
    for column in columns:
        table.add_column(escape(column.title), justify="right", no_wrap=True)
    for row, name in enumerate(names.cells):
        table.add_row(name, *(c.cells[row] for c in columns))
    return table


def _times(title: str, name: str, summaries: Sequence[Summary]) -> _Column:
    """One unit for the column; the interval only where it is the figure that is compared."""
    length, unit = time_unit(s.mean(name) for s in summaries)
    if name != "mean_jct_s":
        return _Column(f"{title}\n{unit}", [number(s.mean(name) / length) for s in summaries])
    figures = [s.figures[name] for s in summaries]
    return _Column(
        f"{title}\n{unit}", [spread(f.mean / length, half_width(f) / length) for f in figures]
    )


def _shares(title: str, name: str, summaries: Sequence[Summary]) -> _Column:
    figures = [s.figures[name] for s in summaries]
    return _Column(f"{title}\n%", [spread(100 * f.mean, 100 * half_width(f)) for f in figures])


def _bound_columns(summaries: Sequence[Summary]) -> list[_Column]:
    proofs = list(dict.fromkeys(s.bound_proof for s in summaries))
    if proofs == ["none"]:
        return []
    bounds = [s.bounds.get("mean_jct_s", math.nan) for s in summaries]
    length, unit = time_unit(bounds)
    return [
        _Column(f"{'/'.join(proofs)} bound\n{unit}", [number(b / length) for b in bounds]),
        _Column("gap\n%", [number(100 * s.gap()) for s in summaries]),
    ]


def _change_column(summaries: Sequence[Summary]) -> _Column:
    """Change of mean completion time in percent of the first policy's."""
    reference = summaries[0].mean("mean_jct_s")
    scale = 100 / reference if reference else math.nan
    cells = []
    for summary in summaries:
        change = (summary.differences or {}).get("mean_jct_s")
        cells.append(spread(change.mean * scale, half_width(change) * scale, "+") if change else "")
    return _Column("change\n%", cells)


def _idle_and_cause(row: Mapping[str, float], with_cause: bool) -> str:
    total = sum(row.values())
    idle = {c.label: row[c.label] for c in IDLE_CAUSES}
    share = sum(idle.values()) / total if total else 0.0
    text = f"{100 * share:5.1f} %"
    return f"{text} {max(idle, key=lambda c: idle[c])}" if with_cause and share else text
