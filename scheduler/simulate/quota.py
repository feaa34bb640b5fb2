"""What tenants hold against what they are entitled to."""

from __future__ import annotations

from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import Tenancy

_ALL = -1
"""The kind that stands for accelerators of every type together."""


class QuotaBook:
    """Accelerators held by tenants that have quotas, by kind: a type, or all types together.

    Parameters
    ----------
    problem : Problem
        Tenancies and types.
    """

    def __init__(self, problem: Problem) -> None:
        rules = {t.tenant: t for t in problem.workload.tenancies}
        names = {name.casefold(): t for t, name in enumerate(problem.types)}
        self._quota = [_quota(rules.get(t), names) for t in problem.workload.tenants]
        self._borrow = [
            rules[t].borrow if t in rules else 0 for t in problem.workload.tenants
        ]  # fmt: skip
        self._held: list[dict[int, int]] = [dict.fromkeys(quota, 0) for quota in self._quota]
        self._together: dict[int, int] = {}
        for quota in self._quota:
            for kind, count in quota.items():
                self._together[kind] = self._together.get(kind, 0) + count
        self._use = dict.fromkeys(self._together, 0)

    def limits(self, tenant: int) -> bool:
        """Return whether the tenant has any quota."""
        return bool(self._quota[tenant])

    def count(self, tenant: int, mode: Mode, sign: int) -> None:
        """Count a gang of the tenant in (`sign` 1) or out (-1)."""
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


def _quota(rule: Tenancy | None, names: dict[str, int]) -> dict[int, int]:
    """Return a tenant's quota by kind."""
    if rule is None:
        return {}
    quota = {
        names[name.casefold()]: count
        for name, count in rule.quota.items()
        if name.casefold() in names
    }
    return quota if rule.total is None else quota | {_ALL: rule.total}


def _asked(mode: Mode) -> dict[int, int]:
    asked = {group.type_index: group.count for group in mode.groups}
    asked[_ALL] = sum(asked.values())
    return asked
