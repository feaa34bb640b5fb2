"""The graph of every kind of fabric: vertices, cables, rates, and published cable counts."""

import networkx as nx
import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import Link, Site
from scheduler.physics.interconnect import (
    BLOCK,
    LEAF,
    POD,
    SCALEUP,
    build_graph,
    torus_slices,
)


def switches(graph, tier):
    return [v for v, at in graph.nodes(data=True) if at["kind"] == "switch" and at["tier"] == tier]


def cables(graph, low, high):
    return sum(
        {graph.nodes[a]["tier"], graph.nodes[b]["tier"]} == {low, high} for a, b in graph.edges
    )


# NVIDIA DGX SuperPOD B200 reference architecture, table of larger components: SUs of 32
# nodes with 8 cards; leaves, spines, cores. Where there are cores, blocks have spines.
SUPERPODS = [(1, 8, 4, 0), (2, 16, 8, 0), (4, 32, 16, 0), (8, 64, 32, 0)]
SUPERPODS_3 = [(16, 128, 128, 64), (32, 256, 256, 128), (64, 512, 512, 256)]


@pytest.mark.parametrize(("units", "leaves", "spines", "cores"), SUPERPODS + SUPERPODS_3)
def test_rail_fabric_has_the_switches_of_the_superpod_tables(units, leaves, spines, cores):
    graph = build_graph(fleet(pod("p", 32 * units, "rail", nodes_per_leaf=32)))
    assert len(switches(graph, LEAF)) == leaves
    assert len(switches(graph, BLOCK) if cores else switches(graph, POD)) == spines
    assert len(switches(graph, POD)) == (cores or spines)
    assert graph.number_of_edges() >= 256 * units  # node-leaf cables, one per card


@pytest.mark.parametrize(("units", "leaves"), [(2, 16), (16, 128)])
def test_rail_host_has_one_cable_to_each_rail_of_its_unit(units, leaves):
    graph = build_graph(fleet(pod("p", 32 * units, "rail", nodes_per_leaf=32)))
    assert leaves == len(switches(graph, LEAF))
    for host in (0, 31, 32, 32 * units - 1):
        assert sorted(graph.adj[host]) == [f"p:unit-{host // 32}-rail-{r}" for r in range(8)]
        assert all(e["bytes_per_s"] == 50 * GB_S for e in graph.adj[host].values())


def test_nodes_with_fewer_cards_use_the_first_rails():
    nodes = pod("a", 2, per_node=8).nodes + pod("b", 1, per_node=2).nodes
    mixed = pod("p", 0, "rail")
    mixed = type(mixed)(mixed.name, mixed.site, nodes, mixed.fabric)
    graph = build_graph(fleet(mixed))
    assert sorted(graph.adj[2]) == ["p:unit-0-rail-0", "p:unit-0-rail-1"]


@given(
    nodes=st.integers(1, 60),
    per_leaf=st.integers(0, 20),
    taper=st.sampled_from([1.0, 2.0, 4.0, 7.0]),
    kind=st.sampled_from(["tree", "fat_tree", "rail"]),
)
@settings(max_examples=40, deadline=None)
def test_leaf_uplinks_are_downlinks_over_the_taper(nodes, per_leaf, taper, kind):
    graph = build_graph(fleet(pod("p", nodes, kind, nodes_per_leaf=per_leaf, taper=taper)))
    assert nx.is_connected(graph)
    for leaf in switches(graph, LEAF):
        down = sum(e["bytes_per_s"] for v, e in graph.adj[leaf].items() if isinstance(v, int))
        up = sum(e["bytes_per_s"] for v, e in graph.adj[leaf].items() if isinstance(v, str))
        assert up == pytest.approx(down / taper)
    into = sum(e["bytes_per_s"] for h in range(nodes) for e in graph.adj[h].values())
    assert into == pytest.approx(nodes * 8 * 50 * GB_S)


def test_layers_above_the_leaves_do_not_taper_again():
    graph = build_graph(fleet(pod("p", 2048, "fat_tree", nodes_per_leaf=4, taper=2)))
    for spine in switches(graph, BLOCK)[:5]:
        ends = [(graph.nodes[v]["tier"], e["bytes_per_s"]) for v, e in graph.adj[spine].items()]
        down = sum(rate for tier, rate in ends if tier == LEAF)
        assert sum(rate for tier, rate in ends if tier == POD) == pytest.approx(down)


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
@settings(max_examples=40, deadline=None)
def test_torus_equals_the_grid_graph_of_networkx(shape):
    nodes = int(np.prod(shape))
    graph = build_graph(
        fleet(pod("p", nodes, "torus", shape=shape, link_bytes_per_s=3.0, latency_s=1e-6))
    )
    expected = nx.grid_graph(dim=list(reversed(shape)), periodic=True)
    places = [tuple(int(x) for x in np.unravel_index(i, shape)) for i in range(nodes)]
    if len(shape) == 1:
        places = [p[0] for p in places]
    names = {place: i for i, place in enumerate(places)}
    ends = {frozenset((names[a], names[b])) for a, b in expected.edges if a != b}
    assert {frozenset(e) for e in graph.edges} == ends
    for a, b, edge in graph.edges(data=True):
        pair = np.abs(np.array(np.unravel_index(a, shape)) - np.unravel_index(b, shape))
        two = shape[int(np.argmax(pair))] == 2  # both cables between the same hosts
        assert edge["bytes_per_s"] == (6.0 if two else 3.0)


def test_torus_slices_are_nested_boxes_down_to_one_node():
    low, side = torus_slices((4, 6, 5), 120)
    for outer, inner in zip(range(len(low)), range(1, len(low)), strict=False):
        assert np.all(low[inner] >= low[outer])
        assert np.all(low[inner] + side[inner] <= low[outer] + side[outer])
    assert np.all(side[-1] == 1)
    boxes = np.unique(np.concatenate([low[1], side[1]], axis=1), axis=0)
    assert len(boxes) == 8
    assert np.prod(boxes[:, 3:], axis=1).sum() == 120


def test_empty_torus_positions_have_no_links():
    graph = build_graph(fleet(pod("p", 7, "torus", shape=(3, 3), link_bytes_per_s=1.0)))
    assert set(graph.nodes) == set(range(7))
    assert not graph.has_edge(6, 8)


def test_dragonfly_joins_every_pair_of_groups_once():
    made = pod("p", 40, "dragonfly", nodes_per_leaf=8, link_bytes_per_s=7.0)
    graph = build_graph(fleet(made))
    assert len(switches(graph, LEAF)) == 5
    assert cables(graph, LEAF, LEAF) == 10
    assert all(graph.degree[h] == 1 for h in range(40))


def test_edges_fabric_has_the_listed_cables():
    links = (
        Link("p-0", "left", 5.0, 1e-6),
        Link("p-1", "left", 5.0, 1e-6),
        Link("p-2", "right", 6.0, 1e-6),
        Link("left", "right", 2.0, 3e-6),
        Link("right", "left", 1.0, 2e-6),
    )
    graph = build_graph(fleet(pod("p", 4, "edges", links=links)))
    assert graph.edges[0, "p:left"]["tier"] == LEAF
    assert graph.edges["p:left", "p:right"]["bytes_per_s"] == 3.0  # parallel cables add up
    assert graph.edges["p:left", "p:right"]["tier"] == POD
    assert list(graph.adj[3]) == []  # a node without a cable: legal, alone


def test_pods_and_sites_join_at_their_declared_rates():
    sites = (
        Site("a", wan_bytes_per_s=3.0, wan_latency_s=0.01),
        Site("b", wan_bytes_per_s=4.0, wan_latency_s=0.03),
        Site("c"),
    )
    graph = build_graph(
        fleet(
            pod("p", 2, site="a", uplink=20.0),
            pod("q", 2, site="a", uplink=30.0),
            pod("r", 2, site="b"),
            pod("s", 2, site="c"),
            sites=sites,
        )
    )
    assert graph.edges["p:gateway", "a:spine"]["bytes_per_s"] == 20.0
    assert graph.edges["q:gateway", "a:spine"]["bytes_per_s"] == 30.0
    assert graph.edges["a:spine", "wan"]["bytes_per_s"] == 3.0
    assert graph.edges["r:gateway", "b:spine"]["bytes_per_s"] == 4.0  # the site's only pod
    one_way = nx.shortest_path_length(graph, "a:spine", "b:spine", weight="latency_s")
    assert one_way == pytest.approx(0.02)
    assert nx.number_connected_components(graph) == 2
    assert not nx.has_path(graph, 0, 6)


def test_no_uplink_means_no_connection():
    graph = build_graph(fleet(pod("p", 2), pod("q", 2, uplink=5.0)))
    assert not nx.has_path(graph, 0, 2)


def test_racks_wider_than_a_node_are_scaleup_domains():
    gb200 = accelerator("GB200", scaleup_devices=72, devices_per_node=4)
    made = pod("p", 36, "rail", of="GB200", per_node=4, scaleup=900 * GB_S, nodes_per_leaf=18)
    graph = build_graph(fleet(made, types=[gb200]))
    assert len(switches(graph, SCALEUP)) == 2
    assert graph.edges[0, "p:scaleup-0"]["bytes_per_s"] == 4 * 900 * GB_S


def test_half_a_board_of_an_eight_way_type_is_not_joined_to_the_next():
    graph = build_graph(fleet(pod("p", 4, per_node=4)))  # H100: eight to a domain
    assert not switches(graph, SCALEUP)


def test_every_edge_states_rate_latency_and_tier():
    graph = build_graph(
        fleet(
            pod("a", 40, "rail", nodes_per_leaf=8, uplink=100.0),
            pod("b", 8, "torus", shape=(2, 2, 2), link_bytes_per_s=9.0, uplink=100.0),
            pod("c", 9, "dragonfly", nodes_per_leaf=3, link_bytes_per_s=9.0, uplink=100.0),
        )
    )
    assert nx.is_connected(graph)
    for a, b, edge in graph.edges(data=True):
        assert edge["bytes_per_s"] > 0, (a, b)
        assert edge["latency_s"] >= 0
        assert edge["tier"] >= max(SCALEUP, 1)
    assert {at["kind"] for _, at in graph.nodes(data=True)} == {"host", "switch"}
