"""One training job on two or three accelerator types.

Two ways, the better one is taken:

* data shares (one software stack): every type trains whole replicas on a share of the
  batch in proportion to its rate, and gradients are exchanged between the types;
* pipeline by type (any stacks): every type holds a run of layers in proportion to its rate.

References
----------
HETHUB, arXiv:2405.16256, and H2, arXiv:2505.17548: pipeline by type across vendors at 0.97
and above of the summed rates; joint AMD and NVIDIA training, arXiv:2602.18007: 0.94-0.98
device-direct, less with forwarding through hosts; Whale (USENIX ATC 2022): shares by speed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.core.workload import ModelPhysics
from scheduler.physics.memory import WEIGHT_BYTES
from scheduler.physics.network import Network, Refusal
from scheduler.physics.training import (
    TrainingEstimate,
    remembered_estimate,
    training_estimate,
    training_job,
)
from scheduler.physics.training_constants import SHIPPED

Way = Literal["data shares", "pipeline by type"]

DEALS: Final = 4
"""Times shares are dealt out anew by the rates that the last deal gave."""


@dataclass(frozen=True, slots=True)
class MixedConstants:
    """What mixing costs beyond imbalance and bubbles.

    Parameters
    ----------
    same_stack, cross_stack, cross_stack_host : float
        Efficiency between two types of one stack, of two stacks with device-direct RDMA,
        and of two stacks that forward through host memory. Papers report 0.93-0.98,
        0.94-0.98 and 0.75-0.90; production is below papers.
    host_link_share : float
        Link rate left when hosts forward (0.3-0.5 of the network card, against 0.8).
    most_types : int
        Types in one gang.
    """

    same_stack: float = 0.95
    cross_stack: float = 0.90
    cross_stack_host: float = 0.80
    host_link_share: float = 0.5
    most_types: int = 3


DEFAULTS: Final = MixedConstants()


@dataclass(frozen=True, slots=True)
class MixedPart:
    """The part of a gang on one type.

    Parameters
    ----------
    accelerator : AcceleratorType
        Its type.
    count, per_node : int
        Accelerators, and those on one node.
    network : Network
        Between them.
    """

    accelerator: AcceleratorType
    count: int
    per_node: int
    network: Network


@dataclass(frozen=True, slots=True)
class CrossLink:
    """The connection between the parts.

    Parameters
    ----------
    bytes_per_s : float
        Usable rate of one accelerator, one direction, of the slower part.
    latency_s : float
        One message.
    host_forwarded : bool
        Whether data crosses between stacks through host memory.
    """

    bytes_per_s: float
    latency_s: float
    host_forwarded: bool = False


@dataclass(frozen=True, slots=True)
class MixedEstimate:
    """What a mixed gang does.

    Parameters
    ----------
    work_per_s : float
        Tokens (or samples) per second of the whole gang.
    way : str
        ``"data shares"`` or ``"pipeline by type"``.
    shares : tuple of int
        Sequences per step, or layers, of each part.
    step_s : float
        One optimizer step.
    straggler : float
        Share of the gang's accelerator-time spent waiting for its slower members.
    memory_bytes : tuple of float
        On the fullest accelerator of each part.
    power_w : float
        Accelerators of the gang, without their hosts.
    sigma_log : float
        Standard deviation of the logarithm of the rate.
    """

    work_per_s: float
    way: Way
    shares: tuple[int, ...]
    step_s: float
    straggler: float
    memory_bytes: tuple[float, ...]
    power_w: float
    sigma_log: float


def mixed_estimate(
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    link: CrossLink,
    constants: MixedConstants = DEFAULTS,
) -> MixedEstimate | Refusal:
    """Return the best estimate of a mixed gang, or why it is no use.

    Parameters
    ----------
    model, physics : Model, ModelPhysics
        As in `scheduler.physics.training.training_estimate`.
    parts : sequence of MixedPart
        Two or more.
    link : CrossLink
        Between them.
    constants : MixedConstants
        Costs of mixing.

    Returns
    -------
    MixedEstimate or Refusal
        Refused also where one part alone is at least as fast: the rest would only wait.
    """
    if not 2 <= len(parts) <= constants.most_types:
        return Refusal(f"{len(parts)} types in one gang, allowed are 2 to {constants.most_types}")
    if link.bytes_per_s <= 0:
        return Refusal("no network connects the types")
    ways = [pipeline_by_type(model, physics, parts, link, constants)]
    if len({p.accelerator.stack for p in parts}) == 1:
        ways.append(data_shares(model, physics, parts, link, constants))
    found = [way for way in ways if isinstance(way, MixedEstimate)]
    if not found:
        reasons = [way.reason for way in ways if isinstance(way, Refusal)]
        return Refusal("; ".join(dict.fromkeys(reasons)))
    best = max(found, key=lambda way: way.work_per_s)
    for part in parts:
        alone = _alone(model, physics, part)
        if isinstance(alone, TrainingEstimate) and alone.work_per_s >= best.work_per_s:
            name = part.accelerator.name
            return Refusal(f"{part.count} x {name} alone are as fast as the mixed gang")
    return best


def data_shares(
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    link: CrossLink,
    constants: MixedConstants = DEFAULTS,
) -> MixedEstimate | Refusal:
    """Return the estimate with the batch dealt out in proportion to rates.

    Step time is that of the slowest part on its share, joined with the exchange of
    gradients between the parts: each part reduces inside, then one shard per accelerator
    crosses.
    """
    if len({p.accelerator.stack for p in parts}) > 1:
        return Refusal("data-parallel shares need one software stack")
    if physics.global_batch < len(parts):
        return Refusal(f"a global batch of {physics.global_batch} for {len(parts)} types")
    speeds: list[float] = []
    for part in parts:
        alone = _alone(model, physics, part)
        if isinstance(alone, Refusal):
            return alone
        speeds.append(alone.work_per_s)
    groups = len(parts)
    shard = WEIGHT_BYTES * model.parameters / min(p.count for p in parts)
    exchange = 2 * (groups - 1) / groups * shard / link.bytes_per_s
    exchange += 2 * math.ceil(math.log2(groups)) * link.latency_s
    best: MixedEstimate | None = None
    seen: list[tuple[int, ...]] = []
    for _ in range(DEALS):
        shares = balanced_shares(physics.global_batch, speeds)
        if shares in seen:
            break
        seen.append(shares)
        if min(shares) == 0:
            return Refusal("one type is too slow for a single sequence of the batch")
        replicas: list[TrainingEstimate] = []
        for part, share in zip(parts, shares, strict=True):
            replica = _alone(model, replace(physics, global_batch=share), part)
            if isinstance(replica, Refusal):
                return replica if best is None else best
            replicas.append(replica)
        joined = _join(max(r.step_s.total for r in replicas), exchange)
        found = _assembled(
            "data shares", model, physics, parts, replicas, shares, joined, constants, link
        )
        if best is None or found.work_per_s > best.work_per_s:
            best = found
        speeds = [r.work_per_s for r in replicas]
    return Refusal("no share of the batch fits") if best is None else best


def _join(busy_s: float, communication_s: float) -> float:
    norm = SHIPPED.overlap_norm
    return float((busy_s**norm + communication_s**norm) ** (1 / norm))


def pipeline_by_type(
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    link: CrossLink,
    constants: MixedConstants = DEFAULTS,
) -> MixedEstimate | Refusal:
    """Return the estimate with layers dealt out in proportion to rates.

    Each part trains its layers as a model of its own on the whole batch; the parts form a
    pipeline, of which every order is tried: early parts keep more micro-batches, so that
    memory decides the order.
    """
    if model.layers < len(parts) or not model.counts_tokens:
        return Refusal(f"{model.name} has no layers to deal out over {len(parts)} types")
    best: MixedEstimate | None = None
    reason = "no order of the types fits"
    for order in itertools.permutations(range(len(parts))):
        for found in _pipelines(model, physics, parts, order, link, constants):
            if isinstance(found, Refusal):
                reason = found.reason
            elif best is None or found.work_per_s > best.work_per_s:
                best = found
    return Refusal(reason) if best is None else best


def _pipelines(
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    order: Sequence[int],
    link: CrossLink,
    constants: MixedConstants,
) -> Iterator[MixedEstimate | Refusal]:
    """Yield estimates of one order, layers dealt out anew by the rates of the last deal."""
    speeds = [_nominal_speed(parts[i].accelerator, physics) * parts[i].count for i in order]
    seen: list[tuple[int, ...]] = []
    for _ in range(DEALS):
        layers = balanced_layers(model.layers, speeds)
        if layers in seen:
            return
        seen.append(layers)
        stages: list[TrainingEstimate] = []
        for place, (i, share) in enumerate(zip(order, layers, strict=True)):
            stage = _stage(model, physics, parts[i], share, len(parts) - 1 - place)
            if isinstance(stage, Refusal):
                yield stage
                return
            stages.append(stage)
        yield _joined_pipeline(model, physics, parts, order, stages, layers, link, constants)
        speeds = [n / s.step_s.total for n, s in zip(layers, stages, strict=True)]


def _stage(
    model: Model, physics: ModelPhysics, part: MixedPart, layers: int, later: int
) -> TrainingEstimate | Refusal:
    """Return the estimate of `layers` layers on one part with `later` parts behind it."""
    share = layers / model.layers
    part_of_model = replace(
        model,
        name=f"{layers} of {model.layers} layers of {model.name}",
        parameters=model.parameters * share,
        active_parameters=model.active_parameters * share,
        layers=layers,
    )
    job = replace(training_job(part_of_model, physics), stages_behind=later)
    return remembered_estimate(job, part.accelerator, part.count, part.per_node, part.network)


def stage_micro_batches(physics: ModelPhysics, stage: TrainingEstimate) -> float:
    """Return the micro-batches a stage works off in one step."""
    return max(1.0, physics.global_batch / stage.layout.data / stage.layout.micro_batch)


def _joined_pipeline(
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    order: Sequence[int],
    stages: Sequence[TrainingEstimate],
    layers: tuple[int, ...],
    link: CrossLink,
    constants: MixedConstants,
) -> MixedEstimate | Refusal:
    micro_batches = min(stage_micro_batches(physics, s) for s in stages)
    slowest = max(s.step_s.total for s in stages)
    filled = slowest * (1 + (len(stages) - 1) / micro_batches)
    # hidden states forward and their gradients back, over the links of the smaller part
    crossing = 2 * 2.0 * physics.global_batch * physics.sequence_length * model.hidden
    stacks = {p.accelerator.stack for p in parts}
    rate = link.bytes_per_s
    if len(stacks) > 1 and link.host_forwarded:
        rate *= constants.host_link_share
    hop = crossing / (rate * min(p.count for p in parts)) + 2 * micro_batches * link.latency_s
    back = sorted(range(len(order)), key=lambda place: order[place])
    return _assembled(
        "pipeline by type",
        model,
        physics,
        parts,
        [stages[place] for place in back],
        tuple(layers[place] for place in back),
        _join(filled, hop),
        constants,
        link,
    )


def _assembled(
    way: Way,
    model: Model,
    physics: ModelPhysics,
    parts: Sequence[MixedPart],
    estimates: Sequence[TrainingEstimate],
    shares: tuple[int, ...],
    joined_s: float,
    constants: MixedConstants,
    link: CrossLink,
) -> MixedEstimate:
    step_s = joined_s / mixing_efficiency(parts, link, constants)
    unit = physics.sequence_length if model.counts_tokens else 1
    held = sum(p.count for p in parts)
    slowest = max(e.step_s.total for e in estimates)
    idle = sum(p.count * (slowest - e.step_s.total) for p, e in zip(parts, estimates, strict=True))
    return MixedEstimate(
        work_per_s=physics.global_batch * unit / step_s,
        way=way,
        shares=shares,
        step_s=step_s,
        straggler=idle / (held * step_s),
        memory_bytes=tuple(e.memory_bytes for e in estimates),
        power_w=sum(e.power_w for e in estimates),
        sigma_log=max(e.sigma_log for e in estimates),
    )


def mixing_efficiency(
    parts: Sequence[MixedPart], link: CrossLink, constants: MixedConstants = DEFAULTS
) -> float:
    """Return what is left of the balanced rate; 1 where all parts are of one type."""
    if len({p.accelerator.name for p in parts}) == 1:
        return 1.0
    if len({p.accelerator.stack for p in parts}) == 1:
        return constants.same_stack
    return constants.cross_stack_host if link.host_forwarded else constants.cross_stack


def balanced_shares(total: int, rates: Sequence[float]) -> tuple[int, ...]:
    """Return integers that sum to `total` and minimise the largest share over rate.

    Each unit in turn goes where it finishes first, which is exact for equal units.

    Parameters
    ----------
    total : int
        Units to deal out.
    rates : sequence of float
        Speeds, positive.
    """
    whole = sum(rates)
    # the exact answer differs from the proportional one by less than one unit each
    shares = [max(0, math.floor(total * r / whole) - 1) for r in rates]
    for _ in range(total - sum(shares)):
        first = min(range(len(rates)), key=lambda i: ((shares[i] + 1) / rates[i], i))
        shares[first] += 1
    return tuple(shares)


def balanced_layers(layers: int, rates: Sequence[float]) -> tuple[int, ...]:
    """Return `balanced_shares` of layers with at least one layer each."""
    shares = list(balanced_shares(layers, rates))
    for i, share in enumerate(shares):
        if share == 0:
            donor = max(range(len(shares)), key=lambda j: shares[j])
            shares[donor] -= 1
            shares[i] = 1
    return tuple(shares)


def _nominal_speed(accelerator: AcceleratorType, physics: ModelPhysics) -> float:
    peaks = accelerator.peak_flops
    return peaks.get(physics.precision, 0.0) or max(peaks.values(), default=1.0)


def _alone(model: Model, physics: ModelPhysics, part: MixedPart) -> TrainingEstimate | Refusal:
    return training_estimate(
        model, physics, part.accelerator, part.count, part.per_node, part.network
    )
