"""Accelerators that jobs share, over the time of a page: who is on them, and why the rest idles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scheduler.core.occupancy import Layout
from scheduler.core.sharing import SharedOccupancy
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import FloatArray
from scheduler.report.page.history import History
from scheduler.simulate.power_meter import PowerMeter
from scheduler.simulate.shared import RestBook


class Sharers:
    """Sharers that come and go, instant by instant: first those leave that leave, then others come.

    Parameters
    ----------
    history : History
        What was held.
    layout : Layout
        Of its problem.

    Attributes
    ----------
    occupancy : SharedOccupancy
        What is free, to which those that hold accelerators whole are for others to add.
    """

    def __init__(self, history: History, layout: Layout) -> None:
        self.occupancy = SharedOccupancy(layout)
        self._history = history
        self._layout = layout
        self._book: RestBook | None = None
        self._leaving: list[int] = []
        self._coming: list[int] = []
        self._here: set[int] = set()

    def note(self, hold: int, amount: int) -> None:
        """Note that a hold begins (`amount` 1) or ends (-1) at this instant."""
        (self._coming if amount > 0 else self._leaving).append(hold)

    def leave(self) -> None:
        """Let those go that end."""
        for hold in self._leaving:
            if hold in self._here:
                self._here.remove(hold)
                self.occupancy.give(self._history.holds[hold].placement)
        self._leaving.clear()

    def come(self) -> None:
        """Let those in that begin and have room; all do in a run that verifies."""
        for hold in self._coming:
            placement = self._history.holds[hold].placement
            if self.occupancy.fits(placement):
                self._here.add(hold)
                self.occupancy.take(placement)
        self._coming.clear()

    def open_on(self, node: int) -> int:
        """Return how many accelerators of a node are shared."""
        return sum(1 for _ in self.occupancy.open_on(node))

    def refresh(
        self, at_us: int, waiting: Mapping[int, int], short: frozenset[int], meter: PowerMeter
    ) -> None:
        """Classify what is left of them from now on."""
        if self._book is None:
            problem = self._history.problem
            self._book = RestBook(problem, self._layout, self.occupancy, meter.allows, None)
        self._book.refresh(at_us, waiting, short)

    def left_us(self, end_us: int) -> FloatArray:
        """Return accelerator-microseconds left of them until now, by pool and cause."""
        assert self._book is not None, "the first instant is the start"
        return np.array(self._book.close(end_us), dtype=np.float64) / WHOLE_MILLI
