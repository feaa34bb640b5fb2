"""Reads tables of published inference measurements (CSV, one run per row)."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model
from scheduler.io.catalogue import find_accelerator, find_model

COLUMNS = ("model", "precision", "accelerator", "n_accel", "tp", "engine", "isl", "osl", "batch")
"""Columns a table must have, besides at least one measured one."""

MEASURED_COLUMNS = ("prefill_ms", "decode_step_ms", "decode_tok_s")
ID_COLUMNS = ("run_id", "row", "id")
MS = 1e-3

MeasurementKind = Literal["static", "serving", "layer"]
Item = TypeVar("Item", AcceleratorType, Model)


@dataclass(frozen=True, slots=True)
class PublishedInference:
    """One published measurement of a served model.

    Parameters
    ----------
    id : str
        Of the row.
    model, accelerator : Model, AcceleratorType
        Catalogue entries.
    precision : str
        Of the weights.
    count, tensor_parallel : int
        Accelerators in all, and those one copy of the model is spread over.
    engine : str
        Serving software as named.
    kind : str
        ``static``: one batch of prompts, then decoding; ``serving``: `batch` clients that
        each send the next request when the last is answered; ``layer``: a decode pass
        through one transformer layer.
    prompt_tokens, output_tokens : float or None
        None where not stated.
    batch : float
        Sequences, or clients.
    prefill_s : float or None
        Time to the first token.
    decode_step_s, decode_tokens_per_s : float or None
        Time per output token, and output tokens per second of all sequences.
    source : str
        Where the row comes from.
    """

    id: str
    model: Model
    accelerator: AcceleratorType
    precision: str
    count: int
    tensor_parallel: int
    engine: str
    kind: MeasurementKind
    prompt_tokens: float | None
    output_tokens: float | None
    batch: float
    prefill_s: float | None
    decode_step_s: float | None
    decode_tokens_per_s: float | None
    source: str


@dataclass(frozen=True, slots=True)
class PublishedInferenceTable:
    """Rows that could be read, and why the others could not be placed in the catalogues.

    Parameters
    ----------
    runs : tuple of PublishedInference
        In file order.
    unknown : mapping of str to str
        Row id to the reason: a model or accelerator without a catalogue entry.
    """

    runs: tuple[PublishedInference, ...]
    unknown: Mapping[str, str]


def read_published_inference(path: Path) -> PublishedInferenceTable:
    """Read a table of published inference measurements.

    Parameters
    ----------
    path : Path
        CSV with a header; see `COLUMNS`, `MEASURED_COLUMNS` and, optionally, ``kind``,
        ``source`` and one of `ID_COLUMNS` (else rows are numbered from 1).

    Raises
    ------
    InputError
        With every fault of the file; names missing from the catalogues are no fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Fault(f"cannot be read ({error})", str(path))]) from None
    reader = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    header = tuple(reader.fieldnames or ())
    faults = [
        Fault("missing column", str(path), value=c, nearest=nearest_name(c, header))
        for c in COLUMNS
        if c not in header
    ]
    if not any(c in header for c in MEASURED_COLUMNS):
        faults.append(Fault("no measured column", str(path), allowed=" or ".join(MEASURED_COLUMNS)))
    if faults:
        raise InputError(faults)
    runs: list[PublishedInference] = []
    unknown: dict[str, str] = {}
    for number, cells in enumerate(reader, 1):
        row = _Row({k: (v or "").strip() for k, v in cells.items() if k}, str(path), number)
        run = row.run()
        faults += row.faults
        if isinstance(run, PublishedInference):
            runs.append(run)
        else:
            unknown[row.id] = run
    if faults:
        raise InputError(faults)
    return PublishedInferenceTable(tuple(runs), unknown)


class _Row:
    """One row, collecting its faults."""

    def __init__(self, cells: Mapping[str, str], file: str, number: int) -> None:
        self.cells = cells
        self.file = file
        self.id = next((cells[c] for c in ID_COLUMNS if cells.get(c)), str(number))
        self.faults: list[Fault] = []

    def number(self, column: str) -> float | None:
        """Return a positive number, None for an empty cell."""
        text = self.cells.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value > 0:
            return value
        self._fault("bad number", column, "a positive number, or empty")
        return None

    def whole(self, column: str, default: int) -> int:
        value = self.number(column)
        if value is None:
            return default
        if value != int(value):
            self._fault("bad number", column, "a whole number")
            return default
        return int(value)

    def run(self) -> PublishedInference | str:
        """Return the run, or why its names are unknown."""
        model = resolve(self.cells["model"], model_spellings, find_model)
        accelerator = resolve(self.cells["accelerator"], accelerator_spellings, find_accelerator)
        prefill_ms, step_ms = self.number("prefill_ms"), self.number("decode_step_ms")
        count = self.whole("n_accel", 1)
        parallel = self.whole("tp", count)
        if count % parallel:
            self._fault("accelerators are no multiple of tp", "n_accel", "a multiple of tp")
        kind = self._kind()
        batch, prompt, output = self.number("batch"), self.number("isl"), self.number("osl")
        per_second = self.number("decode_tok_s")
        if isinstance(model, str) or isinstance(accelerator, str):
            return "; ".join(found for found in (model, accelerator) if isinstance(found, str))
        return PublishedInference(
            id=self.id,
            model=model,
            accelerator=accelerator,
            precision=self.cells["precision"],
            count=count,
            tensor_parallel=parallel,
            engine=self.cells["engine"],
            kind=kind,
            prompt_tokens=prompt,
            output_tokens=output,
            batch=batch or 1.0,
            prefill_s=None if prefill_ms is None else prefill_ms * MS,
            decode_step_s=None if step_ms is None else step_ms * MS,
            decode_tokens_per_s=per_second,
            source=self.cells.get("source", ""),
        )

    def _kind(self) -> MeasurementKind:
        text = self.cells.get("kind", "").casefold()
        if "one transformer layer" in text or "per layer" in text:
            return "layer"
        return "serving" if "serving" in text or "concurrency" in text else "static"

    def _fault(self, message: str, column: str, allowed: str) -> None:
        value = self.cells.get(column, "")
        self.faults.append(Fault(message, self.file, f"row {self.id}: {column}", value, allowed))


def resolve(
    name: str, spellings: Callable[[str], tuple[str, ...]], find: Callable[[str], Item]
) -> Item | str:
    """Return the catalogue entry some spelling of `name` finds, or why there is none."""
    reason = ""
    for spelling in spellings(name):
        try:
            return find(spelling)
        except InputError as error:
            reason = reason or str(error)
    return reason


def model_spellings(name: str) -> tuple[str, ...]:
    """Return the names to look a model up by: the repository's owner and variant dropped."""
    short = name.rsplit("/", 1)[-1].casefold().replace("_", "-")
    plain = re.sub(r"^meta-(?=llama)", "", short)
    bare = re.sub(
        r"-(instruct|chat|it|hf|base|nvfp4|mxfp4|fp8|fp4|awq|gptq|w4a16|bf16|v\d(\.\d)?|\d{4})\b.*$",
        "",
        plain,
    )
    dashed = re.sub(r"^(llama|qwen|gemma|mistral|phi)(\d)", r"\1-\2", bare)
    return tuple(dict.fromkeys((name, short, plain, bare, dashed)))


_PLAIN_NAMES = {"a100": "A100-40GB-SXM"}
"""In tables that also name an ``a100-80gb``, the plain name is the first, 40 GB part."""


def accelerator_spellings(name: str) -> tuple[str, ...]:
    """Return the names to look an accelerator up by: form factor and maker dropped."""
    short = name.casefold().replace("_", "-").replace(" ", "-")
    bare = re.sub(r"-(sxm\d?|oam|hgx|nvl\d*)$", "", short)
    maker = re.sub(r"^(nvidia|amd|intel|google|huawei)-", "", bare)
    plain = _PLAIN_NAMES.get(short, name)
    return tuple(dict.fromkeys((plain, short, bare, maker, f"{maker}-sxm")))
