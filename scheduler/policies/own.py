"""A policy of one's own, straight from a Python file: ``my_policy.py:MyPolicy``.

Only the command line and the library take such names, where the user names code to run; files
of inputs cannot. Workers on other machines need the file at the same path.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from scheduler.core.errors import Fault, FleetfitError, InputError, nearest_name
from scheduler.policies.view import View

MARK: Final = ".py:"
FORM: Final = "FILE.py:CLASS, a class with a method decide(self, view)"


def in_file(name: str) -> bool:
    """Return whether a policy's name means a class in a file."""
    return MARK in name


def load(name: str) -> Any:
    """Return a fresh instance of the class that a name such as ``my_policy.py:Mine`` means.

    Raises
    ------
    InputError
        No such file or class, one without `decide`, or code that fails; with its line.
    """
    path, attribute = _parts(name)
    module = _module(name, path)
    if not inspect.isclass(getattr(module, attribute, None)):
        own = [n for n, v in vars(module).items() if inspect.isclass(v) and _is_policy(v)]
        raise _fault("no such class", path, attribute, ", ".join(own) or "none there", own)
    found = getattr(module, attribute)
    if not _is_policy(found):
        raise _fault("not a policy", path, attribute, FORM)
    try:
        return _guarded(found, path)()
    except Exception as error:
        raise _broken(path, error) from error


def _guarded(found: type, path: Path) -> type:
    """Return the class with a `decide` whose faults name the line of the file, not ours."""

    def decide(self: object, view: View) -> None:
        try:
            found.decide(self, view)  # type: ignore[attr-defined]
        except FleetfitError:
            raise
        except Exception as error:
            raise _broken(path, error) from error

    decide.__doc__ = found.decide.__doc__  # type: ignore[attr-defined]
    return type(found.__name__, (found,), {"decide": decide, "__module__": found.__module__})


def origin(name: str) -> str:
    """Return what tells one version of the file from another.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path, _ = _parts(name)
    return f"{path.name} {hashlib.sha256(_source(path)).hexdigest()[:16]}"


def _parts(name: str) -> tuple[Path, str]:
    path, _, attribute = name.rpartition(":")
    return Path(path), attribute


def _source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise _fault(f"cannot be read: {reason}", path, "", FORM) from None


def _module(name: str, path: Path) -> ModuleType:
    """Return the file as a module; loaded once per content."""
    digest = hashlib.sha256(_source(path)).hexdigest()[:16]
    title = f"fleetfit_policy_{path.stem}_{digest}"
    if title in sys.modules:
        return sys.modules[title]
    spec = importlib.util.spec_from_file_location(title, path)
    if spec is None or spec.loader is None:
        raise _fault("not a Python file", path, "", FORM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[title]
        raise _broken(path, error) from error
    return module


def _is_policy(found: type) -> bool:
    return callable(getattr(found, "decide", None))


def _broken(path: Path, error: Exception) -> InputError:
    """Return the fault of a file whose code fails, at its last line there."""
    found = traceback.extract_tb(error.__traceback__)
    frames = [f for f in found if Path(f.filename).resolve() == path.resolve()]
    line = (frames[-1].lineno if frames else getattr(error, "lineno", None)) or 0
    message = f"fails: {type(error).__name__}: {error}"
    return InputError([Fault(message, str(path), line=line)])


def _fault(
    message: str, path: Path, value: str, allowed: str, known: list[str] | None = None
) -> InputError:
    near = nearest_name(value, known) if known else ""
    return InputError([Fault(message, str(path), "", value, allowed, near)])
