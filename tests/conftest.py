"""A small fleet with a small workload, for tests that need the whole path but not its weight."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import scheduler
from scheduler.cli import main
from scheduler.core.problem import Problem

# Examples are drawn the same way on every run, and slow machines are no failures.
settings.register_profile("fleetfit", derandomize=True, deadline=None)
settings.load_profile("fleetfit")

CHECKOUT = Path(__file__).resolve().parents[1]

SMALL_TOPOLOGY = """\
schema: topology/1
title: "Small: 16 A100 and 16 T4"
spine_latency: 8 us
sites:
  - {name: main, pue: 1.2, tariff: 0.1 USD/kWh, carbon: 400 g/kWh}
pods:
  - name: west
    site: main
    uplink: 400 Gbit/s
    fabric: {kind: fat_tree, nodes_per_leaf: 4, taper: 1, latency: 3 us}
    nodes:
      - {accelerator: A100-80GB-SXM, nodes: 2, per_node: 8, nic: 200 Gbit/s}
      - {accelerator: T4, nodes: 4, per_node: 4, nic: 50 Gbit/s}
"""

SMALL_WORKLOAD = """\
schema: workload/1
title: Forty jobs of three classes
classes:
  - {name: big, run_time: {reference: A100-80GB-SXM}, gang: 16, accelerators: [A100-80GB-SXM]}
  - {name: mid, run_time: {reference: A100-80GB-SXM}, gang: 4, accelerators: [A100-80GB-SXM]}
  - {name: tiny, run_time: {reference: T4}, gang: 1, accelerators: [T4]}
jobs:
  - {id: b, class: big, run_time: 2 h, release: 10 min, every: 3 h, count: 4}
  - {id: m, class: mid, run_time: 1 h, release: 0 s, every: 20 min, count: 18}
  - {id: t, class: tiny, run_time: 4 h, release: 5 min, every: 15 min, count: 18}
"""


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
