"""Measured all-reduces are predicted from link figures alone."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from scheduler.core.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[2]


def test_measured_all_reduces_of_a_mebibyte_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.collectives import FABRICS, MEASURED, run, table

    if not MEASURED.is_dir():
        pytest.skip("needs the shared reference data beside the checkout")
    result = run(argparse.Namespace(measured=MEASURED))
    *fabrics, everything = result["cases"]
    assert len(fabrics) == len(FABRICS) == len(table(result)) - 2
    assert everything["calls"] > 10_000
    assert everything["ours"] <= 0.12, "the two configurations of two speeds included"
    for case in fabrics:
        assert case["ours"] <= (0.20 if case["steady"] else 0.45), case["case"]


def test_missing_measurements_say_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.collectives import run

    with pytest.raises(InputError, match="microsoft/vidur"):
        run(argparse.Namespace(measured=tmp_path))
