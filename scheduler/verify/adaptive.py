"""Checks a run of adaptive jobs against the definitions, by its own code.

Rebuilt from the measured rows, not from the tables the simulator uses: who holds which
accelerators, whether shapes are legal, what a start costs, how far each epoch gets, and when
each job ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scheduler.core.adaptive import (
    AdaptiveProblem,
    AdaptiveRun,
    Application,
    Shape,
    StepTimes,
    Stint,
)
from scheduler.core.run import Violation
from scheduler.core.workload import FloatArray

MOST_NODES = 16
TOLERANCE = 1e-6


def verify_adaptive(
    problem: AdaptiveProblem, run: AdaptiveRun, *, rigid: bool = False
) -> list[Violation]:
    """Return every rule that a run breaks; empty if none.

    Parameters
    ----------
    problem : AdaptiveProblem
        What was asked.
    run : AdaptiveRun
        What happened.
    rigid : bool
        Whether gangs and batches must be those submitted; else gangs must be powers of two
        inside a node or whole nodes.
    """
    if len(run.finished_s) != len(problem.jobs) or len(run.restarts) != len(problem.jobs):
        return [Violation("run", f"{len(run.finished_s)} ends of {len(problem.jobs)} jobs")]
    found = [v for stint in run.stints for v in _stint(problem, run, stint, rigid)]
    if found:
        return found
    found = list(_capacity(problem, run))
    by_job: list[list[Stint]] = [[] for _ in problem.jobs]
    for stint in run.stints:
        by_job[stint.job].append(stint)
    truth = _Truth(problem)
    for job, stints in enumerate(by_job):
        found += _life(problem, run, job, sorted(stints, key=lambda s: s.start_s), truth)
    return found


def _stint(
    problem: AdaptiveProblem, run: AdaptiveRun, stint: Stint, rigid: bool
) -> Iterator[Violation]:
    """Check one stint by itself."""
    if not (0 <= stint.job < len(problem.jobs) and 0 <= stint.group < len(problem.groups)):
        yield Violation("names", f"job {stint.job}, group {stint.group}")
        return
    job, group = problem.jobs[stint.job], problem.groups[stint.group]
    who = f"{job.id} at {stint.start_s} s"
    sane = len(stint.shape) == len(stint.nodes) == len(set(stint.nodes)) > 0
    if not sane or any(not 0 <= n < group.nodes for n in stint.nodes):
        yield Violation("nodes", f"{who}: {stint.shape} on {stint.nodes}")
    if any(not 1 <= count <= group.per_node for count in stint.shape):
        yield Violation("shape", f"{who}: {stint.shape} on nodes of {group.per_node}")
    gang = sum(stint.shape)
    if rigid:
        legal = gang == job.accelerators
    elif len(stint.shape) == 1:
        legal = gang == group.per_node or (gang & (gang - 1)) == 0
    else:
        legal = all(count == group.per_node for count in stint.shape)
    if not legal:
        yield Violation("gang", f"{who}: {stint.shape}")
    if stint.start_s % run.round_s or stint.end_s % run.round_s or stint.end_s <= stint.start_s:
        yield Violation("rounds", f"{who}: until {stint.end_s} s in rounds of {run.round_s} s")
    if stint.start_s < job.release_s:
        yield Violation("release", f"{who}: submitted at {job.release_s} s")
    if not 0 <= stint.idle_s <= run.round_s or stint.restart_s < 0:
        yield Violation("spans", f"{who}: restart {stint.restart_s} s, idle {stint.idle_s} s")
    if rigid and any(batch != job.batch for *_, batch in stint.batches):
        yield Violation("batch", f"{who}: not {job.batch}")


def _capacity(problem: AdaptiveProblem, run: AdaptiveRun) -> Iterator[Violation]:
    """Check that no node is held beyond its accelerators."""
    changes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for stint in run.stints:
        for count, node in zip(stint.shape, stint.nodes, strict=True):
            spans = changes.setdefault((stint.group, node), [])
            spans += [(stint.start_s, count), (stint.end_s, -count)]
    for (group, node), spans in sorted(changes.items()):
        held = 0
        for time_s, count in sorted(spans):
            held += count
            if held > problem.groups[group].per_node:
                name = problem.groups[group].name
                yield Violation("capacity", f"node {node} of {name} at {time_s} s: {held} held")


def _life(
    problem: AdaptiveProblem, run: AdaptiveRun, job: int, stints: list[Stint], truth: _Truth
) -> Iterator[Violation]:
    """Rebuild a job's progress from its stints."""
    application = problem.applications[problem.jobs[job].application]
    name = problem.jobs[job].id
    progress, epoch, restarts, owed = 0.0, 0, 0, 0
    last: Stint | None = None
    end_s = -1
    for stint in stints:
        if last is not None and stint.start_s < last.end_s:
            yield Violation("overlap", f"{name} at {stint.start_s} s")
            return
        same = last is not None and (
            (last.end_s, last.group, last.shape) == (stint.start_s, stint.group, stint.shape)
        )
        if not same:
            restarts += 1
            owed = application.restart_s
        length = stint.end_s - stint.start_s
        paid = min(owed, length)
        owed -= paid
        if stint.restart_s != paid:
            yield Violation("restart", f"{name} at {stint.start_s} s: {stint.restart_s} for {paid}")
            return
        if end_s >= 0:
            yield Violation("after_end", f"{name} at {stint.start_s} s")
            return
        sync = 0.0
        now = stint.start_s + paid
        if paid < length and (not stint.batches or stint.batches[0][:2] > (now, epoch)):
            yield Violation("batch", f"{name} at {stint.start_s} s: none for its work")
            return
        while now < stint.end_s and epoch < application.epochs:
            now, progress, epoch, part = _advance(stint, now, run, progress, epoch, truth)
            sync += part
        if epoch == application.epochs:
            end_s = now
            if stint.idle_s != stint.end_s - now:
                yield Violation("idle", f"{name}: {stint.idle_s} s after its end at {now} s")
        elif stint.idle_s:
            yield Violation("idle", f"{name}: idle at {stint.end_s} s before its end")
        if abs(sync - stint.sync_s) > TOLERANCE * max(length, 1):
            yield Violation("sync", f"{name} at {stint.start_s} s: {stint.sync_s} for {sync} s")
        last = stint
    if end_s != run.finished_s[job]:
        text = f"{name}: ends at {run.finished_s[job]} s, its work at {end_s} s"
        yield Violation("work", text)
    if restarts != run.restarts[job]:
        yield Violation("restarts", f"{name}: {run.restarts[job]}, not {restarts}")


def _advance(
    stint: Stint, now: int, run: AdaptiveRun, progress: float, epoch: int, truth: _Truth
) -> tuple[int, float, int, float]:
    """Return time, progress and epoch at the end of the epoch or the round, and seconds synced."""
    round_end = (now // run.round_s + 1) * run.round_s
    batch = [b for since, e, b in stint.batches if since <= now and e <= epoch][-1]
    goodput, share = truth.goodput(stint.job, stint.group, stint.shape, epoch, batch)
    end = truth.end(stint.job, epoch)
    left = round_end - now
    if progress + goodput * left < end:
        return round_end, progress + goodput * left, epoch, left * share
    spent = round((end - progress) / goodput)
    return now + spent, end, epoch + 1, spent * share


@dataclass(frozen=True, slots=True)
class _Split:
    accumulation: int
    local: int
    real: int


class _Truth:
    """Goodput by the definitions, one point at a time."""

    def __init__(self, problem: AdaptiveProblem) -> None:
        self._problem = problem
        self._known: dict[tuple[int, int, Shape, int, int], tuple[float, float]] = {}
        self._rows: dict[tuple[int, int, Shape], FloatArray] = {}

    def end(self, job: int, epoch: int) -> float:
        """Return the progress at which an epoch ends."""
        return float(self._application(job).epoch_ends[epoch])

    def goodput(
        self, job: int, group: int, shape: Shape, epoch: int, batch: int
    ) -> tuple[float, float]:
        """Return progress per second and the share of time spent synchronising."""
        kind = self._problem.jobs[job].application
        key = (kind, group, shape, epoch, batch)
        if key not in self._known:
            application = self._application(job)
            rows = self._table(kind, group, shape)
            largest = application.steps[self._problem.groups[group].name].largest_local
            split = _split(application, rows, largest, sum(shape), batch)
            step, sync = (float(np.interp(split.local, rows[:, 0], rows[:, c])) for c in (1, 2))
            seconds = step + split.accumulation * (step - sync)
            gained = _gain(application, epoch, split.real)
            self._known[key] = gained / seconds / application.slowdown, sync / seconds
        return self._known[key]

    def _application(self, job: int) -> Application:
        return self._problem.applications[self._problem.jobs[job].application]

    def _table(self, kind: int, group: int, shape: Shape) -> FloatArray:
        turned = min(shape[i:] + shape[:i] for i in range(len(shape)))
        key = (kind, group, turned)
        if key not in self._rows:
            name = self._problem.groups[group].name
            steps = self._problem.applications[kind].steps[name]
            rows = steps.placements.get(turned)
            if rows is None:
                rows = _unmeasured(steps, min(len(turned), MOST_NODES), sum(turned))
            self._rows[key] = rows
        return self._rows[key]


def _split(
    application: Application, rows: FloatArray, largest: float, gang: int, batch: int
) -> _Split:
    most = max(int(min(rows[-1, 0], largest)), 1)
    local = math.ceil(batch / gang)
    accumulation = math.ceil(local / most) - 1
    if gang == 1 and batch > application.batches[0]:
        accumulation = max(accumulation, 1)
    cap = int(application.batches[-1]) // (gang * (accumulation + 1))
    local = max(min(math.ceil(local / (accumulation + 1)), most, cap), 1)
    return _Split(accumulation, local, local * gang * (accumulation + 1))


def _gain(application: Application, epoch: int, batch: int) -> float:
    sizes = application.batches
    sqr = float(np.interp(batch, sizes, application.grad_sqr[epoch]))
    var = float(np.interp(batch, sizes, application.grad_var[epoch]))
    return (var + sqr) / (var * float(sizes[0]) / batch + sqr)


def _unmeasured(steps: StepTimes, nodes: int, gang: int) -> FloatArray:
    """Return rows between measured counts of nodes, at equal accelerators per node."""
    scaling = steps.scaling
    if (nodes, gang) in scaling:
        return np.asarray(scaling[nodes, gang])
    tables = []
    measured = np.array(sorted({n for n, _ in scaling}), float)
    for n, share in _hat(measured, nodes):
        density = np.array(sorted(g for m, g in scaling if m == n)) / n
        for d, inner in _hat(density, gang / nodes):
            tables.append((scaling[int(n), round(d * n)], share * inner))
    local = sorted({float(x) for rows, _ in tables for x in rows[:, 0]})
    inside = [x for x in local if all(rows[0, 0] <= x <= rows[-1, 0] for rows, _ in tables)]
    blended = [
        [sum(w * float(np.interp(x, r[:, 0], r[:, c])) for r, w in tables) for c in (1, 2)]
        for x in inside
    ]
    return np.column_stack([inside, blended])


def _hat(knots: FloatArray, at: float) -> list[tuple[float, float]]:
    """Return the knots with a share in linear interpolation, constant beyond the ends."""
    shares = [float(np.interp(at, knots, row)) for row in np.eye(len(knots))]
    return [(float(k), w) for k, w in zip(knots, shares, strict=True) if w > 1e-12]
