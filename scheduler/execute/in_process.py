"""The executor without any other process: one cell after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from scheduler.core.problem import Problem
from scheduler.execute.cell import Cell, ReplayResult, Settings, run_cell


def stream(
    problem: Problem, cells: Sequence[Cell], settings: Settings
) -> Generator[tuple[int, ReplayResult]]:
    """Yield the position and result of each cell, in order."""
    for index, cell in enumerate(cells):
        yield index, run_cell(problem, cell, settings)
