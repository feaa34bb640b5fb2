"""Executed schedules for people: measured idle time beside the simulator's."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from scheduler.execute.schedules import Execution
from scheduler.execute.schedules.measure import POINTS
from scheduler.report.words import number, plain


def execution_table(found: Execution) -> Table:
    """Return idle shares by accelerator type: simulated, measured, and the difference."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("accelerator", no_wrap=True)
    titles = ("simulated\nidle %", "measured\nraw %", "of it Ray's\nlatency %", "measured\nidle %")
    for title in (*titles, "difference\npoints"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found.idle:
        if row is found.idle[-1]:
            table.add_section()
        shares = (row.simulated, row.raw, row.latency, row.measured)
        cells = [f"{100 * share:.2f}" for share in shares]
        table.add_row(escape(plain(row.name)), *cells, f"{row.points:+.2f}")
    return table


def execution_lines(found: Execution) -> list[str]:
    """Return what else there is to say: starts, Ray's own latency, gangs, the verdict."""
    median_s, p99_s, worst_s = found.lateness_s
    ray = found.latency
    lines = [
        f"{found.gangs} gangs ({len(found.members)} members) played in {number(found.seconds)} s "
        f"at {found.speed:g} times real time; {found.handovers} took over from another at once.",
        f"Starts were late by {_ms(median_s)} (median), {_ms(p99_s)} (p99), {_ms(worst_s)} "
        f"(worst); members of a gang started within {_ms(found.spread_s)}.",
        f"Ray's own latency, by {ray.samples} gangs that do nothing: {_ms(ray.free_s)} on free "
        f"accelerators, {_ms(ray.handover_s)} where another lets go at that instant.",
    ]
    if found.short:
        lines.append(
            f"{found.short} gangs were shorter than that at this speed; a lower one shows them."
        )
    if found.faults:
        lines.append(f"{len(found.faults)} gangs or nodes broke a rule by the workers' log.")
    else:
        lines.append("By the workers' log every gang was whole and no accelerator held twice.")
    within = all(abs(row.points) <= POINTS for row in found.idle)
    verdict = "within" if within else "NOT within"
    lines.append(f"Measured idle time is {verdict} {POINTS:g} points of the simulator's.")
    return lines


def _ms(seconds: float) -> str:
    return f"{number(1000 * seconds)} ms"
