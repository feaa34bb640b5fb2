"""The bench of large fleets plays, verifies and refuses."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from bench import large_fleet
from scheduler.core.errors import InputError
from scheduler.io import load_cluster


def arguments(accelerators: str, days: str = "", yardsticks: int = 0) -> argparse.Namespace:
    return argparse.Namespace(accelerators=accelerators, days=days, yardsticks=yardsticks, seed=5)


def test_a_small_burst_is_played_both_ways_and_accepted() -> None:
    result = large_fleet.run(arguments("128"))
    (case,) = result["cases"]
    assert case["violations"] == 0
    assert case["rounds"] > 0
    assert 0 < case["ratio"] < 1.5
    assert len(list(large_fleet.table(result))) == 3


def test_a_small_day_is_played_beside_its_yardsticks() -> None:
    (case,) = large_fleet.run(arguments("", days="128", yardsticks=128))["cases"]
    assert case["violations"] == 0
    assert set(case["played"]) == {"counted rounds", *large_fleet.YARDSTICKS}
    assert all(0 < one["waste"] < 1 for one in case["played"].values())
    assert 0 < case["ratio"] < 1


@pytest.mark.parametrize("size", [16_384, 20_480, 100_352])
def test_a_larger_fleet_is_the_same_several_times(size: int) -> None:
    whole = load_cluster(large_fleet.TOPOLOGY)
    larger = large_fleet._of_size(whole, size)
    share = size / 16_384
    kinds = Counter(node.accelerator for node in whole.nodes)
    assert Counter(node.accelerator for node in larger.nodes) == {
        kind: share * count for kind, count in kinds.items()
    }
    assert sum(node.count for node in larger.nodes) == size
    assert len({node.id for node in larger.nodes}) == len(larger.nodes)
    assert len({pod.name for pod in larger.pods}) == len(larger.pods)
    caps = [site.power_cap_w for site in whole.sites]
    assert [site.power_cap_w for site in larger.sites] == [cap and share * cap for cap in caps]


@pytest.mark.parametrize("sizes", ["", "none", "64", "128,99999999"])
def test_sizes_that_make_no_fleet_are_refused(sizes: str) -> None:
    with pytest.raises(InputError, match="out of range"):
        large_fleet.run(arguments(sizes))
