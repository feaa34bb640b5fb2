"""Reads tables of published inference measurements (CSV, one run per row)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError
from scheduler.core.model import Model
from scheduler.io.catalogue import find_model
from scheduler.io.published_cells import Row, read_published
from scheduler.io.published_names import (
    model_spellings,
    named_accelerator,
    parameters_in_name,
    precision_word,
    resolve,
    usual_model,
)

MEASURED_COLUMNS: Final = ("prefill_ms", "decode_step_ms", "decode_tok_s")
MS: Final = 1e-3

MeasurementKind = Literal["static", "serving", "layer"]


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
        Row id to the reason, such as an accelerator without a catalogue entry.
    """

    runs: tuple[PublishedInference, ...]
    unknown: Mapping[str, str]


def read_published_inference(path: Path) -> PublishedInferenceTable:
    """Read a table of published inference measurements.

    Parameters
    ----------
    path : Path
        CSV with a header: ``model``, ``accelerator``, one of `MEASURED_COLUMNS`, and where
        known ``precision``, ``n_accel``, ``tp``, ``engine``, ``isl``, ``osl``, ``batch``,
        ``kind``, ``source`` and one of `ID_COLUMNS` (else rows are numbered from 1). Empty
        cells take usual values.

    Raises
    ------
    InputError
        With every fault of the file; names missing from the catalogues are no fault.
    """
    runs: list[PublishedInference] = []
    unknown: dict[str, str] = {}
    faults: list[Fault] = []
    for row in read_published(path, (("model",), ("accelerator",), MEASURED_COLUMNS)):
        run = _run(row)
        faults += row.faults
        if isinstance(run, PublishedInference):
            runs.append(run)
        else:
            unknown[row.id] = run
    if faults:
        raise InputError(faults)
    return PublishedInferenceTable(tuple(runs), unknown)


def _run(row: Row) -> PublishedInference | str:
    """Return the run, or why it is none."""
    model, accelerator = _model(row.text("model")), _accelerator(row.text("accelerator"))
    prefill_ms, step_ms = row.number("prefill_ms"), row.number("decode_step_ms")
    stated_count, stated_parallel = row.whole("n_accel"), row.whole("tp")
    count = max(stated_count or 1, stated_parallel or 1)
    parallel = stated_parallel or count
    batch, prompt, output = row.number("batch"), row.number("isl"), row.number("osl")
    per_second = row.number("decode_tok_s")
    if isinstance(model, str) or isinstance(accelerator, str):
        return "; ".join(found for found in (model, accelerator) if isinstance(found, str))
    if count % parallel:
        return f"{count} accelerators are no multiple of tp {parallel}"
    return PublishedInference(
        id=row.id,
        model=model,
        accelerator=accelerator,
        precision=precision_word(row.text("precision"), accelerator),
        count=count,
        tensor_parallel=parallel,
        engine=row.text("engine"),
        kind=_kind(row.text("kind").casefold()),
        prompt_tokens=prompt,
        output_tokens=output,
        batch=batch or 1.0,
        prefill_s=None if prefill_ms is None else prefill_ms * MS,
        decode_step_s=None if step_ms is None else step_ms * MS,
        decode_tokens_per_s=per_second,
        source=row.text("source"),
    )


def _model(name: str) -> Model | str:
    """Return the named model; one of usual shape where the name states a size only."""
    if not name:
        return "no model"
    found = resolve(name, model_spellings, find_model)
    if isinstance(found, str):
        size = parameters_in_name(name)
        return usual_model(name, *size) if size else found
    return found


def _accelerator(name: str) -> AcceleratorType | str:
    if not name:
        return "no accelerator"
    plain = _PLAIN_NAMES.get(name.casefold(), name)
    return named_accelerator(plain)


_PLAIN_NAMES: Final = {"a100": "A100-40GB-SXM"}
"""In tables that also name an ``a100-80gb``, the plain name is the first, 40 GB part."""


def _kind(text: str) -> MeasurementKind:
    if "one transformer layer" in text or "per layer" in text:
        return "layer"
    return "serving" if "serving" in text or "concurrency" in text else "static"
