"""Kinds of damage to a valid run, each with the violation codes that must answer it.

A kind returns the damaged (problem, run), or None where it cannot be done to this run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from scheduler.core.cluster import Outage
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation, Down, Placement, Run
from scheduler.core.units import US_PER_S, us_from_s

Case = tuple[Problem, Run]
Damage = Callable[[np.random.Generator, Problem, Run], Case | None]
KINDS: dict[str, tuple[Damage, frozenset[str]]] = {}
T = TypeVar("T")


def damage(*codes: str) -> Callable[[Damage], Damage]:
    def register(function: Damage) -> Damage:
        KINDS[function.__name__] = (function, frozenset(codes))
        return function

    return register


def pick(rng: np.random.Generator, options: Sequence[T]) -> T | None:
    return options[int(rng.integers(len(options)))] if options else None


def mode_of(problem: Problem, a: Allocation) -> Mode:
    return problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]


def class_of(problem: Problem, job: int):
    return problem.workload.classes[int(problem.workload.jobs.class_index[job])]


def changed(problem: Problem, run: Run, i: int, **fields: object) -> Case:
    allocations = list(run.allocations)
    allocations[i] = replace(allocations[i], **fields)
    return problem, replace(run, allocations=tuple(allocations))


def is_last(run: Run, a: Allocation) -> bool:
    return all(b.end_us <= a.end_us for b in run.allocations if b.job == a.job)


def moved(placement: Placement, changes: dict[int, int]) -> Placement:
    held = dict(zip(placement.nodes, placement.counts, strict=True))
    for node, count in changes.items():
        held[node] = held.get(node, 0) + count
    nodes = tuple(sorted(n for n, c in held.items() if c))
    return Placement(nodes, tuple(held[n] for n in nodes))


def type_of(problem: Problem, node: int) -> str:
    return problem.cluster.nodes[node].accelerator


def pool_of(problem: Problem, node: int) -> int:
    return next(p for p, pool in enumerate(problem.pools) if node in pool.nodes)


def failed(run: Run, a: Allocation) -> bool:
    return any(d.node in a.placement.nodes and d.start_us == a.end_us for d in run.downs)


# --- time -----------------------------------------------------------------------------


@damage("finished")
def shift_one_second_later(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.job in run.finished_us and is_last(run, a) and a.end_us + US_PER_S <= run.horizon_us
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    a = run.allocations[i]
    return changed(problem, run, i, start_us=a.start_us + US_PER_S, end_us=a.end_us + US_PER_S)


@damage("release")
def start_one_us_before_release(rng, problem, run):
    release = [us_from_s(t) for t in problem.workload.jobs.release_s]
    options = [i for i, a in enumerate(run.allocations) if release[a.job] > 0]
    if (i := pick(rng, options)) is None:
        return None
    return changed(problem, run, i, start_us=release[run.allocations[i].job] - 1)


@damage("overlap")
def overlap_by_one_us(rng, problem, run):
    if (a := pick(rng, [a for a in run.allocations if a.end_us < run.horizon_us])) is None:
        return None
    again = replace(a, start_us=a.end_us - 1, end_us=a.end_us + 1, work=0.0, lost_work=0.0)
    again = replace(again, overhead_us=min(2, again.overhead_us))
    return problem, replace(run, allocations=(*run.allocations, again))


@damage("overlap")
def run_twice_at_once(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    return problem, replace(run, allocations=(*run.allocations, a))


@damage("interval")
def end_after_the_horizon(rng, problem, run):
    i = pick(rng, [i for i, a in enumerate(run.allocations) if a.end_us == run.horizon_us])
    return None if i is None else changed(problem, run, i, end_us=run.horizon_us + 1)


@damage("interval")
def end_before_the_start(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    return changed(problem, run, i, end_us=run.allocations[i].start_us)


@damage("interval")
def overhead_beyond_the_end(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    return changed(problem, run, i, overhead_us=a.end_us - a.start_us + 1)


@damage("interval")
def start_before_zero(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    return None if i is None else changed(problem, run, i, start_us=-1)


@damage("ledger_total", "running")
def horizon_one_us_later(rng, problem, run):
    later = run.horizon_us + 1
    return problem, replace(run, horizon_us=later, ledger_end_us=later)


@damage("ledger_total")
def ledger_ends_one_us_earlier(rng, problem, run):
    return problem, replace(run, ledger_end_us=run.ledger_end_us - 1)


@damage("ledger_end")
def ledger_ends_after_the_horizon(rng, problem, run):
    return problem, replace(run, ledger_end_us=run.horizon_us + 1)


@damage("overhead")
def overhead_one_us_short(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations)
        if a.overhead_us and a.end_us - a.start_us > a.overhead_us
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    return changed(problem, run, i, overhead_us=run.allocations[i].overhead_us - 1)


@damage("ledger_reconfiguration")
def overhead_one_us_long(rng, problem, run):
    options = [
        i for i, a in enumerate(run.allocations) if a.end_us - a.start_us > a.overhead_us
    ]  # fmt: skip
    if (i := pick(rng, options)) is None:
        return None
    return changed(problem, run, i, overhead_us=run.allocations[i].overhead_us + 1)


# --- place ----------------------------------------------------------------------------


@damage("gang")
def drop_a_member(rng, problem, run):
    options = [i for i, a in enumerate(run.allocations) if sum(a.placement.counts) > 1]
    if (i := pick(rng, options)) is None:
        return None
    placement = run.allocations[i].placement
    return changed(problem, run, i, placement=moved(placement, {placement.nodes[-1]: -1}))


@damage("gang")
def add_a_member(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    placement = run.allocations[i].placement
    return changed(problem, run, i, placement=moved(placement, {placement.nodes[0]: 1}))


@damage("gang")
def swap_two_placements(rng, problem, run):
    options = [
        (i, j)
        for i, a in enumerate(run.allocations)
        for j, b in enumerate(run.allocations[:i])
        if sum(a.placement.counts) != sum(b.placement.counts)
    ]
    if (pair := pick(rng, options)) is None:
        return None
    i, j = pair
    allocations = list(run.allocations)
    a, b = allocations[i], allocations[j]
    allocations[i] = replace(a, placement=b.placement)
    allocations[j] = replace(b, placement=a.placement)
    return problem, replace(run, allocations=tuple(allocations))


@damage("type")
def move_to_another_type(rng, problem, run):
    options = []
    for i, a in enumerate(run.allocations):
        used = {problem.types[g.type_index] for g in mode_of(problem, a).groups}
        options += [
            (i, n) for n in range(len(problem.cluster.nodes)) if type_of(problem, n) not in used
        ]
    if (choice := pick(rng, options)) is None:
        return None
    i, node = choice
    placement = run.allocations[i].placement
    count = placement.counts[0]
    elsewhere = moved(placement, {placement.nodes[0]: -count, node: count})
    return changed(problem, run, i, placement=elsewhere)


def _split(rng, problem, run, wanted):
    """Move one accelerator to another node of the type where `wanted(mode, from, to)`."""
    options = []
    for i, a in enumerate(run.allocations):
        mode = mode_of(problem, a)
        for node in a.placement.nodes:
            options += [
                (i, node, other)
                for other in range(len(problem.cluster.nodes))
                if other != node
                and type_of(problem, other) == type_of(problem, node)
                and wanted(a, mode, node, other)
            ]
    if (choice := pick(rng, options)) is None:
        return None
    i, node, other = choice
    elsewhere = moved(run.allocations[i].placement, {node: -1, other: 1})
    return changed(problem, run, i, placement=elsewhere)


@damage("domain")
def leave_the_node(rng, problem, run):
    return _split(
        rng, problem, run, lambda a, m, node, other: m.level == 0 and sum(a.placement.counts) > 1
    )


@damage("domain")
def leave_the_domain(rng, problem, run):
    def outside(a, mode, node, other):
        if mode.level == 0 or a.placement.counts == (1,):
            return False
        here, there = (problem.pools[pool_of(problem, n)].domains for n in (node, other))
        return here[mode.level - 1] != there[mode.level - 1]

    return _split(rng, problem, run, outside)


@damage("shape")
def split_a_slot(rng, problem, run):
    def breaks(a, mode, node, other):
        group = next(
            g for g in mode.groups if problem.types[g.type_index] == type_of(problem, node)
        )
        held = dict(zip(a.placement.nodes, a.placement.counts, strict=True))
        rest = group.count % group.per_node
        # One less here and one more there: not whole slots unless they trade the remainder.
        after = sorted(
            [(held[node] - 1) % group.per_node, (held.get(other, 0) + 1) % group.per_node]
        )
        return group.per_node > 1 and after not in ([0, rest], [rest, 0], [0, 0])

    return _split(rng, problem, run, breaks)


@damage("capacity")
def one_more_than_the_node_has(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    a = run.allocations[i]
    node = a.placement.nodes[0]
    held = [(b.start_us, b.end_us, b.placement) for b in (*run.allocations, *run.replicas)]
    most = max(
        sum(
            dict(zip(p.nodes, p.counts, strict=True)).get(node, 0)
            for start, end, p in held
            if start <= at < end
        )
        for at in {a.start_us, *(s for s, _, _ in held if a.start_us <= s < a.end_us)}
    )
    extra = problem.cluster.nodes[node].count + 1 - most
    return changed(problem, run, i, placement=moved(a.placement, {node: extra}))


@damage("unknown_node")
def unknown_node(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    count = sum(run.allocations[i].placement.counts)
    placement = Placement((len(problem.cluster.nodes),), (count,))
    return changed(problem, run, i, placement=placement)


@damage("placement")
def node_listed_twice(rng, problem, run):
    i = pick(rng, range(len(run.allocations)))
    if i is None:
        return None
    node = run.allocations[i].placement.nodes[0]
    return changed(problem, run, i, placement=Placement((node, node), (1, 1)))


@damage("down")
def node_fails_unnoticed(rng, problem, run):
    options = [a for a in run.allocations if a.end_us - a.start_us > 1]
    if (a := pick(rng, options)) is None:
        return None
    down = Down(a.placement.nodes[0], a.end_us - 1, a.end_us)
    return problem, replace(run, downs=(*run.downs, down))


@damage("down")
def declared_outage_ignored(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    name = problem.cluster.nodes[a.placement.nodes[0]].id
    outage = Outage(name, a.start_us / US_PER_S, a.start_us / US_PER_S + 1e-3)
    cluster = replace(problem.cluster, outages=(*problem.cluster.outages, outage))
    return replace(problem, cluster=cluster), run


@damage("power_cap")
def cap_one_watt_lower_than_the_draw(rng, problem, run):
    if (a := pick(rng, run.allocations)) is None:
        return None
    cluster = problem.cluster
    site = problem.pools[pool_of(problem, a.placement.nodes[0])].site_index
    live = [
        (mode_of(problem, b), b.placement)
        for b in run.allocations
        if b.start_us <= a.start_us < b.end_us
    ]
    live += [
        (problem.service_modes[r.service][r.mode], r.placement)
        for r in run.replicas
        if r.start_us <= a.start_us < r.end_us
    ]
    off = {d.node for d in run.downs if d.start_us <= a.start_us < d.end_us}
    watts = 0.0
    for n, node in enumerate(cluster.nodes):
        if problem.pools[pool_of(problem, n)].site_index != site or n in off:
            continue
        held = 0
        for mode, placement in live:
            count = dict(zip(placement.nodes, placement.counts, strict=True)).get(n, 0)
            watts += count * mode.power_w / mode.count
            held += count
        watts += (
            node.overhead_w + (node.count - held) * cluster.accelerators[node.accelerator].idle_w
        )
    sites = list(cluster.sites)
    sites[site] = replace(sites[site], power_cap_w=watts - 1)
    return replace(problem, cluster=replace(cluster, sites=tuple(sites))), run
