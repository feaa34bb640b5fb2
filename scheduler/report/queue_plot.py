"""A drawing in the terminal of what waits, and of what stands idle meanwhile, over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from scheduler.core.ledger import IDLE_CAUSES
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.report.words import duration, number, plain

ROWS: Final = 5
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " ..::||##"


@dataclass(frozen=True, slots=True)
class QueuePlot:
    """One run's queue over time, drawn to the width at hand.

    Parameters
    ----------
    title : str
        Whose queue.
    jobs, idle : ndarray of float64, shape (bins,)
        Mean number of waiting jobs, and of idle accelerators.
    bin_s, end_s : float
        Length of a bin, and of all.
    """

    title: str
    jobs: FloatArray
    idle: FloatArray
    bin_s: float
    end_s: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(10, min(len(self.jobs), 100, options.max_width - 12))
        yield Text(f"Waiting and idle over time: {plain(self.title)}", style="italic")
        for name, values, style in (
            ("jobs waiting", self.jobs, "blue"),
            ("accelerators idle", self.idle, "red"),
        ):
            drawn = _columns(values, width)
            most = max(drawn, default=0.0)
            mean = float(values.mean()) if len(values) else 0.0
            yield Text(f"{name}: mean {number(mean)}, most {number(float(values.max(initial=0)))}")
            for row in range(ROWS, 0, -1):
                label = number(most) if row == ROWS else "0" if row == 1 else ""
                text = Text(f"{label:>9} ", no_wrap=True)
                text.append(_row(drawn, most, row, ascii_only=options.ascii_only), style=style)
                yield text
        yield Text(f"{'':10}0{duration(self.end_s):>{width - 1}}")


def queue_plot(problem: Problem, run: Run) -> QueuePlot:
    """Return the drawing of `run`, over the period that its ledger covers."""
    from scheduler.report.page.bins import bins_for
    from scheduler.report.page.books import idle_over_time
    from scheduler.report.page.details import queue_over_time
    from scheduler.report.page.history import history_of

    history = history_of(problem, run, run.ledger_end_us)
    bins = bins_for(history.end_us)
    idle_s = idle_over_time(history, bins)[:, list(IDLE_CAUSES)].sum(axis=(0, 1))
    seconds = np.diff(bins.edges_us) / US_PER_S
    return QueuePlot(
        run.policy,
        queue_over_time(history, bins)["jobs"],
        idle_s / seconds,
        bins.width_us / US_PER_S,
        history.end_us / US_PER_S,
    )


def _columns(values: FloatArray, width: int) -> list[float]:
    """Return means of `width` equal pieces of `values`."""
    edges = np.linspace(0, len(values), width + 1)
    return [
        float(values[int(a) : max(int(a) + 1, math.ceil(b))].mean())
        for a, b in pairwise(edges.tolist())
    ]


def _row(values: Sequence[float], most: float, row: int, *, ascii_only: bool) -> str:
    marks = _ASCII if ascii_only else _BLOCKS
    eighths = [round(8 * ROWS * v / most) if most else 0 for v in values]
    return "".join(marks[min(8, max(0, e - 8 * (row - 1)))] for e in eighths)
