"""Single pictures for papers, as SVG or PNG, with the data behind each as CSV."""

from __future__ import annotations

from scheduler.report.figures.drawing import Drawing
from scheduler.report.figures.kinds import FIGURES, Figure, figure_of
from scheduler.report.figures.writing import write_figure

__all__ = ["FIGURES", "Drawing", "Figure", "figure_of", "write_figure"]
