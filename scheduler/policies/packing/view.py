"""What a packing policy sees: one pod's request, one node's state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.packing import WHOLE_MILLI, PackingProblem

LARGEST_CPU_MILLI = 128_000
LARGEST_NODE_MILLI = 8_000
"""Largest node of the fleet that the published scores are scaled by: 128 cores, 8 GPUs."""

SHARING = 0
"""`Request.kind` of pods that share an accelerator."""


class Request(NamedTuple):
    """What a pod asks for; see `scheduler.core.packing.Pods`."""

    cpu_milli: int
    accelerators: int
    share_milli: int

    @property
    def demand_milli(self) -> int:
        """Asked of all accelerators together."""
        return self.accelerators * self.share_milli

    @property
    def shares(self) -> bool:
        """Whether it takes less than a whole accelerator."""
        return 0 < self.share_milli < WHOLE_MILLI

    @property
    def kind(self) -> int:
        """Number of whole accelerators, or `SHARING`."""
        return SHARING if self.shares else self.accelerators


class NodeState(NamedTuple):
    """What is left of a node. Nodes in equal states get equal scores.

    Parameters
    ----------
    type_index : int
        Type of its accelerators, -1 for none.
    cpu_milli : int
        Free.
    free_milli : tuple of int
        Free share of each accelerator.
    kinds : tuple of int
        Sorted `Request.kind` of the pods with accelerators that it holds; always empty for
        policies that do not look at them.
    """

    type_index: int
    cpu_milli: int
    free_milli: tuple[int, ...]
    kinds: tuple[int, ...] = ()


class PackingPolicy:
    """Base of packing policies: scores nodes that fit, and picks the accelerators.

    A score may depend on its two arguments only, because equal states are scored once. Host
    memory is not among them: every published score leaves it to the filter.

    Parameters
    ----------
    problem : PackingProblem
        What the policy may know beforehand: nodes, and the usual pods.
    """

    looks_at_kinds = False
    """Whether `NodeState.kinds` is wanted."""

    ties_at_random = False
    """Whether equal scores mean a random node whatever the tie rule."""

    def __init__(self, problem: PackingProblem) -> None:
        nodes = problem.nodes
        most_cpu = int(nodes.cpu_milli.max(initial=0))
        most_accelerators = WHOLE_MILLI * int(nodes.accelerators.max(initial=0))
        self.largest_cpu_milli = max(LARGEST_CPU_MILLI, most_cpu)
        self.largest_node_milli = max(LARGEST_NODE_MILLI, most_accelerators)

    def score(self, request: Request, node: NodeState) -> float:
        """Return how good it is to place the pod on the node, which fits it."""
        raise NotImplementedError

    def pick(self, request: Request, node: NodeState, rng: np.random.Generator) -> int:
        """Return the accelerator of the node that a sharing pod takes: the fullest that fits."""
        del rng
        fits = (g for g, left in enumerate(node.free_milli) if left >= request.share_milli)
        return min(fits, key=node.free_milli.__getitem__)
