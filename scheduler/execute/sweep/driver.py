"""Plays the cells of a sweep on a crew: hands out, writes down, tries again, stops early."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.core.metrics import Interval
from scheduler.core.sweep import Limits, Until
from scheduler.execute.batches import Batches
from scheduler.execute.cell import Cell, ReplayResult
from scheduler.execute.stopping import Stopping
from scheduler.execute.sweep.crew import Batch, Crew, Report
from scheduler.execute.sweep.folder import SweepFolder
from scheduler.execute.sweep.grid import Grid, Place
from scheduler.execute.sweep.guard import Kind, Outcome, Task
from scheduler.execute.sweep.index import Row, now
from scheduler.io.cells import CellRecord, cell_from_text

SHOWN_METRIC: Final = "mean_jct_s"
"""Whose running interval is shown where the sweep names no other."""

LOST_MACHINES: Final = 10
"""Machines that may be lost under one cell before it counts as failed."""

_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that was given up.

    Parameters
    ----------
    place : Place
        Which.
    kind : str
        How its last attempt ended.
    message : str
        In one line.
    details : str
        End of the traceback, where there is one.
    attempts : int
        How often it was tried.
    """

    place: Place
    kind: Kind
    message: str
    details: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sweep has come; given to `progress` after each cell.

    Parameters
    ----------
    done, failed, total : int
        Cells; the total falls when a group stops early.
    reused : int
        Of those done, how many an earlier sweep had finished.
    latest : Place or None
        Cell that came back last.
    metric : str
        Whose interval `interval` is.
    interval : Interval or None
        Of that cell's group and policy by now.
    """

    done: int
    failed: int
    total: int
    reused: int
    latest: Place | None
    metric: str
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep that has ended.

    Parameters
    ----------
    results : mapping of Place to ReplayResult
        Finished cells that count, in the order of the grid.
    failures : tuple of Failure
        In the order of the grid.
    needed : tuple of int
        Seeds that each group needed.
    reused : int
        Cells that an earlier sweep had finished.
    complete : bool
        Whether no cell is missing but those that failed.
    """

    results: Mapping[Place, ReplayResult]
    failures: tuple[Failure, ...]
    needed: tuple[int, ...]
    reused: int
    complete: bool


@dataclass(slots=True)
class _Attempts:
    """What befell a cell so far."""

    started: int = 0
    machines_lost: int = 0


def run_sweep(
    grid: Grid,
    folder: SweepFolder,
    crew: Callable[[], Crew],
    *,
    limits: Limits,
    until: Until | None = None,
    progress: Callable[[Standing], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> SweepResult:
    """Play what is missing of a sweep and return all of it.

    Parameters
    ----------
    grid : Grid
        What there is to play.
    folder : SweepFolder
        Where results lie, entered.
    crew : callable
        Makes the crew; not called if nothing is missing.
    limits : Limits
        How often a cell is tried.
    until : Until or None
        When to stop early.
    progress : callable or None
        Called after each cell.
    stopping : callable
        Once it says True no more cells are started, and those that run are waited for.

    Raises
    ------
    InputError
        A result cannot be written; those written before are in order.
    ExecutionError
        The crew failed.
    """
    return _Sweep(grid, folder, limits, until, progress).run(crew, stopping)


class _Sweep:
    """One sweep under way."""

    def __init__(
        self,
        grid: Grid,
        folder: SweepFolder,
        limits: Limits,
        until: Until | None,
        progress: Callable[[Standing], None] | None,
    ) -> None:
        self.grid, self.folder, self.limits = grid, folder, limits
        self.metric = until.metric if until else SHOWN_METRIC
        self.ordered = until is not None
        self.progress = progress
        self.places: dict[str, list[Place]] = {}
        for place, task in grid.tasks.items():
            self.places.setdefault(task.key, []).append(place)
        sizes = (len(grid.policies), len(grid.seeds))
        self.rules = [Stopping(*sizes, until) for _ in grid.groups]
        self.records: dict[str, CellRecord] = {}
        self.failures: dict[str, Failure] = {}
        self.attempts: dict[str, _Attempts] = {}
        self.flying: dict[int, Batch] = {}
        self.again: deque[Place] = deque()
        self.total = len(self.places)
        self.reused = 0
        self.sent = 0

    def run(self, crew: Callable[[], Crew], stopping: Callable[[], bool]) -> SweepResult:
        self.folder.describe(self.grid.describe())
        self._take_up()
        missing = [p for p in self._firsts() if self._wanted(p)]
        if missing and not stopping():
            workers = crew()
            try:
                self._play(workers, missing, stopping)
            finally:
                workers.close()
        return self._close()

    # --- what is there already -----------------------------------------------------------

    def _take_up(self) -> None:
        """Count in what the folder holds, and list it in the index if that lost it."""
        self.records = self.folder.finished(self.places)
        self.reused = len(self.records)
        for key, record in self.records.items():
            self._count(key, _figure(record, self.metric))
        known = {row.key for row in self.folder.index.rows() if row.state == "done"}
        lost = [key for key in self.records if key not in known]
        self.folder.note(self._row(key, "done", None) for key in lost)
        self._show(None)

    def _firsts(self) -> list[Place]:
        """Return the first place of each cell: those of equal content are played once."""
        return [places[0] for places in self.places.values()]

    def _wanted(self, place: Place) -> bool:
        """Return whether a cell is neither done nor given up, and any of its places counts."""
        key = self.grid.tasks[place].key
        if key in self.records or key in self.failures:
            return False
        return any(p.seed < self.rules[p.group].needed for p in self.places[key])

    # --- the loop ------------------------------------------------------------------------

    def _play(self, crew: Crew, missing: list[Place], stopping: Callable[[], bool]) -> None:
        # Batches tell cells apart by policy; here what takes equally long is group and policy.
        kinds = [Cell(f"{p.group}/{p.policy}", p.seed) for p in missing]
        batches = Batches(kinds, crew.workers(), slowest_first=not self.ordered)
        while True:
            while not stopping() and crew.room() > 0:
                batch = self._next(batches, missing)
                if batch is None:
                    break
                self.flying[batch.number] = batch
                crew.submit(batch)
            if not self.flying:
                return
            reports = [(self.flying.pop(r.number), r) for r in crew.wait(_POLL_S)]
            self._write_down(reports)
            for batch, report in reports:
                if report.outcomes:
                    place = self.places[batch.tasks[0].key][0]
                    seconds = math.fsum(o.seconds for o in report.outcomes)
                    kind = f"{place.group}/{place.policy}"
                    batches.record(kind, len(report.outcomes), seconds)

    def _next(self, batches: Batches, missing: list[Place]) -> Batch | None:
        """Return the next batch of cells that are still wanted; cells tried before go alone."""
        while self.again:
            place = self.again.popleft()
            if self._wanted(place):
                return self._batch([place])
        while indices := batches.next():
            places = [missing[i] for i in indices if self._wanted(missing[i])]
            if places:
                return self._batch(places)
        return None

    def _batch(self, places: list[Place]) -> Batch:
        tasks = tuple(self.grid.tasks[p] for p in places)
        for task in tasks:
            self.attempts.setdefault(task.key, _Attempts()).started += 1
        self.sent += 1
        return Batch(self.sent, places[0].group, tasks)

    # --- what comes back -----------------------------------------------------------------

    def _write_down(self, reports: Sequence[tuple[Batch, Report]]) -> None:
        """Write what is done, then take note of it and of what is to be tried again."""
        ended = []
        for batch, report in reports:
            lost = Outcome("lost", message=report.lost)
            outcomes = report.outcomes or (lost,) * len(batch.tasks)
            # Of several cells that were lost together, nobody knows which was to blame.
            blameless = report.blameless or (not report.outcomes and len(batch.tasks) > 1)
            for task, outcome in zip(batch.tasks, outcomes, strict=True):
                if not self._wanted(self.places[task.key][0]):
                    continue  # its group has stopped meanwhile
                if outcome.kind != "done" and self._may_try_again(task, outcome, blameless):
                    self.again.append(self.places[task.key][0])
                else:
                    ended.append((task, outcome))
        if ended:
            self.folder.write({t.key: o.text for t, o in ended if o.kind == "done"})
            self.folder.note([self._end(task, outcome) for task, outcome in ended])

    def _end(self, task: Task, outcome: Outcome) -> Row:
        """Take note of a cell that is done or given up; return its row of the index."""
        place = self.places[task.key][0]
        if outcome.kind == "done":
            record = self.records[task.key] = cell_from_text(outcome.text)
            self._count(task.key, _figure(record, self.metric))
        else:
            started = self.attempts[task.key].started
            self.failures[task.key] = Failure(
                place, outcome.kind, outcome.message, outcome.details, started
            )
            self._count(task.key, None)
        self._show(place)
        state = "done" if outcome.kind == "done" else "failed"
        return self._row(task.key, state, outcome)

    def _may_try_again(self, task: Task, outcome: Outcome, blameless: bool) -> bool:
        """A cell that raised would raise again; one that was lost need not be lost again."""
        attempts = self.attempts[task.key]
        if blameless:
            attempts.machines_lost += 1
            return attempts.machines_lost <= LOST_MACHINES
        tries = attempts.started - attempts.machines_lost
        return outcome.kind != "raised" and tries <= self.limits.retries

    def _count(self, key: str, value: float | None) -> None:
        for place in self.places[key]:
            rule = self.rules[place.group]
            before = rule.needed
            rule.add(place.policy, place.seed, value)
            if rule.needed != before:
                self.total = self._total()

    def _row(self, key: str, state: str, outcome: Outcome | None) -> Row:
        place = self.places[key][0]
        group, cell = self.grid.groups[place.group], self.grid.tasks[place].cell
        started = self.attempts[key].started if key in self.attempts else 0
        return Row(
            key,
            group.cluster,
            group.workload,
            group.scenario,
            cell.policy,
            cell.seed,
            state,
            started,
            outcome.seconds if outcome else None,
            outcome.host if outcome else "",
            now(),
            outcome.message if outcome else "",
            outcome.details if outcome else "",
        )

    # --- what is shown and returned ------------------------------------------------------

    def _show(self, latest: Place | None) -> None:
        if self.progress is None:
            return
        found = self.rules[latest.group].interval(latest.policy) if latest else None
        done, failed = len(self.records), len(self.failures)
        standing = Standing(done, failed, self.total, self.reused, latest, self.metric, found)
        self.progress(standing)

    def _total(self) -> int:
        """Return how many cells there will be, as far as that is known."""
        return sum(
            any(p.seed < self.rules[p.group].needed for p in places)
            or key in self.records
            or key in self.failures
            for key, places in self.places.items()
        )

    def _close(self) -> SweepResult:
        counted = {
            place: self.grid.tasks[place].key
            for place in self.grid.tasks
            if place.seed < self.rules[place.group].needed
        }
        keys = set(counted.values())
        complete = all(key in self.records or key in self.failures for key in keys)
        if complete:  # played ahead of a seed that turned out to be enough
            self.folder.remove([key for key in self.records if key not in keys])
        return SweepResult(
            {
                place: _result(self.grid.tasks[place], self.records[key])
                for place, key in counted.items()
                if key in self.records
            },
            tuple(self.failures[key] for key in self.places if key in self.failures),
            tuple(rule.needed for rule in self.rules),
            self.reused,
            complete,
        )


def _figure(record: CellRecord, metric: str) -> float:
    return float(getattr(record.metrics, metric))


def _result(task: Task, record: CellRecord) -> ReplayResult:
    return ReplayResult(
        task.cell,
        record.inputs["information"],
        record.horizon_us,
        record.end_us,
        record.metrics,
        record.ledger,
        record.bounds,
        record.violations,
    )
