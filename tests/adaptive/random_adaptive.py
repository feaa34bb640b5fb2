"""Small made-up problems of adaptive jobs."""

from __future__ import annotations

import numpy as np

from scheduler.core.adaptive import (
    AdaptiveJob,
    AdaptiveProblem,
    Application,
    NodeGroup,
    StepTimes,
    gang_shapes,
)

GROUPS = (NodeGroup("old", 3, 4), NodeGroup("new", 2, 8))


def step_times(rng: np.random.Generator, group: NodeGroup, speed: float) -> StepTimes:
    """Return rows of all elastic gangs; odd ones are left to interpolation."""
    local = np.array([8.0, 16.0, 32.0, 64.0])
    compute = (0.01 + 0.002 * local) / speed
    placements, scaling = {}, {}
    for shape in gang_shapes(group):
        gang = sum(shape)
        sync = 0.0 if gang == 1 else rng.uniform(0.001, 0.01) * (1 + len(shape)) + 1e-4 * gang
        rows = np.column_stack([local, compute + sync, np.full(4, sync)])
        placements[shape] = rows
        scaling[len(shape), gang] = rows
    return StepTimes(placements, scaling, np.inf)


def application(rng: np.random.Generator, name: str) -> Application:
    """Return an application of a few minutes to hours on one accelerator."""
    epochs = int(rng.integers(1, 12))
    batches = np.array([32.0, 64.0, 128.0, 256.0, 512.0])
    speed = float(rng.uniform(1, 3))
    return Application(
        name=name,
        steps={
            "old": step_times(rng, GROUPS[0], 1.0),
            "new": step_times(rng, GROUPS[1], speed),
        },
        batches=batches,
        epoch_ends=np.cumsum(rng.uniform(100, 4000, epochs)),
        grad_sqr=rng.uniform(0.1, 1.0, (epochs, 5)),
        grad_var=rng.uniform(0.1, 20.0, (epochs, 5)),
        slowdown=float(rng.uniform(1, 2)),
        restart_s=int(rng.integers(5, 200)),
    )


def random_problem(seed: int, jobs: int = 12) -> AdaptiveProblem:
    """Return a problem of `jobs` jobs in an hour."""
    rng = np.random.default_rng(seed)
    kinds = tuple(application(rng, f"app{i}") for i in range(3))
    times = np.sort(rng.uniform(0, 3600, jobs))
    return AdaptiveProblem(
        f"random-{seed}",
        GROUPS,
        kinds,
        tuple(
            AdaptiveJob(
                f"job-{i}",
                int(rng.integers(3)),
                float(t),
                int(rng.choice([1, 2, 3, 4, 6])),
                int(rng.choice([64, 128, 256])),
            )
            for i, t in enumerate(times)
        ),
    )
