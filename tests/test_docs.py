"""The pages under docs say what the code does."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from scheduler.commands.listing import files_page
from scheduler.io.schema import Section

DOCS = Path(__file__).resolve().parents[1] / "docs"
SECTIONS = (
    *("topology_sections", "topology_outages", "workload_sections", "sweep"),
    *("topology_types", "topology_fabrics", "workload_jobs", "workload_tables"),
)


def fields() -> list[tuple[str, str]]:
    """Return every field that a file may have, as people write it."""
    found = []
    for name in SECTIONS:
        module = importlib.import_module(f"scheduler.io.{name}")
        for thing in vars(module).values():
            if inspect.isclass(thing) and issubclass(thing, Section):
                found += [
                    (thing.__name__, field.alias or own)
                    for own, field in thing.model_fields.items()
                ]
    return sorted(set(found))


def test_the_page_of_files_is_what_the_command_prints() -> None:
    assert (DOCS / "files.md").read_text(encoding="utf-8") == files_page(), (
        "fleetfit list files > docs/files.md"
    )


def test_every_field_is_described() -> None:
    page = files_page()
    missing = [
        f"{field} of {section}"
        for section, field in fields()
        if not re.search(rf"\b{re.escape(field)}\b", page)
    ]
    assert not missing
