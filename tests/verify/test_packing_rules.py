"""Legal packings pass; each damage is found under its code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_packings import packing_problem

from scheduler.core.packing import REFUSED, Packing, PackingProblem
from scheduler.verify.packing import verify_packing

NODES = [("A", 2, 10_000, 100), ("B", 2, 10_000, 100), ("", 0, 4_000, 100)]
PODS = [
    (4_000, 40, 1, 600, "A"),
    (4_000, 40, 1, 400, ""),
    (2_000, 20, 2, 1000, ""),
    (4_000, 40, 0, 0, ""),
    (1_000, 10, 2, 1000, "B"),
]
LEGAL = [(0, 0b01), (0, 0b01), (1, 0b11), (2, 0), (REFUSED, 0)]


def case(answers: list[tuple[int, int]]) -> tuple[PackingProblem, Packing]:
    problem = packing_problem(NODES, PODS)
    node, held = np.array(answers, dtype=np.int64).T
    return problem, Packing(np.arange(len(PODS)), node, held)


def codes(answers: list[tuple[int, int]], *, online: bool = False) -> list[str]:
    problem, packing = case(answers)
    return [v.code for v in verify_packing(problem, packing.arrivals, packing, online=online)]


def test_a_legal_packing_has_no_violations() -> None:
    assert codes(LEGAL, online=True) == []


@pytest.mark.parametrize(
    ("arrival", "answer", "found"),
    [
        (0, (1, 0b01), ["type", "share"]),
        (0, (3, 0b01), ["unknown_node"]),
        (0, (-2, 0b01), ["unknown_node"]),
        (0, (REFUSED, 0b01), ["accelerators"]),
        (0, (0, 0b11), ["accelerators"]),
        (0, (0, 0), ["accelerators"]),
        (0, (0, 0b100), ["accelerators"]),
        (1, (1, 0b01), ["share"]),
        (2, (0, 0b11), ["share"]),
        (3, (0, 0), ["cpu", "memory"]),
        (4, (1, 0b11), ["share", "share"]),
        (4, (0, 0b11), ["type", "share"]),
    ],
)
def test_damages(arrival: int, answer: tuple[int, int], found: list[str]) -> None:
    answers = list(LEGAL)
    answers[arrival] = answer
    assert codes(answers) == found


def test_pods_that_never_arrived_or_got_no_answer() -> None:
    problem, packing = case(LEGAL)
    for other in (packing.arrivals[:-1], packing.arrivals[::-1]):
        assert [v.code for v in verify_packing(problem, other, packing)] == ["arrivals"]
    short = replace(packing, node=packing.node[:-1])
    assert [v.code for v in verify_packing(problem, packing.arrivals, short)] == ["arrivals"]


def test_a_refusal_without_need() -> None:
    answers = [LEGAL[0], LEGAL[1], (REFUSED, 0), LEGAL[3], (1, 0b11)]
    assert codes(answers) == []
    problem, packing = case(answers)
    (found,) = verify_packing(problem, packing.arrivals, packing, online=True)
    assert (found.code, found.job, found.node) == ("refused", "pod-002", "node-001")
