"""The count of what holds: every trial is counted, and what does not hold is named."""

from __future__ import annotations

import argparse

import pytest

from bench import BENCHES, truth
from scheduler.core.errors import InputError
from scheduler.solver.offline import OBJECTIVES


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    truth.add_arguments(parser)
    return parser.parse_args(words)


def test_every_objective_and_both_bounds_are_counted() -> None:
    assert "truth" in BENCHES
    result = truth.run(arguments("--instances", "2", "--runs", "4", "--seed", "7"))
    cases = {case["case"]: case for case in result["cases"]}
    for name in OBJECTIVES:
        case = cases[f"solve, {name}"]
        assert (case["ours"], case["peer"], case["violations"]) == (2, 2, 0)
    assert cases["solve, all"]["ours"] == cases["solve, all"]["peer"] >= 2 * len(OBJECTIVES)
    assert cases["bounds on each objective"]["ours"] == 4 * len(OBJECTIVES)
    beside = cases["bound beside a run"]
    assert (beside["ours"], beside["peer"], beside["violations"]) == (4, 4, 0)
    assert beside["terms"]
    text = "\n".join(truth.table(result))
    assert "solve, tardiness: 2 of 2 equal to brute force" in text
    assert "bound beside a run: 4 of 4 below the run" in text


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        truth.run(arguments("--instances", "-1", "--runs", "-2"))
    assert [fault.file for fault in caught.value.faults] == ["--instances", "--runs"]
