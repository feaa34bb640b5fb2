"""A Slurm-like scheduler.

Multifactor priority; a main loop in which nothing passes a blocked job; backfill that reserves
whole nodes; leaf switches filled tightest first; preemption by requeue. Rules after slurm.conf(5)
and after reading the source of release 22.05 (sched/backfill, select/cons_tres,
priority/multifactor, preempt/partition_prio; GPL-2.0: rules only, no code): jobs that end close
together are taken away together when a start is foreseen (windows of 30 s, then 60, 120, ...),
and the start foreseen is the end of the last one of them.
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
        self._next_main_us = us_from_s(main_phase * s.cycle_s)
        self._next_backfill_us = us_from_s(backfill_phase * s.backfill_interval_s)
        self._due_us: int | None = None
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
        s = self._settings
        for job in view.joined:
            self._eligible_us.setdefault(job, now_us)
            self._aged_us.setdefault(job, now_us)
            self._trigger(now_us + us_from_s(s.submit_delay_s))
        if view.ended:
            self._trigger(now_us)
        main_due = self._due_us is not None and now_us >= self._due_us
        self._next_main_us = _tick(self._next_main_us, us_from_s(s.cycle_s), now_us)
        interval_us = us_from_s(s.backfill_interval_s)
        self._next_backfill_us = _tick(self._next_backfill_us, interval_us, now_us)
        if now_us == self._next_main_us:
            self._next_main_us += us_from_s(s.cycle_s)
            main_due = True
        if main_due:
            self._due_us = None
            self._main(view, self._nodes)
        if now_us == self._next_backfill_us:
            self._next_backfill_us += interval_us
            eligible = sum(self._eligible_us[job] <= now_us for job in view.waiting)
            if s.backfills and (self._changed or eligible != self._eligible):
                self._changed, self._eligible = False, eligible
                self._backfill(view, self._nodes)
        if view.waiting or self._due_us is not None:
            times = [self._next_main_us, self._next_backfill_us]
            if self._due_us is not None:
                times.append(max(self._due_us, now_us + 1))
            view.wake_at(min(times))

    def _trigger(self, at_us: int) -> None:
        self._changed = True
        self._due_us = at_us if self._due_us is None else min(self._due_us, at_us)

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
                continue
            if not (self._settings.preempts and self._preempt(view, nodes, job)):
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

    def _preempt(self, view: View, nodes: _Nodes, job: int) -> bool:
        """Requeue jobs of lower tiers to make room for `job`; return whether it started.

        Candidates are taken away one by one, smallest first, until the gang has room; those
        that stand on its nodes go. To find fewer, the last one taken moves to the front, the
        others follow by overlap, and it is tried anew (``preempt_reorder_count``).
        """
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
            return False
        wanted = set(found[1].nodes)
        hold_us = us_from_s(self._settings.requeue_hold_s)
        for other in removed:
            if wanted.intersection(view.running[other].placement.nodes):
                view.stop(other)
                self._eligible_us[other] = view.now_us + hold_us
                self._aged_us[other] = view.now_us
                self.requeued.append((other, view.now_us))
        view.start(job, *found)
        return True


class _Nodes:
    """Which nodes a job may use, and which of them topology/tree would choose.

    Sets of nodes are bit masks: bit ``n`` stands for node ``n``.
    """

    def __init__(
        self, view: View, settings: SlurmSettings, clock_us: int, asked: tuple[int, ...]
    ) -> None:
        self._clock_us = clock_us
        self._asked = asked
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
        return view.occupancy.free.copy()

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
        ends = sorted((view.expected_end_us(j), j) for j in view.running)
        window_us = us_from_s(END_WINDOW_S)
        until_us = 0
        k = 0
        while k < len(ends):
            last_us = 0
            while k < len(ends):
                end_us, other = ends[k]
                k += 1
                placement = view.running[other].placement
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
