"""The node whose fragmentation grows least."""

from __future__ import annotations

import math
from bisect import insort

import numpy as np

from scheduler.core.packing import WHOLE_MILLI, PackingProblem
from scheduler.policies.packing.fragmentation import USUAL_PERCENT, Fragmentation
from scheduler.policies.packing.view import NodeState, PackingPolicy, Request


class FgdUnrounded(PackingPolicy):
    """Fragmentation gradient descent: where, and on which accelerator, fragments grow least.

    Weng et al., "Beware of fragmentation", USENIX ATC 2023, section 4.

    Parameters
    ----------
    problem : PackingProblem
        Nodes, and the pods that fragments are measured with.
    usual_percent : float
        How many of these pods, the most frequent ones. Below the rank of the largest gangs the
        measure does not see them, and only the rule for ties keeps whole nodes free.
    """

    def __init__(self, problem: PackingProblem, usual_percent: float = USUAL_PERCENT) -> None:
        super().__init__(problem)
        self.fragmentation = Fragmentation(problem, usual_percent)

    def score(self, request: Request, node: NodeState) -> float:
        """Return 50 for a node whose fragmentation stays, more where it falls."""
        before = self.fragmentation.of(node)
        if request.shares:
            fits = {left for left in node.free_milli if left >= request.share_milli}
            return max(self._points(request, node, left, before) for left in fits)
        free = sorted(node.free_milli)
        if request.accelerators:  # the whole ones come last
            del free[len(free) - request.accelerators :]
            free = [0] * request.accelerators + free
        left_cpu = node.cpu_milli - request.cpu_milli
        return self._worth(before - self.fragmentation.of_parts(node.type_index, left_cpu, free))

    def pick(self, request: Request, node: NodeState, rng: np.random.Generator) -> int:
        """Return the accelerator that gives the node its score, the first of several."""
        del rng
        before = self.fragmentation.of(node)
        fits = [g for g, left in enumerate(node.free_milli) if left >= request.share_milli]
        return max(fits, key=lambda g: self._points(request, node, node.free_milli[g], before))

    def _points(self, request: Request, node: NodeState, left: int, before: float) -> float:
        """Return the score of a sharing pod on an accelerator with `left` free."""
        free = sorted(node.free_milli)
        free.remove(left)
        insort(free, left - request.share_milli)
        left_cpu = node.cpu_milli - request.cpu_milli
        return self._worth(before - self.fragmentation.of_parts(node.type_index, left_cpu, free))

    def _worth(self, gain_milli: float) -> float:
        """Return the points for a fall of the fragmentation: a sigmoid, so from 0 to 100."""
        return 1.0 / (1.0 + math.exp(-gain_milli / WHOLE_MILLI)) * 100.0


class Fgd(FgdUnrounded):
    """Fragmentation gradient descent in whole points, as published.

    Points are rounded down, as in hkust-adsl/kubernetes-scheduler-simulator and in every score
    of a Kubernetes scheduler, so that many nodes tie and the rule for ties decides much.
    """

    def _worth(self, gain_milli: float) -> float:
        return int(super()._worth(gain_milli))
