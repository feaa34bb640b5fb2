"""fleetfit: fits jobs to a mixed accelerator fleet and books every idle accelerator-second."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from scheduler.core.version import VERSION

if TYPE_CHECKING:
    from scheduler.api import compare, load, simulate, verify
    from scheduler.core.errors import FleetfitError, InfeasibleError, InputError, PolicyError

__version__: Final = VERSION

__all__ = [
    "FleetfitError",
    "InfeasibleError",
    "InputError",
    "PolicyError",
    "__version__",
    "compare",
    "load",
    "simulate",
    "verify",
]

_HOMES: Final = {
    **dict.fromkeys(["compare", "load", "simulate", "verify"], "scheduler.api"),
    **dict.fromkeys(
        ["FleetfitError", "InfeasibleError", "InputError", "PolicyError"], "scheduler.core.errors"
    ),
}
"""Where each public name comes from; loaded when it is first used."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallableRoom(ModuleType):
    """A subpackage that shares its name with a public function, and can be called as it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module("scheduler.api"), self.__name__.rpartition(".")[2])(
            *args, **kwargs
        )


class _Package(ModuleType):
    """The package itself: importing a room binds its name here and would hide the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
