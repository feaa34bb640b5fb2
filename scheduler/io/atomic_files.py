"""Writing files so that a crash leaves the old one or the new one, never half of either."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError

_WRITERS: Final = 8


def canonical_json(data: Any) -> str:
    """Return `data` as JSON text that is a function of its value alone.

    Keys are sorted, floats are written by `repr` (the shortest text that reads back the
    same), nothing depends on locale or insertion order.

    Raises
    ------
    ValueError
        If a float is not finite.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def write_json(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write `data` as canonical JSON, atomically; see `write_text`."""
    write_text(path, canonical_json(data))


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`: into a temporary file beside it, synced, then renamed.

    Raises
    ------
    InputError
        If `path` is a link (what it points at was not chosen by name) or a folder, or the
        system refuses; an older file of that name is then untouched.
    """
    _write(Path(path), text)
    _sync_folder(Path(path).parent)


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write many files of one folder, by name, each as `write_text` would.

    They are synced side by side, which takes a disk little longer than one.

    Raises
    ------
    InputError
        As `write_text`; other files of the call may have been written.
    """
    if len(texts) == 1:
        ((name, text),) = texts.items()
        _write(folder / name, text)
    elif texts:
        with ThreadPoolExecutor(min(len(texts), _WRITERS)) as writers:
            list(writers.map(_write, [folder / name for name in texts], texts.values()))
    _sync_folder(folder)


def _write(path: Path, text: str) -> None:
    try:
        if path.is_symlink():
            raise InputError([Fault("will not write through a link", str(path))])
        if path.is_dir():
            raise InputError([Fault("is a folder, not a file", str(path))])
        _replace(path, text.encode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError([Fault(f"cannot be written: {reason}", str(path))]) from error


def _replace(path: Path, content: bytes) -> None:
    """Put a synced file in the place of `path`; the folder is not synced yet."""
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
