"""Number formats of served weights: their bytes, and the compute rate a device has for them."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.physics.inference_constants import InferenceConstants
from scheduler.physics.network import Refusal
from scheduler.physics.training_constants import SHIPPED as TRAINING


@dataclass(frozen=True, slots=True)
class Precision:
    """One number format of weights.

    Parameters
    ----------
    name : str
        ``fp32``, ``bf16``, ``fp16``, ``fp8``, ``int8``, ``fp4``, ``w8a16`` or ``int4``.
    weight_bytes : float
        Per weight, block scales included (NVFP4: one 8-bit scale per 16 weights; int4 as
        in AWQ, arXiv:2306.00978: 4 bytes per 128).
    kv_bytes : float
        Per number in the KV cache: 8 bits with the floating-point formats below 16 bits,
        else 16.
    peak : str
        Key of the native compute peak in `AcceleratorType.peak_flops`, or ``""``: weights
        are widened to 16 bits in registers and multiplied there.
    """

    name: str
    weight_bytes: float
    kv_bytes: float
    peak: str


PRECISIONS = {
    p.name: p
    for p in (
        Precision("fp32", 4.0, 4.0, "fp32"),
        Precision("bf16", 2.0, 2.0, "bf16"),
        Precision("fp16", 2.0, 2.0, "fp16"),
        Precision("fp8", 1.0, 1.0, "fp8"),
        Precision("int8", 1.0, 2.0, "int8"),
        Precision("fp4", 0.5 + 1 / 16, 1.0, "fp4"),
        Precision("w8a16", 1.0, 2.0, ""),
        Precision("int4", 0.5 + 4 / 128, 2.0, ""),
    )
}

_ALIASES = {
    "fp16/bf16": "bf16",
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "w8a8-fp8": "fp8",
    "fp8-e4m3": "fp8",
    "fp8-block": "fp8",
    "w8a8": "int8",
    "smoothquant": "int8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "w4a16": "int4",
    "awq": "int4",
    "gptq": "int4",
}

_WIDE = ("fp32", "bf16", "fp16")
_COMPUTED = (*_WIDE, "fp8")
"""Formats whose name says what products are computed in, not only what weights are kept in."""

_FLOAT_WIDENING_STACKS = ("cuda", "rocm")


def find_precision(name: str) -> Precision:
    """Return the precision called `name` or one of its usual other names.

    Raises
    ------
    InputError
        If there is none.
    """
    folded = name.strip().casefold().replace("_", "-")
    found = PRECISIONS.get(_ALIASES.get(folded, folded))
    if found is None:
        near = nearest_name(folded, [*PRECISIONS, *_ALIASES])
        raise InputError([Fault("unknown precision", "", "", name, ", ".join(PRECISIONS), near)])
    return found


@dataclass(frozen=True, slots=True)
class Sustained:
    """What one accelerator sustains on weights of a precision.

    Parameters
    ----------
    flops_per_s : float
        In matrix products.
    widened : bool
        Whether weights are widened to 16 bits on the way.
    """

    flops_per_s: float
    widened: bool = False


def sustained_flops(
    accelerator: AcceleratorType, precision: Precision, constants: InferenceConstants
) -> Sustained | Refusal:
    """Return the compute rate of one accelerator on weights of `precision`.

    A format of 16 or 32 bits, and fp8, needs its own peak. Smaller formats, and int8, use
    theirs or, where kernels exist that widen weights to 16 bits in registers, the 16-bit
    one, whichever is faster. Such kernels exist for integer weights on every stack, for fp4
    on CUDA and ROCm devices with bf16 (Marlin, arXiv:2408.11743, and Triton).
    """
    peaks = accelerator.peak_flops
    usable = constants.compute_efficiency * stack_factor(accelerator.stack)
    native = peaks.get(precision.peak, 0.0)
    if native and precision.name in _WIDE:
        return Sustained(native * usable)
    if not native and precision.name in _COMPUTED:
        supported = ", ".join(peaks) or "no public peak rate"
        return Refusal(f"{accelerator.name} does not support {precision.name} (it has {supported})")
    sixteen = max(peaks.get("bf16", 0.0), peaks.get("fp16", 0.0))
    widens = precision.name in ("int8", "int4", "w8a16") or (
        precision.name == "fp4" and accelerator.stack in _FLOAT_WIDENING_STACKS and "bf16" in peaks
    )
    widened = sixteen * constants.widening_efficiency if widens else 0.0
    if not native and not widened:
        return Refusal(f"{accelerator.name} does not support {precision.name}")
    if not native:
        return Sustained(widened * usable, widened=True)
    if 0 < sixteen < native:
        native = sixteen * (native / sixteen) ** constants.low_precision_exponent
    return Sustained(max(native, widened) * usable)


def stack_factor(stack: str) -> float:
    """Return the compute efficiency of a software stack against CUDA.

    As found in training runs; published inference runs outside CUDA are few (8 figures of
    one ROCm type, bound by memory).
    """
    return TRAINING.efficiency(stack) / TRAINING.cuda
