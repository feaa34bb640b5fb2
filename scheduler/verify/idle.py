"""Why idle accelerators were idle, from the definition, instant by instant.

For a free accelerator on a node that is up, with a *shape* any mode of a waiting class or
of a service that lacks capacity which uses the accelerator's type:

1. nothing waits: ``no_demand``;
2. no shape: ``incompatible``; a job whose array has no turn for it has no shape;
3. some shape has a legal placement on free accelerators with a slot on this node:
   ``policy`` if the power caps allow one of these placements, else ``power_cap``;
4. some shape asks, for each of its types, at most what is free in the fleet: ``shape``;
5. otherwise ``gang_wait``.

What is left of an accelerator that jobs share is asked the same: a mode that takes a share may
start there if what is left holds it, by size and by memory, and the node is not being emptied.
What is free in the fleet includes it, for 4, but for nodes that are being emptied.

Exact and slow: everything is looked at afresh between any two changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler.core.ledger import Cause
from scheduler.core.problem import Mode, Problem
from scheduler.core.units import WHOLE_MILLI, us_from_s
from scheduler.core.workload import HELD_BACK
from scheduler.verify.access import Claim, claim_of, is_guarded, service_claim
from scheduler.verify.facts import Facts, Hold
from scheduler.verify.legal import startable_on, uncapped
from scheduler.verify.power import CAP_SLACK_W, added_w, idle_draw_w
from scheduler.verify.shares import Rests, is_share, rests_of, whole_held
from scheduler.verify.waiting import Want

Interval = TypeVar("Interval", Hold, Want)


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the fleet between two changes.

    Parameters
    ----------
    free : tuple of int
        Free accelerators by node; 0 where it is down.
    spare_w : tuple of float
        Watts left under the cap by site; infinite where there is no cap. What a node that
        is down draws when idle stays reserved, so that it can come back.
    modes : tuple of Mode
        Shapes of everything that waits, each once.
    rests : mapping of (int, int) to (int, float)
        Thousandths and bytes left of shared accelerators, by node and device.
    emptied : frozenset of int
        Nodes on which nothing may start.
    """

    free: tuple[int, ...]
    spare_w: tuple[float, ...]
    modes: tuple[Mode, ...]
    rests: Rests
    emptied: frozenset[int]


def instants_of(facts: Facts, holds: Sequence[Hold], wants: Sequence[Want]) -> list[int]:
    """Return the instants, from 0 to the horizon, at which anything changes."""
    at = {0, facts.end_us}
    at.update(t for span in itertools.chain(*facts.downs, *facts.drains) for t in span)
    at.update(t for d in itertools.chain(*facts.partial) for t in (d.start_us, d.end_us))
    for reservation in facts.problem.cluster.reservations:
        at.update((us_from_s(reservation.start_s), us_from_s(reservation.end_s)))
    at.update(t for hold in holds for t in (hold.start_us, hold.end_us))
    at.update(t for want in wants for t in (want.start_us, want.end_us))
    return sorted(t for t in at if 0 <= t <= facts.end_us)


def idle_milli_us(facts: Facts, holds: Sequence[Hold], wants: Sequence[Want]) -> list[list[int]]:
    """Return idle time by pool and cause, in thousandths of an accelerator times microseconds."""
    amounts = [[0] * len(Cause) for _ in facts.problem.pools]
    instants = instants_of(facts, holds, wants)
    live_holds, live_wants = _Live(holds), _Live(wants)
    guarded = is_guarded(facts.problem)
    for start_us, end_us in itertools.pairwise(instants):
        waiting, held = live_wants.at(start_us), live_holds.at(start_us)
        keys = {want.key for want in waiting}
        moment = _moment(facts, held, sorted(keys), start_us)
        claims = _claims(facts, waiting, held, moment.free, start_us) if guarded else []
        elapsed_us = end_us - start_us
        seen: dict[tuple[int, int], Cause] = {}
        for node, free in enumerate(moment.free):
            pool = facts.node_pool[node]
            if free > 0:
                if guarded:
                    cause = _guarded_cause(facts, moment, claims, node)
                elif (pool, free) in seen:
                    cause = seen[pool, free]
                else:
                    cause = seen[pool, free] = _cause(facts, moment, node, waits=bool(keys))
                amounts[pool][cause] += WHOLE_MILLI * free * elapsed_us
        for (node, device), (room, _) in moment.rests.items():
            if not guarded:
                claims = [Claim(moment.modes, frozenset(), moment.free)] if keys else []
            cause = _rest_cause(facts, moment, claims, node, device)
            amounts[facts.node_pool[node]][cause] += room * elapsed_us
    return amounts


class _Live(Generic[Interval]):
    """Tells which intervals contain an instant, for instants asked in ascending order."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._to_come: list[Interval] = sorted(intervals, key=lambda i: i.start_us, reverse=True)
        self._live: list[Interval] = []

    def at(self, at_us: int) -> list[Interval]:
        """Return the intervals that contain `at_us`."""
        while self._to_come and self._to_come[-1].start_us <= at_us:
            self._live.append(self._to_come.pop())
        self._live = [i for i in self._live if i.end_us > at_us]
        return self._live


def _moment(facts: Facts, live: Sequence[Hold], keys: Sequence[int], at_us: int) -> Moment:
    problem = facts.problem
    cluster = problem.cluster
    free = list(facts.node_size)
    draw_w = [0.0] * len(cluster.sites)
    for node, idle_w in enumerate(idle_draw_w(facts)):
        if any(start <= at_us < end for start, end in facts.downs[node]):
            free[node] = 0
        draw_w[facts.node_site[node]] += idle_w
        free[node] -= sum(
            d.count for d in facts.partial[node] if d.start_us <= at_us < d.end_us and free[node]
        )
    for node, count in whole_held(live).items():
        free[node] -= count
    for hold in live:
        for node, count in hold.held:
            extra_w = count * added_w(facts, hold.mode, facts.node_type[node])
            draw_w[facts.node_site[node]] += extra_w
    spare_w = tuple(
        float("inf") if site.power_cap_w is None else site.power_cap_w - draw
        for site, draw in zip(cluster.sites, draw_w, strict=True)
    )
    shapes = {
        (m.groups, m.level, m.power_w, m.share_milli, m.memory_bytes): m
        for key in keys
        for m in _modes(problem, key)
    }
    emptied = frozenset(
        node
        for node, spans in enumerate(facts.drains)
        if any(start <= at_us < end for start, end in spans)
    )
    return Moment(tuple(free), spare_w, tuple(shapes.values()), rests_of(facts, live), emptied)


def _modes(problem: Problem, key: int) -> tuple[Mode, ...]:
    if key == HELD_BACK:
        return ()
    return problem.modes[key] if key >= 0 else problem.service_modes[-1 - key]


def _claims(
    facts: Facts, waiting: Sequence[Want], held: Sequence[Hold], free: Sequence[int], at_us: int
) -> list[Claim]:
    """Return what each that waits may use; jobs of one class, tenant and reservation agree."""
    found: dict[tuple[object, ...], Claim] = {}
    jobs = facts.problem.workload.jobs
    named = {job for r in facts.problem.cluster.reservations for job in r.jobs}
    for want in waiting:
        if want.key == HELD_BACK:
            found[HELD_BACK,] = Claim((), frozenset(), tuple(free))
            continue
        if want.job < 0:
            key: tuple[object, ...] = (want.key,)
            if key not in found:
                found[key] = service_claim(facts, -1 - want.key, held, free, at_us)
            continue
        own = jobs.ids[want.job] if jobs.ids[want.job] in named else None
        key = (want.key, int(jobs.tenant_index[want.job]), own)
        if key not in found:
            found[key] = claim_of(facts, want.job, held, free, at_us)
    return list(found.values())


def _uses(claims: Sequence[Claim], node: int, t: int) -> list[tuple[Claim, Mode]]:
    """Return who may use a node of type `t`, and how."""
    return [
        (claim, mode)
        for claim in claims
        if node not in claim.barred
        for mode in claim.modes
        if any(g.type_index == t for g in mode.groups)
    ]


def _guarded_cause(facts: Facts, moment: Moment, claims: Sequence[Claim], node: int) -> Cause:
    """Return the cause of a node's idle time where not everybody may use everything."""
    if not claims:
        return Cause.NO_DEMAND
    t = facts.node_type[node]
    here = _uses(claims, node, t)
    if not here:
        return Cause.INCOMPATIBLE
    for spare_w, cause in ((moment.spare_w, Cause.POLICY), (uncapped(facts), Cause.POWER_CAP)):
        if any(startable_on(facts, c.usable, spare_w, mode, node) for c, mode in here):
            return cause
    return _blocked(facts, moment, here)


def _cause(facts: Facts, moment: Moment, node: int, *, waits: bool) -> Cause:
    if not waits:
        return Cause.NO_DEMAND
    t = facts.node_type[node]
    shapes = [m for m in moment.modes if any(g.type_index == t for g in m.groups)]
    if not shapes:
        return Cause.INCOMPATIBLE
    free = moment.free
    if any(startable_on(facts, free, moment.spare_w, mode, node) for mode in shapes):
        return Cause.POLICY
    if any(startable_on(facts, free, uncapped(facts), mode, node) for mode in shapes):
        return Cause.POWER_CAP
    everything = Claim(moment.modes, frozenset(), free)
    return _blocked(facts, moment, [(everything, mode) for mode in shapes])


def _rest_cause(
    facts: Facts, moment: Moment, claims: Sequence[Claim], node: int, device: int
) -> Cause:
    """Return the cause of the idle time of what is left of a shared accelerator."""
    if not claims:
        return Cause.NO_DEMAND
    t = facts.node_type[node]
    here = _uses(claims, node, t)
    if not here:
        return Cause.INCOMPATIBLE
    room, memory = moment.rests[node, device]
    able = [
        mode
        for claim, mode in here
        if is_share(mode)
        and mode.share_milli <= room
        and mode.memory_bytes <= memory
        and node not in moment.emptied
        and node not in claim.full
    ]
    spare_w = moment.spare_w[facts.node_site[node]]
    if any(added_w(facts, mode, t) <= spare_w + CAP_SLACK_W for mode in able):
        return Cause.POLICY
    return Cause.POWER_CAP if able else _blocked(facts, moment, here)


def _blocked(facts: Facts, moment: Moment, here: Sequence[tuple[Claim, Mode]]) -> Cause:
    """Return ``shape`` if some mode asks for at most what is free, parts counted."""
    for claim, mode in here:
        total = [0] * len(facts.problem.types)
        for other, count in enumerate(claim.usable):
            total[facts.node_type[other]] += WHOLE_MILLI * max(count, 0)
        for (other, _), (room, _) in moment.rests.items():
            if other not in moment.emptied and other not in claim.full:
                total[facts.node_type[other]] += room
        if all(total[g.type_index] >= g.count * mode.share_milli for g in mode.groups):
            return Cause.SHAPE
    return Cause.GANG_WAIT
