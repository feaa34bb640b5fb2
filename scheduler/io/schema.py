"""Checking parsed files against pydantic models, with faults that people can act on.

A file is checked section by section by a `Checker`, so that one broken pod does not hide
the faults of the next. Field types made here (`quantity`, `count`, `name`, ...) say what
they allow; references to names defined elsewhere in the file or in a catalogue look the
names up in the checker's context and suggest the nearest.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.io.quantities import (
    NOT_NEGATIVE,
    Dimension,
    QuantityError,
    Span,
    parse_quantity,
)
from scheduler.io.yaml_text import Document, FieldPath, show_path

NAME_LENGTH: Final = 200
TEXT_LENGTH: Final = 20_000
COUNT_CAP: Final = 10_000_000
_NAMES_SHOWN: Final = 8


class Section(BaseModel):
    """A mapping in a file: unknown fields are faults, nothing is converted in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


SectionT = TypeVar("SectionT", bound=Section)


def refuse(message: str, allowed: str = "", nearest: str = "") -> PydanticCustomError:
    """Return the error a validator raises; it becomes a Fault with path, line and value."""
    context = {"message": message, "allowed": allowed, "nearest": nearest}
    return PydanticCustomError("fleetfit", "{message}", context)


def quantity(dimension: Dimension, span: Span = NOT_NEGATIVE) -> BeforeValidator:
    """Text such as ``"80 GiB"``, as SI float."""

    def check(value: object) -> float:
        try:
            return parse_quantity(value, dimension, span)
        except QuantityError as error:
            raise refuse(error.message, error.allowed, error.nearest) from None

    return BeforeValidator(check)


def number(span: Span = NOT_NEGATIVE) -> BeforeValidator:
    """A bare finite number without dimension."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refuse("not a number", f"a number, {span}")
        if not math.isfinite(value):
            raise refuse("not a finite number", f"a number, {span}")
        if value not in span:
            raise refuse("out of range", str(span))
        return float(value)

    return BeforeValidator(check)


def count(low: int = 1, high: int = COUNT_CAP) -> BeforeValidator:
    """A whole number; ``1e3`` is one."""

    def check(value: object) -> int:
        allowed = f"a whole number from {low} to {high}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refuse("not a whole number", allowed)
        if not math.isfinite(value) or value != int(value):
            raise refuse("not a whole number", allowed)
        if not low <= value <= high:
            raise refuse("out of range", allowed)
        return int(value)

    return BeforeValidator(check)


def _name(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # `id: 7`: the digits are what was written
    if not isinstance(value, str):
        raise refuse("not a name", "text; put it in quotes")
    if not value.strip() or value != value.strip():
        raise refuse("not a name", "text without blanks at its ends")
    if len(value) > NAME_LENGTH:
        raise refuse("the name is too long", f"at most {NAME_LENGTH} characters")
    if not value.isprintable():
        raise refuse("the name holds control characters", "printable characters")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refuse("not text", "text; put it in quotes")
    if len(value) > TEXT_LENGTH:
        raise refuse("the text is too long", f"at most {TEXT_LENGTH} characters")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    nearest = meant.get(value.casefold(), "") if isinstance(value, str) else ""
    raise refuse("neither true nor false", "true or false", nearest)


name = BeforeValidator(_name)
text = BeforeValidator(_text)
flag = BeforeValidator(_flag)


def choice(*known: str) -> BeforeValidator:
    """One of the words `known`."""

    def check(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        shown = value if isinstance(value, str) else ""
        raise refuse("not a known word", ", ".join(known), nearest_name(shown, known))

    return BeforeValidator(check)


class Names:
    """Names defined elsewhere, with the other spellings they go by.

    Parameters
    ----------
    names : iterable of str
        Canonical names, in a fixed order.
    aliases : mapping of str to str
        Other spellings to canonical names, compared case-folded.
    """

    def __init__(self, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self.names = tuple(names)
        self._exact = frozenset(self.names)
        self._folded = {alias.casefold(): owner for alias, owner in (aliases or {}).items()}

    def resolve(self, spelling: str) -> str | None:
        """Return the canonical name of `spelling`, None if it is unknown."""
        return spelling if spelling in self._exact else self._folded.get(spelling.casefold())

    def spellings(self) -> dict[str, str]:
        """Return every spelling, case-folded, with its canonical name."""
        return self._folded | {name.casefold(): name for name in self.names}

    def nearest(self, spelling: str) -> str:
        """Return the canonical name nearest to `spelling`, ``""`` when none is close."""
        found = nearest_name(spelling, (*self.names, *self._folded))
        return self.resolve(found) or ""


class OpenNames(Names):
    """Names that are too many to list, beside some that are listed.

    Parameters
    ----------
    names : iterable of str
        Those that are listed.
    knows : callable
        Whether a name is one of them all.
    near : callable
        The nearest name to one that is not, ``""`` when none is close.
    """

    def __init__(
        self, names: Iterable[str], knows: Callable[[str], bool], near: Callable[[str], str]
    ) -> None:
        super().__init__(names)
        self._knows = knows
        self._near = near

    def resolve(self, spelling: str) -> str | None:
        """Return a name that is one; None if it is unknown."""
        return spelling if self._knows(spelling) else None

    def nearest(self, spelling: str) -> str:
        """Return the nearest name, ``""`` when none is close."""
        return self._near(spelling)


def reference(kind: str, what: str) -> BeforeValidator:
    """A name that the context lists under `kind`; `what` names the kind for messages."""

    def check(value: object, info: ValidationInfo) -> str:
        spelling = _name(value)
        known: Names = info.context[kind] if info.context else Names(())
        found = known.resolve(spelling)
        if found is None:
            raise refuse(f"unknown {what}", some_of(known.names), known.nearest(spelling))
        return found

    return BeforeValidator(check)


def one_or_more() -> BeforeValidator:
    """A list, or one value for a list of one."""
    return BeforeValidator(lambda value: value if isinstance(value, list) else [value])


def some_of(known: Collection[str]) -> str:
    """Return `known` as text, cut where it is long."""
    names = sorted(known)
    if not names:
        return "none is defined"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


class Checker:
    """Collects every fault of one document.

    Parameters
    ----------
    document : Document
        The parsed file; its own faults come first.
    context : mapping of str to Names
        Names for `reference` fields; may be extended while checking.
    """

    def __init__(self, document: Document, context: Mapping[str, Names] | None = None):
        self.document = document
        self.context: dict[str, Names] = dict(context or {})
        self.faults: list[Fault] = list(document.faults)

    def fault(
        self, path: FieldPath, message: str, value: str = "", allowed: str = "", nearest: str = ""
    ) -> None:
        """Add a fault at `path`."""
        line = self.document.line(path)
        at = show_path(path)
        self.faults.append(Fault(message, self.document.file, at, value, allowed, nearest, line))

    def get(self, path: FieldPath) -> Any:
        """Return the raw value at `path`, None where there is none."""
        value: Any = self.document.data
        for part in path:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def section(self, model: type[SectionT], path: FieldPath) -> SectionT | None:
        """Return the section at `path`, or None after noting its faults."""
        try:
            return model.model_validate(self.get(path), context=self.context)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self._add(model, path, detail)
            return None

    def sections(
        self, model: type[SectionT], path: FieldPath
    ) -> list[tuple[FieldPath, SectionT | None]]:
        """Return the sections of the list at `path` with their paths, in file order."""
        raw = self.get(path)
        if raw is None:
            return []
        if not isinstance(raw, list):
            self.fault(path, "not a list", _shown(raw), "a list")
            return []
        paths = [(*path, i) for i in range(len(raw))]
        return [(p, self.section(model, p)) for p in paths]

    def named_sections(self, model: type[SectionT], path: FieldPath) -> dict[str, SectionT | None]:
        """Return the sections of the mapping at `path` by their key, in file order."""
        raw = self.get(path)
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            self.fault(path, "not a mapping", _shown(raw), "a name and its fields")
            return {}
        found = {}
        for key in raw:
            if not _is_name(key):
                self.fault((*path, key), "not a name", key, "printable text")
            found[key] = self.section(model, (*path, key))
        return found

    def names(self, path: FieldPath, field: str = "name") -> list[str]:
        """Return the names in the list at `path`, noting those that are used twice."""
        raw = self.get(path)
        seen: dict[str, int] = {}
        for i, item in enumerate(raw if isinstance(raw, list) else []):
            found = item.get(field) if isinstance(item, dict) else None
            if isinstance(found, int) and not isinstance(found, bool):
                found = str(found)
            if not isinstance(found, str):
                continue
            if found in seen:
                first = f"first in {show_path((*path, seen[found]))}"
                self.fault((*path, i, field), f"used twice, {first}", found, "a unique name")
            seen.setdefault(found, i)
        return list(seen)

    def schema(self, expected: str) -> None:
        """Check the schema tag first: another kind of file would fault in every field.

        Raises
        ------
        InputError
            If the file says it is something else.
        """
        found = self.document.data.get("schema")
        if found is not None and found != expected:
            self.fault(("schema",), "another kind of file", _shown(found), f"schema: {expected}")
            self.finish()

    def finish(self) -> None:
        """Raise every fault noted so far by line, those of other files last.

        Raises
        ------
        InputError
            If there is one.
        """
        if self.faults:
            here = self.document.file
            raise InputError(sorted(self.faults, key=lambda f: (f.file != here, f.line)))

    def _add(self, model: type[Section], base: FieldPath, detail: ErrorDetails) -> None:
        inside: FieldPath = tuple(detail["loc"])
        kind = detail["type"]
        path = self._written(base + inside, missing=kind == "missing")
        value = _shown(self.get(path)) if path in self.document.lines else ""
        if kind == "missing":
            self.fault(path, "missing field")
        elif kind == "extra_forbidden":
            known = _fields_at(model, inside[:-1])
            self.fault(
                path, "unknown field", "", some_of(known), nearest_name(str(path[-1]), known)
            )
        elif kind == "fleetfit":
            found = detail["ctx"]
            self.fault(path, found["message"], value, found["allowed"], found["nearest"])
        else:
            message, allowed = _PLAIN_ERRORS.get(kind, (detail["msg"].lower(), ""))
            self.fault(path, message, value, allowed)

    def _written(self, path: FieldPath, missing: bool) -> FieldPath:
        """Cut `path` to what is in the file: a lone value has no item 0."""
        last = len(path) - 1 if missing else len(path)
        value: Any = self.document.data
        for depth, part in enumerate(path[:last]):
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path


_PLAIN_ERRORS: Final[Mapping[str, tuple[str, str]]] = {
    "model_type": ("not a mapping", "lines of `field: value`"),
    "model_attributes_type": ("not a mapping", "lines of `field: value`"),
    "dict_type": ("not a mapping", "lines of `field: value`"),
    "list_type": ("not a list", "a list"),
    "too_short": ("the list is too short", "more items"),
    "too_long": ("the list is too long", "fewer items"),
}


def _is_name(value: str) -> bool:
    return bool(value.strip()) and value.isprintable() and len(value) <= NAME_LENGTH


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else str(value)


def _fields_at(model: type[BaseModel], path: FieldPath) -> list[str]:
    """Return the field names of the section that `path` leads to from `model`."""
    found: Any = model
    for part in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            written = {f.alias or n: f for n, f in found.model_fields.items()}
            found = written[str(part)].annotation if part in written else None
        else:  # inside a list or mapping: its item type
            found = _strip(found)
            arguments = get_args(found)
            found = arguments[-1] if arguments else None
        found = _strip(found)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        return []
    return [f.alias or n for n, f in found.model_fields.items()]


def _strip(annotation: Any) -> Any:
    """Remove Annotated and Optional."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(a for a in get_args(annotation) if a is not types.NoneType)
        else:
            return annotation
