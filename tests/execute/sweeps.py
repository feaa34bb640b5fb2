"""What tests of sweeps share: small files, a plug-in of policies that misbehave."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from conftest import SMALL_TOPOLOGY, SMALL_WORKLOAD

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


class Slow(Fifo):
    """Takes half a second, like a larger problem."""

    def __init__(self):
        super().__init__()
        self.slept = False

    def decide(self, view):
        if not self.slept:
            self.slept = True
            time.sleep(0.5)
        super().decide(view)
'''

NAMES = ("raises", "hangs", "stubborn", "eats", "dies", "dies_once", "slow")


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
