"""JSON as strict as the standard says: no NaN, no duplicate keys, no runaway input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NoReturn

from scheduler.core.errors import Fault, InputError

SIZE_CAP_BYTES: Final = 2 * 2**30
_INT_DIGITS: Final = 40


class _RefusedError(ValueError):
    """Valid for the json module, not for us."""


def parse_json(text: str, file: str, line: int = 0) -> Any:
    """Return the value that `text` describes.

    Parameters
    ----------
    text : str
        One JSON value.
    file : str
        Name for messages.
    line : int
        Line of the file that `text` is, 0 if it is the whole file.

    Raises
    ------
    InputError
        If `text` is not JSON, is nested too deeply, repeats a key, or holds a number that is
        not finite or too long.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        at = line or error.lineno
        raise InputError([Fault(f"not valid JSON: {error.msg}", file, line=at)]) from None
    except RecursionError:
        raise InputError([Fault("nested too deeply", file, line=line)]) from None
    except _RefusedError as error:
        raise InputError([Fault(str(error), file, line=line)]) from None


def read_json(path: Path) -> Any:
    """Return the value in the JSON file at `path`.

    Raises
    ------
    InputError
        If it cannot be read or is not UTF-8, or as `parse_json`.
    """
    try:
        if path.stat().st_size > SIZE_CAP_BYTES:
            allowed = f"at most {SIZE_CAP_BYTES} bytes"
            raise InputError([Fault("the file is too large", str(path), allowed=allowed)])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError([Fault(f"cannot be read: {error.strerror}", str(path))]) from error
    except UnicodeDecodeError:
        raise InputError([Fault("not UTF-8 text", str(path), allowed="UTF-8")]) from None
    if not text.strip():
        raise InputError([Fault("the file is empty", str(path))])
    return parse_json(text, str(path))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError(f"duplicate key {key[:80]!r}")
            seen.add(key)
    return made


def _constant(word: str) -> NoReturn:
    raise _RefusedError(f"{word} is not a number in JSON")


def _int(text: str) -> int:
    if len(text) > _INT_DIGITS:
        raise _RefusedError("a number is too long")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _RefusedError(f"{text[:20]} is too large")
    return value
