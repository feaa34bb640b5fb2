"""Rates from measured throughput tables."""

from __future__ import annotations

import math

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
        for (job_type, accelerator, count, spread), rate in profile.rates.items():
            key = (job_type, accelerator.casefold(), spread)
            self._rows.setdefault(key, {})[count] = rate
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
        rows = self._find(job_type, accelerator, PACKED if count == 1 else spread)
        if not rows:
            what = f"{job_type!r} on {accelerator.name}"
            shape = " spread over nodes" if spread == SPREAD and count > 1 else ""
            return Refusal(f"table {self.name!r} has no row for {what}{shape}")
        rate = _at(rows, count)
        packed = self._find(job_type, accelerator, PACKED)
        if count not in rows and packed:  # a figure that was not measured never beats packed
            rate = min(rate, _at(packed, count))
        if rate <= 0:
            return Refusal(f"does not fit {count} x {accelerator.name}: measured rate is 0")
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
    if count < known[0]:
        return rows[known[0]] * count / known[0]
    low = max(c for c in known if c < count)
    if rows[low] <= 0:
        return 0.0
    above = [c for c in known if c > count]
    if above:
        ends = low, above[0]
    else:
        positive = [c for c in known if rows[c] > 0]
        ends = (positive[-2], low) if len(positive) > 1 else (low, low)
    first, last = ends
    if first == last:
        exponent = 1.0
    elif rows[last] <= 0:
        return 0.0
    else:
        exponent = math.log(rows[last] / rows[first]) / math.log(last / first)
    return float(rows[low] * (count / low) ** min(1.0, max(0.0, exponent)))
