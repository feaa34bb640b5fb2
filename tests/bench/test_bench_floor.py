"""The bench of the optimizer's floor compares what it says it compares."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[2]


def arguments(**changes: object) -> argparse.Namespace:
    asked: dict[str, object] = {
        "problems": 1, "windows": 0, "first": 6, "information": "exact,none",
        "baselines": "fifo,sjf", "trace": Path("none"), "throughputs": Path("none"),
    }  # fmt: skip
    return argparse.Namespace(**{**asked, **changes})


def test_cases_summary_and_table_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench import floor

    monkeypatch.setattr(floor, "MOST_JOBS", 60)
    result = floor.run(arguments())
    assert [case["information"] for case in result["cases"]] == ["exact", "none"]
    for case in result["cases"]:
        assert case["violations"] == 0
        assert case["peer"] == min(case["baselines"].values())
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])
    for row in result["summary"]:
        which = "ratio" if row["when"] == "now" else "ratio_before"
        mine = [
            c[which] for c in result["cases"] if row["information"] in (c["information"], "all")
        ]
        assert row["mean"] == pytest.approx(np.mean(mine))
        assert row["worst"] == max(mine)
    assert {row["baseline"] for row in result["against_each"]} == {"fifo", "sjf"}
    assert len(list(floor.table(result))) == 1 + 2 + 1 + 6 + 1 + 4


def test_problems_are_drawn_by_seed_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.floor import drawn_problem

    first, again, other = drawn_problem(3), drawn_problem(3), drawn_problem(4)
    assert first.name == again.name != other.name
    assert np.array_equal(first.problem.workload.jobs.work, again.problem.workload.jobs.work)


def test_bad_options_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.floor import run

    with pytest.raises(InputError) as caught:
        run(arguments(baselines="fifo,nobody", information="exact,all", windows=1))
    text = str(caught.value)
    assert all(word in text for word in ("nobody", "all", "no such file"))
