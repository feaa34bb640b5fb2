"""The ledger taken apart gives the ledger again, and idle time has its reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.io import write_run
from scheduler.physics.problem import build_problem
from scheduler.report.explained import block_table, level_table, story_lines
from scheduler.report.explanation import LEVELS, Explanation
from scheduler.simulate import simulate


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Jobs that need fp8, of which the second type has none, and jobs that run anywhere."""
    peaks = {"new": {"bf16": 4e14, "fp8": 8e14}, "old": {"bf16": 2e14}}
    kinds = {
        name: AcceleratorType(name, "x", "cuda", 80e9, 2e12, peak, 3e11, 50.0, 400.0)
        for name, peak in peaks.items()
    }
    nodes = tuple(Node(f"{name}-{i}", name, 4, 3e11, 1e10) for name in kinds for i in range(2))
    cluster = Cluster("c", "", kinds, (Pod("p", "s", nodes, Fabric("tree"), 1e9),), (Site("s"),))
    classes = (
        JobClass("fp8", RunTimePhysics("new"), (4,), precision="fp8"),
        JobClass("any", RunTimePhysics("new"), (3,)),
    )
    rng = np.random.default_rng(3)
    n = 60
    jobs = Jobs(
        tuple(f"job{i}" for i in range(n)),
        (rng.random(n) < 0.3).astype(np.int64),
        np.sort(rng.uniform(0, 20_000, n)),
        rng.uniform(300, 3_000, n),
        np.full(n, np.nan),
        np.ones(n),
        np.full(n, np.nan),
        rng.integers(0, 2, n),
    )
    return build_problem(cluster, Workload("w", "", classes, jobs, tenants=("red", "blue")))


@pytest.fixture(scope="module")
def run(problem: Problem) -> Run:
    return simulate(problem, "easy_backfill", account="arrivals")


def test_every_level_sums_to_the_ledger(problem: Problem, run: Run) -> None:
    explanation = Explanation(problem, run)
    booked = np.array(list(run.ledger.by_cause().values()))
    for level in ("type", "domain", "hour"):
        total = sum(explanation.rows(level).values())
        np.testing.assert_allclose(total, booked, rtol=1e-9, atol=1e-3)
    by_type = run.ledger.by_type()
    for name, sums in explanation.rows("type").items():
        np.testing.assert_allclose(sums, list(by_type[name].values()), rtol=1e-9, atol=1e-3)
    held = sum(explanation.rows("tenant").values())
    for cause in Cause:
        if Cause.PRODUCTIVE <= cause <= Cause.HEADROOM:
            assert held[cause] == pytest.approx(booked[cause], rel=1e-9, abs=1e-3)
    assert set(explanation.rows("tenant")) == {"red", "blue"}


def test_incompatible_time_names_the_reason_and_the_jobs(problem: Problem, run: Run) -> None:
    explanation = Explanation(problem, run)
    story = next(s for s in explanation.stories() if s.name == "old")
    assert story.causes[Cause.INCOMPATIBLE] > 0
    (reason,) = story.reasons
    assert "fp8" in reason.text
    waited = {w.job for w in explanation.history.waits}
    classes = problem.workload.jobs.class_index
    assert reason.jobs == sum(classes[j] == 0 for j in waited)
    text = "\n".join(story_lines(explanation))
    assert f"{reason.jobs} waiting jobs could not use it: " in text


def test_blocks_hold_idle_time_that_the_ledger_has(problem: Problem, run: Run) -> None:
    data = Explanation(problem, run).as_dict(1000)
    idle_s = sum(row["idle_accelerator_s"] for row in data["blocks"])
    booked = sum(sum(story["causes"].values()) for story in data["idle"])
    assert idle_s == pytest.approx(booked, rel=1e-6)
    sizes = [row["idle_accelerator_s"] for row in data["blocks"]]
    assert sizes == sorted(sizes, reverse=True)


def test_the_command(
    problem: Problem, run: Run, tmp_path: Path, render: Callable[..., str]
) -> None:
    explanation = Explanation(problem, run)
    for level in LEVELS:
        assert level in render(level_table(explanation, level))
    assert "waited meanwhile" in render(block_table(explanation, 3))
    from scheduler.cli import app

    saved = tmp_path / "run.json"
    written = simulate_shipped(saved)
    words = ["explain", "lab-mixed-64", "image", str(saved)]
    done = CliRunner().invoke(app, [*words, "--json", "--blocks", "2"])
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert set(data) == {"levels", "idle", "blocks"}
    assert set(data["levels"]["type"]) == set(written.ledger.pool_types)
    bad = CliRunner().invoke(app, [*words, "--by", "tenat", "--blocks", "-1"])
    assert bad.exit_code == 2


def simulate_shipped(path: Path) -> Run:
    from scheduler.io import load_cluster, load_workload

    problem = build_problem(load_cluster("lab-mixed-64"), load_workload("image"))
    run = simulate(problem, "fifo")
    write_run(run, path, {})
    return run


@pytest.fixture
def render() -> Callable[..., str]:
    from rich.console import Console

    def text_of(thing: object) -> str:
        console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(thing)
        return console.export_text()

    return text_of
