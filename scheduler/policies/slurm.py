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
from dataclasses import dataclass

from scheduler.core.problem import Group
from scheduler.core.run import Placement
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.provision import StaticPeak
from scheduler.policies.view import View

END_WINDOW_S = 30.0
"""First window of ends that are taken together; it doubles from test to test."""

REORDERS = 2
"""Times the candidates of a preemption are reordered."""

MOST_TRIES = 50
"""Later starts tried for one job in one backfill pass."""

TICK_US = US_PER_S
"""The controller's background loop looks once a second whether a pass is due; so does the
backfill scheduler while it has nothing to do."""


@dataclass(frozen=True, slots=True)
class _Start:
    """When, how and where a job could start."""

    at_us: int
    mode: int
    placement: Placement
    nodes: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """A gang as Slurm is asked for it: accelerators of a type on each of some nodes."""

    type_index: int
    first_mode: int
    parts: tuple[int, ...]

    @property
    def asks(self) -> tuple[int, int]:
        """Type and accelerators."""
        return self.type_index, sum(self.parts)


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
        self._nodes: _Nodes | None = None
        self.requeued: list[tuple[int, int]] = []
        """Job and instant of each preemption, in order."""

    def decide(self, view: View) -> None:
        """Run the loops that are due, and ask to be called when the next one is."""
        self._services.provision(view)
        if self._nodes is None:
            self._nodes = _Nodes(view, self._settings, self._clock_us, self._asked)
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

    def _backfill_if_due(self, view: View, nodes: _Nodes) -> None:
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

    def _main(self, view: View, nodes: _Nodes) -> None:
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

    def _backfill(self, view: View, nodes: _Nodes) -> None:
        """Go through the queue; who cannot start now reserves whole nodes for later."""
        reserved: list[tuple[int, int, int]] = []  # start, end, nodes
        horizon_us = view.now_us + us_from_s(self._settings.window_s)
        for job in self._order(view):
            found = self._earliest(view, nodes, job, reserved, horizon_us)
            if found is None:
                continue
            if found.at_us <= view.now_us:
                view.start(job, found.mode, found.placement)
                self._changed = True
                continue
            end_us = found.at_us + _limit_us(view, job, found.mode)
            reserved.append((found.at_us, end_us, found.nodes))

    def _earliest(
        self,
        view: View,
        nodes: _Nodes,
        job: int,
        reserved: list[tuple[int, int, int]],
        horizon_us: int,
    ) -> _Start | None:
        """Return the first start that no reservation stands against."""
        least_us = view.now_us
        step_us = us_from_s(self._settings.resolution_s)
        limit_us = _limit_us(view, job, 0)
        for _ in range(MOST_TRIES):
            free = nodes.usable(job)
            for start_us, end_us, held in reserved:
                if end_us > least_us and start_us <= least_us + limit_us:
                    free &= ~held
            later = [end for _, end, _ in reserved if end > least_us]
            found = nodes.foresee(view, job, free)
            if found is None:
                if not later:
                    return None
                least_us = min(later)
                continue
            at_us = max(found.at_us, least_us)
            if later and at_us > min(later):
                least_us = min(later)
                continue
            if at_us > view.now_us and any(
                start_us < at_us + limit_us and end_us > at_us and held & found.nodes
                for start_us, end_us, held in reserved
            ):
                least_us = max(at_us, least_us + step_us)
                continue
            if at_us > horizon_us:
                return None
            return _Start(at_us, found.mode, found.placement, found.nodes)
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

    def _preempt(self, view: View, nodes: _Nodes, job: int) -> None:
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
                nodes.give(free, view.running[other].placement)
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


class _Nodes:
    """Which nodes a job may use, and which of them topology/tree would choose.

    Sets of nodes are bit masks: bit ``n`` stands for node ``n``.
    """

    def __init__(
        self, view: View, settings: SlurmSettings, clock_us: int, asked: tuple[int, ...]
    ) -> None:
        self._clock_us = clock_us
        self._asked = asked
        self._leaving: list[tuple[int, int, Placement]] = []  # when, for which job, from where
        self._shapes_of: dict[int, list[_Shape]] = {}
        pools = view.problem.pools
        types = range(len(view.problem.types))
        self._size = [max((p.size for p in pools if p.type_index == t), default=1) for t in types]
        problem = view.problem
        count = len(problem.cluster.nodes)
        every = (1 << count) - 1
        tenants = problem.workload.tenants
        named = settings.partitions or tuple(SlurmPartition(name) for name in tenants)
        self.partitions = named if len(named) >= len(tenants) else (SlurmPartition("all"),)
        self._masks = [sum(1 << n for n in p.nodes) or every for p in self.partitions]
        self._tenant_of: list[int] = problem.workload.jobs.tenant_index.tolist()
        node_type = [0] * count
        leaf = [0] * count
        for p, pool in enumerate(problem.pools):
            for node in pool.nodes:
                node_type[node] = pool.type_index
                leaf[node] = pool.domains[0] if pool.domains else p
        self._of_type = [
            sum(1 << n for n in range(count) if node_type[n] == t)
            for t in range(len(problem.types))
        ]
        self._leaf_masks = [
            sum(1 << n for n in range(count) if leaf[n] == d) for d in dict.fromkeys(leaf)
        ]
        # a leaf stands where its first node stands
        self._leaf_masks.sort(key=lambda mask: mask & -mask)

    def partition_of(self, job: int) -> int:
        """Return the position of the job's partition."""
        return min(self._tenant_of[job], len(self.partitions) - 1)

    def usable(self, job: int) -> int:
        """Return the nodes of the job's partition."""
        return self._masks[self.partition_of(job)]

    def wanted(self, view: View, job: int) -> int:
        """Return how many nodes the job asks for."""
        shapes = self._shapes(view, job)
        return len(shapes[0].parts) if shapes else 1

    def free_now(self, view: View) -> list[int]:
        """Return free accelerators by node, to be changed at will."""
        free = view.occupancy.free.copy()
        for _, _, placement in self._leaving:
            for node, count in zip(placement.nodes, placement.counts, strict=True):
                free[node] -= count
        return free

    def leave(self, gone_us: int, job: int, placement: Placement) -> None:
        """Keep what a requeued job held until it has left; it makes room for `job`."""
        self._leaving.append((gone_us, job, placement))

    def leaves_for(self, job: int) -> bool:
        """Return whether anything is leaving to make room for the job."""
        return any(other == job for _, other, _ in self._leaving)

    def leave_us(self) -> list[int]:
        """Return the instants at which requeued jobs will have left."""
        return [gone_us for gone_us, _, _ in self._leaving]

    def drop_those_gone(self, now_us: int) -> bool:
        """Forget requeued jobs that have left; return whether there were any."""
        before = len(self._leaving)
        self._leaving = [entry for entry in self._leaving if entry[0] > now_us]
        return len(self._leaving) < before

    @staticmethod
    def give(free: list[int], placement: Placement) -> None:
        """Add what a placement holds."""
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            free[node] += count

    def place(
        self, view: View, job: int, allowed: int, free: list[int]
    ) -> tuple[int, Placement] | None:
        """Return the fastest mode that fits on `allowed` nodes with `free` accelerators."""
        for shape in self._shapes(view, job):
            nodes = self._choose(shape, allowed, free)
            if nodes is not None:
                placement = Placement(tuple(nodes), tuple(nodes.values()))
                mode = self._mode_of(view, job, shape, placement)
                if mode >= 0 and self._allowed(view, job, mode, placement):
                    return mode, placement
        return None

    @staticmethod
    def _allowed(view: View, job: int, mode: int, placement: Placement) -> bool:
        allowed = view.may_start(job, mode, placement)
        return allowed and view.power_allows(view.modes(job)[mode], placement)

    def _shapes(self, view: View, job: int) -> list[_Shape]:
        """Return what the job may ask for: a type, and a part for each node; fastest first."""
        c = view.class_of(job)
        if c not in self._shapes_of:
            shapes: dict[tuple[int, int], _Shape] = {}
            for m, mode in enumerate(view.modes(job)):
                t = mode.type_index
                if len(mode.groups) == 1 and (t, mode.count) not in shapes:
                    whole = -(-mode.count // self._asked[c]) if self._asked else self._size[t]
                    full, rest = divmod(mode.count, whole)
                    parts = (whole,) * full + ((rest,) if rest else ())
                    shapes[t, mode.count] = _Shape(t, m, parts)
            self._shapes_of[c] = list(shapes.values())
        return self._shapes_of[c]

    def _mode_of(self, view: View, job: int, shape: _Shape, placement: Placement) -> int:
        """Return the fastest mode that the placement is legal for, or -1."""
        problem = view.problem
        modes = view.modes(job)
        layout = view.occupancy.layout
        pools = [problem.pools[layout.node_pool[n]] for n in placement.nodes]
        for m in range(shape.first_mode, len(modes)):
            mode = modes[m]
            group = mode.groups[0]
            if len(mode.groups) > 1 or (group.type_index, group.count) != shape.asks:
                continue
            level = mode.level
            inside = len(pools) == 1 or len({pool.domains[level - 1] for pool in pools}) == 1
            if (level or len(placement.nodes) == 1) and inside and _slots_fit(group, placement):
                return m
        return -1

    def _choose(self, shape: _Shape, allowed: int, free: list[int]) -> dict[int, int] | None:
        """Return accelerators by node: distinct nodes, in few leaves, tightest leaf first."""
        parts = shape.parts
        usable = 0
        rest = allowed & self._of_type[shape.type_index]
        while rest:
            bit = rest & -rest
            rest ^= bit
            if free[bit.bit_length() - 1] >= parts[0]:
                usable |= bit
        wanted = len(parts)
        if usable.bit_count() < wanted:
            return None
        taken: list[int] = []
        leaves = [mask & usable for mask in self._leaf_masks]
        while len(taken) < wanted:
            missing = wanted - len(taken)
            holds = [mask for mask in leaves if mask.bit_count() >= missing]
            best = min(holds, key=int.bit_count) if holds else max(leaves, key=int.bit_count)
            leaves.remove(best)
            while best and len(taken) < wanted:
                bit = best & -best
                best ^= bit
                taken.append(bit.bit_length() - 1)
        return dict(sorted(zip(taken, parts, strict=True)))

    def foresee(self, view: View, job: int, allowed: int) -> _Start | None:
        """Return when the job could start on `allowed` nodes, going by running jobs' ends."""
        free = self.free_now(view)
        found = self.place(view, job, allowed, free)
        if found is not None:
            return _Start(view.now_us, *found, _mask(found[1]))
        running = [(view.expected_end_us(j), r.placement) for j, r in view.running.items()]
        leaving = [(gone_us, placement) for gone_us, _, placement in self._leaving]
        ends = sorted([*running, *leaving], key=lambda end: end[0])
        window_us = us_from_s(END_WINDOW_S)
        until_us = 0
        k = 0
        while k < len(ends):
            last_us = 0
            while k < len(ends):
                end_us, placement = ends[k]
                k += 1
                if not _mask(placement) & allowed:
                    continue
                if not until_us:
                    until_us = end_us + window_us - (end_us + self._clock_us) % window_us
                last_us = end_us
                self.give(free, placement)
                if k < len(ends) and ends[k][0] > until_us + window_us:
                    break
            if not last_us:
                return None
            window_us *= 2
            while k < len(ends) and ends[k][0] > until_us + window_us:
                window_us *= 2
            found = self.place(view, job, allowed, free)
            if found is not None:
                return _Start(max(last_us, view.now_us + 1), *found, _mask(found[1]))
        return None


def _tick(next_us: int, interval_us: int, now_us: int) -> int:
    """Return the first tick of a loop at `now_us` or later."""
    return next_us + max(0, -(-(now_us - next_us) // interval_us)) * interval_us


def _slots_fit(group: Group, placement: Placement) -> bool:
    """Return whether the placement is made of the group's slots."""
    whole, rest = divmod(group.count, group.per_node)
    left = [count % group.per_node for count in placement.counts]
    slots = sum(count // group.per_node for count in placement.counts)
    return slots == whole and sum(left) == rest == max(left)


def _mask(placement: Placement) -> int:
    mask = 0
    for node in placement.nodes:
        mask |= 1 << node
    return mask


def _limit_us(view: View, job: int, mode: int) -> int:
    """Return for how long a start of the job is expected to hold its nodes."""
    return math.ceil(view.run_s(job, mode) * US_PER_S)
