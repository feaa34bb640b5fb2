"""A neural network as the throughput and memory formulas need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

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
    activation_values_per_sample : float
        Numbers a backward pass needs kept for one sample, for kinds without tokens; 0 for
        transformers, where they follow from the shape.
    aliases : tuple of str
        Other names it goes by.
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
    activation_values_per_sample: float = 0.0
    aliases: tuple[str, ...] = ()

    @property
    def counts_tokens(self) -> bool:
        """Whether one unit of its work is a token (otherwise a sample)."""
        return self.flops_per_sample == 0

    @property
    def expert_parameters(self) -> float:
        """Weights in routed experts, from the total and the active count.

        ``total = rest + experts`` and ``active = rest + experts * k / E``.
        """
        if self.experts <= self.experts_per_token:
            return 0.0
        idle_share = 1 - self.experts_per_token / self.experts
        return (self.parameters - self.active_parameters) / idle_share


WIDTH_OVER_DEPTH: Final = 128.0
"""Hidden units per layer of a model that states neither (Kaplan et al., arXiv:2001.08361, find
the loss flat in this ratio; large models sit near it)."""


def usual_shape(active_parameters: float) -> tuple[int, int]:
    """Return layers and hidden units of a transformer known by its size only.

    Parameters
    ----------
    active_parameters : float
        Weights that a token passes through: ``12 layers hidden**2``.
    """
    hidden = max(1, round((WIDTH_OVER_DEPTH * active_parameters / 12) ** (1 / 3)))
    return max(1, round(hidden / WIDTH_OVER_DEPTH)), hidden
