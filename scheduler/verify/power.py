"""What sites draw: the power cap at every instant; energy, cost and carbon in total.

A node that is up draws its overhead and, for each accelerator nobody holds, the idle power
of its type. A gang draws its mode's power from start to end, shared evenly over its
accelerators; a share of one takes the place of that share of its idle power. A node that is
down draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from scheduler.core.problem import Mode
from scheduler.core.run import Run, Violation
from scheduler.core.units import HOUR_S, US_PER_S, WHOLE_MILLI, s_from_us
from scheduler.core.workload import FloatArray
from scheduler.verify.facts import RELATIVE, Facts, Hold

CAP_SLACK_W = 1e-6
"""What rounding may add to a sum of watts."""

_TOLERANCE = 1e-7
_J_PER_KWH = 3.6e6

Step = tuple[int, float, int]
"""Instant, change of a site's watts, change of the accelerators held there."""


def added_w(facts: Facts, mode: Mode, type_index: int) -> float:
    """Return what one accelerator of a gang, or a share of one, draws above its idle power."""
    name = facts.problem.types[type_index]
    idle_w = facts.problem.cluster.accelerators[name].idle_w
    return mode.power_w / mode.count - idle_w * mode.share_milli / WHOLE_MILLI


def added_by_site(facts: Facts, hold: Hold) -> dict[int, tuple[float, int]]:
    """Return, by site, the watts a hold adds to idle and the accelerators it holds."""
    by_site: dict[int, tuple[float, int]] = {}
    for node, count in hold.held:
        watts, held = by_site.get(facts.node_site[node], (0.0, 0))
        extra_w = count * added_w(facts, hold.mode, facts.node_type[node])
        by_site[facts.node_site[node]] = (watts + extra_w, held + count)
    return by_site


def idle_draw_w(facts: Facts) -> list[float]:
    """Return the draw of each node while it is up and nobody holds anything on it."""
    cluster = facts.problem.cluster
    return [
        node.overhead_w + node.count * cluster.accelerators[node.accelerator].idle_w
        for node in cluster.nodes
    ]


def power_cap(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``power_cap``: no site draws more than its cap while something on it is held.

    A cap that idle nodes exceed by themselves is no fault of a schedule.
    """
    sites = facts.problem.cluster.sites
    if all(site.power_cap_w is None for site in sites):
        return
    steps: list[list[Step]] = [[] for _ in sites]
    for node, idle_w in enumerate(idle_draw_w(facts)):
        of_site = steps[facts.node_site[node]]
        of_site.append((0, idle_w, 0))
        for start, end in facts.downs[node]:
            of_site += ((start, -idle_w, 0), (end, idle_w, 0))
    for hold in holds:
        for s, (watts, held) in added_by_site(facts, hold).items():
            steps[s] += ((hold.start_us, watts, held), (hold.end_us, -watts, -held))
    for s, site in enumerate(sites):
        if site.power_cap_w is not None:
            yield from _over_cap(site.name, site.power_cap_w, steps[s])


def _over_cap(name: str, cap_w: float, steps: list[Step]) -> Iterator[Violation]:
    steps.sort(key=lambda step: step[0])
    at = np.array([step[0] for step in steps], dtype=np.int64)
    draw_w = np.cumsum([step[1] for step in steps])
    held = np.cumsum([step[2] for step in steps])
    settled = np.append(at[1:] != at[:-1], True)  # after the last change of an instant
    at, draw_w, held = at[settled], draw_w[settled], held[settled]
    over = (draw_w > cap_w * (1 + RELATIVE) + CAP_SLACK_W) & (held > 0)
    for i in np.flatnonzero(over & ~np.concatenate(([False], over[:-1]))).tolist():
        text = f"site {name} draws {draw_w[i]:.6g} W of {cap_w:.6g} W"
        yield Violation("power_cap", text, "", "", s_from_us(int(at[i])))


def energy_integrated(facts: Facts, run: Run, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``energy``, ``cost``, ``carbon``: the integrals of each site's draw.

    Cost and carbon follow from the draw times PUE; the run begins at midnight.
    """
    rows = _draws(facts, holds)
    energy_j = cost_usd = carbon_g = 0.0
    for s, site in enumerate(facts.problem.cluster.sites):
        mine = rows[rows[:, 0] == s]
        start_s, end_s, watts = mine[:, 1] / US_PER_S, mine[:, 2] / US_PER_S, mine[:, 3]
        energy_j += math.fsum(watts * (end_s - start_s))
        facility = watts * site.pue / _J_PER_KWH
        cost_usd += math.fsum(facility * _between(site.usd_per_kwh, start_s, end_s))
        carbon_g += math.fsum(facility * _between(site.carbon_g_per_kwh, start_s, end_s))
    for code, recorded, due in (
        ("energy", run.energy_j, energy_j),
        ("cost", run.cost_usd, cost_usd),
        ("carbon", run.carbon_g, carbon_g),
    ):
        if not math.isclose(recorded, due, rel_tol=_TOLERANCE, abs_tol=1e-9):
            yield Violation(code, f"{recorded:.9g} recorded, {due:.9g} follow from the run")


def _draws(facts: Facts, holds: Sequence[Hold]) -> FloatArray:
    """Return rows of (site, start_us, end_us, watts) whose sum is each site's draw."""
    rows: list[tuple[int, int, int, float]] = []
    for node, up_w in enumerate(idle_draw_w(facts)):
        site = facts.node_site[node]
        rows.append((site, 0, facts.end_us, up_w))
        rows += [(site, start, end, -up_w) for start, end in facts.downs[node]]
    for hold in holds:
        for site, (watts, _) in added_by_site(facts, hold).items():
            rows.append((site, hold.start_us, hold.end_us, watts))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _between(hourly: Sequence[float], start_s: FloatArray, end_s: FloatArray) -> FloatArray:
    """Return the integral of a daily curve of equal steps over each interval, in value x s."""
    if len(hourly) == 1:
        return hourly[0] * (end_s - start_s)
    day_s = len(hourly) * HOUR_S
    edges = np.arange(len(hourly) + 1) * HOUR_S
    sums = np.concatenate(([0.0], np.cumsum(np.asarray(hourly) * HOUR_S)))

    def until(at_s: FloatArray) -> FloatArray:
        days, rest_s = np.divmod(at_s, day_s)
        return np.asarray(days * sums[-1] + np.interp(rest_s, edges, sums))

    return until(end_s) - until(start_s)
