"""How long collective operations take: the alpha-beta model, and one law for real calls.

A message of S bytes takes alpha + S / B over one link: alpha seconds of start and B bytes/s
of usable rate. The textbook functions below take sizes in bytes, usable rates in bytes/s of
one rank in one direction, latencies in seconds of one step, and return seconds. A single
rank needs no time; a rate of zero takes for ever. S is the input of one rank for an
all-reduce, the gathered (or scattered) whole for an all-gather (or reduce-scatter), and all
that one rank sends for an all-to-all.

Real calls start late and fill their links slowly: `all_reduce_call_s` and `usable_bytes_per_s` put
that on top with four constants, which hold on NVLink, PCIe and Ethernet alike.

References
----------
Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH",
IJHPCA 19 (2005): ring and recursive algorithms. Sanders, Speck, Traeff, "Two-tree algorithms
for full bandwidth broadcast, reduction and scan", Parallel Computing 35 (2009): double
binary trees. Jouppi et al., arXiv:2304.01433: collectives on a torus. NVIDIA nccl-tests,
doc/PERFORMANCE.md: bus bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CALL_S = 36e-6
"""Start of one collective call: kernel launch, rendezvous, protocol. A fit; smallest
all-reduces took 13 us on 8 x H100 (NVIDIA dgxc-benchmarking) and 20-60 us on 2-8 x A100."""

USABLE_FLOOR, USABLE_CEILING = 0.58, 0.80
"""Share of the line rate that collectives reach with small and with very large messages.
The ceiling is the one operators quote (230-250 of 300 GB/s on NVLink3, 370 of 450 on
NVLink4, https://github.com/NVIDIA/nccl-tests/issues/212); the floor is a fit to all-reduces
of 1-64 MiB on A100."""

FILL_S = 3.3e-3
"""Time at line rate after which a message is half-way from the floor to the ceiling."""

IN_SWITCH_SHARE = 0.78
"""In-switch reduction against plain traffic: 480 GB/s bus bandwidth at 8 GiB on 8 x H100,
where one pass at the ceiling of 450 GB/s would be 630."""


# --- algorithms on one level -------------------------------------------------------------


def point_to_point_s(size_bytes: float, bytes_per_s: float, latency_s: float) -> float:
    """Return the time of one message between two ranks: alpha + S/B."""
    return latency_s + _over(size_bytes, bytes_per_s)


def ring_all_gather_s(size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return (n-1) alpha + (n-1)/n S/B; a ring reduce-scatter takes the same."""
    if ranks <= 1:
        return 0.0
    return (ranks - 1) * (latency_s + _over(size_bytes / ranks, bytes_per_s))


def ring_all_reduce_s(size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return 2(n-1) alpha + 2(n-1)/n S/B: a reduce-scatter and an all-gather."""
    return 2 * ring_all_gather_s(size_bytes, ranks, bytes_per_s, latency_s)


def tree_all_reduce_s(size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return 2 ceil(log2 n) alpha + 2 S/B: pipelined double binary trees."""
    if ranks <= 1:
        return 0.0
    return 2 * math.ceil(math.log2(ranks)) * latency_s + 2 * _over(size_bytes, bytes_per_s)


def all_reduce_s(size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return the faster of ring and double binary tree, as a tuned library picks."""
    return min(
        ring_all_reduce_s(size_bytes, ranks, bytes_per_s, latency_s),
        tree_all_reduce_s(size_bytes, ranks, bytes_per_s, latency_s),
    )


def in_switch_all_reduce_s(
    size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float
) -> float:
    """Return 2 alpha + S/B: the switch adds up (NVLS, SHARP), each rank sends S once."""
    if ranks <= 1:
        return 0.0
    return 2 * latency_s + _over(size_bytes, bytes_per_s)


def all_to_all_s(size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return (n-1) alpha + (n-1)/n S/B on a network of full bisection."""
    return ring_all_gather_s(size_bytes, ranks, bytes_per_s, latency_s)


# --- a torus ------------------------------------------------------------------------------


def torus_all_reduce_s(
    size_bytes: float,
    sides: Sequence[int],
    link_bytes_per_s: float,
    latency_s: float,
    wrapped: bool = True,
) -> float:
    """Return the time of an all-reduce on rings along all axes of a torus at once.

    2(n-1)/n S / (2 d b) + alpha sum(a_i) over the d sides a_i longer than one, b being one
    link in one direction. Without wrap-around (a slice below one cube) a line does the work
    of a ring at half the rate.
    """
    axes = [a for a in sides if a > 1]
    if not axes:
        return 0.0
    ranks = math.prod(axes)
    rate = 2 * len(axes) * link_bytes_per_s * (1.0 if wrapped else 0.5)
    return 2 * (ranks - 1) / ranks * _over(size_bytes, rate) + latency_s * sum(axes)


def torus_all_to_all_s(
    size_bytes: float, sides: Sequence[int], link_bytes_per_s: float, latency_s: float
) -> float:
    """Return the time of an all-to-all on a torus: the longest axis is the bottleneck.

    On a ring of a, traffic to all others travels a/4 hops on average over 2 links a rank:
    a S / (8 b); every axis of a torus carries its own share of the path at the same time.
    """
    axes = [a for a in sides if a > 1]
    if not axes:
        return 0.0
    hops = sum(a // 2 for a in axes)
    return max(axes) / 8 * _over(size_bytes, link_bytes_per_s) + latency_s * hops


# --- two levels ---------------------------------------------------------------------------


def two_level_all_reduce_s(
    size_bytes: float,
    inner: int,
    outer: int,
    inner_bytes_per_s: float,
    inner_latency_s: float,
    outer_bytes_per_s: float,
    outer_latency_s: float,
) -> float:
    """Return the time of a hierarchical all-reduce over `outer` nodes of `inner` ranks.

    Reduce-scatter inside the node, all-reduce of one part per rank between the nodes (all
    rails at once), all-gather inside the node.
    """
    inside = 2 * ring_all_gather_s(size_bytes, inner, inner_bytes_per_s, inner_latency_s)
    between = all_reduce_s(size_bytes / inner, outer, outer_bytes_per_s, outer_latency_s)
    return inside + between


def railed_all_reduce_s(
    size_bytes: float,
    inner: int,
    outer: int,
    inner_bytes_per_s: float,
    inner_latency_s: float,
    outer_bytes_per_s: float,
    outer_latency_s: float,
) -> float:
    """Return the time of flat rings or trees over all ranks, one through each rail.

    This is what NCCL does without in-switch reduction: a node sends with all of its network
    cards, so a ring runs at ``min(inner rate, inner ranks x outer rate)``. Steps between
    nodes set its latency; a tree only climbs between nodes.
    """
    if outer <= 1:
        return all_reduce_s(size_bytes, inner, inner_bytes_per_s, inner_latency_s)
    rate = inner * outer_bytes_per_s
    if inner > 1:
        rate = min(inner_bytes_per_s, rate)
    ring = ring_all_reduce_s(size_bytes, inner * outer, rate, outer_latency_s)
    tree = tree_all_reduce_s(size_bytes, outer, rate, outer_latency_s)
    return min(ring, tree + 2 * (inner - 1) * inner_latency_s)


def two_level_all_to_all_s(
    size_bytes: float,
    inner: int,
    outer: int,
    inner_bytes_per_s: float,
    inner_latency_s: float,
    outer_bytes_per_s: float,
    outer_latency_s: float,
) -> float:
    """Return the time of an all-to-all whose two parts overlap: the larger counts.

    A rank sends (g-1)/n of S inside its node of g and (n-g)/n beyond.
    """
    ranks = inner * outer
    within = (inner - 1) * inner_latency_s
    within += _over((inner - 1) / ranks * size_bytes, inner_bytes_per_s)
    beyond = (outer - 1) * outer_latency_s
    beyond += _over((ranks - inner) / ranks * size_bytes, outer_bytes_per_s)
    return max(within, beyond)


# --- real calls ---------------------------------------------------------------------------


def usable_bytes_per_s(line_bytes_per_s: float, size_bytes: float) -> float:
    """Return what a collective of one size gets out of a line rate.

    The share rises from `USABLE_FLOOR` to `USABLE_CEILING` with S / (S + K), where K is what
    the line carries in `FILL_S`: fast links need larger messages.
    """
    fill = FILL_S * line_bytes_per_s
    risen = size_bytes / (size_bytes + fill) if size_bytes > 0 else 0.0
    return line_bytes_per_s * (USABLE_FLOOR + (USABLE_CEILING - USABLE_FLOOR) * risen)


def all_reduce_call_s(
    size_bytes: float,
    inner: int,
    outer: int,
    inner_line_bytes_per_s: float,
    inner_latency_s: float,
    outer_line_bytes_per_s: float,
    outer_latency_s: float,
    in_switch: bool = False,
) -> float:
    """Return how long a real all-reduce call takes on links known by their line rates.

    Parameters
    ----------
    size_bytes : float
        Input of one rank.
    inner, outer : int
        Ranks per node, and nodes.
    inner_line_bytes_per_s, outer_line_bytes_per_s : float
        Published rate of one rank, one direction, inside and between nodes.
    inner_latency_s, outer_latency_s : float
        One step.
    in_switch : bool
        Whether the scale-up switch adds up (NVLS); applies to one node only.

    Returns
    -------
    float
        Seconds. Against 10,300 measured calls of 1-512 MiB on A100 (NVLink3, bridged pairs
        over PCIe, Ethernet; github.com/microsoft/vidur) the median relative error is 0.09.
    """
    if inner * outer <= 1:
        return 0.0
    near = usable_bytes_per_s(inner_line_bytes_per_s, size_bytes)
    if in_switch and outer == 1:
        one_pass = near * IN_SWITCH_SHARE
        return CALL_S + in_switch_all_reduce_s(size_bytes, inner, one_pass, inner_latency_s)
    far = usable_bytes_per_s(outer_line_bytes_per_s, size_bytes)
    return CALL_S + railed_all_reduce_s(
        size_bytes, inner, outer, near, inner_latency_s, far, outer_latency_s
    )


def bus_bytes_per_s(operation: str, size_bytes: float, ranks: int, seconds: float) -> float:
    """Return bus bandwidth as nccl-tests define it: comparable with the link rate.

    Parameters
    ----------
    operation : str
        ``"all_reduce"`` (factor 2(n-1)/n), ``"all_gather"``, ``"reduce_scatter"`` or
        ``"all_to_all"`` ((n-1)/n).
    size_bytes, ranks, seconds : float, int, float
        Size, number of ranks, measured time.
    """
    factor = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1}[operation]
    return factor * (ranks - 1) / ranks * size_bytes / seconds


def _over(size_bytes: float, bytes_per_s: float) -> float:
    if size_bytes <= 0:
        return 0.0
    return size_bytes / bytes_per_s if bytes_per_s > 0 else math.inf
