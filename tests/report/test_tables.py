"""Tables, waterfall and sentences: what they say, and that they fit."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console
from test_summary import result

from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.report import (
    Summary,
    Waterfall,
    inputs_line,
    ledger_table,
    listing_table,
    policy_tables,
    replays_line,
    summarise,
    type_table,
    verdict_lines,
    violations_line,
)
from scheduler.report.tables import REMEDIES
from scheduler.report.words import (
    bar,
    count,
    duration,
    number,
    percent,
    plain,
    slug,
    spread,
    time_unit,
)


@pytest.fixture
def summaries() -> list[Summary]:
    results = [result("fifo", s, 7200.0 + s, busy=40) for s in range(3)]
    return summarise(results + [result("srtf", s, 3600.0 + s, busy=60) for s in range(3)])


def drawn(*things: object, width: int = 120, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=stream, width=width, highlight=False)
    for thing in things:
        console.print(thing, markup=False)
    stream.flush()
    return raw.getvalue().decode(encoding)


def all_of(summaries: list[Summary], width: int) -> list[object]:
    return [
        *policy_tables(summaries, width),
        ledger_table(summaries, width),
        type_table(summaries, width),
        *(Waterfall(s) for s in summaries),
    ]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_nothing_is_cut_at_usual_widths(summaries: list[Summary], width: int) -> None:
    four = [replace(s, policy=p) for s in summaries for p in ("easy_backfill", s.policy)]
    text = drawn(*all_of(four, width), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_policy_table_figures(summaries: list[Summary]) -> None:
    text = drawn(*policy_tables(summaries, 200), width=200)
    assert "2.00 ±0.00" in text  # hours
    assert "-50.0 ±0.0" in text  # change against the first, percent
    assert "100" in text  # gap: the bound is half
    assert "60.0 ±0.0" in text  # idle, percent


def test_ledger_table_lists_what_occurs_with_its_remedy(summaries: list[Summary]) -> None:
    lines = drawn(ledger_table(summaries, 120)).splitlines()
    rows = {line.split()[-len(line.split()) :][0]: line for line in lines if line.strip()}
    text = "\n".join(lines)
    assert "straggler" not in text
    policy = next(line for line in lines if " policy " in line and "%" in line)
    assert "40.0 %" in policy
    assert "20.0 %" in policy
    assert "another policy" in policy
    assert "sum" in rows
    waiting = next(line for line in lines if "jobs waiting" in line)
    assert "40.0 %" in waiting


def test_every_cause_but_productive_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Cause) - {Cause.PRODUCTIVE}


def test_type_table_names_the_largest_cause(summaries: list[Summary]) -> None:
    lines = drawn(type_table(summaries, 120)).splitlines()
    t4 = next(line for line in lines if "T4" in line)
    assert t4.split() == ["T4", "20", "%", "100.0", "%", "no_demand", "100.0", "%", "no_demand"]


def test_waterfall_steps_down_to_productive(summaries: list[Summary]) -> None:
    lines = [x for x in drawn(Waterfall(summaries[0])).splitlines() if "%" in x]
    assert [line.split("%")[0].split()[-1] for line in lines] == ["100.0", "20.0", "40.0", "40.0"]
    full = lines[0].count("█")
    assert lines[-1].count("█") == pytest.approx(0.4 * full, abs=1)


def test_ascii_terminals_get_ascii(summaries: list[Summary]) -> None:
    text = drawn(ledger_table(summaries, 100), Waterfall(summaries[0]), encoding="ascii")
    assert "####" in text


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/nothing]", "a" * 10_000, "\x1b]0;x\x07", ""])
def test_hostile_policy_names(summaries: list[Summary], name: str) -> None:
    hostile = [replace(summaries[0], policy=name), summaries[1]]
    text = drawn(*all_of(hostile, 120), *verdict_lines(hostile))
    assert "\x1b]" not in text
    assert max(map(len, text.splitlines())) <= 120
    if name.startswith("["):
        assert name in text


class TestSentences:
    def test_verdict_gives_winner_size_certainty_and_remedy(self, summaries: list[Summary]) -> None:
        jct, waste, clarity, rest = verdict_lines(summaries)
        assert jct.startswith("Least mean completion time: srtf, 1.00 h; 50.0 % less than fifo")
        assert clarity.startswith("Paired over 3 seeds, the change of mean completion time")
        assert clarity.endswith("against fifo is clear for srtf.")
        assert waste.startswith("Least waste: srtf, 40.0 %; 20.0 points less than fifo")
        assert "With srtf, 40.0 % of accelerator-time is idle" in rest
        assert "the largest loss is policy (20.0 %), which another policy would remove" in rest
        assert "cut its mean completion time by more than 50 %" in rest

    def test_verdict_on_one_policy_names_no_winner(self, summaries: list[Summary]) -> None:
        assert len(verdict_lines(summaries[:1])) == 1

    def test_an_unclear_difference_is_called_so(self) -> None:
        results = [result("a", s, v) for s, v in enumerate((10.0, 30.0, 20.0))]
        results += [result("b", s, v) for s, v in enumerate((20.0, 10.0, 25.0))]
        lines = verdict_lines(summarise(results))
        assert "not clear for b." in lines[2]
        assert "not clear)" in lines[0]

    def test_no_finished_job_is_no_winner(self) -> None:
        lines = verdict_lines(summarise([result("a", 0, math.nan), result("b", 0, math.nan)]))
        assert not [line for line in lines if "completion time" in line]

    def test_violations(self, summaries: list[Summary]) -> None:
        assert violations_line(summaries) == "6 runs verified: no violations, ledgers balance."
        bad = [replace(summaries[0], violations=("x",)), summaries[1]]
        assert violations_line(bad) == "The verifier found 1 violation in 6 runs."

    def test_how_the_figures_came_about(
        self, summaries: list[Summary], small_problem: Problem
    ) -> None:
        line = replays_line(summaries, 0.1)
        assert line.startswith("3 replays of each policy (seeds 0-2), run times with noise of 10 %")
        assert line.endswith("± is the 95 % interval")
        assert "40 jobs, offered load 0.90" in inputs_line(small_problem, 0.9)
        assert "offered load" not in inputs_line(small_problem, math.inf)


class TestWords:
    def test_numbers_keep_three_digits(self) -> None:
        cases = {0.0: "0.00", 1.234: "1.23", 12.34: "12.3", 1234.5: "1,234", -5.678: "-5.68"}
        assert {v: number(v) for v in cases} == cases
        assert number(math.nan) == "-"
        assert number(2e9) == "2.00e+09"

    def test_spread_has_the_digits_of_its_mean(self) -> None:
        assert spread(12.345, 0.678) == "12.3 ±0.7"
        assert spread(-78.2, 8.2, "+") == "-78.2 ±8.2"
        assert spread(1.5, math.nan) == "1.50"

    def test_counts(self) -> None:
        assert [count(3.0), count(2.5), count(1e4)] == ["3", "2.50", "10,000"]

    def test_a_column_has_the_unit_that_suits_its_smallest_figure(self) -> None:
        assert time_unit([7200.0, 90000.0]) == (3600.0, "h")
        assert time_unit([86400.0, math.nan]) == (86400.0, "d")
        assert time_unit([0.0, 59.0]) == (1.0, "s")
        assert time_unit([]) == (1.0, "s")
        assert duration(5400.0) == "1.50 h"
        assert percent(0.1234) == "12.3 %"

    def test_bars(self) -> None:
        assert bar(0.5, 8) == "████"
        assert bar(1 / 16, 8) == "▌"
        assert bar(2.0, 3) == "███"
        assert bar(0.5, 8, ascii_only=True) == "####"
        assert bar(math.nan, 8) == ""

    def test_plain_names(self) -> None:
        assert plain("a\x1b[31m\u202eb\n") == "a\ufffd[31m\ufffdb\ufffd"
        assert len(plain("x" * 100)) == 60

    def test_slugs_are_safe_and_distinct(self) -> None:
        assert slug("easy_backfill") == "easy_backfill"
        assert slug("../../etc/passwd") != slug(".._.._etc/passwd")
        assert "/" not in slug("../../etc/passwd")
        assert not slug("..").startswith(".")


def test_listing_never_cuts_the_names() -> None:
    rows = [{"name": "a" * 50, "title": "long " * 30, "size": 3}]
    text = drawn(listing_table(rows), width=80)
    assert "a" * 50 in text
