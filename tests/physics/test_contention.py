"""Bandwidth of gangs on concrete nodes, alone and together."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import Link, Site
from scheduler.core.run import Placement
from scheduler.physics.contention import SharedLinks, Usage, max_min_rates
from scheduler.physics.interconnect import build_graph

FLEETS = {
    "tree": fleet(pod("p", 12, nodes_per_leaf=3, taper=6)),
    "two pods": fleet(
        pod("p", 6, "fat_tree", nodes_per_leaf=2, taper=2, uplink=300 * GB_S),
        pod("q", 6, "rail", nodes_per_leaf=3, nic=25 * GB_S, uplink=200 * GB_S),
    ),
    "torus": fleet(pod("p", 12, "torus", shape=(4, 3), link_bytes_per_s=100 * GB_S)),
    "dragonfly": fleet(pod("p", 12, "dragonfly", nodes_per_leaf=3, link_bytes_per_s=150 * GB_S)),
    "edges": fleet(
        pod(
            "p",
            12,
            "edges",
            links=(
                *(Link(f"p-{i}", f"s{i % 3}", 400 * GB_S, 1e-6) for i in range(12)),
                Link("s0", "s1", 100 * GB_S, 1e-6),
                Link("s1", "s2", 100 * GB_S, 1e-6),
                Link("s0", "s2", 50 * GB_S, 1e-6),
            ),
        )
    ),
    "mixed": fleet(
        pod("p", 4, "torus", shape=(2, 2), link_bytes_per_s=9 * GB_S, uplink=90 * GB_S, site="a"),
        pod(
            "q",
            4,
            "dragonfly",
            nodes_per_leaf=2,
            link_bytes_per_s=9 * GB_S,
            uplink=80 * GB_S,
            site="a",
        ),
        pod("r", 4, nodes_per_leaf=2, taper=3, site="b"),
        sites=(Site("a", wan_bytes_per_s=7 * GB_S), Site("b", wan_bytes_per_s=5 * GB_S)),
    ),
}
LINKS = {name: SharedLinks(cluster, build_graph(cluster)) for name, cluster in FLEETS.items()}


def on(*nodes, count=8):
    return Placement(tuple(nodes), (count,) * len(nodes))


@st.composite
def placements(draw, nodes=12, gangs=6):
    made = []
    for _ in range(draw(st.integers(1, gangs))):
        chosen = sorted(draw(st.sets(st.integers(0, nodes - 1), min_size=1, max_size=nodes)))
        counts = [draw(st.integers(1, 8)) for _ in chosen]
        made.append(Placement(tuple(chosen), tuple(counts)))
    return made


@given(name=st.sampled_from(list(LINKS)), gangs=placements())
@settings(max_examples=60, deadline=None)
def test_shares_are_feasible_and_max_min_fair(name, gangs):
    links = LINKS[name]
    usages = [links.usage(p) for p in gangs]
    rates = links.fair_bytes_per_s(usages)
    load = np.zeros(len(links.capacity))
    for usage, rate in zip(usages, rates, strict=True):
        if len(usage.links):
            load[usage.links] += usage.weights * rate
    assert np.all(load <= links.capacity * (1 + 1e-9))  # no link over capacity
    full = load >= links.capacity * (1 - 1e-9)
    for usage, rate in zip(usages, rates, strict=True):
        assert rate <= usage.limit_bytes_per_s * (1 + 1e-9)
        if rate >= usage.limit_bytes_per_s * (1 - 1e-9):
            continue
        # Otherwise it has a bottleneck: a full link where nobody has more.
        bottlenecks = [
            link
            for link in usage.links
            if full[link]
            and all(
                rate >= other * (1 - 1e-9)
                for u, other in zip(usages, rates, strict=True)
                if link in u.links
            )
        ]
        assert bottlenecks


@given(name=st.sampled_from(list(LINKS)), gangs=placements())
@settings(max_examples=40, deadline=None)
def test_company_never_helps_and_a_job_alone_gets_its_solo_rate(name, gangs):
    links = LINKS[name]
    usages = [links.usage(p) for p in gangs]
    together = links.fair_bytes_per_s(usages)
    for gang, usage, rate in zip(gangs, usages, together, strict=True):
        solo = links.solo_bytes_per_s(gang)
        assert rate <= solo * (1 + 1e-9) or np.isinf(solo)
        room = (links.capacity[usage.links] / usage.weights).min(initial=np.inf)
        assert solo == pytest.approx(min(usage.limit_bytes_per_s, room))


@given(name=st.sampled_from(list(LINKS)), gangs=placements(), factor=st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_scaling_all_links_scales_all_shares(name, gangs, factor):
    links = LINKS[name]
    usages = [links.usage(p) for p in gangs]
    scaled = [Usage(u.links, u.weights, u.limit_bytes_per_s * factor) for u in usages]
    np.testing.assert_allclose(
        max_min_rates(links.capacity * factor, scaled),
        max_min_rates(links.capacity, usages) * factor,
        rtol=1e-9,
    )


@given(gangs=placements(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_order_of_gangs_does_not_matter(gangs, seed):
    links = LINKS["tree"]
    usages = [links.usage(p) for p in gangs]
    order = np.random.default_rng(seed).permutation(len(usages))
    np.testing.assert_allclose(
        max_min_rates(links.capacity, [usages[i] for i in order]),
        max_min_rates(links.capacity, usages)[order],
        rtol=1e-9,
    )


def test_textbook_max_min_example():
    # Bertsekas and Gallager, figure 6.16 in spirit: a long flow crosses two links that it
    # shares with one short flow each; the wider link gives its short flow the rest.
    none = float("inf")
    usages = [
        Usage(np.array([0, 1]), np.ones(2), none),
        Usage(np.array([0]), np.ones(1), none),
        Usage(np.array([1]), np.ones(1), none),
    ]
    np.testing.assert_allclose(max_min_rates(np.array([1.0, 3.0]), usages), [0.5, 0.5, 2.5])


def test_a_gang_that_uses_a_link_twice_as_much_gets_the_same_rate():
    usages = [Usage(np.array([0]), np.array([w]), np.inf) for w in (1.0, 2.0)]
    np.testing.assert_allclose(max_min_rates(np.array([9.0]), usages), [3.0, 3.0])


def test_limits_leave_the_rest_to_others():
    usages = [Usage(np.array([0]), np.ones(1), limit) for limit in (1.0, np.inf, np.inf)]
    np.testing.assert_allclose(max_min_rates(np.array([9.0]), usages), [1.0, 4.0, 4.0])
    assert len(max_min_rates(np.array([9.0]), [])) == 0


# By hand: leaves of three nodes, uplinks 3 x 400 / 6 = 200 GB/s.
def test_rates_in_a_tapered_tree_by_hand():
    links = LINKS["tree"]
    assert links.solo_bytes_per_s(on(0)) == 450 * GB_S
    assert links.solo_bytes_per_s(on(0, count=1)) == np.inf
    assert links.solo_bytes_per_s(on(0, 1, 2)) == 50 * GB_S
    assert links.solo_bytes_per_s(on(2, 3)) == 25 * GB_S
    assert links.solo_bytes_per_s(on(2, 3, count=4)) == 50 * GB_S
    a, b = links.fair_bytes_per_s([links.usage(on(2, 3)), links.usage(on(1, 6))])
    assert (a, b) == (12.5 * GB_S, 12.5 * GB_S)
    a, b = links.fair_bytes_per_s([links.usage(on(2, 3)), links.usage(on(1, 0))])
    assert (a, b) == (25 * GB_S, 50 * GB_S)


def test_two_gangs_share_the_cards_of_a_node():
    links = LINKS["tree"]
    halves = [links.usage(on(0, 1, count=4)), links.usage(on(0, 1, count=4))]
    np.testing.assert_allclose(links.fair_bytes_per_s(halves), 50 * GB_S)


def test_the_smallest_member_sets_the_pace_of_the_ring():
    links = LINKS["tree"]
    assert links.solo_bytes_per_s(Placement((0, 1), (8, 4))) == 25 * GB_S


@given(nodes=st.sets(st.integers(0, 11), min_size=2, max_size=6), count=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_a_wider_spread_is_never_faster(nodes, count):
    """Moving a gang from one leaf into several, or over a thinner core, cannot help."""
    fat = fleet(pod("p", 12, nodes_per_leaf=12), pod("q", 1, uplink=1.0))
    packed = SharedLinks(fat, build_graph(fat)).solo_bytes_per_s(on(*sorted(nodes), count=count))
    spread = LINKS["tree"].solo_bytes_per_s(on(*sorted(nodes), count=count))
    assert spread <= packed * (1 + 1e-12)


def ring_on_the_graph(graph, order, count, nic):
    """Route the ring of a gang with networkx, evenly over all shortest paths."""
    load = {}
    for a, b in zip(order, order[1:] + order[:1], strict=True):
        paths = list(nx.all_shortest_paths(graph, a, b))
        for path in paths:
            for edge in pairwise(path):
                load[edge] = load.get(edge, 0.0) + count / len(paths)
    return min([nic, *(graph.edges[e]["bytes_per_s"] / w for e, w in load.items())])


CLOSED = {
    "one switch": pod("p", 9),
    "tree": pod("p", 9, nodes_per_leaf=3, taper=5),
    "fat tree": pod("p", 9, "fat_tree", nodes_per_leaf=3, taper=5),
    "fat tree of three layers": pod("p", 16, "fat_tree", per_node=2, nodes_per_leaf=1, taper=1),
    "rails": pod("p", 9, "rail", nodes_per_leaf=3, taper=9),
    "dragonfly": pod("p", 9, "dragonfly", nodes_per_leaf=3, link_bytes_per_s=150 * GB_S),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("nodes", [(0, 1), (1, 2, 3), (0, 4, 8), tuple(range(9))])
def test_trunks_carry_what_networkx_routes(name, nodes):
    cluster = fleet(CLOSED[name])
    count = min(4, CLOSED[name].nodes[0].count)
    graph = build_graph(cluster)
    solo = SharedLinks(cluster, graph).solo_bytes_per_s(on(*nodes, count=count))
    assert solo == pytest.approx(ring_on_the_graph(graph, list(nodes), count, 50 * GB_S))


# A torus: rings on all axes; a mesh slice (no wrap-around) gets half of it.
@pytest.mark.parametrize(
    ("shape", "nodes", "links_per_node"),
    [
        ((4, 4, 4), range(64), 6),
        ((4, 4, 4), [16 * x + 4 * y + z for x in (0, 1) for y in (0, 1) for z in (2, 3)], 3),
        ((8,), range(8), 2),
        ((8,), range(4), 1),
        ((2, 2), range(4), 4),
    ],
)
def test_torus_boxes_use_every_axis(shape, nodes, links_per_node):
    made = pod("p", int(np.prod(shape)), "torus", per_node=4, shape=shape, link_bytes_per_s=100.0)
    cluster = fleet(made)
    links = SharedLinks(cluster, build_graph(cluster))
    assert links.solo_bytes_per_s(on(*nodes, count=4)) == pytest.approx(links_per_node * 100 / 4)


def test_scattered_nodes_of_a_torus_walk_through_their_neighbours():
    made = pod("p", 8, "torus", per_node=4, shape=(8,), link_bytes_per_s=100.0)
    cluster = fleet(made)
    links = SharedLinks(cluster, build_graph(cluster))
    alone = links.usage(on(0, 3, count=4))
    inner = links.usage(on(1, 2, count=4))
    assert links.fair_bytes_per_s([alone, inner])[1] < links.solo_bytes_per_s(on(1, 2, count=4))


def test_racks_count_as_one_node_with_all_their_cards():
    gb200 = accelerator("GB200", scaleup_devices=16, devices_per_node=4)
    made = pod("p", 8, "rail", of="GB200", per_node=4, scaleup=900 * GB_S, nodes_per_leaf=4)
    cluster = fleet(made, types=[gb200])
    links = SharedLinks(cluster, build_graph(cluster))
    assert links.solo_bytes_per_s(on(0, 1, 2, 3, count=4)) == 900 * GB_S
    assert links.solo_bytes_per_s(on(*range(8), count=4)) == 50 * GB_S


def test_unconnected_nodes_get_nothing():
    cluster = fleet(pod("p", 2), pod("q", 2))
    links = SharedLinks(cluster, build_graph(cluster))
    assert links.solo_bytes_per_s(on(1, 2)) == 0.0


def test_pods_and_sites_are_limited_by_their_uplinks():
    links = LINKS["two pods"]
    assert links.solo_bytes_per_s(on(0, 6)) == pytest.approx(200 * GB_S / 8)
    assert links.solo_bytes_per_s(on(0, 5, 6, 11)) == pytest.approx(200 * GB_S / 8)
    wide = LINKS["mixed"]
    assert wide.solo_bytes_per_s(on(0, 8)) == pytest.approx(5 * GB_S / 8)
    # each of the dragonfly's two groups has half of the uplink
    assert wide.solo_bytes_per_s(on(0, 4)) == pytest.approx(80 / 2 * GB_S / 8)


def test_bridged_pairs_fall_back_to_pcie():
    bridged = accelerator("A100-PCIe", scaleup_devices=2, year=2020)
    cluster = fleet(pod("p", 1, of="A100-PCIe", scaleup=300 * GB_S), types=[bridged])
    links = SharedLinks(cluster, build_graph(cluster))
    assert links.solo_bytes_per_s(on(0, count=2)) == 300 * GB_S
    assert links.solo_bytes_per_s(on(0, count=4)) == 31.5 * GB_S
