"""A neural network as the throughput and memory formulas need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModelKind = Literal["dense", "moe", "encoder", "vision", "diffusion", "dlrm"]


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the model catalogue.

    Parameters
    ----------
    name : str
        Unique name, for example ``"llama-3-70b"``.
    kind : str
        Architecture class.
    parameters, active_parameters : float
        All weights, and those that one token passes through.
    layers, hidden, heads, kv_heads, head_dim, ffn_hidden, vocabulary : int
        Transformer shape; 0 where the kind has none.
    experts, experts_per_token : int
        Routed experts per MoE layer and those active per token; 0 for dense.
    kv_values_per_token_layer : float
        Numbers kept per token and layer in the KV cache (2 * kv_heads * head_dim, or the
        compressed size for latent attention).
    flops_per_sample : float
        Forward FLOPs of one sample for kinds without tokens; 0 for transformers.
    source : str
        Where the figures come from.
    """

    name: str
    kind: ModelKind
    parameters: float
    active_parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_hidden: int
    vocabulary: int
    experts: int = 0
    experts_per_token: int = 0
    kv_values_per_token_layer: float = 0.0
    flops_per_sample: float = 0.0
    source: str = ""
