"""The file: one piece, a strict policy, and names that stay text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from scheduler.core.bounds import lower_bounds
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.execute import ReplayResult
from scheduler.execute.cell import Cell
from scheduler.report import summarise
from scheduler.report.page import Contents, Group, Origin, contents_of, page_html
from scheduler.report.page.pack import packed, unpacked
from scheduler.simulate import simulate

HOSTILE = "</script><img src=x onerror=alert(1)>"


def contents(problem: Problem, name: str = "fifo") -> Contents:
    runs = [simulate(problem, "fifo", seed=s, noise_sigma=0.1) for s in (0, 1)]
    results = [
        ReplayResult(
            Cell(name, run.seed),
            "exact",
            run.ledger_end_us,
            run.horizon_us,
            metrics_of(problem, run),
            run.ledger,
            lower_bounds(problem, run.actual_work, sorted(run.finished_us)),
            (),
        )
        for run in runs
    ]
    origin = Origin("fleetfit run a b", {"Fleet": name})
    shown = replace(runs[0], policy=name)
    return contents_of(
        [Group("", summarise(results))], origin, title=name, problem=problem, runs=[shown]
    )


@pytest.fixture(scope="module")
def html(small_problem: Problem) -> str:
    return page_html(contents(small_problem))


def test_the_policy_permits_the_parts_and_nothing_else(html: str) -> None:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    policy = found[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    without_data = re.sub(r'id="data">[^<]*<', "", html)
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", without_data))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert re.findall(r"<link\b[^>]*>", without_data) == ['<link rel="icon" href="data:,">']
    assert not re.search(r"<(iframe|object|embed|img|base)\b", without_data)
    assert not re.search(r"\son[a-z]+=|\sstyle=\"", without_data)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval|innerHTML|insertAdjacentHTML)\b",
                         without_data)  # fmt: skip


def test_hostile_names_reach_the_file_only_escaped(small_problem: Problem) -> None:
    found = page_html(contents(small_problem, HOSTILE))
    assert "<img" not in found
    assert found.count("</script>") == 2  # the data's and the script's
    data = unpacked(re.findall(r'id="data">([^<]*)<', found)[0])
    assert data["groups"][0]["policies"][0]["policy"] == HOSTILE


def test_control_and_direction_characters_are_replaced(small_problem: Problem) -> None:
    name = "a\u202eb\u0000c\x1b[31m" + "x" * 10_000
    data = contents(small_problem, name).data
    shown = data["groups"][0]["policies"][0]["policy"]
    assert shown.startswith("a\ufffdb\ufffdc\ufffd[31mxxx")
    assert len(shown) <= 120


def test_the_answer_names_interval_and_bound(small_problem: Problem) -> None:
    answer = contents(small_problem).answer
    assert re.match(
        r"With fifo: jobs complete in [\d.]+ \w+ on average \(95 % interval [\d.]+ \w+ to "
        r"[\d.]+ \w+\), where no schedule can do it in less than [\d.]+ \w+; [\d.]+ % of "
        r"accelerator-time is idle and the largest loss is \w+ \([\d.]+ %\), which .* would "
        r"remove\.$",
        answer,
    ), answer


def test_data_comes_back_as_it_was_packed() -> None:
    data = {"a": [1, 2.5, None, "</script>", "\u2028\U0001f600"], "b": {"c": True}}
    text = packed(data)
    assert unpacked(text) == data
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", text)


def test_the_same_contents_give_the_same_bytes(small_problem: Problem, html: str) -> None:
    assert page_html(contents(small_problem)) == html
