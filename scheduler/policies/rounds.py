"""Scheduling in rounds: shares of time by accelerator type, met by a priority each round.

Gavel (Narayanan et al., OSDI 2020, section 5): a policy says what share of the time each job
should spend on each type; every six minutes, jobs are ordered on each type by that share over
the time they have received there, and start in that order as far as the gangs fit. What a
finished job leaves is idle until the round ends.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Mode, Problem
from scheduler.core.units import US_PER_S, WHOLE_MILLI, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View

ROUND_S = 360.0
"""Length of a round (Gavel, section 5)."""

LEAST_RESTARTS = 3
"""A round lasts at least as long as this many restarts of any job that it may stop: with jobs
that take two minutes to start, rounds of two minutes get nothing done, for ever."""

_ROUNDING: Final = 1e-9
"""Less than any part of an accelerator."""

LEAST_BETWEEN_SHARES_S = 1920.0
"""Shares are computed anew when jobs came or went, at most this often (Gavel's code)."""


class TypeModes:
    """What a job class can do on each type: the rate of its gang, and modes to place it in.

    A class with several gang sizes is held to its fastest one on each type: these policies
    know rigid jobs only.

    Attributes
    ----------
    rate, gang : ndarray of float64, shape (classes, types)
        Work per second and accelerators; where the class cannot run, rate 0 and the gang it
        has elsewhere.
    modes : list of list of tuple of (int, Mode)
        By class and type, fastest first.
    """

    def __init__(self, problem: Problem) -> None:
        shape = (len(problem.modes), len(problem.types))
        self.rate = np.zeros(shape)
        self.gang = np.ones(shape)
        self.modes: list[list[tuple[tuple[int, Mode], ...]]] = []
        for c, modes in enumerate(problem.modes):
            row: list[tuple[tuple[int, Mode], ...]] = []
            if modes:
                self.gang[c] = modes[0].count
            for t in range(len(problem.types)):
                mine = [
                    (m, mode)
                    for m, mode in enumerate(modes)
                    if len(mode.groups) == 1 and mode.type_index == t
                ]
                same = tuple(e for e in mine if e[1].count == mine[0][1].count)
                if same:
                    self.rate[c, t] = same[0][1].rate
                    self.gang[c, t] = same[0][1].count
                row.append(same)
            self.modes.append(row)


def times_on_types(
    left_s: FloatArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
) -> FloatArray:
    """Return how long the rest of each job takes on each type, shape (jobs, types).

    Parameters
    ----------
    left_s : ndarray of float64, shape (jobs,)
        What is left, at the job's fastest rate.
    rate, gang : ndarray of float64, shape (jobs, types)
        As in `TypeModes`.
    capacity : ndarray of float64, shape (types,)
        Accelerators.

    Returns
    -------
    ndarray of float64
        Infinite where a job cannot run or its gang is more than there is.
    """
    able = (rate > 0) & (gang <= capacity)
    slow = np.divide(rate.max(axis=1)[:, None], rate, out=np.full_like(rate, np.inf), where=able)
    return np.asarray(left_s[:, None] * slow)


class ShareRule(Protocol):
    """Says what share of the time each job should spend on each type."""

    def __call__(
        self, view: View, jobs: IntArray, rate: FloatArray, gang: FloatArray, capacity: FloatArray
    ) -> FloatArray:
        """Return shares, shape (jobs, types).

        Parameters
        ----------
        view : View
            The present.
        jobs : ndarray of int64, shape (jobs,)
            Indices of the jobs that wait or run.
        rate, gang : ndarray of float64, shape (jobs, types)
            Work per second (0: cannot run there) and accelerators.
        capacity : ndarray of float64, shape (types,)
            Accelerators that these jobs may have.
        """
        ...


class SharedRounds:
    """Rounds in which jobs take turns so that each gets its share of every type.

    Parameters
    ----------
    shares : ShareRule
        The policy.
    shuffle : numpy.random.Generator or None
        Draws the order in which types choose their jobs; None: the fastest type first.
    per_dollar : bool
        Whether the policy sees rates per dollar of an accelerator-hour instead of rates.
    round_s, between_s : float
        Length of a round, or more (`LEAST_RESTARTS`) where jobs take long to start; least time
        between two computations of the shares.
    """

    def __init__(
        self,
        shares: ShareRule,
        shuffle: np.random.Generator | None = None,
        *,
        per_dollar: bool = False,
        round_s: float = ROUND_S,
        between_s: float = LEAST_BETWEEN_SHARES_S,
    ) -> None:
        self._rule = shares
        self._per_dollar = per_dollar
        self._shuffle = shuffle
        self._round_us = us_from_s(round_s)
        self._between_us = us_from_s(between_s)
        self._services = StaticPeak("best")
        self._table: TypeModes | None = None
        self._round_end_us = 0
        self._round_start_us = 0
        self._shares_us: int | None = None
        self._known: dict[int, None] = {}
        self._on: dict[int, int] = {}

    def decide(self, view: View) -> None:
        """Begin a round if the last one is over or all its jobs have ended."""
        self._services.provision(view)
        if self._table is None:
            self._prepare(view)
        if view.running and view.now_us < self._round_end_us:
            view.wake_at(self._round_end_us)
            return
        if view.waiting or view.running:
            self._round(view)

    def _prepare(self, view: View) -> None:
        problem = view.problem
        self._table = TypeModes(problem)
        count = len(problem.workload.jobs)
        kinds = np.array([view.class_of(job) for job in range(count)], dtype=np.int64)
        self._rate = self._table.rate[kinds]
        share = np.array([c.share_milli / WHOLE_MILLI for c in problem.workload.classes])
        self._gang = self._table.gang[kinds] * share[kinds, None]
        self._price = _rents(problem) if self._per_dollar else np.ones(len(problem.types))
        self._able: list[bool] = np.any(self._rate > 0, axis=1).tolist()
        least_us = [
            LEAST_RESTARTS * us_from_s(c.restart_s) if c.preemptible else 0
            for c in problem.workload.classes
        ]
        self._least_us = np.array(least_us, dtype=np.int64)[kinds]
        shape = (count, len(problem.types))
        self._share = np.zeros(shape)
        self._received_s = np.zeros(shape)
        self._deficit_s = np.zeros(shape)
        speed = self._rate / np.maximum(self._rate.max(axis=1, initial=1e-300), 1e-300)[:, None]
        self._type_order = np.argsort(-speed.sum(axis=0), kind="stable").tolist()

    def _round(self, view: View) -> None:
        self._receive(view)
        held = [job for job in view.running if view.preemptible(job)]
        active = np.array(sorted([*view.waiting, *held]), dtype=np.int64)
        capacity = _capacity(view)
        self._renew_shares(view, active, capacity)
        self._carry_out(view, self._choose(active, capacity))
        self._start_strangers(view)
        self._round_start_us = view.now_us
        least_us = int(self._least_us[active].max(initial=0))
        self._round_end_us = view.now_us + max(self._round_us, least_us)
        view.wake_at(self._round_end_us)

    def _receive(self, view: View) -> None:
        """Book the time that jobs had in the round that ends."""
        seconds = (view.now_us - self._round_start_us) / US_PER_S
        for job, t in self._on.items():
            self._received_s[job, t] += seconds

    def _renew_shares(self, view: View, active: IntArray, capacity: FloatArray) -> None:
        now = dict.fromkeys(active.tolist())
        changed = now != self._known
        last_us = self._shares_us
        if not changed or (last_us is not None and view.now_us - last_us < self._between_us):
            return
        if last_us is not None:
            owed_s = self._share[active] * (view.now_us - last_us) / US_PER_S
            self._deficit_s[active] += owed_s - self._received_s[active]
        self._received_s[:] = 0.0
        self._share[:] = 0.0
        gang = self._gang[active]
        rate = np.where(gang <= capacity, self._rate[active], 0.0)
        able, open_ = np.flatnonzero(rate.any(axis=1)), np.flatnonzero(capacity > 0)
        if len(able):
            block = np.ix_(able, open_)
            worth = rate[block] / self._price[open_]
            found = self._rule(view, active[able], worth, gang[block], capacity[open_])
            self._share[np.ix_(active[able], open_)] = found
        self._shares_us = view.now_us
        self._known = now

    def _choose(self, active: IntArray, capacity: FloatArray) -> dict[int, int]:
        """Return the type of each job that runs next, by priority within each type.

        A job counts as having had half a round already, so that new ones do not jump ahead
        of their share; jobs without a share fill what is left.
        """
        order = list(self._type_order)
        if self._shuffle is not None:
            order = self._shuffle.permutation(order).tolist()
        assert self._table is not None
        share = self._share[active] * (self._rate[active] > 0)
        half_s = 0.5 * self._round_us / US_PER_S
        priority = share / (self._received_s[active] + half_s)
        chosen: dict[int, int] = {}
        for t in order:
            left = capacity[t]
            ranked = np.lexsort(
                (active, -share[:, t], -self._deficit_s[active, t], -priority[:, t])
            )
            for job in active[ranked].tolist():
                if left <= _ROUNDING:
                    break
                gang = self._gang[job, t]
                if job not in chosen and gang <= left + _ROUNDING and self._rate[job, t] > 0:
                    chosen[job] = t
                    left -= gang
        return chosen

    def _carry_out(self, view: View, chosen: dict[int, int]) -> None:
        """Stop what has no turn, keep what stays on its type, place the others, widest first."""
        self._on = {}
        for job, running in list(view.running.items()):
            t = view.modes(job)[running.mode].type_index
            if job in chosen and chosen[job] == t:
                self._on[job] = chosen.pop(job)
            elif view.preemptible(job):
                view.stop(job)
        for job in sorted(chosen, key=lambda j: (-self._gang[j, chosen[j]], j)):
            if self._start(view, job, chosen[job]):
                self._on[job] = chosen[job]

    def _start_strangers(self, view: View) -> None:
        """Start jobs that only run on a mix of types where there is room, if none runs any."""
        for job in [j for j in view.waiting if not (view.running and self._able[j])]:
            found = view.find(job)
            if found is not None:
                view.start(job, *found)

    def _start(self, view: View, job: int, type_index: int) -> bool:
        assert self._table is not None
        for m, _ in self._table.modes[view.class_of(job)][type_index]:
            placement = view.place_job(job, m)
            if placement is not None:
                view.start(job, m, placement)
                return True
        return False


def _rents(problem: Problem) -> FloatArray:
    """Return dollars per accelerator-hour by type.

    Raises
    ------
    InputError
        If a type has no rental price.
    """
    kinds = [problem.cluster.accelerators[name] for name in problem.types]
    missing = [kind.name for kind in kinds if not kind.usd_per_hour]
    if missing:
        message = "a policy that counts cost needs the rental price of every type"
        raise InputError([Fault(message, path="usd_per_hour", value=", ".join(missing))])
    return np.array([kind.usd_per_hour for kind in kinds], dtype=np.float64)


def _capacity(view: View) -> FloatArray:
    """Return accelerators by type that are free or held by jobs that may be stopped."""
    held = [job for job in view.running if view.preemptible(job)]
    if view.problem.shares:
        then = view.after_stopping(held)
        return np.array([then.free_parts(t) for t in range(len(view.problem.types))])
    return np.array(view.free_without(held), dtype=np.float64)
