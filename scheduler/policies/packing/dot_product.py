"""The node whose free resources point least along the demand."""

from __future__ import annotations

from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class DotProduct(PackingPolicy):
    """Least dot product of what is free and what is asked, in whole points of 100.

    Alignment of R. Grandl et al., "Multi-resource packing for cluster schedulers" (Tetris),
    SIGCOMM 2014, turned round (small products first) as "DotProd" in Weng et al., USENIX ATC
    2023 (hkust-adsl/kubernetes-scheduler-simulator), where all accelerators of a node are one
    resource and both are scaled by the largest node.
    """

    def score(self, request: Request, node: NodeState) -> float:
        """Return 100 for no alignment, 0 for that of the largest node with itself."""
        cpu = node.cpu_milli / self.largest_cpu_milli
        cpu *= request.cpu_milli / self.largest_cpu_milli
        free = sum(node.free_milli) / self.largest_node_milli
        free *= request.demand_milli / self.largest_node_milli
        return int(100.0 * (1.0 - (cpu + free) / 2.0))
