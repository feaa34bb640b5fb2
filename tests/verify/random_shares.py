"""Random problems in which some classes share accelerators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_terms import random_terms

from scheduler.core.problem import Group, Mode, Problem

SHARES = (1, 123, 250, 300, 333, 500, 600, 700, 999)


def random_shares(rng: np.random.Generator, only: str | None = None) -> Problem:
    """Draw a problem with some terms, or one of them, and let some of its classes share."""
    problem = random_terms(rng, only)
    classes, modes = list(problem.workload.classes), list(problem.modes)
    for c, kind in enumerate(classes):
        if c and rng.random() < 0.3:
            continue
        share = int(rng.choice(SHARES))
        memory = float(rng.choice([0.0, 0.0, 10e9, 45e9]))
        classes[c] = replace(kind, gang=(1,), share_milli=share, memory_bytes=memory)
        modes[c] = _share_modes(rng, problem, share, memory)
    workload = replace(problem.workload, classes=tuple(classes))
    return replace(problem, workload=workload, modes=tuple(modes))


def _share_modes(
    rng: np.random.Generator, problem: Problem, share: int, memory: float
) -> tuple[Mode, ...]:
    found = []
    for t, name in enumerate(problem.types):
        if found and rng.random() < 0.4:
            continue
        rate = float(rng.uniform(0.5, 4.0)) * share / 1000
        takes = memory or int(problem.cluster.accelerators[name].memory_bytes) * share // 1000
        power_w = float(rng.uniform(200, 400)) * share / 1000
        found.append(
            Mode(
                *((Group(t, 1, 1),), 0, rate, rate, power_w),
                memory_bytes=float(takes),
                share_milli=share,
            )
        )
    return tuple(sorted(found, key=lambda m: -m.rate))
