"""What each command does: rooms called in order, their answers shown."""

from __future__ import annotations

from scheduler.commands.checking import validate, verify
from scheduler.commands.estimating import Question, estimate
from scheduler.commands.executing import Executing, execute
from scheduler.commands.explaining import explain
from scheduler.commands.listing import list_names
from scheduler.commands.options import Inputs, Output, Replaying
from scheduler.commands.playing import demo, play, run
from scheduler.commands.reporting import Reporting, report
from scheduler.commands.showing import Drawing, figure, ui
from scheduler.commands.snapshots import Saving
from scheduler.commands.solving import Solving, solve
from scheduler.commands.sweeping import Sweeping, sweep

__all__ = [
    "Drawing",
    "Executing",
    "Inputs",
    "Output",
    "Question",
    "Replaying",
    "Reporting",
    "Saving",
    "Solving",
    "Sweeping",
    "demo",
    "estimate",
    "execute",
    "explain",
    "figure",
    "list_names",
    "play",
    "report",
    "run",
    "solve",
    "sweep",
    "ui",
    "validate",
    "verify",
]
