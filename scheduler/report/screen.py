"""Consoles: results on standard output, words and progress on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scheduler.core.metrics import interval
from scheduler.execute import ReplayResult
from scheduler.report.running import running_interval
from scheduler.report.words import duration, number, plain

SHOWN_METRIC: Final = "mean_jct_s"
"""Whose running interval is shown."""

LINE_EVERY_S: Final = 30.0
"""How often a line says how far replays have come, where standard error is no terminal."""

PIPED_WIDTH: Final = 120
"""Columns where standard output is no terminal and ``COLUMNS`` says nothing."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows the exit code."""
        raise BrokenPipeError


def results_console() -> Console:
    """Return the console for results. Plain when piped, no colour under ``NO_COLOR``."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Console(highlight=False, width=PIPED_WIDTH if piped else None)


def words_console() -> Console:
    """Return the console for words and progress."""
    return _Console(stderr=True, highlight=False)


class Rate(ProgressColumn):
    """Replays per second, or seconds per replay where that reads better."""

    def render(self, task: Task) -> Text:
        """Return the rate by now."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def replays_bar(console: Console) -> Progress:
    """Return a bar for replays: how many of how many, rate, remaining time; none where piped."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def replay_progress(console: Console, executor: str) -> Iterator[ProgressUpdate]:
    """Show a bar with rate, remaining time and running interval; lines where piped."""
    with replays_bar(console) as bar:
        yield ProgressUpdate(console, bar, executor)


class ProgressUpdate:
    """Moves the bar; called after each replay.

    Parameters
    ----------
    console : Console
        Where lines go if it is no terminal.
    bar : Progress
        What is moved if it is one.
    executor : str
        Who plays the replays.
    """

    def __init__(self, console: Console, bar: Progress, executor: str) -> None:
        self._console = console
        self._bar = bar
        start = "starting Ray" if executor == "ray" else "replaying"
        self._task = bar.add_task(start, total=None)
        self._values: dict[str, list[float]] = {}
        self._spoke_s = self._first_s = time.monotonic()

    def __call__(self, done: int, total: int, result: ReplayResult) -> None:
        """Show that `done` of `total` replays have finished, and the interval by now."""
        if done == 1:  # the rate shall not count the start of Ray
            self._bar.reset(self._task, total=total)
            self._first_s = time.monotonic()
        policy = result.cell.policy
        values = self._values.setdefault(policy, [])
        values.append(getattr(result.metrics, SHOWN_METRIC))
        shown = f"{plain(policy, 20)}: {running_interval(SHOWN_METRIC, interval(values))}"
        self._bar.update(self._task, completed=done, description=shown)
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._spoke_s > LINE_EVERY_S:
            self._spoke_s = now_s
            line = f"{done} of {total} replays{self._left(done, total, now_s)}; {shown}"
            self._console.print(line, markup=False, soft_wrap=True)

    def _left(self, done: int, total: int, now_s: float) -> str:
        """Return the rate since the first replay, and the remaining time; empty before that."""
        if done < 2 or now_s <= self._first_s:
            return ""
        rate = (done - 1) / (now_s - self._first_s)
        return f", {number(rate)}/s, about {duration(max(1.0, (total - done) / rate))} left"
