"""How job figures are distributed: empirical distribution functions, one curve per policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.report.figures.drawing import GRID, SOFT, Drawing, colours
from scheduler.report.figures.figure import Figure
from scheduler.report.page import Contents
from scheduler.report.words import time_unit

PANELS: Final = (
    ("jct_s", "completion time"),
    ("queueing_s", "queueing"),
    ("slowdown", "slowdown"),
    ("finish_time_ratio", "finish-time ratio"),
)
WIDTH: Final = 460.0
LEFT: Final = 46.0
TALL: Final = 92.0
GAP: Final = 50.0
LONGEST_NAME: Final = 24
MOST_POINTS: Final = 400
"""Points of one curve in the picture; the data beside it has every job."""


def ecdf(contents: Contents) -> Figure:
    """Share of jobs up to each completion time, queueing, slowdown and finish-time ratio."""
    names = [run["policy"] for run in contents.data["runs"]]
    each = [details.job_figures for details in contents.details]
    rows = math.ceil(len(names) / 3)
    top = 12.0 + 12.0 * rows
    pen = Drawing(WIDTH, top + 2 * (TALL + GAP), "Share of jobs, by policy (first replay of each)")
    inks = [colours()[f"k{i % 7}"] for i in range(len(names))]
    for i, name in enumerate(names):
        x, y = LEFT + (i % 3) * 138.0, 12.0 + 12.0 * (i // 3)
        pen.path([(x, y - 3), (x + 14, y - 3)], inks[i], 1.8)
        pen.words(x + 18, y, name[:LONGEST_NAME], size=7.5)
    wide = (WIDTH - 2 * LEFT - 24) / 2
    data: list[tuple[object, ...]] = []
    for panel, (quantity, title) in enumerate(PANELS):
        values = [np.sort(figures[quantity]) for figures in each]
        values = [v[np.isfinite(v)] for v in values]
        x, y = LEFT + (panel % 2) * (wide + LEFT + 12), top + 8 + (panel // 2) * (TALL + GAP)
        length, unit = _unit(quantity, values)
        label = f"{title} ({unit})" if unit else title
        _panel(pen, (x, y, wide), [v / length for v in values], inks, label)
        for name, ranked in zip(names, values, strict=True):
            shares = np.arange(1, len(ranked) + 1) / max(1, len(ranked))
            pairs = zip(ranked.tolist(), shares.tolist(), strict=True)
            data += [(name, quantity, v, s) for v, s in pairs]
    return Figure("ecdf", pen, ("policy", "quantity", "value", "share_of_jobs"), data)


def _unit(quantity: str, values: Sequence[FloatArray]) -> tuple[float, str]:
    if not quantity.endswith("_s"):
        return 1.0, ""
    middles = [float(np.median(v)) for v in values if len(v)]
    return time_unit([max(middles, default=0.0)])


def _panel(
    pen: Drawing,
    place: tuple[float, float, float],
    values: Sequence[FloatArray],
    inks: Sequence[str],
    title: str,
) -> None:
    """Draw the curves over a logarithmic axis; what is zero counts from its left end."""
    x, y, wide = place
    positive = np.concatenate([v[v > 0] for v in values] or [np.zeros(0)])
    low = math.floor(math.log10(float(np.quantile(positive, 0.01)))) if len(positive) else 0
    high = math.ceil(math.log10(float(positive.max()))) if len(positive) else 1
    high = max(high, low + 1)

    def across(value: float) -> float:
        power = math.log10(value) if value > 0 else low
        return x + (min(max(power, low), high) - low) / (high - low) * wide

    for share in (0.0, 0.5, 1.0):
        level = y + (1 - share) * TALL
        pen.path([(x, level), (x + wide, level)], GRID, 0.6)
        pen.words(x - 5, level + 2.5, f"{100 * share:.0f} %", "end", 7, SOFT)
    step = max(1, math.ceil((high - low) / 6))
    for power in range(low, high + 1, step):
        at = across(10.0**power)
        pen.path([(at, y + TALL), (at, y + TALL + 3)], SOFT, 0.6)
        pen.words(at, y + TALL + 11, f"{10.0**power:g}", "middle", 7, SOFT)
    pen.words(x + wide / 2, y + TALL + 22, title, "middle", 7.5, SOFT)
    for ranked, ink in zip(values, inks, strict=True):
        if len(ranked):
            pen.path(_stairs(ranked, across, y), ink, 1.3)


def _stairs(
    ranked: FloatArray, across: Callable[[float], float], y: float
) -> list[tuple[float, float]]:
    """Return the corners of one curve, from no job to all."""
    kept = np.unique(np.linspace(0, len(ranked) - 1, MOST_POINTS).astype(np.int64))
    points = [(across(0.0), y + TALL)]
    for i in kept.tolist():
        at = across(float(ranked[i]))
        points += [(at, points[-1][1]), (at, y + (1 - (i + 1) / len(ranked)) * TALL)]
    return [*points, (across(math.inf), points[-1][1])]
