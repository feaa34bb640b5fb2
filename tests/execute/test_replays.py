"""Replays: the same results from every executor, in the order asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.core.metrics import interval
from scheduler.core.problem import Problem
from scheduler.core.sweep import Until
from scheduler.execute import ReplayResult, fingerprint, replay
from scheduler.execute.batches import Batches
from scheduler.execute.cell import Cell
from scheduler.io import canonical_json
from scheduler.report import compare_object, summarise

POLICIES = ("fifo", "srtf")
SEEDS = (3, 1, 2)


def results_of(problem: Problem, executor: str, **more: object) -> list[ReplayResult]:
    return replay(problem, POLICIES, SEEDS, executor=executor, noise_sigma=0.2, **more)


def bytes_of(results: list[ReplayResult]) -> str:
    ledgers = [r.ledger.amount_us.tolist() for r in results]
    rows = [[repr(r.cell), repr(r.metrics), repr(r.bounds), repr(r.violations)] for r in results]
    return canonical_json([compare_object(summarise(results), {}), ledgers, rows])


@pytest.fixture(scope="module")
def expected(small_problem: Problem) -> str:
    return bytes_of(results_of(small_problem, "local"))


def test_results_come_by_policy_then_seed_as_given(small_problem: Problem) -> None:
    results = results_of(small_problem, "local")
    assert [(r.cell.policy, r.cell.seed) for r in results] == [
        (policy, seed) for policy in POLICIES for seed in SEEDS
    ]


def test_replays_are_verified_and_noise_differs_by_seed(small_problem: Problem) -> None:
    results = results_of(small_problem, "local")
    assert not [v for r in results for v in r.violations]
    assert len({r.metrics.mean_jct_s for r in results}) == len(results)


def test_a_seed_gives_each_policy_the_same_work(small_problem: Problem) -> None:
    results = results_of(small_problem, "local", keep_runs=True)
    works = {
        seed: {r.run.actual_work for r in results if r.run and r.cell.seed == seed}
        for seed in SEEDS
    }
    assert all(len(same) == 1 for same in works.values())
    assert len(set.union(*works.values())) == len(SEEDS)


def test_processes_give_the_same_bytes(small_problem: Problem, expected: str) -> None:
    assert bytes_of(results_of(small_problem, "processes")) == expected


class TestEnough:
    """Replays stop early after the same seeds on every executor, whoever finishes first."""

    UNTIL = Until("mean_jct_s", 0.35, at_least=3)

    def results(self, problem: Problem, executor: str) -> list[ReplayResult]:
        return replay(
            problem, POLICIES, range(30), executor=executor, noise_sigma=0.3, until=self.UNTIL
        )

    def check(self, found: list[ReplayResult], problem: Problem) -> None:
        count = len(found) // 2
        assert 3 < count < 30
        everything = replay(problem, POLICIES, range(count), executor="local", noise_sigma=0.3)
        assert bytes_of(found) == bytes_of(everything)
        tight = []
        for n in range(3, count + 1):
            means = [
                interval([r.metrics.mean_jct_s for r in everything[p * count :][:n]])
                for p in range(2)
            ]
            tight.append(all(m.high - m.low <= 0.35 * m.mean for m in means))
        assert tight == [False] * (count - 3) + [True]

    def test_here_nothing_more_is_played(self, small_problem: Problem) -> None:
        seen: list[int] = []
        found = replay(
            small_problem,
            POLICIES,
            range(30),
            executor="local",
            noise_sigma=0.3,
            until=self.UNTIL,
            progress=lambda done, total, _: seen.append(done),
        )
        self.check(found, small_problem)
        assert len(seen) == len(found)

    def test_processes(self, small_problem: Problem) -> None:
        self.check(self.results(small_problem, "processes"), small_problem)

    @pytest.mark.ray
    @pytest.mark.usefixtures("local_ray")
    def test_ray(self, small_problem: Problem, expected: str) -> None:
        self.check(self.results(small_problem, "ray"), small_problem)
        assert bytes_of(results_of(small_problem, "ray")) == expected  # the same Ray goes on

    def test_the_command_says_how_many_were_enough(
        self, small_files: tuple[Path, Path], call: Callable[..., tuple[int, str, str]]
    ) -> None:
        words = ("compare", *small_files, "-p", "fifo,srtf", "-n", "30", "--noise", "0.3")
        code, shown, err = call(*words, "--relative-width", "0.5", "--executor", "local", "--json")
        assert code == 0
        counts = {entry["replays"] for entry in json.loads(shown)["results"]}
        assert len(counts) == 1
        (count,) = counts
        assert 5 <= count < 30
        assert err.splitlines()[-1] == f"{count} of 30 replays were enough"


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_ray_gives_the_same_bytes(
    small_problem: Problem, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a folder that holds another package of our name, under a long temporary path."""
    hostile = tmp_path / "scheduler"
    hostile.mkdir()
    (hostile / "__init__.py").write_text("raise ImportError('the wrong scheduler')")
    long_path = tmp_path / ("long" * 20)
    long_path.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(long_path))
    seen: list[tuple[int, int]] = []
    results = results_of(
        small_problem, "ray", progress=lambda done, total, _: seen.append((done, total))
    )
    assert bytes_of(results) == expected
    assert seen == [(i + 1, 6) for i in range(6)]

    # A second call uses the same Ray; a failing cell raises what it would raise here.
    with pytest.raises(InputError, match="unknown policy"):
        replay(small_problem, ["fifo", "no-such"], [0], executor="ray")
    assert bytes_of(results_of(small_problem, "ray")) == expected
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_without_ray_the_replays_run_here(
    small_problem: Problem,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("scheduler.execute.on_ray.is_available", lambda: False)
    assert bytes_of(results_of(small_problem, "ray")) == expected
    assert [r.message for r in caplog.records] == [
        "Ray is not installed here: running the replays in this process"
    ]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("nonsense", "not an address of a Ray cluster"),
        ("host:99999", "not an address of a Ray cluster"),
        ("ray://127.0.0.1:1", "no Ray cluster answers there"),
    ],
)
def test_an_unreachable_cluster_is_one_clear_message(
    small_problem: Problem, address: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        replay(small_problem, ["fifo"], [0], address=address)
    assert len(error.value.faults) == 1
    assert error.value.faults[0].file == "--address"


def test_a_stale_address_in_the_environment_is_named_as_such(
    small_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS: no Ray cluster answers there"):
        replay(small_problem, ["fifo"], [0])


def test_an_unknown_executor_is_refused(small_problem: Problem) -> None:
    with pytest.raises(InputError, match="unknown executor, got 'dask'; allowed: ray, processes"):
        replay(small_problem, ["fifo"], [0], executor="dask")


def test_nothing_to_do_gives_nothing(small_problem: Problem) -> None:
    assert replay(small_problem, [], [0]) == []


def test_fingerprint_is_the_same_in_another_process_and_differs_by_content(
    small_problem: Problem, small_files: tuple[Path, Path]
) -> None:
    code = (
        "import sys, scheduler\n"
        "from scheduler.execute import fingerprint\n"
        "print(fingerprint(scheduler.load(*sys.argv[1:])))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", code, *map(str, small_files)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == fingerprint(small_problem)
    loaded = scheduler_load_at(small_files, 0.5)
    assert fingerprint(loaded) != fingerprint(small_problem)


def scheduler_load_at(files: tuple[Path, Path], load: float) -> Problem:
    import scheduler

    return scheduler.load(*files, offered_load=load)


class TestBatches:
    """Sizes follow the measured times; nothing is lost, nothing is done twice."""

    def cells(self, **counts: int) -> list[Cell]:
        return [Cell(policy, seed) for policy, n in counts.items() for seed in range(n)]

    def test_first_cells_go_alone_one_per_policy(self) -> None:
        cells = self.cells(a=5, b=5)
        batches = Batches(cells, slots=2)
        first, second = batches.next(), batches.next()
        assert [len(first), len(second)] == [1, 1]
        assert {cells[first[0]].policy, cells[second[0]].policy} == {"a", "b"}

    def test_quick_cells_are_joined_until_they_last_long_enough(self) -> None:
        cells = self.cells(a=1000)
        batches = Batches(cells, slots=2)
        batches.record("a", len(batches.next()), 0.01)
        assert len(batches.next()) == 20  # 0.2 s of cells of 0.01 s

    def test_the_longest_cells_go_first_and_alone(self) -> None:
        cells = self.cells(quick=50, slow=50)
        batches = Batches(cells, slots=2)
        batches.record("quick", len(batches.next()), 0.01)
        batches.record("slow", len(batches.next()), 3.0)
        batch = batches.next()
        assert [cells[i].policy for i in batch] == ["slow"]

    @pytest.mark.parametrize("slots", [1, 3, 64])
    def test_every_cell_is_handed_out_once(self, slots: int) -> None:
        cells = self.cells(a=37, b=1, c=11)
        batches = Batches(cells, slots)
        handed: list[int] = []
        while batch := batches.next():
            handed += batch
            assert len({cells[i].policy for i in batch}) == 1
            batches.record(cells[batch[0]].policy, len(batch), 1e-4 * len(batch))
        assert sorted(handed) == list(range(len(cells)))
        assert len(batches) == 0
