"""Rules on the ledger: it balances exactly, and its rows follow from the allocations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.run import Run, Violation
from scheduler.core.units import WHOLE_MILLI
from scheduler.verify.access import is_guarded
from scheduler.verify.facts import Facts, Hold
from scheduler.verify.services import Serving
from scheduler.verify.shares import is_share
from scheduler.verify.waiting import Clock, Want, types_wanted

Holding = tuple[Hold, int, int]
"""A hold, a pool it touches, and the thousandths of accelerators it holds there."""

HELD_CAUSES = tuple(c for c in Cause if Cause.PRODUCTIVE <= c <= Cause.HEADROOM)
ROUNDING_US = 2
"""Microseconds by which the split of one hold may differ per accelerator, from rounding."""


def rows_named(facts: Facts, run: Run) -> Iterator[Violation]:
    """``ledger_rows``: a row per pool, a column per cause, each row under its pool's names."""
    problem, ledger = facts.problem, run.ledger
    if ledger.amount_us.shape != (len(problem.pools), len(Cause)):
        text = f"shape {ledger.amount_us.shape}, not ({len(problem.pools)}, {len(Cause)})"
        yield Violation("ledger_rows", text)
        return
    types = tuple(problem.types[pool.type_index] for pool in problem.pools)
    domains = tuple(
        problem.domains[pool.domains[0]].name if pool.domains else "" for pool in problem.pools
    )
    if ledger.pool_types != types or ledger.pool_domains != domains:
        yield Violation("ledger_rows", "types or domains of the rows are not those of the pools")


def rows_balance(facts: Facts, run: Run) -> Iterator[Violation]:
    """``ledger_total``, ``ledger_negative``: each row sums to capacity times horizon."""
    for p, pool in enumerate(facts.problem.pools):
        row = [int(v) for v in run.ledger.amount_us[p]]
        due = len(pool.nodes) * pool.size * facts.end_us
        if sum(row) != due:
            text = f"{_pool(facts, p)}: sums to {sum(row)}, capacity x horizon is {due}"
            yield Violation("ledger_total", text)
        for cause in Cause:
            if row[cause] < 0:
                text = f"{_pool(facts, p)}: {cause.label} is {row[cause]}"
                yield Violation("ledger_negative", text)


def down_booked(facts: Facts, run: Run) -> Iterator[Violation]:
    """``ledger_down``: exactly the accelerator-time of nodes that were down."""
    for p, pool in enumerate(facts.problem.pools):
        spans = [span for node in pool.nodes for span in facts.downs[node]]
        due_us = pool.size * sum(end - start for start, end in spans)
        parts = [d for node in pool.nodes for d in facts.partial[node]]
        due_us += sum(d.count * (d.end_us - d.start_us) for d in parts)
        yield from _differs(facts, run, p, Cause.DOWN, due_us * WHOLE_MILLI)


def held_booked(
    facts: Facts, run: Run, holdings: Sequence[Holding], servings: Sequence[Serving]
) -> Iterator[Violation]:
    """``ledger_held`` and ``ledger_<cause>``: held time and its split.

    The total and the reconfiguration are exact, in whole accelerator-microseconds, each cause
    rounded up or down where shares leave a remainder; the other parts may differ by the
    rounding of each hold.
    """
    pools = len(facts.problem.pools)
    held = [0] * pools
    overhead = [0] * pools
    slack = [0] * pools
    due = np.zeros((pools, len(Cause)))
    shared = {pool for hold, pool, _ in holdings if is_share(hold.mode)}
    for hold, pool, milli in holdings:
        held[pool] += milli * (hold.end_us - hold.start_us)
        overhead[pool] += milli * hold.overhead_us
        slack[pool] += milli * ROUNDING_US
        split = _job_split(hold) if hold.job >= 0 else _replica_split(hold, servings)
        for cause, amount in split:
            due[pool, cause] += milli * amount
    for p in range(pools):
        row = run.ledger.amount_us[p]
        booked = sum(int(row[c]) for c in HELD_CAUSES)
        rounded = len(HELD_CAUSES) if p in shared else 1
        if not abs(booked * WHOLE_MILLI - held[p]) < rounded * WHOLE_MILLI:
            amount = held[p] / WHOLE_MILLI
            text = f"{_pool(facts, p)}: held causes sum to {booked}, allocations hold {amount:.15g}"
            yield Violation("ledger_held", text)
        yield from _differs(facts, run, p, Cause.RECONFIGURATION, overhead[p])
        for cause in HELD_CAUSES:
            if cause != Cause.RECONFIGURATION:
                amount = float(due[p, cause])
                yield from _differs(facts, run, p, cause, amount, slack[p] + 1e-12 * amount)


def unwanted_booked(
    facts: Facts, run: Run, holdings: Sequence[Holding], wants: Sequence[Want]
) -> Iterator[Violation]:
    """``ledger_no_demand``, ``ledger_incompatible``: exactly the idle time nobody can use.

    Idle time is capacity less what is held or down; where no site has a power cap, none of
    it can be the cap's fault.
    """
    problem = facts.problem
    usable = {key: types_wanted(problem, key) for key in sorted({want.key for want in wants})}
    types = range(len(problem.types))
    always = Clock([Want(0, 0, facts.end_us)])
    idle = _idle_us(facts, holdings, [always for _ in types])
    waited = _idle_us(facts, holdings, [Clock(wants)] * len(types))
    wanted = _idle_us(
        facts, holdings, [Clock([w for w in wants if t in usable[w.key]]) for t in types]
    )
    uncapped = all(site.power_cap_w is None for site in problem.cluster.sites)
    for p in range(len(problem.pools)):
        yield from _differs(facts, run, p, Cause.NO_DEMAND, idle[p] - waited[p])
        if not is_guarded(problem):  # else it depends on the instant
            yield from _differs(facts, run, p, Cause.INCOMPATIBLE, waited[p] - wanted[p])
        if uncapped:
            yield from _differs(facts, run, p, Cause.POWER_CAP, 0)


def idle_booked(facts: Facts, run: Run, due: Sequence[Sequence[int]]) -> Iterator[Violation]:
    """``ledger_<cause>``: every idle cause is exactly what its definition gives.

    `due` is in thousandths of an accelerator times microseconds.
    """
    for p, row in enumerate(due):
        for cause in IDLE_CAUSES:
            yield from _differs(facts, run, p, cause, row[cause])


def holdings_of(facts: Facts, holds: Sequence[Hold]) -> list[Holding]:
    """Return each hold once per pool it touches, with what it holds there, in thousandths."""
    holdings = []
    for hold in holds:
        by_pool: dict[int, int] = {}
        for node, count in hold.held:
            pool = facts.node_pool[node]
            by_pool[pool] = by_pool.get(pool, 0) + count * hold.mode.share_milli
        holdings += [(hold, pool, count) for pool, count in by_pool.items()]
    return holdings


def _idle_us(
    facts: Facts, holdings: Sequence[Holding], clock_of_type: Sequence[Clock]
) -> list[int]:
    """Return idle thousandths of accelerators times microseconds while their type's clock runs."""
    pools = facts.problem.pools
    clocks = [clock_of_type[pool.type_index] for pool in pools]
    idle = []
    for pool, clock in zip(pools, clocks, strict=True):
        spans = [span for node in pool.nodes for span in facts.downs[node]]
        down = sum(clock.covered(start, end) for start, end in spans)
        parts = [d for node in pool.nodes for d in facts.partial[node]]
        out = sum(d.count * clock.covered(d.start_us, d.end_us) for d in parts)
        whole = pool.size * (len(pool.nodes) * clock.covered(0, facts.end_us) - down) - out
        idle.append(whole * WHOLE_MILLI)
    for hold, pool_index, milli in holdings:
        idle[pool_index] -= milli * clocks[pool_index].covered(hold.start_us, hold.end_us)
    return idle


def _job_split(hold: Hold) -> tuple[tuple[Cause, float], ...]:
    """Return how the time after the overhead divides, in microseconds.

    First what a failure undid, in proportion to the work; of the rest the straggler share;
    of that, ``rate / best_rate`` is productive and the remainder communication.
    """
    lost = hold.run_us * hold.lost_work / hold.work if hold.work > 0 else 0.0
    kept = hold.run_us - lost
    straggler = kept * hold.mode.straggler
    productive = (kept - straggler) * hold.mode.rate / hold.mode.best_rate
    return (
        (Cause.LOST, lost),
        (Cause.STRAGGLER, straggler),
        (Cause.PRODUCTIVE, productive),
        (Cause.COMMUNICATION, kept - straggler - productive),
    )


def _replica_split(hold: Hold, servings: Sequence[Serving]) -> tuple[tuple[Cause, float], ...]:
    """Return how a replica's time after loading divides, in microseconds.

    The used share of the service's capacity splits like a job's time; the rest is headroom.
    """
    serves_us = hold.start_us + hold.overhead_us
    used = servings[hold.service].used_between(serves_us, hold.end_us)
    productive = used * hold.mode.rate / hold.mode.best_rate
    return (
        (Cause.PRODUCTIVE, productive),
        (Cause.COMMUNICATION, used - productive),
        (Cause.HEADROOM, hold.run_us - used),
    )


def _differs(
    facts: Facts, run: Run, pool: int, cause: Cause, due: float, tolerance: float = 0
) -> Iterator[Violation]:
    """Compare a cause with what is due, in thousandths of an accelerator times microseconds.

    It may be rounded up or down to a whole number; what is whole already must be met exactly.
    """
    booked = int(run.ledger.amount_us[pool, cause])
    if not abs(booked * WHOLE_MILLI - due) < WHOLE_MILLI + tolerance:
        name, amount = _pool(facts, pool), due / WHOLE_MILLI
        text = (
            f"{name}: {cause.label} is {booked} accelerator-us, {amount:.15g} follow from the run"
        )
        yield Violation(f"ledger_{cause.label}", text)


def _pool(facts: Facts, pool: int) -> str:
    row = facts.problem.pools[pool]
    return f"pool {pool} ({facts.problem.types[row.type_index]})"
