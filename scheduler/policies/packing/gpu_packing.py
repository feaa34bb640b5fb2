"""Accelerators that are in use first, then used nodes, then untouched ones."""

from __future__ import annotations

from scheduler.core.packing import WHOLE_MILLI
from scheduler.policies.packing.view import NodeState, PackingPolicy, Request

_UNTOUCHED, _USED_NODE, _USED_ACCELERATORS = 33, 50, 100


class GpuPacking(PackingPolicy):
    """Points fall from shared accelerators over used nodes to untouched nodes.

    "GPU packing" of Q. Weng et al., "MLaaS in the wild", NSDI 2022, in the points of Weng et
    al., USENIX ATC 2023 (hkust-adsl/kubernetes-scheduler-simulator). Pods without accelerators
    score 0 everywhere.
    """

    def score(self, request: Request, node: NodeState) -> float:
        """Return 90 to 100, 33 to 49 or up to 33 for the three cases."""
        if not request.accelerators:
            return 0
        free = node.free_milli
        whole = free.count(WHOLE_MILLI)
        if whole == len(free):
            return max(_UNTOUCHED - whole, whole)
        fits = sorted(left for left in free if left >= request.share_milli)
        taken = fits[: request.accelerators]
        opened = taken.count(WHOLE_MILLI)
        if opened:
            return max(_USED_NODE - opened, _UNTOUCHED)
        percent_free = sum(100 * left // WHOLE_MILLI for left in taken)
        return max(_USED_ACCELERATORS - percent_free // 10, _USED_NODE)
