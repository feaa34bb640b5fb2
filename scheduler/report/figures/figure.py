"""What a figure is: a picture and the table behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.report.figures.drawing import Drawing


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its data.

    Parameters
    ----------
    name : str
        One of `FIGURES`.
    drawing : Drawing
        The picture.
    columns : sequence of str
        Names of the data's columns, with units.
    rows : sequence
        The data.
    """

    name: str
    drawing: Drawing
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
