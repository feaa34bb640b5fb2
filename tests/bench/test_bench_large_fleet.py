"""The bench of large fleets plays, verifies and refuses."""

from __future__ import annotations

import argparse

import pytest

from bench import large_fleet
from scheduler.core.errors import InputError


def test_a_small_one_is_played_both_ways_and_accepted() -> None:
    result = large_fleet.run(argparse.Namespace(accelerators="128", seed=5))
    (case,) = result["cases"]
    assert case["violations"] == 0
    assert case["rounds"] > 0
    assert 0 < case["ratio"] < 1.5
    assert len(list(large_fleet.table(result))) == 3


@pytest.mark.parametrize("sizes", ["", "none", "64", "128,99999999"])
def test_sizes_that_make_no_fleet_are_refused(sizes: str) -> None:
    with pytest.raises(InputError, match="out of range"):
        large_fleet.run(argparse.Namespace(accelerators=sizes, seed=5))
