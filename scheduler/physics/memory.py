"""What one accelerator has to hold in a training step.

References
----------
Rajbhandari et al., "ZeRO", arXiv:1910.02054: 16 bytes per parameter of mixed-precision Adam
and how they shard. Korthikanti et al., arXiv:2205.05198, section 4: 34 bytes of activations
per token, layer and hidden unit where attention scores are not kept; pipelines keep up to
one micro-batch per stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.model import Model
from scheduler.physics.parallelism import RECOMPUTE, FloatArray, Layouts

WEIGHT_BYTES: Final = 2.0
GRADIENT_BYTES: Final = 2.0
OPTIMIZER_BYTES: Final = 12.0
"""Master weights and two moments in 32 bits."""

FULL_WEIGHT_BYTES: Final = 4.0
FULL_OPTIMIZER_BYTES: Final = 8.0
"""Jobs in fp32 or tf32: weights and gradients in 32 bits, no master copy."""

TRAINED_SHARE_LORA: Final = 0.01
"""Share of the weights that low-rank adapters train (Hu et al., arXiv:2106.09685)."""

SELECTIVE_SHARE: Final = 0.6
"""Activations left when norms and the feed-forward activation are computed again: 20 of the
34 bytes (Megatron-Core, fine-grained recomputation)."""

EMBEDDING_STATE_BYTES: Final = 8.0
"""Per weight of a recommender's tables: fp32 and a row-wise optimizer state."""

USABLE_SHARE: Final = 0.94
"""Of the device memory; the rest goes to the runtime, library buffers and fragments."""


@dataclass(frozen=True, slots=True)
class MemoryBytes:
    """Bytes on one accelerator.

    Parameters
    ----------
    parameters, gradients, optimizer, activations : float
        By use.
    """

    parameters: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.parameters + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True)
class MemoryColumns:
    """`MemoryBytes` of many layouts, shape (k,) each."""

    parameters: FloatArray
    gradients: FloatArray
    optimizer: FloatArray
    activations: FloatArray

    @property
    def total(self) -> FloatArray:
        """Sum of the parts."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    def row(self, i: int) -> MemoryBytes:
        """Return one layout's bytes."""
        return MemoryBytes(
            float(self.parameters[i]),
            float(self.gradients[i]),
            float(self.optimizer[i]),
            float(self.activations[i]),
        )


def local_parameters(model: Model, layouts: Layouts) -> FloatArray:
    """Return the weights one accelerator works with, before sharding by ZeRO."""
    slices = layouts.tensor * layouts.pipeline
    experts = model.expert_parameters
    dealt = layouts.pipeline * np.maximum(layouts.expert, layouts.tensor)
    return (model.parameters - experts) / slices + experts / dealt


def training_memory(
    model: Model,
    layouts: Layouts,
    count: int,
    unit: float,
    *,
    full_precision: bool = False,
    lora: bool = False,
    stages_behind: int = 0,
) -> MemoryColumns:
    """Return what one accelerator holds, the fullest pipeline stage counted.

    Parameters
    ----------
    model : Model
        What is trained.
    layouts : Layouts
        Candidates.
    count : int
        Accelerators.
    unit : float
        Tokens of one sequence; 1 for models of samples.
    full_precision : bool
        32-bit weights and activations.
    lora : bool
        Whether only low-rank adapters are trained.
    stages_behind : int
        Micro-batches in flight for parts of a larger pipeline that follow.
    """
    if model.kind == "dlrm":
        # the tables are dealt out row by row over the whole gang
        state = np.full(len(layouts), model.parameters * EMBEDDING_STATE_BYTES / count)
        none = np.zeros(len(layouts))
        return MemoryColumns(state, none, none, _activations(model, layouts, unit, 4.0, 0))
    local = local_parameters(model, layouts)
    shards = np.where(layouts.sharded > 0, layouts.data * layouts.context, 1.0)
    floor = model.parameters / count  # ZeRO-1 deals the optimizer state over everything
    trained = TRAINED_SHARE_LORA if lora else 1.0
    width = FULL_WEIGHT_BYTES if full_precision else WEIGHT_BYTES
    state_bytes = FULL_OPTIMIZER_BYTES if full_precision else OPTIMIZER_BYTES
    held = np.maximum(local / shards, floor)
    gradient_width = FULL_WEIGHT_BYTES if full_precision else GRADIENT_BYTES
    return MemoryColumns(
        parameters=width * held,
        gradients=gradient_width * trained * held,
        optimizer=np.full(len(layouts), state_bytes * trained * floor),
        activations=_activations(model, layouts, unit, width, stages_behind),
    )


def _activations(
    model: Model, layouts: Layouts, unit: float, width: float, behind: int
) -> FloatArray:
    """Return the activations of the micro-batches in flight on the first stage, or the last."""
    if not model.counts_tokens:
        # recomputing by blocks keeps the square root of what there was, about a quarter
        kept_share = np.where(layouts.recompute > 0, 0.25, 1.0)
        return kept_share * width * layouts.micro_batch * model.activation_values_per_sample
    tokens = layouts.micro_batch * unit / layouts.context
    wide = width / WEIGHT_BYTES
    kept = wide * activation_bytes_per_token_layer(model) / layouts.tensor
    boundary = wide * 2.0 * model.hidden / layouts.tensor
    level = layouts.recompute
    saved = np.where(level > 0, SELECTIVE_SHARE, 1.0) * kept
    per_layer = np.where(level >= RECOMPUTE["full"], boundary, saved)
    per_layer = np.where(level == RECOMPUTE["half"], (boundary + saved) / 2, per_layer)
    layers = model.layers / layouts.pipeline
    in_flight = np.minimum(layouts.micro_batches, layouts.pipeline + behind)
    extra = 1 + (layouts.pipeline - 1) / (layouts.pipeline * layouts.interleave)
    more = np.where(layouts.pipeline > 1, extra, 1.0)
    logits = 4.0 * model.vocabulary / layouts.tensor  # loss in 32 bits, fused
    one_layer = np.where(level > 0, kept, 0.0)
    first = per_layer * layers * in_flight * more + one_layer
    last = per_layer * layers * more + one_layer + logits
    result: FloatArray = tokens * np.maximum(first, last)
    return result


def activation_bytes_per_token_layer(model: Model) -> float:
    """Return bytes kept per token and layer in 16 bits, without attention scores.

    18 h for attention, norms and residuals, and twice the feed-forward width in use; 34 h
    where that is 8 h (Korthikanti et al.). The width follows from the active weights.
    """
    per_layer = model.active_parameters / max(model.layers, 1)
    feed_forward = max(0.0, per_layer / max(model.hidden, 1) - 4 * model.hidden)
    return 18.0 * model.hidden + 2.0 * feed_forward
