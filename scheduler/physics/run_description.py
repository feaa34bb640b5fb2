"""Published training runs as jobs of the formula: what they state, and usual values else."""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.model import Model, usual_shape
from scheduler.io.published_runs import PublishedRun
from scheduler.physics.parallelism import FREE, RECOMPUTE, Wanted
from scheduler.physics.step_time import PRECISION_ALIASES, TrainingJob
from scheduler.physics.training_constants import FULL_STEP_TOKENS

MOE_SHARE: Final = 0.95
"""Active over all weights below which a run is taken as a mixture of experts."""

UNSTATED_COUNT: Final = 1024
UNSTATED_VOCABULARY: Final = 50304
UNSTATED_EXPERTS_PER_TOKEN: Final = 8
UNSTATED_EXPERT_SHARE: Final = 0.5
"""Of the active weights, how many are routed experts."""


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
        layers, hidden = usual_shape(run.active_parameters)
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


def is_moe(run: PublishedRun) -> bool:
    """Return whether a run is one of a mixture of experts."""
    return run.active_parameters < MOE_SHARE * run.parameters
