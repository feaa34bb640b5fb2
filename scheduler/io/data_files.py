"""Where topologies and workloads lie, and how a name becomes a path.

The wheel carries the top-level folders inside the package (`scheduler/_data`), so a name
means the same in a checkout and after installation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from scheduler.core.errors import Fault, InputError, nearest_name

Kind = Literal["topology", "workload"]

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS: Final = {"topology": "topologies", "workload": "workloads"}
_HEAD_BYTES: Final = 4096
_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A shipped topology or workload.

    Parameters
    ----------
    name, title : str
        File name without suffix; a line for people.
    path : Path
        Where it lies.
    """

    name: str
    title: str
    path: Path


def list_topologies() -> list[DataFile]:
    """Return the shipped topologies by name, reading only the head of each file."""
    return _listed("topology")


def list_workloads() -> list[DataFile]:
    """Return the shipped workloads by name, reading only the head of each file."""
    return _listed("workload")


def resolve(path_or_name: str | Path, kind: Kind) -> Path:
    """Return the path of a topology or workload.

    Parameters
    ----------
    path_or_name : str or Path
        An existing file; else the name of a shipped file, with or without suffix.
    kind : {"topology", "workload"}
        What is looked for.

    Raises
    ------
    InputError
        If nothing is found, with the nearest name.
    """
    given = str(path_or_name)
    path = Path(given)
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError):  # a name that no file system takes
        is_folder = False
    if is_folder:
        raise InputError([Fault(f"a folder, not a {kind} file", given, allowed="a file")])
    known = {f.name: f.path for f in _listed(kind)}
    name = given.removesuffix(".yaml").removesuffix(".yml")
    if name in known:
        return known[name]
    allowed = f"an existing file or one of: {', '.join(known)}"
    nearest = nearest_name(Path(name).name, known)
    raise InputError(
        [Fault(f"no such {kind} file or name", value=given, allowed=allowed, nearest=nearest)]
    )


def _listed(kind: Kind) -> list[DataFile]:
    found: dict[str, DataFile] = {}
    for path in _candidates(kind):
        title = _title(path, kind)
        if title is not None:
            found.setdefault(path.stem, DataFile(path.stem, title, path))
    return sorted(found.values(), key=lambda f: f.name)


def _candidates(kind: Kind) -> Iterator[Path]:
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        folder = root / _FOLDERS[kind]
        if folder.is_dir():
            yield from (p for p in sorted(folder.iterdir()) if p.suffix in _SUFFIXES)


def _title(path: Path, kind: Kind) -> str | None:
    """Return the title in the head of a file of this kind, None for another kind of file."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    if not re.search(rf"^schema:\s*{kind}/\d+\s*(#.*)?$", head, re.MULTILINE):
        return None
    title = re.search(r"^title:[ \t]*(.*?)[ \t\r]*$", head, re.MULTILINE)
    return re.sub(r"^(['\"])(.*)\1$", r"\2", title[1]) if title else ""
