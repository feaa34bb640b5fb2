"""Data small enough to carry inside a page."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def packed(data: Any) -> str:
    """Return JSON data, deflated, in base64: no character of it means anything in HTML."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def unpacked(text: str) -> Any:
    """Return the data that `packed` put away."""
    return json.loads(zlib.decompress(base64.b64decode(text)))
