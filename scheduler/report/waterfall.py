"""A waterfall in the terminal: from all capacity, cause by cause, down to productive time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.core.ledger import HELD_UNPRODUCTIVE_CAUSES, IDLE_CAUSES, Cause
from scheduler.report.summary import Summary
from scheduler.report.tables import STYLES
from scheduler.report.words import bar, percent, plain

STEPS: Final[Sequence[Cause]] = (
    Cause.DOWN,
    *reversed(IDLE_CAUSES),
    *reversed(HELD_UNPRODUCTIVE_CAUSES),
)
"""Order of the steps: what is gone before any job asks comes first."""


class Waterfall:
    """One policy's waterfall, drawn to the width at hand.

    Parameters
    ----------
    summary : Summary
        What to draw.
    """

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(20, min(72, options.max_width - 36))
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title_justify="left", show_header=False)
        table.title = f"Where capacity goes: {escape(plain(self.summary.policy))}"
        for name, share, left, style in self._steps():
            indent = round(left * width)
            drawn = Text(" " * indent)
            block = bar(share, width, ascii_only=options.ascii_only)
            drawn.append(block or ("▏" if share and not options.ascii_only else ""), style=style)
            table.add_row(name, percent(share), drawn)
        yield table

    def _steps(self) -> Iterator[tuple[str, float, float, str]]:
        """Yield name, share, left end of the bar, style."""
        left = 1.0
        yield "capacity", 1.0, 0.0, "default"
        for cause in STEPS:
            share = self.summary.share(cause.label)
            if share:
                left = max(0.0, left - share)
                yield f"- {cause.label}", share, left, STYLES[cause]
        yield "= productive", self.summary.share("productive"), 0.0, STYLES[Cause.PRODUCTIVE]
