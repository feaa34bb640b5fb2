"""Step times of an application as learned while it runs (Sia, SOSP'23, section on estimators).

A job starts with a profile of one accelerator of each type. Computing time is linear in the
local batch; synchronising is a constant plus a term in the accelerators beyond two, apart inside
a node and between nodes (Pollux, OSDI'21). Where a type has seen no gang yet, its throughput is
that of a type that has, scaled by the ratio on one accelerator; where none has, gangs are taken
to scale perfectly. Unseen synchronisation counts as none: optimism makes jobs try.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.adaptive import Shape, StepRows
from scheduler.core.workload import FloatArray
from scheduler.physics.goodput import Batches

Point = tuple[int, int, float, float, float]
"""Nodes, accelerators, local batch, seconds of a step, seconds of it that synchronise."""


class LearnedSteps:
    """What has been measured of one application, by accelerator type.

    Parameters
    ----------
    single : sequence of ndarray
        Step rows of one accelerator, by type.
    """

    def __init__(self, single: Sequence[StepRows]) -> None:
        self.version = 0
        self._single = list(single)
        self._compute = [_line(rows[:, 0], rows[:, 1] - rows[:, 2]) for rows in single]
        self._seen: list[dict[tuple[int, int, int], Point]] = [{} for _ in single]
        self._sync: dict[tuple[int, bool], tuple[float, float]] = {}

    def observe(self, group: int, shape: Shape, local: int, step_s: float, sync_s: float) -> None:
        """Note the time of a step at a shape and local batch."""
        key = (len(shape), sum(shape), local)
        if sum(shape) == 1 or key in self._seen[group]:
            return
        self._seen[group][key] = (*key[:2], float(local), step_s, sync_s)
        self.version += 1
        points = np.array(list(self._seen[group].values()))
        rows = self._single[group]
        locals_ = np.append(rows[:, 0], points[:, 2])
        self._compute[group] = _line(
            locals_, np.append(rows[:, 1] - rows[:, 2], points[:, 3] - points[:, 4])
        )
        for spans in (False, True):
            mine = points[(points[:, 0] > 1) == spans]
            if len(mine):
                beyond = np.maximum(mine[:, 1] - 2, 0)
                self._sync[group, spans] = _line(beyond, mine[:, 4])

    def seconds(self, group: int, shape: Shape, batches: Batches) -> FloatArray:
        """Return the believed seconds of an iteration for each batch."""
        gang = sum(shape)
        if gang == 1 or self._seen[group]:
            return self._own(group, shape, batches)
        like = [g for g in range(len(self._single)) if self._seen[g]]
        if not like:
            return self._own(group, shape, batches)
        other = max(like, key=lambda g: len(self._seen[g]))
        ratio = self._computing(group, batches) / self._computing(other, batches)
        return np.asarray(ratio * self._own(other, shape, batches))

    def _own(self, group: int, shape: Shape, batches: Batches) -> FloatArray:
        compute = self._computing(group, batches)
        gang = sum(shape)
        sync = 0.0
        if gang > 1:
            constant, slope = self._sync.get((group, len(shape) > 1), (0.0, 0.0))
            sync = constant + slope * max(gang - 2, 0)
        return compute * (batches.accumulation + 1) + sync

    def _computing(self, group: int, batches: Batches) -> FloatArray:
        constant, slope = self._compute[group]
        return np.asarray(constant + slope * batches.local, float)


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return intercept and slope, neither negative, least in squared relative error."""
    weight = 1.0 / np.maximum(y, 1e-9)
    ones, target = weight, y * weight
    if np.ptp(x) > 0:
        matrix = np.column_stack([ones, x * weight])
        (a, b), *_ = np.linalg.lstsq(matrix, target, rcond=None)
        if a >= 0 and b >= 0:
            return float(a), float(b)
        if a < 0:
            scaled = x * weight
            return 0.0, float((scaled @ target) / (scaled @ scaled))
    return float((ones @ target) / (ones @ ones)), 0.0
