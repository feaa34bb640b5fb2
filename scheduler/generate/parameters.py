"""Parameters of the generators: their defaults, units and ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.errors import Fault, InputError, nearest_name

Value = float | int | str
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a kind.

    Parameters
    ----------
    name : str
        Keyword of `generate`.
    default : float, int or str
        Value when it is not given; an int means that only whole numbers are accepted.
    unit : str
        ``days``, ``s``, ``accelerators``, ``""`` ...
    about : str
        One line for people.
    least, most : float
        Range of a number.
    choices : tuple of str
        What a text may be; empty: anything.
    """

    name: str
    default: Value
    unit: str
    about: str
    least: float = 0.0
    most: float = math.inf
    choices: tuple[str, ...] = ()


def checked(owner: str, parameters: tuple[Parameter, ...], given: Values) -> dict[str, Value]:
    """Return the value of every parameter of `owner`, with defaults for those not given.

    Raises
    ------
    InputError
        Naming every unknown parameter and every value out of range.
    """
    known = {p.name: p for p in parameters}
    faults = [
        Fault(
            f"{owner} has no such parameter",
            path=name,
            allowed=", ".join(known),
            nearest=nearest_name(name, known),
        )
        for name in given
        if name not in known
    ]
    values: dict[str, Value] = {}
    for parameter in parameters:
        value = given.get(parameter.name, parameter.default)
        allowed = _refused(parameter, value)
        if allowed:
            faults.append(
                Fault(
                    "out of range",
                    path=parameter.name,
                    value=str(value),
                    allowed=allowed,
                    nearest=nearest_name(str(value), parameter.choices),
                )
            )
        values[parameter.name] = value
    if faults:
        raise InputError(faults)
    return values


def _refused(parameter: Parameter, value: Value) -> str:
    """Return what would be allowed, or ``""`` if `value` is."""
    if isinstance(parameter.default, str):
        if not isinstance(value, str) or (parameter.choices and value not in parameter.choices):
            return ", ".join(c or "(empty)" for c in parameter.choices) or "a text"
        return ""
    whole = isinstance(parameter.default, int)
    span = f"from {parameter.least:g}" + (
        f" to {parameter.most:g}" if parameter.most < math.inf else ""
    )
    text = f"a {'whole ' if whole else ''}number {span}" + (
        f" ({parameter.unit})" if parameter.unit else ""
    )
    if not isinstance(value, int | float) or isinstance(value, bool):
        return text
    if not math.isfinite(value) or (whole and value != int(value)):
        return text
    return "" if parameter.least <= value <= parameter.most else text
