"""Runs many replays at once: on Ray, on a pool of processes, or in this process."""

from __future__ import annotations

from scheduler.execute.bounding import BOUNDINGS, Bounding, bounds_of
from scheduler.execute.cell import Cell, ExecutionError, ReplayResult, Settings
from scheduler.execute.fingerprint import fingerprint
from scheduler.execute.replays import EXECUTORS, Executor, Progress, replay

__all__ = [
    "BOUNDINGS",
    "EXECUTORS",
    "Bounding",
    "Cell",
    "ExecutionError",
    "Executor",
    "Progress",
    "ReplayResult",
    "Settings",
    "bounds_of",
    "fingerprint",
    "replay",
]
