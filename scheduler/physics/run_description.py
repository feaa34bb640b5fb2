"""Published training runs as jobs of the formula: what they state, and usual values else."""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.model import Model
from scheduler.io.published_runs import PublishedRun
from scheduler.physics.network import USABLE_SHARE, Network
from scheduler.physics.parallelism import FREE, RECOMPUTE, Wanted
from scheduler.physics.step_time import PRECISION_ALIASES, TrainingJob
from scheduler.physics.training_constants import FULL_STEP_TOKENS

SCALEUP_LATENCY_S: Final = 2e-6
SCALEOUT_LATENCY_S: Final = 5e-6
"""Of fabrics in good order (NVLink and InfiniBand NDR: 1-2 and 2-3 us, plus a switch)."""

MOE_SHARE: Final = 0.95
"""Active over all weights below which a run is taken as a mixture of experts."""

UNSTATED_COUNT: Final = 1024
UNSTATED_VOCABULARY: Final = 50304
UNSTATED_EXPERTS_PER_TOKEN: Final = 8
UNSTATED_EXPERT_SHARE: Final = 0.5
"""Of the active weights, how many are routed experts."""
HEAD_DIM: Final = 128
WIDTH_OVER_DEPTH: Final = 128.0
"""Hidden units per layer where a run states neither (Kaplan et al., arXiv:2001.08361, find
the loss flat in this ratio; large models sit near it)."""


def run_wanted(run: PublishedRun) -> tuple[Wanted, ...]:
    """Return the stated layout and ever looser versions of it."""
    coarse = Wanted(tensor=run.tensor, context=run.context, pipeline=run.pipeline)
    full = Wanted(
        tensor=run.tensor,
        context=run.context,
        pipeline=run.pipeline,
        expert=run.expert if is_moe(run) else None,
        interleave=run.interleave,
        micro_batch=run.micro_batch,
        recompute=run.recompute if run.recompute in RECOMPUTE else None,
    )
    return tuple(dict.fromkeys((full, coarse, FREE)))


def run_count(run: PublishedRun) -> int:
    """Return the accelerators of a run; unstated: as many as keep steps full."""
    if run.count is not None:
        return run.count
    if run.global_batch is None:
        return UNSTATED_COUNT
    full = run.global_batch * run.sequence_tokens / FULL_STEP_TOKENS
    return int(max(8, 2 ** round(np.log2(full))))


def run_job(run: PublishedRun) -> TrainingJob:
    """Return the job of a run; unstated shapes and batches take usual values."""
    hidden, layers = run.hidden, run.layers
    if not (hidden and layers):
        # parameters = 12 layers hidden**2
        hidden = round((WIDTH_OVER_DEPTH * run.active_parameters / 12) ** (1 / 3))
        layers = max(1, round(hidden / WIDTH_OVER_DEPTH))
    moe = is_moe(run)
    sparsity = run.parameters / run.active_parameters
    model = Model(
        name=run.model,
        kind="moe" if moe else "dense",
        parameters=run.parameters,
        active_parameters=run.active_parameters,
        layers=layers,
        hidden=hidden,
        heads=0,
        kv_heads=0,
        head_dim=0,
        ffn_hidden=0,
        vocabulary=UNSTATED_VOCABULARY,
        experts=round(UNSTATED_EXPERTS_PER_TOKEN * sparsity / UNSTATED_EXPERT_SHARE) if moe else 0,
        experts_per_token=UNSTATED_EXPERTS_PER_TOKEN if moe else 0,
    )
    batch = run.global_batch
    if batch is None:
        batch = max(1, round(run_count(run) * FULL_STEP_TOKENS / run.sequence_tokens))
    precision = PRECISION_ALIASES.get(run.precision, run.precision)
    unit = float(run.sequence_tokens)
    return TrainingJob(model, precision, unit, batch, lora=run.task == "lora")


def usual_network(accelerator: AcceleratorType, count: int, per_node: int | None = None) -> Network:
    """Return the network such accelerators usually come with.

    Parameters
    ----------
    accelerator : AcceleratorType
        Its scale-up link and usual network card.
    count : int
        Accelerators of the gang.
    per_node : int or None
        In one node; None: the usual number.
    """
    node = per_node or accelerator.devices_per_node
    return Network(
        scaleup_bytes_per_s=accelerator.scaleup_bytes_per_s * USABLE_SHARE,
        scaleup_latency_s=SCALEUP_LATENCY_S,
        scaleup_devices=max(1, min(count, max(accelerator.scaleup_devices, node))),
        scaleout_bytes_per_s=accelerator.nic_bytes_per_s * USABLE_SHARE,
        scaleout_latency_s=SCALEOUT_LATENCY_S,
    )


def is_moe(run: PublishedRun) -> bool:
    """Return whether a run is one of a mixture of experts."""
    return run.active_parameters < MOE_SHARE * run.parameters
