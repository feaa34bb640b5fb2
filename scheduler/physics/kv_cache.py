"""What a served model keeps in device memory: weights, KV cache, and the runtime's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.core.model import Model
from scheduler.core.units import GIB
from scheduler.physics.precision import Precision

USABLE_MEMORY_SHARE = 0.95
"""Share of the nominal memory a server can hand out; the driver and fragments take the rest."""

RUNTIME_BYTES = 1.0 * GIB
"""Context, captured graphs and communication buffers of one process."""

WORKSPACE_TOKENS = 2048
"""Tokens whose activations are alive at once: prompts are processed in chunks."""

SIXTEEN_BIT_BYTES = 2.0
"""Hidden states and vocabulary matrices stay in 16 bits whatever the other weights are."""


@dataclass(frozen=True, slots=True)
class ServingMemory:
    """Memory of one accelerator of a replica, in bytes.

    Parameters
    ----------
    weights_bytes : float
        Its share of the weights.
    runtime_bytes : float
        Process overhead and activation workspace.
    sequence_bytes : float
        Its share of the cache of one sequence at full length.
    available_bytes : float
        What a server can hand out.
    """

    weights_bytes: float
    runtime_bytes: float
    sequence_bytes: float
    available_bytes: float

    @property
    def max_batch(self) -> float:
        """Whole sequences that fit at once (infinite without a cache, below 1: none)."""
        left = self.available_bytes - self.weights_bytes - self.runtime_bytes
        if left < 0:
            return 0.0
        return math.floor(left / self.sequence_bytes) if self.sequence_bytes > 0 else math.inf

    def used_bytes(self, sequences: float) -> float:
        """Return the bytes in use with `sequences` sequences at full length."""
        return self.weights_bytes + self.runtime_bytes + sequences * self.sequence_bytes


def serving_memory(
    model: Model, precision: Precision, memory_bytes: float, count: int, sequence_tokens: float
) -> ServingMemory:
    """Return the memory of one of `count` accelerators that share a model.

    Parameters
    ----------
    model, precision : Model, Precision
        What is served.
    memory_bytes : float
        Nominal memory of one accelerator.
    count : int
        Tensor-parallel degree.
    sequence_tokens : float
        Prompt and output of one request.
    """
    live = 4 * model.hidden + 2 * model.ffn_hidden * max(model.experts_per_token, 1) / count
    return ServingMemory(
        weights_bytes=weight_bytes(model, precision) / count,
        runtime_bytes=RUNTIME_BYTES + WORKSPACE_TOKENS * live * SIXTEEN_BIT_BYTES,
        sequence_bytes=(
            sequence_tokens * kv_bytes_per_token(model, precision) * kv_share(model, count)
        ),
        available_bytes=memory_bytes * USABLE_MEMORY_SHARE,
    )


def weight_bytes(model: Model, precision: Precision) -> float:
    """Return the bytes of all weights; the vocabulary matrix stays in 16 bits or more."""
    vocabulary = model.vocabulary * model.hidden
    return (model.parameters - vocabulary) * precision.weight_bytes + vocabulary * max(
        precision.weight_bytes, SIXTEEN_BIT_BYTES
    )


def touched_weight_bytes(model: Model, precision: Precision, tokens: float) -> float:
    """Return the weight bytes one pass over `tokens` tokens reads.

    With uniform routing a pass touches ``E * (1 - (1 - k / E) ** tokens)`` of E experts in
    expectation (a bin is missed by all tokens with the last factor's probability).
    """
    everything = weight_bytes(model, precision)
    if model.expert_parameters <= 0:
        return everything
    missed = float((1 - model.experts_per_token / model.experts) ** tokens)
    return everything - missed * model.expert_parameters * precision.weight_bytes


def kv_bytes_per_token(model: Model, precision: Precision) -> float:
    """Return the KV cache of one token over all layers (GQA: Ainslie, arXiv:2305.13245)."""
    return model.layers * model.kv_values_per_token_layer * precision.kv_bytes


def kv_share(model: Model, count: int) -> float:
    """Return the share of a token's KV cache that each of `count` accelerators keeps.

    Heads are dealt out until each accelerator has one; a latent cache (MLA,
    arXiv:2405.04434) belongs to no head and is kept whole by all.
    """
    per_head = 2 * model.head_dim
    if not per_head or model.kv_values_per_token_layer < per_head * model.kv_heads:
        return 1.0
    return max(1 / count, 1 / model.kv_heads)
