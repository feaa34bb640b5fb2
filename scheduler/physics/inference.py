"""What one replica of an inference service can serve, or why it cannot run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.units import GIB
from scheduler.core.workload import ModelPhysics, Service
from scheduler.physics.gang_rates import StepTime, with_figures
from scheduler.physics.kv_cache import (
    RUNTIME_BYTES,
    SIXTEEN_BIT_BYTES,
    USABLE_MEMORY_SHARE,
    ServingMemory,
    serving_memory,
)
from scheduler.physics.network import Network, Refusal
from scheduler.physics.power import COMPUTING, DECODING, between_w
from scheduler.physics.roofline import Replica, build_replica
from scheduler.physics.samples import SampleServer, exchange_rate, sample_capacity
from scheduler.physics.serving import Objectives, capacity, token_time

SIGMA_LOG = 0.25
"""Standard deviation of log(predicted / measured) of a rate: that of first tokens in published
serving runs, the less certain of the two quantities behind it."""


@dataclass(frozen=True, slots=True)
class ReplicaEstimate:
    """One replica at the highest request rate its objectives permit.

    Parameters
    ----------
    requests_per_s : float
        Completed (samples per second for models without output tokens).
    batch, max_batch : float
        Mean sequences in service, and sequences that fit in memory.
    ttft_s, tpot_s : float
        Time to the first token with queueing headroom, and time per output token (latency
        of a sample, and 0, for models without output tokens).
    weights_bytes, cache_bytes, runtime_bytes : float
        On each accelerator: weights; KV cache (or activations) of the sequences in service
        with their headroom; process and workspace.
    power_w : float
        Draw of all its accelerators at that rate, without their hosts.
    limited_by : str
        ``"tpot"`` or ``"ttft"`` (an objective), ``"memory"``, or ``"sequences"`` (the
        serving software's cap).
    step_s : StepTime
        Time per output token (or of one batch of samples) by cause, prompts' share included.
    sigma_log : float
        Standard deviation of the logarithm of the rate.
    """

    requests_per_s: float
    batch: float
    max_batch: float
    ttft_s: float
    tpot_s: float
    weights_bytes: float
    cache_bytes: float
    runtime_bytes: float
    power_w: float
    limited_by: str
    step_s: StepTime
    sigma_log: float

    @property
    def memory_bytes(self) -> float:
        """Bytes needed on each accelerator."""
        return self.weights_bytes + self.cache_bytes + self.runtime_bytes


@dataclass(frozen=True, slots=True)
class _Device:
    """An accelerator type as a cache key: all fields the formulas read."""

    key: tuple[object, ...]
    type: AcceleratorType = field(compare=False)

    @classmethod
    def of(cls, a: AcceleratorType) -> _Device:
        peaks = tuple(sorted(a.peak_flops.items()))
        rates = (a.memory_bytes, a.memory_bytes_per_s, a.idle_w, a.peak_w)
        return cls((a.name, a.stack, a.year, a.confidence, rates, peaks), a)


def replica_estimate(
    model: Model, service: Service, accelerator: AcceleratorType, count: int, network: Network
) -> ReplicaEstimate | Refusal:
    """Estimate one replica of a service.

    Parameters
    ----------
    model : Model
        The served model.
    service : Service
        Objectives, mean request and precision (`physics` is a `ModelPhysics`).
    accelerator : AcceleratorType
        Of all accelerators of the replica.
    count : int
        How many; language models are split over them (tensor parallelism), other models
        are copied (recommendation tables are dealt out).
    network : Network
        Between them.

    Returns
    -------
    ReplicaEstimate or Refusal
        The largest request rate under both objectives, or why there is none.

    Raises
    ------
    InputError
        If the service names an unknown precision.
    """
    if not isinstance(service.physics, ModelPhysics):
        raise TypeError(f"service {service.name} is described by a profile, not by a model")
    asked = Objectives(service.prompt_tokens, service.output_tokens, service.ttft_s, service.tpot_s)
    return _estimate(
        model, service.physics.precision, asked, _Device.of(accelerator), count, network
    )


@lru_cache(maxsize=4096)
def _estimate(
    model: Model, precision: str, asked: Objectives, device: _Device, count: int, network: Network
) -> ReplicaEstimate | Refusal:
    if model.kind in ("dense", "moe"):
        replica = build_replica(model, precision, device.type, count, network)
        return replica if isinstance(replica, Refusal) else _tokens(replica, asked, device.type)
    alone = build_replica(model, precision, device.type, 1, network)
    if isinstance(alone, Refusal):
        return alone
    return _samples(alone, asked, device.type, count, network)


def _tokens(
    replica: Replica, asked: Objectives, accelerator: AcceleratorType
) -> ReplicaEstimate | Refusal:
    memory = serving_memory(
        replica.model,
        replica.precision,
        accelerator.memory_bytes,
        replica.count,
        asked.prompt_tokens + asked.output_tokens,
    )
    if memory.max_batch < 1:
        return _does_not_fit(memory, replica, accelerator)
    found = capacity(replica, asked, memory.max_batch)
    if isinstance(found, Refusal):
        return found
    point, limit = found
    slots = min(point.batch + point.batch**0.5, memory.max_batch)
    draw = COMPUTING * point.prefill_share + DECODING * (1 - point.prefill_share)
    return ReplicaEstimate(
        requests_per_s=point.requests_per_s,
        batch=point.batch,
        max_batch=memory.max_batch,
        ttft_s=point.ttft_s,
        tpot_s=point.tpot_s,
        weights_bytes=memory.weights_bytes,
        cache_bytes=max(slots, 1.0) * memory.sequence_bytes,
        runtime_bytes=memory.runtime_bytes,
        power_w=_power_w(accelerator, replica.count, draw),
        limited_by=limit,
        step_s=token_time(replica, asked, point.batch),
        sigma_log=with_figures(SIGMA_LOG, accelerator),
    )


def _samples(
    alone: Replica, asked: Objectives, accelerator: AcceleratorType, count: int, network: Network
) -> ReplicaEstimate | Refusal:
    model = alone.model
    parts = count if model.kind == "dlrm" else 1
    exchange = exchange_rate(parts, network)
    if isinstance(exchange, Refusal):
        return exchange
    values = model.activation_values_per_sample
    if model.counts_tokens:
        values = asked.prompt_tokens * (4 * model.hidden + 2 * model.ffn_hidden)
    memory = ServingMemory(
        weights_bytes=model.parameters * alone.precision.weight_bytes / parts,
        runtime_bytes=RUNTIME_BYTES,
        sequence_bytes=values * SIXTEEN_BIT_BYTES,
        available_bytes=accelerator.memory_bytes * USABLE_MEMORY_SHARE,
    )
    if memory.max_batch < 1:
        return _does_not_fit(memory, alone, accelerator)
    server = SampleServer(alone, count, asked.prompt_tokens, exchange)
    found = sample_capacity(server, asked.ttft_s, memory.max_batch)
    if isinstance(found, Refusal):
        return found
    rate, batch, latency_s, limit = found
    return ReplicaEstimate(
        requests_per_s=rate,
        batch=batch * count,
        max_batch=memory.max_batch * count,
        ttft_s=latency_s,
        tpot_s=0.0,
        weights_bytes=memory.weights_bytes,
        cache_bytes=batch * memory.sequence_bytes,
        runtime_bytes=memory.runtime_bytes,
        power_w=_power_w(accelerator, count, COMPUTING),
        limited_by=limit,
        step_s=server.batch_time(batch),
        sigma_log=with_figures(SIGMA_LOG, accelerator),
    )


def _does_not_fit(memory: ServingMemory, replica: Replica, accelerator: AcceleratorType) -> Refusal:
    needed, had = memory.used_bytes(1.0) / GIB, memory.available_bytes / GIB
    return Refusal(
        f"{replica.model.name} in {replica.precision.name} on {replica.count} x"
        f" {accelerator.name} needs {needed:.1f} GiB on each for a single request,"
        f" of which {had:.1f} GiB can be had"
    )


def _power_w(accelerator: AcceleratorType, count: int, draw: float) -> float:
    return count * between_w(accelerator.idle_w, accelerator.peak_w, draw)
