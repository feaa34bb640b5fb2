"""Instances of Helix's placement problem (Mei et al., ASPLOS 2025), as JSON.

One object with ``instances``: name to ``num_layers``, ``nodes`` (``id``, ``type`` and
``tokens_per_s_by_layers_held``: tokens/s while holding 1, 2, ... layers) and ``links``
(``[from, to, tokens/s]``, where the ends are ``source``, ``sink`` or ids). A file may also be
one instance by itself, with the three fields at the top.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from scheduler.core.errors import FAULT_CAP, Fault, InputError
from scheduler.core.spread import SpreadInstance
from scheduler.io.json_text import read_json

_LAYERS_CAP: Final = 10_000
_NODES_CAP: Final = 2_000
SOURCE: Final = "source"
SINK: Final = "sink"


def read_helix(path: Path) -> dict[str, SpreadInstance]:
    """Return the instances of the file at `path` by name.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    file, raw = str(path), read_json(path)
    listed = raw.get("instances") if isinstance(raw, dict) else None
    if listed is None and isinstance(raw, dict) and "nodes" in raw:
        listed = {str(raw.get("name", path.stem)): raw}
    if not isinstance(listed, dict) or not listed:
        allowed = "instances: name to num_layers, nodes and links"
        raise InputError([Fault("no instances", file, "instances", allowed=allowed)])
    faults: list[Fault] = []
    made = {name: _Reader(file, name, one, faults).instance() for name, one in listed.items()}
    if faults:
        raise InputError(faults[:FAULT_CAP])
    return {name: one for name, one in made.items() if one is not None}


class _Reader:
    """Reads one instance, noting faults."""

    def __init__(self, file: str, name: str, raw: Any, faults: list[Fault]) -> None:
        self.file = file
        self.name = name
        self.raw = raw
        self.faults = faults

    def instance(self) -> SpreadInstance | None:
        """Return the checked instance, None after noting a fault."""
        before = len(self.faults)
        if not isinstance(self.raw, dict):
            self._fail("", "not an object", allowed="num_layers, nodes and links")
            return None
        layers = self._layers()
        ids, kinds, rates = self._nodes()
        index: dict[str, int] = {}
        for node in ids:
            index.setdefault(node, len(index))
        source, sink, links = self._links(index)
        if len(self.faults) > before:
            return None
        return SpreadInstance(
            self.name, layers, tuple(ids), tuple(kinds), tuple(rates), source, sink, links
        )

    def _fail(self, path: str, message: str, value: object = "", allowed: str = "") -> None:
        where = f"instances.{self.name}" + (f".{path}" if path else "")
        text = value if isinstance(value, str) else repr(value)
        self.faults.append(Fault(message, self.file, where, text, allowed))

    def _layers(self) -> int:
        layers = self.raw.get("num_layers")
        if isinstance(layers, int) and not isinstance(layers, bool) and 1 <= layers <= _LAYERS_CAP:
            return layers
        self._fail("num_layers", "not a count of layers", layers, f"from 1 to {_LAYERS_CAP}")
        return 1

    def _list(self, field: str) -> list[Any]:
        found = self.raw.get(field)
        if isinstance(found, list) and found:
            return found
        self._fail(field, "missing or empty", allowed="a list")
        return []

    def _nodes(self) -> tuple[list[str], list[str], list[tuple[float, ...]]]:
        ids: list[str] = []
        kinds: list[str] = []
        rates: list[tuple[float, ...]] = []
        nodes = self._list("nodes")
        if len(nodes) > _NODES_CAP:
            self._fail("nodes", "too many nodes", len(nodes), f"at most {_NODES_CAP}")
            return ids, kinds, rates
        for i, node in enumerate(nodes):
            at = f"nodes[{i}]"
            if not isinstance(node, dict) or not isinstance(node.get("id"), (str, int)):
                self._fail(at, "not a node", allowed="id, type, tokens_per_s_by_layers_held")
                continue
            name = str(node["id"])
            if name in ids or name in (SOURCE, SINK):
                self._fail(f"{at}.id", "the id is taken", name, "a unique id")
            table = node.get("tokens_per_s_by_layers_held")
            if not isinstance(table, list) or not table:
                self._fail(f"{at}.tokens_per_s_by_layers_held", "not a list of rates")
                table = []
            ids.append(name)
            kinds.append(str(node.get("type", "")))
            field = f"{at}.tokens_per_s_by_layers_held"
            rates.append(tuple(self._rate(f"{field}[{k}]", v) for k, v in enumerate(table)))
        return ids, kinds, rates

    def _rate(self, path: str, value: object) -> float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if good and math.isfinite(value) and value >= 0:  # type: ignore[arg-type,operator]
            return float(value)  # type: ignore[arg-type]
        self._fail(path, "not a rate", value, "tokens/s of at least 0")
        return 0.0

    def _links(self, index: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(index)
        source, sink, links = np.zeros(n), np.zeros(n), np.zeros((n, n))
        for i, link in enumerate(self._list("links")):
            at = f"links[{i}]"
            if not isinstance(link, list) or len(link) != 3:
                self._fail(at, "not a link", allowed="[from, to, tokens/s]")
                continue
            tail, head = str(link[0]), str(link[1])
            rate = self._rate(f"{at}[2]", link[2])
            if tail == SOURCE and head in index:
                source[index[head]] = rate
            elif head == SINK and tail in index:
                sink[index[tail]] = rate
            elif tail in index and head in index and tail != head:
                links[index[tail], index[head]] = rate
            else:
                self._fail(at, "ends that are not two nodes", f"{tail} to {head}")
        return source, sink, links
