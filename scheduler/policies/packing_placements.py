"""Placement rules of GPU-sharing studies, for gangs of whole accelerators.

Their published form, with shares of accelerators and in whole points, is in
`scheduler.policies.packing`, and used where jobs share (`scheduler.policies.shared_placements`);
here the same preferences order the nodes of a gang. Q. Weng et
al., "Beware of fragmentation: scheduling GPU-sharing workloads with fragmentation gradient
descent", USENIX ATC 2023, describes all four side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.policies.placements import Found, Place, Scored
from scheduler.policies.shared_placements import Published
from scheduler.policies.view import View


class _Asking(Scored):
    """A rule whose key depends on what is asked for, then the tighter node."""

    def __init__(self) -> None:
        super().__init__(self._key_of)

    def __call__(self, view: View, job: int, occupancy: Occupancy | None) -> Found | None:
        """Return the fastest mode with room, and its place."""
        self._look(view, job)
        return super().__call__(view, job, occupancy)

    def _choose(self, where: Occupancy, mode: Mode) -> Placement | None:
        group = mode.groups[0]
        self._type = group.type_index
        self._slot = group.count if mode.level == 0 else group.per_node
        return super()._choose(where, mode)

    def _key_of(self, where: Occupancy, node: int) -> tuple[float, ...]:
        taken = min(self._slot, where.free[node] // self._slot * self._slot)
        return (self._preference(where, node, taken), where.free[node], node)

    def _look(self, view: View, job: int) -> None:
        """Note what the key needs to know of the present."""

    def _preference(self, where: Occupancy, node: int, taken: int) -> float:
        """Return the key of a node of which one slot of `taken` accelerators is wanted."""
        raise NotImplementedError


class DotProduct(_Asking):
    """The node whose free resources point least along the demand ("DotProd").

    After R. Grandl et al., "Multi-resource packing for cluster schedulers" (Tetris), SIGCOMM
    2014, turned round. Accelerators, CPUs and host memory, each over the largest node's; what
    no node limits does not count.
    """

    def _look(self, view: View, job: int) -> None:
        problem = view.problem
        nodes = problem.cluster.nodes
        job_class = problem.workload.classes[view.class_of(job)]
        self._asked = (job_class.cpus, job_class.host_memory_bytes)
        self._hosts = [(n.cpus, n.host_memory_bytes) for n in nodes]
        self._most = [max((h[r] for h in self._hosts), default=math.inf) for r in (0, 1)]
        self._largest = max(n.count for n in nodes)
        self._used = np.zeros((len(nodes), 2))
        for other, running in view.running.items():
            held = problem.workload.classes[view.class_of(other)]
            for node, count in zip(running.placement.nodes, running.placement.counts, strict=True):
                self._used[node] += (held.cpus * count, held.host_memory_bytes * count)

    def _preference(self, where: Occupancy, node: int, taken: int) -> float:
        product = where.free[node] * taken / self._largest**2
        for r in (0, 1):
            if math.isfinite(self._most[r]) and self._most[r] > 0:
                free = self._hosts[node][r] - float(self._used[node, r])
                product += free * self._asked[r] * taken / self._most[r] ** 2
        return product


class GpuPacking(_Asking):
    """Nodes in use before untouched ones (Q. Weng et al., "MLaaS in the wild", NSDI 2022)."""

    def _preference(self, where: Occupancy, node: int, taken: int) -> float:
        layout = where.layout
        return float(where.free[node] == layout.pool_size[layout.node_pool[node]])


class GpuClustering(_Asking):
    """Gangs of one size together, fullest nodes first (W. Xiao et al., "Gandiva", OSDI 2018).

    From nodes that hold this size only, over those with this and others and untouched ones, to
    those with other sizes; the size is what a gang has on one node.
    """

    def _look(self, view: View, job: int) -> None:
        self._sizes: dict[int, set[int]] = {}
        for running in view.running.values():
            for node, count in zip(running.placement.nodes, running.placement.counts, strict=True):
                self._sizes.setdefault(node, set()).add(count)

    def _preference(self, where: Occupancy, node: int, taken: int) -> float:
        sizes = self._sizes.get(node, set())
        if taken in sizes:
            return 0.0 if len(sizes) == 1 else 1.0
        return 3.0 if sizes else 2.0


class Fgd(_Asking):
    """The node whose fragmentation grows least ("FGD", Weng et al., USENIX ATC 2023).

    The free accelerators of a node are a fragment for a class of jobs if they cannot serve it:
    it has no mode on the type, or its smallest slot asks for more. The fragmentation of the
    node is the mean over the workload's classes, each counted as often as it has jobs.
    """

    def _look(self, view: View, job: int) -> None:
        if not hasattr(self, "_slots"):
            self._slots = _usual_slots(view.problem)

    def _preference(self, where: Occupancy, node: int, taken: int) -> float:
        free = where.free[node]
        return self._fragment(free - taken) - self._fragment(free)

    def _fragment(self, free: int) -> float:
        return free * math.fsum(w for w, slot in self._slots[self._type] if free < slot)


def _usual_slots(problem: Problem) -> list[list[tuple[float, float]]]:
    """Return, by type, the weight of each class and its smallest slot there, infinite if none."""
    jobs = problem.workload.jobs.class_index
    counts = np.bincount(jobs, minlength=len(problem.modes)).tolist()
    table: list[list[tuple[float, float]]] = []
    for t in range(len(problem.types)):
        rows = []
        for modes, count in zip(problem.modes, counts, strict=True):
            groups = [(m, g) for m in modes for g in m.groups if g.type_index == t]
            slots = [g.count if m.level == 0 else g.per_node for m, g in groups]
            if count:
                rows.append((count / len(jobs), float(min(slots, default=math.inf))))
        table.append(rows)
    return table


RULES: Final[Mapping[str, Callable[[], Place]]] = MappingProxyType(
    {
        "dot_product": lambda: Published("dot_product", DotProduct()),
        "gpu_packing": lambda: Published("gpu_packing", GpuPacking()),
        "gpu_clustering": lambda: Published("gpu_clustering", GpuClustering()),
        "fgd": lambda: Published("fgd", Fgd()),
    }
)
"""Makers of these rules by name."""
