"""Jobs of an LLM laboratory: evaluation, debugging, fine-tuning, pre-training.

The table is calibrated so that, at its defaults and without a limit on gangs, it reproduces
the published summary of Acme's Seren cluster (InternLM/AcmeTrace, data/cluster_summary.csv,
CC-BY-4.0); which model a task trains is our choice:

=============================== ========= =====
figure                          published table
=============================== ========= =====
accelerators per job, mean      5.68      5.6
run time, median (s)            122       116
run time, mean (s)              1,414     1,400
accelerator-seconds per job     32,400    33,400
completed/cancelled/failed, %   50/7/43   49/7/44
the same of accelerator time, % 21/66/12  28/63/9
=============================== ========= =====
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scheduler.core.units import GIB
from scheduler.core.workload import JobClass, ModelPhysics, RunTimePhysics
from scheduler.generate.devices import DEVICES
from scheduler.generate.durations import Mixture
from scheduler.generate.published import PHILLY_BATCHES, philly_gang_class
from scheduler.generate.training import Strand

MODEL_FLOPS_UTILISATION = 0.45
"""Share of the reference's dense 16-bit peak that a drawn run time assumes, 6 FLOPs per active
parameter and token. Published bf16 runs of 7 to 72 billion parameters on A100 and H100: quartiles
.37 and .49, best tenth above .53."""

ACTIVE_PARAMETERS: Mapping[str, float] = MappingProxyType(
    {
        "llama-3.2-3b": 3.21e9,
        "qwen-2.5-7b": 7.6e9,
        "llama-3-8b": 8.0e9,
        "qwen-2.5-32b": 32.8e9,
        "llama-3-70b": 70.6e9,
        "mixtral-8x7b": 12.9e9,
        "qwen3-235b-a22b": 22.2e9,
    }
)
"""Parameters that one token passes through (model cards)."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Laws that hold for all jobs of one task."""

    median_s: float
    sd: float
    cancelled: float
    failed: float
    is_short: bool


_TASKS = {
    "eval": _Task(200, 1.2, cancelled=0.02, failed=0.46, is_short=True),
    "debug": _Task(200, 1.2, cancelled=0.05, failed=0.50, is_short=True),
    "sft": _Task(7000, 1.3, cancelled=0.35, failed=0.25, is_short=False),
    "pretrain": _Task(10000, 1.3, cancelled=0.80, failed=0.15, is_short=False),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """Share of all jobs by task, gang and what is run."""

    task: str
    gang: int
    share: float
    model: str = ""  # empty: run time only
    precision: str = "bf16"
    stacks: tuple[str, ...] | None = None
    choices: tuple[int, ...] = ()  # elastic gang sizes; empty: rigid
    memory_bytes: float = 0.0


_CUDA = ("cuda",)
_ROWS = (
    _Row("eval", 1, 0.403),
    _Row("eval", 1, 0.200, stacks=_CUDA, memory_bytes=40 * GIB),
    _Row("eval", 2, 0.050),
    _Row("eval", 4, 0.050, stacks=_CUDA),
    _Row("eval", 8, 0.040),
    _Row("debug", 8, 0.030),
    _Row("debug", 8, 0.045, "qwen-2.5-7b"),
    _Row("debug", 8, 0.040, "llama-3-8b", stacks=_CUDA),
    _Row("debug", 16, 0.030, "qwen-2.5-32b"),
    _Row("sft", 2, 0.008, "llama-3.2-3b"),
    _Row("sft", 4, 0.008, "qwen-2.5-7b"),
    _Row("sft", 8, 0.014, "qwen-2.5-7b", choices=(4, 8)),
    _Row("sft", 8, 0.010, "llama-3-8b", stacks=_CUDA),
    _Row("sft", 8, 0.007, "llama-3-8b", precision="fp8"),
    _Row("sft", 16, 0.015, "qwen-2.5-32b"),
    _Row("sft", 16, 0.010, "qwen-2.5-32b", precision="fp8"),
    _Row("sft", 32, 0.009, "llama-3-70b", stacks=_CUDA),
    _Row("pretrain", 32, 0.011, "qwen-2.5-7b", choices=(16, 32, 64)),
    _Row("pretrain", 32, 0.006, "llama-3-8b", precision="fp8"),
    _Row("pretrain", 64, 0.006, "qwen-2.5-32b"),
    _Row("pretrain", 64, 0.003, "mixtral-8x7b", stacks=_CUDA),
    _Row("pretrain", 128, 0.0035, "llama-3-70b", choices=(64, 128)),
    _Row("pretrain", 256, 0.0015, "qwen3-235b-a22b", stacks=_CUDA),
)

SHORT_SHARE = math.fsum(r.share for r in _ROWS if _TASKS[r.task].is_short)
"""Share of jobs that are evaluation or debugging."""


def lab_strands(
    *,
    reference: str,
    max_gang: int,
    short_share: float,
    run_time_scale: float,
    max_batch: int,
    prefix: str,
) -> tuple[Strand, ...]:
    """Return the strands of the laboratory.

    Parameters
    ----------
    reference : str
        Key of `DEVICES`: the type on which run times are drawn.
    max_gang : int
        Rows with larger gangs are left out; larger elastic choices are cut.
    short_share : float
        Share of jobs that are evaluation or debugging.
    run_time_scale : float
        Factor on all planned run times.
    max_batch : int
        Largest batch.
    prefix : str
        Start of class names.
    """
    rows = [r for r in _ROWS if r.gang <= max_gang]
    total = {
        short: math.fsum(r.share for r in rows if _TASKS[r.task].is_short is short)
        for short in (True, False)
    }
    if not total[False]:  # every longer task needs more accelerators than `max_gang`
        short_share = 1.0
    strands = []
    for row in rows:
        task = _TASKS[row.task]
        part = short_share if task.is_short else 1.0 - short_share
        if part == 0:
            continue
        batch = PHILLY_BATCHES[philly_gang_class(row.gang)].capped(max_batch)
        strands.append(
            Strand(
                _job_class(row, reference, max_gang, prefix),
                row.gang,
                part * row.share / total[task.is_short],
                Mixture((1.0,), (math.log(task.median_s * run_time_scale),), (task.sd,)),
                batch,
                work_per_s=_work_per_s(row, reference),
                cancelled=task.cancelled,
                failed=task.failed,
            )
        )
    return tuple(strands)


def _work_per_s(row: _Row, reference: str) -> float:
    """Return tokens per second of the whole gang on the reference (seconds per second if none)."""
    if not row.model:
        return 1.0
    flops_per_token = 6.0 * ACTIVE_PARAMETERS[row.model]
    flops_per_s = MODEL_FLOPS_UTILISATION * DEVICES[reference].flops
    return row.gang * flops_per_s / flops_per_token


def _job_class(row: _Row, reference: str, max_gang: int, prefix: str) -> JobClass:
    parts = [prefix, row.task, row.model, row.precision if row.precision != "bf16" else ""]
    if row.stacks is not None:
        parts.append("-".join(row.stacks))
    parts.append(str(row.gang))
    sizes = tuple(g for g in row.choices or (row.gang,) if g <= max_gang)
    is_long = not _TASKS[row.task].is_short
    return JobClass(
        "-".join(p for p in parts if p),
        ModelPhysics(row.model, row.precision, global_batch=512 if row.task == "pretrain" else 128)
        if row.model
        else RunTimePhysics(reference),
        sizes,
        precision=row.precision if row.model else None,
        stacks=row.stacks,
        memory_bytes=row.memory_bytes,
        preemptible=row.task != "debug",
        restart_s=120.0 if is_long else 30.0,
        checkpoint_s=1800.0,
    )
