"""The bench of one decision draws what it says, checks from the definitions and books it all."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.solver.scale.columns import POD, Decision, Round
from scheduler.solver.scale.deciding import decide

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))


def arguments(**given: object) -> argparse.Namespace:
    usual: dict[str, object] = dict.fromkeys(("accelerators", "jobs", "odd"))
    usual |= {"types": 2, "seed": 0, "repeats": 1, "peer_options": 10_000, "peer_nodes": 0}
    return argparse.Namespace(**{**usual, **given})


def test_rounds_are_busy_contended_and_of_every_level() -> None:
    from bench.round_cases import change_jobs, draw_round

    rng = np.random.default_rng(1)
    made = draw_round(rng, 4096, 2000, 4, 0.4)
    partly = made.fleet.node_free < 8
    assert len(partly) == 512
    assert 0.25 < partly.mean() < 0.42
    assert set(made.options.level.tolist()) == {0, 1, 2}
    assert np.diff(made.options.first).min() >= 1
    assert made.options.count.max() > 64
    odd = made.options.count[made.options.count % 3 == 0]
    assert len(odd) > 0
    changed = change_jobs(rng, made.options, 4, 0.4, 0.02)
    same = 0
    for job in range(2000):
        a = made.options.utility[made.options.first[job] : made.options.first[job + 1]]
        b = changed.utility[changed.first[job] : changed.first[job + 1]]
        same += len(a) == len(b) and bool(np.all(a == b))
    assert same == 1960


def test_sia_has_as_many_choices_as_theirs() -> None:
    from bench.round_cases import draw_sia

    made = draw_sia(np.random.default_rng(0))
    assert len(made.options.count) == 27_840
    assert int(made.fleet.node_free.sum()) == 2048


def test_a_case_with_its_peers() -> None:
    from bench.round import Asked, measure

    rows = measure(Asked(256, 20, 2, 0.4, 0, 1, 10_000, 32))
    cold, warm, by_node = rows
    assert all(row["violations"] == 0 for row in rows)
    assert cold["ours"] <= cold["bound"] <= cold["peer_bound"] * (1 + 1e-9)
    assert by_node["ours"] == pytest.approx(by_node["peer"], rel=2e-3)
    assert warm["start"] == "warm"
    assert sum(cold["gap_parts"].values()) == pytest.approx(cold["gap"], abs=1e-12)


def test_the_table_tells_every_case() -> None:
    from bench.round import Asked, measure, table

    rows = measure(Asked(128, 10, 2, 0.0, 0, 1, 10_000, 0))
    lines = table({"cases": rows})
    assert sum("violations" in line for line in lines) == len(rows) == 2


def test_every_fault_of_the_options_at_once() -> None:
    from bench.round import run

    with pytest.raises(InputError) as caught:
        run(arguments(accelerators=0, jobs=-1, odd=2.0))
    assert len(caught.value.faults) == 3


def damaged(asked: Round, answer: Decision, what: str) -> Decision:
    option, nodes, counts = answer.option.copy(), answer.nodes.copy(), answer.counts.copy()
    placed = np.flatnonzero(option >= 0)
    if what == "value":
        return replace(answer, value=answer.value * 1.01)
    if what == "bound":
        return replace(answer, bound=answer.bound * 0.999)
    if what == "count":
        counts[0] += 1
    if what == "type":
        kinds = asked.fleet.node_type
        nodes[0] = np.flatnonzero(kinds != kinds[nodes[0]])[0]
    if what == "pod":
        wide = [j for j in placed.tolist() if asked.options.level[option[j]] == POD]
        job = next(j for j in wide if answer.first[j + 1] - answer.first[j] > 1)
        at = answer.first[job]
        fleet = asked.fleet
        alike = (fleet.node_type == fleet.node_type[nodes[at]]) & (fleet.node_free == 8)
        nodes[at] = np.flatnonzero(alike & (fleet.node_pod != fleet.node_pod[nodes[at]]))[0]
    if what == "job":
        option[placed[0]] = option[placed[-1]]
    if what == "dropped":
        option[placed[0]] = -1
    return replace(answer, option=option, nodes=nodes, counts=counts)


@pytest.mark.parametrize("what", ["value", "bound", "count", "type", "pod", "job", "dropped"])
def test_the_checker_sees_damage(what: str) -> None:
    from bench.round_cases import draw_round
    from bench.round_check import violations

    asked = draw_round(np.random.default_rng(2), 2048, 200, 2, 0.0)
    answer = decide(asked)
    assert not violations(asked, answer)
    assert violations(asked, damaged(asked, answer, what))
