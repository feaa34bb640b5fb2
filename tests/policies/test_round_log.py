"""What a solving policy notes of its rounds stays small and true."""

from __future__ import annotations

from itertools import pairwise

from scheduler.core.problem import Problem
from scheduler.io.results import run_from_json, run_to_json
from scheduler.policies.round_log import MOST_ROUNDS, RoundLog
from scheduler.simulate import simulate


def test_it_keeps_every_round_while_there_are_few() -> None:
    log = RoundLog(("a", "b"))
    for i in range(5):
        log.note(i * 1_000_000, 0.1 * i, (1.0, float(i)))
    assert log.columns() == {
        "at_s": (0.0, 1.0, 2.0, 3.0, 4.0),
        "gap": tuple(0.1 * i for i in range(5)),
        "price a": (1.0,) * 5,
        "price b": (0.0, 1.0, 2.0, 3.0, 4.0),
    }


def test_of_many_it_keeps_some_evenly() -> None:
    log = RoundLog(("a",))
    for i in range(10 * MOST_ROUNDS):
        log.note(i * 1_000_000, 0.0, (float(i),))
    at_s = log.columns()["at_s"]
    assert MOST_ROUNDS / 2 <= len(at_s) <= MOST_ROUNDS
    assert len({b - a for a, b in pairwise(at_s)}) == 1
    assert log.columns()["price a"] == at_s


def test_the_optimizer_notes_its_rounds_and_files_keep_them(small_problem: Problem) -> None:
    run = simulate(small_problem, "optimizer")
    kept = run.rounds
    assert set(kept) == {"at_s", "gap", *(f"price {t}" for t in small_problem.types)}
    assert 0 < len(kept["at_s"]) <= run.solver["rounds"]
    assert list(kept["at_s"]) == sorted(kept["at_s"])
    assert max(kept["gap"]) <= run.solver["worst_gap"]
    assert min(min(kept[f"price {t}"]) for t in small_problem.types) >= 0
    assert run_from_json(run_to_json(run)).rounds == kept
