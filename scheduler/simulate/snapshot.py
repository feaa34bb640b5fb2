"""A running replay as plain JSON data, and back.

Everything that changes is walked from the engine, object by object; what a problem fixes
(its modes, classes, columns) is named, not copied. To restore, a fresh engine is built from
the same problem and arguments, and what was saved is laid over it: functions and caches stay
those of the fresh one. So rooms and policies need no code of their own for this, and a file
can bring in neither code nor objects of a kind that is not loaded already.
"""

from __future__ import annotations

import hashlib
import math
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from scheduler.core.errors import Fault, FleetfitError, InputError
from scheduler.core.problem import Problem

THEN: Final = ", then "
"""Between the names of a policy and of the one that took over from it, in the record."""

_PLAIN = (str, bool, int, types.NoneType)
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
_DICTS: Final[Mapping[str, type[dict[Any, Any]]]] = {
    "dict": dict, "Counter": Counter, "OrderedDict": OrderedDict, "defaultdict": defaultdict,
}  # fmt: skip
TRANSIENT = "TRANSIENT"
"""Class attribute: names of attributes that are caches, neither saved nor restored."""


class SnapshotError(FleetfitError):
    """Something in a run cannot be saved, usually an attribute of a policy."""


def fingerprints(problem: Problem) -> dict[str, str]:
    """Return a hash of each part of what a run depends on.

    Returns
    -------
    dict of str to str
        By the name of the part; ``rates`` is what physics makes of the others.
    """
    workload, jobs = problem.workload, problem.workload.jobs
    services: list[object] = []
    for service in workload.services:
        services += [getattr(service, f.name) for f in fields(service)]
    parts: dict[str, list[object]] = {
        "topology": [problem.cluster, problem.types, problem.levels, problem.pools],
        "classes": [workload.classes],
        "jobs": [getattr(jobs, f.name) for f in fields(jobs)],
        "tenants": [workload.tenants, workload.tenancies],
        "services": services,
        "rates": [problem.modes, problem.service_modes],
    }
    return {name: _digest(values) for name, values in parts.items()}


def _digest(values: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for value in values:
        known = isinstance(value, np.ndarray)
        data = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        digest.update(f"{known}{len(data)}:".encode() + data)
    return digest.hexdigest()[:32]


def differing(problem: Problem, saved: Mapping[str, Any]) -> list[str]:
    """Return the parts of `problem` that are others than those `saved` has hashes of."""
    found = [name for name, digest in fingerprints(problem).items() if saved.get(name) != digest]
    return [name for name in found if name != "rates"] or found


def attributes(value: object) -> Iterator[str]:
    """Yield the names of an object's attributes, each once, caches left out."""
    transient = getattr(type(value), TRANSIENT, ())
    seen = set(transient)
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in seen and not name.startswith("__") and hasattr(value, name):
                seen.add(name)
                yield name
    for name in getattr(value, "__dict__", ()):
        if name not in seen:
            seen.add(name)
            yield name


def cells_of(function: Any) -> tuple[types.CellType, ...]:
    """Return the variables that a function, or the function of a method, has enclosed."""
    inner = getattr(function, "__func__", function)
    return getattr(inner, "__closure__", None) or ()


def local_methods(value: object) -> dict[str, Any]:
    """Return the methods of an object of a local class, which enclose variables of their own."""
    kind = type(value)
    if "<locals>" not in kind.__qualname__:
        return {}
    return {name: f for name, f in vars(kind).items() if cells_of(f)}


Path = tuple[str | int, ...]
"""How to come from a root to a part of it, by attribute name and by position."""


def given_by(**roots: object) -> dict[int, Path]:
    """Return where everything lies that is part of `roots`, which a fresh run has as well.

    Returns
    -------
    dict of int to Path
        By identity; valid as long as the roots live.
    """
    found: dict[int, Path] = {}
    stack: list[tuple[object, Path]] = [(root, (name,)) for name, root in roots.items()]
    while stack:
        value, path = stack.pop()
        if id(value) in found or isinstance(value, (*_PLAIN, float)):
            continue
        if isinstance(value, (tuple, list)):
            if len(value):
                found[id(value)] = path
                stack += [(v, (*path, i)) for i, v in enumerate(value)]
        elif is_dataclass(value) and not isinstance(value, type):
            found[id(value)] = path
            stack += [(getattr(value, f.name), (*path, f.name)) for f in fields(value)]
        elif not isinstance(value, (Mapping, *_FUNCTIONS)):
            found[id(value)] = path
    return found


def follow(path: Path, roots: Mapping[str, object]) -> Any:
    """Return what lies at `path`."""
    value: Any = roots[str(path[0])]
    for part in path[1:]:
        if isinstance(part, str) and part.startswith("_"):
            raise _unreadable(f"a path by {part}")
        value = value[part] if isinstance(part, int) else getattr(value, part)
    return value


class Writer:
    """Turns objects into JSON data.

    Parameters
    ----------
    given : mapping of int to Path
        What is named and not copied; see `given_by`.
    """

    def __init__(self, given: Mapping[int, Path]) -> None:
        self._given = given
        self._known: dict[int, int] = {}
        self._keep: list[object] = []  # so that no id is used again
        self._path: list[str] = []

    def write(self, value: Any) -> Any:
        """Return `value` as JSON data.

        Raises
        ------
        SnapshotError
            If some of it is of a kind that cannot be saved.
        """
        if isinstance(value, Enum):
            return {"enum": name_of(type(value)), "value": value.name}
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, np.generic):
            return {"scalar": value.dtype.str, "value": self.write(value.item())}
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if id(value) in self._given:
            return {"given": list(self._given[id(value)])}
        if isinstance(value, _FUNCTIONS) and not cells_of(value):
            return {"keep": True}
        if isinstance(value, tuple):
            return {"tuple": [self.write(v) for v in value]}
        if isinstance(value, frozenset):
            return {"frozenset": [self.write(v) for v in sorted(value)]}
        if id(value) in self._known:
            return {"ref": self._known[id(value)]}
        self._known[id(value)] = number = len(self._known)
        self._keep.append(value)
        return {"id": number, **self._body(value)}

    def _body(self, value: Any) -> dict[str, Any]:
        if isinstance(value, _FUNCTIONS):
            return {"function": self._cells(value)}
        if isinstance(value, list):
            return {"list": [self._part(i, v) for i, v in enumerate(value)]}
        if isinstance(value, dict) and type(value).__name__ in _DICTS:
            pairs = [[self.write(k), self._part(k, v)] for k, v in value.items()]
            return {"dict": pairs, "kind": type(value).__name__}
        if isinstance(value, set):
            return {"set": [self.write(v) for v in sorted(value)]}
        if isinstance(value, deque):
            return {"deque": [self.write(v) for v in value], "most": value.maxlen}
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            data = [self.write(v) for v in value.ravel().tolist()]
            return {"array": value.dtype.str, "shape": list(value.shape), "data": data}
        if isinstance(value, np.random.Generator):
            return {"generator": self.write(dict(value.bit_generator.state))}
        if hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
            state = {name: self._part(name, getattr(value, name)) for name in attributes(value)}
            methods = {name: self._cells(f) for name, f in local_methods(value).items()}
            return {"object": name_of(type(value)), "state": state, "methods": methods}
        where = ".".join(self._path) or "the run"
        raise SnapshotError(f"{where} is a {type(value).__name__}, which cannot be saved")

    def _cells(self, function: Any) -> list[Any]:
        return [self._part("closure", cell.cell_contents) for cell in cells_of(function)]

    def _part(self, name: object, value: Any) -> Any:
        self._path.append(str(name))
        data = self.write(value)
        self._path.pop()
        return data


class Overlay:
    """Lays JSON data over the objects of a fresh run.

    Parameters
    ----------
    roots : mapping of str to object
        What `given_by` was given, now.
    modules : frozenset of str
        Modules beside this package whose classes may be made: that of the policy.
    """

    def __init__(self, roots: Mapping[str, object], modules: frozenset[str]) -> None:
        self._roots = roots
        self._modules = modules
        self._made: dict[int, Any] = {}

    def read(self, data: Any, fresh: Any = None) -> Any:
        """Return what `data` stands for; `fresh` is what the new run has in that place."""
        if not isinstance(data, dict):
            return data
        if "keep" in data:
            if fresh is None:
                raise _unreadable("a function that the fresh run does not have")
            return fresh
        simple = self._simple(data, fresh)
        if simple is not _NOT_SIMPLE:
            return simple
        make: Callable[[Any, Any], Any]
        for word, make in (
            ("list", self._list), ("dict", self._dict), ("set", self._set),
            ("deque", self._deque), ("array", self._array), ("generator", self._generator),
            ("object", self._object), ("function", self._function),
        ):  # fmt: skip
            if word in data:
                return make(data, fresh)
        raise _unreadable(str(sorted(data))[:80])

    def _simple(self, data: dict[str, Any], fresh: Any) -> Any:
        if "ref" in data:
            return self._made[data["ref"]]
        if "given" in data:
            return follow(tuple(data["given"]), self._roots)
        if "float" in data:
            return float(data["float"])
        if "tuple" in data:
            old = fresh if isinstance(fresh, tuple) and len(fresh) == len(data["tuple"]) else ()
            return tuple(self.read(v, old[i] if old else None) for i, v in enumerate(data["tuple"]))
        if "frozenset" in data:
            return frozenset(self.read(v) for v in data["frozenset"])
        if "enum" in data:
            return self._class(data["enum"])[data["value"]]
        if "scalar" in data:
            return np.dtype(data["scalar"]).type(self.read(data["value"]))
        return _NOT_SIMPLE

    def _list(self, data: dict[str, Any], fresh: Any) -> list[Any]:
        made: list[Any] = fresh if type(fresh) is list else []
        self._made[data["id"]] = made
        old = made.copy()
        made[:] = [
            self.read(v, old[i] if i < len(old) else None) for i, v in enumerate(data["list"])
        ]
        return made

    def _dict(self, data: dict[str, Any], fresh: Any) -> dict[Any, Any]:
        kind: type[dict[Any, Any]] = _DICTS[data["kind"]]
        if type(fresh) is not kind and kind is defaultdict:
            raise _unreadable("a defaultdict that the fresh run does not have")
        made: dict[Any, Any] = fresh if type(fresh) is kind else kind()
        self._made[data["id"]] = made
        pairs = [(self.read(k), v) for k, v in data["dict"]]
        found = {k: self.read(v, made.get(k)) for k, v in pairs}
        made.clear()
        made.update(found)
        return made

    def _set(self, data: dict[str, Any], fresh: Any) -> set[Any]:
        made: set[Any] = fresh if type(fresh) is set else set()
        self._made[data["id"]] = made
        made.clear()
        made.update(self.read(v) for v in data["set"])
        return made

    def _deque(self, data: dict[str, Any], fresh: Any) -> deque[Any]:
        fits = type(fresh) is deque and fresh.maxlen == data["most"]
        made: deque[Any] = fresh if fits else deque(maxlen=data["most"])
        self._made[data["id"]] = made
        made.clear()
        made.extend(self.read(v) for v in data["deque"])
        return made

    def _array(self, data: dict[str, Any], fresh: Any) -> Any:
        dtype = np.dtype(data["array"])
        made = np.array([self.read(v) for v in data["data"]], dtype=dtype).reshape(data["shape"])
        if isinstance(fresh, np.ndarray) and fresh.shape == made.shape and fresh.dtype == dtype:
            fresh[...] = made
            made = fresh
        self._made[data["id"]] = made
        return made

    def _generator(self, data: dict[str, Any], fresh: Any) -> np.random.Generator:
        made = fresh if isinstance(fresh, np.random.Generator) else np.random.default_rng(0)
        made.bit_generator.state = self.read(data["generator"])
        self._made[data["id"]] = made
        return made

    def _object(self, data: dict[str, Any], fresh: Any) -> Any:
        name = data["object"]
        kind: Any = type(fresh) if name_of(type(fresh)) == name else self._class(name)
        made = fresh if type(fresh) is kind else kind.__new__(kind)
        self._made[data["id"]] = made
        for name, value in data["state"].items():
            if name.startswith("__"):
                raise _unreadable(f"an attribute {name}")
            object.__setattr__(made, name, self.read(value, getattr(made, name, None)))
        functions = local_methods(made)
        for name, cells in data["methods"].items():
            self._fill(functions[name], cells)
        return made

    def _function(self, data: dict[str, Any], fresh: Any) -> Any:
        if not isinstance(fresh, _FUNCTIONS):
            raise _unreadable("a function that the fresh run does not have")
        self._made[data["id"]] = fresh
        self._fill(fresh, data["function"])
        return fresh

    def _fill(self, function: Any, values: list[Any]) -> None:
        for cell, value in zip(cells_of(function), values, strict=True):
            cell.cell_contents = self.read(value, cell.cell_contents)

    def _class(self, name: str) -> Any:
        """Return a class that is loaded already, of this package or of the policy's module."""
        module, _, qualified = name.partition(":")
        if module.split(".")[0] != __name__.split(".")[0] and module not in self._modules:
            raise _unreadable(f"an object of {module}")
        found: Any = sys.modules.get(module)
        for part in qualified.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise _unreadable(f"an object of {name}")
        return found


_NOT_SIMPLE: Final = object()


def name_of(kind: type) -> str:
    """Return the name under which a class is saved."""
    return f"{kind.__module__}:{kind.__qualname__}"


def _unreadable(what: str) -> InputError:
    return InputError([Fault("the snapshot holds something that cannot be restored", value=what)])
