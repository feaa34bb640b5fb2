"""Random problems with every rule on who may use what, when, and for how long."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from random_problems import LEVELS, random_problem

from scheduler.core.cluster import FailureModel, Outage, Reservation
from scheduler.core.problem import Problem
from scheduler.core.workload import Tenancy
from scheduler.policies.view import View

TERMS = (
    *("limits", "needs", "drains", "failures", "crashes", "reservations", "quotas"),
    *("labels", "host", "apart", "near"),
)


def random_terms(rng: np.random.Generator, only: str | None = None) -> Problem:
    """Draw a problem with some of the terms, or with one of them."""
    problem = random_problem(rng)
    chosen = [t for t in TERMS if (t == only if only else rng.random() < 0.35)]
    for term in chosen:
        problem = globals()[f"_add_{term}"](rng, problem)
    return problem


def _jobs(problem: Problem, **columns: object) -> Problem:
    jobs = replace(problem.workload.jobs, **columns)  # type: ignore[arg-type]
    return replace(problem, workload=replace(problem.workload, jobs=jobs))


def _classes(problem: Problem, **fields: list[object]) -> Problem:
    classes = tuple(
        replace(c, **{name: values[i] for name, values in fields.items()})
        for i, c in enumerate(problem.workload.classes)
    )
    return replace(problem, workload=replace(problem.workload, classes=classes))


def _cluster(problem: Problem, **fields: object) -> Problem:
    return replace(problem, cluster=replace(problem.cluster, **fields))  # type: ignore[arg-type]


def _nodes(problem: Problem, change) -> Problem:
    pods = tuple(
        replace(pod, nodes=tuple(change(node) for node in pod.nodes))
        for pod in problem.cluster.pods
    )
    return _cluster(problem, pods=pods)


def _names(rng: np.random.Generator, problem: Problem) -> tuple[str, ...]:
    names = [node.id for node in problem.cluster.nodes]
    count = int(rng.integers(1, max(2, len(names) // 2 + 1)))
    return tuple(sorted(rng.choice(names, count, replace=False).tolist()))


def _add_limits(rng, problem):
    work = problem.workload.jobs.work
    limit = work * rng.uniform(0.1, 1.5, len(work)) + 5
    return _jobs(problem, limit_s=np.where(rng.random(len(work)) < 0.6, limit.round(3), math.nan))


def _add_needs(rng, problem):
    n = len(problem.workload.jobs)
    return _jobs(
        problem,
        after=tuple(
            tuple(sorted({int(k) for k in rng.integers(0, j, int(rng.integers(0, 3)))}))
            if j
            else ()
            for j in range(n)
        ),
    )


def _add_drains(rng, problem):
    drains = []
    for name in _names(rng, problem):
        start = round(float(rng.uniform(0, 200)), 3)
        drains.append(Outage(name, start, start + round(float(rng.uniform(5, 150)), 3), "drain"))
    return _cluster(problem, outages=(*problem.cluster.outages, *drains))


def _add_failures(rng, problem):
    model = FailureModel(
        node_mtbf_s=900.0, repair_s=20.0, accelerator_mtbf_s=600.0, accelerator_repair_s=40.0,
        switch_mtbf_s=700.0, switch_repair_s=15.0,
    )  # fmt: skip
    crash_s = problem.cluster.failures.crash_accelerator_s
    return _cluster(problem, failures=replace(model, crash_accelerator_s=crash_s))


def _add_crashes(rng, problem):
    return _cluster(problem, failures=replace(problem.cluster.failures, crash_accelerator_s=150.0))


def _add_reservations(rng, problem):
    made = []
    for k in range(int(rng.integers(1, 3))):
        start = round(float(rng.uniform(0, 150)), 3)
        jobs = problem.workload.jobs.ids
        made.append(
            Reservation(
                f"r{k}", _names(rng, problem), start, start + round(float(rng.uniform(10, 150)), 3),
                (problem.workload.tenants[0],) if rng.random() < 0.5 else (),
                (jobs[int(rng.integers(len(jobs)))],),
            )
        )  # fmt: skip
    return _cluster(problem, reservations=tuple(made))


def _add_quotas(rng, problem):
    most = max(2, sum(problem.capacity()) // 2)
    tenancies = []
    for tenant in problem.workload.tenants:
        if rng.random() < 0.7:
            borrow = None if rng.random() < 0.4 else int(rng.integers(0, most))
            quota = {t: int(rng.integers(1, most + 1)) for t in problem.types if rng.random() < 0.6}
            total = int(rng.integers(1, 2 * most)) if rng.random() < 0.5 else None
            tenancies.append(Tenancy(tenant, float(rng.uniform(1, 3)), quota, total, borrow))
    return replace(problem, workload=replace(problem.workload, tenancies=tuple(tenancies)))


def _add_labels(rng, problem):
    problem = _nodes(
        problem, lambda node: replace(node, labels=(("region", "ab"[int(rng.integers(2))]),))
    )
    asked = [(("region", "a"),) if rng.random() < 0.5 else () for _ in problem.workload.classes]
    return _classes(problem, labels=asked)


def _add_host(rng, problem):
    problem = _nodes(
        problem,
        lambda node: replace(
            node, cpus=float(rng.integers(4, 40)), host_memory_bytes=float(rng.integers(50, 400))
        ),
    )
    n = len(problem.workload.classes)
    return _classes(
        problem,
        cpus=rng.choice([0.0, 1.5, 4.0, 8.0], n).tolist(),
        host_memory_bytes=rng.choice([0.0, 30.0, 60.0], n).tolist(),
    )


def _add_apart(rng, problem):
    n = len(problem.workload.classes)
    some = [str(rng.choice(LEVELS[:3])) if rng.random() < 0.6 else None for _ in range(n)]
    return _classes(
        problem, apart=some, group=["g" if rng.random() < 0.5 else "" for _ in range(n)]
    )


def _add_near(rng, problem):
    n = len(problem.workload.classes)
    return _classes(
        problem,
        near=[str(rng.choice(LEVELS[1:])) if rng.random() < 0.6 else None for _ in range(n)],
    )


class RandomMover:
    """Starts, preempts, resizes and moves whatever it may, at random, as the view allows."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._wake_us = 0

    def decide(self, view: View) -> None:
        rng = self._rng
        for job in sorted(view.running):
            if view.preemptible(job) and rng.random() < 0.3:
                self._disturb(view, job)
        for s, modes in enumerate(view.problem.service_modes):
            if not view.services[s].ended and rng.random() < 0.5:
                m = int(rng.integers(len(modes)))
                placement = view.place_replica(s, m, "first")
                if placement is not None:
                    view.start_replica(s, m, placement)
        for job in rng.permutation(sorted(view.waiting)).tolist():
            m = int(rng.integers(len(view.modes(job))))
            placement = view.place_job(job, m, "best" if rng.random() < 0.5 else "first")
            if placement is not None:
                assert view.may_start(job, m, placement)
                view.start(job, m, placement)
        if self._wake_us <= view.now_us:
            self._wake_us = view.now_us + int(rng.integers(1, 40_000_000))
            view.wake_at(self._wake_us)

    def _disturb(self, view: View, job: int) -> None:
        m = int(self._rng.integers(len(view.modes(job))))
        placement = view.place_job(job, m, "first")
        if placement is not None and self._rng.random() < 0.7:
            view.move(job, m, placement)
        else:
            view.stop(job)
