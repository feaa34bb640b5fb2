"""What is expected to be free when: ends of running jobs, and reservations made so far."""

from __future__ import annotations

import bisect

from scheduler.core.run import Placement
from scheduler.core.units import us_from_s
from scheduler.policies.placements import Place
from scheduler.policies.view import View


class Timeline:
    """Free accelerators from now on, as a step function of time.

    Parameters
    ----------
    view : View
        The present; jobs that run are taken to end when they are expected to.
    """

    def __init__(self, view: View) -> None:
        ends = sorted((max(view.expected_end_us(j), view.now_us + 1), j) for j in view.running)
        self._times_us = [view.now_us]
        self._free = [view.occupancy.copy()]
        for end_us, job in ends:
            if end_us != self._times_us[-1]:
                self._times_us.append(end_us)
                self._free.append(self._free[-1].copy())
            self._free[-1].give(view.running[job].placement)

    def reserve(self, view: View, job: int, place: Place) -> tuple[int, int, Placement] | None:
        """Take the earliest place of `job` out of what is free; return instant, mode, place.

        Replicas and outages may leave none: then there is no reservation.
        """
        for step, at_us in enumerate(self._times_us):
            found = place(view, job, self._free[step])
            if found is None:
                continue
            mode, placement = found
            end_us = at_us + us_from_s(view.run_s(job, mode))
            last = bisect.bisect_left(self._times_us, end_us)
            if all(self._free[s].fits(placement) for s in range(step, last)):
                self._split(end_us)
                for s in range(step, bisect.bisect_left(self._times_us, end_us)):
                    self._free[s].take(placement)
                return at_us, mode, placement
        return None

    def _split(self, at_us: int) -> None:
        step = bisect.bisect_left(self._times_us, at_us)
        if step == len(self._times_us) or self._times_us[step] != at_us:
            self._times_us.insert(step, at_us)
            self._free.insert(step, self._free[step - 1].copy())
