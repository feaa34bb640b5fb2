"""What Slurm's select and topology plugins work on: nodes, what is free on them, and when.

Sets of nodes are bit masks: bit ``n`` stands for node ``n``.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.problem import Group
from scheduler.core.run import Placement
from scheduler.core.slurm import SlurmPartition, SlurmSettings
from scheduler.core.units import us_from_s
from scheduler.policies.view import View

END_WINDOW_S = 30.0
"""First window of ends that are taken together; it doubles from test to test."""


@dataclass(frozen=True, slots=True)
class Start:
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


class Nodes:
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

    def free_now(self, view: View) -> Free:
        """Return free accelerators by node, to be changed at will."""
        free = view.occupancy.free.copy()
        for _, _, placement in self._leaving:
            for node, count in zip(placement.nodes, placement.counts, strict=True):
                free[node] -= count
        return Free.of(free)

    def ends(self, view: View) -> list[_End]:
        """Return when what is held will be free, as far as is known; soonest first."""
        running = [(view.expected_end_us(j), r.placement) for j, r in view.running.items()]
        leaving = [(gone_us, placement) for gone_us, _, placement in self._leaving]
        held = sorted([*running, *leaving], key=lambda end: end[0])
        return [_End(us, _mask(placement), placement) for us, placement in held]

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

    def place(self, view: View, job: int, allowed: int, free: Free) -> tuple[int, Placement] | None:
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

    def _choose(self, shape: _Shape, allowed: int, free: Free) -> dict[int, int] | None:
        """Return accelerators by node: distinct nodes, in few leaves, tightest leaf first."""
        parts = shape.parts
        usable = allowed & self._of_type[shape.type_index] & free.with_at_least(parts[0])
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

    def foresee(self, view: View, job: int, allowed: int, outlook: Outlook) -> Start | None:
        """Return when the job could start on `allowed` nodes, going by running jobs' ends."""
        key = (view.class_of(job), view.want_of(job), allowed)
        if key not in outlook.foreseen:
            outlook.foreseen[key] = self._foreseen(view, job, allowed, outlook)
        return outlook.foreseen[key]

    def _foreseen(self, view: View, job: int, allowed: int, outlook: Outlook) -> Start | None:
        found = self.place(view, job, allowed, outlook.free)
        if found is not None:
            return Start(view.now_us, *found, _mask(found[1]))
        free, ends = outlook.free.copy(), outlook.ends
        window_us = us_from_s(END_WINDOW_S)
        until_us = 0
        k = 0
        while k < len(ends):
            last_us = 0
            while k < len(ends):
                end = ends[k]
                k += 1
                if not end.nodes & allowed:
                    continue
                if not until_us:
                    until_us = end.at_us + window_us - (end.at_us + self._clock_us) % window_us
                last_us = end.at_us
                free.give(end.placement)
                if k < len(ends) and ends[k].at_us > until_us + window_us:
                    break
            if not last_us:
                return None
            window_us *= 2
            while k < len(ends) and ends[k].at_us > until_us + window_us:
                window_us *= 2
            found = self.place(view, job, allowed, free)
            if found is not None:
                return Start(max(last_us, view.now_us + 1), *found, _mask(found[1]))
        return None


@dataclass(frozen=True, slots=True)
class _End:
    """What is held until when, and on which nodes."""

    at_us: int
    nodes: int
    placement: Placement


class Free:
    """Free accelerators by node, and for each number the nodes that have so many."""

    def __init__(self, by_node: list[int], masks: list[int]) -> None:
        self._by_node = by_node
        self._masks = masks

    @classmethod
    def of(cls, by_node: list[int]) -> Free:
        """Return the free accelerators of a list by node."""
        free = cls([0] * len(by_node), [])
        for node, count in enumerate(by_node):
            free._add(node, count)
        return free

    def copy(self) -> Free:
        """Return a copy, to be changed at will."""
        return Free(self._by_node.copy(), self._masks.copy())

    def with_at_least(self, count: int) -> int:
        """Return the nodes with so many free accelerators."""
        return self._masks[count - 1] if count <= len(self._masks) else 0

    def give(self, placement: Placement) -> None:
        """Add what a placement holds."""
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            self._add(node, count)

    def _add(self, node: int, count: int) -> None:
        before = self._by_node[node]
        self._by_node[node] = now = before + count
        self._masks.extend([0] * (now - len(self._masks)))
        for level in range(before, now):
            self._masks[level] |= 1 << node


class Outlook:
    """What a backfill pass goes by until it starts a job: what is free, and what will be."""

    def __init__(self, view: View, nodes: Nodes) -> None:
        self.free = nodes.free_now(view)
        self.ends = nodes.ends(view)
        self.foreseen: dict[tuple[int, int, int], Start | None] = {}
        """By class, want and allowed nodes."""


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
