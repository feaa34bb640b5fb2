"""Small packing problems: written out, or drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.packing import ANY_TYPE, PackingNodes, PackingProblem, Pods

NodeRow = tuple[str, int, int, int]
"""Accelerator type (``""``: none), accelerators, CPU in milli-cores, memory in bytes."""

PodRow = tuple[int, int, int, int, str]
"""CPU, memory, accelerators, share in milli, allowed types joined by ``|`` (``""``: all)."""


def packing_problem(nodes: Sequence[NodeRow], pods: Sequence[PodRow]) -> PackingProblem:
    """Return the problem with these nodes and pods, named by position."""
    names = {name for name, *_ in nodes if name} | {t for *_, s in pods for t in s.split("|") if t}
    types = sorted(names)
    node_types = [types.index(name) if name else -1 for name, *_ in nodes]
    allowed = [
        sum(1 << types.index(t) for t in set(text.split("|"))) if text else ANY_TYPE
        for *_, text in pods
    ]
    return PackingProblem(
        "small",
        tuple(types),
        PackingNodes(
            tuple(f"node-{i:03}" for i in range(len(nodes))),
            np.array(node_types, dtype=np.int64),
            *(np.array([row[i] for row in nodes], dtype=np.int64) for i in (1, 2, 3)),
        ),
        Pods(
            tuple(f"pod-{i:03}" for i in range(len(pods))),
            *(np.array([row[i] for row in pods], dtype=np.int64) for i in (0, 1, 2, 3)),
            np.array(allowed, dtype=np.int64),
            tuple(text for *_, text in pods),
        ),
    )


def random_packing_problem(
    rng: np.random.Generator, nodes: int = 12, kinds: int = 14
) -> PackingProblem:
    """Return nodes of three types and without accelerators, and pods of all sorts."""
    shapes: list[NodeRow] = [
        ("A", 8, 16_000, 640),
        ("B", 2, 26_000, 640),
        ("C", 4, 8_000, 320),
        ("", 0, 8_000, 320),
    ]
    pods: list[PodRow] = []
    for _ in range(kinds):
        count = int(rng.choice([0, 1, 1, 1, 1, 1, 2, 4, 8]))
        share = 0 if not count else 1000
        if count == 1 and rng.random() < 0.7:
            share = int(rng.choice([100, 250, 330, 500, 810]))
        text = str(rng.choice(["", "", "A", "A|B", "C|D"])) if count else ""
        cpu, memory = int(rng.integers(0, 5)) * 1000, int(rng.integers(0, 5)) * 20
        pods += [(cpu, memory, count, share, text)] * int(rng.integers(1, 6))
    chosen = [shapes[int(i)] for i in rng.integers(len(shapes), size=nodes)]
    return packing_problem(chosen, pods)
