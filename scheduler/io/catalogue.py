"""The catalogues that ship with fleetfit: accelerator types and models.

Both are CSV files with a unit in each column name and comment lines on top (schema tag,
title, licence). They are found inside the package after installation and in the top-level
folders of a checkout otherwise.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, get_args

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model, ModelKind
from scheduler.core.units import GB, GIB

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
CONFIDENCES = ("high", "medium", "low")
ACCELERATOR_COLUMNS = (
    *("name", "aliases", "vendor", "stack", "year", "memory_gib", "memory_gb_per_s"),
    *(f"{precision}_tflops" for precision in PRECISIONS),
    *("scaleup_gb_per_s", "scaleup_devices", "devices_per_node", "nic_gbit_per_s"),
    *("idle_w", "peak_w", "price_usd", "usd_per_hour", "prices_as_of"),
    *("export_status", "confidence", "source"),
)
MODEL_COLUMNS = (
    *("name", "aliases", "kind", "parameters", "active_parameters"),
    *("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn_hidden", "vocabulary"),
    *("experts", "experts_per_token", "kv_values_per_token_layer"),
    *("flops_per_sample", "activation_values_per_sample", "source"),
)
GBIT_BYTES = 1e9 / 8
TERA = 1e12

_PACKAGE = Path(__file__).resolve().parents[1]

Item = TypeVar("Item", AcceleratorType, Model)


def catalogue_path(folder: str, file: str) -> Path:
    """Return the path of a data file: the packaged copy, or the checkout's.

    Parameters
    ----------
    folder : str
        ``"topologies"`` or ``"workloads"``.
    file : str
        File name in that folder.

    Raises
    ------
    InputError
        If neither exists (a broken installation).
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        path = root / folder / file
        if path.is_file():
            return path
    raise InputError([Fault("data file is missing from this installation", f"{folder}/{file}")])


@cache
def accelerators() -> Mapping[str, AcceleratorType]:
    """Return the accelerator types by name, in file order."""
    return read_accelerators(catalogue_path("topologies", "accelerators.csv"))


@cache
def models() -> Mapping[str, Model]:
    """Return the models by name, in file order."""
    return read_models(catalogue_path("workloads", "models.csv"))


def find_accelerator(name: str) -> AcceleratorType:
    """Return the accelerator type called `name` or aliased so, case-folded.

    Raises
    ------
    InputError
        If there is none; the message carries the nearest name.
    """
    return _find(name, accelerators(), "accelerator")


def find_model(name: str) -> Model:
    """Return the model called `name` or aliased so, case-folded.

    Raises
    ------
    InputError
        If there is none; the message carries the nearest name.
    """
    return _find(name, models(), "model")


def read_accelerators(path: Path) -> Mapping[str, AcceleratorType]:
    """Read an accelerator catalogue.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    return _read(path, ACCELERATOR_COLUMNS, _accelerator)


def read_models(path: Path) -> Mapping[str, Model]:
    """Read a model catalogue.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    return _read(path, MODEL_COLUMNS, _model)


def _find(name: str, known: Mapping[str, Item], what: str) -> Item:
    if name in known:
        return known[name]
    item = _by_folded_name(what).get(name.casefold())
    if item is None:
        near = nearest_name(name, _names(what))
        raise InputError([Fault(f"unknown {what}", value=name, nearest=near)])
    return item  # type: ignore[return-value]


def _names(what: str) -> list[str]:
    """Return aliases and names; names last, as spellings that differ in case only collide."""
    items = _by_folded_name(what).values()
    return [*(alias for item in items for alias in item.aliases), *(item.name for item in items)]


@cache
def _by_folded_name(what: str) -> Mapping[str, AcceleratorType | Model]:
    known: Mapping[str, AcceleratorType | Model] = (
        accelerators() if what == "accelerator" else models()
    )
    folded: dict[str, AcceleratorType | Model] = {}
    for item in known.values():
        for name in (item.name, *item.aliases):
            folded[name.casefold()] = item
    return MappingProxyType(folded)


class _Row:
    """One line of a catalogue, collecting its faults."""

    def __init__(self, cells: Mapping[str, str], file: str, line: int) -> None:
        self.cells = cells
        self.file = file
        self.line = line
        self.faults: list[Fault] = []

    def text(self, column: str) -> str:
        return (self.cells.get(column) or "").strip()

    def number(self, column: str, *, required: bool = False) -> float:
        """Return a non-negative number; 0 for an empty cell."""
        text = self.text(column)
        if not text and not required:
            return 0.0
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0) or (required and value == 0):
            allowed = "a positive number" if required else "a number of at least 0, or empty"
            self.fault("bad number", column, text, allowed)
            return 1.0
        return value

    def choice(self, column: str, allowed: Iterable[str]) -> str:
        text = self.text(column)
        if text not in (names := tuple(allowed)):
            self.fault("unknown value", column, text, ", ".join(names))
        return text

    def fault(self, message: str, column: str, value: str, allowed: str = "") -> None:
        self.faults.append(Fault(message, self.file, column, value, allowed, line=self.line))


def _read(
    path: Path, columns: tuple[str, ...], build: Callable[[_Row], Item]
) -> Mapping[str, Item]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Fault(f"cannot be read ({error})", str(path))]) from None
    lines = text.splitlines()
    skipped = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    items: dict[str, Item] = {}
    taken: dict[str, str] = {}
    reader = csv.DictReader(lines[skipped:])
    header = reader.fieldnames or ()
    faults = [
        Fault("missing column", path.name, value=column, line=skipped + 1)
        for column in columns
        if column not in header
    ] + [
        Fault("unknown column", path.name, value=c, nearest=nearest_name(c, columns))
        for c in header
        if c not in columns
    ]
    if faults:
        raise InputError(faults)
    for cells in reader:
        row = _Row(cells, path.name, skipped + reader.line_num)
        item: Item = build(row)
        for name in (item.name, *item.aliases):
            if not name:
                row.fault("name is missing", "name", "")
            elif (other := taken.setdefault(name.casefold(), item.name)) != item.name:
                row.fault(f"name is taken by {other}", "name", name)
        if item.name in items:
            row.fault("name appears twice", "name", item.name)
        items[item.name] = item
        faults += row.faults
    if faults:
        raise InputError(faults)
    if not items:
        raise InputError([Fault("holds no rows", str(path))])
    return MappingProxyType(items)


def _accelerator(row: _Row) -> AcceleratorType:
    peaks = {p: row.number(f"{p}_tflops") * TERA for p in PRECISIONS}
    return AcceleratorType(
        name=row.text("name"),
        vendor=row.text("vendor"),
        stack=row.text("stack"),
        memory_bytes=row.number("memory_gib", required=True) * GIB,
        memory_bytes_per_s=row.number("memory_gb_per_s", required=True) * GB,
        peak_flops={p: peak for p, peak in peaks.items() if peak > 0},
        scaleup_bytes_per_s=row.number("scaleup_gb_per_s") * GB,
        idle_w=row.number("idle_w", required=True),
        peak_w=row.number("peak_w", required=True),
        scaleup_devices=int(row.number("scaleup_devices", required=True)),
        devices_per_node=int(row.number("devices_per_node", required=True)),
        nic_bytes_per_s=row.number("nic_gbit_per_s") * GBIT_BYTES,
        price_usd=row.number("price_usd") or None,
        usd_per_hour=row.number("usd_per_hour") or None,
        year=int(row.number("year")),
        export_status=row.text("export_status"),
        confidence=row.choice("confidence", CONFIDENCES),
        source=row.text("source"),
        aliases=tuple(row.text("aliases").split()),
        prices_as_of=row.text("prices_as_of"),
    )


def _model(row: _Row) -> Model:
    kind = row.choice("kind", get_args(ModelKind))
    return Model(
        name=row.text("name"),
        kind=kind,  # type: ignore[arg-type]
        parameters=row.number("parameters", required=True),
        active_parameters=row.number("active_parameters", required=True),
        layers=int(row.number("layers")),
        hidden=int(row.number("hidden")),
        heads=int(row.number("heads")),
        kv_heads=int(row.number("kv_heads")),
        head_dim=int(row.number("head_dim")),
        ffn_hidden=int(row.number("ffn_hidden")),
        vocabulary=int(row.number("vocabulary")),
        experts=int(row.number("experts")),
        experts_per_token=int(row.number("experts_per_token")),
        kv_values_per_token_layer=row.number("kv_values_per_token_layer"),
        flops_per_sample=row.number("flops_per_sample"),
        source=row.text("source"),
        activation_values_per_sample=row.number("activation_values_per_sample"),
        aliases=tuple(row.text("aliases").split()),
    )
