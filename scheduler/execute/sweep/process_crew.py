"""Worker processes of this machine, from the standard library.

Each worker has a pipe of its own, so that the death of one says which cells died with it and
leaves the others alone, which a pool from the standard library does not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits
from scheduler.execute.cell import Settings
from scheduler.execute.sweep.crew import Batch, Report
from scheduler.execute.sweep.grid import Group
from scheduler.execute.sweep.guard import run_tasks


@dataclass(slots=True)
class _Worker:
    """A process, our end of its pipe, what it plays and which group's problem it holds."""

    process: SpawnProcess
    pipe: Connection[Any, Any]
    batch: Batch | None = None
    group: int = -1


class ProcessCrew:
    """As many processes as this one may use cores.

    Parameters
    ----------
    groups : sequence of Group
        What batches refer to.
    limits : Limits
        Of each cell.
    workers : int or None
        How many; None: one per core.
    """

    def __init__(
        self, groups: Sequence[Group], limits: Limits, *, workers: int | None = None
    ) -> None:
        self._groups = groups
        self._limits = limits
        self._size = workers or len(os.sched_getaffinity(0))
        # Spawned, not forked: a fork would copy the locks of threads that the solver may hold.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._waiting: deque[Batch] = deque()

    def room(self) -> int:
        """Return how many batches may be handed over: one more than there are workers."""
        busy = sum(1 for worker in self._workers if worker.batch)
        return self._size + 1 - busy - len(self._waiting)

    def workers(self) -> int:
        """Return the number of workers."""
        return self._size

    def submit(self, batch: Batch) -> None:
        """Keep the batch until a worker is idle."""
        self._waiting.append(batch)

    def wait(self, seconds: float) -> list[Report]:
        """Hand out what waits, and return what has come back within `seconds`."""
        self._hand_out()
        busy = [worker for worker in self._workers if worker.batch]
        ready = wait([worker.pipe for worker in busy], seconds)
        reports = [self._receive(worker) for worker in busy if worker.pipe in ready]
        self._hand_out()  # before the caller looks at what came back
        return reports

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()
        self._waiting.clear()

    def _receive(self, worker: _Worker) -> Report:
        assert worker.batch is not None
        number = worker.batch.number
        try:
            outcomes = worker.pipe.recv()
        except (EOFError, OSError):  # the other end of the pipe has died
            self._workers.remove(worker)
            worker.pipe.close()
            worker.process.join()
            return Report(number, (), lost=_ending(worker.process.exitcode))
        worker.batch = None
        return Report(number, tuple(outcomes))

    def _hand_out(self) -> None:
        idle = sum(1 for worker in self._workers if worker.batch is None)
        missing = min(self._size - len(self._workers), len(self._waiting) - idle)
        for _ in range(missing):  # all of them before the first is sent anything: it waits for that
            self._start()
        while self._waiting:
            worker = self._idle_worker(self._waiting[0].group)
            if worker is None:
                return
            worker.batch = self._waiting.popleft()
            group = worker.batch.group
            problem = None
            if worker.group != group:
                problem = (self._groups[group].problem, self._groups[group].settings)
                worker.group = group
            with suppress(OSError):  # it has died: reading from it will tell
                worker.pipe.send((problem, worker.batch.tasks))

    def _idle_worker(self, group: int) -> _Worker | None:
        """Return an idle worker, one that holds the group's problem if there is one."""
        idle = [worker for worker in self._workers if worker.batch is None]
        return next((worker for worker in idle if worker.group == group), (*idle, None)[0])

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._limits), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed (signal {-code})"
    return f"its process ended (code {code})"


def _serve(pipe: Connection[Any, Any], limits: Limits) -> None:
    """Play batches until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    held: tuple[Problem, Settings] | None = None
    try:
        while True:
            problem, tasks = pipe.recv()
            held = problem or held
            assert held is not None
            pipe.send(run_tasks(held[0], held[1], tasks, limits))
    except (EOFError, OSError):
        return
