"""Demand of a service from recorded requests, as a workload file asks for it.

Fields of ``demand`` in a service section::

    demand:
      trace: AzureLLMInferenceTrace_conv.csv.gz   # beside the workload file or below
      format: azure        # by default recognised (`scheduler.io.request_traces`)
      step: 60 s           # of the curve
      peak: 20 req/s       # scale the curve to this peak; or
      scale: 2             # multiply it
      repeat: 7 d          # say the recording again and again for so long

Where the section itself names no prompt or output tokens, those of the trace hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from scheduler.core.errors import InputError, nearest_name
from scheduler.core.requests import RequestTrace
from scheduler.core.workload import FloatArray
from scheduler.io.beside import beside
from scheduler.io.quantities import RATE, TIME, Dimension, QuantityError, Span, parse_quantity
from scheduler.io.request_traces import load_requests
from scheduler.io.rows import LONGEST_S
from scheduler.io.schema import Checker
from scheduler.io.yaml_text import FieldPath

FIELDS: Final = ("trace", "format", "step", "peak", "scale", "repeat")
MOST_STEPS: Final = 5_000_000
STEP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class TracedDemand:
    """A demand curve and the mean request behind it (NaN where the trace does not tell).

    `standing`: the trace tells instances that stand rather than requests that arrive.
    """

    times_s: FloatArray
    demand_per_s: FloatArray
    prompt_tokens: float
    output_tokens: float
    standing: bool = False


def is_traced(raw: object) -> bool:
    """Return whether a demand names a trace."""
    return isinstance(raw, dict) and "trace" in raw


def read_traced(
    check: Checker, at: FieldPath, raw: Mapping[str, Any], folder: Path | None
) -> TracedDemand | None:
    """Return the demand that a trace gives, None after noting its faults.

    Parameters
    ----------
    check : Checker
        Of the workload file.
    at : FieldPath
        Of the demand.
    raw : mapping
        What the file holds there.
    folder : Path or None
        Where the workload file lies; None: it may name no files.
    """
    before = len(check.faults)
    for name in raw:
        if name not in FIELDS:
            near = nearest_name(str(name), FIELDS)
            check.fault((*at, str(name)), "unknown field", "", ", ".join(FIELDS), near)
    written, chosen = raw["trace"], raw.get("format")
    for field, value in (("trace", written), ("format", chosen)):
        if not isinstance(value, str) and (field == "trace" or value is not None):
            check.fault((*at, field), "not text", str(value))
    step_s = _field(check, at, raw, "step", TIME, STEP_S)
    repeat_s = _field(check, at, raw, "repeat", TIME, 0.0)
    peak = _field(check, at, raw, "peak", RATE, 0.0)
    scale = raw.get("scale", 1.0)
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if not number or not 0 < scale < math.inf:
        check.fault((*at, "scale"), "not a factor", str(scale), "a number above 0")
    if "scale" in raw and "peak" in raw:
        check.fault(at, "the height is given twice", "", "either peak or scale")
    if len(check.faults) > before:
        return None
    path = beside(check, folder, (*at, "trace"), str(written))
    if path is None:
        return None
    try:
        trace = load_requests(path, format=chosen)
    except InputError as error:
        check.faults += error.faults
        return None
    steps = max(trace.span_s, repeat_s) / step_s
    if steps > MOST_STEPS:
        check.fault((*at, "step"), "too many steps", f"{steps:.3g}", f"at most {MOST_STEPS}")
        return None
    times, rates = repeated(trace, step_s, repeat_s)
    highest = float(rates.max())
    if peak > 0 and highest > 0:
        rates = rates * (peak / highest)
    return TracedDemand(times, rates * float(scale), *trace.mean_tokens(), trace.standing)


def repeated(
    trace: RequestTrace, step_s: float, repeat_s: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Return the rate curve of `trace`, played again until `repeat_s` where that is longer."""
    times, rates = trace.curve(step_s)
    period_s = max(float(times[-1]) + step_s, trace.span_s)
    rounds = max(1, math.ceil(repeat_s / period_s - 1e-9))
    times = (times[None, :] + period_s * np.arange(rounds)[:, None]).ravel()
    rates = np.tile(rates, rounds)
    if repeat_s > 0:
        kept = times < repeat_s
        times, rates = times[kept], rates[kept]
    return times, rates


def _field(
    check: Checker,
    at: FieldPath,
    raw: Mapping[str, Any],
    name: str,
    dimension: Dimension,
    default: float,
) -> float:
    if name not in raw:
        return default
    try:
        return parse_quantity(raw[name], dimension, Span(0.0, LONGEST_S, above=True))
    except QuantityError as error:
        check.fault((*at, name), error.message, str(raw[name]), error.allowed, error.nearest)
        return default
