"""Snapshot files, ``schema: snapshot/2``: a run as it stood at one instant.

One JSON object: what `scheduler.simulate.Engine.save` returned, the version that wrote it,
what the run was made from, and a SHA-256 of all of it. The state is that of the engine's own
objects, so it is read by the version that wrote it and by no other; a file that was cut or
changed is known by its hash before anything in it is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError
from scheduler.core.version import VERSION
from scheduler.io.atomic_files import write_text
from scheduler.io.json_text import read_json

SNAPSHOT_SCHEMA: Final = "snapshot/2"
_PARTS: Final[Mapping[str, type]] = {
    "inputs": dict, "policy_name": str, "arguments": dict, "at_us": int, "run": dict,
    "made_from": dict,
}  # fmt: skip


def write_snapshot(
    saved: Mapping[str, Any], path: str | Path, made_from: Mapping[str, Any] | None = None
) -> None:
    """Write a saved run to the file at `path`, atomically.

    Parameters
    ----------
    saved : mapping
        From `scheduler.simulate.Engine.save`.
    path : str or Path
        Not a link.
    made_from : mapping, optional
        Names of its inputs, for messages.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    text = _text({"fleetfit": VERSION, "made_from": dict(made_from or {}), **saved})
    write_text(path, f'{{"sha256":"{_digest(text)}",{text[1:]}\n')


def read_snapshot(path: str | Path) -> dict[str, Any]:
    """Return the saved run in the file at `path`, and its ``made_from``.

    Raises
    ------
    InputError
        If it is not a snapshot, of another version, or not as it was written.
    """
    file = str(path)
    data = read_json(Path(path))
    if not isinstance(data, dict) or data.get("schema") != SNAPSHOT_SCHEMA:
        found = str(data.get("schema", "")) if isinstance(data, dict) else ""
        raise InputError([Fault("another kind of file", file, "schema", found, SNAPSHOT_SCHEMA)])
    if data.get("fleetfit") != VERSION:
        message = "the snapshot was written by another version of fleetfit"
        raise InputError([Fault(message, file, "fleetfit", str(data.get("fleetfit")), VERSION)])
    digest = data.pop("sha256", None)
    whole = all(type(data.get(name)) is kind for name, kind in _PARTS.items())
    if digest != _digest(_text(data)) or not whole:
        raise InputError([Fault("the snapshot is damaged", file, allowed="a file as it was saved")])
    return data


def _text(data: Mapping[str, Any]) -> str:
    """Return JSON in the order of `data`: its parts refer to earlier ones."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
