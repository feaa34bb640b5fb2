"""What a job's stays really come to, to the second: as the simulator advances it."""

from __future__ import annotations

import math
from typing import Final

from scheduler.physics.adaptive_tables import Tables
from scheduler.solver.adaptive.lattice import ROUND_S

Stays = tuple[tuple[int, int, int], ...]
"""Configuration, first round and the round after the last, in order."""

MOST_MORE: Final = 0.1
"""Share of its rounds by which a path that ends too soon may be lengthened."""


class Replay:
    """Plays stays exactly.

    Parameters
    ----------
    tables : Tables
        The problem.
    """

    def __init__(self, tables: Tables) -> None:
        problem = tables.problem
        kinds = sorted({job.application for job in problem.jobs})
        self._goodput = {a: tables.best_goodputs(a).tolist() for a in kinds}
        self._ends = {a: problem.applications[a].epoch_ends.tolist() for a in kinds}
        self._restart = {a: problem.applications[a].restart_s for a in kinds}

    def played(self, application: int, stays: Stays) -> tuple[Stays, int]:
        """Return the stays up to the job's end, and its end.

        Raises
        ------
        ValueError
            If the work does not end within the stays.
        """
        ends, restart = self._ends[application], self._restart[application]
        progress, epoch = 0.0, 0
        for i, (c, first, last) in enumerate(stays):
            goodput = self._goodput[application][c]
            now, stop = first * ROUND_S + restart, last * ROUND_S
            while now < stop:
                rate, left = goodput[epoch], stop - now
                if progress + rate * left < ends[epoch]:
                    progress += rate * left
                    break
                exact = (ends[epoch] - progress) / rate
                # Work that ends a fraction of a second into a round holds that round, although
                # the second it is booked at is rounded to the round's start.
                until = min(math.ceil((now + exact) / ROUND_S), last)
                now += round(exact)
                progress = ends[epoch]
                epoch += 1
                if epoch == len(ends):
                    until = max(until, -(-now // ROUND_S), first + 1)
                    return (*stays[:i], (c, first, until)), now
        raise ValueError("the work does not end within the stays")

    def completed(self, application: int, stays: Stays) -> tuple[Stays, int] | None:
        """Return stays whose last goes on until the work ends, None where that is much longer."""
        if not stays:
            return None
        c, first, last = stays[-1]
        more = max(round(MOST_MORE * (last - stays[0][1])), 2)
        try:
            return self.played(application, (*stays[:-1], (c, first, last + more)))
        except ValueError:
            return None
