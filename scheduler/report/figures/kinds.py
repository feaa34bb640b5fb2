"""What can be drawn: each figure as a drawing and as the table behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.report.figures.drawing import GRID, SOFT, Drawing, colours
from scheduler.report.figures.ecdf import ecdf
from scheduler.report.figures.figure import Figure
from scheduler.report.page import Contents
from scheduler.report.waterfall import STEPS
from scheduler.report.words import number, percent, time_unit

WIDTH: Final = 460.0
LEFT: Final = 110.0
RIGHT: Final = 12.0


def figure_of(name: str, contents: Contents) -> Figure:
    """Return a figure of a page's contents by name.

    Raises
    ------
    InputError
        No such figure, or the result does not hold what it shows.
    """
    if name not in FIGURES:
        known = ", ".join(FIGURES)
        raise InputError(
            [Fault("unknown figure", "figure", "", name, known, nearest_name(name, list(FIGURES)))]
        )
    if name not in _OF_SUMMARIES and not contents.data["runs"]:
        message = "needs whole runs, which this result does not hold"
        raise InputError([Fault(message, "figure", value=name, allowed=", ".join(_OF_SUMMARIES))])
    return FIGURES[name](contents)


def _best(contents: Contents) -> Mapping[str, Any]:
    """Return the policy that the page opens with: least mean completion time."""
    policies: Sequence[Mapping[str, Any]] = contents.data["groups"][0]["policies"]

    def mean(policy: Mapping[str, Any]) -> float:
        value = policy["figures"]["mean_jct_s"][0]
        return float("inf") if value is None else float(value)

    return min(policies, key=mean)


def _run(contents: Contents) -> int:
    """Return the position of the run of the best policy."""
    name = _best(contents)["policy"]
    runs = contents.data["runs"]
    return next((i for i, run in enumerate(runs) if run["policy"] == name), 0)


def waterfall(contents: Contents) -> Figure:
    """Capacity to productive, cause by cause, of the best policy."""
    policy = _best(contents)
    total = sum(policy["ledger"]) or 1.0
    shares = {c: policy["ledger"][c] / total for c in Cause}
    steps = [c for c in STEPS if shares[c] > 0]
    pen = Drawing(WIDTH, 24.0 + 15.0 * (len(steps) + 2), f"Where capacity goes: {policy['policy']}")
    room = WIDTH - LEFT - 60
    left, y = 1.0, 18.0
    bars = [("capacity", 1.0, 0.0, "#8b97a5")]
    for cause in steps:
        left = max(0.0, left - shares[cause])
        bars.append((cause.label, shares[cause], left, colours()[cause.label]))
    bars.append(("productive", shares[Cause.PRODUCTIVE], 0.0, colours()["productive"]))
    for name, share, start, colour in bars:
        pen.words(LEFT - 6, y + 8, name.replace("_", " "), "end")
        pen.box(LEFT + start * room, y, max(0.5, share * room), 11, colour)
        pen.words(WIDTH - RIGHT, y + 8, percent(share), "end", fill=SOFT)
        y += 15
    rows = [(c.label, policy["ledger"][c], shares[c]) for c in (*steps, Cause.PRODUCTIVE)]
    return Figure("waterfall", pen, ("cause", "accelerator_s", "share"), rows)


def policies(contents: Contents) -> Figure:
    """Mean completion time of each policy with its interval, beside the bound."""
    found: Sequence[Mapping[str, Any]] = contents.data["groups"][0]["policies"]
    pen = Drawing(WIDTH, 44.0 + 18.0 * len(found), "Mean completion time by policy")
    values = [v for p in found for v in p["figures"]["mean_jct_s"] if v is not None]
    top = max(values, default=1.0) * 1.05
    length, unit = time_unit([top])
    room = WIDTH - LEFT - 40
    y = 14.0
    for p in found:
        mean, low, high = p["figures"]["mean_jct_s"]
        bound = p["bounds"]["mean_jct_s"]
        pen.words(LEFT - 6, y + 8, p["policy"], "end")
        if mean is not None:
            pen.box(LEFT, y, mean / top * room, 11, colours()["k0"], 0.45)
        if low is not None:
            ends = [(LEFT + max(0.0, v) / top * room, y + 5.5) for v in (low, high)]
            pen.path(ends, colours()["k0"], 1.6)
        if bound:
            pen.box(LEFT + bound / top * room - 0.8, y - 2, 1.6, 15, colours()["good"])
        y += 18
    _axis(pen, y, room, top / length, f"mean completion time ({unit}); green: bound")
    rows = [(p["policy"], *p["figures"]["mean_jct_s"], p["bounds"]["mean_jct_s"]) for p in found]
    columns = ("policy", "mean_jct_s", "low_95_s", "high_95_s", "bound_s")
    return Figure("policies", pen, columns, rows)


def idle(contents: Contents) -> Figure:
    """Idle share by accelerator type, cause and hour, of the best policy's drawn run."""
    index = _run(contents)
    details, run = contents.details[index], contents.data["runs"][index]
    types = contents.data["types"]
    capacity = contents.data["capacity"]
    lines = [
        (t, c) for t in range(len(types)) for c in IDLE_CAUSES if details.by_type[t, c].sum() > 0
    ]
    pen = Drawing(WIDTH, 46.0 + 12.0 * len(lines), f"Idle time by type and cause: {run['policy']}")
    room = WIDTH - 2 * LEFT + 40
    left = WIDTH - RIGHT - room
    step = room / details.bins.count
    most_s = details.bins.width_us / 1e6
    rows: list[tuple[object, ...]] = []
    y, last = 10.0, -1
    for t, c in lines:
        if t != last:
            pen.words(4, y + 8, types[t], size=7.5)
        last = t
        pen.words(left - 6, y + 8, c.label.replace("_", " "), "end", 7.5, SOFT)
        pen.box(left, y, room, 10, "#eceff3")
        for b, amount in enumerate(details.by_type[t, c].tolist()):
            if amount > 0:
                strength = min(1.0, amount / (most_s * capacity[t])) ** 0.5
                pen.box(left + b * step, y, step, 10, colours()[c.label], 0.12 + 0.88 * strength)
            rows.append((types[t], c.label, b * most_s, amount))
        y += 12
    end = run["ledger_end"] * run["tick_s"]
    _axis(pen, y, room, end / 3600, "hours since the start", left)
    columns = ("accelerator", "cause", "from_s", "idle_accelerator_s")
    return Figure("idle", pen, columns, rows)


def queue(contents: Contents) -> Figure:
    """Accelerators that waiting jobs ask for, and accelerators that stand idle."""
    index = _run(contents)
    details, run = contents.details[index], contents.data["runs"][index]
    seconds = [
        min(details.bins.width_us, details.bins.end_us - b * details.bins.width_us) / 1e6
        for b in range(details.bins.count)
    ]
    sums = details.by_type[:, list(IDLE_CAUSES)].sum(axis=(0, 1)).tolist()
    idle_now = [s / n if n else 0.0 for s, n in zip(sums, seconds, strict=True)]
    asked = details.queue["accelerators"].tolist()
    jobs = details.queue["jobs"].tolist()
    pen = Drawing(WIDTH, 190, f"Waiting and idle over time: {run['policy']}")
    room, tall, left = WIDTH - 70 - RIGHT, 130.0, 70.0
    top = max(*asked, *idle_now, 1.0)
    width_s = details.bins.width_us / 1e6
    end = run["ledger_end"] * run["tick_s"]
    pen.words(left - 5, 22, number(top), "end", 7.5, SOFT)
    pen.words(left - 5, 14 + tall, "0", "end", 7.5, SOFT)
    for b, value in enumerate(idle_now):
        x, high = left + b * width_s / end * room, value / top * tall
        pen.box(x, 14 + tall - high, seconds[b] / end * room, high, colours()["shape"], 0.5)
    stairs = [
        (left + min(end, at) / end * room, 14 + tall - value / top * tall)
        for b, value in enumerate(asked)
        for at in (b * width_s, (b + 1) * width_s)
    ]
    pen.path(stairs, colours()["k0"], 1.4)
    _axis(pen, 14 + tall, room, end / 3600, "hours; blue: asked for by waiting, orange: idle", left)
    rows = [(b * width_s, jobs[b], asked[b], idle_now[b]) for b in range(details.bins.count)]
    columns = ("from_s", "waiting_jobs", "asked_accelerators", "idle_accelerators")
    return Figure("queue", pen, columns, rows)


def schedule(contents: Contents) -> Figure:
    """Held accelerators by node and time, as shares."""
    run = contents.data["runs"][_run(contents)]
    fleet = contents.data["fleet"]
    bars = run["bars"]
    row_of = {node: row for row, node in enumerate(fleet["rows"])}
    tall = max(2.0, min(9.0, 520 / max(1, len(row_of))))
    pen = Drawing(WIDTH, 46.0 + tall * len(row_of), f"Schedule: {run['policy']}")
    room = WIDTH - LEFT - RIGHT
    for row in range(len(row_of)):
        pen.box(LEFT, 10 + row * tall, room, tall - 0.6, "#eceff3")
        if tall >= 7:
            name = fleet["names"][fleet["rows"][row]]
            pen.words(LEFT - 5, 10 + row * tall + tall - 2.4, name[:24], "end", 6)
    rows: list[tuple[object, ...]] = []
    start = piece = counted = 0
    busy: dict[int, list[int]] = {}
    for i, job in enumerate(bars["job"]):
        start += bars["start"][i]
        each = -bars["counts"][counted] if bars["counts"][counted] < 0 else 0
        counted += 1 if each else 0
        node = 0
        end = start + bars["length"][i]
        for _ in range(bars["size"][i]):
            node += bars["nodes"][piece]
            piece += 1
            held = each
            if not held:
                held = bars["counts"][counted]
                counted += 1
            size = fleet["sizes"][node]
            until = busy.setdefault(node, [0] * size)
            lanes = [k for k in range(size) if until[k] <= start][:held]
            colour = colours()[f"k{run['jobs']['class'][job] % 7}" if job >= 0 else "headroom"]
            for lane in lanes:
                until[lane] = end
                y = 10 + (row_of[node] + lane / size) * tall
                x = LEFT + start / run["end"] * room
                pen.box(x, y, bars["length"][i] / run["end"] * room, tall / size, colour)
            who = run["jobs"]["id"][job] if job >= 0 else run["services"][-1 - job]["name"]
            tick = run["tick_s"]
            rows.append((who, fleet["names"][node], held, start * tick, end * tick))
    _axis(
        pen, 10 + tall * len(row_of), room, run["end"] * run["tick_s"] / 3600,
        "hours since the start",
    )  # fmt: skip
    return Figure("schedule", pen, ("job", "node", "accelerators", "start_s", "end_s"), rows)


def energy(contents: Contents) -> Figure:
    """Energy by site and hour."""
    run = contents.data["runs"][_run(contents)]
    sites = contents.data["fleet"]["sites"]
    kwh = run["energy"]["kwh"]
    bins = run["energy"]["bins"]
    sums = [sum(row[b] for row in kwh) for b in range(bins)]
    top = max(*sums, 1e-9)
    pen = Drawing(WIDTH, 180, f"Energy by site and hour: {run['policy']}")
    room, tall, left = WIDTH - 70 - RIGHT, 120.0, 70.0
    pen.words(left - 5, 22, f"{number(top)} kWh", "end", 7.5, SOFT)
    step = run["energy"]["bin"] / run["end"] * room
    rows: list[tuple[object, ...]] = []
    for b in range(bins):
        y = 14 + tall
        for s, row in enumerate(kwh):
            high = row[b] / top * tall
            y -= high
            wide = min(step, room - b * step)
            pen.box(left + b * step, y, wide * 0.9, high, colours()[f"k{s % 7}"])
            amounts = (run["energy"][name][s][b] for name in ("kwh", "usd", "co2_kg"))
            rows.append((sites[s], b * run["energy"]["bin"] * run["tick_s"], *amounts))
    end = run["end"] * run["tick_s"]
    _axis(pen, 14 + tall, room, end / 3600, "hours since the start", left)
    return Figure("energy", pen, ("site", "from_s", "kwh", "usd", "co2_kg"), rows)


def _axis(pen: Drawing, y: float, room: float, top: float, title: str, left: float = LEFT) -> None:
    """Draw an axis from 0 to `top` below a picture, with at most seven round figures."""
    pen.path([(left, y + 2), (left + room, y + 2)], GRID)
    step = next(s for s in _round_steps(top) if top / s <= 6)
    for tick in range(int(top / step) + 1):
        x = left + tick * step / top * room
        pen.path([(x, y + 2), (x, y + 5)], SOFT, 0.6)
        pen.words(x, y + 13, f"{tick * step:g}", "middle", 7, SOFT)
    pen.words(left + room / 2, y + 24, title, "middle", 7.5, SOFT)


def _round_steps(top: float) -> Iterator[float]:
    """Yield round steps in ascending order; hours of days come out as 6, 12, 24."""
    size = 10.0 ** math.floor(math.log10(max(top, 1e-12)) - 1)
    for factor in (1, 10, 100):
        for step in (1, 2, 5):
            if size * factor == 10 and step == 1:
                yield from (6.0, 12.0)
            yield size * factor * step


FIGURES: Final[Mapping[str, Callable[[Contents], Figure]]] = {
    "waterfall": waterfall,
    "policies": policies,
    "idle": idle,
    "queue": queue,
    "schedule": schedule,
    "energy": energy,
    "ecdf": ecdf,
}
"""By name."""

_OF_SUMMARIES: Final = ("waterfall", "policies")


def described() -> dict[str, str]:
    """Return what each figure shows, by name."""
    return {name: (draw.__doc__ or "").strip() for name, draw in FIGURES.items()}


__all__ = ["FIGURES", "Figure", "described", "figure_of"]
