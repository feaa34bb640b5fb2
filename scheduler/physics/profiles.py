"""Rates from measured throughput tables."""

from __future__ import annotations

import math
from bisect import bisect

from scheduler.core.cluster import AcceleratorType
from scheduler.core.workload import Profile
from scheduler.physics.network import Refusal

PACKED, SPREAD = "packed", "spread"


class ProfileTable:
    """A measured table, indexed for look-up by accelerator type and gang size.

    Counts without a row follow the table's own scaling: between two rows, the straight line
    in log-log through them; beyond the largest, that of its last two rows, with an exponent
    between 0 and 1, so that more accelerators never slow a job down nor speed it up more
    than in proportion; below the smallest, in proportion.

    Parameters
    ----------
    profile : Profile
        As read.
    """

    def __init__(self, profile: Profile) -> None:
        self.name = profile.name
        self._rows: dict[tuple[str, str, str], dict[int, float]] = {}
        folded: dict[str, str] = {}
        for (job_type, accelerator, count, spread), rate in profile.rates.items():
            name = folded.get(accelerator) or folded.setdefault(accelerator, accelerator.casefold())
            key = (job_type, name, spread)
            if key in self._rows:
                self._rows[key][count] = rate
            else:
                self._rows[key] = {count: rate}
        self._names: dict[int, tuple[AcceleratorType, tuple[str, ...]]] = {}

    def rate(
        self, job_type: str, accelerator: AcceleratorType, count: int, spread: str
    ) -> float | Refusal:
        """Return the work per second of a gang, or why there is no figure.

        Parameters
        ----------
        job_type : str
            Row name.
        accelerator : AcceleratorType
            Matched by name or alias, case-folded.
        count : int
            Gang size.
        spread : str
            ``"packed"`` or ``"spread"``; one accelerator is always packed.
        """
        packed, apart = self.rates(job_type, accelerator, count)
        return apart if spread == SPREAD else packed

    def rates(
        self, job_type: str, accelerator: AcceleratorType, count: int
    ) -> tuple[float | Refusal, float | Refusal]:
        """Return `rate` packed and spread."""
        rows = self._find(job_type, accelerator, PACKED)
        known = _at(rows, count) if rows else 0.0
        packed = self._stated(job_type, accelerator, count, known, "" if rows else PACKED)
        if count == 1:
            return packed, packed
        apart = self._find(job_type, accelerator, SPREAD)
        if not apart:
            return packed, self._stated(job_type, accelerator, count, 0.0, SPREAD)
        rate = _at(apart, count)
        if rows and count not in apart:  # a figure that was not measured never beats packed
            rate = min(rate, known)
        return packed, self._stated(job_type, accelerator, count, rate, "")

    def _stated(
        self, job_type: str, kind: AcceleratorType, count: int, rate: float, missing: str
    ) -> float | Refusal:
        """Return a rate, or why there is none: no row of a spread, or a measured zero."""
        if missing:
            shape = " spread over nodes" if missing == SPREAD else ""
            what = f"{job_type!r} on {kind.name}{shape}"
            return Refusal(f"table {self.name!r} has no row for {what}")
        if rate <= 0:
            return Refusal(f"does not fit {count} x {kind.name}: measured rate is 0")
        return rate

    def _find(self, job_type: str, kind: AcceleratorType, spread: str) -> dict[int, float]:
        if id(kind) not in self._names:  # beside the type itself, which keeps its id taken
            names = tuple(name.casefold() for name in (kind.name, *kind.aliases))
            self._names[id(kind)] = kind, names
        for name in self._names[id(kind)][1]:
            rows = self._rows.get((job_type, name, spread))
            if rows:
                return rows
        return {}


def _at(rows: dict[int, float], count: int) -> float:
    """Return the rate at `count`; 0 where a neighbouring row says that the job does not fit."""
    if count in rows:
        return rows[count]
    known = sorted(rows)
    place = bisect(known, count)
    if place == 0:
        return rows[known[0]] * count / known[0]
    low = known[place - 1]
    if rows[low] <= 0:
        return 0.0
    if place < len(known):
        first, last = low, known[place]
    else:
        positive = [c for c in known if rows[c] > 0]
        first, last = (positive[-2], low) if len(positive) > 1 else (low, low)
    if first == last:
        exponent = 1.0
    elif rows[last] <= 0:
        return 0.0
    else:
        exponent = math.log(rows[last] / rows[first]) / math.log(last / first)
    return float(rows[low] * (count / low) ** min(1.0, max(0.0, exponent)))
