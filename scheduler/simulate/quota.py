"""What tenants hold, by jobs and by replicas, against what they are entitled to."""

from __future__ import annotations

import math

from scheduler.core.problem import Mode, Problem, quotas_of
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import ALL_TYPES


class QuotaBook:
    """Accelerators held by tenants that have quotas, by kind: a type, or all types together.

    Counted in thousandths, so that shares count as what they are.

    Parameters
    ----------
    problem : Problem
        Tenancies and types.
    """

    def __init__(self, problem: Problem) -> None:
        rules = {t.tenant: t for t in problem.workload.tenancies}
        self._quota = [
            {kind: count * WHOLE_MILLI for kind, count in quota.items()}
            for quota in quotas_of(problem)
        ]
        lent = [rules[t].borrow if t in rules else 0 for t in problem.workload.tenants]
        self._borrow = [None if count is None else count * WHOLE_MILLI for count in lent]
        self._held: list[dict[int, int]] = [dict.fromkeys(quota, 0) for quota in self._quota]
        self._together: dict[int, int] = {}
        for quota in self._quota:
            for kind, count in quota.items():
                self._together[kind] = self._together.get(kind, 0) + count
        self._use = dict.fromkeys(self._together, 0)
        index = {name: t for t, name in enumerate(problem.workload.tenants)}
        self._pays = [index.get(service.tenant, -1) for service in problem.workload.services]

    def tenant_of(self, service: int) -> int:
        """Return the tenant of a service if it has any quota, else -1."""
        tenant = self._pays[service]
        return tenant if tenant >= 0 and self._quota[tenant] else -1

    def limits(self, tenant: int) -> bool:
        """Return whether the tenant has any quota."""
        return bool(self._quota[tenant])

    def count(self, tenant: int, mode: Mode, sign: int) -> None:
        """Count a gang or a replica of the tenant in (`sign` 1) or out (-1)."""
        held = self._held[tenant]
        if held:
            for kind, count in _asked(mode).items():
                if kind in held:
                    held[kind] += sign * count
                    self._use[kind] += sign * count

    def permits(self, tenant: int, mode: Mode) -> bool:
        """Return whether the tenant may hold `mode` beside what it holds."""
        held, quota, borrow = self._held[tenant], self._quota[tenant], self._borrow[tenant]
        for kind, count in _asked(mode).items():
            if kind not in quota or held[kind] + count <= quota[kind]:
                continue
            if borrow is not None and held[kind] + count > quota[kind] + borrow:
                return False
            if self._use[kind] + count > self._together[kind]:
                return False
        return True


def most_served_per_s(problem: Problem, service: int) -> float:
    """Return a rate of requests that a service cannot exceed under its tenant's quota.

    Every accelerator is taken at the best rate per accelerator of any replica that uses its
    type, the best types first, up to the quota and what may be borrowed; what else the tenant
    runs is left out. Infinite where the tenant has no quota.
    """
    tenant = problem.workload.services[service].tenant
    rules = {t.tenant: t for t in problem.workload.tenancies}
    rule, tenants = rules.get(tenant), problem.workload.tenants
    quotas = quotas_of(problem)
    quota = quotas[tenants.index(tenant)] if tenant in tenants else {}
    if rule is None or not quota:
        return math.inf
    together: dict[int, int] = {}
    for other in quotas:
        for kind, count in other.items():
            together[kind] = together.get(kind, 0) + count
    most: dict[int, float] = {
        kind: together[kind] if rule.borrow is None else min(count + rule.borrow, together[kind])
        for kind, count in quota.items()
    }
    best: dict[int, float] = {}
    for mode in problem.service_modes[service]:
        for group in mode.groups:
            kind, rate = group.type_index, mode.rate / mode.count
            best[kind] = max(best.get(kind, 0.0), rate)
    left, served = most.get(ALL_TYPES, math.inf), 0.0
    capacity = problem.capacity()
    for kind, rate in sorted(best.items(), key=lambda entry: (-entry[1], entry[0])):
        usable = min(left, capacity[kind], most.get(kind, math.inf))
        left -= usable
        served += rate * usable
    return served


def _asked(mode: Mode) -> dict[int, int]:
    """Return the thousandths of accelerators that a mode asks for, by kind."""
    asked = {group.type_index: group.count * mode.share_milli for group in mode.groups}
    asked[ALL_TYPES] = sum(asked.values())
    return asked
