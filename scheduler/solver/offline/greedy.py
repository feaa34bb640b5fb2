"""A first plan: jobs in some order, each in the place and mode in which it ends first."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.solver.offline.instance import Instance, Planned
from scheduler.solver.offline.timetable import Timetable


def greedy_plan(
    instance: Instance, order: Iterable[int]
) -> tuple[dict[int, Planned] | None, float]:
    """Place jobs one by one, each where it ends first.

    Parameters
    ----------
    instance : Instance
        Jobs and ways.
    order : iterable of int
        Every job once; those that a job needs go before it whatever the order says.

    Returns
    -------
    plan : dict of int to Planned, or None
        None if a job finds no place, or none in which it keeps its deadline.
    spent : float
        Deterministic time.

    Notes
    -----
    O(jobs^2 x nodes x modes), in steps of whole arrays.
    """
    table = Timetable(instance)
    plan: dict[int, Planned] = {}
    for job in needed_first(instance, order):
        first = max([instance.release[job], *(plan[k].end for k in instance.after.get(job, ()))])
        best = table.soonest(job, first, instance.due.get(job))
        if best is None:
            return None, table.spent
        plan[job] = best
        table.add(best)
    return plan, table.spent


def needed_first(instance: Instance, order: Iterable[int]) -> list[int]:
    """Return an order in which whatever a job needs is before it."""
    done: dict[int, None] = {}
    for job in order:
        stack = [job]
        while stack:
            needed = [k for k in instance.after.get(stack[-1], ()) if k not in done]
            if needed:
                stack.append(needed[0])
            else:
                done[stack.pop()] = None
    return list(done)
