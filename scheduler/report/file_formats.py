"""The files that people write, as text: what each may hold, with every field.

The words are those of the modules that read the files, so that they cannot lag behind.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Final

READERS: Final = {
    "topology": "scheduler.io.topology",
    "workload": "scheduler.io.workload",
    "jobs table": "scheduler.io.jobs_table",
    "sweep": "scheduler.io.sweep",
}
"""What a file holds, and the module that reads it."""


def file_formats() -> dict[str, str]:
    """Return the description of each kind of file, as Markdown."""
    return {name: _markdown(inspect.getdoc(import_module(m)) or "") for name, m in READERS.items()}


def _markdown(text: str) -> str:
    """Return a module's docstring (reStructuredText, of which it uses little) as Markdown."""
    out: list[str] = []
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.endswith("::"):
            block, i = _indented(lines, i + 1)
            out += [f"{line[:-1]}", "", "```yaml", *block, "```", ""]
        elif line.startswith("``") and i + 1 < len(lines) and lines[i + 1].startswith("    "):
            block, i = _indented(lines, i + 1)
            out.append(f"- {line}: {' '.join(part for part in block if part)}")
        else:
            out.append(line)
            i += 1
    return re.sub(r"`{2}", "`", "\n".join(out).replace("```", "\0")).replace("\0", "```").strip()


def _indented(lines: list[str], i: int) -> tuple[list[str], int]:
    """Return the lines of an indented block, without its indent, and where it ends."""
    block: list[str] = []
    while i < len(lines) and (not lines[i].strip() or lines[i].startswith("    ")):
        block.append(lines[i][4:])
        i += 1
    while block and not block[0].strip():
        block.pop(0)
    while block and not block[-1].strip():
        block.pop()
    return block, i
