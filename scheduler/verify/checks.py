"""Every rule on a Run or a Schedule, applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run, Schedule, Status, Violation
from scheduler.core.units import US_PER_S, WHOLE_MILLI, s_from_us
from scheduler.core.workload import IntArray
from scheduler.verify.access import ACCESS_RULES, is_guarded
from scheduler.verify.capacity import node_capacity
from scheduler.verify.drains import drains_counted, drains_kept
from scheduler.verify.facts import Facts, Hold, gather, holds_of
from scheduler.verify.idle import idle_milli_us, instants_of
from scheduler.verify.ledger import (
    down_booked,
    held_booked,
    holdings_of,
    idle_booked,
    rows_balance,
    rows_named,
    unwanted_booked,
)
from scheduler.verify.lifecycle import LIFE_RULES, RUN_LIFE_RULES, STATE_RULES, Life, lives_of
from scheduler.verify.placement import HOLD_RULES
from scheduler.verify.power import energy_integrated, power_cap
from scheduler.verify.services import requests_counted, servings_of, switched_off
from scheduler.verify.shares import share_placed, shares_kept
from scheduler.verify.terms import arrays_kept, needs_met
from scheduler.verify.waiting import wants_of
from scheduler.verify.window import as_of

_LAST_US = 1 << 53  # 285 years: beyond it, floats no longer tell microseconds apart
IDLE_LIMIT = 300_000
"""Changes of state times nodes up to which `verify_run` rebuilds every idle cause (seconds)."""


def verify_run(problem: Problem, run: Run) -> list[Violation]:
    """Check what happened against the problem, from the definitions.

    Parameters
    ----------
    problem : Problem
        What was asked.
    run : Run
        What happened.

    Returns
    -------
    list of Violation
        Empty if every rule holds. Rules that need the parts another rule found broken
        (unknown names, a horizon that is no time) are not applied to those parts.

    Notes
    -----
    Independent of the code that makes runs. Cost O(n log n) in allocations; the causes
    ``policy``, ``power_cap``, ``shape`` and ``gang_wait`` are rebuilt, which takes longer,
    only for runs of at most `IDLE_LIMIT` changes of state times nodes; beyond, these four
    are checked in their sum (`recompute_idle` rebuilds them for any run).
    """
    if not 0 <= run.horizon_us < _LAST_US or len(run.actual_work) != len(problem.workload.jobs):
        text = f"horizon {run.horizon_us} us, work of {len(run.actual_work)} jobs"
        return [Violation("run", text)]
    facts = gather(problem, run.horizon_us, run.downs, run.crashes)
    found = list(_pools_match(facts))
    if found:
        return found
    found += _downs_sane(facts, run)
    holds, bad = holds_of(problem, run.horizon_us, run.allocations, run.replicas)
    found += bad
    lives = lives_of(facts, holds, run.actual_work, run.finished_us, run.killed_us)
    found += _held_rules(facts, holds, lives, RUN_LIFE_RULES)
    found += drains_counted(facts, holds)
    for rule in STATE_RULES:
        found += rule(facts, run, lives)
    found += _count_rules(facts, run, holds)
    if not 0 <= run.ledger_end_us <= run.horizon_us:
        text = f"ends at {run.ledger_end_us} us of {run.horizon_us}"
        return [*found, Violation("ledger_end", text)]
    if not found:  # the ledger can only follow from allocations that are themselves right
        found += _ledger_rules(problem, as_of(problem, run, run.ledger_end_us))
    return found


def verify_schedule(problem: Problem, schedule: Schedule) -> list[Violation]:
    """Check a plan against the problem, from the definitions.

    The rules on allocations are those of `verify_run`, with the nominal work and the
    declared outages. Every job that is given an allocation must be completed, and the bound
    must not exceed the objective. The objective itself is recomputed where its name is
    known (``mean_jct``, ``makespan``); it then counts every job that has a mode, so that
    each of these must be planned.

    Parameters
    ----------
    problem : Problem
        What was asked.
    schedule : Schedule
        What is planned.

    Returns
    -------
    list of Violation
        Empty if every rule holds.
    """
    end_us = max((a.end_us for a in schedule.allocations if a.end_us < _LAST_US), default=0)
    facts = gather(problem, max(0, end_us), ())
    found = list(_pools_match(facts))
    if found:
        return found
    holds, bad = holds_of(problem, end_us, schedule.allocations)
    last: dict[int, int] = {}
    for hold in holds:
        last[hold.job] = max(last.get(hold.job, 0), hold.end_us)
    lives = lives_of(facts, holds, problem.workload.jobs.work.tolist(), last)
    found += bad
    found += _held_rules(facts, holds, lives, LIFE_RULES)
    found += _objective(facts, schedule, lives)
    return found


def recompute_idle(problem: Problem, run: Run) -> IntArray:
    """Return the idle part of the ledger, rebuilt instant by instant from its definition.

    Parameters
    ----------
    problem : Problem
        What was asked.
    run : Run
        What happened; must pass the other rules of `verify_run`.

    Returns
    -------
    ndarray of int64, shape (pools, causes)
        Accelerator-microseconds; zero in the columns of causes that are not idle. Where
        accelerators are shared, to the nearest whole number.

    Notes
    -----
    Cost O(changes of state x nodes x modes): meant for small runs.
    """
    cut = as_of(problem, run, run.ledger_end_us)
    facts = gather(problem, cut.horizon_us, cut.downs, cut.crashes)
    holds, _ = holds_of(problem, cut.horizon_us, cut.allocations, cut.replicas)
    lives = lives_of(facts, holds, cut.actual_work, cut.finished_us, cut.killed_us)
    never = {*cut.rejected, *cut.cancelled}
    wants = wants_of(facts, lives, never, servings_of(facts, holds))
    found = [
        [round(m, -3) // WHOLE_MILLI for m in row] for row in idle_milli_us(facts, holds, wants)
    ]
    return np.array(found, dtype=np.int64).reshape(len(problem.pools), len(Cause))


LifeRule = Callable[[Facts, Life], Iterator[Violation]]


def _held_rules(
    facts: Facts, holds: Sequence[Hold], lives: Sequence[Life], life_rules: Sequence[LifeRule]
) -> Iterator[Violation]:
    for hold in holds:
        for rule in HOLD_RULES:
            yield from rule(facts, hold)
        yield from share_placed(facts, hold)
    yield from node_capacity(facts, holds)
    yield from shares_kept(facts, holds)
    yield from power_cap(facts, holds)
    if is_guarded(facts.problem):
        for access_rule in ACCESS_RULES:
            yield from access_rule(facts, holds)
    yield from drains_kept(facts, holds)
    yield from needs_met(facts, lives)
    yield from arrays_kept(facts, holds)
    for life in lives:
        for life_rule in life_rules:
            yield from life_rule(facts, life)


def _count_rules(facts: Facts, run: Run, holds: Sequence[Hold]) -> Iterator[Violation]:
    """Rules on what was counted over the whole run: services and energy."""
    servings = servings_of(facts, holds)
    yield from switched_off(facts, holds)
    yield from requests_counted(facts, run, servings)
    yield from energy_integrated(facts, run, holds)


def _ledger_rules(problem: Problem, run: Run) -> Iterator[Violation]:
    """Rules on the ledger of a run that ends where its ledger does."""
    facts = gather(problem, run.horizon_us, run.downs, run.crashes)
    misnamed = list(rows_named(facts, run))
    if misnamed:
        yield from misnamed
        return
    holds, _ = holds_of(problem, run.horizon_us, run.allocations, run.replicas)
    lives = lives_of(facts, holds, run.actual_work, run.finished_us, run.killed_us)
    servings = servings_of(facts, holds)
    holdings = holdings_of(facts, holds)
    wants = wants_of(facts, lives, {*run.rejected, *run.cancelled}, servings)
    yield from rows_balance(facts, run)
    yield from down_booked(facts, run)
    yield from held_booked(facts, run, holdings, servings)
    if len(instants_of(facts, holds, wants)) * len(facts.node_ids) <= IDLE_LIMIT:
        yield from idle_booked(facts, run, idle_milli_us(facts, holds, wants))
    else:
        yield from unwanted_booked(facts, run, holdings, wants)


def _pools_match(facts: Facts) -> Iterator[Violation]:
    """``pool``: every node is in one pool, of its own type, size and site."""
    seen = [0] * len(facts.node_ids)
    for p, pool in enumerate(facts.problem.pools):
        for node in pool.nodes:
            if not 0 <= node < len(seen):
                yield Violation("pool", f"pool {p} lists node {node} of {len(seen)}")
                continue
            seen[node] += 1
            mine = (facts.node_type[node], facts.node_size[node], facts.node_site[node])
            if mine != (pool.type_index, pool.size, pool.site_index):
                text = f"pool {p} is of another type, size or site"
                yield Violation("pool", text, "", facts.node_id(node))
    for node, times in enumerate(seen):
        if times != 1:
            yield Violation("pool", f"in {times} pools", "", facts.node_id(node))


def _downs_sane(facts: Facts, run: Run) -> Iterator[Violation]:
    """``unknown_node``, ``interval``: downs name nodes and are cut at the horizon."""
    for down in run.downs:
        at_s = s_from_us(down.start_us)
        if not 0 <= down.node < len(facts.node_ids):
            yield Violation("unknown_node", f"no node {down.node}", "", f"#{down.node}", at_s)
        elif not 0 <= down.start_us < down.end_us <= facts.end_us:
            text = f"down over [{down.start_us}, {down.end_us}) us"
            yield Violation("interval", text, "", facts.node_id(down.node), at_s)
        elif (down.count > 0) != (down.cause != "down") or down.count < 0:
            text = f"{down.count} accelerators out of use by {down.cause!r}"
            yield Violation("down_cause", text, "", facts.node_id(down.node), at_s)


def _objective(facts: Facts, schedule: Schedule, lives: Sequence[Life]) -> Iterator[Violation]:
    """``bound``, ``objective``, ``incomplete``: what the plan claims of itself."""
    objective, bound = schedule.objective, schedule.bound
    slack = 1e-6 * max(1.0, abs(objective))
    if not bound <= objective + slack:
        yield Violation("bound", f"bound {bound!r} exceeds the objective {objective!r}")
    if schedule.status is Status.OPTIMAL and not objective - bound <= slack:
        text = f"called optimal with objective {objective!r} and bound {bound!r}"
        yield Violation("bound", text)
    if schedule.objective_name not in ("mean_jct", "makespan"):
        return
    classes = facts.problem.workload.jobs.class_index.tolist()
    counted = [life for life in lives if facts.problem.modes[classes[life.job]]]
    for life in counted:
        if not life.holds:
            yield Violation("incomplete", "never planned", life.who)
    ends = [(life.finished_us, facts.release_us[life.job]) for life in counted]
    spans_us = [end - release for end, release in ends if end is not None]
    if not spans_us:
        return
    due_s = sum(spans_us) / len(spans_us) / US_PER_S
    if schedule.objective_name == "makespan":
        due_s = (facts.end_us - min(release for _, release in ends)) / US_PER_S
    if abs(objective - due_s) > slack:
        text = f"{schedule.objective_name} is {objective!r} s, the allocations give {due_s!r} s"
        yield Violation("objective", text)
