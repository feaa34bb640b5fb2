"""The node that has least left."""

from __future__ import annotations

from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class BestFit(PackingPolicy):
    """Least CPU and accelerators left afterwards, half and half, in whole points of 100.

    Best fit is of Johnson et al., SIAM J. Computing 3(4), 1974; with two weighted resources as
    in Hadary et al., "Protean", OSDI 2020, and in this form in Weng et al., USENIX ATC 2023
    (hkust-adsl/kubernetes-scheduler-simulator). Their rescaling of the points to 0..100 keeps
    the order and is left out.
    """

    def score(self, request: Request, node: NodeState) -> float:
        """Return 100 for a node that is full afterwards, 0 for an empty largest one."""
        return int((1.0 - self.left(request, node)) * 100.0)

    def left(self, request: Request, node: NodeState) -> float:
        """Return what is left afterwards, as a fraction of the largest node."""
        cpu = (node.cpu_milli - request.cpu_milli) / self.largest_cpu_milli * 0.5
        spare_milli = sum(node.free_milli) - request.demand_milli
        return cpu + spare_milli / self.largest_node_milli * 0.5
