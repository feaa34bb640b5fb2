"""What a round at scale is asked and what it answers, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray

NODE: Final = 0
"""The gang stays inside one node and may share it."""
POD: Final = 1
"""The gang takes whole nodes of one pod."""
SPAN: Final = 2
"""The gang takes whole nodes anywhere."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes as columns.

    Parameters
    ----------
    node_size : ndarray of int64, shape (types,)
        Accelerators of a node of each type.
    node_type, node_pod, node_free : ndarray of int64, shape (nodes,)
        Accelerator type, pod, and accelerators free now.
    """

    node_size: IntArray
    node_type: IntArray
    node_pod: IntArray
    node_free: IntArray


@dataclass(frozen=True, slots=True)
class Options:
    """Ways to start jobs now, as columns, grouped by job.

    Parameters
    ----------
    first : ndarray of int64, shape (jobs + 1,)
        The options of job j are ``first[j]`` up to ``first[j + 1]``.
    type_index, count, level : ndarray of int64, shape (options,)
        Accelerator type, accelerators, and `NODE`, `POD` or `SPAN`. At the last two `count`
        is a multiple of the node size.
    utility : ndarray of float64, shape (options,)
        What starting the job so is worth; an option worth nothing is never taken.
    """

    first: IntArray
    type_index: IntArray
    count: IntArray
    level: IntArray
    utility: FloatArray

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return len(self.first) - 1


@dataclass(frozen=True, slots=True)
class Round:
    """A fleet and the jobs that may start on what is free of it."""

    fleet: Fleet
    options: Options

    def __post_init__(self) -> None:
        fleet, options = self.fleet, self.options
        wide = options.level != NODE
        size = fleet.node_size[options.type_index]
        if np.any(options.count <= 0) or np.any(options.count[wide] % size[wide]):
            raise ValueError("a gang over several nodes takes whole nodes")
        if np.any(options.count[~wide] > size[~wide]):
            raise ValueError("a gang inside a node is no larger than the node")
        if not np.all(np.isfinite(options.utility)):
            raise ValueError("utilities are finite")
        if np.any(fleet.node_free < 0) or np.any(
            fleet.node_free > fleet.node_size[fleet.node_type]
        ):
            raise ValueError("free accelerators of a node are from none to its size")


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices that prove a bound, and the warm start of the next round.

    Parameters
    ----------
    slots, gangs : tuple of int
        Sizes: accelerators of one node, and whole nodes of one pod.
    value : ndarray of float64, shape (types, sizes)
        Utility that a slot, then a gang, of each size and type costs; not negative.
    """

    slots: tuple[int, ...]
    gangs: tuple[int, ...]
    value: FloatArray


@dataclass(frozen=True, slots=True)
class GapParts:
    """Where (bound - value) / bound comes from; the three sum to the gap.

    At any prices the bound exceeds an answer by the surplus that its jobs forgo and the price
    of what they leave of the fleet. Of the fractional answer both are its convergence; what a
    whole answer has more of either is rounding and packing.

    Parameters
    ----------
    convergence : float
        From the price bound to the value of the fractional answer found.
    rounding : float
        Surplus that jobs forgo for not having their best option at these prices.
    packing : float
        Price of room on nodes and in pods that nothing fills.
    """

    convergence: float
    rounding: float
    packing: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Which jobs start, how and where, with a proof.

    Parameters
    ----------
    option : ndarray of int64, shape (jobs,)
        Position in `Options`; -1: does not start.
    first : ndarray of int64, shape (jobs + 1,)
        The nodes of job j are ``nodes[first[j]:first[j + 1]]``.
    nodes, counts : ndarray of int64
        Nodes, and accelerators taken on each.
    value : float
        Total utility.
    bound : float
        No choice and placement is worth more: evaluated from `prices` in float64.
    parts : GapParts
        The gap in its parts.
    prices : PriceList
        Proof of `bound`.
    proved : bool
        Whether CP-SAT proved `value` the greatest, although the price bound may be above it.
    """

    option: IntArray
    first: IntArray
    nodes: IntArray
    counts: IntArray
    value: float
    bound: float
    parts: GapParts
    prices: PriceList
    proved: bool

    @property
    def gap(self) -> float:
        """Return (bound - value) / bound, 0 where the bound is 0."""
        return (self.bound - self.value) / self.bound if self.bound > 0 else 0.0
