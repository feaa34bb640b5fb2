"""What is said of replays while they run."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from scheduler.core.metrics import Interval, interval
from scheduler.core.problem import Problem
from scheduler.execute import ReplayResult, replay
from scheduler.report import screen
from scheduler.report.running import running_interval


@pytest.fixture(scope="module")
def result(small_problem: Problem) -> ReplayResult:
    (found,) = replay(small_problem, ["fifo"], [0], executor="local")
    return found


@pytest.mark.parametrize(
    ("metric", "found", "words"),
    [
        ("mean_jct_s", Interval(7200.0, 6840.0, 7560.0), "mean jct 2.00 ±0.10 h"),
        ("idle_fraction", Interval(0.25, 0.2, 0.3), "idle 25.0 ±5.0 %"),
        ("fairness", Interval(0.5, 0.25, 0.75), "fairness 0.50 ±0.25"),
        ("mean_jct_s", interval([60.0]), "mean jct 1.00 min"),  # one value has no interval
        ("mean_jct_s", interval([float("nan")]), "mean jct - s"),
    ],
)
def test_an_interval_in_words(metric: str, found: Interval, words: str) -> None:
    assert running_interval(metric, found) == words


def told(result: ReplayResult, seconds_each: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that ten replays of so many seconds print where there is no terminal."""
    clock = [1000.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with screen.replay_progress(Console(file=out, width=200), "local") as progress:
        for seed in range(10):
            clock[0] += seconds_each
            metrics = replace(result.metrics, mean_jct_s=3600.0 + 60 * (seed % 2))
            progress(seed + 1, 10, replace(result, metrics=metrics))
    return out.getvalue().splitlines()


def test_quick_replays_say_nothing(result: ReplayResult, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(result, 1.0, monkeypatch) == []


def test_long_ones_say_rate_remaining_time_and_the_interval_by_now(
    result: ReplayResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = told(result, 20.0, monkeypatch)
    shown = running_interval("mean_jct_s", interval([3600.0, 3660.0]))
    assert lines[0] == f"2 of 10 replays, 0.05/s, about 2.67 min left; fifo: {shown}"
    assert [line.split()[0] for line in lines] == ["2", "4", "6", "8", "10"]


def test_a_terminal_shows_them_beside_the_bar(
    result: ReplayResult,
) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    with screen.replay_progress(console, "local") as progress:
        for done in (1, 2):
            progress(done, 2, result)
    assert "2/2" in out.getvalue()
    shown = running_interval("mean_jct_s", interval([result.metrics.mean_jct_s] * 2))
    assert f"fifo: {shown}" in out.getvalue()
