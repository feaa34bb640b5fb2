"""What tests of sweeps share: small files, policies that misbehave, a gate that cells wait at."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from small_inputs import SMALL_TOPOLOGY, SMALL_WORKLOAD

PATIENCE_S = 120.0
"""How long anything may take before a test fails; far longer than it does take."""

MISBEHAVING = '''\
"""Policies that do what no policy should, when the run's first job is of some work."""

import os, signal, time
from scheduler.policies.fifo import Fifo


class Raises(Fifo):
    def decide(self, view):
        raise ValueError("this policy always fails")


class Hangs(Fifo):
    def decide(self, view):
        while True:
            time.sleep(0.01)


class Stubborn(Fifo):
    """Cannot be interrupted by a signal."""

    def decide(self, view):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            time.sleep(0.01)


class Eats(Fifo):
    def decide(self, view):
        eaten = []
        while True:
            eaten.append(bytearray(b"x" * 2**24))


class Dies(Fifo):
    def decide(self, view):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce(Fifo):
    """Kills its worker the first time that any cell is played."""

    def decide(self, view):
        try:
            os.close(os.open(os.environ["FLEETFIT_TEST_ONCE"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().decide(view)
        os.kill(os.getpid(), signal.SIGKILL)


class Gated(Fifo):
    """Waits at the gate, where there is one, before it decides for the first time.

    It then takes so long that no cell shares its batch with another.
    """

    def __init__(self):
        super().__init__()
        self.passed = "FLEETFIT_TEST_GATE" not in os.environ

    def decide(self, view):
        if not self.passed:
            self.passed = True
            pass_gate(os.environ["FLEETFIT_TEST_GATE"])
        super().decide(view)


def pass_gate(gate):
    """Use up a pass, or find the gate open. Without the gate nobody waits for this process."""
    node = os.environ.get("FLEETFIT_TEST_NODE", "here")
    mine = f"waiting-{node}-{os.getpid()}"
    time.sleep(0.21)
    try:
        os.close(os.open(os.path.join(gate, mine), os.O_CREAT | os.O_WRONLY))
        while True:
            found = os.listdir(gate)
            if "open" in found:
                break
            passes = [name for name in found if name.startswith("pass-")]
            if any(used(os.path.join(gate, name)) for name in passes):
                break
            time.sleep(0.005)
        os.unlink(os.path.join(gate, mine))
    except FileNotFoundError:
        os._exit(9)


def used(name):
    try:
        os.unlink(name)
    except FileNotFoundError:
        return False  # another cell was faster
    return True
'''

NAMES = ("raises", "hangs", "stubborn", "eats", "dies", "dies_once", "gated")


def install_misbehaving(folder: Path) -> Path:
    """Make a distribution of those policies in `folder`, found when that is on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "misbehaving.py").write_text(MISBEHAVING)
    info = folder / "misbehaving-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    lines = [f"{n} = misbehaving:{n.title().replace('_', '')}" for n in NAMES]
    (info / "entry_points.txt").write_text("\n".join(["[fleetfit.policies]", *lines, ""]))
    return folder


def write_sweep(folder: Path, text: str, *, short: bool = False) -> Path:
    """Write a sweep file and the small fleet and workload it names; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.yaml").write_text(SMALL_TOPOLOGY)
    workload = SMALL_WORKLOAD
    if short:  # a few milliseconds a cell
        workload = workload.replace("count: 18", "count: 3").replace("count: 4", "count: 1")
    (folder / "jobs.yaml").write_text(workload)
    path = folder / "sweep.yaml"
    head = "schema: sweep/1\ntitle: A test\nclusters: [small.yaml]\nworkloads: [jobs.yaml]\n"
    path.write_text(head + text)
    return path


class Gate:
    """Where cells of the policy ``gated`` wait, so that a test decides when they go on.

    Parameters
    ----------
    path : Path
        A folder that is not there yet.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self._issued = 0

    @property
    def environment(self) -> dict[str, str]:
        """What tells the policy where the gate is."""
        return {"FLEETFIT_TEST_GATE": str(self.path)}

    def let(self, cells: int) -> None:
        """Let so many cells more pass, one each."""
        for _ in range(cells):
            self._issued += 1
            (self.path / f"pass-{self._issued}").touch()

    def open(self) -> None:
        """Let all pass from now on."""
        (self.path / "open").touch()

    def waiting(self) -> list[str]:
        """Return the names that processes at the gate wait under."""
        return sorted(p.name for p in self.path.glob("waiting-*"))

    def remove(self) -> None:
        """Take the gate away: processes that a killed driver has left there end."""
        aside = self.path.with_suffix(".gone")
        self.path.rename(aside)
        shutil.rmtree(aside)


def wait_until(what: Callable[[], object]) -> None:
    """Wait for `what` to hold, and fail where it does not for far longer than it may take."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def command(*words: str | Path) -> list[str]:
    """Return the command line of `fleetfit` with these words."""
    return [sys.executable, "-m", "scheduler", *map(str, words)]


def environment(plugins: Path | None = None, **more: str) -> dict[str, str]:
    """Return the environment for `command`."""
    paths = [str(plugins)] if plugins else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120", **more}


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files that must be the same bytes from sweep to sweep."""
    found = {p.name: p.read_bytes() for p in sorted((folder / "cells").iterdir())}
    return found | {"grid.json": (folder / "grid.json").read_bytes()}


def run(*words: str | Path, plugins: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("sweep", *words),
        env=environment(plugins),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Started:
    """A sweep of cells that wait at a gate, in a process group of its own.

    Parameters
    ----------
    file, folder : Path
        Sweep file, and where its results go.
    executor : str
        Who plays the cells.
    plugins : Path
        Where the policy lies that waits.
    scratch : Path
        Folder for the gate and what the sweep prints.
    words : str
        Further words of the command.
    """

    def __init__(
        self, file: Path, folder: Path, executor: str, plugins: Path, scratch: Path, *words: str
    ) -> None:
        scratch.mkdir(parents=True)
        self.folder = folder
        self.gate = Gate(scratch / "gate")
        self._printed = {name: scratch / name for name in ("out", "err")}
        with self._printed["out"].open("w") as out, self._printed["err"].open("w") as err:
            self.process = subprocess.Popen(
                command("sweep", file, "-o", folder, "--executor", executor, *words),
                env=environment(plugins, **self.gate.environment),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def printed(self, name: str) -> str:
        return self._printed[name].read_text()

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait for something that must happen while the sweep runs."""

        def or_ended() -> bool:
            assert self.process.poll() is None, f"ended before {what}: {self.printed('err')}"
            return bool(holds())

        wait_until(or_ended)

    def until_cells(self, count: int) -> None:
        """Wait for so many finished cells on disk."""
        self.until(f"{count} cells", lambda: cells_in(self.folder) >= count)

    def interrupt(self) -> None:
        """Press Ctrl-C, which reaches every process of the terminal's foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        self.process.kill()
        self.process.wait()
        self.gate.remove()


@contextmanager
def started(*given: Path | str) -> Iterator[Started]:
    """A sweep that is ended with the block."""
    one = Started(*given)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        one.end()


def cells_in(folder: Path) -> int:
    return sum(1 for _ in (folder / "cells").glob("*.json"))
