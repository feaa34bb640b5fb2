"""A small fleet with a small workload, for tests that need the whole path but not its weight."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from small_inputs import SMALL_TOPOLOGY, SMALL_WORKLOAD

import scheduler
from scheduler.cli import main
from scheduler.core.problem import Problem

# Examples are drawn the same way on every run, and slow machines are no failures.
settings.register_profile("fleetfit", derandomize=True, deadline=None)
settings.load_profile("fleetfit")

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.append(str(CHECKOUT))  # the benches; last, so that the installed package is tested


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Topology and workload file of the small problem."""
    folder = tmp_path_factory.mktemp("small")
    topology, workload = folder / "small.yaml", folder / "forty.yaml"
    topology.write_text(SMALL_TOPOLOGY)
    workload.write_text(SMALL_WORKLOAD)
    return topology, workload


@pytest.fixture(scope="session")
def small_problem(small_files: tuple[Path, Path]) -> Problem:
    """32 accelerators of two types, 40 jobs of three classes."""
    return scheduler.load(*small_files)


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process; return exit code, standard output, standard error."""

    def run(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fleetfit", *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A local Ray that the tests of one worker process share; started by the first replay."""
    pytest.importorskip("ray", reason="Ray has no wheel for this platform")
    yield
    import ray

    ray.shutdown()
