"""A Slurm-like scheduler.

Multifactor priority; a main loop in which nothing passes a blocked job; backfill that reserves
whole nodes; leaf switches filled tightest first; preemption by requeue. Rules after slurm.conf(5)
and after reading the source of release 22.05 (slurmctld, sched/backfill, select/cons_tres,
priority/multifactor, preempt/partition_prio; GPL-2.0: rules only, no code), checked against the
log of a slurmctld of our own: jobs that end close together are taken away together when a start
is foreseen (windows of 30 s, then 60, 120, ...), and the start foreseen is the end of the last
one of them. The background loop ticks once a second: a pass of the main scheduler is due after
``sched_interval``, or ``batch_sched_delay`` after the last one where something was submitted or
has ended. What is blocked closes the nodes of its partition to all partitions after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.core.run import Placement
from scheduler.core.slurm import SlurmSettings
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.provision import StaticPeak
from scheduler.policies.slurm_backfill import Pass
from scheduler.policies.slurm_nodes import END_WINDOW_S, Free, Nodes, Start, mask_of
from scheduler.policies.view import View

REORDERS = 2
"""Times the candidates of a preemption are reordered."""


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
        ends Slurm aligns the first window, and of which it keeps whole seconds.
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
        self._asked_nodes = tuple(nodes_asked)
        self._settings = s = settings or SlurmSettings()
        self._services = StaticPeak()
        self._clock_us = us_from_s(clock_phase * END_WINDOW_S)
        self._ticks = _Ticks(s, us_from_s(main_phase * s.cycle_s), self._clock_us)
        self._next_backfill_us = us_from_s(backfill_phase * s.backfill_interval_s)
        self._changed = True  # a pass over what has not changed would decide the same
        self._looked_at: tuple[int, int] = (0, 0)
        self._eligible_us: dict[int, int] = {}
        self._since_s: dict[int, int] = {}  # a requeued job ages while it is not eligible yet
        self._preempted_s: dict[int, int] = {}  # by job that preempted
        self._keys: dict[int, tuple[int, int, int, int]] = {}
        self._aged_s = 0
        self._nodes: Nodes | None = None
        self.requeued: list[tuple[int, int]] = []
        """Job and instant of each preemption, in order."""

    def decide(self, view: View) -> None:
        """Run the loops that are due, and ask to be called when the next one is."""
        self._services.provision(view)
        if self._nodes is None:
            self._nodes = Nodes(view, self._settings, self._clock_us, self._asked_nodes)
        now_us, nodes = view.now_us, self._nodes
        self._ticks.catch_up(now_us)
        for job in view.joined:
            self._eligible_us.setdefault(job, now_us)
            self._since_s.setdefault(job, nodes.clock_s(now_us))
        if view.joined or view.ended:
            self._changed = True
            self._ticks.ask(now_us)
        # a node that was told to kill a job reports its end, which starts a pass at once
        at_once = nodes.drop_those_gone(now_us) or (view.ended and self._settings.epilog)
        full, asked = self._ticks.due(now_us)
        if full or asked or at_once:
            self._main(view, nodes, None if full else self._settings.queue_depth + 1)
        self._backfill_if_due(view, nodes)
        times = nodes.leave_us()
        if view.waiting or self._changed:
            times.append(self._next_backfill_us)
        if view.waiting:
            times.append(self._ticks.next_us())
        if times:
            view.wake_at(max(min(times), now_us + 1))

    def _backfill_if_due(self, view: View, nodes: Nodes) -> None:
        """Run a backfill pass if it is time for one and anything has changed."""
        now_us, s = view.now_us, self._settings
        late_us = now_us - self._next_backfill_us
        if late_us > 0:  # while it has nothing to do, it looks once a second
            self._next_backfill_us += -(-late_us // US_PER_S) * US_PER_S
        if now_us != self._next_backfill_us:
            return
        if not self._changed and not view.waiting:
            self._next_backfill_us += US_PER_S
            return
        self._next_backfill_us += us_from_s(s.backfill_interval_s + s.backfill_lag_s)
        if not s.backfills:
            self._changed = False
            return
        order = self._order(view, nodes)
        looked_at = (len(order), self._aged_s)
        if self._changed or looked_at != self._looked_at:
            self._changed, self._looked_at = False, looked_at
            backfill = Pass(view, nodes, self, s.window_s, s.resolution_s)
            for job in order[: s.most_jobs]:
                backfill.look_at(job)

    # --- the two loops -------------------------------------------------------------

    def _main(self, view: View, nodes: Nodes, most: int | None) -> None:
        """Start jobs in order.

        Nothing in a partition passes the first job that cannot start, and no job of another
        partition after it starts on that partition's nodes.
        """
        blocked: set[int] = set()
        open_nodes = nodes.every
        free: Free | None = None
        for job in self._order(view, nodes)[:most]:
            partition = nodes.partition_of(job)
            if partition in blocked:
                continue
            usable = nodes.usable(job) & open_nodes
            if usable.bit_count() >= nodes.wanted(view, job):
                if free is None:
                    free = nodes.free_now(view)
                found = nodes.place(view, job, usable & ~nodes.completing, free)
                if found is not None:
                    self._start(view, job, *found)
                    free.take(found[1])
                    continue
                if self._settings.preempts and self._preempt(view, nodes, job, usable):
                    free = None
            blocked.add(partition)
            open_nodes &= ~nodes.usable(job)
            if not open_nodes:
                break

    def start_now(self, view: View, nodes: Nodes, job: int, allowed: int, found: Start) -> bool:
        """Start a job that backfill has found room for, or make that room."""
        if nodes.fits_now(view, found.placement):
            self._start(view, job, found.mode, found.placement)
            return True
        if self._settings.preempts:
            self._preempt(view, nodes, job, allowed)
        return False

    def _start(self, view: View, job: int, mode: int, placement: Placement) -> None:
        view.start(job, mode, placement)
        self._preempted_s.pop(job, None)
        self._changed = True

    # --- order and preemption ------------------------------------------------------

    def _order(self, view: View, nodes: Nodes) -> list[int]:
        """Return eligible jobs by tier, priority and submission."""
        now_us, s = view.now_us, self._settings
        every_s = max(1, int(s.priorities_every_s))
        aged_s = nodes.clock_s(now_us) // every_s * every_s
        if s.multifactor and s.age_weight and aged_s != self._aged_s:
            self._keys.clear()
        self._aged_s = aged_s
        keys = self._keys
        jobs = [j for j in view.waiting if self._eligible_us[j] <= now_us]
        for job in jobs:
            if job not in keys:
                keys[job] = self._key(view, nodes, job)
        jobs.sort(key=keys.__getitem__)
        return jobs

    def _key(self, view: View, nodes: Nodes, job: int) -> tuple[int, int, int, int]:
        tier = nodes.partitions[nodes.partition_of(job)].tier
        if not self._settings.multifactor:
            return (-tier, 0, 0, job)
        return (-tier, -self._priority(view, nodes, job), self._since_s[job], job)

    def _priority(self, view: View, nodes: Nodes, job: int) -> int:
        """Return age, size and partition factors, weighted (priority/multifactor)."""
        s = self._settings
        age = min(1.0, max(0, self._aged_s - self._since_s[job]) / s.most_age_s)
        slots = nodes.wanted(view, job)
        share, cpus = slots / nodes.count, slots / (nodes.count * s.cpus_per_node)
        size = (share + cpus) / 2
        if s.favours_small:
            size = (max(0.0, 1 - share) + 1 - cpus) / 2
        factor = nodes.partitions[nodes.partition_of(job)].factor
        return int(age * s.age_weight + size * s.size_weight + factor * s.partition_weight)

    def _preempt(self, view: View, nodes: Nodes, job: int, allowed: int) -> bool:
        """Requeue jobs of lower tiers to make room for `job`; return whether any was.

        The job starts in a later pass, when they have left, and wherever it fits best then.
        Candidates are taken away one by one, smallest first, until the gang has room; those
        that stand on its nodes go. To find fewer, the last one taken moves to the front, the
        others follow by overlap, and it is tried anew (``preempt_reorder_count``).
        """
        now_s = nodes.clock_s(view.now_us)
        since_s = self._preempted_s.get(job)
        if since_s is not None and now_s - since_s < self._settings.preempts_again_s:
            return False
        tier = nodes.partitions[nodes.partition_of(job)].tier
        candidates = []
        reachable = ~nodes.completing
        for other, running in view.running.items():
            its = nodes.partitions[nodes.partition_of(other)]
            mask = mask_of(running.placement)
            if its.tier < tier and mask & allowed and nodes.may_go(view, other):
                candidates.append((its.tier, len(running.placement.nodes), other))
                reachable |= mask
        order = [other for _, _, other in sorted(candidates)]
        removed: list[int] = []
        found: tuple[int, Placement] | None = None
        for _ in range(1 + REORDERS):
            free = nodes.free_now(view)
            better = None
            for count, other in enumerate(order, start=1):
                free.give(view.running[other].placement)
                better = nodes.place(view, job, allowed & reachable, free)
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
            return False
        wanted = set(found[1].nodes)
        for other in removed:
            if wanted.intersection(view.running[other].placement.nodes):
                self._requeue(view, nodes, other)
        self._preempted_s[job] = now_s
        return True

    def _requeue(self, view: View, nodes: Nodes, job: int) -> None:
        s, now_us = self._settings, view.now_us
        placement = view.running[job].placement
        view.stop(job)
        nodes.leave(now_us + us_from_s(s.killed_s), placement)
        now_s = nodes.clock_s(now_us)
        self._eligible_us[job] = (now_s + math.ceil(s.requeue_hold_s)) * US_PER_S - self._clock_us
        self._since_s[job] = now_s
        self._keys.pop(job, None)
        self.requeued.append((job, now_us))
        self._changed = True


class _Ticks:
    """The controller's background loop: when it starts a pass of the main scheduler.

    Its intervals are between whole seconds of the clock on the wall.
    """

    def __init__(self, settings: SlurmSettings, first_us: int, clock_us: int) -> None:
        self._tick_us = US_PER_S + us_from_s(settings.tick_lag_s)
        self._cycle_s = max(1, math.ceil(settings.cycle_s))
        self._delay_s = math.ceil(settings.submit_delay_s)
        self._first_us, self._clock_us = first_us, clock_us
        self._full_us = first_us
        self._last_s = (first_us + clock_us) // US_PER_S - self._cycle_s
        self._asked_us: int | None = None

    def ask(self, now_us: int) -> None:
        """Ask for a pass."""
        if self._asked_us is None:
            self._asked_us = now_us

    def due(self, now_us: int) -> tuple[bool, bool]:
        """Return whether a pass over the whole queue starts now, or one that was asked for."""
        full = now_us == self._full_us
        asked = not full and self._asked_us is not None and now_us == self._look_us()
        if full:
            self._pass_full()
        elif asked:
            self._last_s = self._second(now_us)
            self._asked_us = None
        return full, asked

    def next_us(self) -> int:
        """Return when the next pass starts, unless something is asked for until then."""
        return self._full_us if self._asked_us is None else min(self._full_us, self._look_us())

    def catch_up(self, now_us: int) -> None:
        """Go through the passes before now, which found nothing to do."""
        while (next_us := self.next_us()) < now_us:
            if next_us == self._full_us:
                if self._tick_us == US_PER_S:
                    cycle_us = self._cycle_s * US_PER_S
                    self._full_us += (now_us - next_us - 1) // cycle_us * cycle_us
                self._pass_full()
            else:
                self._last_s = self._second(next_us)
                self._asked_us = None

    def _pass_full(self) -> None:
        self._last_s = self._second(self._full_us)
        self._asked_us = None
        self._full_us = self._tick_from((self._last_s + self._cycle_s) * US_PER_S - self._clock_us)

    def _look_us(self) -> int:
        """Return the first tick that looks at what was asked."""
        assert self._asked_us is not None
        delayed_us = (self._last_s + self._delay_s) * US_PER_S - self._clock_us
        return self._tick_from(max(self._asked_us, delayed_us))

    def _second(self, at_us: int) -> int:
        return (at_us + self._clock_us) // US_PER_S

    def _tick_from(self, at_us: int) -> int:
        """Return the first tick at that instant or later."""
        return self._first_us + -(-(at_us - self._first_us) // self._tick_us) * self._tick_us
