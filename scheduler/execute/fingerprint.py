"""A short name for the content of a problem, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Protocol

import numpy as np

from scheduler.core.problem import Problem


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def fingerprint(problem: Problem) -> str:
    """Return 32 hexadecimal digits that depend on every value in `problem`.

    Two problems from equal files have equal fingerprints, whichever folders they were read
    from; one more job or one other bandwidth gives another.
    """
    digest = hashlib.sha256()
    _feed(digest, problem)
    return digest.hexdigest()[:32]


def _feed(digest: _Hash, value: object) -> None:
    """Add `value`, with its type and length, so that no two values read the same."""
    if is_dataclass(value) and not isinstance(value, type):
        digest.update(f"{type(value).__name__}{{".encode())
        for f in fields(value):
            _feed(digest, getattr(value, f.name))
    elif isinstance(value, Mapping):
        digest.update(f"map{len(value)}".encode())
        for key in sorted(value, key=repr):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple):
        digest.update(f"tuple{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    else:
        text = repr(value).encode("utf-8", "surrogatepass")
        digest.update(f"{len(text)}:".encode() + text)
