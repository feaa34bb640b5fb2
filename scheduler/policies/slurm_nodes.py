"""What Slurm's select and topology plugins work on: nodes, what is free on them, and when.

Sets of nodes are bit masks: bit ``n`` stands for node ``n``.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.problem import Group
from scheduler.core.run import Placement
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.core.units import US_PER_S
from scheduler.policies.view import View

END_WINDOW_S = 30
"""First window of ends that are taken together; it doubles from test to test."""


@dataclass(frozen=True, slots=True)
class Start:
    """When, how and where a job could start, in seconds of the controller's clock."""

    at_s: int
    mode: int
    placement: Placement
    nodes: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """A gang as Slurm is asked for it: accelerators of a type on each of some nodes."""

    type_index: int
    nodes: int
    first_mode: int
    parts: tuple[int, ...]

    @property
    def asks(self) -> tuple[int, int]:
        """Type and accelerators."""
        return self.type_index, sum(self.parts)


class Nodes:
    """Which nodes a job may use, and which of them topology/tree would choose.

    Sets of nodes are bit masks: bit ``n`` stands for node ``n``.
    """

    def __init__(
        self, view: View, settings: SlurmSettings, clock_us: int, asked: tuple[int, ...]
    ) -> None:
        self._clock_us = clock_us
        self._asked = asked
        self.preempts = settings.preempts
        self._leaving: list[tuple[int, Placement]] = []  # when, from where
        self._shapes_of: dict[int, list[_Shape]] = {}
        pools = view.problem.pools
        types = range(len(view.problem.types))
        self._size = [max((p.size for p in pools if p.type_index == t), default=1) for t in types]
        problem = view.problem
        count = len(problem.cluster.nodes)
        self.count = count
        self.every = every = (1 << count) - 1
        tenants = problem.workload.tenants
        named = settings.partitions or tuple(SlurmPartition(name) for name in tenants)
        self.partitions = named if len(named) >= len(tenants) else (SlurmPartition("all"),)
        self._masks = [sum(1 << n for n in p.nodes) or every for p in self.partitions]
        last = len(self.partitions) - 1
        tenant_of: list[int] = problem.workload.jobs.tenant_index.tolist()
        self._partition_of = [min(tenant, last) for tenant in tenant_of]
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
        if not settings.tree:
            self._leaf_masks = [every]
        # a leaf stands where its first node stands
        self._leaf_masks.sort(key=lambda mask: mask & -mask)

    def partition_of(self, job: int) -> int:
        """Return the position of the job's partition."""
        return self._partition_of[job]

    def usable(self, job: int) -> int:
        """Return the nodes of the job's partition."""
        return self._masks[self.partition_of(job)]

    def wanted(self, view: View, job: int) -> int:
        """Return how many nodes the job asks for."""
        shapes = self._shapes(view, job)
        return len(shapes[0].parts) if shapes else 1

    def free_now(self, view: View) -> Free:
        """Return free accelerators by node, to be changed at will."""
        return Free.of(view.occupancy.free)

    def clock_s(self, at_us: int) -> int:
        """Return the second of the controller's clock."""
        return (at_us + self._clock_us) // US_PER_S

    def fits_now(self, view: View, placement: Placement) -> bool:
        """Return whether a placement is free, and nothing is leaving any of its nodes."""
        free = view.occupancy.free
        return not self.completing & mask_of(placement) and all(
            free[node] >= count
            for node, count in zip(placement.nodes, placement.counts, strict=True)
        )

    def ends(self, view: View) -> list[_End]:
        """Return when what is held will be free, as far as is known; soonest first."""
        found = [
            _End(
                self.clock_s(view.expected_end_us(job)),
                mask_of(running.placement),
                running.placement,
                self.partitions[self.partition_of(job)].tier,
                self.may_go(view, job),
            )
            for job, running in view.running.items()
        ]
        found.sort(key=lambda end: end.at_s)
        return found

    @property
    def completing(self) -> int:
        """Nodes that requeued jobs are leaving."""
        mask = 0
        for _, placement in self._leaving:
            mask |= mask_of(placement)
        return mask

    def may_go(self, view: View, job: int) -> bool:
        """Return whether a running job may be requeued."""
        return self.partitions[self.partition_of(job)].requeues and view.preemptible(job)

    def leave(self, gone_us: int, placement: Placement) -> None:
        """Start nothing on the nodes of a requeued job until it has left."""
        self._leaving.append((gone_us, placement))

    def leave_us(self) -> list[int]:
        """Return the instants at which requeued jobs will have left."""
        return [gone_us for gone_us, _ in self._leaving]

    def drop_those_gone(self, now_us: int) -> bool:
        """Forget requeued jobs that have left; return whether there were any."""
        before = len(self._leaving)
        self._leaving = [entry for entry in self._leaving if entry[0] > now_us]
        return len(self._leaving) < before

    def place(self, view: View, job: int, allowed: int, free: Free) -> tuple[int, Placement] | None:
        """Return the fastest mode that fits on `allowed` nodes with `free` accelerators."""
        levels = free.levels
        for shape in self._shapes(view, job):
            part = shape.parts[0]
            if part > len(levels):
                continue
            usable = allowed & shape.nodes & levels[part - 1]
            if usable.bit_count() < len(shape.parts):
                continue
            nodes = self._choose(shape, usable)
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
                    shapes[t, mode.count] = _Shape(t, self._of_type[t], m, parts)
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

    def _choose(self, shape: _Shape, usable: int) -> dict[int, int]:
        """Return accelerators by node: distinct nodes, in few leaves, tightest leaf first."""
        parts = shape.parts
        wanted = len(parts)
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

    def foresee(self, view: View, job: int, allowed: int, outlook: Outlook) -> Start | None:
        """Return when the job could start on `allowed` nodes, going by running jobs' ends.

        Whom the job may preempt counts as gone.
        """
        tier = self.partitions[self.partition_of(job)].tier
        key = (view.class_of(job), view.want_of(job), tier, allowed)
        if key not in outlook.foreseen:
            outlook.foreseen[key] = self._foreseen(view, job, tier, allowed, outlook)
        return outlook.foreseen[key]

    def _foreseen(
        self, view: View, job: int, tier: int, allowed: int, outlook: Outlook
    ) -> Start | None:
        now_s = self.clock_s(view.now_us)
        found = self.place(view, job, allowed, outlook.free)
        if found is not None:
            return Start(now_s, *found, mask_of(found[1]))
        free, ends = outlook.without_lower(tier)
        if len(ends) < len(outlook.ends):
            found = self.place(view, job, allowed, free)
            if found is not None:
                return Start(now_s, *found, mask_of(found[1]))
        windows = outlook.windows(tier, allowed)
        before = free.levels
        k = 0
        while (window := windows.get(k)) is not None:
            last_s, later = window
            # where it did not fit, it does not fit before more of its nodes are free
            if self._gains(view, job, allowed, before, later.levels):
                found = self.place(view, job, allowed, later)
                if found is not None:
                    return Start(max(last_s, now_s + 1), *found, mask_of(found[1]))
                before = later.levels
            k += 1
        return None

    def _gains(
        self, view: View, job: int, allowed: int, before: list[int], after: list[int]
    ) -> bool:
        """Return whether a shape of the job has more nodes to choose from than before."""
        for shape in self._shapes(view, job):
            level = shape.parts[0] - 1
            if level < len(after):
                had = before[level] if level < len(before) else 0
                if after[level] & ~had & allowed & shape.nodes:
                    return True
        return False


@dataclass(frozen=True, slots=True)
class _End:
    """What is held until when, on which nodes, by which tier, and whether it may be requeued."""

    at_s: int
    nodes: int
    placement: Placement
    tier: int
    may_go: bool


class Free:
    """Free accelerators by node, and for each number the nodes that have so many."""

    def __init__(self, by_node: list[int], levels: list[int]) -> None:
        self._by_node = by_node
        self.levels = levels
        """At ``k - 1``: the nodes with ``k`` free accelerators or more."""

    @classmethod
    def of(cls, by_node: list[int]) -> Free:
        """Return the free accelerators of a list by node."""
        free = cls([0] * len(by_node), [])
        for node, count in enumerate(by_node):
            free._add(node, count)
        return free

    def copy(self) -> Free:
        """Return a copy, to be changed at will."""
        return Free(self._by_node.copy(), self.levels.copy())

    def snapshot(self) -> Free:
        """Return the levels as they are, to be looked at only."""
        return Free([], self.levels.copy())

    def give(self, placement: Placement) -> None:
        """Add what a placement holds."""
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            self._add(node, count)

    def take(self, placement: Placement) -> None:
        """Take what a placement holds."""
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            before = self._by_node[node]
            self._by_node[node] = now = before - count
            for level in range(max(0, now), before):
                self.levels[level] &= ~(1 << node)

    def _add(self, node: int, count: int) -> None:
        before = self._by_node[node]
        self._by_node[node] = now = before + count
        self.levels.extend([0] * (now - len(self.levels)))
        for level in range(before, now):
            self.levels[level] |= 1 << node


class _Windows:
    """What will be free after each window of ends on some nodes, worked out as far as asked."""

    def __init__(self, free: Free, ends: list[_End], allowed: int) -> None:
        self._free = free.copy()
        self._ends = ends
        self._next = 0
        self._window_s = END_WINDOW_S
        self._until_s = 0
        self._found: list[tuple[int, Free]] = []
        self._allowed = allowed

    def get(self, k: int) -> tuple[int, Free] | None:
        """Return the last end of window `k` and what is free then; None: no more ends."""
        while len(self._found) <= k:
            if not self._advance():
                return None
        return self._found[k]

    def _advance(self) -> bool:
        """Take the jobs of the next window away."""
        ends, last_s = self._ends, None
        count, k = len(ends), self._next
        while k < count:
            end = ends[k]
            k += 1
            if not end.nodes & self._allowed:
                continue
            if not self._until_s:
                self._until_s = end.at_s + self._window_s - end.at_s % self._window_s
            last_s = end.at_s
            self._free.give(end.placement)
            if k < count and ends[k].at_s > self._until_s + self._window_s:
                break
        self._next = k
        if last_s is None:
            return False
        self._window_s *= 2
        while k < count and ends[k].at_s > self._until_s + self._window_s:
            self._window_s *= 2
        self._found.append((last_s, self._free.snapshot()))
        return True


class Outlook:
    """What a backfill pass goes by until it starts a job: what is free, and what will be."""

    def __init__(self, view: View, nodes: Nodes) -> None:
        self.free = nodes.free_now(view)
        self.ends = nodes.ends(view)
        self.foreseen: dict[tuple[int, int, int, int], Start | None] = {}
        """By class, want, tier and allowed nodes."""
        self._preempts = nodes.preempts
        self._without: dict[int, tuple[Free, list[_End]]] = {}
        self._windows: dict[tuple[int, int], _Windows] = {}

    def windows(self, tier: int, allowed: int) -> _Windows:
        """Return what will be free on `allowed` nodes for jobs of a tier."""
        key = (tier if self._preempts else 0, allowed)
        if key not in self._windows:
            self._windows[key] = _Windows(*self.without_lower(tier), allowed)
        return self._windows[key]

    def without_lower(self, tier: int) -> tuple[Free, list[_End]]:
        """Return what is free, and will be, once all that a tier may preempt are gone."""
        if not self._preempts:
            return self.free, self.ends
        if tier not in self._without:
            stay = [end for end in self.ends if end.tier >= tier or not end.may_go]
            free = self.free
            if len(stay) < len(self.ends):
                free = free.copy()
                for end in self.ends:
                    if end.tier < tier and end.may_go:
                        free.give(end.placement)
            self._without[tier] = free, stay
        return self._without[tier]


def _slots_fit(group: Group, placement: Placement) -> bool:
    """Return whether the placement is made of the group's slots."""
    whole, rest = divmod(group.count, group.per_node)
    left = [count % group.per_node for count in placement.counts]
    slots = sum(count // group.per_node for count in placement.counts)
    return slots == whole and sum(left) == rest == max(left)


def mask_of(placement: Placement) -> int:
    """Return the nodes of a placement."""
    mask = 0
    for node in placement.nodes:
        mask |= 1 << node
    return mask
