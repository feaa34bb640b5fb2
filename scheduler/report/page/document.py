"""The file itself: markup, style, script and data in one, and nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from scheduler.report.page.contents import Contents
from scheduler.report.page.pack import packed

SCRIPTS: Final = (
    "data.js",
    "kit.js",
    "canvas.js",
    "overview.js",
    "metrics.js",
    "idle.js",
    "schedule.js",
    "services.js",
    "fleet.js",
    "proof.js",
    "start.js",
)
"""In the order in which they run, inside one function."""


def write_page(contents: Contents, path: str | Path) -> None:
    """Write a page to the file at `path`, atomically.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from scheduler.io.atomic_files import write_text

    write_text(path, page_html(contents))


def page_html(contents: Contents) -> str:
    """Return the page as one HTML text.

    Its policy (CSP) permits the one style and the one script it carries, by their hashes,
    and no request at all. Names of users stand in the packed data and in two escaped places.
    """
    style, script = _style(), _script()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = (  # in the order of the template
        ("policy", html.escape(policy)),
        ("title", html.escape(contents.title)),
        ("style", style),
        ("heading", html.escape(contents.title)),
        ("answer", html.escape(contents.answer)),
        ("data", packed(contents.data)),
        ("script", script),
    )
    rest = _asset("page.html")
    done: list[str] = []
    for name, value in parts:  # what is put in is never searched
        head, _, rest = rest.partition(f"@{name}@")
        done += [head, value]
    return "".join([*done, rest])


@cache
def _style() -> str:
    return _asset("page.css")


@cache
def _script() -> str:
    return "\n".join(["(() => {", '"use strict";', *(_asset(name) for name in SCRIPTS), "})();\n"])


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
