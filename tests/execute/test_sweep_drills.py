"""Drills: drivers, workers and nodes are killed, and the results are those of a quiet day."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sweeps import command, environment, files_of, install_misbehaving, write_sweep

from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits
from scheduler.execute import Settings
from scheduler.execute.sweep import Grid, Group, SweepFolder, run_sweep
from scheduler.execute.sweep.crew import LocalCrew
from scheduler.execute.sweep.ray_crew import RayCrew
from scheduler.io.cells import cell_from_text

pytestmark = pytest.mark.slow

KILLS = {"local": 15, "processes": 3, "ray": 2}
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_misbehaving(tmp_path_factory.mktemp("plugins"))


def run(*words: str | Path, plugins: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("sweep", *words),
        env=environment(plugins),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def cells_in(folder: Path) -> int:
    return sum(1 for _ in (folder / "cells").glob("*.json"))


def wait_for_cells(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while cells_in(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.mark.ray
def test_twenty_killed_drivers_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL at random moments, start-up included, and resume: the bytes of a quiet day."""
    file = write_sweep(
        tmp_path, "policies: [fifo, srtf]\nseeds: 300\nscenarios: [{name: noisy, noise: 0.3}]\n"
    )
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    assert run(file, "-o", quiet, "--executor", "processes").returncode == 0
    expected = files_of(quiet)
    draws = np.random.default_rng(20)
    kills = [name for name, count in KILLS.items() for _ in range(count)]
    draws.shuffle(kills)
    moments = {"early": 0, "amid": 0}
    for executor in kills:
        process = subprocess.Popen(
            command("sweep", file, "-o", disturbed, "--resume", "--executor", executor),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = cells_in(disturbed)
        if draws.random() < 0.8:
            wait_for_cells(process, disturbed, before + 1)
            time.sleep(draws.uniform(0.0, 0.15))
        else:
            time.sleep(draws.uniform(0.0, 1.0))
        process.kill()
        process.wait()
        moments["amid" if cells_in(disturbed) > before else "early"] += 1
        for path in (disturbed / "cells").glob("*.json"):
            assert path.read_bytes() == expected[path.name]
    assert min(moments.values()) > 0
    assert cells_in(disturbed) < len(expected) - 1  # the last kill, too, was amid the sweep
    last = run(file, "-o", disturbed, "--resume", "--executor", "processes")
    assert last.returncode == 0
    assert files_of(disturbed) == expected
    rows = sqlite3.connect(disturbed / "index.sqlite").execute("select key, state from cells")
    assert sorted(f"{key}.json" for key, _ in rows) == sorted(set(expected) - {"grid.json"})


class TestInterrupt:
    """Ctrl-C reaches every process of the terminal's foreground group."""

    def start(self, tmp_path: Path, plugins: Path, executor: str) -> subprocess.Popen[str]:
        file = write_sweep(tmp_path, "policies: [slow]\nseeds: 60\n", short=True)
        process = subprocess.Popen(
            command("sweep", file, "-o", tmp_path / "out", "--executor", executor),
            env=environment(plugins),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_for_cells(process, tmp_path / "out", 1)
        os.killpg(process.pid, signal.SIGINT)
        return process

    @pytest.mark.parametrize(
        "executor", ["local", "processes", pytest.param("ray", marks=pytest.mark.ray)]
    )
    def test_once_lets_running_cells_finish_and_says_how_to_go_on(
        self, executor: str, tmp_path: Path, plugins: Path
    ) -> None:
        process = self.start(tmp_path, plugins, executor)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (130, "")
        lines = err.splitlines()
        assert lines[0] == (
            "stopping when the running cells have finished; Ctrl-C again stops at once"
        )
        kept = cells_in(tmp_path / "out")
        assert re.match(rf"{kept} finished cells are kept; to go on: fleetfit sweep ", lines[-1])
        assert f"-o {tmp_path / 'out'} --resume --executor {executor}" in lines[-1]
        assert "Traceback" not in err
        assert 1 <= kept < 60
        for path in (tmp_path / "out" / "cells").iterdir():
            assert cell_from_text(path.read_text()).key == path.stem

    def test_twice_stops_at_once(self, tmp_path: Path, plugins: Path) -> None:
        process = self.start(tmp_path, plugins, "processes")
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (130, "")
        assert "--resume" in err.splitlines()[-1]
        assert "Traceback" not in err
        assert not list((tmp_path / "out" / "cells").glob(".*"))


def test_a_cell_that_no_signal_stops_ends_its_worker(
    small_problem: Problem, tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scheduler.execute.sweep import guard
    from scheduler.execute.sweep.process_crew import ProcessCrew

    monkeypatch.syspath_prepend(plugins)
    limits = Limits(timeout_s=0.3, retries=0)
    grid = Grid("", [Group("c", "w", "s", small_problem, Settings())], ["stubborn", "fifo"], [0])
    with SweepFolder(tmp_path / "out") as folder:
        start_s = time.monotonic()
        found = run_sweep(
            grid, folder, lambda: ProcessCrew(grid.groups, limits, workers=1), limits=limits
        )
    assert time.monotonic() - start_s < guard.GRACE_S + 10
    assert [(f.kind, f.message) for f in found.failures] == [("lost", "its process ended (code 1)")]
    assert len(found.results) == 1


@pytest.mark.ray
class TestRay:
    @pytest.fixture
    def apart(self) -> Iterator[None]:
        """No Ray before and none after."""
        import ray

        ray.shutdown()
        yield
        ray.shutdown()

    @pytest.mark.usefixtures("apart")
    def test_trouble_on_ray_and_the_same_bytes_as_here(
        self, small_problem: Problem, tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(plugins)
        monkeypatch.setenv("FLEETFIT_TEST_ONCE", str(tmp_path / "died"))
        limits = Limits(timeout_s=1.0, memory_bytes=2**28, retries=1)
        groups = [Group("c", "w", "s", small_problem, Settings(noise_sigma=0.3))]
        good = ["fifo", "srtf"]
        bad = ["raises", "hangs", "eats", "dies", "dies_once"]
        grid = Grid("", groups, [*bad, *good], (3, 1, 2))
        with SweepFolder(tmp_path / "ray") as folder:
            found = run_sweep(grid, folder, lambda: RayCrew(groups, limits), limits=limits)
        kinds = {policy: set() for policy in grid.policies}
        for failure in found.failures:
            kinds[grid.policies[failure.place.policy]].add((failure.kind, failure.attempts))
        assert kinds == {
            "raises": {("raised", 1)},
            "hangs": {("timeout", 2)},
            "eats": {("memory", 2)},
            "dies": {("lost", 2)},
            **{policy: set() for policy in ("dies_once", *good)},
        }
        here = Grid("", groups, ["dies_once", *good], (3, 1, 2))
        with SweepFolder(tmp_path / "here") as folder:
            run_sweep(here, folder, lambda: LocalCrew(groups, limits), limits=limits)
        cells = [
            {p.name: p.read_bytes() for p in (tmp_path / d / "cells").iterdir()}
            for d in ("ray", "here")
        ]
        assert len(cells[0]) == 9
        assert cells[0] == cells[1]
