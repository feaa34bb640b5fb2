"""Distributions, fairness and tenants from replays to tables, JSON and pictures."""

from __future__ import annotations

import io
import json
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scheduler.core.errors import InputError
from scheduler.core.job_figures import job_figures
from scheduler.core.metrics import DISTRIBUTIONS, FIGURES
from scheduler.core.problem import Problem
from scheduler.core.student_t import t_quantile
from scheduler.execute import ReplayResult, replay
from scheduler.io import canonical_json, write_run
from scheduler.report import compare_object, metric_tables, summarise
from scheduler.report.figures import figure_of
from scheduler.report.page import Group, Origin, contents_of
from scheduler.report.summary import Summary

SEEDS = range(4)


@pytest.fixture(scope="module")
def problem(small_problem: Problem) -> Problem:
    """The small problem, its jobs of two tenants."""
    jobs = small_problem.workload.jobs
    jobs = replace(jobs, tenant_index=np.arange(len(jobs)) % 3 // 2)
    return replace(
        small_problem, workload=replace(small_problem.workload, jobs=jobs, tenants=("red", "blue"))
    )


@pytest.fixture(scope="module")
def results(problem: Problem) -> list[ReplayResult]:
    return replay(
        problem, ["fifo", "srtf"], SEEDS, executor="local", noise_sigma=0.2, keep_runs=True
    )


@pytest.fixture(scope="module")
def summaries(results: list[ReplayResult]) -> list[Summary]:
    return summarise(results)


def test_each_figure_has_its_interval_and_its_paired_difference(
    results: list[ReplayResult], summaries: list[Summary]
) -> None:
    data = compare_object(summaries, {})["results"]
    canonical_json(data)
    theirs, ours = results[: len(SEEDS)], results[len(SEEDS) :]
    factor = t_quantile(0.975, len(SEEDS) - 1) / math.sqrt(len(SEEDS))
    judged = {True: 0, False: 0}
    for name in FIGURES:
        values = [float(getattr(r.metrics, name)) for r in ours]
        changes = [v - float(getattr(r.metrics, name)) for v, r in zip(values, theirs, strict=True)]
        if not all(map(math.isfinite, [*values, *changes])):
            assert data[1]["intervals"][name] is None
            continue
        half = factor * statistics.stdev(values)
        middle = statistics.fmean(values)
        low, high = data[1]["intervals"][name]
        assert (low, high) == pytest.approx((middle - half, middle + half))
        told = data[1]["against"][name]
        half = factor * statistics.stdev(changes)
        middle = statistics.fmean(changes)
        assert told["difference"] == pytest.approx(middle)
        assert told["significant"] == (abs(middle) > half)
        assert told["significant"] == (told["p_value"] < 0.05)
        judged[told["significant"]] += 1
    assert min(judged.values()) > 3
    assert data[0]["against"] is None


def test_distributions_and_tenants_are_in_the_object(
    results: list[ReplayResult], summaries: list[Summary], problem: Problem
) -> None:
    data = compare_object(summaries, {})["results"][0]
    runs = [r.run for r in results[: len(SEEDS)] if r.run is not None]
    each = [job_figures(problem, run) for run in runs]
    for name in DISTRIBUTIONS:
        told = data["distributions"][name]
        assert told["mean"] == pytest.approx(
            statistics.fmean(float(np.mean(getattr(e, name))) for e in each)
        )
        assert told["p95"] == pytest.approx(
            statistics.fmean(float(np.quantile(getattr(e, name), 0.95)) for e in each)
        )
        assert set(told) == {"mean", "p50", "p90", "p95", "p99"}
    assert set(data["tenants"]) == set(problem.workload.tenants) | {
        s.tenant for s in problem.workload.services
    }
    assert sum(t["share"] for t in data["tenants"].values()) == pytest.approx(1)
    for tenant in data["tenants"].values():
        assert set(tenant["intervals"]) == {"accelerator_s", "share", "dominant_share"}


def test_the_tables_hold_them_all(summaries: list[Summary]) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    for title, table in metric_tables(summaries):
        console.print(title)
        console.print(table)
    text = console.export_text()
    for words in ("JCT", "queueing", "slowdown", "finish-time ratio", "p95", "Tenants", "worst"):
        assert words in text
    assert "paired over 4 seeds" in text
    line = next(row for row in text.splitlines() if row.strip().startswith("mean_jct"))
    clear = (summaries[1].differences or {})["mean_jct_s"].high < 0
    assert line.rstrip().endswith("*") == clear


def test_unequal_information_is_refused(
    results: list[ReplayResult], tmp_path: Path, call, small_files
) -> None:
    other = [replace(r, information="none") for r in results[len(SEEDS) :]]
    with pytest.raises(InputError, match="knew different things"):
        summarise([*results[: len(SEEDS)], *other])
    for r in (results[0], results[len(SEEDS)]):
        assert r.run is not None
        known = "exact" if r.cell.policy == "fifo" else "none"
        write_run(replace(r.run, information=known), tmp_path / f"{r.cell.policy}.json", {})
    code, _, told = call("report", *small_files, tmp_path, "-o", tmp_path / "page.html")
    assert code == 2
    assert "fifo: exact, srtf: none" in told


def test_unequal_noise_is_refused(
    results: list[ReplayResult], tmp_path: Path, call, small_files
) -> None:
    for r, noise in ((results[0], 0.2), (results[len(SEEDS)], 0.0)):
        assert r.run is not None
        write_run(r.run, tmp_path / f"{r.cell.policy}.json", {"noise_sigma": noise})
    code, _, told = call("report", *small_files, tmp_path, "-o", tmp_path / "page.html")
    assert code == 2
    assert "different noise do not compare" in told


def test_the_distribution_functions(
    results: list[ReplayResult], summaries: list[Summary], problem: Problem
) -> None:
    runs = [r.run for r in results if r.run is not None and r.cell.seed == 0]
    contents = contents_of(
        [Group("", summaries)], Origin(""), title="t", problem=problem, runs=runs
    )
    figure = figure_of("ecdf", contents)
    for run in runs:
        each = job_figures(problem, run)
        for name in DISTRIBUTIONS:
            rows = [row for row in figure.rows if row[:2] == (run.policy, name)]
            assert [v for *_, v, _ in rows] == sorted(getattr(each, name).tolist())
            shares = [share for *_, share in rows]
            assert shares == pytest.approx([(i + 1) / len(rows) for i in range(len(rows))])
            for _, _, value, share in rows:  # the definition: jobs up to the value
                assert share <= np.mean(getattr(each, name) <= value) + 1e-12
    svg = figure.drawing.svg()
    curves = [line for line in re.findall(r'points="([^"]*)"', svg) if line.count(" ") > 20]
    assert len(curves) == 2 * len(DISTRIBUTIONS)
    for curve in curves:
        heights = [float(p.split(",")[1]) for p in curve.split()]
        assert heights == sorted(heights, reverse=True)  # upwards, never down
        across = [float(p.split(",")[0]) for p in curve.split()]
        assert across == sorted(across)


def test_the_commands_show_them(call, small_files, tmp_path: Path) -> None:
    words = ["--policies", "fifo,srtf", "--replays", "2", "--executor", "local"]
    code, out, _ = call("compare", *small_files, *words, "--metrics", "-o", tmp_path / "runs")
    assert code == 0
    assert "Distributions over jobs" in out
    assert "Difference from fifo, paired over 2 seeds" in out
    code, out, _ = call("run", *small_files, "--policy", "fifo", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["distributions"]["slowdown"]["p95"] >= data["distributions"]["slowdown"]["p50"]
    assert 0 <= data["unfair_fraction"] <= 1
    drawn = tmp_path / "ecdf.svg"
    assert call("figure", "ecdf", *small_files, tmp_path / "runs", "-o", drawn)[0] == 0
    assert drawn.read_text().startswith("<svg")
    header, *rows = drawn.with_suffix(".csv").read_text().splitlines()
    assert header == "policy,quantity,value,share_of_jobs"
    assert {row.split(",")[0] for row in rows} == {"fifo", "srtf"}
