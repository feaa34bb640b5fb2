"""Tables as one self-contained HTML page: no script, and nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.report.words import plain

LONGEST: Final = 400
"""Characters of one cell."""

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #16202c; --soft: #4d5a69;
  --line: #dde2e8; --accent: #0b62c4; --bar: #2a9d6f; }
@media (prefers-color-scheme: dark) { :root { --paper: #0f141a; --card: #171e26; --ink: #e8edf3;
  --soft: #aab6c3; --line: #2a343f; --accent: #6fb1ff; --bar: #3fbf8b; } }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --line: #bbb; } }
body { font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; margin: 0 auto;
  max-width: 96rem; padding: 1.4rem; background: var(--paper); color: var(--ink); }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; }
.brand { color: var(--accent); font-weight: 700; } .soft { color: var(--soft); }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.6rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { padding: 0.35rem 0.8rem; text-align: right; vertical-align: top; white-space: pre;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .text { text-align: left; }
.text { white-space: pre-line; min-width: 12rem; }
tr:last-child td { border-bottom: 0; }
meter { width: 6rem; height: 0.8rem; accent-color: var(--bar); }
"""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of a page.

    Parameters
    ----------
    heading : str
        Above it.
    columns : sequence of str
        Headings; the first column names the row.
    rows : sequence of sequence of str
        Cells as text.
    words : frozenset of int
        Columns of words, set left like the first.
    shares : sequence of float
        By row, a share of one, drawn as a bar behind the second column; empty: none.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()
    shares: Sequence[float] = ()


def write_tables(
    title: str, answer: str, sheets: Sequence[Sheet], facts: Mapping[str, str], path: str | Path
) -> None:
    """Write a page of tables to the file at `path`, atomically.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from scheduler.io.atomic_files import write_text

    write_text(path, tables_html(title, answer, sheets, facts))


def tables_html(title: str, answer: str, sheets: Sequence[Sheet], facts: Mapping[str, str]) -> str:
    """Return a page of tables as one HTML text.

    Parameters
    ----------
    title, answer : str
        The heading, and the one sentence below it.
    sheets : sequence of Sheet
        Those without rows are left out.
    facts : mapping of str to str
        How the figures came about, for its end.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'"
    proof = Sheet("How it came about", ("", ""), [*facts.items()], frozenset((1,)))
    body = "\n".join(_table(sheet) for sheet in (*sheets, proof) if sheet.rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<p class="brand">fleetfit</p>
<h1>{_text(title)}</h1>
<p>{_text(answer)}</p>
{body}
</body>
</html>
"""


def _table(sheet: Sheet) -> str:
    head = ""
    if any(sheet.columns):
        cells = [
            f'<th scope="col"{_kind(sheet, i)}>{_text(title)}</th>'
            for i, title in enumerate(sheet.columns)
        ]
        head = f"<thead><tr>{_with_bar(cells, '<th></th>' if sheet.shares else '')}</tr></thead>"
    lines = []
    for number, row in enumerate(sheet.rows):
        cells = [f"<td{_kind(sheet, i)}>{_text(cell)}</td>" for i, cell in enumerate(row)]
        bar = ""
        if sheet.shares:
            bar = f'<td><meter value="{sheet.shares[number]:.4f}"></meter></td>'
        lines.append(f"<tr>{_with_bar(cells, bar)}</tr>")
    inner = head + "\n".join(lines)
    return f'<h2>{_text(sheet.heading)}</h2>\n<div class="wide"><table>{inner}</table></div>'


def _with_bar(cells: Sequence[str], bar: str) -> str:
    return "".join((*cells[:2], bar, *cells[2:]))


def _kind(sheet: Sheet, column: int) -> str:
    return ' class="text"' if column in sheet.words else ""


def _text(text: str) -> str:
    """Return text as markup shows it: escaped, without control characters, lines kept."""
    return "\n".join(html.escape(plain(line, LONGEST)) for line in text.split("\n"))
