"""The ledger: each accelerator-second in exactly one cause.

Quantities are integer accelerator-microseconds, so that the causes of a pool sum to
``capacity * horizon`` exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scheduler.core.units import US_PER_S
from scheduler.core.workload import IntArray


class Cause(IntEnum):
    """Where an accelerator-second went, in order of precedence."""

    DOWN = 0
    PRODUCTIVE = 1
    COMMUNICATION = 2
    STRAGGLER = 3
    RECONFIGURATION = 4
    LOST = 5
    HEADROOM = 6
    POWER_CAP = 7
    POLICY = 8
    SHAPE = 9
    GANG_WAIT = 10
    INCOMPATIBLE = 11
    NO_DEMAND = 12

    @property
    def label(self) -> str:
        """Lower-case name used in files and tables."""
        return self.name.lower()


IDLE_CAUSES: tuple[Cause, ...] = tuple(c for c in Cause if c >= Cause.POWER_CAP)
"""Nothing held the accelerator."""

HELD_UNPRODUCTIVE_CAUSES: tuple[Cause, ...] = (
    Cause.COMMUNICATION,
    Cause.STRAGGLER,
    Cause.RECONFIGURATION,
    Cause.LOST,
    Cause.HEADROOM,
)

WASTE_CAUSES: tuple[Cause, ...] = HELD_UNPRODUCTIVE_CAUSES + IDLE_CAUSES
"""Idle, or held without being productive."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Accelerator-microseconds by pool and cause.

    Parameters
    ----------
    amount_us : ndarray of int64, shape (pools, causes)
        Accelerator-microseconds.
    pool_types, pool_domains : tuple of str
        Accelerator type and innermost domain of each pool.
    """

    amount_us: IntArray
    pool_types: tuple[str, ...]
    pool_domains: tuple[str, ...]

    def total_us(self) -> int:
        """Return capacity times horizon in accelerator-microseconds."""
        return int(self.amount_us.sum())

    def of(self, causes: Iterable[Cause]) -> int:
        """Return accelerator-microseconds booked to `causes`."""
        return int(self.amount_us[:, [int(c) for c in causes]].sum())

    def fraction(self, causes: Iterable[Cause]) -> float:
        """Return the share of all accelerator-time booked to `causes` (0 if there is none)."""
        total = self.total_us()
        return self.of(causes) / total if total else 0.0

    def by_cause(self) -> dict[str, float]:
        """Return accelerator-seconds by cause label, every cause present."""
        sums = self.amount_us.sum(axis=0)
        return {c.label: int(sums[c]) / US_PER_S for c in Cause}

    def by_type(self) -> dict[str, dict[str, float]]:
        """Return accelerator-seconds by accelerator type and cause label."""
        return self._grouped(self.pool_types)

    def by_domain(self) -> dict[str, dict[str, float]]:
        """Return accelerator-seconds by innermost domain and cause label."""
        return self._grouped(self.pool_domains)

    def _grouped(self, keys: tuple[str, ...]) -> dict[str, dict[str, float]]:
        sums: dict[str, IntArray] = {}
        for row, key in enumerate(keys):
            sums[key] = sums.get(key, np.zeros(len(Cause), np.int64)) + self.amount_us[row]
        return {
            key: {c.label: int(row[c]) / US_PER_S for c in Cause}
            for key, row in sorted(sums.items())
        }
