"""Nodes that hold pods of the same size."""

from __future__ import annotations

from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class GpuClustering(PackingPolicy):
    """Pods of one kind (sharing, one accelerator, two, ...) together, fullest nodes first.

    After W. Xiao et al., "Gandiva", OSDI 2018, in the points of Weng et al., USENIX ATC 2023
    (hkust-adsl/kubernetes-scheduler-simulator). Pods without accelerators score 0 everywhere.
    """

    looks_at_kinds = True

    def score(self, request: Request, node: NodeState) -> float:
        """Return from 75 on a node of this kind only, 50 of this and others, 25 of none."""
        if not request.accelerators:
            return 0
        if request.kind in node.kinds:
            base = 75 if len(node.kinds) == 1 else 50
        else:
            base = 0 if node.kinds else 25
        used = self.largest_node_milli - sum(node.free_milli)
        return base + 25 * used // self.largest_node_milli
