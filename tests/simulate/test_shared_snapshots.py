"""A run with sharers that is saved and resumed ends in the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from random_shares import random_shares
from test_snapshots import bytes_of, engine_of, policy_of

from scheduler.simulate.engine import Engine

POLICIES = ("fifo", "easy_backfill", "optimizer", "mover", "srtf+greedy+fgd", "gavel_throughput")


@pytest.mark.parametrize("name", POLICIES)
def test_a_run_resumed_at_a_random_instant_is_the_same(name: str) -> None:
    for seed in range(6):
        problem = random_shares(np.random.default_rng([seed, 3]))
        whole = bytes_of(engine_of(problem, policy_of(name, seed), seed))
        engine = engine_of(problem, policy_of(name, seed), seed)
        engine.play(int(np.random.default_rng(seed).integers(0, 200_000_000)))
        saved = json.dumps(engine.save())
        again = Engine.restore(problem, json.loads(saved), policy_of(name, seed))
        assert json.dumps(again.save()) == saved, f"seed {seed}"
        assert bytes_of(again) == whole, f"seed {seed}"
