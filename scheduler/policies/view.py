"""What a policy sees of the present, and what it may decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Literal, Protocol

from scheduler.core.occupancy import Fit, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.units import US_PER_S, WHOLE_MILLI, us_from_s
from scheduler.core.workload import Tenancy
from scheduler.policies.present import JobsNow, ReplicasNow, ServiceNow

Information = Literal["exact", "estimates", "none"]
"""What may be known of remaining work: the truth; user estimates; only attained service."""

INFORMATION_LEVELS: tuple[Information, ...] = ("exact", "estimates", "none")

UNKNOWN_PRIOR_S = 60.0
"""Expected run time of a job that has not run yet, where nothing is known of it."""


def overrun_s(attained_s: float) -> float:
    """Return the expected remaining run time of a job whose estimate has run out."""
    return max(UNKNOWN_PRIOR_S, 0.5 * attained_s)


class Predicts(Protocol):
    """Tells what is left of a job, in place of the view's own rules."""

    def remaining_s(self, view: View, job: int) -> float:
        """Return the expected remaining run time in the job's fastest mode."""
        ...


class Policy(Protocol):
    """Decides what starts and stops now. One instance plays one run."""

    def decide(self, view: View) -> None:
        """Look at the view and call its `start`, `stop`, `start_replica`, `stop_replica`.

        Called once per instant at which something happened; every call takes effect at
        once, so that the view always shows the state that the decisions so far have made.
        """
        ...


class View:
    """The present state of a run, as far as a policy may know it, and the means to act.

    Attributes
    ----------
    problem : Problem
        Cluster, workload, modes.
    now_us : int
        Present instant.
    occupancy : Occupancy
        Free accelerators. Policies do not change it; they plan on a `copy()`.
    waiting : dict of int to None
        Released jobs that hold nothing.
    joined : list of int
        Jobs that joined `waiting` since the last decision.
    ended : int
        Allocations that ended by themselves (finish, failure) since the last decision.
    finished : list of int
        Jobs that ended for good since then: all work done, or at their time limit.
    changed : list of int
        Waiting jobs whose `remaining_s` has changed since then.
    prediction : Predicts or None
        Who tells what is left of a job where that is not known exactly; None: the view itself.
    running : dict of int to RunningJob
        Jobs that hold accelerators.
    replicas : dict of int to RunningReplica
        Replicas by number, in order of their start.
    services : sequence of ServiceNow
        By service index.
    information : str
        How much `remaining_s` tells.
    start, stop, move, start_replica, stop_replica : callable
        See `JobsNow` and `ReplicasNow`; an illegal decision raises `PolicyError`.
    """

    def __init__(
        self,
        problem: Problem,
        occupancy: Occupancy,
        information: Information,
        *,
        jobs: JobsNow,
        replicas: ReplicasNow,
        power_allows: Callable[[Mode, Placement], bool],
    ) -> None:
        self.problem = problem
        self.occupancy = occupancy
        self.information = information
        self.now_us = 0
        self.waiting = jobs.waiting
        self.joined: list[int] = []
        self.ended = 0
        self.finished: list[int] = []
        self.changed: list[int] = []
        self.prediction: Predicts | None = None
        self.running = jobs.running
        self.replicas = replicas.running
        self.wake_us: int | None = None
        self._remaining_work = jobs.remaining_work
        self._attained_s = jobs.attained_s
        self._power_allows = power_allows
        self.services: Sequence[ServiceNow] = replicas.services
        self.start = jobs.start
        self.stop = jobs.stop
        self.move = jobs.move
        self._access = jobs.access
        self._held_us = jobs.held_us
        self.start_replica = replicas.start
        self.stop_replica = replicas.stop
        self._modes = problem.modes
        self._shares = problem.shares
        self._asks = [
            tuple((i, m, m.groups[0].type_index, _whole(m)) for i, m in enumerate(modes))
            for modes in problem.modes
        ]
        self._types_of = [
            frozenset(g.type_index for mode in modes for g in mode.groups)
            for modes in problem.modes
        ]
        self._class_of: list[int] = problem.workload.jobs.class_index.tolist()
        self._best_rate = [max((m.rate for m in ms), default=0.0) for ms in problem.modes]
        self._restart_us = [us_from_s(c.restart_s) for c in problem.workload.classes]
        self._caps_power = any(s.power_cap_w is not None for s in problem.cluster.sites)
        self._pool_site = [pool.site_index for pool in problem.pools]
        self._node_site = [self._pool_site[p] for p in occupancy.layout.node_pool]

    # Columns that not every policy asks for.

    @cached_property
    def _estimate_s(self) -> list[float]:
        found: list[float] = self.problem.workload.jobs.estimate_s.tolist()
        return found

    @cached_property
    def _weight(self) -> list[float]:
        found: list[float] = self.problem.workload.jobs.weight.tolist()
        return found

    @cached_property
    def _tenant_of(self) -> list[int]:
        found: list[int] = self.problem.workload.jobs.tenant_index.tolist()
        return found

    @cached_property
    def _priority(self) -> list[int]:
        found: list[int] = self.problem.workload.jobs.priority.tolist()
        return found

    @property
    def now_s(self) -> float:
        """Present instant in seconds."""
        return self.now_us / US_PER_S

    def class_of(self, job: int) -> int:
        """Return the job's class index."""
        return self._class_of[job]

    def modes(self, job: int) -> tuple[Mode, ...]:
        """Return the job's modes, fastest first."""
        return self._modes[self._class_of[job]]

    def may_use(self, job: int, placement: Placement) -> bool:
        """Return whether some node of `placement` is of a type that a mode of the job asks for."""
        types, layout = self._types_of[self._class_of[job]], self.occupancy.layout
        return any(layout.pool_type[layout.node_pool[node]] in types for node in placement.nodes)

    def weight(self, job: int) -> float:
        """Return the job's weight."""
        return self._weight[job]

    def tenant_of(self, job: int) -> int:
        """Return the job's tenant, a position in `Workload.tenants`."""
        return self._tenant_of[job]

    def priority(self, job: int) -> int:
        """Return the job's priority; higher goes first."""
        return self._priority[job]

    def limit_s(self, job: int) -> float:
        """Return the job's time limit, NaN if it has none."""
        return float(self.problem.workload.jobs.limit_s[job])

    def tenancy(self, tenant: int) -> Tenancy:
        """Return the share and the quotas of a tenant."""
        name = self.problem.workload.tenants[tenant]
        known = (t for t in self.problem.workload.tenancies if t.tenant == name)
        return next(known, Tenancy(name))

    def tenant_holds(self) -> list[list[int]]:
        """Return the accelerators that jobs hold now, by tenant and type; a share counts as one."""
        held = [[0] * len(self.problem.types) for _ in self.problem.workload.tenants]
        for job, running in self.running.items():
            for group in self.problem.modes[self._class_of[job]][running.mode].groups:
                held[self._tenant_of[job]][group.type_index] += group.count
        return held

    def tenant_used_s(self) -> list[float]:
        """Return the accelerator-seconds that jobs have held so far, by tenant."""
        used_us = self._held_us()
        for job, running in self.running.items():
            mode = self.problem.modes[self._class_of[job]][running.mode]
            held_us = mode.count * (self.now_us - running.start_us)
            used_us[self._tenant_of[job]] += held_us * mode.share_milli // WHOLE_MILLI
        return [us / US_PER_S for us in used_us]

    @property
    def restricted(self) -> bool:
        """Whether more than free accelerators says who may start where.

        Quotas, labels, reservations, hosts or neighbours; or jobs that share accelerators.
        """
        return self._access is not None or self._shares

    def want_of(self, job: int) -> int:
        """Return a number that jobs share which may use the same modes and nodes now.

        Their class, or finer where quotas, reservations or labels tell them apart.
        """
        return self._class_of[job] if self._access is None else self._access.want_of[job]

    def preemptible(self, job: int) -> bool:
        """Return whether the job may be stopped."""
        return self.problem.workload.classes[self._class_of[job]].preemptible

    def restart_us(self, job: int) -> int:
        """Return how long a start of the job holds accelerators without progress."""
        return self._restart_us[self._class_of[job]]

    def attained_s(self, job: int) -> float:
        """Return the run time had so far, in seconds of the job's fastest mode."""
        return self._attained_s(job)

    def estimate_s(self, job: int) -> float:
        """Return the user's estimate of the whole run time, NaN if there is none to be known."""
        return self._estimate_s[job] if self.information == "estimates" else math.nan

    def remaining_s(self, job: int) -> float:
        """Return the remaining run time in the job's fastest mode, as far as it is known.

        ``exact``: the truth. ``estimates``: the user's estimate less what was attained; an
        estimate that has run out counts as half the attained time, and a missing one as
        unknown. ``none``: a job is expected to need as much again as it has had, which is
        exact for a Pareto tail of index 2 and orders jobs by least attained service. At the
        latter two `prediction`, if there is one, tells it instead.
        """
        if self.information == "exact":
            return self._remaining_work(job) / self._best_rate[self._class_of[job]]
        if self.prediction is not None:
            return self.prediction.remaining_s(self, job)
        attained = self._attained_s(job)
        estimate = self._estimate_s[job]
        if self.information == "estimates" and not math.isnan(estimate):
            left = estimate - attained
            return left if left > 0 else overrun_s(attained)
        return max(UNKNOWN_PRIOR_S, attained)

    def run_s(self, job: int, mode: int) -> float:
        """Return how long the job would still hold accelerators if started in `mode` now."""
        c = self._class_of[job]
        factor = self._best_rate[c] / self.problem.modes[c][mode].rate
        return self.remaining_s(job) * factor + self._restart_us[c] / US_PER_S

    def expected_end_us(self, job: int) -> int:
        """Return when a running job is expected to end, as far as it is known."""
        running = self.running[job]
        if self.information == "exact":
            return running.end_us
        c = self._class_of[job]
        factor = self._best_rate[c] / self.problem.modes[c][running.mode].rate
        overhead = max(0, running.start_us + running.overhead_us - self.now_us)
        return self.now_us + overhead + max(1, us_from_s(self.remaining_s(job) * factor))

    def find(
        self, job: int, fit: Fit = "best", occupancy: Occupancy | None = None
    ) -> tuple[int, Placement] | None:
        """Return the fastest mode that has a legal placement now, and that placement."""
        where = self.occupancy if occupancy is None else occupancy
        access, caps_power = self._access, self._caps_power
        want = 0
        if access is not None:
            want = access.want_of[job]
            where = access.hide(want, where)
        type_free = where.type_free
        for index, mode, kind, count in self._asks[self._class_of[job]]:
            if type_free[kind] < count or (access is not None and not access.permits(want, mode)):
                continue
            placement = self._search(mode, fit, where) if caps_power else where.find(mode, fit)
            if placement is not None:
                return index, placement
        return None

    def place_job(
        self, job: int, mode: int, fit: Fit = "best", occupancy: Occupancy | None = None
    ) -> Placement | None:
        """Return a placement on which the job may start in `mode` now, or None."""
        where = self.occupancy if occupancy is None else occupancy
        chosen = self.problem.modes[self._class_of[job]][mode]
        if self._access is not None:
            want = self._access.want_of[job]
            if not self._access.permits(want, chosen):
                return None
            where = self._access.hide(want, where)
        return self._search(chosen, fit, where)

    def permits(self, job: int, mode: int) -> bool:
        """Return whether the quota of the job's tenant, and its neighbours, allow the mode now."""
        chosen = self.problem.modes[self._class_of[job]][mode]
        return self._access is None or self._access.permits(self.want_of(job), chosen)

    def usable(self, job: int, occupancy: Occupancy | None = None) -> Occupancy:
        """Return what the job may use of what is free, whatever its mode."""
        where = self.occupancy if occupancy is None else occupancy
        return where if self._access is None else self._access.hide(self.want_of(job), where)

    def may_start(self, job: int, mode: int, placement: Placement) -> bool:
        """Return whether quotas, labels, reservations and the like let the job start there."""
        chosen = self.problem.modes[self._class_of[job]][mode]
        access = self._access
        return access is None or not access.refuses(job, chosen, placement, self.occupancy)

    def without(self, jobs: Sequence[int]) -> AbstractContextManager[None]:
        """Count running jobs as stopped, within a ``with``, for quotas, hosts and neighbours.

        Their accelerators stay taken in `occupancy`: plan on a copy that has them back. Nothing
        may start or stop meanwhile.
        """
        if self._access is None:
            return nullcontext()
        running = [(job, self.running[job]) for job in jobs]
        return self._access.without([(j, self.modes(j)[r.mode], r.placement) for j, r in running])

    def after_stopping(self, jobs: Sequence[int]) -> Occupancy:
        """Return what would be free if some running jobs stopped: a copy, to plan on."""
        then = self.occupancy.copy()
        for job in jobs:
            then.give(self.running[job].placement)
        return then

    def free_without(self, jobs: Sequence[int]) -> list[int]:
        """Return the accelerators of each type that are free or that some running jobs hold.

        One that several of them share counts once, and only if nobody else has a part of it.
        """
        if self._shares:
            return list(self.after_stopping(jobs).type_free)
        free = list(self.occupancy.type_free)
        for job in jobs:
            for group in self.modes(job)[self.running[job].mode].groups:
                free[group.type_index] += group.count
        return free

    def place(
        self, mode: Mode, fit: Fit = "best", occupancy: Occupancy | None = None
    ) -> Placement | None:
        """Return a legal placement of `mode` now, within the power caps, or None.

        Nodes kept for some are left out; what a job may use is for `find` and `place_job`.
        """
        where = self.occupancy if occupancy is None else occupancy
        if self._access is not None:
            where = self._access.hide_reserved(where)
        return self._search(mode, fit, where)

    def place_replica(self, service: int, mode: int, fit: Fit = "best") -> Placement | None:
        """Return a placement on which a replica may start in `mode` now, or None."""
        if not self.permits_replica(service, mode):
            return None
        return self.place(self.problem.service_modes[service][mode], fit)

    def permits_replica(self, service: int, mode: int) -> bool:
        """Return whether the quota of the service's tenant has room for a replica in `mode`."""
        access = self._access
        chosen = self.problem.service_modes[service][mode]
        return access is None or access.permits_replica(service, chosen)

    def _search(self, mode: Mode, fit: Fit, where: Occupancy) -> Placement | None:
        placement = where.find(mode, fit)
        if not self._caps_power or placement is None:
            return placement
        barred: set[int] = set()
        while placement is not None and not self._power_allows(mode, placement):
            sites = {self._node_site[n] for n in placement.nodes}
            barred.update(p for p, s in enumerate(self._pool_site) if s in sites)
            placement = where.find(mode, fit, barred)
        return placement

    def power_allows(self, mode: Mode, placement: Placement) -> bool:
        """Return whether the power caps leave room for `mode` on `placement`."""
        return not self._caps_power or self._power_allows(mode, placement)

    def wake_at(self, at_us: int) -> None:
        """Ask to be called at `at_us` (the earliest request counts) even if nothing happens."""
        if at_us > self.now_us and (self.wake_us is None or at_us < self.wake_us):
            self.wake_us = at_us


def _whole(mode: Mode) -> int:
    """Return how many accelerators of its first type must be free for a mode; of a share, none."""
    return mode.groups[0].count if mode.share_milli == WHOLE_MILLI else 0
