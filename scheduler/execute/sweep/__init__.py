"""Sweeps: a grid of cells, each finished one on disk at once, resumed after any end."""

from __future__ import annotations

from scheduler.execute.sweep.driver import Failure, Standing, SweepResult, run_sweep
from scheduler.execute.sweep.folder import SweepFolder
from scheduler.execute.sweep.grid import Grid, Group, Place

__all__ = [
    "Failure",
    "Grid",
    "Group",
    "Place",
    "Standing",
    "SweepFolder",
    "SweepResult",
    "run_sweep",
]
