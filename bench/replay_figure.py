"""The picture of how time per event and memory grow with the number of jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.report.figures import Drawing, Figure
from scheduler.report.figures.drawing import GRID, colours

WIDTH, HEIGHT = 460.0, 210.0
PANEL, LEFT, TOP, TALL = 170.0, 45.0, 30.0, 130.0
"""Width of a panel, its margin on the left, and its upper edge and height, in points."""


def growth_figure(
    counts: Sequence[int], each_us: Sequence[float], peak_bytes: Sequence[float]
) -> Figure:
    """Return microseconds per event and peak gigabytes against jobs, the latter by powers of ten.

    Parameters
    ----------
    counts : sequence of int
        Jobs of each run, ascending.
    each_us, peak_bytes : sequence of float
        What each run took.
    """
    drawing = Drawing(WIDTH, HEIGHT, "Time per event and peak memory against jobs")
    gigabytes = [peak / 1e9 for peak in peak_bytes]
    _panel(drawing, LEFT, "microseconds per event", counts, each_us)
    _panel(drawing, WIDTH - PANEL - 15, "peak memory, GB", counts, gigabytes)
    rows = tuple(zip(counts, each_us, peak_bytes, strict=True))
    return Figure("growth", drawing, ("jobs", "microseconds_per_event", "peak_bytes"), rows)


def _panel(
    drawing: Drawing, left: float, title: str, counts: Sequence[int], values: Sequence[float]
) -> None:
    ink = colours()["k0"]
    first, last = math.log10(min(counts)), math.log10(max(counts))
    top = max(values) * 1.15
    bottom = TOP + TALL

    def across(count: float) -> float:
        return left + PANEL * (math.log10(count) - first) / ((last - first) or 1.0)

    drawing.words(left, TOP - 12, title, size=9)
    for part in range(5):
        y = bottom - TALL * part / 4
        drawing.path([(left, y), (left + PANEL, y)], GRID, 0.5)
        drawing.words(left - 4, y + 3, f"{top * part / 4:.3g}", "end", 7)
    for count in counts:
        drawing.words(across(count), bottom + 12, _short(count), "middle", 7)
    drawing.words(left + PANEL / 2, bottom + 26, "jobs", "middle", 8)
    points = [
        (across(count), bottom - TALL * value / top)
        for count, value in zip(counts, values, strict=True)
    ]
    drawing.path(points, ink, 1.5)
    for x, y in points:
        drawing.box(x - 2, y - 2, 4, 4, ink)


def _short(count: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)
