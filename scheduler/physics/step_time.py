"""Seconds of one training step, by layout: the rate formula.

One step on one accelerator takes::

    ((compute + memory + dispatch) ** q + communication ** q) ** (1 / q) * (1 + bubble)

* compute: matrix products (6 FLOP per active weight and token) and attention scores at the
  sustained share of the peak of the precision in use, `TrainingConstants`;
* memory: hidden states crossing the memory bus, and the optimizer's state once per step;
* dispatch: fixed time of MoE layers;
* communication: alpha-beta collectives of the layout, `scheduler.physics.step_communication`;
* bubble: (stages - 1) / (micro-batches * chunks), Narayanan et al., arXiv:2104.04473.

Each term falls with the rate behind it, so that more memory bandwidth, peak or link rate
never makes a layout slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.physics.parallelism import FloatArray, IntArray, Layouts
from scheduler.physics.training_constants import (
    FULL_STEP_TOKENS,
    RECOMPUTE_COST,
    TrainingConstants,
)

PRECISION_ALIASES: Final = {"mxfp8": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}
"""Block-scaled formats use the peak of their width."""

WIDE: Final = ("bf16", "fp16", "tf32", "fp32")
"""Formats attention runs in, in order of preference, when the products are narrower."""

FULL: Final = ("tf32", "fp32")
NARROW: Final = ("fp8", "int8", "fp4")

OPTIMIZER_TRAFFIC_BYTES: Final = 30.0
"""Per weight in a step: gradient, master copy and two moments read, all but the first
written, and the 16-bit weight."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is trained, resolved.

    Parameters
    ----------
    model : Model
        The network.
    precision : str
        A key of `AcceleratorType.peak_flops`.
    unit : float
        Tokens of a sequence; 1 for models of samples.
    global_batch : int
        Sequences (or samples) per step.
    lora : bool
        Whether only low-rank adapters are trained: no weight gradients, 4 FLOP per weight.
    stages_behind : int
        Parts of a larger pipeline that follow this one; each keeps one more micro-batch
        in flight here.
    """

    model: Model
    precision: str
    unit: float
    global_batch: int
    lora: bool = False
    stages_behind: int = 0


@dataclass(frozen=True, slots=True)
class StepTerms:
    """What a step consists of, before any fitted constant.

    Scalars, or columns of shape (k,) by layout; those of the accelerator, the rates,
    (types, 1) where several types are rated at once.

    Parameters
    ----------
    product_flops, score_flops : float
        Matrix products and attention scores on one accelerator, without recomputing.
    product_peak, score_peak : float or ndarray
        Dense peaks of the formats they run in; NaN where the type lacks them.
    memory_bytes_per_s : float or ndarray
        Of the device.
    state_bytes, fixed_bytes : float
        Hidden states, to be multiplied by `traffic_passes`; optimizer traffic.
    recompute : ndarray
        Share of the forward pass that is computed again.
    dispatches : ndarray
        MoE layers times micro-batches on one accelerator.
    fullness : float
        Tokens of the step per accelerator (per weight) over `FULL_STEP_TOKENS`, at most 1.
    experts : bool
        Whether the model is a mixture of experts.
    bubble : ndarray
        Share of fill and drain.
    """

    product_flops: FloatArray | float
    score_flops: FloatArray | float
    product_peak: FloatArray | float
    score_peak: FloatArray | float
    memory_bytes_per_s: FloatArray | float
    state_bytes: FloatArray | float
    fixed_bytes: FloatArray | float
    recompute: FloatArray
    dispatches: FloatArray
    fullness: FloatArray | float
    experts: FloatArray | float
    bubble: FloatArray


def step_terms(
    job: TrainingJob, accelerators: Sequence[AcceleratorType], count: int, layouts: Layouts
) -> StepTerms:
    """Return the terms of one step on one accelerator of each type for every layout."""
    model = job.model
    units = job.global_batch * job.unit / count
    per_weight = 4.0 if job.lora else 6.0
    if model.counts_tokens:
        width = float(model.heads * model.head_dim or model.hidden)
        causal = 2.0 if model.kind == "encoder" else 1.0
        product_flops = per_weight * model.active_parameters * units
        score_flops = 6.0 * causal * model.layers * width * job.unit * units
        state_bytes = 2.0 * model.layers * model.hidden * units
        tokens = units
    else:
        product_flops = 3.0 * model.flops_per_sample * units
        score_flops = 0.0
        # the transformer formula keeps 17 values of each hidden state
        state_bytes = 2.0 * model.activation_values_per_sample / 17.0 * units
        tokens = units * max(1.0, model.flops_per_sample / (2 * model.active_parameters))
    moe = model.kind == "moe"
    share = model.active_parameters / model.parameters if moe else 1.0
    passes = layouts.micro_batches * model.layers / layouts.pipeline
    updated = 0.0 if job.lora or model.kind == "dlrm" else model.parameters / count
    peaks = np.array([peaks_of(job.precision, kind) for kind in accelerators])
    rates = np.array([[kind.memory_bytes_per_s] for kind in accelerators])
    return StepTerms(
        product_flops=product_flops,
        score_flops=score_flops,
        product_peak=peaks[:, :1],
        score_peak=peaks[:, 1:],
        memory_bytes_per_s=rates,
        state_bytes=state_bytes,
        fixed_bytes=OPTIMIZER_TRAFFIC_BYTES * updated,
        recompute=layouts.recompute,
        dispatches=passes * moe,
        fullness=min(1.0, tokens * share / FULL_STEP_TOKENS),
        experts=float(moe),
        bubble=(layouts.pipeline - 1) / (layouts.micro_batches * layouts.interleave),
    )


def peaks_of(precision: str, kind: AcceleratorType) -> tuple[float, float]:
    """Return the peaks of matrix products and of attention scores; NaN: not supported."""
    peaks = kind.peak_flops
    own = peaks.get(precision, np.nan)
    wide = next((peaks[p] for p in WIDE if p in peaks), np.nan)
    return own, wide if precision in NARROW else own


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """`StepTime` of many layouts, arrays of one shape."""

    compute: FloatArray
    memory: FloatArray
    communication: FloatArray
    bubble: FloatArray

    @property
    def total(self) -> FloatArray:
        """Sum of the parts."""
        return self.compute + self.memory + self.communication + self.bubble

    def take(self, index: IntArray) -> StepSeconds:
        """Return the steps at `index`."""
        return StepSeconds(
            self.compute.take(index),
            self.memory.take(index),
            self.communication.take(index),
            self.bubble.take(index),
        )


def step_seconds(
    terms: StepTerms,
    communication_s: FloatArray,
    efficiency: float | FloatArray,
    constants: TrainingConstants,
) -> StepSeconds:
    """Return seconds of a step from its terms and its communication.

    Parameters
    ----------
    terms : StepTerms
        Of one type.
    communication_s : ndarray of float64, shape (k,)
        Collectives.
    efficiency : float or ndarray
        `TrainingConstants.efficiency` of the stack.
    constants : TrainingConstants
        Fitted constants.
    """
    compute, memory = busy_seconds(terms, efficiency, constants)
    return joined_seconds(compute, memory, communication_s, terms.bubble, constants)


def busy_seconds(
    terms: StepTerms, efficiency: float | FloatArray, constants: TrainingConstants
) -> tuple[FloatArray, FloatArray]:
    """Return seconds of arithmetic, and of memory traffic and fixed costs."""
    again = 1 + RECOMPUTE_COST * terms.recompute
    bandwidth = terms.memory_bytes_per_s
    products = terms.product_flops / _sustained(
        terms.product_peak, bandwidth, efficiency, constants
    )
    scores = terms.score_flops / _sustained(terms.score_peak, bandwidth, efficiency, constants)
    small = terms.fullness ** -np.where(
        np.asarray(terms.experts) > 0,
        constants.small_step_exponent_moe,
        constants.small_step_exponent,
    )
    compute = (products + constants.attention_cost * scores) * small * again
    traffic = constants.traffic_passes * terms.state_bytes / bandwidth * small * again
    fixed = terms.fixed_bytes / bandwidth * small
    memory = traffic + fixed + constants.dispatch_s * small * terms.dispatches * again
    return compute, memory


def joined_seconds(
    compute: FloatArray,
    memory: FloatArray,
    communication_s: FloatArray,
    bubble: FloatArray,
    constants: TrainingConstants,
) -> StepSeconds:
    """Return a step of which communication hides as much as it can behind the rest."""
    busy = compute + memory
    exposed = _exposed(busy, communication_s, constants.overlap_norm)
    # infinite communication must stay infinite, not become 0 * infinity
    filling = np.where(bubble > 0, busy + exposed, 0.0) * bubble
    return StepSeconds(compute, memory, exposed, filling)


def step_bounds(
    busy: FloatArray, communication_s: FloatArray, bubble: FloatArray, constants: TrainingConstants
) -> tuple[FloatArray, FloatArray]:
    """Return cheap bounds on the total of `joined_seconds`, from below and from above."""
    most = (busy + communication_s) * (1 + bubble)
    least = most * 2 ** (1 / constants.overlap_norm - 1)
    return np.maximum(least, np.maximum(busy, communication_s) * (1 + bubble)), most


def _sustained(
    peak: FloatArray | float,
    bandwidth: FloatArray | float,
    efficiency: float | FloatArray,
    constants: TrainingConstants,
) -> FloatArray | float:
    """Return FLOP/s that matrix products sustain.

    Each operation also moves ``1 / flops_per_byte`` bytes, tiles being finite.
    """
    result = 1 / (1 / (efficiency * peak) + 1 / (constants.flops_per_byte * bandwidth))
    return result


def _exposed(busy: FloatArray, communication: FloatArray, norm: float) -> FloatArray:
    """Return the part of `communication` that `busy` does not hide."""
    with np.errstate(invalid="ignore"):
        ratio = communication / busy
        joined = busy * (1 + ratio**norm) ** (1 / norm) - busy
    result: FloatArray = np.where(np.isfinite(communication), joined, np.inf)
    return result
