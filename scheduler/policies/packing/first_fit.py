"""The first node that fits."""

from __future__ import annotations

from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class FirstFit(PackingPolicy):
    """The node of lowest rank that fits.

    D. S. Johnson, A. Demers, J. D. Ullman, M. R. Garey, R. L. Graham, "Worst-case performance
    bounds for simple one-dimensional packing algorithms", SIAM J. Computing 3(4), 1974.
    """

    def score(self, request: Request, node: NodeState) -> float:
        """Return the same for every node."""
        del request, node
        return 0.0
