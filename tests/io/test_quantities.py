"""Units: what is read, what is refused, and what is suggested instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.io.quantities import (
    BYTES,
    BYTES_PER_S,
    CARBON,
    DIMENSIONS,
    FLOPS,
    MONEY,
    POSITIVE,
    POWER,
    RATE,
    RENT,
    TARIFF,
    TIME,
    Dimension,
    QuantityError,
    Span,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("80 GiB", BYTES, 80 * 2**30),
        ("80 GB", BYTES, 80e9),
        ("400 Gbit/s", BYTES_PER_S, 50e9),
        ("400Gbps", BYTES_PER_S, 50e9),
        ("450 GB/s", BYTES_PER_S, 450e9),
        ("1 GiB/s", BYTES_PER_S, 2**30),
        ("2 h", TIME, 7200.0),
        ("3 us", TIME, 3e-6),
        ("3 µs", TIME, 3e-6),
        ("1.5 MW", POWER, 1.5e6),
        ("312 TFLOP/s", FLOPS, 312e12),
        ("0.08 USD/kWh", TARIFF, 0.08),
        ("80 USD/MWh", TARIFF, 0.08),
        ("450 g/kWh", CARBON, 450.0),
        ("0.45 kg/kWh", CARBON, 450.0),
        ("30 req/min", RATE, 0.5),
        ("25 kUSD", MONEY, 25000.0),
        ("2.6 USD/h", RENT, 2.6),
        (" 1e3 s ", TIME, 1000.0),
        (".5 h", TIME, 1800.0),
    ],
)
def test_reads_si_values(text: str, dimension: Dimension, expected: float) -> None:
    assert parse_quantity(text, dimension) == expected


@pytest.mark.parametrize(
    ("value", "dimension", "message", "nearest"),
    [
        (80, BYTES, "needs a unit", ""),
        (80.0, TIME, "needs a unit", ""),
        ("80", TIME, "needs a unit", ""),
        (True, TIME, "not a time", ""),
        (None, TIME, "not a time", ""),
        (["1 s"], TIME, "not a time", ""),
        ("", TIME, "not a time", ""),
        ("s", TIME, "not a time", ""),
        ("abc", TIME, "not a time", ""),
        ("2 hours", TIME, "unknown unit", "2 h"),
        ("2 H", TIME, "unknown unit", "2 h"),
        ("400 Gb/s", BYTES_PER_S, "unknown unit", "400 Gbit/s"),
        ("400 gbit/s", BYTES_PER_S, "unknown unit", "400 Gbit/s"),
        ("80 Gb", BYTES, "unknown unit", "80 GB"),
        ("80 gib", BYTES, "unknown unit", "80 GiB"),
        ("80 GB", BYTES_PER_S, "unit of size, not of data rate", "80 GB/s"),
        ("3 s", POWER, "unit of time, not of power", ""),
        ("312 TFLOPS", FLOPS, "unknown unit", "312 TFLOP/s"),
        ("1,5 h", TIME, "unknown unit", ""),
        ("1_000 s", TIME, "unknown unit", ""),
        ("nan s", TIME, "finite", ""),
        ("inf s", TIME, "finite", ""),
        (".inf s", TIME, "finite", ""),
        ("1e999 s", TIME, "finite", ""),
        ("-1 s", TIME, "negative time", ""),
        ("9" * 5000 + " s", TIME, "not a time", ""),
    ],
)
def test_refuses_with_the_nearest_unit(
    value: object, dimension: Dimension, message: str, nearest: str
) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_quantity(value, dimension)
    assert message in caught.value.message
    assert caught.value.nearest == nearest
    assert caught.value.allowed


def test_range_is_told_in_the_unit_that_was_written() -> None:
    with pytest.raises(QuantityError) as caught:
        parse_quantity("5 h", TIME, Span(0.0, 7200.0))
    assert caught.value.allowed == "at least 0 and at most 2 h"
    with pytest.raises(QuantityError) as caught:
        parse_quantity("0 GB", BYTES, POSITIVE)
    assert caught.value.allowed == "more than 0 GB"


def test_bits_and_bytes_never_share_a_symbol() -> None:
    for unit in BYTES_PER_S.units:
        assert not unit.endswith("b/s")
    assert len({u.casefold() for u in BYTES.units}) == len(BYTES.units)


@given(
    number=st.floats(1e-3, 1e12),
    choice=st.sampled_from([(d, u) for d in DIMENSIONS for u in sorted(d.units)]),
)
def test_every_unit_reads_back(number: float, choice: tuple[Dimension, str]) -> None:
    dimension, unit = choice
    expected = pytest.approx(number * dimension.units[unit], rel=1e-15)
    assert parse_quantity(f"{number!r} {unit}", dimension) == expected
    assert parse_quantity(f"{number!r}{unit}", dimension) == expected


@given(text=st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for dimension in DIMENSIONS:
        try:
            value = parse_quantity(text, dimension)
        except QuantityError:
            continue
        assert value >= 0
