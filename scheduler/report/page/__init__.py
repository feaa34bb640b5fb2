"""One self-contained HTML page per run, comparison or sweep.

`details_of` turns a run into the data that the page draws, `write_page` puts data, style and
script into one file that asks the network for nothing.
"""

from __future__ import annotations

from scheduler.report.page.contents import Contents, Group, Origin, contents_of
from scheduler.report.page.details import Details, details_of
from scheduler.report.page.document import page_html, write_page

__all__ = [
    "Contents",
    "Details",
    "Group",
    "Origin",
    "contents_of",
    "details_of",
    "page_html",
    "write_page",
]
