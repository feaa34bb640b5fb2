"""The ledger taken apart gives the ledger again, and idle time has its reasons."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_terms import random_terms
from typer.testing import CliRunner

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.io import canonical_json, write_run
from scheduler.physics.problem import build_problem
from scheduler.report.explained import block_table, clause, level_table, story_lines
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


CROSSINGS = [c for k in range(1, 5) for c in itertools.combinations(LEVELS, k)]


@pytest.mark.parametrize("levels", CROSSINGS, ids=",".join)
def test_every_crossing_of_levels_sums_to_the_ledger(
    problem: Problem, run: Run, levels: tuple[str, ...]
) -> None:
    explanation = Explanation(problem, run)
    booked = np.array(list(run.ledger.by_cause().values()))
    rows = explanation.rows(*levels)
    np.testing.assert_allclose(sum(rows.values()), booked, rtol=1e-9, atol=1e-3)
    for place, level in enumerate(levels):  # and one level summed over the others is that level
        alone = explanation.rows(level)
        for name in alone:
            over = [sums for key, sums in rows.items() if key[place] == name[0]]
            np.testing.assert_allclose(sum(over), alone[name], rtol=1e-9, atol=1e-3)
    assert explanation.rows(*levels[::-1]).keys() == {key[::-1] for key in rows}


def test_levels_mean_what_they_say(problem: Problem, run: Run) -> None:
    explanation = Explanation(problem, run)
    by_type = run.ledger.by_type()
    for (name,), sums in explanation.rows("type").items():
        np.testing.assert_allclose(sums, list(by_type[name].values()), rtol=1e-9, atol=1e-3)
    by_tenant = explanation.rows("tenant")
    assert set(by_tenant) == {("red",), ("blue",), ("(nobody)",)}
    tenant_of = problem.workload.jobs.tenant_index
    for t, name in enumerate(problem.workload.tenants):
        held = sum(
            sum(a.placement.counts) * (min(a.end_us, run.ledger_end_us) - a.start_us)
            for a in run.allocations
            if tenant_of[a.job] == t and a.start_us < run.ledger_end_us
        )
        assert by_tenant[name,].sum() == pytest.approx(held / 1e6)
    hours = explanation.rows("hour", "type")
    sizes = dict(zip(problem.types, problem.capacity(), strict=True))
    width_s = explanation.bins.width_us / 1e6
    for (start, name), sums in hours.items():
        length_s = min(width_s, run.ledger_end_us / 1e6 - float(start.removesuffix(" s")))
        assert sums.sum() == pytest.approx(sizes[name] * length_s)


def test_incompatible_time_names_the_reason_and_the_jobs(problem: Problem, run: Run) -> None:
    explanation = Explanation(problem, run)
    story = next(s for s in explanation.stories() if s.name == "old")
    assert story.causes[Cause.INCOMPATIBLE] > 0
    (reason,) = story.reasons
    assert "fp8" in reason.text
    waited = {w.job for w in explanation.history.waits}
    classes = problem.workload.jobs.class_index
    assert 0 < reason.jobs <= sum(classes[j] == 0 for j in waited)
    share = story.causes[Cause.INCOMPATIBLE] / story.idle_s
    text = "\n".join(story_lines(explanation))
    sentence = f"{100 * share:.0f} % of the idle old time is incompatible: {reason.jobs} waiting"
    assert f"{sentence} jobs need fp8" in text


def test_the_sentence_by_hand() -> None:
    """Two accelerators of each type. `new` is busy with fp8 until 100; `old` cannot have it.

    Of its 300 s, `old` is idle 0 to 200: of three fp8 jobs two wait until 100 and one until 110,
    nobody from then on to 200, when a job for `old` comes and keeps it.
    """
    peaks = {"new": {"bf16": 4e14, "fp8": 8e14}, "old": {"bf16": 4e14}}
    kinds = {
        name: AcceleratorType(name, "x", "cuda", 80e9, 2e12, peak, 3e11, 50.0, 400.0)
        for name, peak in peaks.items()
    }
    nodes = tuple(Node(name, name, 2, 3e11, 1e10) for name in kinds)
    cluster = Cluster("c", "", kinds, (Pod("p", "s", nodes, Fabric("tree"), 1e9),), (Site("s"),))
    classes = (
        JobClass("long", RunTimePhysics(), (2,), ("new",), precision="fp8", restart_s=0.0),
        JobClass("fp8", RunTimePhysics(), (1,), precision="fp8", restart_s=0.0),
        JobClass("any", RunTimePhysics(), (2,), ("old",), restart_s=0.0),
    )
    n = 5
    jobs = Jobs(
        ("first", "a", "b", "c", "last"),
        np.array([0, 1, 1, 1, 2]),
        np.array([0.0, 0.0, 0.0, 0.0, 200.0]),
        np.array([100.0, 10.0, 10.0, 10.0, 100.0]),
        np.full(n, np.nan), np.ones(n), np.full(n, np.nan), np.zeros(n, dtype=np.int64),
    )  # fmt: skip
    problem = build_problem(cluster, Workload("w", "", classes, jobs))
    run = simulate(problem, "fifo")
    assert run.ledger_end_us == 300_000_000
    explanation = Explanation(problem, run)
    story = next(s for s in explanation.stories() if s.name == "old")
    assert dict(story.causes) == pytest.approx({Cause.INCOMPATIBLE: 220.0, Cause.NO_DEMAND: 180.0})
    text = list(story_lines(explanation))
    assert "old: idle 66.7 % of its time, of which 55 % incompatible, 45 % no_demand." in text
    assert "  55 % of the idle old time is incompatible: 3 waiting jobs need fp8" in text
    blocks = explanation.as_dict(10)["blocks"]
    (on_old,) = [block for block in blocks if block["type"] == "old"]
    assert on_old["end_s"] == 200.0
    assert on_old["after"] == ["last"]
    # longest wait first, though c came with the others
    assert on_old["caused_by"] == ["c", "a", "b"]
    assert on_old["reason"] == "does not support fp8"
    assert on_old["waiting"] == []


@pytest.mark.parametrize(
    ("reason", "jobs", "text"),
    [
        ("does not support fp8", 21, "21 waiting jobs need fp8"),
        ("T4 does not support bf16 (it has fp16)", 1, "1 waiting job needs bf16"),
        ("needs 9 GiB, the type has 8", 2, "2 waiting jobs need 9 GiB, the type has 8"),
        ("built for cuda, the type needs cann", 1, "1 waiting job is built for cuda, "),
        ("not among the permitted accelerators", 3, "3 waiting jobs could not use it: not among"),
        ("waits for its turn in its array", 2, "2 waiting jobs wait for their turn"),
    ],
)
def test_reasons_read_as_clauses(reason: str, jobs: int, text: str) -> None:
    assert clause(reason, jobs).startswith(text)


def test_a_label_that_no_node_of_the_type_carries_is_named(problem: Problem) -> None:
    kinds = (
        problem.workload.classes[0],
        replace(problem.workload.classes[1], labels=(("r", "eu"),)),
    )
    pod = problem.cluster.pods[0]
    nodes = tuple(replace(n, labels=(("r", "eu"),)) if "new" in n.id else n for n in pod.nodes)
    labelled = build_problem(
        replace(problem.cluster, pods=(replace(pod, nodes=nodes),)),
        replace(problem.workload, classes=kinds),
    )
    run = simulate(labelled, "easy_backfill", account="arrivals")
    story = next(s for s in Explanation(labelled, run).stories() if s.name == "old")
    assert {r.text for r in story.reasons} == {"does not support fp8", "needs r=eu"}


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
    assert "caused by" in render(block_table(explanation, 3))
    from scheduler.cli import app

    saved = tmp_path / "run.json"
    written = simulate_shipped(saved)
    words = ["explain", "lab-mixed-64", "image", str(saved)]
    done = CliRunner().invoke(app, [*words, "--json", "--blocks", "2"])
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert set(data) == {"levels", "by", "rows", "idle", "blocks"}
    assert set(data["levels"]["type"]) == set(written.ledger.pool_types)
    crossed = CliRunner().invoke(app, [*words, "--by", "type,hour", "--json"])
    rows = json.loads(crossed.stdout)["rows"]
    assert {tuple(row)[:2] for row in rows} == {("type", "hour")}
    total = sum(sum(row["causes"].values()) for row in rows)
    assert total == pytest.approx(written.ledger.total_us() / 1e6)
    shown = CliRunner().invoke(app, [*words, "--by", "tenant,domain", "--blocks", "0"])
    assert shown.exit_code == 0
    assert "by cause and tenant and domain" in shown.stdout
    bad = CliRunner().invoke(app, [*words, "--by", "tenat,hour,hour", "--blocks", "-1"])
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


@pytest.mark.parametrize("seed", range(12))
def test_quotas_labels_arrays_and_services_are_taken_apart_too(seed: int) -> None:
    problem = random_terms(np.random.default_rng([seed, 71]))
    run = simulate(problem, "best_fit", seed=seed, noise_sigma=0.2, horizon_s=400.0)
    explanation = Explanation(problem, run)
    booked = np.array(list(run.ledger.by_cause().values()))
    total = sum(explanation.rows(*LEVELS).values())
    np.testing.assert_allclose(total, booked, rtol=1e-6, atol=1e-3)
    for line in story_lines(explanation):
        assert line
    canonical_json(explanation.as_dict(50, LEVELS))
