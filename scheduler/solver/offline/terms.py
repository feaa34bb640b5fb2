"""Objectives as expressions of the interval model, each at most the loss it stands for.

Coefficients are whole numbers. Where they have to be rounded they are rounded down on
variables that are not negative, so that the least of the expression bounds the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from scheduler.core.cluster import Site
from scheduler.core.problem import Mode
from scheduler.core.units import HOUR_S, US_PER_S, us_from_s
from scheduler.physics.power import energy_cost
from scheduler.solver.offline.instance import Choice, Instance
from scheduler.solver.offline.objectives import (
    POWERED,
    WORST_OF,
    accelerator_added_w,
    base_draw,
    closed_us,
    fair_lengths_s,
    idle_w,
    loss_of,
    productive_us,
    sites_of,
    up_us,
)

if TYPE_CHECKING:
    from scheduler.solver.offline.model import OfflineModel, Picked

_TOP: Final = 1 << 58
"""Largest expression on whole numbers; CP-SAT needs some room above it."""

_TOP_SCALED: Final = 1 << 53
"""The same where coefficients are scaled freely: what doubles, and so its LP, count exactly."""

_TOP_CURVED: Final = 1 << 45
"""The same where a curve is in the model: above 2**47, CP-SAT 9.15 calls plans optimal that are
not, when enforced constraints on two variables have such coefficients."""

_TOP_RATIO: Final = 1 << 56

_MOST_PIECES: Final = 240
"""Pieces of a daily curve in the model; where there are more, a line below it stands for it."""

J_PER_KWH: Final = 3.6e6

_SMOOTH: Final = 64
"""In windows of repair, the worst of jobs counts so much more than all of them together."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An expression of the model: the loss is at least ``unit * expression + constant``."""

    unit: float
    constant: float
    expression: Any


def cost_of(model: OfflineModel, name: str) -> Cost:
    """Return the loss `name` of the whole plan, fixed jobs included, as an expression."""
    if name in ("makespan", "throughput"):
        return _makespan(model)
    if name in WORST_OF:
        return _worst(model, name)
    if name in (*POWERED, "idle", "waste"):
        return _used(model, name)
    return _completions(model, name)


def smooth_cost(model: OfflineModel, name: str, cost: Cost) -> Any:
    """Return what a window of repair minimises: where only the worst counts, also the others."""
    many = _SMOOTH * max(1, len(model.jobs))
    if name in ("makespan", "throughput"):
        return many * cost.expression + sum(model.end.values())
    if name in WORST_OF:
        jobs = [j for j in model.jobs if j not in model.instance.inner]
        slopes, _ = _ratios(model.instance, name)
        return cost.expression + sum((slopes[j] // many) * model.end[j] for j in jobs)
    return cost.expression


def _makespan(model: OfflineModel) -> Cost:
    tick_s = model.instance.tick_us / US_PER_S
    first = min(model.instance.release[j] for j in (*model.jobs, *model.fixed))
    return Cost(tick_s, -first * tick_s, model.last_end())


def _completions(model: OfflineModel, name: str) -> Cost:
    """Mean completion time, weighted or not, and mean tardiness."""
    instance = model.instance
    columns = instance.problem.workload.jobs
    finals = instance.finals()
    weight = {j: Fraction(1) for j in finals}
    if name == "weighted_completion":
        weight = {j: Fraction(repr(float(columns.weight[instance.job_of(j)]))) for j in finals}
    elif name == "tardiness":
        weight = {
            j: Fraction(not math.isnan(columns.deadline_s[instance.job_of(j)])) for j in finals
        }
    total = sum(weight.values(), Fraction(0))
    if not total:
        return Cost(1.0, 0.0, 0 * model.last_end())
    most = Fraction(_TOP, max(1, model.horizon * len(finals))) / max(weight.values())
    scale = min(most, Fraction(math.lcm(*(w.denominator for w in weight.values()))))
    whole = {j: math.floor(weight[j] * scale) for j in finals}
    unit = Fraction(instance.tick_us, US_PER_S) / scale / total
    from_tick = instance.release if name != "tardiness" else _due(instance, finals)
    parts: list[Any] = []
    constant = 0
    for j in finals:
        if not whole[j]:
            continue
        if j in model.fixed:
            constant += whole[j] * max(0, model.fixed[j].end - from_tick[j])
        elif j in model.end and name == "tardiness":
            late = model.model.new_int_var(0, model.horizon, "")
            model.model.add_max_equality(late, [0, model.end[j] - from_tick[j]])
            parts.append(whole[j] * late)
        elif j in model.end:
            parts.append(whole[j] * (model.end[j] - from_tick[j]))
    expression = sum(parts) if parts else 0 * model.last_end()
    return Cost(float(unit), float(constant * unit), expression)


def _due(instance: Instance, finals: Sequence[int]) -> dict[int, int]:
    due_s = instance.problem.workload.jobs.deadline_s.tolist()
    at = {j: due_s[instance.job_of(j)] for j in finals}
    return {j: us_from_s(t) // instance.tick_us for j, t in at.items() if not math.isnan(t)}


def _ratios(instance: Instance, name: str) -> tuple[dict[int, int], int]:
    """Return, by job, its slope on whole numbers per tick, and what stands for a ratio of 1."""
    fair_s = fair_lengths_s(instance.problem, name)
    per_tick_s = instance.tick_us / US_PER_S
    fair = {
        j: Fraction(float(fair_s[instance.job_of(j)])) / Fraction(per_tick_s)
        for j in instance.finals()
    }
    one = math.floor(_TOP_RATIO * min(fair.values()) / max(1, instance.horizon))
    return {j: math.floor(max(1, one) / f) for j, f in fair.items()}, max(1, one)


def _worst(model: OfflineModel, name: str) -> Cost:
    instance = model.instance
    slopes, one = _ratios(instance, name)
    worst = model.model.new_int_var(0, 2 * _TOP_RATIO, "")
    for j, slope in slopes.items():
        if j in model.end:
            model.model.add(worst >= slope * (model.end[j] - instance.release[j]))
        elif j in model.fixed:
            model.model.add(worst >= slope * (model.fixed[j].end - instance.release[j]))
    return Cost(1.0 / one, 0.0, worst)


# --- what is drawn or left unused ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Curve:
    """A function of a variable, linear between `points`; counts where `taken` (None: always)."""

    variable: Any
    taken: Any
    points: tuple[int, ...]
    values: tuple[float, ...]


class _Sum:
    """Terms with free coefficients, scaled to whole numbers at the end."""

    def __init__(self, model: OfflineModel) -> None:
        self.model = model
        self.terms: list[tuple[float, Any, int]] = []  # coefficient, variable, its most
        self.curves: list[_Curve] = []

    def add(self, coefficient: float, variable: Any, most: int = 1) -> None:
        if coefficient:
            self.terms.append((coefficient, variable, most))

    def cost(self, constant: float) -> Cost:
        total = math.fsum(abs(w) * most for w, _, most in self.terms)
        total += math.fsum(max(map(abs, c.values)) for c in self.curves)
        whole = all(float(w).is_integer() for w, _, _ in self.terms) and not self.curves
        top = _TOP_CURVED if self.curves else _TOP_SCALED
        unit = 1.0 if whole and total <= top else total / top or 1.0
        parts = [math.floor(w / unit) * variable for w, variable, _ in self.terms]
        parts += [self._on_curve(curve, unit) for curve in self.curves]
        return Cost(unit, constant, sum(parts) if parts else 0 * self.model.last_end())

    def _on_curve(self, curve: _Curve, unit: float) -> Any:
        """Return a variable that is at least the curve in whole units."""
        model = self.model.model
        low = [math.floor(v / unit) - 1 for v in curve.values]
        slopes = [
            math.floor((v - u) / unit / (b - a))
            for a, b, u, v in zip(
                curve.points, curve.points[1:], curve.values, curve.values[1:], strict=False
            )
        ] or [0]
        height = model.new_int_var(min(0, *low), max(0, *low) + 2, "")
        pieces = []
        for k, slope in enumerate(slopes):
            here = model.new_bool_var("")
            pieces.append(here)
            first = curve.points[k]
            last = curve.points[min(k + 1, len(curve.points) - 1)]
            model.add_linear_constraint(curve.variable, first, last).only_enforce_if(here)
            model.add(height >= low[k] + slope * (curve.variable - first)).only_enforce_if(here)
        model.add_exactly_one([*pieces, *([] if curve.taken is None else [~curve.taken])])
        return height


def _used(model: OfflineModel, name: str) -> Cost:
    """Energy, its cost or carbon; or the accelerator-time that is idle or wasted, in seconds."""
    instance = model.instance
    problem, tick_us = instance.problem, instance.tick_us
    total = _Sum(model)
    kinds = ("down",) if name in POWERED else ("down", "drain")
    spans = closed_us(problem, model.horizon * tick_us, kinds)
    hours = _hours(problem.cluster.sites, name, model) if name in POWERED else []
    if hours:
        edges = {t // tick_us for of in spans.values() for span in of for t in span}
        edges |= {0, model.horizon, *hours}
        _add_curved_base(total, model, name, sorted(t for t in edges if t <= model.horizon))
    else:
        _add_base(total, model, name, spans)
    for unit in model.jobs:
        for picked in model.picks[unit]:
            if name in POWERED:
                _add_draw(total, model, name, unit, picked)
            else:
                mode = instance.mode(unit, picked.choice.mode)
                _add_in_drains(total, model, unit, picked, spans)
                total.add(-_taken_us(instance, name, unit, mode, picked.choice), picked.taken)
    fixed = instance.allocations(model.fixed)
    constant = _of_fixed(instance, name, model) if fixed else 0.0
    cost = total.cost(constant)
    if name in POWERED:
        return cost
    return Cost(cost.unit / US_PER_S, cost.constant, cost.expression)


def _figure(name: str, drawn: Any) -> float:
    named = {"energy": drawn.energy_j, "cost": drawn.cost_usd, "carbon": drawn.carbon_g}
    return float(named[name])


def _add_base(
    total: _Sum, model: OfflineModel, name: str, closed: Mapping[int, Sequence[tuple[int, int]]]
) -> None:
    """Add what the fleet draws, or could give, until the last end; nothing while it is closed."""
    problem, tick_us = model.instance.problem, model.instance.tick_us
    if name in POWERED:
        sites, where = problem.cluster.sites, sites_of(problem)
        per_s = [w * _rate(sites[where[n]], name) for n, w in enumerate(idle_w(problem))]
        each = [w * tick_us / US_PER_S for w in per_s]
    else:
        each = [float(node.count * tick_us) for node in problem.cluster.nodes]
    last = model.last_end()
    total.add(math.fsum(each), last, model.horizon)
    until: dict[int, Any] = {}
    for n, spans in closed.items():
        for span in spans:
            for t in span:
                if t not in until:
                    until[t] = model.model.new_int_var(0, model.horizon, "")
                    model.model.add_min_equality(until[t], [last, t // tick_us])
            total.add(-each[n], until[span[1]] - until[span[0]], model.horizon)


def _add_curved_base(total: _Sum, model: OfflineModel, name: str, points: Sequence[int]) -> None:
    """Add what the fleet draws until the last end where tariffs change by the hour."""
    problem, tick_us = model.instance.problem, model.instance.tick_us
    last = model.last_end()
    if len(points) > _MOST_PIECES:  # a line below the curve: least tariff, least mean draw
        sites = problem.cluster.sites
        least = min(t * _scale(s, name) for s in sites for t in _tariff(s, name))
        drawn_j = [(t, base_draw(problem, t * tick_us).energy_j) for t in points if t]
        total.add(min(j / t for t, j in drawn_j) * least, last, model.horizon)
        return
    values = tuple(_figure(name, base_draw(problem, t * tick_us)) for t in points)
    total.curves.append(_Curve(last, None, tuple(points), values))


def _taken_us(instance: Instance, name: str, unit: int, mode: Mode, choice: Choice) -> int:
    """Return what a gang takes off idle or wasted accelerator-time."""
    length_us = choice.duration * instance.tick_us
    if name == "idle":
        return mode.count * length_us
    restart_us = us_from_s(instance.problem.workload.classes[instance.class_of(unit)].restart_s)
    return mode.count * productive_us(mode, length_us - restart_us)


def _add_in_drains(
    total: _Sum,
    model: OfflineModel,
    unit: int,
    picked: Picked,
    closed: Mapping[int, Sequence[tuple[int, int]]],
) -> None:
    """Add what a gang holds while its nodes are drained, which nobody else could have had."""
    instance = model.instance
    mode, length = instance.mode(unit, picked.choice.mode), picked.choice.duration
    tick_us = instance.tick_us
    for n in picked.choice.nodes:
        if n not in instance.drains or n not in closed:
            continue
        spans = [(a // tick_us, b // tick_us) for a, b in closed[n]]
        marks = {t - shift for span in spans for t in span for shift in (0, length)}
        low, high = instance.release[unit], max(instance.release[unit], model.horizon - length)
        points = sorted({low, high, *(t for t in marks if low < t < high)})
        inside = [sum(max(0, min(t + length, b) - max(t, a)) for a, b in spans) for t in points]
        kept = model.inside(unit, picked, points, inside)
        if mode.level == 0:
            total.add(float(mode.count * tick_us), kept, max(inside))
            continue
        for g, group in enumerate(mode.groups):
            load = model.load(picked, g, n, group) if model.types[n] == group.type_index else None
            if load is not None:
                total.add(float(tick_us), model.product(load, kept, n, max(inside)), max(inside))


def _of_fixed(instance: Instance, name: str, model: OfflineModel) -> float:
    """Return the part of the loss that fixed jobs have, the base until the last of them apart."""
    fixed = instance.allocations(model.fixed)
    last_us = max(a.end_us for a in fixed)
    problem = instance.problem
    if name in POWERED:
        base = _figure(name, base_draw(problem, last_us))
    else:
        base = float(up_us(problem, last_us))
    scale = 1.0 if name in POWERED else 1.0 / US_PER_S
    return loss_of(instance.problem, name, fixed) - base * scale


def _add_draw(total: _Sum, model: OfflineModel, name: str, unit: int, picked: Picked) -> None:
    """Add what a gang draws above idle, where and when it runs."""
    instance = model.instance
    problem = instance.problem
    mode = instance.mode(unit, picked.choice.mode)
    sites, where = problem.cluster.sites, sites_of(problem)
    length_s = picked.choice.duration * instance.tick_us / US_PER_S
    for g, group in enumerate(mode.groups):
        nodes = [n for n in picked.choice.nodes if model.types[n] == group.type_index]
        each_w = accelerator_added_w(problem, mode, group.type_index)
        mine = sorted({where[n] for n in nodes})
        flat = all(_flat(sites[s], name, model) for s in mine)
        if len(mine) == 1 and flat:
            total.add(each_w * group.count * length_s * _rate(sites[mine[0]], name), picked.taken)
        elif len(mine) == 1:
            site = sites[mine[0]]
            _add_hourly(total, model, name, unit, picked, each_w * group.count, site)
        elif flat and mode.level:
            for n in nodes:
                load = model.load(picked, g, n, group)
                if load is not None:
                    most = problem.cluster.nodes[n].count
                    total.add(each_w * length_s * _rate(sites[where[n]], name), load, most)
        else:  # at least at the least tariff of any of the sites
            pick = min if each_w >= 0 else max
            rates = [_scale(sites[i], name) * t for i in mine for t in _tariff(sites[i], name)]
            total.add(each_w * group.count * length_s * pick(rates), picked.taken)


def _add_hourly(
    total: _Sum, model: OfflineModel, name: str, unit: int, picked: Picked, watts: float, site: Site
) -> None:
    instance = model.instance
    tick_us, length = instance.tick_us, picked.choice.duration
    low, high = instance.release[unit], max(instance.release[unit], model.horizon - length)
    hour_us = round(HOUR_S * US_PER_S)
    marks = {low, high}
    steps = (high - low) * tick_us / hour_us
    if 2 * steps > _MOST_PIECES:
        rates = [_scale(site, name) * t for t in _tariff(site, name)]
        rate = min(rates) if watts >= 0 else max(rates)
        total.add(watts * length * tick_us / US_PER_S * rate, picked.taken)
        return
    for shift in (0, length):
        first = -(-(low + shift) * tick_us // hour_us)
        last = (high + shift) * tick_us // hour_us
        for hour in range(first, last + 1):  # a mark between two ticks: both of them
            at = hour * hour_us / tick_us - shift
            marks |= {t for t in (math.floor(at), math.ceil(at)) if low <= t <= high}
    points = tuple(sorted(marks))
    values = tuple(
        _figure(
            name,
            energy_cost(watts, t * tick_us / US_PER_S, (t + length) * tick_us / US_PER_S, site),
        )
        for t in points
    )
    total.curves.append(_Curve(model.start[unit], picked.taken, points, values))


def _tariff(site: Site, name: str) -> tuple[float, ...]:
    if name == "energy":
        return (1.0,)
    return site.usd_per_kwh if name == "cost" else site.carbon_g_per_kwh


def _rate(site: Site, name: str) -> float:
    """Return what a joule counts at a site whose tariff does not change."""
    return _tariff(site, name)[0] * _scale(site, name)


def _scale(site: Site, name: str) -> float:
    """Return what a joule counts at a tariff of 1."""
    return 1.0 if name == "energy" else site.pue / J_PER_KWH


def _flat(site: Site, name: str, model: OfflineModel) -> bool:
    """Return whether a site's tariff does not change before the horizon."""
    hour_us = HOUR_S * US_PER_S
    return len(set(_tariff(site, name))) == 1 or model.horizon * model.instance.tick_us <= hour_us


def _hours(sites: Sequence[Site], name: str, model: OfflineModel) -> list[int]:
    """Return the ticks about the hours at which some tariff may change."""
    tick_us, horizon = model.instance.tick_us, model.horizon
    if all(_flat(s, name, model) for s in sites):
        return []
    hour_us = round(HOUR_S * US_PER_S)
    most = min(horizon * tick_us // hour_us, _MOST_PIECES + 1)
    at = [h * hour_us / tick_us for h in range(1, most + 1)]
    return sorted({t for x in at for t in (math.floor(x), math.ceil(x)) if t <= horizon})
