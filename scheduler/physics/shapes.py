"""Every shape in which gangs of some sizes may stand on some types, as columns.

Rates come shape by shape; modes are the shapes that no other makes pointless. What does not
depend on the job - where shapes fit and which replaces which - is worked out once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np

from scheduler.core.problem import Group, Mode
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.bandwidth import BoolArray
from scheduler.physics.spreads import Floor, Spread, legal_wherever

ROUNDING: Final = 1e-9
"""Shapes whose rates differ by less are equally fast."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The shapes of one count on one type: rows `start` to `stop` of `Shapes`."""

    type_index: int
    count: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes, count by count and type by type; columns of shape (n,).

    Parameters
    ----------
    spreads : tuple of Spread
        One per shape.
    groups : tuple of Group
        One per shape.
    curves : tuple of Curve
        One per count and type, also where nothing fits.
    level : ndarray of int64
        Of each shape.
    packed : ndarray of bool
        Whether a measured rate of packed gangs holds.
    curve_of : ndarray of int64
        Position in `curves`.
    order : ndarray of int64
        Every shape, by level, type, falling slot size and count: how shapes of equal rate
        are sorted.
    covering, covered : ndarray of int64, shape (pairs,)
        Shape `covering` is legal wherever shape `covered` stands.
    """

    spreads: tuple[Spread, ...]
    groups: tuple[Group, ...]
    curves: tuple[Curve, ...]
    level: IntArray
    packed: BoolArray
    curve_of: IntArray
    order: IntArray
    covering: IntArray
    covered: IntArray


@dataclass(frozen=True, slots=True)
class Rates:
    """What physics says of each shape; columns of shape (n,).

    Parameters
    ----------
    work_per_s : ndarray of float64
        0 where refused.
    memory_bytes : ndarray of float64
        On each accelerator; 0: unknown.
    power_w : ndarray of float64
        Of the gang.
    """

    work_per_s: FloatArray
    memory_bytes: FloatArray
    power_w: FloatArray


def shapes_of(
    floor: Floor, types: Iterable[int], counts: Iterable[int], *, fewest: bool = False
) -> Shapes:
    """Return the shapes of gangs of `counts` on `types`.

    Parameters
    ----------
    floor : Floor
        Where gangs fit.
    types : iterable of int
        Positions in ``floor.types``.
    counts : iterable of int
        Gang sizes.
    fewest : bool
        Only those on the fewest nodes.
    """
    wanted = tuple(types)
    spreads: list[Spread] = []
    groups: list[Group] = []
    curves: list[Curve] = []
    pairs: list[tuple[int, int]] = []
    for count in counts:
        for t in wanted:
            found = floor.spreads(t, count)
            if fewest:
                found = tuple(s for s in found if s.per_node == found[0].per_node)
            start = len(spreads)
            spreads += found
            groups += [Group(t, count, s.per_node) for s in found]
            curves.append(Curve(t, count, start, len(spreads)))
            pairs += [
                (start + a, start + b)
                for a, other in enumerate(found)
                for b, spread in enumerate(found)
                if a != b and legal_wherever(other, spread, count)
            ]
    level = np.array([s.level for s in spreads], dtype=np.int64)
    keys = [
        (s.level, g.type_index, -g.per_node, g.count) for s, g in zip(spreads, groups, strict=True)
    ]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Shapes(
        tuple(spreads),
        tuple(groups),
        tuple(curves),
        level,
        np.array([s.packed for s in spreads], dtype=bool),
        np.repeat(np.arange(len(curves)), [c.stop - c.start for c in curves]),
        np.array(sorted(range(len(spreads)), key=keys.__getitem__), dtype=np.int64),
        table[:, 0],
        table[:, 1],
    )


def modes_of(shapes: Shapes, rates: Rates, max_level: int) -> tuple[tuple[Mode, ...], BoolArray]:
    """Return the modes within a level by descending rate, and which shapes they are.

    A shape is pointless if another is legal wherever it stands, and no slower.
    """
    rate = rates.work_per_s
    legal = (shapes.level <= max_level) & (rate > 0)
    pairs = legal[shapes.covering] & (
        rate[shapes.covering] >= rate[shapes.covered] * (1 - ROUNDING)
    )
    kept = legal.copy()
    kept[shapes.covered[pairs]] = False
    best = np.zeros(len(shapes.curves))
    np.maximum.at(best, shapes.curve_of, rate)
    order = shapes.order[kept[shapes.order]]
    order = order[np.argsort(-rate[order], kind="stable")]
    modes = _modes(
        groups=[(shapes.groups[i],) for i in order.tolist()],
        level=shapes.level[order].tolist(),
        rate=rate[order].tolist(),
        best_rate=best[shapes.curve_of[order]].tolist(),
        power_w=rates.power_w[order].tolist(),
        memory_bytes=rates.memory_bytes[order].tolist(),
        straggler=[0.0] * len(order),
        share_milli=[WHOLE_MILLI] * len(order),
    )
    return modes, kept


def _modes(**columns: list[Any]) -> tuple[Mode, ...]:
    """Return modes made column by column.

    There are hundreds of thousands; one by one the initialiser of a frozen dataclass takes
    a quarter of all the time that modes take.
    """
    modes = tuple(map(object.__new__, repeat(Mode, len(columns["level"]))))
    for name, column in columns.items():
        deque(map(getattr(Mode, name).__set__, modes, column), maxlen=0)
    return modes
