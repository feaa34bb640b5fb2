"""A good round at once, by utility per accelerator.

It hints the exact model, and is the answer where the price bound shows that nothing better
exists, which is most rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode
from scheduler.core.run import Placement, Status
from scheduler.solver.round_types import Candidate, Option, RoundAnswer

By = Literal["density", "utility"]
"""Who starts first: what is worth most per accelerator, or most in all (among equal weights and
speeds the shortest job, as under shortest remaining time first)."""


def greedy_round(
    layout: Layout,
    occupancy: Occupancy,
    candidates: Sequence[Candidate],
    bound: float,
    by: By = "density",
) -> RoundAnswer:
    """Keep what runs; start in order of utility, evicting what is worth less.

    Parameters
    ----------
    layout, occupancy : Layout, Occupancy
        Fleet and what is free now.
    candidates : sequence of Candidate
        As for `solve_round`.
    bound : float
        From `Prices.search`.
    by : str
        Whether utility is per accelerator or in all.

    Returns
    -------
    RoundAnswer
        Feasible, with that bound.
    """
    kept = {c.job: c for c in candidates if c.held is not None}
    return improved(layout, occupancy.copy(), candidates, kept, {}, bound, by=by)


def improved(
    layout: Layout,
    scratch: Occupancy,
    candidates: Sequence[Candidate],
    kept: dict[int, Candidate],
    starts: dict[int, tuple[Option, Placement]],
    bound: float,
    *,
    most_searches: float = math.inf,
    by: By = "density",
) -> RoundAnswer:
    """Start what else has room or is worth more than what is in its way; move what gains by it.

    Parameters
    ----------
    layout, candidates, bound
        As for `greedy_round`.
    scratch : Occupancy
        What is free beside `kept` and `starts`; it is used up.
    kept, starts : dict
        Running candidates left in place, and jobs placed, by job; both are changed.
    most_searches : float
        Searches for gangs to evict.
    by : str
        As for `greedy_round`.
    """
    order = sorted(
        (c for c in candidates if c.held is None and c.options and c.job not in starts),
        key=lambda c: (
            -(_density(c.options[0]) if by == "density" else c.options[0].utility),
            c.job,
        ),
    )
    weakest = sorted(kept.values(), key=_held_density)
    searches = 0
    for candidate in order:
        found = _first_fit(scratch, candidate.options)
        if found is None and searches < most_searches:
            searches += 1
            victims = _victims(layout, scratch, candidate, weakest, kept)
            for victim in victims:
                assert victim.held is not None
                scratch.give(victim.held.placement)
                del kept[victim.job]
            if victims:
                found = _first_fit(scratch, candidate.options)
        if found is not None:
            scratch.take(found[1])
            starts[candidate.job] = found
    for candidate in candidates:  # what runs moves where that pays, and what was evicted may return
        if candidate.held is not None and candidate.job not in starts:
            _settle(scratch, candidate, kept, starts)
    worth = [option.utility for option, _ in starts.values()]
    worth += [c.held.utility for c in kept.values() if c.held is not None]
    objective = math.fsum(worth)
    closed = bound - objective <= 1e-9 * bound
    return RoundAnswer(
        tuple((job, option.mode, place) for job, (option, place) in starts.items()),
        tuple(kept),
        objective,
        max(bound, objective),
        Status.OPTIMAL if closed else Status.FEASIBLE,
    )


def _density(option: Option) -> float:
    return option.utility / option.shape.count


def _held_density(candidate: Candidate) -> tuple[float, int]:
    assert candidate.held is not None
    return candidate.held.utility / sum(candidate.held.placement.counts), candidate.job


def _first_fit(scratch: Occupancy, options: Sequence[Option]) -> tuple[Option, Placement] | None:
    for option in options:
        placement = scratch.find(option.shape)
        if placement is not None:
            return option, placement
    return None


def _victims(
    layout: Layout,
    scratch: Occupancy,
    candidate: Candidate,
    weakest: Sequence[Candidate],
    kept: dict[int, Candidate],
) -> list[Candidate]:
    """Return running candidates, worth less together, whose places let `candidate` start."""
    options = [o for o in candidate.options if _reachable(layout, o.shape)]
    if not options:
        return []
    types = {g.type_index for o in options for g in o.shape.groups}
    worth = options[0].utility
    then: Occupancy | None = None
    chosen: list[Candidate] = []
    for victim in weakest:
        if victim.job not in kept or victim.held is None:
            continue
        worth -= victim.held.utility
        if worth <= 0:
            return []
        nodes = victim.held.placement.nodes
        if not any(layout.pool_type[layout.node_pool[n]] in types for n in nodes):
            worth += victim.held.utility
            continue
        if then is None:
            then = scratch.copy()
        then.give(victim.held.placement)
        chosen.append(victim)
        fitting = _first_fit(then, options)
        if fitting is not None:
            lost = math.fsum(c.held.utility for c in chosen if c.held is not None)
            return chosen if fitting[0].utility > lost else []
    return []


def _reachable(layout: Layout, mode: Mode) -> bool:
    return all(layout.type_pools[g.type_index] for g in mode.groups)


def _settle(
    scratch: Occupancy,
    candidate: Candidate,
    kept: dict[int, Candidate],
    starts: dict[int, tuple[Option, Placement]],
) -> None:
    held = candidate.held
    assert held is not None
    if candidate.job in kept:
        better = [o for o in candidate.options if o.utility > held.utility]
        if not better:
            return
        scratch.give(held.placement)
        found = _first_fit(scratch, better)
        if found is None:
            scratch.take(held.placement)
            return
        del kept[candidate.job]
    elif scratch.fits(held.placement):
        scratch.take(held.placement)
        kept[candidate.job] = candidate
        return
    else:
        found = _first_fit(scratch, candidate.options)
        if found is None:
            return
    scratch.take(found[1])
    starts[candidate.job] = found
