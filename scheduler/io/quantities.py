"""Numbers with units: ``"80 GiB"`` to SI floats.

GB is 10**9 and GiB 2**30 bytes. Bits are written out (``Gbit/s`` or ``Gbps``), so that a
bit and a byte never share a symbol. A number without a unit is refused wherever the field
has a dimension.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_TEXT = re.compile(
    r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:\.?inf|\.?nan))"
    r"\s*(?P<unit>\S.*?)?\s*",
    re.IGNORECASE | re.ASCII,
)
_LONGEST = 100  # characters; no quantity that a person writes is longer


class QuantityError(ValueError):
    """A quantity that cannot be read.

    Parameters
    ----------
    message : str
        What is wrong, without a full stop.
    allowed, nearest : str
        As in `scheduler.core.errors.Fault`.
    """

    def __init__(self, message: str, allowed: str = "", nearest: str = "") -> None:
        super().__init__(message)
        self.message, self.allowed, self.nearest = message, allowed, nearest


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a quantity measures.

    Parameters
    ----------
    name : str
        For messages: ``"time"``.
    units : mapping of str to float
        Accepted unit symbols and their size in SI.
    example, shown : str
        A well-formed value, and the units in short, for messages.
    synonyms : mapping of str to str
        Spellings that are refused with a hint, because they are ambiguous or sloppy.
    """

    name: str
    units: Mapping[str, float]
    example: str
    shown: str
    synonyms: Mapping[str, str]

    @property
    def allowed(self) -> str:
        """The accepted form, for messages."""
        return f"a number with a unit, such as {self.example!r} ({self.shown})"


def _prefixed(prefixes: Mapping[str, float], symbol: str, size: float = 1.0) -> dict[str, float]:
    return {f"{p}{symbol}": factor * size for p, factor in prefixes.items()}


def _data_rate_synonyms() -> dict[str, str]:
    pairs = {f"{p}b/s": f"{p}bit/s" for p in _DECIMAL}
    pairs |= {f"{p}Bps": f"{p}B/s" for p in (*_DECIMAL, *_BINARY)}
    return pairs | {f"{p}bits/s": f"{p}bit/s" for p in _DECIMAL}


TIME: Final = Dimension(
    "time",
    {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
    | {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0},
    "30 s",
    "ns us ms s min h d w",
    {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "min", "mins": "min"}
    | {"minute": "min", "minutes": "min", "hr": "h", "hrs": "h", "hour": "h", "hours": "h"}
    | {"day": "d", "days": "d", "week": "w", "weeks": "w", "μs": "us"},
)
BYTES: Final = Dimension(
    "size",
    _prefixed(_DECIMAL | _BINARY, "B"),
    "80 GiB",
    "B kB MB GB TB, KiB MiB GiB TiB",
    {"Gb": "GB", "gb": "GB", "gib": "GiB", "Mb": "MB", "G": "GiB", "GBytes": "GB", "bytes": "B"},
)
BYTES_PER_S: Final = Dimension(
    "data rate",
    _prefixed(_DECIMAL | _BINARY, "B/s")
    | _prefixed(_DECIMAL, "bit/s", 0.125)
    | _prefixed(_DECIMAL, "bps", 0.125),
    "400 Gbit/s",
    "Mbit/s Gbit/s Tbit/s, MB/s GB/s TB/s",
    _data_rate_synonyms() | {"Gbit": "Gbit/s", "GB": "GB/s", "G": "Gbit/s"},
)
POWER: Final = Dimension(
    "power",
    {"W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9},
    "1.5 MW",
    "W kW MW",
    {"KW": "kW", "kw": "kW", "watt": "W", "watts": "W", "mW": "MW", "w": "W"},
)
FLOPS: Final = Dimension(
    "compute rate",
    _prefixed({p: _DECIMAL[p] for p in "GTPE"}, "FLOP/s"),
    "312 TFLOP/s",
    "GFLOP/s TFLOP/s PFLOP/s",
    {"TFLOPS": "TFLOP/s", "TFLOPs": "TFLOP/s", "TFLOP": "TFLOP/s", "PFLOPS": "PFLOP/s"}
    | {"TOPS": "TFLOP/s", "TOP/s": "TFLOP/s"},
)
RATE: Final = Dimension(
    "request rate",
    {"req/s": 1.0, "req/min": 1 / 60.0, "req/h": 1 / 3600.0},
    "20 req/s",
    "req/s req/min req/h",
    {"1/s": "req/s", "/s": "req/s", "rps": "req/s", "requests/s": "req/s", "qps": "req/s"}
    | {"Hz": "req/s"},
)
TARIFF: Final = Dimension(
    "energy price",
    {"USD/kWh": 1.0, "USD/MWh": 1e-3},
    "0.08 USD/kWh",
    "USD/kWh USD/MWh",
    {"usd/kwh": "USD/kWh", "$/kWh": "USD/kWh", "EUR/kWh": "USD/kWh"},
)
CARBON: Final = Dimension(
    "carbon intensity",
    {"g/kWh": 1.0, "kg/MWh": 1.0, "kg/kWh": 1e3},
    "450 g/kWh",
    "g/kWh kg/MWh kg/kWh",
    {"gCO2/kWh": "g/kWh", "gCO2e/kWh": "g/kWh"},
)
MONEY: Final = Dimension(
    "price", {"USD": 1.0, "kUSD": 1e3}, "25000 USD", "USD kUSD", {"$": "USD", "usd": "USD"}
)
RENT: Final = Dimension(
    "rent", {"USD/h": 1.0}, "2.6 USD/h", "USD/h", {"$/h": "USD/h", "USD/hour": "USD/h"}
)

DIMENSIONS: Final = (TIME, BYTES, BYTES_PER_S, POWER, FLOPS, RATE, TARIFF, CARBON, MONEY, RENT)


@dataclass(frozen=True, slots=True)
class Span:
    """Permitted values, both ends included unless `above` is given.

    Parameters
    ----------
    low, high : float
        Ends; infinite where there is none.
    above : bool
        Whether `low` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'more than' if self.above else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"at most {self.high:g}")
        return " and ".join(parts)


POSITIVE: Final = Span(0.0, above=True)
NOT_NEGATIVE: Final = Span(0.0)


def parse_quantity(value: object, dimension: Dimension, span: Span = NOT_NEGATIVE) -> float:
    """Return `value` in SI units.

    Parameters
    ----------
    value : object
        What the file holds; only text can be right.
    dimension : Dimension
        What is measured.
    span : Span
        Permitted values, in SI units.

    Raises
    ------
    QuantityError
        If `value` is not a finite number with a unit of `dimension`, or outside `span`.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise QuantityError(f"a {dimension.name} needs a unit", dimension.allowed)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise QuantityError(f"not a {dimension.name}", dimension.allowed)
    match = _TEXT.fullmatch(value)
    if match is None:
        raise QuantityError(f"not a {dimension.name}", dimension.allowed)
    unit = match["unit"]
    if unit is None:
        raise QuantityError(f"a {dimension.name} needs a unit", dimension.allowed)
    if unit not in dimension.units:
        near = nearest_unit(unit, dimension)
        hint = f"{match['number']} {near}" if near else ""
        raise QuantityError(_wrong_unit(unit, dimension), dimension.allowed, hint)
    number = float(match["number"].lower().replace(".inf", "inf").replace(".nan", "nan"))
    size = dimension.units[unit]
    result = number * size if size >= 1 else number / round(1 / size)  # 5 us is 5e-6 exactly
    if not math.isfinite(result):
        raise QuantityError(f"a {dimension.name} must be a finite number", dimension.allowed)
    if result < 0 <= span.low:
        raise QuantityError(f"negative {dimension.name}", _in_units(span, dimension, unit))
    if result not in span:
        raise QuantityError(f"{dimension.name} out of range", _in_units(span, dimension, unit))
    return result


def nearest_unit(unit: str, dimension: Dimension) -> str:
    """Return the accepted unit nearest to `unit`, or ``""`` when none is close."""
    if unit in dimension.synonyms:
        return dimension.synonyms[unit]
    folded = {u.casefold(): u for u in dimension.units}
    if unit.casefold() in folded:
        return folded[unit.casefold()]
    match = difflib.get_close_matches(unit, list(dimension.units), n=1, cutoff=0.6)
    return match[0] if match else ""


def _wrong_unit(unit: str, dimension: Dimension) -> str:
    others = [d.name for d in DIMENSIONS if d is not dimension and unit in d.units]
    if others:
        return f"{unit!r} is a unit of {others[0]}, not of {dimension.name}"
    return f"unknown unit of {dimension.name}"


def _in_units(span: Span, dimension: Dimension, unit: str) -> str:
    size = dimension.units[unit]
    return f"{Span(span.low / size, span.high / size, span.above)} {unit}"
