"""`fleetfit report`, `--report`, `--plot` and `fleetfit figure`: what they write and refuse."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli import main
from scheduler.report.page.pack import unpacked

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def saved(small_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies, two seeds, as `compare -o` saves them."""
    folder = tmp_path_factory.mktemp("saved") / "runs"
    words = ["compare", *small_files, "--policies", "srtf,fifo", "--replays", "2", "-o", folder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fleetfit", *map(str, words), "--executor", "local"])
        with pytest.raises(SystemExit) as exit_:
            main()
    assert not exit_.value.code
    return folder


def data_of(page: Path) -> Any:
    (text,) = re.findall(r'id="data">([^<]*)<', page.read_text())
    return unpacked(text)


class TestReport:
    def test_a_folder_of_runs_is_a_comparison(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        page = tmp_path / "new" / "page.html"
        code, out, err = call("report", *small_files, saved, "-o", page)
        assert (code, out) == (0, "")
        assert f"wrote {page}" in err
        data = data_of(page)
        policies = data["groups"][0]["policies"]
        assert [p["policy"] for p in policies] == ["fifo", "srtf"]  # the simplest first
        assert [p["seeds"] for p in policies] == [[0, 1], [0, 1]]
        assert policies[1]["against"] == "fifo"
        assert len(policies[1]["differences"]["mean_jct_s"]) == 4
        assert [run["policy"] for run in data["runs"]] == ["fifo", "srtf"]
        assert all(run["balances"] < 1e-6 for run in data["runs"])
        assert data["origin"]["command"].startswith("fleetfit compare ")
        facts = dict(data["origin"]["facts"])
        assert len(facts["Hash of the inputs"]) == 32
        assert "SHA-256" in facts["Run fifo, seed 0"]
        assert "numpy" in facts["Versions"]

    def test_the_figures_are_those_of_the_command_that_played(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        page = tmp_path / "page.html"
        call("report", *small_files, saved / "srtf-0.json", saved / "srtf-1.json", "-o", page)
        row = data_of(page)["groups"][0]["policies"][0]
        options = ("--policy", "srtf", "--replays", "2", "--executor", "local", "--json")
        played = json.loads(call("run", *small_files, *options)[1])
        assert row["figures"]["mean_jct_s"][0] == pytest.approx(played["mean_jct_s"], rel=1e-12)
        assert row["figures"]["idle_fraction"][0] == pytest.approx(played["idle_fraction"])
        assert row["bounds"]["mean_jct_s"] == pytest.approx(played["bound"])
        assert row["violation_count"] == played["violations"] == 0

    def test_report_beside_a_run_is_the_page_of_that_run(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        page, run = tmp_path / "a.html", tmp_path / "a.json"
        code, *_ = call(
            "run", *small_files, "--policy", "fifo", "--report", page, "-o", run, "--load", "0.5"
        )
        assert code == 0
        assert call("report", *small_files, run, "-o", tmp_path / "b.html")[0] == 0  # load and all
        first, second = data_of(page), data_of(tmp_path / "b.html")
        assert first["runs"] == second["runs"]
        assert first["groups"] == second["groups"]
        assert "--load 0.5" in first["origin"]["command"]

    def test_runs_of_other_inputs_are_refused(
        self, call: Call, saved: Path, tmp_path: Path
    ) -> None:
        page = tmp_path / "page.html"
        code, _, err = call("report", "demo-mixed", "demo-day", saved, "-o", page)
        assert code == 2
        assert err.count("was made from other inputs than demo-mixed and demo-day") == 4
        assert not page.exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["nothing-here"], "no such result"),
            (["a", "b", "c"], "no such result"),
            (["a"], "no such result"),
        ],
    )
    def test_what_is_no_result_is_said(
        self, call: Call, tmp_path: Path, words: list[str], message: str
    ) -> None:
        code, _, err = call("report", *words, "-o", tmp_path / "page.html")
        assert code == 2
        assert message in err
        assert "fleetfit report [TOPOLOGY WORKLOAD] RESULT..." in err

    def test_faulty_files_are_refused(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "no.json").write_text("{")
        code, _, err = call(
            "report", *small_files, tmp_path / "empty", tmp_path / "no.json", "-o", "x.html"
        )
        assert code == 2
        assert "holds no runs" in err
        assert "no.json" in err
        broken = json.loads((saved / "fifo-0.json").read_text())
        broken["allocations"]["nodes"][0] = [99]
        (tmp_path / "broken.json").write_text(json.dumps(broken))
        code, _, err = call("report", *small_files, tmp_path / "broken.json", "-o", "x.html")
        assert code == 2
        assert "is no run of these inputs: unknown_node" in err
        assert call("report", *small_files, saved, "-o", tmp_path)[0] == 2

    def test_what_the_verifier_objects_to_is_drawn_and_said(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        wrong = json.loads((saved / "fifo-0.json").read_text())
        wrong["energy_j"] *= 2
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        page = tmp_path / "page.html"
        assert call("report", *small_files, tmp_path / "wrong.json", "-o", page)[0] == 1
        row = data_of(page)["groups"][0]["policies"][0]
        assert row["violation_count"] == 1
        assert "energy" in row["violations"][0]

    def test_a_sweep_is_a_page_of_cases(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        sweep = tmp_path / "sweep.yaml"
        for file in small_files:
            shutil.copy(file, tmp_path)
        sweep.write_text(
            "schema: sweep/1\ntitle: T <b>\n"
            f"clusters: [{small_files[0].name}]\nworkloads: [{small_files[1].name}]\n"
            "policies: [fifo, srtf]\nseeds: 2\n"
            "scenarios:\n  - {name: half, load: 0.5}\n  - {name: full, load: 0.9}\n"
        )
        page = tmp_path / "page.html"
        options = ("-o", tmp_path / "results", "--executor", "local", "--report", page)
        code, _, err = call("sweep", sweep, *options)
        assert code == 0, err
        data = data_of(page)
        assert [g["name"].rpartition(", ")[2] for g in data["groups"]] == ["half", "full"]
        assert all([p["seeds"] == [0, 1] for p in g["policies"]] for g in data["groups"])
        assert data["runs"] == []
        again = tmp_path / "again.html"
        assert call("report", tmp_path / "results", "-o", again)[0] == 0
        assert again.read_bytes() == page.read_bytes()
        assert call("figure", "policies", tmp_path / "results", "-o", tmp_path / "p.svg")[0] == 0
        code, _, err = call("figure", "idle", tmp_path / "results", "-o", tmp_path / "p.svg")
        assert code == 2
        assert "needs whole runs" in err


class TestFigure:
    @pytest.fixture
    def drawn(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> Iterator[Callable[[str], tuple[ET.Element, list[dict[str, str]]]]]:
        def draw(name: str) -> tuple[ET.Element, list[dict[str, str]]]:
            file = tmp_path / f"{name}.svg"
            code, _, err = call("figure", name, *small_files, saved, "-o", file)
            assert code == 0, err
            with file.with_suffix(".csv").open(newline="") as stream:
                return ET.parse(file).getroot(), list(csv.DictReader(stream))

        return draw

    @pytest.mark.parametrize(
        "name", ["waterfall", "policies", "idle", "queue", "schedule", "energy"]
    )
    def test_each_is_a_picture_with_its_data(self, drawn: Any, name: str) -> None:
        picture, rows = drawn(name)
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
        width, height = (float(v) for v in picture.attrib["viewBox"].split()[2:])
        for box in picture.iter("{http://www.w3.org/2000/svg}rect"):
            right = float(box.get("x", 0)) + float(box.get("width", 0))
            assert right <= width + 1
            assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height + 1
        assert rows

    def test_the_data_are_the_run(self, drawn: Any, saved: Path) -> None:
        _, steps = drawn("waterfall")
        assert sum(float(row["share"]) for row in steps) == pytest.approx(1)
        _, idle = drawn("idle")
        run = json.loads((saved / "srtf-0.json").read_text())
        causes = run["ledger"]["causes"]
        due_us = sum(
            amount
            for row in run["ledger"]["amount_us"]
            for cause, amount in zip(causes, row, strict=True)
            if cause in {r["cause"] for r in idle}
        )
        found = sum(float(row["idle_accelerator_s"]) for row in idle)
        assert found == pytest.approx(due_us / 1e6, rel=1e-6)
        _, held = drawn("schedule")
        assert len(held) == sum(len(nodes) for nodes in run["allocations"]["nodes"])

    def test_unknown_names_and_formats_are_said(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        code, _, err = call("figure", "waterfal", *small_files, saved, "-o", tmp_path / "x.svg")
        assert code == 2
        assert "did you mean 'waterfall'" in err or "waterfall" in err
        code, _, err = call("figure", "idle", *small_files, saved, "-o", tmp_path / "x.gif")
        assert code == 2
        assert ".svg or .png" in err

    def test_png_is_drawn_or_says_what_it_needs(
        self, call: Call, small_files: tuple[Path, Path], saved: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "x.png"
        code, _, err = call("figure", "policies", *small_files, saved, "-o", file)
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            assert code == 2
            assert "fleetfit[figures]" in err
        else:
            assert code == 0
            assert file.read_bytes().startswith(b"\x89PNG")


class TestPlot:
    def test_the_queue_is_drawn(self, call: Call, small_files: tuple[Path, Path]) -> None:
        code, out, _ = call("run", *small_files, "--policy", "fifo", "--plot")
        assert code == 0
        assert "Where capacity goes: fifo" in out
        assert "Waiting and idle over time: fifo" in out
        assert re.search(r"jobs waiting: mean [\d.]+, most [\d.]+", out)
        assert re.search(r"accelerators idle: mean [\d.]+, most [\d.]+", out)
