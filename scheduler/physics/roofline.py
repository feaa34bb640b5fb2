"""Time of one forward pass of a served model: roofline, all-reduces, fixed costs.

Prefill is bound by compute, decode by memory bandwidth (roofline: Williams, Waterman,
Patterson, doi:10.1145/1498765.1498785; serving: Pope et al., arXiv:2211.05102). Tensor
parallelism costs two all-reduces of the hidden states per layer and pass (Shoeybi et al.,
arXiv:1909.08053, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.physics.collectives import all_reduce_s, two_level_all_reduce_s
from scheduler.physics.inference_constants import (
    EAGER_NORM,
    ROOFLINE_NORM,
    SHIPPED,
    InferenceConstants,
)
from scheduler.physics.kv_cache import (
    SIXTEEN_BIT_BYTES,
    kv_bytes_per_token,
    kv_share,
    touched_weight_bytes,
)
from scheduler.physics.network import Network, Refusal
from scheduler.physics.precision import Precision, find_precision, sustained_flops

NEWER_HOST_YEAR = 2022
"""Hosts of H100 and later (Sapphire Rapids, Genoa) against those of A100 and earlier."""


class Runtime(StrEnum):
    """How the serving software drives the device."""

    CAPTURED = "captured"
    """Decode steps replay a captured graph (CUDA graphs, ahead-of-time compilers)."""
    EAGER = "eager"
    """The host starts every kernel (vLLM of 2023)."""


@dataclass(frozen=True, slots=True)
class TensorParallelism:
    """A tensor-parallel group: `inner` ranks in each of `outer` scale-up domains.

    Parameters
    ----------
    inner, outer : int
        Their product is the group's size.
    network : Network
        Between its ranks.
    call_s : float
        Fixed part of one call.
    """

    inner: int
    outer: int
    network: Network
    call_s: float

    def all_reduce_s(self, message_bytes: float) -> float:
        """Return the time of one all-reduce of `message_bytes` per rank."""
        inner, outer, net = self.inner, self.outer, self.network
        if inner * outer == 1:
            return 0.0
        if outer == 1:
            wire_s = all_reduce_s(
                message_bytes, inner, net.scaleup_bytes_per_s, net.scaleup_latency_s
            )
        else:
            wire_s = two_level_all_reduce_s(
                message_bytes,
                inner,
                outer,
                net.scaleup_bytes_per_s,
                net.scaleup_latency_s,
                net.scaleout_bytes_per_s,
                net.scaleout_latency_s,
            )
        return self.call_s + wire_s


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a model spread over `count` accelerators by tensor parallelism.

    Parameters
    ----------
    model : Model
        What is served.
    precision : Precision
        Of its weights.
    count : int
        Accelerators, the tensor-parallel degree.
    flops_per_s, bytes_per_s : float
        Compute and memory rates all of them reach together.
    weight_read_share : float
        Share of the memory rate that reading weights gets.
    kv_bytes_per_token : float
        Cache of one token, summed over the accelerators (replicas of heads counted).
    group : TensorParallelism
        Of the `count` accelerators.
    host_layer_s : float
        Per layer and pass on the host of an eager runtime, else 0.
    constants : InferenceConstants
        Fitted constants in use.
    """

    model: Model
    precision: Precision
    count: int
    flops_per_s: float
    bytes_per_s: float
    weight_read_share: float
    kv_bytes_per_token: float
    group: TensorParallelism
    host_layer_s: float
    constants: InferenceConstants


def build_replica(
    model: Model,
    precision_name: str,
    accelerator: AcceleratorType,
    count: int,
    network: Network,
    *,
    runtime: Runtime = Runtime.CAPTURED,
    constants: InferenceConstants = SHIPPED,
) -> Replica | Refusal:
    """Work out the rates of a replica, without asking whether it fits in memory.

    Parameters
    ----------
    model : Model
        What is served.
    precision_name : str
        Of its weights, see `scheduler.physics.precision`.
    accelerator : AcceleratorType
        Of all its accelerators.
    count : int
        How many.
    network : Network
        Between them.
    runtime : Runtime
        How the serving software drives them.
    constants : InferenceConstants
        Fitted constants.
    """
    precision = find_precision(precision_name)
    sustained = sustained_flops(accelerator, precision, constants)
    if isinstance(sustained, Refusal):
        return sustained
    if model.heads and model.heads % count:
        return Refusal(f"{count} accelerators do not divide its {model.heads} attention heads")
    group = tensor_parallel_group(count, network, constants)
    if isinstance(group, Refusal):
        return group
    host_s = 0.0
    if runtime is Runtime.EAGER:
        newer = accelerator.year >= NEWER_HOST_YEAR
        host_s = constants.eager_layer_s * (constants.eager_newer_host if newer else 1.0)
    return Replica(
        model=model,
        precision=precision,
        count=count,
        flops_per_s=count * sustained.flops_per_s,
        bytes_per_s=count * accelerator.memory_bytes_per_s * constants.bandwidth_efficiency,
        weight_read_share=constants.widening_efficiency if sustained.widened else 1.0,
        kv_bytes_per_token=count * kv_share(model, count) * kv_bytes_per_token(model, precision),
        group=group,
        host_layer_s=host_s,
        constants=constants,
    )


def tensor_parallel_group(
    count: int, network: Network, constants: InferenceConstants
) -> TensorParallelism | Refusal:
    """Return how `count` ranks share scale-up domains evenly, as few as possible."""
    inner = max(d for d in range(1, min(count, network.scaleup_devices) + 1) if count % d == 0)
    outer = count // inner
    if inner > 1 and network.scaleup_bytes_per_s <= 0:
        return Refusal(f"{count} accelerators have no links inside their node")
    if outer > 1 and network.scaleout_bytes_per_s <= 0:
        return Refusal(f"{count} accelerators do not share a scale-up domain or network")
    return TensorParallelism(inner, outer, network, constants.collective_call_s)


def prefill_time_s(replica: Replica, prompt_tokens: float, prompts: float = 1.0) -> float:
    """Return the time to process `prompts` prompts of `prompt_tokens` tokens together.

    Parameters
    ----------
    replica : Replica
        Where.
    prompt_tokens : float
        Tokens of each prompt; attention is causal, half the square.
    prompts : float
        How many share the pass (mean values may be fractional).

    Returns
    -------
    float
        Seconds, without queueing.
    """
    tokens = prompts * prompt_tokens
    device_s = _pass_time_s(replica, tokens, tokens * prompt_tokens / 2, 0.0)
    host_s = replica.host_layer_s or replica.constants.prefill_layer_s
    return device_s + replica.model.layers * host_s


def decode_step_time_s(replica: Replica, batch: float, context_tokens: float) -> float:
    """Return the time of one decode step, one new token for each of `batch` sequences.

    Parameters
    ----------
    replica : Replica
        Where.
    batch : float
        Sequences in the step.
    context_tokens : float
        Mean tokens each of them already holds in the cache.

    Returns
    -------
    float
        Seconds.
    """
    pairs = batch * context_tokens
    device_s = _pass_time_s(replica, batch, pairs, pairs)
    if not replica.host_layer_s:
        return device_s
    constants = replica.constants
    host_s = replica.model.layers * replica.host_layer_s + batch * constants.eager_sequence_s
    return _join(device_s, host_s, EAGER_NORM)


def prefill_parts(
    replica: Replica, prompt_tokens: float, prompts: float = 1.0
) -> tuple[float, float, float]:
    """Return `prefill_time_s` by cause, as `decode_parts` does."""
    tokens = prompts * prompt_tokens
    compute_s, memory_s, wire_s, fixed_s = _pass(replica, tokens, tokens * prompt_tokens / 2, 0.0)
    host_s = replica.model.layers * (replica.host_layer_s or replica.constants.prefill_layer_s)
    return by_cause(compute_s, memory_s, wire_s, fixed_s + host_s)


def decode_parts(
    replica: Replica, batch: float, context_tokens: float
) -> tuple[float, float, float]:
    """Return the device time of a decode step by cause; arguments as in `decode_step_time_s`.

    Returns
    -------
    tuple of float
        As `by_cause`.
    """
    pairs = batch * context_tokens
    return by_cause(*_pass(replica, batch, pairs, pairs))


def by_cause(
    compute_s: float, memory_s: float, wire_s: float, fixed_s: float
) -> tuple[float, float, float]:
    """Return arithmetic, memory traffic with fixed costs, and all-reduces of one pass.

    Arithmetic and memory traffic overlap; what they hide of each other is taken off both in
    proportion.
    """
    shrunk = _join(compute_s, memory_s, ROOFLINE_NORM) / (compute_s + memory_s)
    return compute_s * shrunk, memory_s * shrunk + fixed_s, wire_s


def _pass_time_s(
    replica: Replica, tokens: float, attention_pairs: float, cached_tokens: float
) -> float:
    """Return the device time of a pass over `tokens` new tokens."""
    compute_s, memory_s, wire_s, fixed_s = _pass(replica, tokens, attention_pairs, cached_tokens)
    return _join(compute_s, memory_s, ROOFLINE_NORM) + wire_s + fixed_s


def _pass(
    replica: Replica, tokens: float, attention_pairs: float, cached_tokens: float
) -> tuple[float, float, float, float]:
    """Return seconds of arithmetic, memory traffic, all-reduces and fixed costs."""
    model = replica.model
    attention = 4 * model.layers * model.heads * model.head_dim * attention_pairs
    compute_s = (2 * model.active_parameters * tokens + attention) / replica.flops_per_s
    moved = touched_weight_bytes(model, replica.precision, tokens) / replica.weight_read_share
    moved += cached_tokens * replica.kv_bytes_per_token
    message = tokens * model.hidden * SIXTEEN_BIT_BYTES
    wire_s = model.layers * 2 * replica.group.all_reduce_s(message)
    fixed_s = model.layers * replica.constants.layer_gap_s
    return compute_s, moved / replica.bytes_per_s, wire_s, fixed_s


def _join(a: float, b: float, norm: float) -> float:
    return float((a**norm + b**norm) ** (1 / norm))
