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

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.physics.network import Network
from scheduler.physics.parallelism import FloatArray, Layouts
from scheduler.physics.step_communication import communication_s
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
    """What a step consists of, before any fitted constant; shape (k,) or scalars.

    Parameters
    ----------
    product_flops, score_flops : float
        Matrix products and attention scores on one accelerator, without recomputing.
    product_peak, score_peak : float
        Dense peaks of the formats they run in.
    memory_bytes_per_s : float
        Of the device.
    state_bytes, fixed_bytes : ndarray
        Hidden states, to be multiplied by `traffic_passes`; optimizer traffic.
    recompute : ndarray
        1 where activations are computed again.
    dispatches : ndarray
        MoE layers times micro-batches on one accelerator.
    fullness : float
        Tokens of the step per accelerator (per weight) over `FULL_STEP_TOKENS`, at most 1.
    experts : bool
        Whether the model is a mixture of experts.
    communication_s, bubble : ndarray
        Collectives; share of fill and drain.
    """

    product_flops: FloatArray
    score_flops: FloatArray
    product_peak: FloatArray
    score_peak: FloatArray
    memory_bytes_per_s: FloatArray
    state_bytes: FloatArray
    fixed_bytes: FloatArray
    recompute: FloatArray
    dispatches: FloatArray
    fullness: FloatArray
    experts: FloatArray
    communication_s: FloatArray
    bubble: FloatArray


def step_terms(
    job: TrainingJob,
    accelerator: AcceleratorType,
    count: int,
    layouts: Layouts,
    network: Network,
) -> StepTerms:
    """Return the terms of one step on one accelerator for every layout."""
    model = job.model
    units = job.global_batch * job.unit / count
    peaks = accelerator.peak_flops
    wide = next(peaks[p] for p in WIDE if p in peaks)
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
    ones = np.ones(len(layouts))
    passes = layouts.micro_batches * model.layers / layouts.pipeline
    updated = 0.0 if job.lora or model.kind == "dlrm" else model.parameters / count
    bubble = (layouts.pipeline - 1) / (layouts.micro_batches * layouts.interleave)
    return StepTerms(
        product_flops=product_flops * ones,
        score_flops=score_flops * ones,
        product_peak=peaks[job.precision] * ones,
        score_peak=(wide if job.precision in NARROW else peaks[job.precision]) * ones,
        memory_bytes_per_s=accelerator.memory_bytes_per_s * ones,
        state_bytes=state_bytes * ones,
        fixed_bytes=OPTIMIZER_TRAFFIC_BYTES * updated * ones,
        recompute=layouts.recompute,
        dispatches=passes * moe,
        fullness=min(1.0, tokens * share / FULL_STEP_TOKENS) * ones,
        experts=moe * ones,
        communication_s=communication_s(model, layouts, network, job.unit, lora=job.lora),
        bubble=bubble,
    )


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """`StepTime` of many layouts, shape (k,) each."""

    compute: FloatArray
    memory: FloatArray
    communication: FloatArray
    bubble: FloatArray

    @property
    def parts(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Columns in the order of `StepTime`."""
        return (self.compute, self.memory, self.communication, self.bubble)

    @property
    def total(self) -> FloatArray:
        """Sum of the parts."""
        return self.compute + self.memory + self.communication + self.bubble


def step_seconds(
    terms: StepTerms, efficiency: float | FloatArray, constants: TrainingConstants
) -> StepSeconds:
    """Return seconds of a step from its terms.

    Parameters
    ----------
    terms : StepTerms
        Shape (k,).
    efficiency : float or ndarray
        `TrainingConstants.efficiency` of the stack.
    constants : TrainingConstants
        Fitted constants.
    """
    again = 1 + RECOMPUTE_COST * terms.recompute
    bandwidth = terms.memory_bytes_per_s
    products = terms.product_flops / _sustained(
        terms.product_peak, bandwidth, efficiency, constants
    )
    scores = terms.score_flops / _sustained(terms.score_peak, bandwidth, efficiency, constants)
    small = terms.fullness ** -np.where(
        terms.experts > 0, constants.small_step_exponent_moe, constants.small_step_exponent
    )
    compute = (products + constants.attention_cost * scores) * again * small
    traffic = constants.traffic_passes * terms.state_bytes * again
    memory = (traffic + terms.fixed_bytes) / bandwidth
    memory = (memory + constants.dispatch_s * terms.dispatches * again) * small
    busy = compute + memory
    exposed = _exposed(busy, terms.communication_s, constants.overlap_norm)
    # infinite communication must stay infinite, not become 0 * infinity
    bubble = np.where(terms.bubble > 0, busy + exposed, 0.0) * terms.bubble
    return StepSeconds(compute, memory, exposed, bubble)


def _sustained(
    peak: FloatArray,
    bandwidth: FloatArray,
    efficiency: float | FloatArray,
    constants: TrainingConstants,
) -> FloatArray:
    """Return FLOP/s that matrix products sustain.

    Each operation also moves ``1 / flops_per_byte`` bytes, tiles being finite.
    """
    result: FloatArray = 1 / (1 / (efficiency * peak) + 1 / (constants.flops_per_byte * bandwidth))
    return result


def _exposed(busy: FloatArray, communication: FloatArray, norm: float) -> FloatArray:
    """Return the part of `communication` that `busy` does not hide."""
    with np.errstate(invalid="ignore"):
        ratio = communication / busy
        joined = busy * (1 + ratio**norm) ** (1 / norm) - busy
    result: FloatArray = np.where(np.isfinite(communication), joined, np.inf)
    return result
