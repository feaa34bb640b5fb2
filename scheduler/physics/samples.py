"""Serving models that answer whole samples: encoders, vision, diffusion, recommendation."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.physics.gang_rates import StepTime
from scheduler.physics.kv_cache import SIXTEEN_BIT_BYTES
from scheduler.physics.network import Network, Refusal
from scheduler.physics.roofline import Replica, by_cause, prefill_parts
from scheduler.physics.serving import QUEUE_TAIL, largest

MAX_SAMPLES = 256.0
"""Largest batch that servers form by default."""


@dataclass(frozen=True, slots=True)
class SampleServer:
    """Copies of a model on single accelerators, each answering batches.

    Parameters
    ----------
    replica : Replica
        One accelerator (``count == 1``).
    copies : int
        How many answer side by side.
    prompt_tokens : float
        Tokens of one sample (encoders only).
    exchange_bytes_per_s : float
        Rate at which a sample's looked-up vectors arrive from the other accelerators where
        tables are dealt out over them; 0: tables are local.
    """

    replica: Replica
    copies: int
    prompt_tokens: float
    exchange_bytes_per_s: float = 0.0

    def batch_time_s(self, batch: float) -> float:
        """Return the time one accelerator takes for `batch` samples."""
        return self.batch_time(batch).total

    def batch_time(self, batch: float) -> StepTime:
        """Return the same by cause, as `roofline.decode_parts` does."""
        replica = self.replica
        model = replica.model
        if model.counts_tokens:
            return StepTime(*prefill_parts(replica, self.prompt_tokens, batch), bubble=0.0)
        compute_s = batch * model.flops_per_sample / replica.flops_per_s
        activations = batch * model.activation_values_per_sample * SIXTEEN_BIT_BYTES
        weights = model.active_parameters * replica.precision.weight_bytes
        memory_s = (weights + activations) / replica.bytes_per_s
        wire_s = 0.0
        if self.exchange_bytes_per_s > 0:
            wire_s = activations * (self.copies - 1) / self.copies / self.exchange_bytes_per_s
        fixed_s = max(model.layers, 1) * replica.constants.layer_gap_s
        return StepTime(*by_cause(compute_s, memory_s, wire_s, fixed_s), bubble=0.0)


def sample_capacity(
    server: SampleServer, latency_s: float, max_batch: float
) -> tuple[float, float, float, str] | Refusal:
    """Return samples per second, batch, latency and what limits them under an objective.

    A sample waits for the batch in progress and takes part in the next: twice the batch
    time. Where the objective leaves no room for that, samples are answered one by one at
    the load whose queue (M/D/1, with `QUEUE_TAIL`) still meets it.

    Parameters
    ----------
    server : SampleServer
        Where.
    latency_s : float
        Objective.
    max_batch : float
        Samples that fit in memory, at least 1.
    """
    alone_s = server.batch_time_s(1.0)
    if alone_s > latency_s:
        return Refusal(
            f"a lone sample takes {alone_s * 1e3:.3g} ms, the objective is {latency_s * 1e3:.3g} ms"
        )
    if 2 * alone_s > latency_s:
        slack = (latency_s / alone_s - 1) * 2 / QUEUE_TAIL
        return server.copies * slack / (1 + slack) / alone_s, 1.0, latency_s, "ttft"
    most = min(max_batch, MAX_SAMPLES)
    batch, limit = most, "memory" if max_batch < MAX_SAMPLES else "sequences"
    if 2 * server.batch_time_s(most) > latency_s:
        batch = largest(lambda b: 2 * server.batch_time_s(b) <= latency_s, 1.0, most)
        limit = "ttft"
    time_s = server.batch_time_s(batch)
    return server.copies * batch / time_s, batch, 2 * time_s, limit


def exchange_rate(copies: int, network: Network) -> float | Refusal:
    """Return the rate at which accelerators holding parts of a table exchange vectors."""
    if copies == 1:
        return 0.0
    inside = copies <= network.scaleup_devices
    rate = network.scaleup_bytes_per_s if inside else network.scaleout_bytes_per_s
    return rate if rate > 0 else Refusal(f"{copies} accelerators have no connection for tables")
