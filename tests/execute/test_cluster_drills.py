"""Drills on a Ray cluster of four nodes on this machine, which runs in a process of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sweeps import (
    PATIENCE_S,
    Gate,
    environment,
    files_of,
    install_misbehaving,
    run,
    started,
    write_sweep,
)

pytestmark = [pytest.mark.slow, pytest.mark.ray]

HELD_UP: dict[str, str] = {
    # A busy machine may take long to start a node; Ray's own patience is a few seconds.
    "RAY_NUM_REDIS_GET_RETRIES": "60",
    "RAY_gcs_server_port_wait_time_s": "60",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_USAGE_STATS_ENABLED": "0",
}
STARTS = 3


class Nodes:
    """A Ray cluster of four nodes, hosted by a process of its own."""

    def __init__(self, plugins: Path, gate: Gate, log: Path) -> None:
        self._log = log
        with log.open("w") as err:
            self._host = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("ray_nodes.py"), "4"],
                env=environment(plugins, **gate.environment, **HELD_UP),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.address = self._answer()

    def kill(self, node: int) -> None:
        """Kill -9 every process of a node."""
        assert self._host.stdin is not None
        self._host.stdin.write(f"{node}\n")
        self._host.stdin.flush()
        assert self._answer() == node

    def _answer(self) -> Any:
        assert self._host.stdout is not None
        line = self._host.stdout.readline()
        if not line:
            self.end()
            raise ChildProcessError(self._log.read_text())
        return json.loads(line)

    def end(self) -> None:
        self._host.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_misbehaving(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def nodes(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, Gate]]:
    """Only the start is tried again: what is tested is not."""
    folder = tmp_path_factory.mktemp("nodes")
    gate = Gate(folder / "gate")
    for attempt in range(STARTS):
        try:
            made = Nodes(plugins, gate, folder / f"log-{attempt}")
            break
        except ChildProcessError:
            if attempt == STARTS - 1:
                raise
    yield made, gate
    gate.remove()
    made.end()


class TestCluster:
    def test_a_node_of_four_dies(
        self, nodes: tuple[Nodes, Gate], tmp_path: Path, plugins: Path
    ) -> None:
        """While each node plays a cell; the one that dies never finishes its own."""
        cluster, gate = nodes
        file = write_sweep(
            tmp_path, "policies: [gated]\nseeds: 40\nscenarios: [{name: n, noise: 0.3}]\n"
        )
        with started(
            file, tmp_path / "out", "ray", plugins, tmp_path / "s", "--address", cluster.address
        ) as sweep:
            gate.let(5)
            sweep.until_cells(5)
            sweep.until(
                "all nodes play",
                lambda: {name.split("-")[1] for name in gate.waiting()} >= {*"0123"},
            )
            cluster.kill(2)
            gate.open()
            assert sweep.process.wait(PATIENCE_S) == 0, sweep.printed("err")
        rows = sqlite3.connect(tmp_path / "out" / "index.sqlite").execute(
            "select state, count(*), max(attempts) >= 2 from cells group by state"
        )
        assert list(rows) == [("done", 40, 1)]
        assert run(file, "-o", tmp_path / "quiet", "--executor", "local", plugins=plugins)
        assert files_of(tmp_path / "out") == files_of(tmp_path / "quiet")

    def test_a_cluster_of_another_version_is_named_and_cells_stay(
        self, nodes: tuple[Nodes, Gate], tmp_path: Path, plugins: Path
    ) -> None:
        file = write_sweep(tmp_path, "policies: [fifo]\nseeds: 3\n", short=True)
        out = tmp_path / "out"
        assert run(file, "-o", out, "--executor", "local", plugins=plugins).returncode == 0
        before = files_of(out)
        file.write_text(file.read_text().replace("seeds: 3", "seeds: 5"))
        address = nodes[0].address
        older = "import ray; ray.__version__ = '2.52.1'; from scheduler.cli import main; main()"
        words = ("sweep", file, "-o", out, "--resume", "--address", address)
        stale = subprocess.run(
            [sys.executable, "-c", older, *words],
            env=environment(plugins),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (stale.returncode, stale.stdout) == (2, "")
        hint, message = stale.stderr.splitlines()
        assert hint.startswith("3 finished cells are kept; to go on: fleetfit sweep ")
        assert "--address: cannot join the Ray cluster: Version mismatch" in message
        assert "Ray: 2.52.1" in message
        assert f"Ray: {version('ray')}" in message
        assert {n: b for n, b in files_of(out).items() if n != "grid.json"} == {
            n: b for n, b in before.items() if n != "grid.json"
        }
