"""How fast one accelerator type is against another when only a run time is known.

The formula is the type-dependent part of the training throughput model that was fitted to
published training runs: sustained FLOP/s = stack efficiency x 16-bit peak x (peak of the
precision over the 16-bit peak)^0.63 x (peak FLOP per byte of memory bandwidth / 200)^-0.28.
"""

from __future__ import annotations

from scheduler.core.cluster import AcceleratorType

STACK_EFFICIENCY = {"cuda": 0.56, "tpu": 0.58, "cann": 0.44, "rocm": 0.42, "gaudi": 0.57}
"""Sustained share of the peak by software stack; medians of published training runs."""

OTHER_STACK_EFFICIENCY = 0.42
"""Stacks without published runs are taken as the least of those known."""

PRECISION_EXPONENT = 0.63
BYTE_RATIO_EXPONENT = -0.28
BYTE_RATIO_FLOPS_PER_BYTE = 200.0
HALF_PRECISIONS = ("bf16", "fp16", "tf32", "fp32")
"""The 16-bit peak is the first of these that a type has."""


def sustained_flops(accelerator: AcceleratorType, precision: str | None = None) -> float:
    """Return the FLOP/s that a generic training job sustains on one accelerator.

    Parameters
    ----------
    accelerator : AcceleratorType
        The device.
    precision : str or None
        Number format of the job; None: 16 bits, or the widest the device has instead.

    Returns
    -------
    float
        FLOP/s; 0 where the device has no floating-point peak at all, or not `precision`.
    """
    peaks = accelerator.peak_flops
    half = next((peaks[p] for p in HALF_PRECISIONS if peaks.get(p)), 0.0)
    if half <= 0 or (precision is not None and not peaks.get(precision)):
        return 0.0
    rate = half * STACK_EFFICIENCY.get(accelerator.stack, OTHER_STACK_EFFICIENCY)
    if precision is not None:
        rate *= (peaks[precision] / half) ** PRECISION_EXPONENT
    ratio = half / accelerator.memory_bytes_per_s / BYTE_RATIO_FLOPS_PER_BYTE
    return rate * float(ratio**BYTE_RATIO_EXPONENT)
