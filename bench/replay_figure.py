"""The picture of how time per event and memory grow with the number of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.growth import panel
from scheduler.report.figures import Drawing, Figure


def growth_figure(
    counts: Sequence[int], each_us: Sequence[float], peak_bytes: Sequence[float]
) -> Figure:
    """Return microseconds per event and peak gigabytes against jobs.

    Parameters
    ----------
    counts : sequence of int
        Jobs of each run, ascending.
    each_us, peak_bytes : sequence of float
        What each run took.
    """
    drawing = Drawing(560.0, 210.0, "Time per event and peak memory against jobs")
    gigabytes = [peak / 1e9 for peak in peak_bytes]
    for left, title, values in (
        (48.0, "microseconds per event, by jobs", each_us),
        (328.0, "peak memory, GB", gigabytes),
    ):
        panel(drawing, (left, 12.0), title, [list(zip(counts, values, strict=True))])
    rows = tuple(zip(counts, each_us, peak_bytes, strict=True))
    return Figure("growth", drawing, ("jobs", "microseconds_per_event", "peak_bytes"), rows)
