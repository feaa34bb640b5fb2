"""Time the collectives of one training step take, for many layouts at once.

Alpha-beta formulas as in `scheduler.physics.collectives`, latencies those of trees, in two
levels: ranks of a group that share a scale-up domain, and the domains. Groups are laid out
tensor first, then context, experts and data, pipeline last, so that the chattiest are the
closest. Volumes: Shoeybi et al., arXiv:1909.08053 (tensor), Rajbhandari et al.,
arXiv:1910.02054 (data), Lepikhin et al., arXiv:2006.16668 (experts), Narayanan et al.,
arXiv:2104.04473 (pipeline), Liu et al., arXiv:2310.01889 (context).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from scheduler.core.model import Model
from scheduler.physics.memory import TRAINED_SHARE_LORA, local_parameters
from scheduler.physics.network import Network
from scheduler.physics.parallelism import FloatArray, IntArray, Layouts

HIDDEN_BYTES: Final = 2.0
"""Hidden states and gradients travel in 16 bits whatever the matrix products use."""

ASSUMED_EXPERTS_PER_TOKEN: Final = 8

EXPOSED_DISPATCH: Final = 0.25
"""Share of the expert all-to-alls that is not interleaved with the computation of another
micro-batch (DualPipe and the like), before `TrainingConstants.overlap_norm`. Published runs
fit any value below 0.5 equally well."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one accelerator sends in one step, by kind of link; arrays of one shape.

    Parameters
    ----------
    up_bytes, up_steps : ndarray of float64
        Bytes over scale-up links, and messages that wait for one another.
    out_bytes, out_steps : ndarray of float64
        The same between scale-up domains.
    """

    up_bytes: FloatArray
    up_steps: FloatArray
    out_bytes: FloatArray
    out_steps: FloatArray

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.up_bytes + other.up_bytes,
            self.up_steps + other.up_steps,
            self.out_bytes + other.out_bytes,
            self.out_steps + other.out_steps,
        )

    def times(self, factor: FloatArray | float) -> Traffic:
        """Return it done `factor` times."""
        return Traffic(
            self.up_bytes * factor,
            self.up_steps * factor,
            self.out_bytes * factor,
            self.out_steps * factor,
        )

    def take(self, index: IntArray) -> Traffic:
        """Return the entries at `index` of the arrays laid out flat."""
        return Traffic(
            self.up_bytes.take(index),
            self.up_steps.take(index),
            self.out_bytes.take(index),
            self.out_steps.take(index),
        )

    def seconds(self, links: Links) -> FloatArray:
        """Return the time it takes, infinite where a link is missing."""
        with np.errstate(invalid="ignore"):
            up, out = self.up_bytes * links.s_per_up_byte, self.out_bytes * links.s_per_out_byte
        if not links.complete:  # no bytes over no link take no time
            up = np.where(self.up_bytes > 0, up, 0.0)
            out = np.where(self.out_bytes > 0, out, 0.0)
        steps = self.up_steps * links.up_latency_s + self.out_steps * links.out_latency_s
        result: FloatArray = up + out + steps
        return result


@dataclass(frozen=True, slots=True)
class Links:
    """What traffic costs on some networks, as columns.

    Parameters
    ----------
    s_per_up_byte, up_latency_s, s_per_out_byte, out_latency_s : ndarray of float64
        Seconds of a byte (infinite: no link) and of a step, inside and between scale-up
        domains.
    complete : bool
        Whether no link is missing.
    """

    s_per_up_byte: FloatArray
    up_latency_s: FloatArray
    s_per_out_byte: FloatArray
    out_latency_s: FloatArray
    complete: bool

    def take(self, rows: IntArray) -> Links:
        """Return the networks at `rows`."""
        return Links(
            self.s_per_up_byte.take(rows),
            self.up_latency_s.take(rows),
            self.s_per_out_byte.take(rows),
            self.out_latency_s.take(rows),
            self.complete,
        )


def links_of(networks: Sequence[Network]) -> Links:
    """Return the cost of traffic on each network, columns of shape (n,).

    Scale-out is no better than scale-up, which it passes through.
    """
    up = np.array([n.scaleup_bytes_per_s for n in networks])
    out = np.array([n.scaleout_bytes_per_s for n in networks])
    up_latency = np.array([n.scaleup_latency_s for n in networks])
    out_latency = np.array([n.scaleout_latency_s for n in networks])
    linked = up > 0
    with np.errstate(divide="ignore"):
        return Links(
            1 / up,
            up_latency,
            1 / np.where(linked, np.minimum(out, up), out),
            np.where(linked, np.maximum(out_latency, up_latency), out_latency),
            bool(linked.all() and (out > 0).all()),
        )


def communication_s(
    model: Model, layouts: Layouts, network: Network, unit: float, *, lora: bool = False
) -> FloatArray:
    """Return seconds of communication in one step on one accelerator, shape (k,).

    Infinite where a layout needs a connection that is not there. Parameters as in
    `step_traffic`.
    """
    traffic = step_traffic(model, layouts, network.scaleup_devices, unit, lora=lora)
    return traffic.seconds(links_of([network]))


def step_traffic(
    model: Model, layouts: Layouts, devices: FloatArray | int, unit: float, *, lora: bool = False
) -> Traffic:
    """Return what one accelerator sends in one step.

    Parameters
    ----------
    model : Model
        What is trained.
    layouts : Layouts
        Candidates.
    devices : int, or ndarray of float64 of shape (d, 1)
        Accelerators of the gang that share a scale-up domain; several at once.
    unit : float
        Tokens of one sequence; 1 for models of samples.
    lora : bool
        Whether only low-rank adapters are trained (their gradients alone are exchanged).
    """
    total = _data(model, layouts, devices, lora)
    one = np.ones(len(layouts))
    if model.kind == "dlrm":
        samples = layouts.micro_batch * layouts.micro_batches
        pooled = HIDDEN_BYTES * samples * model.heads * model.head_dim
        total += _all_to_all(pooled, layouts.data, one, devices).times(2)
    if not model.counts_tokens:
        return total
    passes = layouts.micro_batches * model.layers / layouts.pipeline
    tokens = layouts.micro_batch * unit / layouts.context
    states = HIDDEN_BYTES * tokens * model.hidden
    # two reduce-scatter and all-gather pairs forward, two backward
    total += _gather(states, layouts.tensor, one, devices).times(passes * 4 * 2)
    keys = 2 * HIDDEN_BYTES * tokens * _key_width(model)
    blocks = keys * layouts.context / np.minimum(layouts.tensor, max(model.kv_heads, 1))
    total += _gather(blocks, layouts.context, layouts.tensor, devices).times(passes * 3)
    if model.experts or model.kind == "moe":
        wanted = float(model.experts_per_token or ASSUMED_EXPERTS_PER_TOKEN)
        once = _dispatch(states / layouts.tensor, wanted, layouts.expert, layouts.tensor, devices)
        total += once.times(passes * 4 * EXPOSED_DISPATCH)
    hops = 2 * layouts.micro_batches * layouts.interleave * (layouts.pipeline > 1)
    gang = layouts.tensor * layouts.context * layouts.data * layouts.pipeline
    inside = gang <= devices
    size = states / layouts.tensor
    hop = Traffic(size * inside, one * inside, size * ~inside, one * ~inside)
    return total + hop.times(hops)


def _data(model: Model, layouts: Layouts, devices: FloatArray | int, lora: bool) -> Traffic:
    """Return gradient synchronisation and, where sharded, the gathering of weights."""
    ranks = layouts.data * layouts.context
    if model.kind == "dlrm":
        dense = HIDDEN_BYTES * model.active_parameters * np.ones(len(layouts))
        return _gather(dense, ranks, np.ones(len(layouts)), devices).times(2)
    experts = model.expert_parameters
    rest = (model.parameters - experts) / (layouts.tensor * layouts.pipeline)
    gathered = _gather(HIDDEN_BYTES * rest, ranks, layouts.tensor, devices)
    if experts:
        dealt = local_parameters(model, layouts) - rest
        # experts have as many copies as their dealing leaves ranks over
        stride = np.maximum(layouts.expert, layouts.tensor)
        copies = np.maximum(ranks * layouts.tensor / stride, 1.0)
        gathered += _gather(HIDDEN_BYTES * dealt, copies, stride, devices)
    reduced = gathered
    if lora:
        share = TRAINED_SHARE_LORA
        reduced = replace(
            gathered, up_bytes=gathered.up_bytes * share, out_bytes=gathered.out_bytes * share
        )
    # ZeRO-1: reduce-scatter and all-gather once; ZeRO-3: gather forward and backward and
    # reduce, for every micro-batch
    sharded = layouts.sharded * layouts.micro_batches
    return reduced.times(np.where(layouts.sharded > 0, sharded, 2.0)) + gathered.times(2 * sharded)


def _inside(ranks: FloatArray, stride: FloatArray, devices: FloatArray | int) -> FloatArray:
    """Return how many of a group's ranks, `stride` apart, share a scale-up domain."""
    result: FloatArray = np.minimum(np.maximum(np.floor(devices / stride), 1.0), ranks)
    return result


def _gather(
    size: FloatArray, ranks: FloatArray, stride: FloatArray, devices: FloatArray | int
) -> Traffic:
    """Return an all-gather (or reduce-scatter) of `size` bytes gathered."""
    inner = _inside(ranks, stride, devices)
    outer = ranks / inner
    return Traffic(
        size * (inner - 1) / inner,
        np.log2(inner),
        size / inner * (outer - 1) / outer,
        np.log2(outer),
    )


def _key_width(model: Model) -> float:
    """Return the width of the keys of a layer; a quarter of the queries' where unknown."""
    return float(model.kv_heads * model.head_dim) or model.hidden / 4


def _dispatch(
    states: FloatArray,
    wanted: float,
    ranks: FloatArray,
    stride: FloatArray,
    devices: FloatArray | int,
) -> Traffic:
    """Return the states of tokens on their way to `wanted` experts each, or back.

    A token goes once to each accelerator that holds some of its experts, and crosses to
    another scale-up domain once however many of them are there (DeepSeek-V3,
    arXiv:2412.19437, section 3.2.2).
    """
    domains = ranks / _inside(ranks, stride, devices)
    crossing = _others_touched(domains, wanted)
    staying = _others_touched(ranks, wanted) - crossing
    up_steps, out_steps = _one_step(ranks, domains)
    return Traffic(states * staying, up_steps, states * crossing, out_steps)


def _one_step(ranks: FloatArray, domains: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return steps inside and between scale-up domains: one, of the slower kind in use."""
    between = (domains > 1).astype(np.float64)
    return (ranks > 1) - between, between


def _others_touched(places: FloatArray, wanted: float) -> FloatArray:
    """Return how many places besides its own a token reaches with `wanted` uniform draws."""
    result: FloatArray = (places - 1) * (1 - (1 - 1 / places) ** wanted)
    return result


def _all_to_all(
    sent: FloatArray, ranks: FloatArray, stride: FloatArray, devices: FloatArray | int
) -> Traffic:
    """Return an all-to-all of `sent` bytes per rank."""
    inner = _inside(ranks, stride, devices)
    up_steps, out_steps = _one_step(ranks, ranks / inner)
    return Traffic(sent * (inner - 1) / ranks, up_steps, sent * (ranks - inner) / ranks, out_steps)
