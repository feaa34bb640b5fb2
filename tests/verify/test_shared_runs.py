"""Runs of jobs that share accelerators pass every check, and damaged ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from random_shares import random_shares
from random_terms import TERMS, RandomMover

from scheduler.core.bounds import lower_bounds
from scheduler.core.ledger import Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Placement, Run, SharePlacement
from scheduler.io.results import run_from_json, run_to_json
from scheduler.policies import names
from scheduler.simulate import simulate
from scheduler.verify import recompute_idle, verify_run

COMPOSED = ("sjf+preempt+worst_fit", "srtf+conservative+fgd", "tiresias+easy+dot_product")
OFTEN = ("fifo", "easy_backfill", "best_fit", "srtf", "mover")


def play(
    seed: int, policy: str, only: str | None = None, *, rents: bool = False
) -> tuple[Problem, Run]:
    rng = np.random.default_rng([seed, 11])
    problem = random_shares(rng, only)
    if rents:  # some policies count cost
        kinds = {k: replace(a, usd_per_hour=2.0) for k, a in problem.cluster.accelerators.items()}
        problem = replace(problem, cluster=replace(problem.cluster, accelerators=kinds))
    run = simulate(
        problem,
        RandomMover(rng) if policy == "mover" else policy,
        seed=seed,
        noise_sigma=0.3 * (seed % 2),
        horizon_s=400.0 if seed % 3 else 150.0,
    )
    return problem, run


def shared(run: Run) -> int:
    return sum(a.placement.device >= 0 for a in run.allocations)


@pytest.mark.parametrize("policy", OFTEN)
def test_every_run_is_accepted(policy: str) -> None:
    some = 0
    for seed in range(25):
        problem, run = play(seed, policy)
        assert verify_run(problem, run) == [], f"seed {seed}"
        some += shared(run)
    assert some >= 100


@pytest.mark.parametrize("term", TERMS)
def test_every_run_with_one_term_is_accepted(term: str) -> None:
    for seed in range(8):
        for policy in ("best_fit", "mover"):
            problem, run = play(seed, policy, term)
            assert verify_run(problem, run) == [], f"seed {seed}, {policy}"


@pytest.mark.parametrize("policy", [n for n in (*names(), *COMPOSED) if n not in OFTEN])
def test_every_policy_plays_shares(policy: str) -> None:
    for seed in range(4):
        problem, run = play(seed, policy, rents=True)
        assert verify_run(problem, run) == [], f"seed {seed}"


def test_idle_time_is_what_the_definition_says() -> None:
    for seed in range(20):
        problem, run = play(seed, "fifo")
        idle = np.asarray(recompute_idle(problem, run))
        first = int(Cause.POWER_CAP)
        assert np.abs(idle - run.ledger.amount_us)[:, first:].max() <= 1, f"seed {seed}"


def test_bounds_and_figures_hold() -> None:
    for seed in range(40):
        problem, run = play(seed, "best_fit")
        if run.finished_us:
            metrics = metrics_of(problem, run)
            bounds = lower_bounds(problem, run.actual_work, sorted(run.finished_us))
            assert bounds.mean_jct_s <= metrics.mean_jct_s
            assert bounds.makespan_s <= metrics.makespan_s
            assert metrics.goodput <= metrics.utilisation <= 1


def test_the_record_of_a_run_keeps_shares() -> None:
    for seed in range(20):
        _, run = play(seed, "best_fit")
        again = run_from_json(run_to_json(run))
        assert again.allocations == run.allocations
        assert run_to_json(again) == run_to_json(run)


# --- damage -----------------------------------------------------------------------------

Damage = Callable[[np.random.Generator, Problem, Run], Run | None]


def sharers(run: Run) -> list[int]:
    return [i for i, a in enumerate(run.allocations) if isinstance(a.placement, SharePlacement)]


def with_placement(run: Run, i: int, placement: Placement) -> Run:
    allocations = list(run.allocations)
    allocations[i] = replace(allocations[i], placement=placement)
    return replace(run, allocations=tuple(allocations))


def crowded(rng: np.random.Generator, problem: Problem, run: Run) -> Run | None:
    """Put a sharer beside one on another device of the node that leaves it no room."""
    options = [
        (i, b.placement.device)
        for i in sharers(run)
        for b in (run.allocations[j] for j in sharers(run))
        for a in [run.allocations[i]]
        if a.placement.nodes == b.placement.nodes
        and a.placement.device != b.placement.device
        and a.start_us < b.end_us
        and b.start_us < a.end_us
        and a.placement.share_milli + b.placement.share_milli > 1000
    ]
    if not options:
        return None
    i, device = options[int(rng.integers(len(options)))]
    place = run.allocations[i].placement
    return with_placement(run, i, replace(place, device=device))


def any_sharer(change: Callable[[SharePlacement, int], Placement]) -> Damage:
    def inflict(rng: np.random.Generator, problem: Problem, run: Run) -> Run | None:
        options = sharers(run)
        if not options:
            return None
        i = options[int(rng.integers(len(options)))]
        place = run.allocations[i].placement
        assert isinstance(place, SharePlacement)
        size = problem.cluster.nodes[place.nodes[0]].count
        return with_placement(run, i, change(place, size))

    return inflict


def whole_as_share(rng: np.random.Generator, problem: Problem, run: Run) -> Run | None:
    options = [i for i, a in enumerate(run.allocations) if a.placement.counts == (1,)]
    options = [i for i in options if i not in sharers(run)]
    if not options:
        return None
    i = options[int(rng.integers(len(options)))]
    place = run.allocations[i].placement
    return with_placement(run, i, SharePlacement(place.nodes, (1,), 0, 500, 0))


def rest_moved(rng: np.random.Generator, problem: Problem, run: Run) -> Run | None:
    """Book two microseconds of idle time to another cause."""
    amount = run.ledger.amount_us.copy()
    idle = range(int(Cause.POLICY), len(Cause))
    options = [(p, c) for p in range(len(amount)) for c in idle if amount[p, c] >= 2]
    if not options:
        return None
    p, c = options[int(rng.integers(len(options)))]
    other = int(rng.choice([k for k in idle if k != c]))
    amount[p, c] -= 2
    amount[p, other] += 2
    return replace(run, ledger=replace(run.ledger, amount_us=amount))


def held_by_share_as_whole(rng: np.random.Generator, problem: Problem, run: Run) -> Run | None:
    """Book a second of what is left of a device as productive."""
    amount = run.ledger.amount_us.copy()
    options = [
        (p, c)
        for p in range(len(amount))
        for c in range(int(Cause.POLICY), len(Cause))
        if amount[p, c] > 10**6
    ]
    if not options or not sharers(run):
        return None
    p, c = options[int(rng.integers(len(options)))]
    amount[p, c] -= 10**6
    amount[p, Cause.PRODUCTIVE] += 10**6
    return replace(run, ledger=replace(run.ledger, amount_us=amount))


DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    "crowded": (crowded, {"shared", "shared_memory"}),
    "other_share": (
        any_sharer(lambda p, _: replace(p, share_milli=p.share_milli % 999 + 1)),
        {"share"},
    ),
    "no_such_device": (any_sharer(lambda p, size: replace(p, device=size)), {"share"}),
    "no_device": (any_sharer(lambda p, _: Placement(p.nodes, p.counts)), {"share"}),
    "two_accelerators": (any_sharer(lambda p, _: replace(p, counts=(2,))), {"share", "gang"}),
    "less_memory": (
        any_sharer(lambda p, _: replace(p, memory_bytes=p.memory_bytes - 1)),
        {"share_memory"},
    ),
    "whole_as_share": (whole_as_share, {"share"}),
    "rest_moved": (rest_moved, {f"ledger_{c.label}" for c in Cause}),
    "held_by_share_as_whole": (held_by_share_as_whole, {"ledger_held", "ledger_productive"}),
}


@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_damage_is_found(kind: str) -> None:
    inflict, codes = DAMAGES[kind]
    rng = np.random.default_rng(3)
    done = 0
    for seed in range(200):
        problem, run = play(seed, "best_fit")
        damaged = inflict(rng, problem, run)
        if damaged is None:
            continue
        done += 1
        found = {v.code for v in verify_run(problem, damaged)}
        assert found & codes, f"seed {seed}: {sorted(found)}"
        if done == 8:
            break
    assert done >= 5


def test_an_open_device_takes_a_place_of_its_node() -> None:
    """A gang that starts on the accelerator of sharers is one too many for the node."""
    for seed in range(60):
        problem, run = play(seed, "best_fit", "host")
        for i in sharers(run):
            a = run.allocations[i]
            node = a.placement.nodes[0]
            full = problem.cluster.nodes[node].count
            crowd = [
                replace(a, placement=replace(a.placement, device=d))
                for d in range(full)
                if isinstance(a.placement, SharePlacement)
            ]
            others = [b for b in run.allocations if node in b.placement.nodes]
            beside = [b for b in others if b.start_us < a.end_us and a.start_us < b.end_us]
            if any(b.placement.device < 0 for b in beside):
                damaged = replace(run, allocations=(*run.allocations, *crowd))
                assert "capacity" in {v.code for v in verify_run(problem, damaged)}
                return
    raise AssertionError("no case found")


def test_large_runs_are_checked_in_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.verify.checks.IDLE_LIMIT", -1)
    for seed in range(12):
        for policy in ("fifo", "mover"):
            problem, run = play(seed, policy)
            assert verify_run(problem, run) == [], f"seed {seed}, {policy}"
