"""`--report` of the commands that do not play policies."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scheduler.commands import executing
from scheduler.execute.schedules.measure import Execution, Latency, TypeIdle
from scheduler.report.page.pack import unpacked
from scheduler.report.table_page import Sheet, tables_html

Call = Callable[..., tuple[int, str, str]]
HOSTILE = "</style><script>alert(1)</script>\x1b[31m"
RUNS = """\
run_id,accelerator,precision,seq_len,params_total_b,device_count,global_batch_seqs,\
tokens_per_s_per_device,source_group,confidence
a,A100-80GB-SXM,bf16,2048,7,64,512,3500,lab,high
b,H100-SXM,fp8,4096,70.6,64,256,1500,lab,medium
d,NoSuchChip,bf16,2048,7,64,512,3500,lab,high
"""
JOBS = """\
schema: workload/1
title: Four jobs
classes:
  - {name: mid, run_time: {}, gang: 4, accelerators: [A100-80GB-SXM]}
jobs:
  - {id: m, class: mid, run_time: 1 h, count: 4, every: 10 min}
"""


class Tables(HTMLParser):
    """Reads rows of tables, and that every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("meta",):
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def facts_of(page: str) -> str:
    """Return what the section on proof of a run's page holds."""
    found = re.search(r'<script type="text/plain" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return str(unpacked(found[1].strip()))


def test_estimates_become_a_table_of_types(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "new" / "types.html"
    words = ("estimate", "--model", "llama-3-8b", "--count", "8", "--on", "H100-SXM", "--on", "T4")
    code, out, said = call(*words, "--report", page)
    assert code == 0
    assert f"wrote {page}" in said
    text = page.read_text()
    rows = {row[0]: row for row in Tables(text).rows if row}
    assert rows["T4"][1] == "T4 does not support bf16 (it has fp32, fp16, int8)"
    assert float(rows["H100-SXM"][1].replace(",", "")) > 1000
    assert rows["model"][1] == "llama-3-8b"
    assert "H100-SXM is the fastest of 2" in text
    assert call(*words)[1] == out, "the page changes nothing else"


def test_served_estimates_too(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "types.html"
    words = ("--model", "llama-3-8b", "--serve", "--count", "1", "--on", "H100-SXM")
    assert call("estimate", *words, "--report", page)[0] == 0
    rows = {row[0]: row for row in Tables(page.read_text()).rows if row}
    assert "requests/s, limited by" in rows["H100-SXM"][14]


def test_published_runs_become_a_table_of_errors(call: Call, tmp_path: Path) -> None:
    runs, page = tmp_path / "runs.csv", tmp_path / "runs.html"
    runs.write_text(RUNS)
    assert call("estimate", "--runs", runs, "--report", page)[0] == 0
    rows = Tables(page.read_text()).rows
    assert {row[0] for row in rows if len(row) > 5} >= {"a", "b"}
    assert any(row[0] == "d" and "NoSuchChip" in row[1] for row in rows)


def test_a_schedule_becomes_the_page_of_its_run(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    jobs, page = tmp_path / "jobs.yaml", tmp_path / "schedule.html"
    jobs.write_text(JOBS)
    words = ("solve", small_files[0], jobs, "--objective", "makespan", "--time-limit", "2 s")
    code, _, said = call(*words, "--report", page)
    assert code == 0, said
    held = facts_of(page.read_text())
    assert "Offline schedule" in held
    assert "fleetfit solve" in held


def test_an_execution_becomes_the_page_of_its_run(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray measured stands beside the run; Ray itself has tests of its own."""
    run, page = tmp_path / "run.json", tmp_path / "executed.html"
    assert call("run", *small_files, "--policy", "fifo", "-o", run)[0] == 0
    rows = (TypeIdle("T4", 0.25, 0.27, 0.015), TypeIdle("fleet", 0.3, 0.31, 0.01))
    found = Execution(
        1000.0, 12.0, rows, Latency(0.01, 0.02, 0.05, 9), (0.01, 0.02, 0.03), 0.001,
        40, 3, 0, (), (), 0,
    )  # fmt: skip
    monkeypatch.setattr(executing, "execute_run", lambda *args, **more: found)
    words = ("execute", *small_files, run, "--speed", "1000x")
    code, _, said = call(*words, "--report", page)
    assert code == 0, said
    held = facts_of(page.read_text())
    assert "25.5 % measured, 25.0 % simulated" in held
    assert "fleetfit execute" in held
    monkeypatch.setattr(executing, "execute_run", lambda *args, **more: replace(found, leaked=1))
    assert call(*words, "--report", page)[0] == 1


@pytest.mark.parametrize("command", ["estimate", "solve", "execute", "run", "compare", "sweep"])
def test_every_command_with_figures_has_it(call: Call, command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert "--report" in out


def test_a_folder_is_no_page(call: Call, tmp_path: Path) -> None:
    words = ("estimate", "--model", "llama-3-8b", "--on", "H100-SXM")
    code, _, said = call(*words, "--report", tmp_path)
    assert code == 2
    assert "--report: is a folder, not a file" in said


def test_a_page_of_tables_holds_text_and_asks_nobody() -> None:
    sheet = Sheet(HOSTILE, (HOSTILE, "two\nlines"), [(HOSTILE, "1"), ("b", "2")], shares=(1.0, 0.5))
    empty = Sheet("nothing here", ("a",), [])
    page = tables_html(HOSTILE, HOSTILE, [sheet, empty], {HOSTILE: HOSTILE})
    assert "<script" not in page
    assert "\x1b" not in page
    assert "nothing here" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "two\nlines" in page
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy[1].replace("&#x27;", "'")
    assert "unsafe" not in policy[1]
    assert not Tables(page).open
