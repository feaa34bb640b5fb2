"""Upper bounds of what any packing allocates, from prices, in whole-number arithmetic.

Whatever prices are put on the pods of a class, and on the CPU and memory of a shape of nodes,
no packing allocates more than

    sum of class price x pods + sum over nodes of
        (best fill of its accelerators, each pod at its share less what it costs
         + price of the node's CPU and memory).

Prices come from a solver; the sum is done anew, so nothing of the solver's arithmetic enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.fills import ShareKnapsack
from scheduler.solver.packing.table import PackingTable

SCALE: Final = 1 << 20
"""Prices are whole multiples of a thousandth of an accelerator over this."""

_MOST_TYPES: Final = 12  # sets of types are enumerated up to here


@dataclass(frozen=True, slots=True)
class Prices:
    """What pods, CPU and memory cost, in thousandths of an accelerator.

    Parameters
    ----------
    pod : ndarray of float64, shape (classes,)
        Of one pod. Negative only where some pods of the class must be placed.
    cpu_milli : ndarray of float64, shape (shapes,)
        Of a thousandth of a core.
    memory_byte : ndarray of float64, shape (shapes,)
        Of a byte.
    """

    pod: FloatArray
    cpu_milli: FloatArray
    memory_byte: FloatArray


def proved_bound(table: PackingTable, prices: Prices, least: IntArray) -> Fraction:
    """Return thousandths of accelerators that no packing exceeds.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    prices : Prices
        Any; the closer to the duals of the relaxation, the lower the bound.
    least : ndarray of int64, shape (classes,)
        Pods of each class that a packing must place. The bound holds for packings that do.

    Notes
    -----
    What pods pay is rounded down and what nodes are paid is rounded up, so that the bound
    stays valid in 64-bit whole numbers.
    """
    charge = np.zeros(table.fits.shape, dtype=np.int64)
    credit = 0
    for s in range(len(table.nodes)):
        cpu = _fraction(max(prices.cpu_milli[s], 0.0))
        memory = _fraction(max(prices.memory_byte[s], 0.0))
        bought = cpu * int(table.shape_cpu_milli[s]) + memory * int(table.shape_memory_bytes[s])
        credit += -int(-bought // 1) * int(table.nodes[s])
        rows = zip(table.cpu_milli.tolist(), table.memory_bytes.tolist(), strict=True)
        charge[s] = [int((cpu * c + memory * m) // 1) for c, m in rows]
    pod = np.array([int(_fraction(p) // 1) for p in prices.pod.tolist()], dtype=np.int64)
    pod = np.where((pod < 0) & (least == 0), 0, pod)
    # A pod without accelerators must not be worth anything on a node: any number might be there.
    cheapest = np.where(table.fits, charge, np.iinfo(np.int64).max).min(axis=0)
    pod = np.where(table.accelerators == 0, np.maximum(pod, -cheapest), pod)
    worth = table.demand_milli * SCALE - pod - charge
    nodes = int((table.nodes * _best_nodes(table, worth)).sum())
    pods = sum(
        p * (most if p >= 0 else must)
        for p, most, must in zip(pod.tolist(), table.count.tolist(), least.tolist(), strict=True)
    )
    return Fraction(pods + nodes + credit, SCALE)


def quick_bound(table: PackingTable, allowed: IntArray, kinds: IntArray) -> int:
    """Return a bound from sums alone, in thousandths of accelerators.

    For a set of types, no packing allocates more than their accelerators and the demand of the
    pods that may go elsewhere; and CPU goes furthest when those that need least of it go first.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    allowed : ndarray of int64, shape (classes,)
        Set of types of each class, as bits; -1: all.
    kinds : ndarray of int64, shape (shapes,)
        Type of each shape; -1: no accelerators.
    """
    demand = table.demand_milli * table.count
    capacity = WHOLE_MILLI * table.shape_accelerators * table.nodes
    types = sorted({int(k) for k in kinds if k >= 0})
    full = sum(1 << t for t in types)
    sets = {0, full}
    if len(types) <= _MOST_TYPES:
        for t in types:
            sets |= {chosen | 1 << t for chosen in sets}
    else:
        sets |= {int(a) & full for a in allowed}
    bounds = []
    for chosen in sorted(sets):
        inside = (kinds >= 0) & ((chosen >> np.maximum(kinds, 0)) & 1 == 1)
        elsewhere = (allowed & full & ~chosen) != 0
        bounds.append(int(capacity[inside].sum() + demand[elsewhere].sum()))
    return min(*bounds, _by_cpu(table))


def _by_cpu(table: PackingTable) -> int:
    """Return the demand of the pods that need least CPU for it, up to all CPU there is."""
    left = int((table.nodes * table.shape_cpu_milli).sum())
    total = Fraction(0)
    rows = zip(
        *(x.tolist() for x in (table.demand_milli, table.cpu_milli, table.count)), strict=True
    )
    asking = sorted((Fraction(cpu, demand), demand, cpu, n) for demand, cpu, n in rows if demand)
    for _, demand, cpu, count in asking:
        pods = Fraction(count)
        if cpu:
            pods = min(pods, Fraction(left, cpu))
        total += pods * demand
        left -= int(pods * cpu)
    return int(total)


def _fraction(price: float) -> Fraction:
    return Fraction(price) * SCALE


def _best_nodes(table: PackingTable, worth: IntArray) -> IntArray:
    """Return the best worth of one node of each shape, CPU and memory left aside."""
    low = -(1 << 60)
    priced = np.where(table.fits, worth, low)
    one = np.where(table.accelerators == 1, priced, low).max(axis=1, initial=low)
    one = np.maximum(one, best_fill(table, priced))
    found = np.zeros(len(table.nodes), dtype=np.int64)
    gangs = sorted({int(k) for k in table.accelerators if k > 1})
    best_gang = {k: priced[:, table.accelerators == k].max(axis=1, initial=low) for k in gangs}
    for s, count in enumerate(table.shape_accelerators.tolist()):
        best = [0]
        for k in range(1, count + 1):
            options = [best[k - 1] + max(int(one[s]), 0)]
            options += [best[k - g] + int(best_gang[g][s]) for g in gangs if g <= k]
            best.append(max(options))
        found[s] = best[count]
    return found


def best_fill(table: PackingTable, priced: NDArray[Any]) -> NDArray[Any]:
    """Return the best worth of one shared accelerator by shape; 0 where none pays.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    priced : ndarray, shape (shapes, classes)
        Worth of each pod, very low where it may not be.
    """
    shares = table.shares
    sizes = np.unique(table.share_milli[shares])
    if not len(sizes):
        return np.zeros(len(table.nodes), dtype=priced.dtype)
    columns = [priced[:, shares & (table.share_milli == z)].max(axis=1) for z in sizes]
    best: NDArray[Any] = ShareKnapsack(sizes).best(np.column_stack(columns))[0]
    return np.asarray(best[-1])
