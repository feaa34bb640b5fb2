"""Numbers and names as people read them: units, bars, and text that cannot act on a terminal."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Final

NAME_LIMIT: Final = 60
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def plain(name: str, limit: int = NAME_LIMIT) -> str:
    """Return a user's name without control or direction characters, cut to `limit`.

    Escape sequences in a job or file name could otherwise retitle the terminal, move the
    cursor or hide text. What is not printable becomes the replacement character.
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return shown if len(shown) <= limit else shown[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def time_unit(seconds: Iterable[float]) -> tuple[float, str]:
    """Return the length in seconds and the name of the unit that suits all of `seconds`.

    One column of a table has one unit, so that its figures compare at a glance: the largest
    unit of which the smallest positive figure is at least one.
    """
    positive = [s for s in seconds if math.isfinite(s) and s > 0]
    smallest = min(positive, default=0.0)
    return next((u for u in _UNITS if smallest >= u[0]), _UNITS[-1])


def duration(seconds: float) -> str:
    """Return a duration with its own unit, for sentences."""
    length, unit = time_unit([seconds])
    return f"{number(seconds / length)} {unit}"


def number(value: float) -> str:
    """Return a figure with three digits or so, ``-`` where there is none."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.{_digits(size)}f}"


def spread(value: float, half_width: float, sign: str = "") -> str:
    """Return a figure with half its interval, both to the same digit."""
    if not (math.isfinite(value) and math.isfinite(half_width)):
        return number(value)
    digits = _digits(abs(value))
    return f"{value:{sign},.{digits}f} ±{half_width:,.{digits}f}"


def count(value: float) -> str:
    """Return a mean count: whole where it is whole."""
    return f"{value:,.0f}" if value == round(value) else number(value)


def _digits(size: float) -> int:
    return 0 if size >= 100 else 1 if size >= 10 else 2


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction in percent, ``-`` where there is none."""
    return f"{100 * fraction:.{digits}f} %" if math.isfinite(fraction) else "-"


def bar(fraction: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of up to `width` characters for a fraction in [0, 1]."""
    filled = min(max(fraction, 0.0), 1.0) * width if math.isfinite(fraction) else 0.0
    if ascii_only:
        return "#" * round(filled)
    whole, rest = divmod(round(filled * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def slug(name: str) -> str:
    """Return a file name for a user's name: itself where harmless, else cut and hashed."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:NAME_LIMIT].lstrip(".")
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
