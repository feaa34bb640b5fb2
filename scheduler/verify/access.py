"""Who may use what: quotas, labels, reservations, host resources, affinity and spread.

Rebuilt from the definitions of `JobClass`, `Tenancy` and `Reservation` and from what was held.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Violation
from scheduler.core.units import WHOLE_MILLI, s_from_us, us_from_s
from scheduler.core.workload import JobClass, Tenancy
from scheduler.verify.facts import Facts, Hold, Span

_ALL = ""
"""The kind of a quota that counts every type."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job or service that waits, and what it may use at one instant.

    Parameters
    ----------
    modes : tuple of Mode
        Those within its quota, and no wider spread than `near` allows.
    barred : frozenset of int
        Nodes without its labels, or kept for others.
    usable : tuple of int
        By node, the free accelerators it may take.
    full : frozenset of int
        Nodes on which it may take nothing, not even a share of an accelerator.
    """

    modes: tuple[Mode, ...]
    barred: frozenset[int]
    usable: tuple[int, ...]
    full: frozenset[int] = frozenset()


def is_guarded(problem: Problem) -> bool:
    """Return whether any rule of this module applies."""
    workload = problem.workload
    return (
        len(problem.cluster.reservations) > 0
        or any(t.quota or t.total is not None for t in workload.tenancies)
        or any(
            k.labels or k.cpus > 0 or k.host_memory_bytes > 0 or k.apart or k.near
            for k in workload.classes
        )
    )


# --- look-ups -----------------------------------------------------------------------------


def kind_of(facts: Facts, job: int) -> JobClass:
    """Return a job's class."""
    workload = facts.problem.workload
    return workload.classes[int(workload.jobs.class_index[job])]


def _tenancy(facts: Facts, job: int, service: int = -1) -> Tenancy:
    """Return what the tenant of a job or a service is entitled to."""
    workload = facts.problem.workload
    if job < 0:
        name = workload.services[service].tenant
    else:
        name = workload.tenants[int(workload.jobs.tenant_index[job])]
    found = [t for t in workload.tenancies if t.tenant == name in workload.tenants]
    return found[0] if found else Tenancy(name)


def _group(facts: Facts, job: int) -> tuple[str, int]:
    kind = kind_of(facts, job)
    if kind.group:
        return kind.group, -1
    return "", int(facts.problem.workload.jobs.class_index[job])


def _windows(facts: Facts) -> list[tuple[Span, frozenset[int], frozenset[str], frozenset[str]]]:
    """Return (window, nodes, tenants, jobs) of every reservation."""
    index = {name: i for i, name in enumerate(facts.node_ids)}
    return [
        (
            (us_from_s(r.start_s), us_from_s(r.end_s)),
            frozenset(index[n] for n in r.nodes),
            frozenset(r.tenants),
            frozenset(r.jobs),
        )
        for r in facts.problem.cluster.reservations
    ]


def _is_member(facts: Facts, job: int, tenants: frozenset[str], jobs: frozenset[str]) -> bool:
    workload = facts.problem.workload
    name = workload.tenants[int(workload.jobs.tenant_index[job])]
    return name in tenants or workload.jobs.ids[job] in jobs


def _domain(facts: Facts, node: int, level: str) -> int:
    levels = facts.problem.levels
    at = levels.index(level) if level in levels else 0
    if not at:
        return -1 - node
    return facts.problem.pools[facts.node_pool[node]].domains[at - 1]


def _kinds(facts: Facts, mode: Mode) -> dict[str, int]:
    """Return the thousandths of accelerators a mode asks for, by type name and in all."""
    asked = {_ALL: mode.count * mode.share_milli}
    for group in mode.groups:
        name = facts.problem.types[group.type_index].casefold()
        asked[name] = asked.get(name, 0) + group.count * mode.share_milli
    return asked


def _quota(tenancy: Tenancy) -> dict[str, int]:
    """Return a tenant's quota in thousandths of accelerators, by kind."""
    quota = {name.casefold(): count * WHOLE_MILLI for name, count in tenancy.quota.items()}
    return quota if tenancy.total is None else quota | {_ALL: tenancy.total * WHOLE_MILLI}


def _borrow(tenancy: Tenancy) -> float:
    """Return the thousandths that a tenant may hold beyond its quota."""
    return math.inf if tenancy.borrow is None else tenancy.borrow * WHOLE_MILLI


def _together(facts: Facts) -> dict[str, int]:
    """Return the sum of all quotas by kind, of tenants that the workload has."""
    sums: dict[str, int] = {}
    for tenancy in facts.problem.workload.tenancies:
        if tenancy.tenant in facts.problem.workload.tenants:
            for kind, count in _quota(tenancy).items():
                sums[kind] = sums.get(kind, 0) + count
    return sums


def _uses(facts: Facts, live: Iterable[Hold]) -> dict[tuple[str, str], int]:
    """Return what tenants hold, by tenant and kind, where they have a quota of the kind."""
    uses: dict[tuple[str, str], int] = {}
    for hold in live:
        tenancy = _tenancy(facts, hold.job, hold.service)
        quota = _quota(tenancy)
        for kind, count in _kinds(facts, hold.mode).items():
            if kind in quota:
                key = (tenancy.tenant, kind)
                uses[key] = uses.get(key, 0) + count
    return uses


# --- what a job that waits may use --------------------------------------------------------


def claim_of(
    facts: Facts, job: int, live: Sequence[Hold], free: Sequence[int], at_us: int
) -> Claim:
    """Return what a waiting job may use while `live` is held and `free` is free."""
    kind = kind_of(facts, job)
    barred = {n for n in range(len(free)) if not _labelled(facts, n, kind)}
    for (start, end), nodes, tenants, jobs in _windows(facts):
        if start <= at_us < end and not _is_member(facts, job, tenants, jobs):
            barred |= nodes
    usable = [0 if n in barred else max(0, count) for n, count in enumerate(free)]
    full = set(barred)
    for name in ("cpus", "host_memory_bytes"):
        need = getattr(kind, name)
        taken = _taken(facts, live, name) if need > 0 else {}
        for n, node in enumerate(facts.problem.cluster.nodes if need > 0 else ()):
            spare = getattr(node, name) - taken.get(n, 0.0)
            if math.isfinite(spare):
                room = max(0, math.floor(spare / need + 1e-9))
                usable[n] = min(usable[n], room)
                full |= {n} if not room else set()
    mates = [h for h in live if h.job >= 0 and _group(facts, h.job) == _group(facts, job)]
    if mates and kind.apart is not None:
        near = {_domain(facts, n, kind.apart) for h in mates for n in h.placement.nodes}
        full |= {n for n in range(len(free)) if _domain(facts, n, kind.apart) in near}
    if mates and kind.near is not None:
        near = {_domain(facts, n, kind.near) for h in mates for n in h.placement.nodes}
        full |= {n for n in range(len(free)) if _domain(facts, n, kind.near) not in near}
    modes = _permitted(facts, job, _uses(facts, live))
    usable = [0 if n in full else count for n, count in enumerate(usable)]
    return Claim(modes, frozenset(barred), tuple(usable), frozenset(full))


def service_claim(
    facts: Facts, service: int, live: Sequence[Hold], free: Sequence[int], at_us: int
) -> Claim:
    """Return what a service that lacks capacity may use: nothing that is kept for others."""
    barred: set[int] = set()
    for (start, end), nodes, _, _ in _windows(facts):
        if start <= at_us < end:
            barred |= nodes
    usable = tuple(0 if n in barred else max(0, count) for n, count in enumerate(free))
    modes = facts.problem.service_modes[service]
    able = _within_quota(facts, _tenancy(facts, -1, service), modes, _uses(facts, live))
    return Claim(able, frozenset(barred), usable, frozenset(barred))


def _labelled(facts: Facts, node: int, kind: JobClass) -> bool:
    has = dict(facts.problem.cluster.nodes[node].labels)
    return all(has.get(name) == value for name, value in kind.labels)


def _taken(facts: Facts, live: Sequence[Hold], name: str) -> dict[int, float]:
    """Return what gangs have taken of a host resource, by node."""
    taken: dict[int, float] = {}
    for hold in live:
        each = getattr(kind_of(facts, hold.job), name) if hold.job >= 0 else 0.0
        for node, count in hold.held if each else ():
            taken[node] = taken.get(node, 0.0) + count * each
    return taken


def _permitted(facts: Facts, job: int, uses: dict[tuple[str, str], int]) -> tuple[Mode, ...]:
    problem = facts.problem
    kind = kind_of(facts, job)
    widest = len(problem.levels)
    if kind.near is not None:
        widest = problem.levels.index(kind.near) if kind.near in problem.levels else 0
    modes = problem.modes[int(problem.workload.jobs.class_index[job])]
    narrow = tuple(m for m in modes if m.level <= widest)
    return _within_quota(facts, _tenancy(facts, job), narrow, uses)


def _within_quota(
    facts: Facts, tenancy: Tenancy, modes: Sequence[Mode], uses: dict[tuple[str, str], int]
) -> tuple[Mode, ...]:
    """Return the modes that a tenant may hold beside what is held."""
    quota, together = _quota(tenancy), _together(facts)

    def within(mode: Mode) -> bool:
        for name, count in _kinds(facts, mode).items():
            if name not in quota:
                continue
            mine = uses.get((tenancy.tenant, name), 0) + count
            if mine <= quota[name]:
                continue
            if mine > quota[name] + _borrow(tenancy):
                return False
            if sum(v for (_, k), v in uses.items() if k == name) + count > together[name]:
                return False
        return True

    return tuple(m for m in modes if within(m))


# --- rules --------------------------------------------------------------------------------


def labels_carried(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``labels``: every node of a gang carries the labels its class asks for."""
    for hold in holds:
        if hold.job < 0 or not kind_of(facts, hold.job).labels:
            continue
        for node in hold.placement.nodes:
            if not _labelled(facts, node, kind_of(facts, hold.job)):
                text = f"lacks a label of {kind_of(facts, hold.job).labels}"
                at_s = s_from_us(hold.start_us)
                yield Violation("labels", text, hold.who, facts.node_id(node), at_s)


def reservations_kept(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``reserved``: nothing of others starts on reserved nodes, or stays if it may be stopped."""
    for (start, end), nodes, tenants, jobs in _windows(facts):
        for hold in holds:
            if nodes.isdisjoint(hold.placement.nodes):
                continue
            if hold.job >= 0 and _is_member(facts, hold.job, tenants, jobs):
                continue
            stays = hold.job >= 0 and not kind_of(facts, hold.job).preemptible
            first = start if not stays else hold.start_us
            if (
                hold.start_us < end
                and hold.end_us > start
                and (hold.start_us >= start or hold.end_us > first > hold.start_us)
            ):
                node = min(nodes & set(hold.placement.nodes))
                text = f"held while kept for others from {s_from_us(start)} s"
                at_s = s_from_us(max(start, hold.start_us))
                yield Violation("reserved", text, hold.who, facts.node_id(node), at_s)


def host_shared(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``host``: gangs together take no more CPUs and host memory than a node has."""
    changes: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for hold in holds:
        if hold.job < 0:
            continue
        kind = kind_of(facts, hold.job)
        for name in ("cpus", "host_memory_bytes"):
            need = getattr(kind, name)
            for node, count in hold.held if need > 0 else ():
                rows = changes.setdefault((node, name), [])
                rows += [(hold.start_us, count * need), (hold.end_us, -count * need)]
    for (node, name), rows in sorted(changes.items()):
        has = getattr(facts.problem.cluster.nodes[node], name)
        used = 0.0
        for at, change in sorted(rows):
            used += change
            if used > has * (1 + 1e-9):
                text = f"{used:.6g} {name} taken of {has:.6g}"
                yield Violation("host", text, "", facts.node_id(node), s_from_us(at))
                break


def quotas_kept(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``quota``: no tenant's jobs and replicas hold more than its quota and what it may borrow.

    What starts beyond a quota may only use what others leave of theirs; those of others that
    start at the same instant are not counted against it, as they may have come later.
    """
    if not any(t.quota or t.total is not None for t in facts.problem.workload.tenancies):
        return
    together = _together(facts)
    rules = {t.tenant: t for t in facts.problem.workload.tenancies}
    rows: dict[int, tuple[list[Hold], list[Hold]]] = {}
    for hold in holds:
        rows.setdefault(hold.end_us, ([], []))[0].append(hold)
        rows.setdefault(hold.start_us, ([], []))[1].append(hold)
    use: dict[tuple[str, str], int] = {}
    for at, (ending, starting) in sorted(rows.items()):
        for key, count in _uses(facts, ending).items():
            use[key] -= count
        before = dict(use)
        started = _uses(facts, starting)
        for key, count in started.items():
            use[key] = use.get(key, 0) + count
        for tenant, kind in sorted(started):
            rule = rules[tenant]
            over = use[tenant, kind] - _quota(rule)[kind]
            others = sum(v for (t, k), v in before.items() if k == kind and t != tenant)
            mine = use[tenant, kind]
            lent = over <= _borrow(rule)
            if over > 0 and not (lent and others + mine <= together[kind]):
                held, beyond = mine / WHOLE_MILLI, over / WHOLE_MILLI
                text = (
                    f"{tenant} holds {held:g} of {kind or 'all types'}, {beyond:g} beyond its quota"
                )
                yield Violation("quota", text, "", "", s_from_us(at))


def mates_placed(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``apart``, ``near``: at its start a gang keeps to the group's gangs that run on."""
    groups: dict[tuple[str, int], list[Hold]] = {}
    for hold in holds:
        if hold.job >= 0:
            groups.setdefault(_group(facts, hold.job), []).append(hold)
    for _, mates in sorted(groups.items()):
        kinds = [kind_of(facts, h.job) for h in mates]
        if not any(k.apart or k.near for k in kinds):
            continue
        for hold, kind in zip(mates, kinds, strict=True):
            around = [m for m in mates if m.start_us < hold.start_us < m.end_us]
            same = [m for m in mates if m.start_us == hold.start_us and m is not hold]
            at_s = s_from_us(hold.start_us)
            if kind.apart is not None:
                mine = {_domain(facts, n, kind.apart) for n in hold.placement.nodes}
                both = around + [m for m in same if kind_of(facts, m.job).apart == kind.apart]
                taken = {_domain(facts, n, kind.apart) for m in both for n in m.placement.nodes}
                if mine & taken:
                    text = f"shares a {kind.apart} with another of its group"
                    yield Violation("apart", text, hold.who, "", at_s)
            if kind.near is not None:
                mine = {_domain(facts, n, kind.near) for n in hold.placement.nodes}
                taken = {_domain(facts, n, kind.near) for m in around for n in m.placement.nodes}
                if len(mine) > 1 or (around and not mine <= taken):
                    text = f"is not in the {kind.near} of its group"
                    yield Violation("near", text, hold.who, "", at_s)


ACCESS_RULES = (labels_carried, reservations_kept, host_shared, quotas_kept, mates_placed)
