"""Reads tables of published training runs (CSV, one run per row)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.io.catalogue import CONFIDENCES, find_accelerator

REQUIRED_COLUMNS = ("accelerator", "precision", "seq_len")
"""Columns a table must have, and one of `PARAMETER_COLUMNS`."""

PARAMETER_COLUMNS = ("params_total_b", "params_active_b")
ID_COLUMNS = ("run_id", "row", "id")
BILLION = 1e9

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
        CSV with a header: `REQUIRED_COLUMNS`, `PARAMETER_COLUMNS` in billions, and where
        known ``tokens_per_s_per_device``, ``task``, ``n_layers``, ``hidden``,
        ``device_count``, ``devices_per_node``, ``tp``, ``cp``, ``pp``, ``ep``, ``vp``,
        ``global_batch_seqs``, ``micro_batch_seqs``, ``activation_recompute``,
        ``value_kind``, ``source_group``, ``confidence`` and one of `ID_COLUMNS` (else rows
        are numbered from 1).

    Raises
    ------
    InputError
        With every fault of the file; an unknown accelerator is no fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Fault(f"cannot be read ({error})", str(path))]) from None
    reader = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    header = tuple(reader.fieldnames or ())
    faults = [
        Fault("missing column", str(path), value=c, nearest=nearest_name(c, header))
        for c in REQUIRED_COLUMNS
        if c not in header
    ]
    if not any(c in header for c in PARAMETER_COLUMNS):
        allowed = " or ".join(PARAMETER_COLUMNS)
        faults.append(Fault("no column of parameters", str(path), allowed=allowed))
    if faults:
        raise InputError(faults)
    runs: list[PublishedRun] = []
    unknown: dict[str, str] = {}
    for number, cells in enumerate(reader, 1):
        row = _Row({k: (v or "").strip() for k, v in cells.items() if k}, str(path), number)
        run = row.run()
        faults += row.faults
        if isinstance(run, PublishedRun):
            runs.append(run)
        elif run:
            unknown[row.id] = run
    if faults:
        raise InputError(faults)
    if not runs and not unknown:
        raise InputError([Fault("holds no rows", str(path))])
    return PublishedRunsTable(tuple(runs), unknown)


class _Row:
    """One row, collecting its faults."""

    def __init__(self, cells: Mapping[str, str], file: str, number: int) -> None:
        self.cells = cells
        self.file = file
        self.id = next((cells[c] for c in ID_COLUMNS if cells.get(c)), str(number))
        self.faults: list[Fault] = []

    def number(self, column: str, *, required: bool = False) -> float | None:
        """Return a positive number, None for an empty cell."""
        text = self.cells.get(column, "")
        if not text and not required:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value > 0:
            return value
        self._fault("bad number", column, "a positive number" + ("" if required else ", or empty"))
        return None

    def whole(self, column: str) -> int | None:
        value = self.number(column)
        return None if value is None else max(1, round(value))

    def choice(self, column: str, allowed: tuple[str, ...], default: str) -> str:
        text = self.cells.get(column, "") or default
        if text not in allowed:
            self._fault("unknown value", column, ", ".join(allowed))
        return text

    def run(self) -> PublishedRun | str:
        """Return the run, or why it has no place in the catalogue ("" beside faults)."""
        accelerator: AcceleratorType | None = None
        unknown = ""
        try:
            accelerator = find_accelerator(self.cells["accelerator"])
        except InputError as error:
            unknown = str(error)
        total = self.number("params_total_b")
        active = self.number("params_active_b")
        total, active = total or active, active or total
        if total is None or active is None:
            self._fault("number of parameters is missing", "params_total_b", "billions")
        rate = self.number("tokens_per_s_per_device")
        sequence = self.number("seq_len", required=True)
        task = self.choice("task", ("pretrain", "sft", "lora"), "pretrain")
        confidence = self.choice("confidence", CONFIDENCES, "medium")
        numbers = {
            name: self.whole(column)
            for name, column in (
                ("count", "device_count"),
                ("global_batch", "global_batch_seqs"),
                ("per_node", "devices_per_node"),
                ("tensor", "tp"),
                ("context", "cp"),
                ("pipeline", "pp"),
                ("expert", "ep"),
                ("interleave", "vp"),
                ("micro_batch", "micro_batch_seqs"),
            )
        }
        layers, hidden = self.whole("n_layers"), self.whole("hidden")
        if accelerator is None:
            return unknown
        if total is None or active is None or sequence is None or self.faults:
            return ""
        return PublishedRun(
            id=self.id,
            source=self.cells.get("source_group", "") or self.cells.get("source_title", ""),
            model=self.cells.get("model", ""),
            accelerator=accelerator,
            precision=self.cells["precision"],
            task=task,  # type: ignore[arg-type]
            parameters=total * BILLION,
            active_parameters=active * BILLION,
            layers=layers or 0,
            hidden=hidden or 0,
            sequence_tokens=round(sequence),
            tokens_per_s=rate,
            measured=_measured(self.cells.get("value_kind", "")),
            recompute=self.cells.get("activation_recompute", ""),
            confidence=confidence,
            **numbers,
        )

    def _fault(self, message: str, column: str, allowed: str = "") -> None:
        value = self.cells.get(column, "")
        self.faults.append(Fault(message, self.file, f"row {self.id}: {column}", value, allowed))


def _measured(kind: str) -> Measured:
    """Return what a figure counts, from the table's words for it."""
    if "device-hours" in kind:
        return "device-hours"
    if "evaluation included" in kind:
        return "with evaluation"
    return "steady"
