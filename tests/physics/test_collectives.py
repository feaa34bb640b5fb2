"""Collective times: identities, a step-by-step replay of each algorithm, and measurements."""

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.physics.collectives import (
    USABLE_CEILING,
    all_reduce_call_s,
    all_reduce_s,
    all_to_all_s,
    bus_bytes_per_s,
    in_switch_all_reduce_s,
    point_to_point_s,
    railed_all_reduce_s,
    ring_all_gather_s,
    ring_all_reduce_s,
    torus_all_reduce_s,
    torus_all_to_all_s,
    tree_all_reduce_s,
    two_level_all_reduce_s,
    two_level_all_to_all_s,
    usable_bytes_per_s,
)

GB = 1e9
MIB = 2**20
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"

sizes = st.floats(1, 1e11)
ranks = st.integers(1, 4096)
rates = st.floats(1e8, 1e13)
latencies = st.floats(0, 1e-3)


def test_ring_moves_chunks_round_until_all_hold_the_sum():
    """Replay the algorithm: 2(n-1) steps, in each of which everyone sends S/n once."""
    n, size, rate, alpha = 5, 1000.0, 10.0, 0.5
    held = np.random.default_rng(0).integers(0, 9, (n, n)).astype(float)  # rank, chunk
    total, elapsed = held.sum(axis=0), 0.0
    for step in range(2 * (n - 1)):
        sent = [(r, (r - step) % n, held[r, (r - step) % n]) for r in range(n)]
        for r, chunk, value in sent:
            adds = step < n - 1
            held[(r + 1) % n, chunk] = value + (held[(r + 1) % n, chunk] if adds else 0.0)
        elapsed += alpha + size / n / rate
    np.testing.assert_array_equal(held, np.tile(total, (n, 1)))
    assert ring_all_reduce_s(size, n, rate, alpha) == pytest.approx(elapsed)


@given(size=sizes, n=ranks, rate=rates, alpha=latencies)
def test_all_reduce_is_a_reduce_scatter_and_an_all_gather(size, n, rate, alpha):
    ring = ring_all_reduce_s(size, n, rate, alpha)
    assert ring == pytest.approx(2 * ring_all_gather_s(size, n, rate, alpha))
    assert all_reduce_s(size, n, rate, alpha) <= ring
    if n > 1:  # nobody beats the bandwidth bound, every tree beats the ring in steps
        assert all_reduce_s(size, n, rate, alpha) >= 2 * (n - 1) / n * size / rate * (1 - 1e-12)
        assert tree_all_reduce_s(0, n, rate, alpha) <= ring_all_reduce_s(0, n, rate, alpha)


@given(size=sizes, n=ranks, rate=rates, alpha=latencies)
def test_large_messages_go_round_and_small_ones_up_the_tree(size, n, rate, alpha):
    if n > 8 and alpha > 0:
        small = rate * alpha * 1e-6
        assert all_reduce_s(small, n, rate, alpha) == tree_all_reduce_s(small, n, rate, alpha)
        large = rate * alpha * 1e6 * n
        assert all_reduce_s(large, n, rate, alpha) == ring_all_reduce_s(large, n, rate, alpha)


def test_one_rank_needs_no_time_and_no_link_takes_for_ever():
    for collective in (ring_all_gather_s, ring_all_reduce_s, tree_all_reduce_s, all_to_all_s):
        assert collective(1e9, 1, 0.0, 1.0) == 0.0
        assert collective(1e9, 2, 0.0, 1.0) == math.inf
    assert torus_all_reduce_s(1e9, (1, 1), 0.0, 1.0) == 0.0
    assert all_reduce_call_s(1e9, 1, 1, 0.0, 0.0, 0.0, 0.0) == 0.0
    assert point_to_point_s(100.0, 50.0, 1.0) == 3.0


@given(size=sizes, g=st.integers(1, 16), m=st.integers(1, 64), rate=rates, alpha=latencies)
def test_two_levels_of_equal_links_cost_a_ring_or_less_latency(size, g, m, rate, alpha):
    two = two_level_all_reduce_s(size, g, m, rate, 0.0, rate, 0.0)
    flat = ring_all_reduce_s(size, g * m, rate, 0.0)
    assert two == pytest.approx(flat, rel=1e-9)  # the same bytes cross each rank
    assert two_level_all_reduce_s(size, g, 1, rate, alpha, 0.0, alpha) == pytest.approx(
        ring_all_reduce_s(size, g, rate, alpha)
    )


@given(size=sizes, g=st.integers(1, 16), m=st.integers(2, 64), alpha=latencies)
def test_rails_add_up_until_the_node_is_the_bottleneck(size, g, m, alpha):
    many = railed_all_reduce_s(size, g, m, 400 * GB, 0.0, 400 * GB, 0.0)
    assert many == pytest.approx(ring_all_reduce_s(size, g * m, 400 * GB, 0.0))
    one = railed_all_reduce_s(size, 1, m, 400 * GB, alpha, 25 * GB, alpha)
    assert one == pytest.approx(all_reduce_s(size, m, 25 * GB, alpha))


def torus_edge_load(sides):
    """Bytes on the busiest directed link when every rank sends one byte to every other,
    split evenly over all shortest paths."""
    graph = nx.grid_graph(dim=list(sides), periodic=True)
    through = nx.edge_betweenness_centrality(graph, normalized=False)
    return max(through.values())  # undirected pairs: the load of each direction


@pytest.mark.parametrize("sides", [(4,), (8,), (6, 4), (4, 4), (4, 4, 4), (8, 4, 4)])
def test_torus_all_to_all_is_the_load_of_its_busiest_link(sides):
    n = math.prod(sides)
    size = 1e9  # all that one rank sends, to itself too
    busiest = torus_edge_load(sides) * size / n
    assert torus_all_to_all_s(size, sides, 1 * GB, 0.0) == pytest.approx(busiest / GB, rel=1e-9)


def test_torus_all_reduce_is_a_ring_on_every_axis():
    # one axis: two rings, one each way, of half the data
    assert torus_all_reduce_s(8e9, (8,), 50 * GB, 0.0) == pytest.approx(
        ring_all_reduce_s(4e9, 8, 50 * GB, 0.0)
    )
    cube = torus_all_reduce_s(8e9, (4, 4, 4), 50 * GB, 0.0)
    assert cube == pytest.approx(ring_all_reduce_s(8e9, 64, 6 * 50 * GB, 0.0))
    assert torus_all_reduce_s(8e9, (4, 4, 4), 50 * GB, 0.0, wrapped=False) == pytest.approx(
        2 * cube
    )


def test_two_level_all_to_all_takes_the_slower_part():
    assert two_level_all_to_all_s(16e9, 8, 2, 100 * GB, 0.0, 50 * GB, 0.0) == pytest.approx(
        max(7 / 16 * 16 / 100, 8 / 16 * 16 / 50)
    )
    assert two_level_all_to_all_s(8e9, 8, 1, 100 * GB, 0.0, 50 * GB, 0.0) == pytest.approx(
        all_to_all_s(8e9, 8, 100 * GB, 0.0)
    )


@given(line=rates, small=sizes, factor=st.floats(1, 1e3))
def test_usable_rate_rises_with_size_to_the_ceiling(line, small, factor):
    low, high = usable_bytes_per_s(line, small), usable_bytes_per_s(line, small * factor)
    assert low <= high * (1 + 1e-12)
    assert high <= USABLE_CEILING * line


def test_bus_bandwidth_by_the_nccl_tests_definition():
    assert bus_bytes_per_s("all_reduce", 8e9, 8, 1.0) == 14e9
    assert bus_bytes_per_s("all_gather", 8e9, 8, 1.0) == 7e9
    assert in_switch_all_reduce_s(8e9, 8, 4e9, 0.5) == 3.0


# Bus bandwidth in GB/s that operators publish; relative tolerance of this model.
PUBLISHED = [
    # ranks, line rate, in-switch, bytes, GB/s, tolerance, source
    (8, 450, True, 8 * 2**30, 480, 0.15, "NVIDIA dgxc-benchmarking, 8 x H100"),
    (8, 450, True, 2**30, 466, 0.15, "the same"),
    (8, 450, True, 64 * MIB, 362, 0.15, "the same"),
    (8, 450, True, 8 * MIB, 177, 0.15, "the same"),
    (8, 450, True, 4 * 2**30, 475, 0.15, "nccl-tests issue 272, 8 x H200"),
    (8, 300, False, 8e9, 240, 0.10, "alayanew.com nccl-tests notes, 8 x A100: 230-250"),
    (4, 900, False, 8e9, 680, 0.10, "Azure AI benchmarking guide, 4 x GB200"),
    (8, 450, False, 8e9, 370, 0.15, "nccl-tests issue 212, NVLink4 without NVLS"),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda r: r[-1])
def test_published_bus_bandwidth(row):
    n, line, in_switch, size, published, tolerance, _ = row
    took = all_reduce_call_s(size, n, 1, line * GB, 1e-6, 0.0, 0.0, in_switch=in_switch)
    assert bus_bytes_per_s("all_reduce", size, n, took) / GB == pytest.approx(
        published, rel=tolerance
    )


def test_published_multi_node_bus_bandwidth():
    # 64 H100 with 400 Gbit/s each: 340-390 GB/s (operators' reports).
    took = all_reduce_call_s(8e9, 8, 8, 450 * GB, 1e-6, 50 * GB, 5e-6)
    assert bus_bytes_per_s("all_reduce", 8e9, 64, took) / GB == pytest.approx(365, rel=0.2)
