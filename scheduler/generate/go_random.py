"""Go's seeded random numbers, so that the seeds of published Go simulators mean the same here.

An additive lagged Fibonacci generator of 64-bit words, x_k = x_{k-607} + x_{k-273} (Mitchell
and Reeds; Knuth, The Art of Computer Programming, vol. 2, 3.2.2), as in Go's math/rand until
seeds became optional in Go 1.20. Its start state is that of the same generator, seeded with 1,
after 7.8e12 steps, which are done here at once: x^n modulo the characteristic polynomial.

Only for replaying what others published; new work draws from `scheduler.core.random.stream`.
"""

from __future__ import annotations

import functools
from typing import Final

_LAG: Final = 607
_TAP: Final = 273
_WORD: Final = 2**64 - 1
_SEEDS: Final = 2**31 - 1
_STEPS: Final = 7_800_000_000_000
_SLOT_BYTES: Final = 18  # room for a sum of 607 products of two words


class GoRandom:
    """A stream of Go's math/rand.

    Parameters
    ----------
    seed : int
        As given to ``rand.Seed``.
    """

    def __init__(self, seed: int) -> None:
        words = zip(_filled(seed, 40, 20), _start_state(), strict=True)
        self._state = [a ^ b for a, b in words]
        self._tap, self._feed = 0, _LAG - _TAP

    def skip(self, draws: int) -> None:
        """Throw away the next `draws` numbers."""
        for _ in range(draws):
            self._word()

    def integers(self, high: int) -> int:
        """Return a whole number from 0 to `high` - 1 (``rand.Intn`` below 2**31)."""
        if not 0 < high < 2**31:
            raise ValueError(f"no whole number below {high}")
        if high & (high - 1) == 0:
            return self._int31() & (high - 1)
        fair = 2**31 - 2**31 % high
        value = self._int31()
        while value >= fair:
            value = self._int31()
        return value % high

    def permutation(self, n: int) -> list[int]:
        """Return a permutation of 0, ..., n - 1 (``rand.Perm``)."""
        order = [0] * n
        for i in range(n):
            j = self.integers(i + 1)
            order[i] = order[j]
            order[j] = i
        return order

    def shuffle(self, x: list[int]) -> None:
        """Shuffle a list in place (``rand.Shuffle``)."""
        for i in range(len(x) - 1, 0, -1):
            j = self._multiplied(i + 1)
            x[i], x[j] = x[j], x[i]

    def _word(self) -> int:
        self._tap = (self._tap - 1) % _LAG
        self._feed = (self._feed - 1) % _LAG
        word = (self._state[self._feed] + self._state[self._tap]) & _WORD
        self._state[self._feed] = word
        return word

    def _int31(self) -> int:
        return (self._word() & (2**63 - 1)) >> 32

    def _multiplied(self, high: int) -> int:
        """Return a number below `high` by Lemire's method, which ``rand.Shuffle`` uses."""
        unfair = 2**32 % high
        product = ((self._word() >> 31) & (2**32 - 1)) * high
        while product & (2**32 - 1) < unfair:
            product = ((self._word() >> 31) & (2**32 - 1)) * high
        return product >> 32


def _filled(seed: int, first: int, second: int) -> list[int]:
    """Return 607 words from Lehmer's generator x -> 48271 x, three draws each, shifted."""
    x = seed % _SEEDS or 89482311
    for _ in range(20):
        x = 48271 * x % _SEEDS
    words = []
    for _ in range(_LAG):
        draws = []
        for _ in range(3):
            x = 48271 * x % _SEEDS
            draws.append(x)
        words.append((draws[0] << first ^ draws[1] << second ^ draws[2]) & _WORD)
    return words


@functools.cache
def _start_state() -> tuple[int, ...]:
    """Return the state cells, by position, after the long run from seed 1."""
    cells = _filled(1, 20, 10)
    # The cell at position (333 - k) % 607 holds x_k, for the last 607 k below the present one.
    x = [cells[(_LAG - _TAP - 1 - k) % _LAG] for k in range(_LAG)]
    power = _power_of_x(_STEPS)
    for k in range(_LAG, 2 * _LAG):
        x.append((x[k - _LAG] + x[k - _TAP]) & _WORD)
    state = [0] * _LAG
    for k in range(_LAG):
        ahead = sum(c * x[i + k] for i, c in enumerate(power)) & _WORD
        state[(_LAG - _TAP - 1 - _STEPS - k) % _LAG] = ahead
    return tuple(state)


def _power_of_x(n: int) -> list[int]:
    """Return x^n mod x^607 - x^334 - 1, coefficients mod 2^64 from the lowest."""
    power = [1]
    for bit in f"{n:b}":
        packed = int.from_bytes(
            b"".join(c.to_bytes(_SLOT_BYTES, "little") for c in power), "little"
        )
        square = (packed * packed).to_bytes(2 * _LAG * _SLOT_BYTES, "little")
        slots = range(0, len(square), _SLOT_BYTES)
        product = [int.from_bytes(square[i : i + 8], "little") for i in slots]
        if bit == "1":
            product.insert(0, 0)
        for i in range(len(product) - 1, _LAG - 1, -1):
            top = product.pop()
            product[i - _LAG] = (product[i - _LAG] + top) & _WORD
            product[i - _TAP] = (product[i - _TAP] + top) & _WORD
        power = product
    return power
