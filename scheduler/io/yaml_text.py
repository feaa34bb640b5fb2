"""YAML as plain data with line numbers, and nothing else.

PyYAML's own loaders read ``no`` as False and ``12:30:00`` as 45000, keep the last of two
equal keys in silence, expand aliases (396 bytes can stand for 9**9 leaves) and build what
tags ask for. Here data are built from the parser's events, without recursion and without
constructors: plain scalars are null, true, false or a JSON-like number, and text otherwise;
duplicate keys, anchors, aliases and tags are faults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from scheduler.core.errors import Fault, InputError

SIZE_CAP_BYTES: Final = 32 * 2**20
DEPTH_CAP: Final = 64
VALUE_CAP: Final = 2_000_000
DOCUMENT_FAULT_CAP: Final = 200  # a hostile file may hold millions of duplicates

FieldPath = tuple[str | int, ...]

_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is built in
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_WORDS: dict[str, bool | float | None] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_WORDS |= {w: float("inf") for w in (".inf", ".Inf", ".INF", "+.inf")} | {"-.inf": float("-inf")}
_WORDS |= {w: float("nan") for w in (".nan", ".NaN", ".NAN")}
_EXACT_DIGITS = 18  # longer integers become floats; they are never counts


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    Parameters
    ----------
    file : str
        Name for messages.
    data : dict
        Mappings, lists, text, numbers, booleans and None.
    lines : dict of FieldPath to int
        One-based line of each field.
    faults : list of Fault
        Duplicate keys: the first is kept, so that the rest can still be checked.
    """

    file: str
    data: dict[str, Any]
    lines: dict[FieldPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: FieldPath) -> int:
        """Return the line of `path` or of its nearest parent that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def show_path(path: FieldPath) -> str:
    """Return `path` as ``pods[1].nodes[0].accelerator``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def read_yaml(path: Path, file: str | None = None) -> Document:
    """Return the document in the file at `path`.

    Parameters
    ----------
    path : Path
        Where it lies.
    file : str, optional
        Name for messages, by default `path` as text.

    Raises
    ------
    InputError
        If it cannot be read, or as `parse_yaml`.
    """
    name = file or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(SIZE_CAP_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError([Fault(f"cannot be read: {reason}", name)]) from error
    return parse_yaml(raw, name)


def parse_yaml(raw: bytes, file: str) -> Document:
    """Return the document in `raw`; see the module for what is refused.

    Raises
    ------
    InputError
        If `raw` is empty, too large, not UTF-8, not one YAML mapping, nested too deeply,
        or uses anchors, aliases or tags.
    """
    text = _decode(raw, file)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_EVENTS):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        builder.stop(Fault(message, file, line=mark.line + 1 if mark else 0))
    except yaml.YAMLError as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        reason = getattr(error, "reason", "unreadable")
        builder.stop(Fault(f"not valid YAML: {reason}", file, line=line))
    return builder.document()


def scalar(text: str) -> str | int | float | bool | None:
    """Return what people mean by the plain (unquoted) scalar `text`.

    ``1e3`` is a number; ``no``, ``12:30:00``, ``2026-01-31``, ``007`` and ``0x10`` are text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= _EXACT_DIGITS else float(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _decode(raw: bytes, file: str) -> str:
    if len(raw) > SIZE_CAP_BYTES:
        allowed = f"at most {SIZE_CAP_BYTES // 2**20} MiB; put many jobs into a jobs_file"
        raise InputError([Fault("the file is too large", file, allowed=allowed)])
    if raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise InputError([Fault("the file is UTF-16 or UTF-32", file, allowed="UTF-8")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError([Fault("not UTF-8 text", file, allowed="UTF-8", line=line)]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError([Fault("NUL character", file, allowed="text", line=line)])
    if not text.strip():
        raise InputError([Fault("the file is empty", file)])
    return text


class _Builder:
    """Turns parser events into data, with an explicit stack instead of recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.documents = 0
        self.lines: dict[FieldPath, int] = {}
        self.faults: list[Fault] = []
        self.fatal: list[Fault] = []
        self.stack: list[_Open] = []

    def take(self, event: Any) -> None:
        """Handle one event."""
        line = event.start_mark.line + 1
        if len(self.lines) > VALUE_CAP:
            self.stop(Fault("too many values", self.file, allowed=f"{VALUE_CAP}", line=line))
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.stop(Fault("more than one document", self.file, line=line))
        elif isinstance(event, yaml.AliasEvent):
            self._refuse("aliases are not allowed", f"*{event.anchor}", line)
            self._put(None, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_properties(event, line)
            is_key = bool(self.stack) and self.stack[-1].wants_key
            plain = event.implicit[0] and not is_key
            self._put(scalar(event.value) if plain else event.value, line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._check_properties(event, line)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            done = self.stack.pop()
            if not self.stack:
                self.root = done.data

    def stop(self, fault: Fault) -> None:
        """Raise everything found so far, ending with `fault`."""
        raise InputError([*self.faults, *self.fatal, fault])

    def document(self) -> Document:
        """Return the result, or raise the faults that forbid using it."""
        if self.fatal:
            raise InputError([*self.faults, *self.fatal])
        if self.root is None:
            raise InputError([*self.faults, Fault("the file is empty", self.file)])
        if not isinstance(self.root, dict):
            raise InputError(
                [Fault("not a mapping", self.file, allowed="lines of `field: value`", line=1)]
            )
        return Document(self.file, self.root, self.lines, self.faults)

    def _check_properties(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            self._refuse("anchors are not allowed", f"&{event.anchor}", line)
        if event.tag is not None:
            self._refuse("tags are not allowed", event.tag, line)

    def _refuse(self, message: str, value: str, line: int) -> None:
        fault = Fault(message, self.file, self._where(), value, line=line)
        self.fatal.append(fault)
        if len(self.fatal) >= DOCUMENT_FAULT_CAP:
            raise InputError([*self.faults, *self.fatal])

    def _where(self) -> str:
        return show_path(self.stack[-1].here()) if self.stack else ""

    def _open(self, data: Any, line: int) -> None:
        if len(self.stack) >= DEPTH_CAP:
            self.stop(
                Fault("nested too deeply", self.file, allowed=f"{DEPTH_CAP} levels", line=line)
            )
        if self.stack and self.stack[-1].wants_key:
            self.stop(
                Fault(
                    "a key must be text", self.file, self._where(), "a mapping or list", line=line
                )
            )
        path = self._put(data, line)
        self.stack.append(_Open(data, path))

    def _put(self, value: Any, line: int) -> FieldPath:
        if not self.stack:
            self.root = value
            self.lines[()] = line
            return ()
        top = self.stack[-1]
        if top.wants_key:
            top.key, top.key_line, top.wants_key = str(value), line, False
            return top.path
        path = top.here()
        if isinstance(top.data, list):
            top.data.append(value)
            self.lines.setdefault(path, line)
        elif top.key in top.data:
            self._duplicate(path, top)
            top.wants_key = True
        else:
            top.data[top.key] = value
            self.lines.setdefault(path, top.key_line)
            top.wants_key = True
        return path

    def _duplicate(self, path: FieldPath, top: _Open) -> None:
        message = f"duplicate field, first on line {self.lines[path]}"
        self.faults.append(Fault(message, self.file, show_path(path), line=top.key_line))
        if len(self.faults) >= DOCUMENT_FAULT_CAP:
            raise InputError([*self.faults, *self.fatal])


@dataclass(slots=True)
class _Open:
    """A mapping or list that is still being read."""

    data: Any
    path: FieldPath
    key: str = ""
    key_line: int = 0
    wants_key: bool = False

    def __post_init__(self) -> None:
        self.wants_key = isinstance(self.data, dict)

    def here(self) -> FieldPath:
        """Path of the value that comes next."""
        if isinstance(self.data, list):
            return (*self.path, len(self.data))
        return self.path if self.wants_key else (*self.path, self.key)
