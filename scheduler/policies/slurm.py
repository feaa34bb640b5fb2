"""A Slurm-like scheduler.

Multifactor priority; a main loop in which nothing passes a blocked job; backfill that reserves
whole nodes; leaf switches filled tightest first; preemption by requeue. Rules after slurm.conf(5)
and after reading the source of release 22.05 (sched/backfill, select/cons_tres,
priority/multifactor, preempt/partition_prio; GPL-2.0: rules only, no code): jobs that end close
together are taken away together when a start is foreseen (windows of 30 s, then 60, 120, ...),
and the start foreseen is the end of the last one of them. The background loop ticks once a
second: a pass of the main scheduler is due after ``sched_interval``, or ``batch_sched_delay``
after the last one where something was submitted; the end of a job asks for one at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.core.run import Placement
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.provision import StaticPeak
from scheduler.policies.slurm_nodes import END_WINDOW_S, Nodes, Outlook, Start
from scheduler.policies.view import View

REORDERS = 2
"""Times the candidates of a preemption are reordered."""

MOST_TRIES = 50
"""Later starts tried for one job in one backfill pass."""

TICK_US = US_PER_S
"""The controller's background loop looks once a second whether a pass is due; so does the
backfill scheduler while it has nothing to do."""


class Slurm:
    """Main scheduler and backfill scheduler of one controller.

    Parameters
    ----------
    settings : SlurmSettings or None
        None: Slurm's defaults, one partition.
    main_phase, backfill_phase : float
        In [0, 1): where in its interval each loop stands at the start of the run. A real
        controller's are accidents of its start-up.
    clock_phase : float
        In [0, 1): where the run starts in the half minute of the clock on the wall, to whose
        ends Slurm aligns the first window.
    nodes_asked : sequence of int
        By job class, how many nodes its gang asks for, with equal parts on each; empty: as few
        as hold it.
    """

    def __init__(
        self,
        settings: SlurmSettings | None = None,
        main_phase: float = 0.0,
        backfill_phase: float = 0.5,
        clock_phase: float = 0.0,
        nodes_asked: Sequence[int] = (),
    ) -> None:
        self._asked = tuple(nodes_asked)
        self._settings = settings or SlurmSettings()
        s = self._settings
        self._services = StaticPeak()
        self._next_full_us = us_from_s(main_phase * s.cycle_s)
        self._tick_us = self._next_full_us % TICK_US
        self._last_pass_us = self._next_full_us - us_from_s(s.cycle_s)
        self._submitted = False  # since the last pass of the background loop
        self._next_backfill_us = us_from_s(backfill_phase * s.backfill_interval_s)
        self._changed = True  # a pass over what has not changed would decide the same
        self._eligible = 0
        self._eligible_us: dict[int, int] = {}
        self._aged_us: dict[int, int] = {}  # a requeued job ages while it is not eligible yet
        self._clock_us = us_from_s(clock_phase * END_WINDOW_S)
        self._nodes: Nodes | None = None
        self.requeued: list[tuple[int, int]] = []
        """Job and instant of each preemption, in order."""

    def decide(self, view: View) -> None:
        """Run the loops that are due, and ask to be called when the next one is."""
        self._services.provision(view)
        if self._nodes is None:
            self._nodes = Nodes(view, self._settings, self._clock_us, self._asked)
        now_us = view.now_us
        for job in view.joined:
            if self._eligible_us.setdefault(job, now_us) == now_us:
                self._submitted = True
            self._aged_us.setdefault(job, now_us)
        if view.joined or view.ended:
            self._changed = True
        # the end of a job asks for a pass at once, a submission for one at the next tick
        left = self._nodes.drop_those_gone(now_us)
        if self._background_due(now_us) or view.ended or left:
            self._main(view, self._nodes)
        self._backfill_if_due(view, self._nodes)
        times = [*self._nodes.leave_us()]
        if view.waiting or self._changed:
            times.append(self._next_backfill_us)
        if view.waiting:
            times.append(self._next_pass_us(now_us))
        if times:
            view.wake_at(max(min(times), now_us + 1))

    def _background_due(self, now_us: int) -> bool:
        """Return whether the background loop, which ticks once a second, starts a pass now."""
        cycle_us = us_from_s(self._settings.cycle_s)
        due_us = _tick(self._next_full_us, cycle_us, now_us)
        if due_us > self._next_full_us:  # those in between found nothing
            self._last_pass_us = max(self._last_pass_us, due_us - cycle_us)
        self._next_full_us = due_us
        due = now_us == due_us
        if due:
            self._next_full_us += cycle_us
        elif self._submitted:
            due = now_us == self._next_look_us(now_us)
        if due:
            self._last_pass_us = now_us
            self._submitted = False
        return due

    def _next_look_us(self, now_us: int) -> int:
        """Return the first tick that looks at submissions, at `now_us` or later."""
        after_us = self._last_pass_us + us_from_s(self._settings.submit_delay_s)
        return _tick(self._tick_us, TICK_US, max(now_us, after_us))

    def _next_pass_us(self, now_us: int) -> int:
        look_us = self._next_look_us(now_us + 1) if self._submitted else self._next_full_us
        return min(look_us, self._next_full_us)

    def _backfill_if_due(self, view: View, nodes: Nodes) -> None:
        """Run a backfill pass if it is time for one and anything has changed."""
        now_us = view.now_us
        self._next_backfill_us = _tick(self._next_backfill_us, TICK_US, now_us)
        if now_us != self._next_backfill_us:
            return
        eligible = sum(self._eligible_us[job] <= now_us for job in view.waiting)
        if not self._changed and not view.waiting:
            self._next_backfill_us += TICK_US
            return
        self._next_backfill_us += us_from_s(self._settings.backfill_interval_s)
        if self._settings.backfills and (self._changed or eligible != self._eligible):
            self._changed, self._eligible = False, eligible
            self._backfill(view, nodes)

    # --- the two loops -------------------------------------------------------------

    def _main(self, view: View, nodes: Nodes) -> None:
        """Start jobs in order; in a partition, nothing passes the first that cannot start."""
        blocked: set[int] = set()
        for job in self._order(view):
            partition = nodes.partition_of(job)
            if partition in blocked:
                continue
            found = nodes.place(view, job, nodes.usable(job), nodes.free_now(view))
            if found is not None:
                view.start(job, *found)
                self._changed = True
                continue
            if self._settings.preempts:
                self._preempt(view, nodes, job)
            blocked.add(partition)

    def _backfill(self, view: View, nodes: Nodes) -> None:
        """Go through the queue; who cannot start now reserves whole nodes for later."""
        reserved: list[tuple[int, int, int]] = []  # start, end, nodes
        horizon_us = view.now_us + us_from_s(self._settings.window_s)
        outlook = Outlook(view, nodes)
        for job in self._order(view):
            found = self._earliest(view, nodes, outlook, job, reserved, horizon_us)
            if found is None:
                continue
            if found.at_us <= view.now_us:
                view.start(job, found.mode, found.placement)
                outlook = Outlook(view, nodes)
                self._changed = True
                continue
            end_us = found.at_us + _limit_us(view, job, found.mode)
            reserved.append((found.at_us, end_us, found.nodes))

    def _earliest(
        self,
        view: View,
        nodes: Nodes,
        outlook: Outlook,
        job: int,
        reserved: list[tuple[int, int, int]],
        horizon_us: int,
    ) -> Start | None:
        """Return the first start that no reservation stands against."""
        least_us = view.now_us
        step_us = us_from_s(self._settings.resolution_s)
        limit_us = _limit_us(view, job, 0)
        for _ in range(MOST_TRIES):
            free = nodes.usable(job)
            for start_us, end_us, held in reserved:
                if end_us > least_us and start_us <= least_us + limit_us:
                    free &= ~held
            next_us = min((end for _, end, _ in reserved if end > least_us), default=None)
            found = nodes.foresee(view, job, free, outlook)
            if found is None:
                if next_us is None:
                    return None
                least_us = next_us
                continue
            at_us = max(found.at_us, least_us)
            if next_us is not None and at_us > next_us:
                least_us = next_us
                continue
            if at_us > view.now_us and any(
                start_us < at_us + limit_us and end_us > at_us and held & found.nodes
                for start_us, end_us, held in reserved
            ):
                least_us = max(at_us, least_us + step_us)
                continue
            if at_us > horizon_us:
                return None
            return Start(at_us, found.mode, found.placement, found.nodes)
        return None

    # --- order and preemption ------------------------------------------------------

    def _order(self, view: View) -> list[int]:
        """Return eligible jobs by tier, priority and submission."""
        now_us = view.now_us
        jobs = [j for j in view.waiting if self._eligible_us[j] <= now_us]
        jobs.sort(key=lambda j: self._key(view, j))
        return jobs[: self._settings.most_jobs]

    def _key(self, view: View, job: int) -> tuple[int, int, int, int]:
        assert self._nodes is not None
        partition = self._nodes.partitions[self._nodes.partition_of(job)]
        if not self._settings.multifactor:
            return (-partition.tier, 0, 0, job)
        priority = self._priority(view, job, partition)
        return (-partition.tier, -priority, self._aged_us[job], job)

    def _priority(self, view: View, job: int, partition: SlurmPartition) -> int:
        """Return age, size and partition factors, weighted (priority/multifactor)."""
        s = self._settings
        age = min(1.0, (view.now_us - self._aged_us[job]) / (s.most_age_s * US_PER_S))
        assert self._nodes is not None
        slots = self._nodes.wanted(view, job)
        nodes = len(view.problem.cluster.nodes)
        share, cpus = slots / nodes, slots / (nodes * s.cpus_per_node)
        size = (share + cpus) / 2
        if s.favours_small:
            size = (max(0.0, 1 - share) + 1 - cpus) / 2
        factors = age * s.age_weight + size * s.size_weight + partition.factor * s.partition_weight
        return int(factors)

    def _preempt(self, view: View, nodes: Nodes, job: int) -> None:
        """Requeue jobs of lower tiers to make room for `job`.

        The job starts in a later pass, when they have left, and wherever it fits best then.
        Candidates are taken away one by one, smallest first, until the gang has room; those
        that stand on its nodes go. To find fewer, the last one taken moves to the front, the
        others follow by overlap, and it is tried anew (``preempt_reorder_count``).
        """
        if nodes.leaves_for(job):
            return
        tier = nodes.partitions[nodes.partition_of(job)].tier
        candidates = []
        for other, running in view.running.items():
            its = nodes.partitions[nodes.partition_of(other)]
            if its.tier < tier and its.requeues and view.preemptible(other):
                candidates.append((its.tier, len(running.placement.nodes), other))
        order = [other for _, _, other in sorted(candidates)]
        removed: list[int] = []
        found: tuple[int, Placement] | None = None
        for _ in range(1 + REORDERS):
            free = nodes.free_now(view)
            better = None
            for count, other in enumerate(order, start=1):
                free.give(view.running[other].placement)
                better = nodes.place(view, job, nodes.usable(job), free)
                if better is not None:
                    removed = order[:count]
                    break
            if better is None:
                break
            found = better
            wanted = set(found[1].nodes)
            *before, last = removed
            before.sort(key=lambda j: -len(wanted.intersection(view.running[j].placement.nodes)))
            order = [last, *before, *order[len(removed) :]]
        if found is None:
            return
        wanted = set(found[1].nodes)
        hold_us = us_from_s(self._settings.requeue_hold_s)
        gone_us = view.now_us + us_from_s(self._settings.completing_s)
        for other in removed:
            placement = view.running[other].placement
            if wanted.intersection(placement.nodes):
                view.stop(other)
                nodes.leave(gone_us, job, placement)
                self._eligible_us[other] = view.now_us + hold_us
                self._aged_us[other] = view.now_us
                self.requeued.append((other, view.now_us))
        self._changed = True


def _tick(next_us: int, interval_us: int, now_us: int) -> int:
    """Return the first tick of a loop at `now_us` or later."""
    return next_us + max(0, -(-(now_us - next_us) // interval_us)) * interval_us


def _limit_us(view: View, job: int, mode: int) -> int:
    """Return for how long a start of the job is expected to hold its nodes."""
    return math.ceil(view.run_s(job, mode) * US_PER_S)
