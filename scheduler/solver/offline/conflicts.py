"""Why there is no schedule: a minimal set of the request's constraints that cannot hold together.

Constraints have names: that a job is done, its deadline, its time limit, what it needs, a label,
an outage, a quota, the capacity of a type. Releases, run times and modes are facts. A subset is
tried by building the problem without the others and asking the interval model, which proves
either answer; QuickXplain finds a set from which none can be left out with few such questions.

References
----------
U. Junker, "QUICKXPLAIN: preferred explanations and relaxations for over-constrained problems",
AAAI 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.run import Status
from scheduler.solver.offline.instance import build_instance
from scheduler.solver.offline.model import Limits, OfflineModel


@dataclass(frozen=True, slots=True)
class Constraint:
    """Something asked for that could be given up.

    Parameters
    ----------
    kind : str
        ``job deadline limit needs label outage quota capacity``.
    index : int
        Job, class, outage, tenancy or type.
    name : str
        For people.
    """

    kind: str
    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Constraints that cannot hold together.

    Parameters
    ----------
    constraints : tuple of Constraint
        In the order of the request.
    minimal : bool
        Whether it is proved that without any one of them the others can hold.
    """

    constraints: tuple[Constraint, ...]
    minimal: bool

    @property
    def text(self) -> str:
        """Return what it says for people."""
        how = "a minimal set" if self.minimal else "perhaps not minimal: time ran out"
        names = "; ".join(c.name for c in self.constraints)
        return f"no schedule runs each job once and keeps to all of these ({how}): {names}"


def constraints_of(problem: Problem, *, meet_deadlines: bool) -> tuple[Constraint, ...]:
    """Return what a request asks for, by name."""
    columns, workload = problem.workload.jobs, problem.workload
    jobs = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    used = sorted({int(columns.class_index[j]) for j in jobs})
    types = sorted({g.type_index for c in used for m in problem.modes[c] for g in m.groups})
    ids = columns.ids
    found = [Constraint("job", j, f"job {ids[j]} is done") for j in jobs]
    for j in jobs:
        if meet_deadlines and not math.isnan(columns.deadline_s[j]):
            text = f"deadline of job {ids[j]} ({columns.deadline_s[j]:g} s)"
            found.append(Constraint("deadline", j, text))
        if not math.isnan(columns.limit_s[j]):
            text = f"time limit of job {ids[j]} ({columns.limit_s[j]:g} s)"
            found.append(Constraint("limit", j, text))
        if columns.after and columns.after[j]:
            needed = ", ".join(ids[k] for k in columns.after[j])
            found.append(Constraint("needs", j, f"job {ids[j]} needs {needed}"))
    for c in used:
        if workload.classes[c].labels:
            text = ", ".join(f"{k}={v}" for k, v in workload.classes[c].labels)
            name = f"labels of class {workload.classes[c].name} ({text})"
            found.append(Constraint("label", c, name))
    for i, o in enumerate(problem.cluster.outages):
        name = f"node {o.node} {o.kind} from {o.start_s:g} s to {o.end_s:g} s"
        found.append(Constraint("outage", i, name))
    for i, t in enumerate(workload.tenancies):
        if t.quota or t.total is not None:
            found.append(Constraint("quota", i, f"quota of tenant {t.tenant}"))
    capacity = problem.capacity()
    for t_index in types:
        name = f"capacity of {problem.types[t_index]} ({capacity[t_index]})"
        found.append(Constraint("capacity", t_index, name))
    return tuple(found)


def can_hold(problem: Problem, kept: Sequence[Constraint], limits: Limits) -> bool | None:
    """Return whether some schedule keeps to `kept` and all facts; None if time ran out."""
    of: dict[str, set[int]] = {}
    for c in kept:
        of.setdefault(c.kind, set()).add(c.index)
    jobs = np.array(sorted(of.get("job", ())), dtype=np.int64)
    if not len(jobs):
        return True
    loosened = _loosened(problem, of)
    columns = loosened.workload.jobs.take(jobs)
    loosened = replace(loosened, workload=replace(loosened.workload, jobs=columns))
    try:
        instance = build_instance(loosened, meet_deadlines=True)
    except InfeasibleError:
        return False
    uncapped = set(range(len(problem.types))) - of.get("capacity", set())
    model = OfflineModel(
        instance, "makespan", instance.jobs, {}, instance.horizon, uncapped=uncapped
    )
    answer = model.solve(replace(limits, first_only=True))
    if answer.status is Status.INFEASIBLE:
        return False
    return None if answer.plan is None else True


def _loosened(problem: Problem, of: dict[str, set[int]]) -> Problem:
    """Return the problem with only the constraints given, capacity and jobs apart."""
    workload, cluster = problem.workload, problem.cluster
    columns = workload.jobs
    n = len(columns)

    def only(values: np.ndarray, kind: str) -> np.ndarray:
        kept = np.isin(np.arange(n), sorted(of.get(kind, ())))
        return np.where(kept, values, np.nan)

    after = columns.after and tuple(
        needed if j in of.get("needs", ()) else () for j, needed in enumerate(columns.after)
    )
    columns = replace(
        columns,
        deadline_s=only(columns.deadline_s, "deadline"),
        limit_s=only(columns.limit_s, "limit"),
        after=after,
    )
    classes = tuple(
        kind if c in of.get("label", ()) else replace(kind, labels=())
        for c, kind in enumerate(workload.classes)
    )
    tenancies = tuple(t for i, t in enumerate(workload.tenancies) if i in of.get("quota", ()))
    outages = tuple(o for i, o in enumerate(cluster.outages) if i in of.get("outage", ()))
    return replace(
        problem,
        cluster=replace(cluster, outages=outages),
        workload=replace(workload, jobs=columns, classes=classes, tenancies=tenancies),
    )


def find_conflict(problem: Problem, limits: Limits, *, meet_deadlines: bool) -> Conflict | None:
    """Return a minimal set of constraints in conflict; None if they are not known to be.

    Parameters
    ----------
    problem : Problem
        What was asked.
    limits : Limits
        Of each question.
    meet_deadlines : bool
        Whether deadlines count as constraints.
    """
    every = constraints_of(problem, meet_deadlines=meet_deadlines)
    unsure = False

    def fails(some: Sequence[Constraint]) -> bool:
        nonlocal unsure
        answer = can_hold(problem, some, limits)
        unsure = unsure or answer is None
        return answer is False

    if not fails(every):
        return None
    unsure = False
    found = set(_explain((), False, every, fails))
    return Conflict(tuple(c for c in every if c in found), not unsure)


def _explain(
    background: Sequence[Constraint],
    grown: bool,
    some: Sequence[Constraint],
    fails: Callable[[Sequence[Constraint]], bool],
) -> tuple[Constraint, ...]:
    """Return a minimal part of `some` that fails together with the background."""
    if grown and fails(background):
        return ()
    if len(some) == 1:
        return tuple(some)
    half = len(some) // 2
    first, second = tuple(some[:half]), tuple(some[half:])
    later = _explain((*background, *first), bool(first), second, fails)
    sooner = _explain((*background, *later), bool(later), first, fails)
    return (*sooner, *later)
