"""The bench of modes asks what it says it asks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def test_no_two_jobs_are_alike_and_every_kind_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.modes import distinct_classes, run, table

    classes = distinct_classes(400, np.random.default_rng(3))
    assert len({replace(made, name="") for made in classes}) == len(classes) == 400
    result = run(argparse.Namespace(jobs=60, repeats=1, seed=3))
    assert (result["types"], len(result["levels"])) == (20, 5)
    whole, *parts = result["cases"]
    assert [case["jobs"] for case in result["cases"]] == [60, 36, 18, 6]
    assert whole["modes"] == sum(case["modes"] for case in parts) > 60
    assert len(table(result)) == 6
