"""AlloX: jobs matched to accelerator types and to places in their queues.

T. N. Le, X. Sun, M. Chowdhury, Z. Liu, "AlloX: compute allocation in hybrid clusters",
EuroSys 2020, section 3: queued jobs are matched to machines and to positions from the end of
each machine's queue, at the cost of the position times the run time there plus the time until
the machine is free; the first of each queue starts, nothing is stopped, and the matching is
made anew when a job comes or goes. For jobs of one accelerator that are all there, this is the
least mean completion time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.policies.provision import StaticPeak
from scheduler.policies.rounds import TypeModes
from scheduler.policies.view import View
from scheduler.solver.position_matching import match_positions

MOST_JOBS: Final = 128
"""Waiting jobs that are matched, the shortest: the others would start last in any case."""

MOST_GROUPS: Final = 8
"""Busy machines of a type are told apart by when they are free in so many groups."""


class AlloX:
    """The matching without reserved shares: the paper's fairness parameter is 1.

    AlloX knows jobs of one accelerator. Here a machine is as many accelerators as the mean gang
    of the jobs that wait has (what is free counts as one if it is less), and a gang keeps it for
    its run time times its accelerators over that mean; with gangs of one this is AlloX. The
    paper's estimator is left out: run times are what the view tells.
    """

    def __init__(self) -> None:
        self._services = StaticPeak("best")
        self._table: TypeModes | None = None

    def decide(self, view: View) -> None:
        """Match the jobs that wait; start those whose turn it is."""
        self._services.provision(view)
        if not view.waiting or not view.occupancy.has_free():
            return
        if self._table is None:
            self._table = TypeModes(view.problem)
        jobs = self._shortest(view)
        if jobs:
            self._start_first(view, jobs)
        self._start_others(view)

    def _shortest(self, view: View) -> list[int]:
        """Return the jobs to match: those that hold least of the fleet for least time."""
        assert self._table is not None
        table = self._table
        known = [j for j in view.waiting if table.rate[view.class_of(j)].any()]
        area = {j: view.remaining_s(j) * table.gang[view.class_of(j)].min() for j in known}
        return sorted(known, key=lambda j: (area[j], j))[:MOST_JOBS]

    def _start_first(self, view: View, jobs: list[int]) -> None:
        assert self._table is not None
        classes = np.array([view.class_of(j) for j in jobs])
        rate, gang = self._table.rate[classes], self._table.gang[classes]
        mean_gang = float(gang.min(axis=1).mean())
        best = rate.max(axis=1)
        left_s = np.array([view.remaining_s(j) for j in jobs])
        restart_s = np.array([view.restart_us(j) / US_PER_S for j in jobs])
        type_of, machines, delay_s = _machines(view, mean_gang)
        rate, gang = rate[:, type_of], gang[:, type_of]
        able = (rate > 0) & (gang <= np.array(_accelerators(view))[type_of])
        slow = np.divide(best[:, None], rate, out=np.full_like(rate, np.inf), where=able)
        run_s = left_s[:, None] * slow + restart_s[:, None]
        held_s = np.where(able, run_s * gang / mean_gang, 0.0)
        found = match_positions(run_s, held_s, machines, delay_s)
        now = [
            (-slot.position, run_s[i, slot.group], job, int(type_of[slot.group]))
            for i, (job, slot) in enumerate(zip(jobs, found, strict=True))
            if slot is not None and delay_s[slot.group] == 0
        ]
        for _, _, job, t in sorted(now):
            for m, _ in self._table.modes[view.class_of(job)][t]:
                placement = view.place_job(job, m)
                if placement is not None:
                    view.start(job, m, placement)
                    break

    def _start_others(self, view: View) -> None:
        """Start what the matching cannot reason about, if nothing runs or rights forbid much.

        Those are gangs that only run on a mix of types, and jobs that may not have what they
        were matched to.
        """
        assert self._table is not None
        for job in list(view.waiting):
            mixed = not self._table.rate[view.class_of(job)].any()
            if mixed or view.restricted or not view.running:
                found = view.find(job)
                if found is not None:
                    view.start(job, *found)


def _accelerators(view: View) -> list[int]:
    """Return accelerators by type that are free or held by jobs."""
    count = list(view.occupancy.type_free)
    for job, running in view.running.items():
        for group in view.modes(job)[running.mode].groups:
            count[group.type_index] += group.count
    return count


def _machines(view: View, gang: float) -> tuple[list[int], np.ndarray, FloatArray]:
    """Return type, number and delay of each group of machines, `gang` accelerators each."""
    free_in_s: list[list[float]] = [[0.0] * free for free in view.occupancy.type_free]
    for job, running in view.running.items():
        left_s = max(1e-3, (view.expected_end_us(job) - view.now_us) / US_PER_S)
        for group in view.modes(job)[running.mode].groups:
            free_in_s[group.type_index] += [left_s] * group.count
    groups: list[tuple[int, int, float]] = []
    for t, delays in enumerate(free_in_s):
        delays.sort()
        whole = max(1, int(len(delays) / gang + 1e-9)) if delays else 0
        last = [delays[min(len(delays), round((s + 1) * gang)) - 1] for s in range(whole)]
        if last and delays[0] == 0.0:
            last[0] = 0.0  # less than a machine is free: what is narrower may start
        ready = last.count(0.0)
        if ready:
            groups.append((t, ready, 0.0))
        busy = last[ready:]
        parts = min(MOST_GROUPS, len(busy))
        for part in np.array_split(np.array(busy), parts) if parts else []:
            groups.append((t, len(part), float(part.mean())))
    kinds, counts, delay_s = zip(*groups, strict=True)
    return list(kinds), np.array(counts), np.array(delay_s)
