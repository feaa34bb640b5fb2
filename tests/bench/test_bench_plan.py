"""The bench of the plan's bound holds it against the combinatorial one."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from scheduler.core.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))


def test_never_below_the_combinatorial_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.plan import THROUGHPUTS, TRACE, run, table

    if not (CHECKOUT / TRACE).is_file() or not (CHECKOUT / THROUGHPUTS).is_file():
        pytest.skip("needs the shared reference data beside the checkout")
    monkeypatch.chdir(CHECKOUT)
    asked = argparse.Namespace(
        trace=TRACE, throughputs=THROUGHPUTS, topology="gavel-36", buckets=6, rounds=2
    )
    result = run(asked)
    assert [case["violations"] for case in result["cases"]] == [0, 0, 0]
    assert all(case["ours"] >= case["peer"] > 0 for case in result["cases"])
    assert len(table(result)) == 4


def test_missing_files_and_bad_numbers_in_one_message(tmp_path: Path) -> None:
    from bench.plan import run

    missing = tmp_path / "none"
    asked = argparse.Namespace(
        trace=missing, throughputs=missing, topology="gavel-36", buckets=1, rounds=0
    )
    with pytest.raises(InputError) as caught:
        run(asked)
    assert len(caught.value.faults) == 4
