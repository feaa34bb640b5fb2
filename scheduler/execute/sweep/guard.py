"""Runs the cells of a batch inside a worker, each under limits, and never raises.

A cell that raises, takes too long or asks for too much memory becomes an `Outcome` that says
so; the rest of its batch goes on. Where Python cannot interrupt a cell (a loop inside a C
library), the process ends itself, and whoever started it sees a lost worker.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits
from scheduler.execute.cell import Cell, ReplayResult, Settings, run_cell
from scheduler.io.cells import CellRecord, cell_text

GRACE_S: Final = 5.0
"""Time between asking a cell to stop and ending its process."""

RING_AGAIN_S: Final = 1.0
"""Time between two signals that ask a cell to stop."""

_MESSAGE_LENGTH: Final = 500
_TRACEBACK_LINES: Final = 40

Kind = Literal["done", "raised", "timeout", "memory", "lost"]


@dataclass(frozen=True, slots=True)
class Task:
    """A cell on its way to a worker: what to play, and what to write beside the result."""

    key: str
    cell: Cell
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt at a cell.

    Parameters
    ----------
    kind : str
        ``done``, ``raised``, ``timeout``, ``memory``, or ``lost`` with its worker.
    text : str
        Of the cell's file, where it is done.
    message : str
        One line for people, where it is not.
    details : str
        End of the traceback, where there is one.
    seconds : float
        What the attempt took.
    host : str
        Where it ran.
    """

    kind: Kind
    text: str = ""
    message: str = ""
    details: str = ""
    seconds: float = 0.0
    host: str = ""


class _TimeIsUp(BaseException):
    """A cell has run for longer than it may; no Exception, so that a policy cannot catch it."""


def run_tasks(
    problem: Problem,
    settings: Settings,
    tasks: Sequence[Task],
    limits: Limits,
    *,
    own_process: bool = True,
) -> list[Outcome]:
    """Play several cells of one problem; one outcome each, in order.

    Parameters
    ----------
    problem, settings
        What the cells share.
    tasks : sequence of Task
        What to play.
    limits : Limits
        Of each cell.
    own_process : bool
        Whether this process may be ended to bound a cell that nothing else stops.
    """
    host = socket.gethostname()
    return [_run(problem, settings, task, limits, host, own_process) for task in tasks]


def _run(
    problem: Problem,
    settings: Settings,
    task: Task,
    limits: Limits,
    host: str,
    own_process: bool,
) -> Outcome:
    start = time.perf_counter()

    def outcome(kind: Kind, text: str = "", error: BaseException | None = None) -> Outcome:
        message = details = ""
        if error is not None:
            message = f"{type(error).__name__}: {error}".splitlines()[0][:_MESSAGE_LENGTH]
            lines = traceback.format_exception(error)
            details = "".join(lines[-_TRACEBACK_LINES:])
        seconds = time.perf_counter() - start
        return Outcome(kind, text, message, details, seconds, host)

    try:
        with _time_limit(limits.timeout_s, own_process), _memory_limit(limits.memory_bytes):
            text = cell_text(_record(task, run_cell(problem, task.cell, settings)))
    except _TimeIsUp as error:
        return outcome("timeout", error=error)
    except MemoryError as error:
        return outcome("memory", error=error)
    except Exception as error:
        return outcome("raised", error=error)
    return outcome("done", text)


def _record(task: Task, result: ReplayResult) -> CellRecord:
    return CellRecord(
        task.key,
        task.inputs,
        result.horizon_us,
        result.end_us,
        result.metrics,
        result.ledger,
        result.bounds,
        result.violations,
    )


@contextmanager
def _time_limit(seconds: float, own_process: bool) -> Iterator[None]:
    """Raise `_TimeIsUp` after `seconds`; end the process if that does not help.

    The signal interrupts Python code; the process is ended from a thread that needs no
    interpreter lock.
    """
    over = False

    def ring(signum: int, frame: FrameType | None) -> None:
        if not over:
            raise _TimeIsUp(f"took longer than {seconds:g} s")

    rings = threading.current_thread() is threading.main_thread()
    with Path(os.devnull).open("w") as nowhere:
        if own_process:
            end_after = seconds + GRACE_S if rings else seconds
            faulthandler.dump_traceback_later(end_after, exit=True, file=nowhere)
        if rings:
            before = signal.signal(signal.SIGALRM, ring)
            # Again and again: what is raised where Python drops it, in a destructor, is lost.
            other_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds, RING_AGAIN_S)
            start_s = time.monotonic()
        try:
            yield
        finally:
            over = True
            if rings:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)
                if other_s:  # somebody else had set the alarm clock
                    left_s = other_s - (time.monotonic() - start_s)
                    signal.setitimer(signal.ITIMER_REAL, max(left_s, 0.001))
            if own_process:
                faulthandler.cancel_dump_traceback_later()


@contextmanager
def _memory_limit(more_bytes: float) -> Iterator[None]:
    """Let this process take `more_bytes` beyond what it has; then allocations raise."""
    held = _data_bytes()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(held + more_bytes)
    hard = before[1]
    if not held or (hard != resource.RLIM_INFINITY and wanted >= hard):
        yield  # not Linux, or a stricter limit holds already
        return
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """Return the private writable memory of this process, 0 where that cannot be told."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
