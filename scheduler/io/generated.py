"""Parts of a workload file that a generator makes: `generate` entries and demand curves.

A file's fields become keyword arguments: times get the suffix ``_s`` and rates ``_per_s``,
bare numbers and text keep their name. What the generator refuses is reported at the field.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from scheduler.core.errors import InputError, nearest_name
from scheduler.core.workload import FloatArray, Workload
from scheduler.generate import demand_curve, generate
from scheduler.io.quantities import (
    NOT_NEGATIVE,
    RATE,
    TIME,
    Dimension,
    QuantityError,
    Span,
    parse_quantity,
)
from scheduler.io.rows import LONGEST_S
from scheduler.io.schema import Checker, some_of
from scheduler.io.yaml_text import FieldPath

SEED_CAP: Final = 2**63 - 1
_STARTS_LIKE_A_QUANTITY = re.compile(r"\s*[-+]?\.?\d")


def read_generated(check: Checker, at: FieldPath, entry: object) -> Workload | None:
    """Return what one `generate` entry makes, None after noting its faults.

    Parameters
    ----------
    check : Checker
        Of the file.
    at : FieldPath
        Of the entry.
    entry : object
        What the file holds there.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        check.fault(at, "not a generator", "", "kind, seed and the kind's parameters")
        return None
    seed = _seed(check, at, entry)
    parameters = _parameters(check, at, entry, ("kind", "seed", "backlog"))
    before = len(check.faults)
    backlog_s = 0.0
    if "backlog" in entry:
        backlog_s = _quantity(check, (*at, "backlog"), entry["backlog"], TIME, NOT_NEGATIVE)
    if seed is None or parameters is None or len(check.faults) > before:
        return None
    try:
        made = generate(entry["kind"], seed=seed, **parameters)
    except InputError as error:
        _place(check, at, entry, error)
        return None
    release_s = np.maximum(0.0, made.jobs.release_s - backlog_s)
    return replace(made, jobs=replace(made.jobs, release_s=release_s))


def read_demand(check: Checker, at: FieldPath, raw: object) -> tuple[FloatArray, FloatArray] | None:
    """Return (times, rates) of a service's demand, None after noting its faults.

    Parameters
    ----------
    check : Checker
        Of the file.
    at : FieldPath
        Of the demand.
    raw : object
        What the file holds there: a list of [time, rate], or a shape and its parameters.
    """
    if isinstance(raw, dict):
        return _shaped(check, at, raw)
    if not isinstance(raw, list) or not raw:
        check.fault(at, "not a demand", "", "a list of [time, rate], or a shape")
        return None
    before = len(check.faults)
    times: list[float] = []
    rates: list[float] = []
    for i, pair in enumerate(raw):
        if not isinstance(pair, list) or len(pair) != 2:
            check.fault((*at, i), "not a step", "", "[time, rate]")
            continue
        low = times[-1] if times else 0.0
        span = Span(low, LONGEST_S, above=bool(times)) if i else Span(0.0, 0.0)
        times.append(_quantity(check, (*at, i, 0), pair[0], TIME, span))
        rates.append(_quantity(check, (*at, i, 1), pair[1], RATE, NOT_NEGATIVE))
    if len(check.faults) > before:
        return None
    return np.array(times), np.array(rates)


def _shaped(
    check: Checker, at: FieldPath, raw: Mapping[str, Any]
) -> tuple[FloatArray, FloatArray] | None:
    shape = raw.get("shape")
    if not isinstance(shape, str):
        check.fault((*at, "shape"), "missing field")
        return None
    seed = _seed(check, at, raw)
    parameters = _parameters(check, at, raw, ("shape", "seed"))
    if seed is None or parameters is None or not _fits_curve(check, at, parameters):
        return None
    try:
        return demand_curve(shape, seed=seed, **parameters)  # type: ignore[arg-type]
    except InputError as error:
        _place(check, at, raw, error)
        return None


def _fits_curve(check: Checker, at: FieldPath, given: Mapping[str, object]) -> bool:
    """Return whether `given` are keyword arguments of `demand_curve`, all numbers."""
    before = len(check.faults)
    known = inspect.signature(demand_curve).parameters
    written = {_as_written(n): n for n in known if n not in ("shape", "seed")}
    for name, value in given.items():
        if name not in known:
            message = "unknown field, or one of another unit"
            near = nearest_name(_as_written(name), written)
            check.fault((*at, _as_written(name)), message, "", some_of(written), near)
        elif isinstance(value, str):
            check.fault((*at, name), "not a number", value)
    for field, name in written.items():
        if known[name].default is inspect.Parameter.empty and name not in given:
            check.fault((*at, field), "missing field")
    return len(check.faults) == before


def _seed(check: Checker, at: FieldPath, entry: Mapping[str, Any]) -> int | None:
    seed = entry.get("seed", 0)
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= SEED_CAP:
        return seed
    check.fault((*at, "seed"), "not a seed", str(seed), "a whole number of at least 0")
    return None


def _parameters(
    check: Checker, at: FieldPath, entry: Mapping[str, Any], skip: tuple[str, ...]
) -> dict[str, float | int | str] | None:
    """Return the fields of `entry` as keyword arguments, None after noting a fault."""
    found: dict[str, float | int | str] = {}
    before = len(check.faults)
    for key, value in entry.items():
        if key in skip:
            continue
        if isinstance(value, str) and _STARTS_LIKE_A_QUANTITY.match(value):
            is_rate = value.rstrip().endswith(tuple(RATE.units))
            dimension, suffix = (RATE, "_per_s") if is_rate else (TIME, "_s")
            found[key + suffix] = _quantity(check, (*at, key), value, dimension, NOT_NEGATIVE)
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
            found[key] = value
        else:
            check.fault((*at, key), "not a value", "", "a number, quantity or text")
    return found if len(check.faults) == before else None


def _place(check: Checker, at: FieldPath, entry: Mapping[str, Any], error: InputError) -> None:
    """Note the faults of a generator at the fields they are about."""
    for fault in error.faults:
        name = fault.path if fault.path in entry else _as_written(fault.path)
        path = (*at, name) if name else at
        check.fault(path, fault.message, fault.value, fault.allowed, fault.nearest)


def _quantity(
    check: Checker, at: FieldPath, value: object, dimension: Dimension, span: Span
) -> float:
    try:
        return parse_quantity(value, dimension, span)
    except QuantityError as error:
        check.fault(at, error.message, str(value), error.allowed, error.nearest)
        return span.low


def _as_written(name: str) -> str:
    """Return how a keyword with a unit suffix is written in a file."""
    return name.removesuffix("_per_s").removesuffix("_s")
