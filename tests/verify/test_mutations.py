"""Damage of every kind done to valid runs is found, every time."""

from __future__ import annotations

import functools
import zlib

import damages_to_books  # noqa: F401 - registers its kinds
import numpy as np
import pytest
from damages import KINDS, Case
from first_come import first_come_run
from random_problems import random_problem

from scheduler.verify import verify_run

BASES = 240
LEAST, MOST = 20, 50
"""Runs to which each kind of damage must, and may, be done."""


@functools.cache
def valid_run(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    return problem, first_come_run(problem, rng, float(rng.choice([150.0, 400.0, 1500.0])))


def test_undamaged_runs_are_accepted() -> None:
    for seed in range(BASES):
        assert verify_run(*valid_run(seed)) == [], f"seed {seed}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_damage_is_found(kind: str) -> None:
    inflict, codes = KINDS[kind]
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    done = 0
    for seed in range(BASES):
        case = inflict(rng, *valid_run(seed))
        if case is None:
            continue
        done += 1
        found = {violation.code for violation in verify_run(*case)}
        assert found & codes, f"{kind} on seed {seed}: found only {sorted(found)}"
        if done == MOST:
            break
    assert done >= LEAST, f"{kind} could be done to {done} runs only"


def test_a_thousand_damaged_runs_of_twenty_kinds() -> None:
    assert len(KINDS) >= 20
    assert len(KINDS) * LEAST >= 1000
