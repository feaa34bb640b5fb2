"""The node that has most left."""

from __future__ import annotations

import numpy as np

from scheduler.policies.packing.best_fit import BestFit
from scheduler.policies.packing.view import NodeState, Request


class WorstFit(BestFit):
    """Most CPU and accelerators left afterwards, half and half, and the emptiest accelerator.

    Worst fit is of Johnson et al., SIAM J. Computing 3(4), 1974; Kubernetes spreads pods so
    by default ("LeastAllocated" of kube-scheduler).
    """

    def score(self, request: Request, node: NodeState) -> float:
        """Return 100 for an empty largest node, 0 for one that is full afterwards."""
        return int(self.left(request, node) * 100.0)

    def pick(self, request: Request, node: NodeState, rng: np.random.Generator) -> int:
        """Return the emptiest accelerator, the first of several."""
        del request, rng
        return max(range(len(node.free_milli)), key=node.free_milli.__getitem__)
