"""Results to standard output, words to standard error."""

from __future__ import annotations

import json
import sys

from scheduler.report import plain


def print_json(data: object) -> None:
    """Print one JSON value on standard output."""
    print(json.dumps(data, indent=2, allow_nan=False))


def say(message: str) -> None:
    """Print a line for people on standard error."""
    print(plain(message, limit=1000), file=sys.stderr)
