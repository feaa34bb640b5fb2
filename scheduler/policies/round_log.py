"""What a solving policy notes of its rounds, thinned so that it never grows large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from scheduler.core.units import US_PER_S

MOST_ROUNDS: Final = 1000


class RoundLog:
    """Instants, gaps and prices of rounds; of many, every second, fourth, ... is kept.

    Parameters
    ----------
    types : sequence of str
        Accelerator types, in the order of the prices.
    """

    def __init__(self, types: Sequence[str]) -> None:
        self._columns: dict[str, list[float]] = {"at_s": [], "gap": []}
        self._columns |= {f"price {name}": [] for name in types}
        self._every = 1
        self._seen = 0

    def note(self, at_us: int, gap: float, prices: Sequence[float]) -> None:
        """Keep a round.

        Parameters
        ----------
        at_us : int
            When it was.
        gap : float
            Relative distance of its answer from its bound.
        prices : sequence of float, shape (types,)
            What one more accelerator of each type was worth to it.
        """
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        for column, value in zip(
            self._columns.values(), (at_us / US_PER_S, gap, *prices), strict=True
        ):
            column.append(float(value))
        if len(self._columns["at_s"]) > MOST_ROUNDS:
            self._columns = {name: column[::2] for name, column in self._columns.items()}
            self._every *= 2

    def columns(self) -> Mapping[str, tuple[float, ...]]:
        """Return what was kept, by column."""
        return {name: tuple(column) for name, column in self._columns.items()}
