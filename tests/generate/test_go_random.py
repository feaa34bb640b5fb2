"""Go's stream: published first values, and the jump to its start state."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.generate import go_random
from scheduler.generate.go_random import GoRandom


def test_the_first_numbers_below_100_of_seed_1() -> None:
    """What every Go program printed that called rand.Intn(100) without a seed."""
    draws = GoRandom(1)
    assert [draws.integers(100) for _ in range(10)] == [81, 87, 47, 59, 81, 18, 25, 40, 56, 0]


def test_a_power_of_x_jumps_as_far_as_single_steps_go() -> None:
    """x_n from the first 607 words at once, and step by step."""
    rng = np.random.default_rng(5)
    words = [int(w) for w in rng.integers(2**63, size=607)]
    steps = 5_000
    jumped = sum(c * w for c, w in zip(go_random._power_of_x(steps), words, strict=True))
    for k in range(607, steps + 1):
        words.append((words[k - 607] + words[k - 273]) % 2**64)
    assert jumped % 2**64 == words[steps]


def test_permutations_and_shuffles_keep_every_number_once() -> None:
    draws = GoRandom(42)
    assert sorted(draws.permutation(1000)) == list(range(1000))
    order = list(range(1000))
    draws.shuffle(order)
    assert sorted(order) == list(range(1000))
    assert order != list(range(1000))


def test_powers_of_two_and_others_are_drawn_evenly() -> None:
    draws = GoRandom(7)
    for high in (8, 10):
        many = np.bincount([draws.integers(high) for _ in range(8000)], minlength=high)
        assert len(many) == high
        assert np.abs(many * high / 8000 - 1).max() < 0.2


def test_skipped_draws_are_gone() -> None:
    skipped, drawn = GoRandom(3), GoRandom(3)
    skipped.skip(5)
    for _ in range(5):
        drawn.integers(64)
    assert [skipped.integers(1000) for _ in range(9)] == [drawn.integers(1000) for _ in range(9)]


@pytest.mark.parametrize("high", [0, -1, 2**31])
def test_bounds_that_go_refuses(high: int) -> None:
    with pytest.raises(ValueError, match="no whole number below"):
        GoRandom(1).integers(high)
