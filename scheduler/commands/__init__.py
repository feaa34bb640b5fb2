"""What each command does: rooms called in order, their answers shown."""

from __future__ import annotations

from scheduler.commands.checking import validate, verify
from scheduler.commands.listing import list_names
from scheduler.commands.options import Inputs, Output, Replaying
from scheduler.commands.playing import demo, play

__all__ = [
    "Inputs",
    "Output",
    "Replaying",
    "demo",
    "list_names",
    "play",
    "validate",
    "verify",
]
