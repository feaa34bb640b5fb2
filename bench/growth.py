"""How time and memory grow with size: models by size, patterns by severity.

Usage: python -m bench growth [NAME ...] [--sizes N,N,...] [--severity X,X,...] [--plot FILE]
                              [--repeats R] [--seed S] [--json]

A *model* is something we solve or play at any size; its *pattern* is what makes an instance
harder, by severity. Every point is measured in a fresh process: processor seconds, the least of
the repeats, and the peak of memory. The exponent is the slope of a least-squares line through
the logarithms: 1 is linear. `--plot` draws both against size, one line a severity.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError, nearest_name

COLOURS: Final = ("#2a6f97", "#c8553d", "#588157", "#7b5ea7")
TICKS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Model:
    """What grows.

    Parameters
    ----------
    line : str
        What it is, for people.
    unit : str
        What its size counts.
    sizes : tuple of int
        Sizes measured unless others are asked for, ascending.
    pattern : str
        What the severity is.
    severities : tuple of float
        Severities measured unless others are asked for.
    measure : callable
        Returns processor seconds of one instance: (size, severity, seed, repeats).
    """

    line: str
    unit: str
    sizes: tuple[int, ...]
    pattern: str
    severities: tuple[float, ...]
    measure: Callable[[int, float, int, int], float]


def _round_seconds(size: int, severity: float, seed: int, repeats: int) -> float:
    """Decide one generated round from nothing: a job for every two accelerators."""
    import ortools.linear_solver.pywraplp
    import ortools.sat.python.cp_model  # noqa: F401

    from bench.round_cases import draw_round
    from scheduler.core.random import stream
    from scheduler.solver.scale.deciding import decide

    round_ = draw_round(stream(seed, "bench-growth"), size, size // 2, 8, severity)
    return _least(lambda: decide(round_), repeats)


def _replay_seconds(size: int, severity: float, seed: int, repeats: int) -> float:
    """Play `size` jobs of a Poisson stream on 1,000 accelerators, first come, first served."""
    from bench.replay import stream_of
    from scheduler.simulate import simulate

    problem = stream_of(size, 1000, seed, severity)
    return _least(lambda: simulate(problem, "fifo"), repeats)


def _least(work: Callable[[], object], repeats: int) -> float:
    best = math.inf
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


MODELS: Final[Mapping[str, Model]] = {
    "round": Model(
        "one decision of the scaled round, cold",
        "accelerators",
        (2_048, 8_192, 16_384, 49_152, 100_000, 200_000),
        "share of jobs of odd sizes",
        (0.0, 0.4),
        _round_seconds,
    ),
    "replay": Model(
        "a stream of jobs on 1,000 accelerators under FIFO",
        "jobs",
        (10_000, 30_000, 100_000, 300_000),
        "load",
        (0.5, 0.7, 0.9),
        _replay_seconds,
    ),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    model: str
    severity: float
    size: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Exponent:
    """The slope of seconds over size, both as logarithms, and its standard error."""

    model: str
    severity: float
    slope: float
    error: float


def measure(name: str, size: int, severity: float, seed: int, repeats: int) -> Point:
    """Measure one point; meant for a process of its own, because of the memory."""
    seconds = MODELS[name].measure(size, severity, seed, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Point(name, severity, size, seconds, peak * (1 if sys.platform == "darwin" else 1024))


def exponent(points: Sequence[Point]) -> Exponent:
    """Fit the exponent of growth through the points of one model and severity.

    Raises
    ------
    ValueError
        Fewer than two sizes.
    """
    slope, error = power_of([p.size for p in points], [p.seconds for p in points])
    return Exponent(points[0].model, points[0].severity, slope, error)


def power_of(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the power of the size with which a value grows, and its standard error.

    The slope of a least-squares line through the logarithms; the error is NaN for two sizes.

    Raises
    ------
    ValueError
        Fewer than two sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError("an exponent needs two sizes")
    x, y = np.log(sizes), np.log(values)
    x0 = x - x.mean()
    slope = float((x0 * y).sum() / (x0**2).sum())
    rest = y - y.mean() - slope * x0
    spare = len(sizes) - 2
    error = math.sqrt(float((rest**2).sum()) / spare / float((x0**2).sum())) if spare else math.nan
    return slope, error


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, or 2 where it was asked for what cannot be."""
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=_first_line())
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--sizes", metavar="N,N,...", help="instead of the model's own")
    parser.add_argument("--severity", metavar="X,X,...", help="instead of the model's own")
    parser.add_argument("--repeats", type=int, default=2, help="the least of so many counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .svg or .png")
    parser.add_argument("--json", action="store_true", help="print the points as JSON")
    arguments = parser.parse_args(argv)
    try:
        points = _measured(arguments)
        exponents = [exponent(line) for line in _lines(points)]
        if arguments.plot:
            from scheduler.report.figures.writing import write_figure

            data = write_figure(figure(points, exponents), arguments.plot)
            print(f"wrote {arguments.plot} and {data}", file=sys.stderr)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(_record(points, exponents), indent=1))
    else:
        print("\n".join(table(points, exponents)))
    return 0


def _first_line() -> str:
    return (__doc__ or "").splitlines()[0]


def _measured(arguments: argparse.Namespace) -> list[Point]:
    from scheduler.report.figures.writing import check_format

    faults = [
        Fault("no such model", "NAME", "", name, ", ".join(MODELS), nearest_name(name, MODELS))
        for name in arguments.models
        if name not in MODELS
    ]
    sizes = _numbers(arguments.sizes, "--sizes", faults)
    severities = _numbers(arguments.severity, "--severity", faults)
    if sizes and (len(set(sizes)) < 2 or any(size < 2 or size % 1 for size in sizes)):
        faults.append(Fault("needs two whole numbers above 1", "--sizes", "", arguments.sizes))
    if any(not 0 <= severity <= 1 for severity in severities):
        faults.append(Fault("must be shares", "--severity", "", arguments.severity, "0 to 1"))
    if arguments.repeats < 1:
        faults.append(Fault("must be positive", "--repeats", "", str(arguments.repeats)))
    if faults:
        raise InputError(faults)
    if arguments.plot:
        check_format(arguments.plot)
    asked = [
        (name, int(size), severity, arguments.seed, arguments.repeats)
        for name in arguments.models or MODELS
        for severity in severities or MODELS[name].severities
        for size in sorted(set(sizes)) or MODELS[name].sizes
    ]
    context = multiprocessing.get_context("spawn")
    points = []
    for number, words in enumerate(asked, start=1):
        print(f"{number} of {len(asked)}: {words[0]}, {words[1]:,}", file=sys.stderr, flush=True)
        with context.Pool(1) as pool:
            points.append(pool.apply(measure, words))
    return points


def _numbers(text: str | None, option: str, faults: list[Fault]) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        faults.append(Fault("must be numbers, by commas", option, "", text or ""))
        return []


def _lines(points: Sequence[Point]) -> list[list[Point]]:
    """Return the points by model and severity, in order of appearance."""
    found: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        found.setdefault((point.model, point.severity), []).append(point)
    return list(found.values())


def _record(points: Sequence[Point], exponents: Sequence[Exponent]) -> dict[str, Any]:
    cases = [
        {
            "case": f"{e.model}, {MODELS[e.model].pattern} {e.severity:g}",
            "metric": "exponent of processor seconds",
            "ours": e.slope,
            "standard_error": None if math.isnan(e.error) else e.error,
            "points": [
                {"size": p.size, "seconds": p.seconds, "memory_bytes": p.memory_bytes}
                for p in points
                if (p.model, p.severity) == (e.model, e.severity)
            ],
        }
        for e in exponents
    ]
    return {"bench": "growth", "cases": cases, "machine": machine_facts()}


def table(points: Sequence[Point], exponents: Sequence[Exponent]) -> list[str]:
    """Return the result as lines for people."""
    out = []
    for line, found in zip(_lines(points), exponents, strict=True):
        model = MODELS[found.model]
        spread = "" if math.isnan(found.error) else f" ± {found.error:.2f}"
        out.append(f"{found.model}, {model.pattern} {found.severity:g}: seconds grow as")
        out[-1] += f" {model.unit}^{found.slope:.2f}{spread}"
        out += [
            f"  {p.size:>10,} {model.unit}  {p.seconds:8.3f} s"
            f"  {1e6 * p.seconds / p.size:8.2f} us each  {p.memory_bytes / 2**20:7.0f} MiB"
            for p in line
        ]
    return out


# --- the picture -----------------------------------------------------------------------------


def figure(points: Sequence[Point], exponents: Sequence[Exponent]) -> Any:
    """Return the picture: a row per model, seconds on the left, memory on the right."""
    from scheduler.report.figures.drawing import Drawing
    from scheduler.report.figures.kinds import Figure

    names = list(dict.fromkeys(point.model for point in points))
    pen = Drawing(560.0, 24.0 + 210.0 * len(names), "How time and memory grow with size")
    pen.words(12, 16, "How time and memory grow with size", size=11)
    for row, name in enumerate(names):
        lines = [line for line in _lines(points) if line[0].model == name]
        slopes = [found for found in exponents if found.model == name]
        top = 30.0 + 210.0 * row
        pattern = MODELS[name].pattern
        words = [
            f"{pattern} {line[0].severity:g}: exponent {found.slope:.2f}"
            for line, found in zip(lines, slopes, strict=True)
        ]
        seconds = [[(p.size, p.seconds) for p in line] for line in lines]
        memory = [[(p.size, p.memory_bytes / 2**20) for p in line] for line in lines]
        panel(pen, (48.0, top), f"{name}: processor seconds by {MODELS[name].unit}", seconds)
        panel(pen, (328.0, top), f"{name}: peak memory, MiB", memory)
        for at, text in enumerate(words):
            pen.words(56, top + 28 + 11 * at, text, size=7.5, fill=COLOURS[at % len(COLOURS)])
    rows = [(p.model, p.severity, p.size, p.seconds, p.memory_bytes) for p in points]
    return Figure("growth", pen, ("model", "severity", "size", "processor_s", "memory_bytes"), rows)


def panel(
    pen: Any,
    corner: tuple[float, float],
    title: str,
    lines: Sequence[Sequence[tuple[float, float]]],
) -> None:
    """Draw lines on two logarithmic axes, the upper left corner at `corner`, in points."""
    from scheduler.report.figures.drawing import GRID, SOFT

    left, top = corner[0], corner[1] + 14
    width, height = 216.0, 150.0
    spans = [
        (min(values) / 1.15, max(values) * 1.15)
        for values in (
            [x for line in lines for x, _ in line],
            [y for line in lines for _, y in line],
        )
    ]

    def place(value: float, axis: int) -> float:
        low, high = spans[axis]
        share = math.log(value / low) / math.log(high / low)
        return left + share * width if axis == 0 else top + (1 - share) * height

    pen.words(left, corner[1] + 8, title, size=9)
    for x in _ticks(*spans[0]):
        pen.path([(place(x, 0), top), (place(x, 0), top + height)], GRID, 0.6)
        pen.words(place(x, 0), top + height + 11, _short(x), "middle", 7.5, SOFT)
    for y in _ticks(*spans[1]):
        pen.path([(left, place(y, 1)), (left + width, place(y, 1))], GRID, 0.6)
        pen.words(left - 4, place(y, 1) + 3, _short(y), "end", 7.5, SOFT)
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        spots = [(place(x, 0), place(y, 1)) for x, y in line]
        pen.path(spots, colour, 1.4)
        for x, y in spots:
            pen.box(x - 2, y - 2, 4, 4, colour)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values inside a span: decades, with their halves and fifths if few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [10.0**d for d in decades]
    every = [m * d for d in whole for m in TICKS]
    found = [v for v in every if low <= v <= high]
    return found if len(found) <= 8 else [v for v in whole if low <= v <= high]


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
