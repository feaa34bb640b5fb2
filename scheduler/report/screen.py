"""Consoles: results on standard output, words and progress on standard error."""

from __future__ import annotations

import os
import sys
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

from scheduler.execute import ReplayResult

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


@contextmanager
def replay_progress(console: Console, executor: str) -> Iterator[ProgressUpdate]:
    """Show a bar with rate and remaining time while replays run; nothing where piped."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        yield ProgressUpdate(bar, executor)


class ProgressUpdate:
    """Moves the bar; called after each replay."""

    def __init__(self, bar: Progress, executor: str) -> None:
        self._bar = bar
        start = "starting Ray" if executor == "ray" else "replaying"
        self._task = bar.add_task(start, total=None)

    def __call__(self, done: int, total: int, result: ReplayResult) -> None:
        """Show that `done` of `total` replays have finished."""
        if done == 1:  # the rate shall not count the start of Ray
            self._bar.reset(self._task, total=total, description="replaying")
        self._bar.update(self._task, completed=done)
