"""A random node that fits."""

from __future__ import annotations

import numpy as np

from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class RandomNode(PackingPolicy):
    """Any node that fits, and for a sharing pod any accelerator that fits, are as likely.

    The "Random" of Weng et al., USENIX ATC 2023 (hkust-adsl/kubernetes-scheduler-simulator).
    """

    ties_at_random = True

    def score(self, request: Request, node: NodeState) -> float:
        """Return the same for every node."""
        del request, node
        return 0.0

    def pick(self, request: Request, node: NodeState, rng: np.random.Generator) -> int:
        """Return a uniformly drawn accelerator among those that fit."""
        fits = [g for g, left in enumerate(node.free_milli) if left >= request.share_milli]
        return fits[int(rng.integers(len(fits)))]
