"""Generated rounds: a contended fleet with pods, and jobs with several ways to start."""

from __future__ import annotations

import numpy as np

from scheduler.core.workload import IntArray
from scheduler.solver.scale.columns import NODE, POD, SPAN, Fleet, Options, Round

NODE_SIZE = 8
POD_NODES = 32
BUSY_SHARE = 1 / 3
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARES = (0.45, 0.15, 0.12, 0.15, 0.06, 0.04, 0.02, 0.01)
ODD = {4: 3, 8: 6, 16: 24, 32: 40, 64: 56, 128: 96, 2: 5, 1: 3}
"""What an odd job asks for instead."""


def draw_fleet(rng: np.random.Generator, accelerators: int, types: int) -> Fleet:
    """Return nodes of eight in pods of 32; on a third of them something runs already."""
    per_type = max(1, accelerators // NODE_SIZE // types)
    node_type = np.repeat(np.arange(types), per_type)
    within = np.tile(np.arange(per_type), types)
    pods_per_type = -(-per_type // POD_NODES)
    node_pod = node_type * pods_per_type + within // POD_NODES
    taken = rng.integers(1, NODE_SIZE + 1, len(node_type))
    busy = rng.random(len(node_type)) < BUSY_SHARE
    return Fleet(
        np.full(types, NODE_SIZE),
        node_type,
        node_pod,
        np.where(busy, NODE_SIZE - taken, NODE_SIZE),
    )


def draw_options(rng: np.random.Generator, jobs: int, types: int, odd: float) -> Options:
    """Return jobs that may use three types or more, at up to four counts, packed or spread.

    A job's worth is log-normal, in proportion to its speed: unlike by type, less than
    proportional to the count, less by a fifth or so where it spreads over pods.
    """
    base = rng.choice(SIZES, size=jobs, p=SHARES)
    is_odd = rng.random(jobs) < odd
    swap = np.array([ODD.get(int(s), int(s)) for s in SIZES])
    base = np.where(is_odd, swap[np.searchsorted(SIZES, base)], base)
    weight = np.exp(rng.normal(0.0, 0.7, jobs))
    power = rng.uniform(0.6, 0.95, jobs)
    loss = rng.uniform(0.7, 0.9, jobs)
    elastic = rng.random(jobs) < 0.8
    speed = rng.uniform(0.4, 1.6, types)[:, None] * np.exp(rng.normal(0.0, 0.25, (types, jobs)))
    order = rng.random((types, jobs)).argsort(axis=0)
    may = rng.integers(min(3, types), types + 1, jobs)
    found: list[tuple[IntArray, ...]] = []
    worth = []
    for t in range(types):
        allowed = order[t] < may
        for factor in (0.5, 1.0, 2.0, 4.0):
            count = (base * factor).astype(np.int64)
            legal = allowed & (count * 1.0 == base * factor) & (count > 0)
            legal &= elastic | (factor == 1.0)
            wide = count > NODE_SIZE
            legal &= ~wide | (count % NODE_SIZE == 0)
            value = weight * speed[t] * base * (count / base) ** power
            for level in (NODE, POD, SPAN):
                here = np.flatnonzero(legal & (wide if level != NODE else ~wide))
                found.append((here, np.full(len(here), t), count[here], np.full(len(here), level)))
                worth.append(value[here] * (loss[here] if level == SPAN else 1.0))
    job, type_index, count, level = (np.concatenate(part) for part in zip(*found, strict=True))
    by_job = np.argsort(job, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(job, minlength=jobs))])
    utility = np.concatenate(worth)
    return Options(first, type_index[by_job], count[by_job], level[by_job], utility[by_job])


def change_jobs(
    rng: np.random.Generator, options: Options, types: int, odd: float, share: float
) -> Options:
    """Return the options with a share of the jobs replaced by new ones."""
    jobs = options.jobs
    fresh = draw_options(rng, jobs, types, odd)
    new = np.zeros(jobs, dtype=bool)
    new[rng.choice(jobs, size=round(share * jobs), replace=False)] = True
    length = np.where(new, np.diff(fresh.first), np.diff(options.first))
    first = np.concatenate([[0], np.cumsum(length)])
    job = np.repeat(np.arange(jobs), length)
    within = np.arange(len(job)) - first[job]
    old_at = np.minimum(options.first[job] + within, len(options.count) - 1)
    new_at = np.minimum(fresh.first[job] + within, len(fresh.count) - 1)

    def pick(name: str) -> IntArray:
        return np.where(new[job], getattr(fresh, name)[new_at], getattr(options, name)[old_at])

    return Options(first, pick("type_index"), pick("count"), pick("level"), pick("utility"))


def draw_round(
    rng: np.random.Generator, accelerators: int, jobs: int, types: int, odd: float
) -> Round:
    """Return a round of the bench."""
    fleet = draw_fleet(rng, accelerators, types)
    return Round(fleet, draw_options(rng, jobs, types, odd))


SIA_CAPACITY = (768, 768, 512)
SIA_COUNTS = (
    (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44),
    (1, 2, 4, 8, 16, 24, 32, 40),
    (1, 2, 4, 8, 16, 24, 32, 40),
)
"""Powers of two inside a node of four or eight, then whole nodes: 29 in all."""


def draw_sia(rng: np.random.Generator, jobs: int = 960) -> Round:
    """Return a round in the form of Sia's program: types only, 27,840 choices at 960 jobs.

    Five kinds of jobs; a job's worth is 1.1 less the inverse square root of its goodput over its
    least, as with Sia's ``p = -0.5`` and ``lambda_n = 1.1``. The goodputs are drawn, not profiled.
    """
    kind = rng.choice(5, size=jobs, p=(0.6, 0.15, 0.1, 0.08, 0.07))
    power = rng.uniform(0.3, 0.95, (5, 3))[kind] + rng.normal(0.0, 0.02, (jobs, 3))
    speed = rng.uniform(1.0, 4.0, (5, 3))[kind] * np.exp(rng.normal(0.0, 0.1, (jobs, 3)))
    counts = [np.array(some) for some in SIA_COUNTS]
    goodput = np.concatenate(
        [speed[:, [t]] * some ** power[:, [t]] for t, some in enumerate(counts)], axis=1
    )
    goodput /= goodput.min(axis=1, keepdims=True)
    choices = goodput.shape[1]
    options = Options(
        np.arange(jobs + 1) * choices,
        np.tile(np.repeat(np.arange(3), [len(some) for some in counts]), jobs),
        np.tile(np.concatenate(counts), jobs),
        np.full(jobs * choices, SPAN),
        (1.1 - goodput**-0.5).ravel(),
    )
    node_type = np.repeat(np.arange(3), SIA_CAPACITY)
    fleet = Fleet(np.ones(3, dtype=np.int64), node_type, node_type, np.ones_like(node_type))
    return Round(fleet, options)
