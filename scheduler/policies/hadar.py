"""Hadar-like: accelerators have prices that rise as they are taken; jobs take what pays.

After A. Sultana, N. Pakka, F. Xu, X. Yuan, L. Chen, N. Tzeng, "Resource heterogeneity-aware and
utilization-enhanced scheduling for deep learning clusters", arXiv 2503.10918, 2025: a primal-dual
framework with a dual subroutine decides, in rounds, which tasks of which job run on which unlike
accelerators. Each job weighs what an allocation is worth to it, its utility at the time it would
then finish, against what it costs at prices that grow exponentially with the share of a type that
is taken, as is usual for online primal-dual schedulers (Y. Bao, Y. Peng, C. Wu, Z. Li, "Online
job scheduling in distributed machine learning clusters", INFOCOM 2018); it gets the allocation
with the largest payoff, and prices rise before the next job chooses.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray
from scheduler.policies.provision import StaticPeak
from scheduler.policies.rounds import ROUND_S
from scheduler.policies.view import View

SCALE: Final = 4.0
"""The least price lies this much below the least that an accelerator is worth to a job: our
choice, so that on an idle fleet a place pays for everybody."""


class Option(NamedTuple):
    """A mode that a job could run in, with what that is worth to it."""

    job: int
    mode: int
    worth: float


class Hadar:
    """Dual prices in rounds; utility is the inverse of slowdown.

    Simplified, and not the paper's program term by term: a job's modes stand for its task-level
    allocations (a gang on several types among them, where its class permits that, at the pace
    of its slowest member); jobs choose one after another in the order of their payoff per
    accelerator; what those with a positive payoff leave goes to the others in the same order,
    rather than to nobody. Utility, work per second of the whole stay, is counted in units of
    the job's fastest rate, as models count their work differently.

    Parameters
    ----------
    round_s : float
        Length of a round.
    """

    def __init__(self, round_s: float = ROUND_S) -> None:
        self._services = StaticPeak("best")
        self._round_us = us_from_s(round_s)
        self._round_end_us = 0
        self._whole_s: dict[int, float] = {}

    def decide(self, view: View) -> None:
        """Begin a round if the last one is over or nothing runs."""
        self._services.provision(view)
        if view.running and view.now_us < self._round_end_us:
            view.wake_at(self._round_end_us)
            return
        if not view.waiting and not view.running:
            return
        self._carry_out(view, self._choose(view))
        self._round_end_us = view.now_us + self._round_us
        view.wake_at(self._round_end_us)

    def _choose(self, view: View) -> dict[int, int]:
        """Return the mode of each job that runs in this round."""
        held = [job for job in view.running if view.preemptible(job)]
        free = view.free_without(held)
        options: list[Option] = []
        for job in sorted([*view.waiting, *held]):
            whole_s = self._whole_s.setdefault(job, view.remaining_s(job))
            options += _options(view, job, whole_s, free)
        if not options:
            return {}
        need = np.zeros((len(options), len(free)))
        for row, option in enumerate(options):
            for group in view.modes(option.job)[option.mode].groups:
                need[row, group.type_index] += group.count
        worth = np.array([o.worth for o in options])
        jobs = np.array([o.job for o in options])
        return _by_payoff(options, jobs, worth, need, np.array(free, dtype=np.float64))

    def _carry_out(self, view: View, chosen: dict[int, int]) -> None:
        """Stop what lost its place, keep what stays on its types, start the others widest first."""
        for job, running in list(view.running.items()):
            if not view.preemptible(job):
                continue
            if job in chosen and _types(view, job, chosen[job]) == _types(view, job, running.mode):
                del chosen[job]
            else:
                view.stop(job)
        for job in sorted(chosen, key=lambda j: (-view.modes(j)[chosen[j]].count, j)):
            wanted = _types(view, job, chosen[job])
            for m in range(len(view.modes(job))):  # another shape on the same types will do
                if _types(view, job, m) == wanted:
                    placement = view.place_job(job, m)
                    if placement is not None:
                        view.start(job, m, placement)
                        break
        if not view.running:  # rights or shapes stood in the way of all
            for job in list(view.waiting):
                found = view.find(job)
                if found is not None:
                    view.start(job, *found)


def _options(view: View, job: int, whole_s: float, free: list[int]) -> list[Option]:
    """Return the fastest mode of each combination of types and counts that there is room for."""
    left_s = view.remaining_s(job)
    elapsed_s = view.now_s - float(view.problem.workload.jobs.release_s[job])
    running = view.running.get(job)
    best = view.modes(job)[0].rate if view.modes(job) else 0.0
    found: dict[tuple[tuple[int, int], ...], Option] = {}
    for m, mode in enumerate(view.modes(job)):
        kinds = _types(view, job, m)
        if kinds in found or any(free[t] < count for t, count in kinds):
            continue
        stays = running is not None and _types(view, job, running.mode) == kinds
        restart_s = 0.0 if stays else view.restart_us(job) / US_PER_S
        until_s = elapsed_s + left_s * best / mode.rate + restart_s
        found[kinds] = Option(job, m, view.weight(job) * whole_s / max(until_s, 1e-6))
    return list(found.values())


def _types(view: View, job: int, mode: int) -> tuple[tuple[int, int], ...]:
    groups = view.modes(job)[mode].groups
    return tuple(sorted((g.type_index, g.count) for g in groups))


def prices(least: float, most: float, taken: FloatArray, capacity: FloatArray) -> FloatArray:
    """Return what an accelerator of each type costs: `least` untouched, `most` all taken.

    ``least * (most / least) ** (taken / capacity)``.
    """
    share = np.divide(taken, capacity, out=np.ones_like(taken), where=capacity > 0)
    return np.asarray(least * (most / least) ** share)


def _by_payoff(
    options: list[Option],
    jobs: np.ndarray,
    worth: FloatArray,
    need: FloatArray,
    free: FloatArray,
) -> dict[int, int]:
    each = worth / need.sum(axis=1)  # what an accelerator is worth to the job
    most, least = float(each.max()), float(each.min()) / SCALE
    if not (math.isfinite(most) and least > 0):
        return {}
    taken = np.zeros(len(free))
    open_ = np.ones(len(options), dtype=bool)
    chosen: dict[int, int] = {}
    while open_.any():
        open_ &= (need <= free - taken).all(axis=1)
        payoff = worth - need @ prices(least, most, taken, free)
        gain = np.where(open_, payoff / need.sum(axis=1), -np.inf)
        row = int(gain.argmax())
        if not math.isfinite(gain[row]):
            break
        chosen[options[row].job] = options[row].mode
        taken += need[row]
        open_ &= jobs != options[row].job
    return chosen
