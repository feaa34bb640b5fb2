"""The interval of a figure by now, in a few words for a line of progress."""

from __future__ import annotations

from scheduler.core.metrics import Interval
from scheduler.report.words import spread, time_unit


def running_interval(metric: str, found: Interval) -> str:
    """Return a metric's mean and half its 95 % interval, such as ``mean jct 3.21 ±0.14 h``.

    Parameters
    ----------
    metric : str
        Field of `scheduler.core.metrics.Metrics`; its ending says in which unit it is.
    found : Interval
        Over the replays that have finished.
    """
    scale, unit = 1.0, ""
    if metric.endswith("_s"):
        length, name = time_unit([found.mean])
        scale, unit = 1 / length, f" {name}"
    elif metric.endswith("_fraction"):
        scale, unit = 100.0, " %"
    title = metric.removesuffix("_s").removesuffix("_fraction").replace("_", " ")
    half_width = (found.high - found.low) / 2
    return f"{title} {spread(found.mean * scale, half_width * scale)}{unit}"
