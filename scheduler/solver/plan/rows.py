"""What limits a schedule beside the accelerators of each type: watts, quotas, reserved nodes.

Each row has a supply over time, and each mode uses so much of it, depending on who holds it.
A row is only there where no schedule that the verifier accepts can pass it:

*Power.* Sites that share accelerator types, all of them capped, have so many watts above what
their idle nodes draw.

*Quota.* A tenant holds at most its quota of a kind and what it may borrow, and never more than
all quotas of the kind together: what starts beyond its own quota starts only while all hold no
more than that. Others may come back to theirs meanwhile, so all tenants together have no row.

*Kept out.* While nodes are reserved, preemptible jobs that no reservation is for use others.

*Labelled.* Jobs that ask for labels (a region, say) use the nodes of a type that carry them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.problem import Mode, Problem, quotas_of
from scheduler.core.units import US_PER_S, WHOLE_MILLI, us_from_s
from scheduler.core.workload import ALL_TYPES, FloatArray, IntArray

MOST_QUOTA_ROWS: Final = 12
"""Those that are asked for most; each row costs as much as an accelerator type."""

MOST_GROUPS: Final = 1500
"""Beyond this, jobs that are nearly alike count as alike."""

MOST_LABEL_ROWS: Final = 12
"""Types times sets of nodes; beyond them there are regions of regions."""

_CLOCK_S: Final = 1e-5
"""More than the clock's rounding of one hold."""

_ROUNDING: Final = 1e-6
"""Share by which the verifier lets a cap be passed, and more."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds accelerators, as far as the rows tell.

    Parameters
    ----------
    tenant : int
        Position in `Workload.tenants`; -1: one without a quota row.
    kept_out : bool
        Whether reserved nodes are closed to it.
    labelled : tuple of int
        Positions in `Rows.labelled` of the rows that it is under.
    """

    tenant: int = -1
    kept_out: bool = False
    labelled: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Sites that share accelerator types, all of them capped.

    Parameters
    ----------
    types : tuple of int
        Types that are nowhere else.
    room_w : float
        Watts that gangs may add to what idle nodes draw.
    """

    types: tuple[int, ...]
    room_w: float


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """What a tenant may hold at most.

    Parameters
    ----------
    tenant : int
        Position in `Workload.tenants`.
    kind : int
        Accelerator type, or `ALL_TYPES`.
    most : int
        Accelerators.
    """

    tenant: int
    kind: int
    most: int


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Nodes of a type that carry labels.

    Parameters
    ----------
    type_index : int
        Accelerator type.
    nodes : frozenset of int
        Those that carry them.
    classes : frozenset of int
        Classes that may use no other nodes of the type.
    """

    type_index: int
    nodes: frozenset[int]
    classes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a problem, in this order after its accelerator types.

    Parameters
    ----------
    power : tuple of PowerRow
        Capped sites.
    quota : tuple of QuotaRow
        Tenants with a quota that is less than the fleet.
    kept_out : tuple of int
        Types some of whose nodes are reserved for a time.
    labelled : tuple of LabelRow
        Nodes that some classes are confined to.
    """

    power: tuple[PowerRow, ...] = ()
    quota: tuple[QuotaRow, ...] = ()
    kept_out: tuple[int, ...] = ()
    labelled: tuple[LabelRow, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, (self.power, self.quota, self.kept_out, self.labelled)))


def rows_of(problem: Problem) -> Rows:
    """Return every row that holds for the problem, less those that would cost more than they gain.

    Quotas and reservations tell jobs apart that are alike otherwise: of many jobs, the plan would
    have to round the rest more than these rows are worth.
    """
    if len(problem.workload.jobs) > MOST_GROUPS:
        return Rows(usable_power_rows(problem), labelled=label_rows(problem))
    return Rows(
        usable_power_rows(problem),
        quota_rows(problem),
        _kept_out_types(problem),
        label_rows(problem),
    )


def room_of(problem: Problem, rows: Rows) -> FloatArray:
    """Return what there is of each row while no node is down or reserved."""
    capacity = problem.capacity()
    return np.array(
        [
            *(row.room_w for row in rows.power),
            *(float(row.most) for row in rows.quota),
            *(float(capacity[t]) for t in rows.kept_out),
            *(float(sum(problem.cluster.nodes[n].count for n in r.nodes)) for r in rows.labelled),
        ],
        dtype=np.float64,
    )


def holders(problem: Problem, rows: Rows) -> list[Holder]:
    """Return who each job is to the rows."""
    limited = {row.tenant for row in rows.quota}
    workload = problem.workload
    tenants = workload.jobs.tenant_index.tolist()
    named = {job for r in problem.cluster.reservations for job in r.jobs}
    friends = {tenant for r in problem.cluster.reservations for tenant in r.tenants}
    classes = zip(workload.jobs.class_index.tolist(), tenants, workload.jobs.ids, strict=True)
    confined = [
        tuple(i for i, row in enumerate(rows.labelled) if c in row.classes)
        for c in range(len(workload.classes))
    ]
    return [
        Holder(
            t if t in limited else -1,
            bool(rows.kept_out)
            and workload.classes[c].preemptible
            and workload.tenants[t] not in friends
            and job not in named,
            confined[c],
        )
        for c, t, job in classes
    ]


def service_holder(problem: Problem, rows: Rows, service: int) -> Holder:
    """Return who the replicas of a service are to the rows: reservations stop them."""
    name = problem.workload.services[service].tenant
    limited = {problem.workload.tenants[row.tenant]: row.tenant for row in rows.quota}
    return Holder(limited.get(name, -1), bool(rows.kept_out))


def used(problem: Problem, rows: Rows, mode: Mode, holder: Holder) -> tuple[float, ...]:
    """Return what a gang uses: accelerators by type, then of each row; of a share, its part."""
    counts = [0.0] * len(problem.types)
    for group in mode.groups:
        counts[group.type_index] += group.count * mode.share_milli / WHOLE_MILLI
    watts = [_added_w(problem, row, mode) for row in rows.power]
    quota = [
        (mode.size if row.kind == ALL_TYPES else counts[row.kind])
        if row.tenant == holder.tenant
        else 0.0
        for row in rows.quota
    ]
    outside = [counts[t] if holder.kept_out else 0.0 for t in rows.kept_out]
    inside = [
        counts[row.type_index] if i in holder.labelled else 0.0
        for i, row in enumerate(rows.labelled)
    ]
    return (*counts, *watts, *quota, *outside, *inside)


# --- power -----------------------------------------------------------------------------------


def power_rows(problem: Problem) -> tuple[PowerRow, ...]:
    """Return a row per set of sites connected by types, where all of its sites are capped.

    A node that is down draws nothing and so makes room: nodes with a declared outage count as
    drawing nothing, and where nodes may fail at random there are no rows.
    """
    cluster = problem.cluster
    if all(site.power_cap_w is None for site in cluster.sites) or _may_fail(problem):
        return ()
    sites_of: dict[int, set[int]] = {}
    for pool in problem.pools:
        sites_of.setdefault(pool.type_index, set()).add(pool.site_index)
    root = list(range(len(cluster.sites)))

    def find(site: int) -> int:
        while root[site] != site:
            site = root[site]
        return site

    for sites in sites_of.values():
        first, *others = sorted(sites)
        for other in others:
            root[find(other)] = find(first)
    idle_w = _steady_idle_w(problem)
    rows = []
    for top in sorted({find(s) for sites in sites_of.values() for s in sites}):
        members = [s for s in range(len(cluster.sites)) if find(s) == top]
        caps = [cluster.sites[s].power_cap_w for s in members]
        room_w = 0.0
        for s, cap_w in zip(members, caps, strict=True):
            room_w += max(0.0, (cap_w or 0.0) * (1 + _ROUNDING) + 1.0 - idle_w[s])
        if all(cap is not None for cap in caps):
            types = sorted(t for t, sites in sites_of.items() if find(min(sites)) == top)
            rows.append(PowerRow(tuple(types), room_w))
    return tuple(rows)


def usable_power_rows(problem: Problem) -> tuple[PowerRow, ...]:
    """Return the power rows that no mode relieves: a gang may draw less than it does idle."""
    rows = Rows(power_rows(problem))
    every = [m for modes in (*problem.modes, *problem.service_modes) for m in modes]
    first = len(problem.types)
    drawn = [used(problem, rows, mode, Holder())[first:] for mode in every]
    return tuple(row for i, row in enumerate(rows.power) if all(w[i] >= 0 for w in drawn))


def _added_w(problem: Problem, row: PowerRow, mode: Mode) -> int:
    """Return the watts above idle that a gang draws on the row's sites at least, rounded down.

    Of a share, as if its accelerator were idle but for it.
    """
    added_w = 0.0
    for group in mode.groups:
        if group.type_index in row.types:
            idle_w = problem.cluster.accelerators[problem.types[group.type_index]].idle_w
            added_w += group.count * (mode.power_w / mode.count - idle_w)
    return math.floor(added_w)


def _may_fail(problem: Problem) -> bool:
    failures = problem.cluster.failures
    every = (failures.node_mtbf_s, failures.accelerator_mtbf_s, failures.switch_mtbf_s)
    return any(mtbf_s < math.inf for mtbf_s in every)


def _steady_idle_w(problem: Problem) -> list[float]:
    """Return what the nodes of each site draw idle, without those that are ever down."""
    cluster = problem.cluster
    down = {outage.node for outage in cluster.outages}
    idle_w = [0.0] * len(cluster.sites)
    for pool in problem.pools:
        for n in pool.nodes:
            node = cluster.nodes[n]
            if node.id not in down:
                kind = cluster.accelerators[node.accelerator]
                idle_w[pool.site_index] += node.overhead_w + node.count * kind.idle_w
    return idle_w


# --- quotas ----------------------------------------------------------------------------------


def quota_rows(problem: Problem) -> tuple[QuotaRow, ...]:
    """Return a row per tenant and kind that may hold less than there is, the scarcest ones."""
    workload = problem.workload
    rules = {t.tenant: t for t in workload.tenancies}
    quotas = quotas_of(problem)
    together: dict[int, int] = {}
    for quota in quotas:
        for kind, count in quota.items():
            together[kind] = together.get(kind, 0) + count
    capacity = problem.capacity()
    found: list[tuple[float, QuotaRow]] = []
    for tenant, (name, quota) in enumerate(zip(workload.tenants, quotas, strict=True)):
        for kind, count in sorted(quota.items()):
            borrow = rules[name].borrow
            most = together[kind] if borrow is None else min(count + borrow, together[kind])
            row = QuotaRow(tenant, kind, most)
            if most < (sum(capacity) if kind == ALL_TYPES else capacity[kind]):
                found.append((_asked(problem, row) / max(most, 1e-9), row))
    found = [(share, row) for share, row in found if share > 0]
    found.sort(key=lambda entry: (-entry[0], entry[1].tenant, entry[1].kind))
    kept = [row for _, row in found[:MOST_QUOTA_ROWS]]
    return tuple(sorted(kept, key=lambda row: (row.tenant, row.kind)))


def _asked(problem: Problem, row: QuotaRow) -> float:
    """Return the accelerator-seconds that the tenant's jobs ask of a kind at least, about."""
    columns = problem.workload.jobs
    mine = columns.tenant_index == row.tenant
    work = np.bincount(columns.class_index[mine], columns.work[mine], len(problem.modes))
    total = 0.0
    for c in np.flatnonzero(work).tolist():
        held = [
            sum(g.count for g in m.groups if row.kind in (ALL_TYPES, g.type_index)) / m.rate
            for m in problem.modes[c]
        ]
        total += float(work[c]) * max(held, default=0.0)
    return total


# --- reserved nodes --------------------------------------------------------------------------


def _kept_out_types(problem: Problem) -> tuple[int, ...]:
    nodes = {node for r in problem.cluster.reservations for node in r.nodes}
    index = {node.id: i for i, node in enumerate(problem.cluster.nodes)}
    type_of = {n: pool.type_index for pool in problem.pools for n in pool.nodes}
    return tuple(sorted({type_of[index[n]] for n in nodes if index[n] in type_of}))


# --- labels ----------------------------------------------------------------------------------


def label_rows(problem: Problem) -> tuple[LabelRow, ...]:
    """Return a row per type and set of nodes that classes with labels are confined to."""
    nodes = problem.cluster.nodes
    of_type: dict[int, set[int]] = {}
    for pool in problem.pools:
        of_type.setdefault(pool.type_index, set()).update(pool.nodes)
    may_use: dict[tuple[int, int], frozenset[int]] = {}
    for c, kind in enumerate(problem.workload.classes):
        types = sorted({g.type_index for m in problem.modes[c] for g in m.groups})
        for t in types if kind.labels else []:
            carry = {n for n in of_type.get(t, ()) if set(kind.labels) <= set(nodes[n].labels)}
            if len(carry) < len(of_type.get(t, ())):
                may_use[c, t] = frozenset(carry)
    found = sorted({(t, tuple(sorted(some))) for (_, t), some in may_use.items()})
    return tuple(
        LabelRow(
            t,
            frozenset(some),
            frozenset(c for (c, u), mine in may_use.items() if u == t and mine <= set(some)),
        )
        for t, some in found[:MOST_LABEL_ROWS]
    )


def longest_hold_s(problem: Problem, index: IntArray, work: FloatArray) -> float:
    """Return a time that no allocation of the jobs at `index` can pass."""
    columns = problem.workload.jobs
    longest = 0.0
    slowest = [min((m.rate for m in modes), default=math.inf) for modes in problem.modes]
    for j in index.tolist():
        c = int(columns.class_index[j])
        longest = max(longest, problem.workload.classes[c].restart_s + float(work[j]) / slowest[c])
    return us_from_s(longest * (1 + 1e-9)) / US_PER_S + _CLOCK_S
