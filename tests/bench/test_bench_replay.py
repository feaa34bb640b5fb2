"""The bench of replays compares like with like."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest

from scheduler.core.errors import InputError
from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.units import US_PER_S
from scheduler.simulate import simulate

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench import replay

    return replay


def test_every_yardstick_plays_the_same_jobs_to_the_same_ends(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "GANGS", (1,))  # what never spreads runs at one rate everywhere
    monkeypatch.setattr(bench, "LOAD", 1.02)
    problem = bench.stream_of(1500, 20, seed=5)
    run = simulate(problem, "fifo")
    ends = [run.finished_us[j] / US_PER_S for j in range(1500)]
    model = bench.SimpyFleet(problem)
    records = {job: end for job, _, end, _ in model.play()}
    assert ends == pytest.approx(bench.bare_loop(problem, 20), abs=0.01)
    assert ends == pytest.approx(bench.simpy_counter(problem, 20), abs=0.01)
    assert ends == pytest.approx([records[j] for j in range(1500)], abs=0.01)
    idle_s = run.ledger.of(IDLE_CAUSES) / US_PER_S
    held_s = run.ledger.total_us() / US_PER_S - idle_s
    assert model.ledger["held"] == pytest.approx(held_s, rel=1e-6)
    no_demand_s = run.ledger.of([Cause.NO_DEMAND]) / US_PER_S
    assert model.ledger["no_demand"] == pytest.approx(no_demand_s, rel=1e-4)


def test_the_stream_asks_for_the_load_it_says(bench: ModuleType) -> None:
    problem = bench.stream_of(20_000, 100, seed=1)
    jobs = bench._columns(problem)
    asked_s = sum(gang * held_s for _, gang, held_s in jobs)
    assert asked_s / (100 * jobs[-1][0]) == pytest.approx(bench.LOAD, rel=0.05)


def test_a_missing_trace_is_named_with_its_source(bench: ModuleType) -> None:
    asked = argparse.Namespace(trace=Path("nowhere.csv"), only=None, plot=None)
    with pytest.raises(InputError, match="msr-fiddle/philly-traces"):
        bench.run(asked)


def test_growth_is_the_power_of_the_size(bench: ModuleType) -> None:
    counts = [10_000, 100_000, 1_000_000]
    assert bench.growth_power(counts, [3 * n**0.25 for n in counts]) == pytest.approx(0.25)
    assert bench.growth_power(counts[:1], [4.0]) == 0.0


def test_growth_is_measured_at_every_size_and_drawn(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "SMALL", 20)
    monkeypatch.setattr(bench, "SIZES", (40, 400))
    monkeypatch.setattr(bench, "EVEN", 80)
    monkeypatch.setattr(bench, "_alone", bench._synthetic)
    plot = tmp_path / "growth.svg"
    asked = argparse.Namespace(plot=plot, jobs=80, accelerators=16)
    cases = {case["metric"]: case for case in bench._growth_cases(asked)}
    lines = plot.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines[1:]]
    assert [row[0] for row in rows] == ["20", "40", "80"]
    each_us = [float(row[1]) for row in rows]
    assert cases["microseconds"]["ratio"] == pytest.approx(each_us[2] / each_us[0])
    assert cases["exponent"]["ours"] == pytest.approx(bench.growth_power([20, 40, 80], each_us))
    assert "peak memory" in plot.read_text(encoding="utf-8")


def test_a_picture_of_no_known_format_is_refused(bench: ModuleType) -> None:
    with pytest.raises(InputError, match="svg or"):
        bench.run(argparse.Namespace(plot=Path("growth.jpg"), only=None))
