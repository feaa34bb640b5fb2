"""How much of a node's free accelerators the usual pods cannot use.

For a pod drawn from the usual ones, the free accelerators of a node are a fragment as far as
they cannot serve it: all of them if the pod does not fit on the node (CPU, accelerators or
type) or asks for none, and else those with less free than it asks of each. The fragmentation
of the node is the expectation (Weng et al., USENIX ATC 2023, section 3, and their simulator,
hkust-adsl/kubernetes-scheduler-simulator).

Sums are taken in the simulator's order: over the pods by each reason why they cannot use the
accelerators, then over the reasons. A sum that only moves from one reason to another changes in
its last bit, and rounding the score down to whole points makes a point of that, so any other
order gives other placements.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Final, NamedTuple

from scheduler.core.packing import ANY_TYPE, PackingProblem
from scheduler.policies.packing.view import NodeState

USUAL_PERCENT: Final = 95
"""The usual pods are the most frequent ones that make up this percentage of the list."""


class UsualPod(NamedTuple):
    """A frequent request, and how frequent it is among the usual ones."""

    cpu_milli: int
    accelerators: int
    share_milli: int
    allowed: int
    weight: float


def usual_pods(problem: PackingProblem, percent: float = USUAL_PERCENT) -> tuple[UsualPod, ...]:
    """Return the most frequent requests of the list, host memory aside, most frequent first.

    They cover at least `percent` of the pods; their weights sum to 1. As in the simulator,
    two ways to write one set of types make two requests.
    """
    pods = problem.pods
    columns = (pods.cpu_milli, pods.share_milli, pods.accelerators, pods.allowed)
    cpu, share, count, allowed = (column.tolist() for column in columns)
    requests = Counter(zip(cpu, share, count, pods.constraint, allowed, strict=True))
    rows = sorted(((many, *request) for request, many in requests.items()), reverse=True)
    total = len(pods)
    covered, kept = 0, 0
    while covered < percent * total / 100:
        covered += rows[kept][0]
        kept += 1
    return tuple(
        UsualPod(cpu, count, share, allowed, many / total / (covered / total))
        for many, cpu, share, count, _, allowed in rows[:kept]
    )


class Fragmentation:
    """The fragmentation of nodes, each state computed once.

    Parameters
    ----------
    problem : PackingProblem
        Its pods are what the fragments are measured with.
    usual_percent : float
        How many of them.
    """

    def __init__(self, problem: PackingProblem, usual_percent: float = USUAL_PERCENT) -> None:
        self.usual = usual_pods(problem, usual_percent)
        self._cpu_steps = sorted({pod.cpu_milli for pod in self.usual})
        self._shares = sorted({pod.share_milli for pod in self.usual})
        self._access: dict[int, int] = {-1: -1}
        patterns: dict[tuple[bool, ...], int] = {}
        for t in range(len(problem.types)):
            pattern = tuple(
                pod.allowed == ANY_TYPE or bool(pod.allowed >> t & 1) for pod in self.usual
            )
            self._access[t] = patterns.setdefault(pattern, t)
        self._known: dict[tuple[int, int, tuple[int, ...]], float] = {}

    def of(self, node: NodeState) -> float:
        """Return the fragmentation of a node, in thousandths of an accelerator."""
        return self.of_parts(node.type_index, node.cpu_milli, sorted(node.free_milli))

    def of_parts(self, type_index: int, cpu_milli: int, free_milli: list[int]) -> float:
        """Return the fragmentation of a node whose accelerators are given in ascending order.

        It depends on the CPU only through the usual pods that fit, and on the type only through
        those that may use it.
        """
        cpu_step = bisect_right(self._cpu_steps, cpu_milli)
        key = (self._access[type_index], cpu_step, tuple(free_milli))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._compute(type_index, cpu_milli, free_milli)
        return found

    def _compute(self, type_index: int, cpu_milli: int, free_milli: list[int]) -> float:
        idle = sum(free_milli)
        too_small: dict[int, tuple[int, int]] = {}  # by share: accelerators and their free sum
        small = small_milli = 0
        for share in self._shares:
            while small < len(free_milli) and free_milli[small] < share:
                small_milli += free_milli[small]
                small += 1
            too_small[share] = (small, small_milli)
        neither = no_room = no_cpu = cpu_only = cpu_only_no_cpu = no_access = 0.0
        for cpu, count, share, allowed, weight in self.usual:
            if not count:
                if cpu_milli >= cpu:
                    cpu_only += weight * idle
                else:
                    cpu_only_no_cpu += weight * idle
            elif not _may_use(type_index, allowed):
                no_access += weight * idle
            else:
                small, small_milli = too_small[share]
                if len(free_milli) - small >= count:
                    if cpu_milli >= cpu:
                        no_room += weight * small_milli
                    else:
                        no_cpu += weight * idle
                elif cpu_milli >= cpu:
                    no_room += weight * idle
                else:
                    neither += weight * idle
        return neither + no_room + no_cpu + cpu_only + cpu_only_no_cpu + no_access


def _may_use(type_index: int, allowed: int) -> bool:
    return allowed == ANY_TYPE or (type_index >= 0 and bool(allowed >> type_index & 1))
