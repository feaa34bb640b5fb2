"""Physical constants and the integer clock.

Simulated time is counted in whole microseconds, so that sums of accelerator-time are
exact; outside the engine time is float seconds.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

US_PER_S: Final = 1_000_000
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
GIB: Final = 2**30
GB: Final = 10**9
WHOLE_MILLI: Final = 1000
"""One accelerator, in the unit of shares."""


def us_from_s(seconds: float) -> int:
    """Return `seconds` in microseconds, rounded up (durations never shrink).

    Values within a nanosecond of a whole microsecond are taken as that microsecond, so
    that text such as ``0.1`` does not turn into one microsecond more.
    """
    return math.ceil(seconds * US_PER_S - 1e-3)


def all_us_from_s(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return many times in microseconds, each as `us_from_s` does."""
    return np.ceil(seconds * US_PER_S - 1e-3).astype(np.int64)


def s_from_us(microseconds: int) -> float:
    """Return integer microseconds as float seconds."""
    return microseconds / US_PER_S
