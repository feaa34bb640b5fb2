"""Drills: drivers and workers are killed, and the results are those of a quiet day."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sweeps import (
    PATIENCE_S,
    Started,
    cells_in,
    environment,
    files_of,
    install_misbehaving,
    run,
    started,
    write_sweep,
)

from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits
from scheduler.execute import Settings
from scheduler.execute.sweep import Grid, Group, SweepFolder, SweepResult, run_sweep
from scheduler.execute.sweep.crew import LocalCrew
from scheduler.execute.sweep.ray_crew import RayCrew
from scheduler.io.cells import cell_from_text

pytestmark = pytest.mark.slow

KILLS = {"local": 16, "processes": 3, "ray": 1}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_misbehaving(tmp_path_factory.mktemp("plugins"))


@pytest.mark.ray
def test_twenty_killed_drivers_lose_and_double_nothing(tmp_path: Path, plugins: Path) -> None:
    """SIGKILL at random moments, start-up included, and resume: the bytes of a quiet day.

    No kill can come too late: a round has passes for a few cells only, and all rounds together
    for fewer than there are.
    """
    file = write_sweep(
        tmp_path, "policies: [gated]\nseeds: 120\nscenarios: [{name: noisy, noise: 0.3}]\n"
    )
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    assert run(file, "-o", quiet, "--executor", "processes", plugins=plugins).returncode == 0
    expected = files_of(quiet)
    draws = np.random.default_rng(20)
    kills = [name for name, count in KILLS.items() for _ in range(count)]
    draws.shuffle(kills)
    for number, executor in enumerate(kills):
        before = cells_in(disturbed)
        scratch = tmp_path / f"kill-{number}"
        with started(file, disturbed, executor, plugins, scratch, "--resume") as sweep:
            if number % 5 == 4:  # while it starts: at once, or when it has the folder
                holder = str(sweep.process.pid)
                if draws.random() < 0.5:
                    sweep.until("it locks", lambda lock=holder: lock in lock_in(disturbed))
                expected_cells = range(before, before + 1)
            else:  # amid the sweep, while further cells are played and written
                passes = int(draws.integers(2, 7))
                awaited = before + int(draws.integers(1, min(passes, 3) + 1))
                sweep.gate.let(passes)
                sweep.until_cells(awaited)
                time.sleep(draws.uniform(0.0, 0.03))
                expected_cells = range(awaited, before + passes + 1)
        assert cells_in(disturbed) in expected_cells
        for path in (disturbed / "cells").glob("*.json"):
            assert path.read_bytes() == expected[path.name]
    assert cells_in(disturbed) < len(expected) - 1
    last = run(file, "-o", disturbed, "--resume", "--executor", "processes", plugins=plugins)
    assert last.returncode == 0, last.stderr
    assert files_of(disturbed) == expected
    rows = sqlite3.connect(disturbed / "index.sqlite").execute("select key, state from cells")
    assert sorted(f"{key}.json" for key, _ in rows) == sorted(set(expected) - {"grid.json"})


def lock_in(folder: Path) -> str:
    """Return what the lock says, empty before there is one."""
    lock = folder / "lock"
    return lock.read_text() if lock.exists() else ""


class TestInterrupt:
    """Ctrl-C amid a sweep that would not end by itself: its cells wait at the gate."""

    def start(self, tmp_path: Path, plugins: Path, executor: str) -> Started:
        file = write_sweep(tmp_path, "policies: [gated]\nseeds: 60\n", short=True)
        return Started(file, tmp_path / "out", executor, plugins, tmp_path / "scratch")

    def press_once(self, sweep: Started) -> None:
        """Press Ctrl-C when two cells are done and others have begun; wait for the answer."""
        sweep.gate.let(2)
        sweep.until_cells(2)
        sweep.until("a cell waits", sweep.gate.waiting)
        sweep.interrupt()
        sweep.until("it answers", lambda: "Ctrl-C again stops at once\n" in sweep.printed("err"))

    @pytest.mark.parametrize(
        "executor", ["local", "processes", pytest.param("ray", marks=pytest.mark.ray)]
    )
    def test_once_lets_running_cells_finish_and_says_how_to_go_on(
        self, executor: str, tmp_path: Path, plugins: Path
    ) -> None:
        sweep = self.start(tmp_path, plugins, executor)
        try:
            self.press_once(sweep)
            sweep.gate.open()
            assert sweep.process.wait(PATIENCE_S) == 130
        finally:
            sweep.end()
        assert sweep.printed("out") == ""
        lines = sweep.printed("err").splitlines()
        assert "stopping when the running cells have finished; Ctrl-C again stops at once" in lines
        kept = cells_in(tmp_path / "out")
        assert lines[-1] == (
            f"{kept} finished cells are kept; to go on: fleetfit sweep "
            f"{tmp_path / 'sweep.yaml'} -o {tmp_path / 'out'} --resume --executor {executor}"
        )
        assert "Traceback" not in sweep.printed("err")
        assert 2 < kept < 60  # the one that ran when Ctrl-C was pressed has finished
        for path in (tmp_path / "out" / "cells").iterdir():
            assert cell_from_text(path.read_text()).key == path.stem

    def test_twice_stops_at_once(self, tmp_path: Path, plugins: Path) -> None:
        """The gate stays shut, so running cells do not finish."""
        sweep = self.start(tmp_path, plugins, "processes")
        try:
            self.press_once(sweep)
            sweep.interrupt()
            assert sweep.process.wait(PATIENCE_S) == 130
        finally:
            sweep.end()
        assert sweep.printed("out") == ""
        assert re.match("2 finished cells are kept", sweep.printed("err").splitlines()[-1])
        assert "Traceback" not in sweep.printed("err")
        assert not list((tmp_path / "out" / "cells").glob(".*"))


STUBBORN = """\
import sys, scheduler
from scheduler.core.sweep import Limits
from scheduler.execute import Settings
from scheduler.execute.sweep import Grid, Group
from scheduler.execute.sweep.guard import run_tasks

problem = scheduler.load(*sys.argv[1:])
grid = Grid("", [Group("c", "w", "s", problem, Settings())], ["gated", "stubborn"], [0])
usual, stubborn = grid.tasks.values()
(outcome,) = run_tasks(problem, Settings(), [usual], Limits())
print(outcome.kind, flush=True)  # and everything is imported
run_tasks(problem, Settings(), [stubborn], Limits(timeout_s=1.0))
print("still here")
"""


def test_a_cell_that_no_signal_stops_ends_its_worker(
    small_files: tuple[Path, Path], plugins: Path
) -> None:
    worker = subprocess.run(
        [sys.executable, "-c", STUBBORN, *map(str, small_files)],
        env=environment(plugins),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (worker.returncode, worker.stdout) == (1, "done\n"), worker.stderr


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
        groups = [Group("c", "w", "s", small_problem, Settings(noise_sigma=0.3))]

        def play(name: str, policies: list[str], limits: Limits) -> SweepResult:
            grid = Grid("", groups, policies, (3, 1, 2))
            with SweepFolder(tmp_path / name) as folder:
                return run_sweep(grid, folder, lambda: RayCrew(groups, limits), limits=limits)

        good = ["dies_once", "fifo", "srtf"]
        bad = ["raises", "eats", "dies"]
        limits = Limits(timeout_s=PATIENCE_S, memory_bytes=2**28, retries=1)
        found = play("ray", [*bad, *good], limits)
        kinds: dict[str, set[str]] = {name: set() for name in [*bad, *good]}
        for failure in found.failures:
            kinds[[*bad, *good][failure.place.policy]].add(failure.kind)
            assert failure.attempts == (1 if failure.kind == "raised" else 2)
        # What a cell eats its worker's other threads may lack first, and then the worker is lost.
        assert kinds.pop("eats") <= {"memory", "lost"}
        assert kinds == {"raises": {"raised"}, "dies": {"lost"}} | {name: set() for name in good}
        assert len(found.failures) == 9
        hanging = play("hanging", ["hangs"], Limits(timeout_s=1.0, retries=1))
        assert [(f.kind, f.attempts) for f in hanging.failures] == [("timeout", 2)] * 3

        here = Grid("", groups, good, (3, 1, 2))
        with SweepFolder(tmp_path / "here") as folder:
            run_sweep(here, folder, lambda: LocalCrew(groups, limits), limits=limits)
        cells = [
            {p.name: p.read_bytes() for p in (tmp_path / d / "cells").iterdir()}
            for d in ("ray", "here")
        ]
        assert len(cells[0]) == 9
        assert cells[0] == cells[1]
