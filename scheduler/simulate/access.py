"""Who may use what: quotas, hard labels, reservations, host resources, affinity and spread.

All of it comes to two questions about a job now: which of its modes its tenant's quota
allows, and how many of a node's free accelerators it may take. The second is answered by an
occupancy with the rest hidden, so that the search for a place need not know why.

Jobs with the same answers share a *want*, a number; a problem without any of these rules has
its classes as wants and no `Access` at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.sharing import SharedOccupancy
from scheduler.policies.present import RunningJob
from scheduler.simulate.quota import QuotaBook

_EVERYWHERE: Final = 1 << 30


def is_guarded(problem: Problem) -> bool:
    """Return whether the problem has any rule that `Access` is for."""
    return (
        bool(problem.cluster.reservations)
        or any(t.quota or t.total is not None for t in problem.workload.tenancies)
        or any(
            c.labels or c.cpus or c.host_memory_bytes or c.apart or c.near
            for c in problem.workload.classes
        )
    )


class Access:
    """The rules of one problem, and the state they depend on.

    Parameters
    ----------
    problem : Problem
        Where the rules are written.
    running : mapping of int to RunningJob
        Live; kept by `JobBook`.

    Attributes
    ----------
    want_of : list of int
        By job, its want.
    """

    def __init__(self, problem: Problem, running: Mapping[int, RunningJob]) -> None:
        jobs = problem.workload.jobs
        self._problem = problem
        self._running = running
        self._class_of: list[int] = jobs.class_index.tolist()
        self._tenant_of: list[int] = jobs.tenant_index.tolist()
        self._quotas = QuotaBook(problem)
        nodes = problem.cluster.nodes
        index = {node.id: i for i, node in enumerate(nodes)}
        self._reserved = [
            frozenset(index[node] for node in r.nodes) for r in problem.cluster.reservations
        ]
        self._active: dict[int, None] = {}
        self._unlabelled = [
            frozenset(i for i, n in enumerate(nodes) if not set(c.labels) <= set(n.labels))
            for c in problem.workload.classes
        ]
        hosts = [(node.cpus, node.host_memory_bytes) for node in nodes]
        self._host = np.array(hosts, dtype=np.float64).reshape(-1, 2)
        self._taken = np.zeros_like(self._host)
        self._domains = [pool.domains for pool in problem.pools]
        self._pool_of = [0] * len(nodes)
        for p, pool in enumerate(problem.pools):
            for node in pool.nodes:
                self._pool_of[node] = p
        self._level = {name: i for i, name in enumerate(problem.levels)}
        self._groups = [c.group or f"\0{i}" for i, c in enumerate(problem.workload.classes)]
        self._minds = {
            g for g, c in zip(self._groups, problem.workload.classes, strict=True)
            if c.apart or c.near
        }  # fmt: skip
        self._mates: dict[str, dict[int, None]] = {g: {} for g in sorted(self._minds)}
        self._members = self._members_of()
        self._keys: dict[tuple[int, int, tuple[bool, ...]], int] = {}
        self.want_of = [self._want(job) for job in range(len(jobs))]
        self._key_of = list(self._keys)

    def _members_of(self) -> list[tuple[bool, ...]]:
        """Return, by job, which reservations are for it."""
        workload = self._problem.workload
        rules = [(set(r.tenants), set(r.jobs)) for r in self._problem.cluster.reservations]
        by_tenant = [tuple(t in tenants for tenants, _ in rules) for t in workload.tenants]
        if not any(jobs for _, jobs in rules):
            return [by_tenant[t] for t in self._tenant_of]
        return [
            tuple(
                mine or name in jobs
                for mine, (_, jobs) in zip(by_tenant[tenant], rules, strict=True)
            )
            for name, tenant in zip(workload.jobs.ids, self._tenant_of, strict=True)
        ]

    def _want(self, job: int) -> int:
        tenant = self._tenant_of[job] if self._quotas.limits(self._tenant_of[job]) else -1
        key = (self._class_of[job], tenant, self._members[job])
        return self._keys.setdefault(key, len(self._keys))

    # --- the state ---------------------------------------------------------------

    def began(self, job: int, mode: Mode, placement: Placement) -> None:
        """A gang has taken its place."""
        self._count(job, mode, placement, 1)
        group = self._groups[self._class_of[job]]
        if group in self._minds:
            self._mates[group][job] = None

    def ended(self, job: int, mode: Mode, placement: Placement) -> None:
        """A gang has left its place."""
        self._count(job, mode, placement, -1)
        group = self._groups[self._class_of[job]]
        if group in self._minds:
            del self._mates[group][job]

    def _count(self, job: int, mode: Mode, placement: Placement, sign: int) -> None:
        self._quotas.count(self._tenant_of[job], mode, sign)
        kind = self._problem.workload.classes[self._class_of[job]]
        if kind.cpus or kind.host_memory_bytes:
            for node, count in zip(placement.nodes, placement.counts, strict=True):
                taken = self._taken[node]
                taken[0] += sign * count * kind.cpus
                taken[1] += sign * count * kind.host_memory_bytes

    @contextmanager
    def without(self, gone: Sequence[tuple[int, Mode, Placement]]) -> Iterator[None]:
        """Count some running gangs as ended, for a while; what was is restored exactly."""
        taken = [(n, self._taken[n].copy()) for _, _, placement in gone for n in placement.nodes]
        for job, mode, placement in gone:
            self.ended(job, mode, placement)
        try:
            yield
        finally:
            for job, mode, placement in gone:
                self.began(job, mode, placement)
            for node, amounts in taken:
                self._taken[node] = amounts

    def count_replica(self, service: int, mode: Mode, sign: int) -> None:
        """A replica has taken its place (`sign` 1) or left it (-1)."""
        tenant = self._quotas.tenant_of(service)
        if tenant >= 0:
            self._quotas.count(tenant, mode, sign)

    def reserve(self, reservation: int, *, on: bool) -> None:
        """A reservation begins or ends."""
        if on:
            self._active[reservation] = None
        else:
            self._active.pop(reservation, None)

    def intruders(self, reservation: int) -> list[int]:
        """Return the running jobs of others on the nodes of a reservation."""
        nodes = self._reserved[reservation]
        return [
            job
            for job, r in self._running.items()
            if not self._members[job][reservation] and not nodes.isdisjoint(r.placement.nodes)
        ]

    def hide_reserved(self, where: Occupancy) -> Occupancy:
        """Return `where` without the nodes that are kept for some now."""
        return hidden(where, dict.fromkeys(sorted(self.reserved_nodes()), 0))

    def reserved_nodes(self) -> frozenset[int]:
        """Return the nodes that are kept for some now."""
        return frozenset().union(*(self._reserved[r] for r in self._active))

    # --- the questions -----------------------------------------------------------

    def permits(self, want: int, mode: Mode) -> bool:
        """Return whether the tenant's quota has room for `mode`, and `near` for its spread."""
        c, tenant, _ = self._key_of[want]
        near = self._problem.workload.classes[c].near
        if near is not None and mode.level > self._level.get(near, 0):
            return False
        return tenant < 0 or self._quotas.permits(tenant, mode)

    def permits_replica(self, service: int, mode: Mode) -> bool:
        """Return whether the quota of the service's tenant has room for a replica in `mode`."""
        tenant = self._quotas.tenant_of(service)
        return tenant < 0 or self._quotas.permits(tenant, mode)

    def class_of(self, want: int) -> int:
        """Return the class of the jobs of a want."""
        return self._key_of[want][0]

    def barred(self, want: int) -> frozenset[int]:
        """Return the nodes that are not for the want: labels it lacks, others' reservations."""
        c, _, members = self._key_of[want]
        closed = [self._reserved[r] for r in self._active if not members[r]]
        return self._unlabelled[c].union(*closed)

    def hide(self, want: int, where: Occupancy) -> Occupancy:
        """Return `where` as the want may use it; the same object if that is all of it."""
        most = dict.fromkeys(sorted(self.barred(want)), 0)
        self._limit_host(want, most, where)
        self._limit_mates(want, most)
        return hidden(where, most)

    def refuses(self, job: int, mode: Mode, placement: Placement, where: Occupancy) -> str:
        """Return why a job may not start there, or an empty string."""
        want = self.want_of[job]
        if not self.permits(want, mode):
            return "is beyond the quota of its tenant, or too far spread"
        usable = self.hide(want, where)
        if not usable.fits(placement):
            return "may not use a node of its placement"
        return ""

    def _limit_host(self, want: int, most: dict[int, int], where: Occupancy) -> None:
        """Limit the nodes whose CPUs or memory are enough for fewer than are free, or for none."""
        kind = self._problem.workload.classes[self._key_of[want][0]]
        if not (kind.cpus or kind.host_memory_bytes):
            return
        room = np.full(len(self._host), np.inf)
        for resource, need in enumerate((kind.cpus, kind.host_memory_bytes)):
            if need:
                spare = self._host[:, resource] - self._taken[:, resource]
                room = np.minimum(room, np.floor(spare / need + 1e-9))
        tight = np.flatnonzero((room < np.array(where.free)) | (room < 1))
        for node, left in zip(tight.tolist(), room[tight].tolist(), strict=True):
            most[node] = min(max(0, int(left)), most.get(node, _EVERYWHERE))

    def _limit_mates(self, want: int, most: dict[int, int]) -> None:
        """Bar the domains of jobs to keep apart from, and those without jobs to stay near."""
        c = self._key_of[want][0]
        kind = self._problem.workload.classes[c]
        mates = self._mates.get(self._groups[c])
        if not mates:
            return
        if kind.apart is not None:
            taken = self._domains_of(mates, kind.apart)
            for node in range(len(self._pool_of)):
                if self._domain(node, kind.apart) in taken:
                    most[node] = 0
        if kind.near is not None:
            taken = self._domains_of(mates, kind.near)
            for node in range(len(self._pool_of)):
                if self._domain(node, kind.near) not in taken:
                    most[node] = 0

    def _domains_of(self, jobs: Iterable[int], level: str) -> set[int]:
        return {
            self._domain(node, level) for job in jobs for node in self._running[job].placement.nodes
        }

    def _domain(self, node: int, level: str) -> int:
        at = self._level.get(level, 0)
        return self._domains[self._pool_of[node]][at - 1] if at else -1 - node


def hidden(where: Occupancy, most: Mapping[int, int]) -> Occupancy:
    """Return `where` with no more than `most` free accelerators on the nodes it names.

    Where that is none, what is left of shared ones is not to be had either.
    """
    twin: Occupancy | None = None
    for node, limit in most.items():
        spare = where.free[node] - limit
        closes = not limit and isinstance(where, SharedOccupancy) and where.is_open(node)
        if spare > 0 or closes:
            if twin is None:
                twin = where.copy()
            if spare > 0:
                twin.withhold(node, spare)
            if closes and isinstance(twin, SharedOccupancy):
                twin.close(node)
    return where if twin is None else twin
