"""Sweeps: the same bytes however they come about, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps import environment, files_of, install_misbehaving, write_sweep

from scheduler.core.cluster import FailureModel
from scheduler.core.errors import InputError
from scheduler.core.metrics import interval
from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits, Until
from scheduler.execute import Settings
from scheduler.execute.stopping import Stopping
from scheduler.execute.sweep import Grid, Group, Standing, SweepFolder, SweepResult, run_sweep
from scheduler.execute.sweep.crew import Batch, LocalCrew, Report
from scheduler.execute.sweep.guard import Outcome, run_tasks
from scheduler.execute.sweep.process_crew import ProcessCrew
from scheduler.io.cells import cell_from_text, cell_text

LIMITS = Limits(timeout_s=120.0, retries=2)
SEEDS = (3, 1, 2)

Call = Callable[..., tuple[int, str, str]]


def grid_of(problem: Problem, seeds: tuple[int, ...] = SEEDS) -> Grid:
    noisy = Settings(noise_sigma=0.3)
    return Grid(
        "two scenarios",
        [
            Group("small", "jobs", "noisy", problem, noisy),
            Group("small", "jobs", "calm", problem, Settings()),
        ],
        ["fifo", "srtf"],
        seeds,
    )


def play(grid: Grid, path: Path, *, resume: bool = False, **more: object) -> SweepResult:
    with SweepFolder(path, resume=resume) as folder:
        crew = more.pop("crew", lambda: LocalCrew(grid.groups, LIMITS))
        return run_sweep(grid, folder, crew, limits=LIMITS, **more)


@pytest.fixture(scope="module")
def grid(small_problem: Problem) -> Grid:
    return grid_of(small_problem)


@pytest.fixture(scope="module")
def whole(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed sweep."""
    folder = tmp_path_factory.mktemp("whole")
    play(grid, folder)
    return folder


class TestKeys:
    def test_each_input_changes_the_key(self, grid: Grid, small_problem: Problem) -> None:
        def key(problem: Problem = small_problem, policy: str = "fifo", seed: int = 0, **s: object):
            made = Grid("", [Group("c", "w", "s", problem, Settings(**s))], [policy], [seed])
            (task,) = made.tasks.values()
            return task.key

        failing = replace(small_problem.cluster, failures=FailureModel(1e6))
        keys = [
            key(),
            key(policy="srtf"),
            key(seed=1),
            key(noise_sigma=0.1),
            key(information="none"),
            key(horizon_s=3600.0),
            key(account="arrivals"),
            key(replace(small_problem, cluster=failing)),
        ]
        assert len(set(keys)) == len(keys)

    def test_labels_are_no_part_of_it(self, small_problem: Problem) -> None:
        one, other = (
            Grid(t, [Group(t, t, t, small_problem, Settings())], ["fifo"], [0]) for t in ("a", "b")
        )
        assert [t.key for t in one.tasks.values()] == [t.key for t in other.tasks.values()]


class TestFiles:
    def test_cell_text_reads_back(self, grid: Grid, whole: Path) -> None:
        for file in (whole / "cells").iterdir():
            text = file.read_text()
            record = cell_from_text(text)
            assert record.key == file.stem
            assert cell_text(record) == text

    def test_they_say_what_was_played_and_nothing_of_where_or_when(self, whole: Path) -> None:
        for file in (whole / "cells").iterdir():
            data = json.loads(file.read_text())
            assert set(data) == {
                *("schema", "key", "inputs", "metrics", "ledger", "bounds", "violations"),
                *("horizon_us", "end_us", "tenants", "tenant_use"),
            }
            assert set(data["inputs"]) == {
                *("fleetfit", "problem", "cluster", "workload", "policy", "policy_from", "seed"),
                *("information", "noise_sigma", "horizon_s", "account", "verify", "bound"),
            }
            assert str(whole) not in file.read_text()

    def test_the_index_knows_times_and_hosts(self, grid: Grid, whole: Path) -> None:
        rows = sqlite3.connect(whole / "index.sqlite").execute(
            "select state, attempts, seconds > 0, host != '', finished_at > '2000' from cells"
        )
        assert list(rows) == [("done", 1, 1, 1, 1)] * 12

    def test_equal_cells_are_played_once(self, small_problem: Problem, tmp_path: Path) -> None:
        groups = [Group("c", "w", s, small_problem, Settings()) for s in ("one", "other")]
        found = play(Grid("", groups, ["fifo"], [0, 1]), tmp_path)
        assert len(found.results) == 4
        assert len(list((tmp_path / "cells").iterdir())) == 2


class TestExecutors:
    def test_processes_give_the_same_bytes_for_three_seeds(
        self, grid: Grid, whole: Path, tmp_path: Path
    ) -> None:
        found = play(grid, tmp_path, crew=lambda: ProcessCrew(grid.groups, LIMITS, workers=2))
        assert files_of(tmp_path) == files_of(whole)
        assert [r.cell.seed for r in found.results.values()] == [3, 3, 1, 1, 2, 2] * 2


class TestResume:
    def test_only_what_is_missing_or_broken_is_played(
        self, grid: Grid, whole: Path, tmp_path: Path
    ) -> None:
        play(grid, tmp_path)
        files = sorted((tmp_path / "cells").iterdir())
        files[0].unlink()
        files[1].write_bytes(files[1].read_bytes()[:100])  # half a file
        files[2].write_bytes(files[3].read_bytes())  # another cell's file
        files[4].write_bytes(b"\xff\x00")
        (tmp_path / "cells" / f".{files[5].name}.0000.tmp").write_text("half")
        played: list[Standing] = []
        found = play(grid, tmp_path, resume=True, progress=played.append)
        assert found.reused == 8
        assert len(played) == 1 + 4
        assert files_of(tmp_path) == files_of(whole)

    def test_a_complete_sweep_starts_no_crew(self, grid: Grid, whole: Path) -> None:
        def no_crew() -> LocalCrew:
            raise AssertionError("not needed")

        found = play(grid, whole, resume=True, crew=no_crew)
        assert (found.complete, found.reused, len(found.results)) == (True, 12, 12)

    @pytest.mark.parametrize("broken", ["gone", "no database", "of another version"])
    def test_a_lost_or_broken_index_is_made_anew(
        self, broken: str, grid: Grid, whole: Path, tmp_path: Path
    ) -> None:
        play(grid, tmp_path)
        index = tmp_path / "index.sqlite"
        index.unlink()
        if broken == "no database":
            index.write_bytes(b"this is no database" * 100)
        elif broken == "of another version":
            sqlite3.connect(index).execute("create table cells (key text)")
        play(grid, tmp_path, resume=True)
        rows = sqlite3.connect(index).execute("select state from cells")
        assert len(list(rows)) == 12
        assert (tmp_path / "index.broken").exists() == (broken != "gone")
        assert files_of(tmp_path) == files_of(whole)

    def test_without_resume_results_are_not_mixed(self, grid: Grid, whole: Path) -> None:
        with pytest.raises(InputError, match="holds results already; allowed: --resume"):
            play(grid, whole)


class TestLock:
    def test_a_second_sweep_is_refused_while_the_first_runs(self, tmp_path: Path) -> None:
        with SweepFolder(tmp_path):
            message = f"process {os.getpid()} on {socket.gethostname()}"
            with pytest.raises(InputError, match=message), SweepFolder(tmp_path, resume=True):
                pass
        with SweepFolder(tmp_path, resume=True):
            pass

    def test_a_lock_left_by_another_machine_is_not_taken(self, tmp_path: Path) -> None:
        tmp_path.joinpath("lock").write_text('{"pid": 7, "host": "elsewhere"}')
        with (
            pytest.raises(InputError, match="in use by process 7 on elsewhere"),
            SweepFolder(tmp_path),
        ):
            pass

    def test_a_lock_left_here_by_a_dead_process_is_taken_over(self, tmp_path: Path) -> None:
        left = json.dumps({"pid": 999_999, "host": socket.gethostname()})
        tmp_path.joinpath("lock").write_text(left)
        with SweepFolder(tmp_path):
            assert json.loads(tmp_path.joinpath("lock").read_text())["pid"] == os.getpid()


RESTRICTED = """\
import ctypes, resource, sys

if sys.platform == "linux":  # what root may do beside what the modes of files allow
    nothing = (ctypes.c_uint32 * 6)()
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(version_3, nothing) == 0
RESTRICTION
from scheduler.cli import main

main()
"""

SHUT_AFTER_THREE = """\
from scheduler.execute.sweep import folder

note = folder.SweepFolder.note

def then_shut(self, rows):
    note(self, rows)
    if len(list((self.path / "cells").iterdir())) >= 3:
        (self.path / "cells").chmod(0o500)

folder.SweepFolder.note = then_shut
"""


def restricted(restriction: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `fleetfit sweep` here, without a superuser's rights and with that restriction."""
    script = RESTRICTED.replace("RESTRICTION", restriction)
    return subprocess.run(
        [sys.executable, "-c", script, "sweep", *map(str, words), "--executor", "local"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class _Scripted:
    """A crew that plays in an order and with losses that a list of numbers decides."""

    def __init__(self, grid: Grid, numbers: list[int], played: dict[str, Outcome]) -> None:
        self.grid, self.numbers, self.played = grid, numbers, played
        self.losses = 8
        self.batches: list[Batch] = []
        self.drawn = 0

    def _draw(self, below: int) -> int:
        self.drawn += 1
        return self.numbers[self.drawn % len(self.numbers)] % below

    def workers(self) -> int:
        return 3

    def room(self) -> int:
        return 4 - len(self.batches)

    def submit(self, batch: Batch) -> None:
        self.batches.append(batch)

    def wait(self, seconds: float) -> list[Report]:
        batch = self.batches.pop(self._draw(len(self.batches)))
        if self.losses and not self._draw(3):
            self.losses -= 1
            return [Report(batch.number, (), "its machine was lost", blameless=True)]
        group = self.grid.groups[batch.group]
        outcomes = []
        for task in batch.tasks:
            if task.key not in self.played:
                (self.played[task.key],) = run_tasks(
                    group.problem, group.settings, [task], LIMITS, own_process=False
                )
            outcomes.append(self.played[task.key])
        return [Report(batch.number, tuple(outcomes))]

    def close(self) -> None:
        self.batches.clear()


class TestStopping:
    def test_the_set_of_cells_depends_on_no_order(
        self, small_problem: Problem, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Whoever finishes first, and whatever is lost meanwhile."""
        grid = grid_of(small_problem, tuple(range(12)))
        until = Until("mean_jct_s", 0.35, at_least=3)
        folder = tmp_path_factory.mktemp("early")
        found = play(grid, folder, until=until)
        expected = files_of(folder)
        assert found.needed[1] == 3  # without noise every replay is the same
        assert 3 < found.needed[0] < 12
        assert len(expected) - 1 == len(found.results) == 2 * sum(found.needed)

        played: dict[str, Outcome] = {}

        @settings(max_examples=25)
        @given(st.lists(st.integers(0, 1000), min_size=5, max_size=40))
        def disturbed(numbers: list[int]) -> None:
            folder = tmp_path_factory.mktemp("disturbed")
            found = play(grid, folder, until=until, crew=lambda: _Scripted(grid, numbers, played))
            assert files_of(folder) == expected
            assert not found.failures

        disturbed()

    def test_the_rule_holds_at_the_answer_and_at_none_before(self, small_problem: Problem) -> None:
        values = [10.0, 14.0, 11.0, 13.0, 12.0, 12.1, 11.9, 12.0]
        rule = Stopping(1, len(values), Until("mean_jct_s", 0.25, at_least=3))
        for seed in reversed(range(len(values))):
            rule.add(0, seed, values[seed])
        tight = [
            n
            for n in range(3, len(values) + 1)
            if interval(values[:n]).high - interval(values[:n]).low
            <= 0.25 * interval(values[:n]).mean
        ]
        assert rule.needed == tight[0] > 3

    def test_failed_cells_count_as_played_and_give_no_value(self) -> None:
        rule = Stopping(1, 9, Until("mean_jct_s", 0.1, at_least=3))
        for seed, value in enumerate([5.0, None, 5.0, 5.0]):
            rule.add(0, seed, value)
        assert rule.needed == 3


class TestTrouble:
    """Cells that misbehave are bounded and named; all others are finished."""

    @pytest.fixture
    def plugins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = install_misbehaving(tmp_path / "plugins")
        monkeypatch.syspath_prepend(folder)
        return folder

    @pytest.fixture
    def no_ray(self) -> None:
        """Ray's threads in this process must not find memory short where a cell ate it."""
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()

    def sweep(
        self,
        problem: Problem,
        folder: Path,
        policies: list[str],
        crew: str,
        limits: Limits,
    ) -> SweepResult:
        grid = Grid("", [Group("c", "w", "s", problem, Settings())], policies, [0, 1])
        made: dict[str, Callable[[], object]] = {
            "local": lambda: LocalCrew(grid.groups, limits),
            "processes": lambda: ProcessCrew(grid.groups, limits, workers=2),
        }
        with SweepFolder(folder) as entered:
            return run_sweep(grid, entered, made[crew], limits=limits)

    @pytest.mark.usefixtures("plugins", "no_ray")
    @pytest.mark.parametrize("crew", ["local", "processes"])
    def test_raising_and_eating(self, crew: str, small_problem: Problem, tmp_path: Path) -> None:
        limits = Limits(timeout_s=120.0, memory_bytes=2**28, retries=1)
        policies = ["raises", "eats", "fifo"]
        found = self.sweep(small_problem, tmp_path / "out", policies, crew, limits)
        assert found.complete
        assert [(f.kind, f.attempts) for f in found.failures] == [("raised", 1), ("memory", 2)] * 2
        assert "ValueError: this policy always fails" in found.failures[0].message
        assert "in decide" in found.failures[0].details
        assert [r.cell.policy for r in found.results.values()] == ["fifo", "fifo"]
        rows = sqlite3.connect(tmp_path / "out" / "index.sqlite").execute(
            "select state, count(*) from cells group by state order by state"
        )
        assert list(rows) == [("done", 2), ("failed", 4)]

    @pytest.mark.usefixtures("plugins")
    @pytest.mark.parametrize("crew", ["local", "processes"])
    def test_hanging(self, crew: str, small_problem: Problem, tmp_path: Path) -> None:
        """However slow the machine, such a cell takes too long."""
        limits = Limits(timeout_s=0.5, retries=1)
        found = self.sweep(small_problem, tmp_path / "out", ["hangs"], crew, limits)
        assert [(f.kind, f.attempts) for f in found.failures] == [("timeout", 2)] * 2

    @pytest.mark.usefixtures("plugins")
    def test_a_worker_that_dies_takes_no_other_cell_along(
        self, small_problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLEETFIT_TEST_ONCE", str(tmp_path / "died"))
        limits = Limits(timeout_s=120.0, retries=1)
        found = self.sweep(
            small_problem, tmp_path / "out", ["dies", "dies_once", "fifo"], "processes", limits
        )
        assert [(f.kind, f.attempts) for f in found.failures] == [("lost", 2)] * 2
        assert "killed (signal 9)" in found.failures[0].message
        assert [r.cell.policy for r in found.results.values()] == ["dies_once", "fifo"] * 2


class TestDisk:
    @pytest.mark.parametrize("broken", ["fsync", "replace"])
    def test_a_full_disk_is_one_message_and_leaves_whole_files(
        self,
        broken: str,
        grid: Grid,
        whole: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls: list[object] = []

        def fail_later(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object) -> object:
                calls.append(args)
                if len(calls) > 9:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*args)

            return call

        home = os if broken == "fsync" else Path
        with monkeypatch.context() as patched:
            patched.setattr(home, broken, fail_later(getattr(home, broken)))
            with pytest.raises(InputError, match="cannot be written: No space left") as error:
                play(grid, tmp_path)
        assert len(error.value.faults) == 1
        left = files_of(tmp_path)
        assert 1 < len(left) < 13
        assert left.items() <= files_of(whole).items()  # no half file, no temporary one
        play(grid, tmp_path, resume=True)
        assert files_of(tmp_path) == files_of(whole)

    def test_a_full_index_is_one_message_too(self, small_problem: Problem, tmp_path: Path) -> None:
        long_name = Group("c", "w", "s" * 10_000, small_problem, Settings())
        grid = Grid("", [long_name], ["fifo"], [0])
        with SweepFolder(tmp_path) as folder:
            folder.index._connection.execute("pragma max_page_count = 2")
            with pytest.raises(InputError, match=r"index\.sqlite: cannot be written: .*full"):
                run_sweep(grid, folder, lambda: LocalCrew(grid.groups, LIMITS), limits=LIMITS)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
    def test_a_disk_that_is_full(self, grid: Grid, whole: Path, tmp_path: Path) -> None:
        """A real one, of 64 KiB."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a disk")
        try:
            with pytest.raises(InputError, match=r"No space left|disk is full|disk I/O") as error:
                play(grid, disk / "out")
            assert len(error.value.faults) == 1
            left = {p.name: p.read_bytes() for p in (disk / "out" / "cells").iterdir()}
            assert 0 < len(left) < 12
            assert left.items() <= files_of(whole).items()
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_files_that_may_not_grow(self, call: Call, tmp_path: Path) -> None:
        """The system refuses what goes beyond a size; the results so far are in order."""
        file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 80\n", short=True)
        out = tmp_path / "out"
        small = restricted(
            "resource.setrlimit(resource.RLIMIT_FSIZE, (12288, 12288))", file, "-o", out
        )
        assert (small.returncode, small.stdout) == (2, "")
        hint, message = small.stderr.splitlines()
        kept = len(list((out / "cells").iterdir()))
        assert 0 < kept < 80
        assert hint.startswith(f"{kept} finished cells are kept; to go on: fleetfit sweep")
        assert f"{out / 'index.sqlite'}: cannot be written: " in message
        self.go_on(call, file, out, tmp_path / "whole")

    def test_a_folder_that_turns_read_only(self, call: Call, tmp_path: Path) -> None:
        """Amid the sweep, for a user who may not write where the modes forbid it."""
        file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 80\n", short=True)
        out = tmp_path / "out"
        small = restricted(SHUT_AFTER_THREE, file, "-o", out)
        out.joinpath("cells").chmod(0o700)
        assert (small.returncode, small.stdout) == (2, "")
        hint, message = small.stderr.splitlines()
        kept = len(list((out / "cells").iterdir()))
        assert 3 <= kept < 80
        assert hint.startswith(f"{kept} finished cells are kept; to go on: fleetfit sweep")
        assert message.endswith(".json: cannot be written: Permission denied")
        self.go_on(call, file, out, tmp_path / "whole")

    def test_a_read_only_folder(self, tmp_path: Path) -> None:
        file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 2\n", short=True)
        shut = tmp_path / "shut"
        shut.mkdir(mode=0o500)
        small = restricted("", file, "-o", shut / "out")
        assert (small.returncode, small.stdout) == (2, "")
        (line,) = small.stderr.splitlines()
        assert line.endswith(f"{shut / 'out'}: cannot be made: Permission denied")

    def go_on(self, call: Call, file: Path, out: Path, whole: Path) -> None:
        """Resume, and find what an undisturbed sweep writes."""
        for folder in (out, whole):
            assert not call("sweep", file, "-o", folder, "--executor", "local", "--resume")[0]
        assert files_of(out) == files_of(whole)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(InputError, match="cannot be made: Not a directory"),
            SweepFolder(tmp_path / "file" / "results"),
        ):
            pass


def test_outcomes_carry_host_and_time(small_problem: Problem, grid: Grid) -> None:
    task = next(iter(grid.tasks.values()))
    (outcome,) = run_tasks(small_problem, Settings(), [task], LIMITS, own_process=False)
    assert isinstance(outcome, Outcome)
    assert outcome.seconds > 0
    assert outcome.host
