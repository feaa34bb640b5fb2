"""The exception family.

FleetfitError
├── InputError        a file, option or name the user gave is wrong (exit code 2)
├── InfeasibleError   the request is well formed and the answer is no (exit code 1)
└── PolicyError       a policy returned a decision the engine cannot carry out
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

FAULT_CAP = 50
"""Faults printed per message; the rest are counted."""


class FleetfitError(Exception):
    """Root of every error fleetfit raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: what, where, what is allowed, the nearest name.

    Parameters
    ----------
    message : str
        What is wrong, without a full stop.
    file : str
        File name as the user gave it, or an option such as ``--policy``.
    path : str
        Field path inside the file (``pods[1].nodes[0].accelerator``), or ``""``.
    value : str
        The offending value as text, or ``""`` where a value is missing.
    allowed : str
        What would have been accepted.
    nearest : str
        The nearest known name, or ``""``.
    line : int
        One-based line in the file, 0 where unknown.
    """

    message: str
    file: str = ""
    path: str = ""
    value: str = ""
    allowed: str = ""
    nearest: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = self.file + (f":{self.line}" if self.line else "")
        parts = [p for p in (where, self.path) if p]
        text = (": ".join(parts) + ": " if parts else "") + self.message
        if self.value:
            text += f", got {_shorten(self.value)}"
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text


class InputError(FleetfitError):
    """Every fault found in the user's input, reported in one pass.

    Parameters
    ----------
    faults : iterable of Fault
        At least one.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        shown = [str(f) for f in self.faults[:FAULT_CAP]]
        if len(self.faults) > FAULT_CAP:
            shown.append(f"... and {len(self.faults) - FAULT_CAP} more faults")
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Fault, ...]]]:
        return (InputError, (self.faults,))


class InfeasibleError(FleetfitError):
    """No answer exists; the message names the constraints in conflict."""


class PolicyError(FleetfitError):
    """A policy asked for something illegal (a bug in the policy, not in the input)."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name nearest to `name`, or ``""`` when none is close."""
    by_folded = {k.casefold(): k for k in known}
    match = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.5)
    return by_folded[match[0]] if match else ""


def _shorten(value: str, limit: int = 120) -> str:
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return repr(text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}")
