"""Time the collectives of one training step take, for many layouts at once.

Alpha-beta formulas as in `scheduler.physics.collectives`, latencies those of trees, in two
levels: ranks of a group that share a scale-up domain, and the domains. Groups are laid out
tensor first, then context, experts and data, pipeline last, so that the chattiest are the
closest. Volumes: Shoeybi et al., arXiv:1909.08053 (tensor), Rajbhandari et al.,
arXiv:1910.02054 (data), Lepikhin et al., arXiv:2006.16668 (experts), Narayanan et al.,
arXiv:2104.04473 (pipeline), Liu et al., arXiv:2310.01889 (context).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from scheduler.core.model import Model
from scheduler.physics.memory import TRAINED_SHARE_LORA, local_parameters
from scheduler.physics.network import Network
from scheduler.physics.parallelism import FloatArray, Layouts

HIDDEN_BYTES: Final = 2.0
"""Hidden states and gradients travel in 16 bits whatever the matrix products use."""

ASSUMED_EXPERTS_PER_TOKEN: Final = 8

EXPOSED_DISPATCH: Final = 0.25
"""Share of the expert all-to-alls that is not interleaved with the computation of another
micro-batch (DualPipe and the like), before `TrainingConstants.overlap_norm`. Published runs
fit any value below 0.5 equally well."""


def communication_s(
    model: Model, layouts: Layouts, network: Network, unit: float, *, lora: bool = False
) -> FloatArray:
    """Return seconds of communication in one step on one accelerator, shape (k,).

    Parameters
    ----------
    model : Model
        What is trained.
    layouts : Layouts
        Candidates.
    network : Network
        Between the accelerators of the gang.
    unit : float
        Tokens of one sequence; 1 for models of samples.
    lora : bool
        Whether only low-rank adapters are trained (their gradients alone are exchanged).

    Returns
    -------
    ndarray of float64
        Infinite where a layout needs a connection that is not there.
    """
    network = _ordered(network)
    total = _data_s(model, layouts, network, lora)
    if model.kind == "dlrm":
        samples = layouts.micro_batch * layouts.micro_batches
        pooled = HIDDEN_BYTES * samples * model.heads * model.head_dim
        total = total + 2 * _all_to_all_s(pooled, layouts.data, np.ones_like(pooled), network)
    if not model.counts_tokens:
        return total
    passes = layouts.micro_batches * model.layers / layouts.pipeline
    tokens = layouts.micro_batch * unit / layouts.context
    states = HIDDEN_BYTES * tokens * model.hidden
    one = np.ones_like(states)
    # two reduce-scatter and all-gather pairs forward, two backward
    total = total + passes * 4 * 2 * _gather_s(states, layouts.tensor, one, network)
    keys = 2 * HIDDEN_BYTES * tokens * _key_width(model)
    blocks = keys * layouts.context / np.minimum(layouts.tensor, max(model.kv_heads, 1))
    total = total + passes * 3 * _gather_s(blocks, layouts.context, layouts.tensor, network)
    if model.experts or model.kind == "moe":
        wanted = float(model.experts_per_token or ASSUMED_EXPERTS_PER_TOKEN)
        once = _dispatch_s(states / layouts.tensor, wanted, layouts.expert, layouts.tensor, network)
        total = total + passes * 4 * EXPOSED_DISPATCH * once
    hops = 2 * layouts.micro_batches * layouts.interleave
    gang = layouts.tensor * layouts.context * layouts.data * layouts.pipeline
    hop = _hop_s(states / layouts.tensor, gang, network)
    result: FloatArray = total + np.where(layouts.pipeline > 1, hops * hop, 0.0)
    return result


def _ordered(network: Network) -> Network:
    """Return the network with scale-out no better than scale-up, which it passes through."""
    if network.scaleup_bytes_per_s <= 0:
        return network
    return replace(
        network,
        scaleout_bytes_per_s=min(network.scaleout_bytes_per_s, network.scaleup_bytes_per_s),
        scaleout_latency_s=max(network.scaleout_latency_s, network.scaleup_latency_s),
    )


def _data_s(model: Model, layouts: Layouts, network: Network, lora: bool) -> FloatArray:
    """Return gradient synchronisation and, where sharded, the gathering of weights."""
    ranks = layouts.data * layouts.context
    if model.kind == "dlrm":
        dense = HIDDEN_BYTES * model.active_parameters * np.ones(len(layouts))
        return 2 * _gather_s(dense, ranks, np.ones(len(layouts)), network)
    experts = model.expert_parameters
    rest = (model.parameters - experts) / (layouts.tensor * layouts.pipeline)
    dealt = local_parameters(model, layouts) - rest
    # experts have as many copies as their dealing leaves ranks over
    copies = np.maximum(ranks * layouts.tensor / np.maximum(layouts.expert, layouts.tensor), 1.0)
    width = HIDDEN_BYTES * (TRAINED_SHARE_LORA if lora else 1.0)
    once = _gather_s(width * rest, ranks, layouts.tensor, network)
    if experts:
        once = once + _gather_s(
            width * dealt, copies, np.maximum(layouts.expert, layouts.tensor), network
        )
    gathered = _gather_s(HIDDEN_BYTES * rest, ranks, layouts.tensor, network)
    if experts:
        gathered = gathered + _gather_s(
            HIDDEN_BYTES * dealt, copies, np.maximum(layouts.expert, layouts.tensor), network
        )
    # ZeRO-1: reduce-scatter and all-gather once; ZeRO-3: gather forward and backward and
    # reduce, for every micro-batch
    sharded = layouts.micro_batches * (2 * gathered + once)
    result: FloatArray = np.where(layouts.sharded > 0, sharded, 2 * once)
    return result


def _inside(ranks: FloatArray, stride: FloatArray, network: Network) -> FloatArray:
    """Return how many of a group's ranks, `stride` apart, share a scale-up domain."""
    result: FloatArray = np.clip(np.floor(network.scaleup_devices / stride), 1.0, ranks)
    return result


def _gather_s(
    size: FloatArray, ranks: FloatArray, stride: FloatArray, network: Network
) -> FloatArray:
    """Return the time of an all-gather (or reduce-scatter) of `size` bytes gathered."""
    inner = _inside(ranks, stride, network)
    outer = ranks / inner
    within = np.log2(inner) * network.scaleup_latency_s + _over(
        size * (inner - 1) / inner, network.scaleup_bytes_per_s
    )
    between = np.log2(outer) * network.scaleout_latency_s + _over(
        size / inner * (outer - 1) / outer, network.scaleout_bytes_per_s
    )
    result: FloatArray = within + between
    return result


def _key_width(model: Model) -> float:
    """Return the width of the keys of a layer; a quarter of the queries' where unknown."""
    return float(model.kv_heads * model.head_dim) or model.hidden / 4


def _dispatch_s(
    states: FloatArray, wanted: float, ranks: FloatArray, stride: FloatArray, network: Network
) -> FloatArray:
    """Return the time to send the states of tokens to `wanted` experts each, or back.

    A token goes once to each accelerator that holds some of its experts, and crosses to
    another scale-up domain once however many of them are there (DeepSeek-V3,
    arXiv:2412.19437, section 3.2.2).
    """
    domains = ranks / _inside(ranks, stride, network)
    crossing = _others_touched(domains, wanted)
    staying = _others_touched(ranks, wanted) - crossing
    within = _over(states * staying, network.scaleup_bytes_per_s)
    between = _over(states * crossing, network.scaleout_bytes_per_s)
    latency = np.where(domains > 1, network.scaleout_latency_s, network.scaleup_latency_s)
    result: FloatArray = within + between + latency * (ranks > 1)
    return result


def _others_touched(places: FloatArray, wanted: float) -> FloatArray:
    """Return how many places besides its own a token reaches with `wanted` uniform draws."""
    result: FloatArray = (places - 1) * (1 - (1 - 1 / places) ** wanted)
    return result


def _all_to_all_s(
    sent: FloatArray, ranks: FloatArray, stride: FloatArray, network: Network
) -> FloatArray:
    """Return the time of an all-to-all of `sent` bytes per rank."""
    inner = _inside(ranks, stride, network)
    within = _over(sent * (inner - 1) / ranks, network.scaleup_bytes_per_s)
    between = _over(sent * (ranks - inner) / ranks, network.scaleout_bytes_per_s)
    latency = np.where(inner < ranks, network.scaleout_latency_s, network.scaleup_latency_s)
    result: FloatArray = within + between + latency * (ranks > 1)
    return result


def _hop_s(size: FloatArray, gang: FloatArray, network: Network) -> FloatArray:
    """Return the time of the slowest message between two pipeline stages."""
    inside = network.scaleup_latency_s + _over(size, network.scaleup_bytes_per_s)
    outside = network.scaleout_latency_s + _over(size, network.scaleout_bytes_per_s)
    result: FloatArray = np.where(gang <= network.scaleup_devices, inside, outside)
    return result


def _over(size: FloatArray, bytes_per_s: float) -> FloatArray:
    if bytes_per_s > 0:
        return size / bytes_per_s
    return np.where(size > 0, np.inf, 0.0)
