"""Placement scores for pods that share nodes: each a short module that cites its source.

A policy scores one pod on one node at a time; `scheduler.simulate.packing` plays it over the
arrivals and breaks ties. Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.packing import PackingProblem
from scheduler.policies.packing.view import NodeState, PackingPolicy, Request

__all__ = ["NodeState", "PackingPolicy", "Request", "canonical", "describe", "make", "names"]

_BUILT_IN: Final = {
    "random": ("random_node:RandomNode", "any node that fits, any accelerator that fits"),
    "first_fit": ("first_fit:FirstFit", "the first node that fits"),
    "best_fit": ("best_fit:BestFit", "least CPU and accelerators left, half and half"),
    "worst_fit": ("worst_fit:WorstFit", "most CPU and accelerators left, half and half"),
    "dot_product": ("dot_product:DotProduct", "least alignment of demand and what is left"),
    "gpu_packing": ("gpu_packing:GpuPacking", "shared accelerators, then used nodes, then new"),
    "gpu_clustering": ("gpu_clustering:GpuClustering", "nodes that hold pods of the same size"),
    "fgd": ("fgd:Fgd", "fragmentation gradient descent, in whole points"),
    "fgd_unrounded": ("fgd:FgdUnrounded", "fragmentation gradient descent, without rounding"),
}


def names() -> tuple[str, ...]:
    """Return every packing policy."""
    return tuple(_BUILT_IN)


def describe() -> dict[str, str]:
    """Return a line about each packing policy."""
    return {name: text for name, (_, text) in _BUILT_IN.items()}


def canonical(name: str) -> str:
    """Return the policy that a name means; case, ``_`` and ``-`` do not matter.

    Raises
    ------
    InputError
        If no policy has that name.
    """
    known = {_folded(known): known for known in _BUILT_IN}.get(_folded(name))
    if known is None:
        nearest = nearest_name(name, _BUILT_IN)
        fault = Fault("unknown packing policy", "--policy", "", name, ", ".join(_BUILT_IN), nearest)
        raise InputError([fault])
    return known


def make(name: str, problem: PackingProblem) -> PackingPolicy:
    """Return the policy `name` for the nodes and the usual pods of a problem.

    Raises
    ------
    InputError
        If no policy has that name.
    """
    module, attribute = _BUILT_IN[canonical(name)][0].split(":")
    home = importlib.import_module(f"scheduler.policies.packing.{module}")
    policy: PackingPolicy = getattr(home, attribute)(problem)
    return policy


def _folded(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
