"""The executor on a pool of processes of this machine, from the standard library."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from scheduler.core.problem import Problem
from scheduler.execute.batches import Batches
from scheduler.execute.cell import Cell, ExecutionError, ReplayResult, Settings, run_batch

_shared: tuple[Problem, Settings] | None = None
"""Set once per worker process, so that the problem is sent once and not with each batch."""


def stream(
    problem: Problem, cells: Sequence[Cell], settings: Settings, *, ordered: bool = False
) -> Generator[tuple[int, ReplayResult]]:
    """Yield the position and result of each cell, as they finish.

    Parameters
    ----------
    problem, cells, settings
        What to run.
    ordered : bool
        Whether cells should finish about as listed, policies side by side.

    Raises
    ------
    ExecutionError
        A worker process died (killed, or out of memory).
    """
    workers = min(len(cells), len(os.sched_getaffinity(0)))
    before = set(multiprocessing.active_children())
    # Spawned, not forked: a fork would copy the locks of threads that the solver may hold.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_initialise,
        initargs=(problem, settings),
    )
    try:
        yield from _drain(pool, cells, workers, ordered)
    except BrokenProcessPool:
        raise ExecutionError(
            "a worker process died, perhaps for lack of memory; "
            "fewer jobs (--select) or --executor local needs less"
        ) from None
    except BaseException:  # Ctrl-C, or the reader stopped: do not wait for running cells
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _drain(
    pool: ProcessPoolExecutor, cells: Sequence[Cell], workers: int, ordered: bool
) -> Iterator[tuple[int, ReplayResult]]:
    batches = Batches(cells, workers, slowest_first=not ordered)
    flying: dict[Future[tuple[float, list[ReplayResult]]], tuple[int, ...]] = {}
    while True:
        while len(flying) <= workers and (batch := batches.next()):
            flying[pool.submit(_run, [cells[i] for i in batch])] = batch
        if not flying:
            return
        for future in wait(flying, return_when=FIRST_COMPLETED).done:
            batch = flying.pop(future)
            seconds, results = future.result()
            batches.record(cells[batch[0]].policy, len(batch), seconds)
            yield from zip(batch, results, strict=True)


def _initialise(problem: Problem, settings: Settings) -> None:
    global _shared  # noqa: PLW0603  (the documented way to hand data to a pool)
    _shared = (problem, settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle


def _run(cells: Sequence[Cell]) -> tuple[float, list[ReplayResult]]:
    assert _shared is not None
    return run_batch(_shared[0], cells, _shared[1])
