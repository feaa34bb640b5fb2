"""The ledger of a run of adaptive jobs: one pool per node group, every accelerator-second booked.

Held time divides into the restart, the seconds spent synchronising (``communication``) and the
rest (``productive``). Free accelerators are ``no_demand`` while no submitted job is without any,
``policy`` while a waiting gang fits on what is free of this type, else ``gang_wait``. A job that
runs on fewer accelerators than it could use does not wait.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scheduler.core.adaptive import AdaptiveProblem, AdaptiveRun
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.units import US_PER_S


def adaptive_ledger(problem: AdaptiveProblem, run: AdaptiveRun, *, rigid: bool = False) -> Ledger:
    """Return accelerator-microseconds by group and cause, up to the last completion.

    Parameters
    ----------
    problem : AdaptiveProblem
        Fleet and jobs.
    run : AdaptiveRun
        What happened.
    rigid : bool
        Whether a waiting job needs the gang it was submitted with; else one accelerator does.
    """
    amounts = np.zeros((len(problem.groups), len(Cause)), np.int64)
    horizon_us = run.horizon_s * US_PER_S
    for stint in run.stints:
        gang, row = stint.accelerators, amounts[stint.group]
        restart = stint.restart_s * US_PER_S
        sync = round(stint.sync_s * US_PER_S)
        held = (stint.end_s - stint.idle_s - stint.start_s) * US_PER_S
        row[Cause.RECONFIGURATION] += gang * restart
        row[Cause.COMMUNICATION] += gang * sync
        row[Cause.PRODUCTIVE] += gang * (held - restart - sync)
    _book_idle(problem, run, rigid, horizon_us, amounts)
    names = tuple(group.name for group in problem.groups)
    return Ledger(amounts, names, names)


def _book_idle(
    problem: AdaptiveProblem,
    run: AdaptiveRun,
    rigid: bool,
    horizon_us: int,
    amounts: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> None:
    """Sweep over submissions, starts and ends, booking what is free between them."""
    free = [group.accelerators for group in problem.groups]
    waiting: set[int] = set()
    events: list[tuple[int, int, Callable[[], None]]] = []

    def change(group: int, count: int, job: int, waits: bool) -> Callable[[], None]:
        def apply() -> None:
            if group >= 0:
                free[group] += count
            (waiting.add if waits else waiting.discard)(job)

        return apply

    for j, job in enumerate(problem.jobs):
        events.append((round(job.release_s * US_PER_S), 1, change(-1, 0, j, True)))
    for stint in run.stints:
        end_s = stint.end_s - stint.idle_s
        unfinished = end_s < run.finished_s[stint.job]
        give = change(stint.group, stint.accelerators, stint.job, unfinished)
        take = change(stint.group, -stint.accelerators, stint.job, False)
        events.append((end_s * US_PER_S, 0, give))
        events.append((stint.start_s * US_PER_S, 2, take))
    now = 0
    for time_us, _, apply in sorted(events, key=lambda e: e[:2]):
        upto = min(time_us, horizon_us)
        if upto > now:
            least = _least_gang(problem, waiting, rigid)
            for g, count in enumerate(free):
                amounts[g, _cause(count, least)] += count * (upto - now)
            now = upto
        apply()


def _least_gang(problem: AdaptiveProblem, waiting: set[int], rigid: bool) -> int:
    """Return the accelerators of the smallest waiting gang, 0 where nothing waits."""
    if not waiting:
        return 0
    return min(problem.jobs[j].accelerators for j in waiting) if rigid else 1


def _cause(free: int, least: int) -> Cause:
    if not least:
        return Cause.NO_DEMAND
    return Cause.POLICY if free >= least else Cause.GANG_WAIT
