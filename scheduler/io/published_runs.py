"""Reads tables of published training runs (CSV, one run per row)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError
from scheduler.io.catalogue import CONFIDENCES, find_model
from scheduler.io.published_cells import Row, read_published
from scheduler.io.published_names import (
    BILLION,
    model_spellings,
    named_accelerator,
    parameters_in_name,
    precision_word,
    resolve,
)

SIZE_COLUMNS: Final = ("params_total_b", "params_active_b", "model")
UNSTATED_SEQUENCE: Final = 4096

_DEGREES: Final = {
    "count": "device_count",
    "global_batch": "global_batch_seqs",
    "per_node": "devices_per_node",
    "tensor": "tp",
    "context": "cp",
    "pipeline": "pp",
    "expert": "ep",
    "interleave": "vp",
    "micro_batch": "micro_batch_seqs",
}

Task = Literal["pretrain", "sft", "lora"]
Measured = Literal["steady", "with evaluation", "device-hours"]


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """One published training run.

    Parameters
    ----------
    id, source, model : str
        Row name, group of sources it belongs to, name of the model.
    accelerator : AcceleratorType
        Catalogue entry.
    precision : str
        As printed (``mxfp8``, ``nvfp4`` included).
    task : str
        ``pretrain``, ``sft`` or ``lora``.
    parameters, active_parameters : float
        All weights, and those one token passes through.
    layers, hidden : int
        0 where not stated.
    sequence_tokens : int
        Tokens of a sequence.
    tokens_per_s : float or None
        Measured, per accelerator; None: to be predicted only.
    measured : str
        What that counts: ``steady`` steps, run time ``with evaluation``, or tokens over
        ``device-hours``.
    count, global_batch, per_node : int or None
        None where not stated, as below.
    tensor, context, pipeline, expert, interleave, micro_batch : int or None
        Stated degrees of parallelism.
    recompute : str
        ``none``, ``selective``, ``full``, another word, or ``""``.
    confidence : str
        ``high``, ``medium`` or ``low``.
    """

    id: str
    source: str
    model: str
    accelerator: AcceleratorType
    precision: str
    task: Task
    parameters: float
    active_parameters: float
    layers: int
    hidden: int
    sequence_tokens: int
    tokens_per_s: float | None
    measured: Measured
    count: int | None
    global_batch: int | None
    per_node: int | None
    tensor: int | None
    context: int | None
    pipeline: int | None
    expert: int | None
    interleave: int | None
    micro_batch: int | None
    recompute: str
    confidence: str


@dataclass(frozen=True, slots=True)
class PublishedRunsTable:
    """Rows that could be read, and why the others could not be placed in the catalogue.

    Parameters
    ----------
    runs : tuple of PublishedRun
        In file order.
    unknown : mapping of str to str
        Row id to the reason: an accelerator without a catalogue entry.
    """

    runs: tuple[PublishedRun, ...]
    unknown: Mapping[str, str]


def read_published_runs(path: Path) -> PublishedRunsTable:
    """Read a table of published training runs.

    Parameters
    ----------
    path : Path
        CSV with a header: ``accelerator`` and one of `SIZE_COLUMNS` (weights in billions, or
        a model's name), and where known ``precision``, ``seq_len``,
        ``tokens_per_s_per_device``, ``task``, ``n_layers``, ``hidden``, ``device_count``,
        ``devices_per_node``, ``tp``, ``cp``, ``pp``, ``ep``, ``vp``, ``global_batch_seqs``,
        ``micro_batch_seqs``, ``activation_recompute``, ``value_kind``, ``source_group``,
        ``confidence`` and one of `ID_COLUMNS` (else rows are numbered from 1). Empty cells
        take usual values.

    Raises
    ------
    InputError
        With every fault of the file; an unknown accelerator or model is no fault.
    """
    runs: list[PublishedRun] = []
    unknown: dict[str, str] = {}
    faults: list[Fault] = []
    for row in read_published(path, (("accelerator",), SIZE_COLUMNS)):
        run = _run(row)
        faults += row.faults
        if isinstance(run, PublishedRun):
            runs.append(run)
        else:
            unknown[row.id] = run
    if faults:
        raise InputError(faults)
    return PublishedRunsTable(tuple(runs), unknown)


def _run(row: Row) -> PublishedRun | str:
    """Return the run, or why it has no place in the catalogue."""
    name = row.text("accelerator")
    accelerator = named_accelerator(name) if name else "no accelerator"
    size = _size(row)
    confidence = row.text("confidence").casefold()
    rate, sequence = row.number("tokens_per_s_per_device"), row.number("seq_len")
    layers, hidden = row.whole("n_layers"), row.whole("hidden")
    degrees = {field: row.whole(column) for field, column in _DEGREES.items()}
    if isinstance(accelerator, str) or isinstance(size, str):
        return "; ".join(reason for reason in (accelerator, size) if isinstance(reason, str))
    return PublishedRun(
        id=row.id,
        source=row.text("source_group") or row.text("source_title"),
        model=row.text("model"),
        accelerator=accelerator,
        precision=precision_word(row.text("precision"), accelerator),
        task=_task(row.text("task").casefold()),
        parameters=size[0],
        active_parameters=size[1],
        layers=layers or 0,
        hidden=hidden or 0,
        sequence_tokens=max(1, round(sequence or UNSTATED_SEQUENCE)),
        tokens_per_s=rate,
        measured=_measured(row.text("value_kind")),
        recompute=row.text("activation_recompute"),
        confidence=confidence if confidence in CONFIDENCES else "medium",
        **degrees,
    )


def _size(row: Row) -> tuple[float, float] | str:
    """Return all and active weights: stated, of the named model, or in its name."""
    total, active = row.number("params_total_b"), row.number("params_active_b")
    if total or active:
        whole, used = total or active or 0.0, active or total or 0.0
        return max(whole, used) * BILLION, used * BILLION
    name = row.text("model")
    if not name:
        return "no number of parameters, and no model"
    model = resolve(name, model_spellings, find_model)
    if not isinstance(model, str):
        return model.parameters, model.active_parameters
    return parameters_in_name(name) or f"no number of parameters, and {model}"


def _task(text: str) -> Task:
    """Return what is trained, from the table's word for it."""
    if "lora" in text or "adapter" in text:
        return "lora"
    return "sft" if "sft" in text or "tun" in text else "pretrain"


def _measured(kind: str) -> Measured:
    """Return what a figure counts, from the table's words for it."""
    if "device-hours" in kind:
        return "device-hours"
    if "evaluation included" in kind:
        return "with evaluation"
    return "steady"
