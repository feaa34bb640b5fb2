"""The README tells the truth: its lines, its example, its names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler import io
from scheduler.core.ledger import Cause
from scheduler.policies import known, own
from scheduler.report.tables import REMEDIES

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
DEMO_TABLES = (
    "Policies",
    "Accelerator-time by cause",
    "Idle time by accelerator type, and its largest cause",
)


def block(marker: str) -> str:
    """Return the code block that follows a marker comment."""
    found = re.search(rf"^<!-- {marker} -->\n```\w*\n(.*?)^```$", README, re.M | re.S)
    assert found, f"README.md has no block marked {marker!r}"
    return found[1]


def commands() -> list[list[str]]:
    section = README.split("## Use it on your fleet")[1].split("```")[1]
    lines = [line.split("#")[0] for line in section.splitlines() if line.startswith("fleetfit")]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


@pytest.mark.parametrize("marker", ["ci:demo", "ci:test"])
def test_each_of_the_two_commands_is_one_line_that_stands_alone(marker: str) -> None:
    lines = block(marker).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python3.11 -m venv .venv && .venv/bin/pip install -c constraints.")


def test_ci_runs_the_line_as_it_is_printed() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    awk = re.search(r"^line=\$\((awk .*)\)$", script.read_text(), re.M)
    assert awk
    found = subprocess.run(
        awk[1], shell=True, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert found.stdout == block("ci:test")


def test_the_library_example_runs(tmp_path: Path) -> None:
    code = block("test:example")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "'no_demand'" in done.stdout
    assert re.search(r"^srtf Interval\(mean=", done.stdout, re.M)
    assert done.stderr == ""


def test_the_commands_name_what_exists() -> None:
    shipped = {f.name for f in (*io.list_topologies(), *io.list_workloads())}
    for words in commands():
        assert words[0] == "fleetfit"
        if words[1] in ("run", "compare"):
            named = [w for w in words[2:4] if not re.search(r"\.(yaml|csv\.gz)$", w)]
            assert set(named) <= shipped, words
        for option in ("--policy", "--policies"):
            if option in words:
                named = words[words.index(option) + 1].split(",")
                assert all(known(name) or own.in_file(name) for name in named)
        help_ = subprocess.run(
            [sys.executable, "-m", "scheduler", words[1], "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "200"},
        ).stdout
        for word in words:
            assert not word.startswith("--") or word in help_, word


def test_the_ledger_table_is_that_of_the_program() -> None:
    section = README.partition("## The ledger")[2].partition("## ")[0]
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \| .*? \| ?(.*?) ?\|$", section, re.M)
    assert [name for _, name, _ in rows] == [c.label for c in Cause]
    assert {name: text for _, name, text in rows if text} == {
        cause.label: text for cause, text in REMEDIES.items()
    }


def test_the_printed_demo_has_the_demo_s_tables() -> None:
    printed = block("demo output")
    for title in DEMO_TABLES:
        assert title.split(",")[0] in printed
    assert "verified: no violations" in printed


@pytest.mark.slow
@pytest.mark.ray
def test_the_demo_ends_in_its_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", "demo", "--replays", "2", "--plot"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr  # which holds progress, on a slow machine
    for title in DEMO_TABLES:
        assert title.split(",")[0] in done.stdout
    for policy in ("fifo", "easy_backfill", "srtf", "optimizer"):
        assert f"Where capacity goes: {policy}" in done.stdout
    assert "Least mean completion time: optimizer" in done.stdout
    assert "8 runs verified: no violations, ledgers balance." in done.stdout
