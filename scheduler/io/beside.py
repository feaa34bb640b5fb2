"""Files that an input file names: in its own folder or below, nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.core.errors import InputError, nearest_name
from scheduler.io.schema import Checker
from scheduler.io.yaml_text import FieldPath


def beside(check: Checker, folder: Path | None, at: FieldPath, written: str) -> Path | None:
    """Return the path of a file that another file names; None after noting a fault.

    Parameters
    ----------
    check : Checker
        Of the file that names it.
    folder : Path or None
        Where that file lies; None: it may name none.
    at : FieldPath
        The field.
    written : str
        What the field holds.
    """
    if folder is None:
        check.fault(at, "no file can be named here", written, "the values themselves")
        return None
    folder = folder.resolve()
    try:
        path = (folder / written).resolve()
        outside = Path(written).is_absolute() or not path.is_relative_to(folder)
        if not outside and path.is_file():
            return path
        near = nearest_name(written, sorted(p.name for p in folder.iterdir()))
    except (OSError, ValueError):
        outside, near = False, ""
    if outside:
        check.fault(at, "the file is outside this folder", written, "a file beside this")
    else:
        check.fault(at, "no such file", written, "a file beside this", near)
    return None


@contextmanager
def adding_faults_to(check: Checker) -> Iterator[None]:
    """Read another file inside: its faults are added to those of the file that names it."""
    try:
        yield
    except InputError as error:
        check.faults += error.faults
