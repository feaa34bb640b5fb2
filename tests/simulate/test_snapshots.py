"""A run that is saved and resumed, at any instant, ends in the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from random_problems import random_problem
from random_terms import RandomMover, random_terms

from scheduler.core.errors import InputError
from scheduler.core.problem import Problem
from scheduler.io.results import run_to_json
from scheduler.policies import Policy, make, names
from scheduler.simulate.engine import Engine
from scheduler.simulate.snapshot import SnapshotError
from scheduler.verify import verify_run

SAVED = (
    *("kueue_best_effort", "sjf", "tiresias", "themis", "conservative_backfill", "random_fit"),
    *("gavel_throughput", "gavel_finish_time", "gandiva_fair", "optimizer"),
)
"""One of each kind of state that a policy keeps; the shorter list below is tried harder."""

POLICIES = ("fifo", "easy_backfill", "best_fit", "srtf", "mover")


def engine_of(problem: Problem, policy: Policy, seed: int) -> Engine:
    return Engine(
        problem, policy, policy_name="p", seed=seed, information="exact", noise_sigma=0.2,
        horizon_s=400.0, account="run",
    )  # fmt: skip


def policy_of(name: str, seed: int) -> Policy:
    return RandomMover(np.random.default_rng([seed, 5])) if name == "mover" else make(name)


def bytes_of(engine: Engine) -> str:
    return json.dumps(run_to_json(engine.run()), sort_keys=True)


@pytest.mark.parametrize("name", POLICIES)
def test_a_run_resumed_at_twenty_random_instants_is_the_same(name: str) -> None:
    for seed in range(20):
        problem = random_terms(np.random.default_rng([seed, 3]))
        whole = bytes_of(engine_of(problem, policy_of(name, seed), seed))
        at_us = int(np.random.default_rng(seed).integers(0, 400_000_000))
        engine = engine_of(problem, policy_of(name, seed), seed)
        engine.play(at_us)
        saved = json.dumps(engine.save())
        for _ in range(2):  # a fork goes on as the first does
            again = Engine.restore(problem, json.loads(saved), policy_of(name, seed))
            assert json.dumps(again.save()) == saved, f"seed {seed}"
            assert bytes_of(again) == whole, f"seed {seed}"
        assert bytes_of(engine) == whole, f"seed {seed}: saving changed the run"


@pytest.mark.parametrize("name", [n for n in names() if n in SAVED])
def test_every_kind_of_policy_goes_on_as_it_would_have(name: str) -> None:
    for seed in range(6):
        problem = random_problem(np.random.default_rng([seed, 3]))
        whole = bytes_of(engine_of(problem, make(name), seed))
        engine = engine_of(problem, make(name), seed)
        engine.play(int(np.random.default_rng(seed).integers(0, 200_000_000)))
        saved = json.loads(json.dumps(engine.save()))
        assert bytes_of(Engine.restore(problem, saved, make(name))) == whole, f"seed {seed}"


def test_a_run_saved_again_and_again_is_the_same() -> None:
    problem = random_terms(np.random.default_rng(8))
    whole = bytes_of(engine_of(problem, make("srtf"), 1))
    engine = engine_of(problem, make("srtf"), 1)
    for at_us in range(0, 400_000_000, 20_000_000):
        engine.play(at_us)
        saved = json.loads(json.dumps(engine.save()))
        engine = Engine.restore(problem, saved, make("srtf"))
    assert bytes_of(engine) == whole


def test_a_fork_goes_on_under_another_policy() -> None:
    forked = 0
    for seed in range(20):
        problem = random_terms(np.random.default_rng([seed, 3]))
        engine = engine_of(problem, make("fifo"), seed)
        if not engine.play(60_000_000):
            continue
        before = engine.jobs.log.copy()
        other = Engine.restore(problem, engine.save(), make("best_fit"), fork=True)
        assert other.jobs.log == before
        run = other.run()
        assert run.policy == "p, then BestFit"
        assert verify_run(problem, run) == []
        forked += 1
    assert forked >= 10


def test_a_snapshot_of_something_else_is_refused() -> None:
    problem, other = (random_terms(np.random.default_rng(k)) for k in (1, 2))
    engine = engine_of(problem, make("fifo"), 0)
    engine.play(10_000_000)
    saved = engine.save()
    for args, message in (
        ((other, saved, make("fifo")), "another problem"),
        ((problem, saved, make("srtf")), "another policy"),
        ((problem, {"schema": "run/1"}, make("fifo")), "not a snapshot"),
    ):
        with pytest.raises(InputError, match=message):
            Engine.restore(*args)


def test_a_snapshot_brings_in_no_foreign_object() -> None:
    problem = random_terms(np.random.default_rng(1))
    saved = engine_of(problem, make("fifo"), 0).save()
    for name in ("subprocess:Popen", "os:system", "scheduler.nowhere:Thing", "scheduler.api:play"):
        saved["run"]["state"]["_standing"] = {"id": 10**9, "object": name, "state": {}}
        with pytest.raises(InputError, match="cannot be restored"):
            Engine.restore(problem, saved, make("fifo"))


class Secretive:
    """Holds what no file can."""

    def __init__(self) -> None:
        self.memory = (x for x in range(3))

    def decide(self, view: object) -> None: ...


def test_what_cannot_be_saved_is_named() -> None:
    engine = engine_of(random_terms(np.random.default_rng(1)), Secretive(), 0)
    with pytest.raises(SnapshotError, match=r"policy.memory is a generator"):
        engine.save()
