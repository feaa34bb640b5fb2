"""Regressions are found whichever way is better; exponents are those of the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.comparison import kept
from bench.growth import MODELS, Point, exponent, figure, table
from bench.growth import main as growth
from bench.trend import changes
from bench.trend import main as trend

MACHINE = {"processor": "x", "cores": 2}


def result(bench: str, metric: str, ratios: dict[str, float], **more: object) -> dict[str, object]:
    cases = [
        {"case": c, "metric": metric, "ratio": r, "peer_name": "Peer", "seconds": 1.0, **more}
        for c, r in ratios.items()
    ]
    return {"bench": bench, "machine": MACHINE, "cases": cases}


@pytest.mark.parametrize(
    ("bench", "metric", "better", "worse"),
    [
        ("melange", "usd_per_hour", 0.9, 1.1),
        ("helix", "tokens_per_s", 1.6, 1.4),
        ("fgd", "allocation_percent_at_130", 1.0, 1.05),
        ("fgd", "allocation_percent_at_130", 1.0, 0.95),
    ],
)
def test_a_figure_that_moves_the_wrong_way_has_regressed(
    bench: str, metric: str, better: float, worse: float
) -> None:
    good, bad = (kept(result(bench, metric, {"a": r})) for r in (better, worse))
    assert [c.regressed for c in changes([good], [bad])] == [True, False]
    assert [c.regressed for c in changes([bad], [good])] == [False, False]
    assert not any(c.regressed for c in changes([good], [good]))


def test_times_are_judged_on_the_same_machine_only() -> None:
    old, new = result("melange", "usd", {"a": 1.0}), result("melange", "usd", {"a": 1.0})
    new["cases"][0]["seconds"] = 1.6  # type: ignore[index]
    assert [c.regressed for c in changes([old], [new])] == [False, True]
    new["machine"] = {"processor": "y", "cores": 2}
    assert [c.regressed for c in changes([old], [new])] == [False]


def test_a_figure_that_is_gone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = result("melange", "usd", {"a": 1.0, "b": 1.0}), result("melange", "usd", {"a": 1.0})
    files = []
    for name, held in (("2026-01-01.json", old), ("2026-01-02.json", new)):
        (tmp_path / name).write_text(json.dumps([kept(held)]))
        files.append(str(tmp_path / name))
    assert trend(files) == 1
    assert "gone        melange: b: usd over Peer (was 1)" in capsys.readouterr().out
    assert trend([files[1], files[1]]) == 0
    assert trend(files[:1]) == 2
    (tmp_path / "2026-01-02.json").write_text("[")
    assert trend(files) == 2


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_data(slope: float) -> None:
    points = [Point("round", 0.0, n, 3e-6 * n**slope, n) for n in (10, 100, 1000, 10_000)]
    found = exponent(points)
    assert found.slope == pytest.approx(slope)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert f"accelerators^{slope:.2f}" in table(points, [found])[0]
    assert figure(points, [found]).drawing.svg().count("<polyline") >= 2
    with pytest.raises(ValueError, match="two sizes"):
        exponent(points[:1])


def test_growth_measures_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "growth.svg"
    words = ["round", "--sizes", "128,256", "--severity", "0", "--repeats", "1", "--json"]
    assert growth([*words, "--plot", str(picture)]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert [p["size"] for p in case["points"]] == [128, 256]
    assert all(p["seconds"] > 0 and p["memory_bytes"] > 1e6 for p in case["points"])
    assert picture.read_text().startswith("<svg")
    assert picture.with_suffix(".csv").read_text().startswith("model,severity,size,processor_s")


def test_growth_names_every_fault_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth(["rond", "--sizes", "5", "--severity", "2", "--repeats", "0"]) == 2
    said = capsys.readouterr().err
    for word in ("rond", "round", "--sizes", "--severity", "--repeats"):
        assert word in said
    assert set(MODELS) == {"round", "replay"}
