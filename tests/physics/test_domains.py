"""Levels, domains and pools against networkx, brute force and published fabrics."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import Link, Site
from scheduler.core.errors import InputError
from scheduler.physics.domains import find_domains, read_interconnect
from scheduler.physics.interconnect import SCALEUP, TIERS, build_graph


def seen(cluster):
    return read_interconnect(cluster, build_graph(cluster))


def at_level(found, name):
    level = found.levels.index(name)
    return [d for d in found.domains if d.level == level]


def nodes_of(found, domain):
    return sorted(n for p in domain.pools for n in found.pools[p].nodes)


def sparsest(graph, hosts, accelerators_per_host, nic):
    """Return the worst fair share over every split of the hosts in two, by maximum flow."""
    inside = nx.Graph()
    inside.add_edges_from(
        (a, b, {"capacity": e["bytes_per_s"]}) for a, b, e in graph.edges(data=True)
    )
    worst = nic
    for k in range(1, len(hosts) // 2 + 1):
        for side in combinations(hosts, k):
            flow = inside.copy()
            flow.add_edges_from(("source", h) for h in side)
            flow.add_edges_from((h, "sink") for h in hosts if h not in side)
            value, _ = nx.minimum_cut(flow, "source", "sink")
            worst = min(worst, value / (k * accelerators_per_host))
    return worst


SMALL = {
    "one switch": pod("p", 6),
    "tree, taper 4": pod("p", 8, nodes_per_leaf=2, taper=4),
    "uneven leaves": pod("p", 7, nodes_per_leaf=3, taper=2),
    "fat tree": pod("p", 8, "fat_tree", nodes_per_leaf=2),
    "fat tree, taper 2": pod("p", 6, "fat_tree", nodes_per_leaf=2, taper=2),
    "rails, taper 3": pod("p", 6, "rail", per_node=2, nodes_per_leaf=2, taper=3),
    "ring": pod("p", 8, "torus", shape=(8,), link_bytes_per_s=90 * GB_S),
    "torus": pod("p", 8, "torus", shape=(4, 2), link_bytes_per_s=90 * GB_S),
    "cube": pod("p", 8, "torus", shape=(2, 2, 2), link_bytes_per_s=9 * GB_S),
    "dragonfly": pod("p", 8, "dragonfly", nodes_per_leaf=2, link_bytes_per_s=100 * GB_S),
}


@pytest.mark.parametrize("name", SMALL)
def test_pod_rate_is_the_sparsest_cut_of_networkx(name):
    made = SMALL[name]
    cluster = fleet(made)
    found, graph = seen(cluster), build_graph(cluster)
    per_node = made.nodes[0].count
    nic = 50 * GB_S
    if made.fabric.kind == "torus":
        axes = [a for a in made.fabric.shape if a > 1]
        nic = 2 * len(axes) * made.fabric.link_bytes_per_s / per_node
    (whole,) = at_level(found, "pod")
    expected = sparsest(graph, range(len(made.nodes)), per_node, nic)
    assert whole.bytes_per_s == pytest.approx(expected, rel=1e-6)


@given(
    nodes=st.integers(2, 7),
    per_leaf=st.integers(1, 4),
    taper=st.floats(1, 8),
    kind=st.sampled_from(["tree", "fat_tree"]),
)
@settings(max_examples=15, deadline=None)
def test_trees_match_the_sparsest_cut(nodes, per_leaf, taper, kind):
    cluster = fleet(pod("p", nodes, kind, nodes_per_leaf=per_leaf, taper=taper))
    found = seen(cluster)
    (whole,) = at_level(found, found.levels[-1])
    expected = sparsest(build_graph(cluster), range(nodes), 8, 50 * GB_S)
    assert whole.bytes_per_s == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_listed_edges_are_never_rated_below_the_sparsest_cut(seed):
    rng = np.random.default_rng(seed)
    links = [Link(f"p-{i}", f"s{rng.integers(3)}", 400 * GB_S, 1e-6) for i in range(6)]
    links += [
        Link(f"s{i}", f"s{(i + 1) % 3}", float(rng.integers(10, 900)) * GB_S, 1e-6)
        for i in range(3)
    ]
    cluster = fleet(pod("p", 6, "edges", links=tuple(links)))
    found, graph = seen(cluster), build_graph(cluster)
    whole = at_level(found, found.levels[-1])[0]
    assert whole.bytes_per_s >= sparsest(graph, range(6), 8, 50 * GB_S) * (1 - 1e-9)


def test_listed_edges_find_the_thin_middle_whatever_the_file_order():
    ends = {0: "l", 1: "r", 2: "l", 3: "r", 4: "r", 5: "l"}
    links = [Link(f"p-{h}", s, 400 * GB_S, 1e-6) for h, s in ends.items()]
    links += [Link("l", "m", 100 * GB_S, 1e-6), Link("m", "r", 80 * GB_S, 1e-6)]
    found = seen(fleet(pod("p", 6, "edges", links=tuple(links))))
    assert at_level(found, "pod")[0].bytes_per_s == pytest.approx(80 * GB_S / 24)


# Rates of one accelerator towards the rest, by hand.
def test_rates_by_level_of_a_tapered_two_pod_site():
    cluster = fleet(
        pod("p", 16, nodes_per_leaf=4, taper=4, uplink=400 * GB_S),
        pod("q", 8, nic=25 * GB_S, of="A800", uplink=100 * GB_S),
    )
    found = seen(cluster)
    assert found.levels == ("node", "leaf", "pod", "site")
    rates = {d.name: d.bytes_per_s / GB_S for d in found.domains}
    assert rates["here/p/leaf-0"] == 50
    assert rates["here/p"] == 12.5
    assert rates["here/q"] == 25
    assert rates["here"] == pytest.approx(100 / 64)  # q's uplink, shared by its 64


def test_slow_cards_do_not_slow_their_neighbours():
    fast, slow = pod("f", 2), pod("s", 2, of="T4", nic=3 * GB_S)
    mixed = type(fast)("p", "here", fast.nodes + slow.nodes, fast.fabric)
    found = seen(fleet(mixed))
    assert found.domains[0].bytes_per_s == 50 * GB_S
    assert [i[1] for i in found.injection] == [50 * GB_S, 3 * GB_S]


def test_wide_area_is_shared_by_the_smaller_side():
    sites = (Site("a", wan_bytes_per_s=16.0), Site("b", wan_bytes_per_s=16.0))
    found = seen(fleet(pod("p", 10, site="a"), pod("q", 1, site="b"), sites=sites))
    (whole,) = at_level(found, "fleet")
    assert whole.bytes_per_s == 2.0  # 8 accelerators of b against 80 of a
    assert whole.latency_s == pytest.approx(0.02 + 5e-6 + 3e-6)


def test_tpu_slices():
    # 16 x 16 x 16 chips as hosts of 2 x 2 x 1: bisection of a torus is 2 links per line.
    made = pod("p", 1024, "torus", of="TPU", per_node=4, shape=(8, 8, 16), link_bytes_per_s=90.0)
    found = seen(fleet(made))
    assert found.levels == ("node", "slice-3", "slice-2", "slice-1", "pod")
    sizes = {len(nodes_of(found, d)) for d in at_level(found, "slice-2")}
    assert sizes == {16}
    (whole,) = at_level(found, "pod")
    assert whole.bytes_per_s == pytest.approx(2 * 64 * 90.0 / (512 * 4))
    assert whole.latency_s == pytest.approx((4 + 4 + 8) * 3e-6)


def test_nvl72_racks_are_a_level_of_their_own():
    gb200 = accelerator("GB200", scaleup_devices=72, devices_per_node=4)
    made = pod("p", 36, "rail", of="GB200", per_node=4, scaleup=900 * GB_S, nodes_per_leaf=18)
    found = seen(fleet(made, types=[gb200]))
    assert found.levels == ("node", "scaleup", "pod")
    racks = at_level(found, "scaleup")
    assert [len(nodes_of(found, d)) for d in racks] == [18, 18]
    assert racks[0].bytes_per_s == 900 * GB_S
    assert at_level(found, "pod")[0].bytes_per_s == 50 * GB_S


@pytest.mark.parametrize("name", SMALL)
def test_latency_is_the_longest_shortest_path(name):
    cluster = fleet(SMALL[name])
    found, graph = seen(cluster), build_graph(cluster)
    for domain in found.domains:
        hosts = nodes_of(found, domain)
        present = {e["tier"] for *_, e in graph.edges(data=True)}
        tier = min(t for t in present if found.level_of_tier[t] == domain.level)
        inside = nx.Graph((a, b, e) for a, b, e in graph.edges(data=True) if e["tier"] <= tier)
        paths = [
            nx.shortest_path_length(inside, a, b, weight="latency_s")
            for a, b in combinations(hosts, 2)
            if a in inside and b in inside
        ]
        assert domain.latency_s == pytest.approx(max(paths, default=0.0))


FLEETS = {
    "mixed": (
        pod("p", 16, "rail", nodes_per_leaf=4, uplink=9.0, site="a"),
        pod("q", 9, "dragonfly", nodes_per_leaf=3, link_bytes_per_s=5.0, uplink=8.0, site="a"),
        pod("r", 8, "torus", shape=(4, 2), link_bytes_per_s=4.0, of="TPU", uplink=7.0, site="b"),
        pod("s", 3, of="T4", per_node=4, site="b"),
        pod("t", 2, "edges", of="T4", links=(), site="c"),
    ),
    "one node": (pod("p", 1),),
    "one switch": (pod("p", 5),),
    "islands": (pod("p", 3, "edges", links=(Link("p-0", "p-1", 9.0, 1e-6),)),),
}
SITES = tuple(
    Site(n, wan_bytes_per_s=w) for n, w in (("a", 3.0), ("b", 3.0), ("c", 0.0), ("here", 0.0))
)


@pytest.mark.parametrize("name", FLEETS)
def test_domains_nest_and_every_node_is_in_one_pool(name):
    cluster = fleet(*FLEETS[name], sites=SITES)
    found = seen(cluster)
    assert sorted(n for p in found.pools for n in p.nodes) == list(range(len(cluster.nodes)))
    assert len(found.levels) >= 2
    paths = [d.path for d in found.domains]
    assert len(set(paths)) == len(paths)
    for p, pool in enumerate(found.pools):
        assert len(pool.domains) == len(found.levels) - 1
        for node in pool.nodes:
            assert cluster.nodes[node].count == pool.size
            assert cluster.nodes[node].accelerator == found.types[pool.type_index]
        path = ()
        for level in range(len(found.levels) - 1, 0, -1):
            domain = found.domains[pool.domains[level - 1]]
            assert domain.level == level
            assert p in domain.pools
            assert domain.path[:-1] == path
            path = domain.path
    for level in range(1, len(found.levels)):
        members = [p for d in found.domains if d.level == level for p in d.pools]
        assert sorted(members) == list(range(len(found.pools)))


@pytest.mark.parametrize("name", FLEETS)
def test_domains_are_components_of_the_graph(name):
    cluster = fleet(*FLEETS[name], sites=SITES)
    found, graph = seen(cluster), build_graph(cluster)
    for tier in range(SCALEUP, len(TIERS)):
        level = found.level_of_tier[tier]
        if level == 0 or not any(e["tier"] == tier for *_, e in graph.edges(data=True)):
            continue
        cut = nx.Graph((a, b) for a, b, e in graph.edges(data=True) if e["tier"] <= tier)
        components = {
            frozenset(v for v in c if isinstance(v, int)) for c in nx.connected_components(cut)
        }
        domains = {frozenset(nodes_of(found, d)) for d in found.domains if d.level == level}
        joined = {c for c in components if len(c) > 1}
        assert joined <= domains


def test_a_site_without_a_connection_stands_alone_at_every_level():
    found = seen(fleet(*FLEETS["mixed"], sites=SITES))
    assert found.levels == ("node", "leaf", "pod", "site", "fleet")
    fleets = {tuple(nodes_of(found, d)): d.path for d in at_level(found, "fleet")}
    assert fleets[tuple(range(33))] == ("fleet",)
    assert fleets[(33, 34, 35)] == ("b",)  # the pod s has no uplink
    assert {p for p in fleets.values() if p[0].startswith("c")} == {("c",), ("c#2",)}


def test_two_readings_are_equal():
    cluster = fleet(*FLEETS["mixed"], sites=SITES)
    assert find_domains(cluster, build_graph(cluster)) == find_domains(
        cluster, build_graph(cluster)
    )


def test_merged_levels_keep_their_names():
    found = seen(fleet(pod("p", 8)))
    assert found.levels == ("node", "pod")
    assert [found.level(t) for t in TIERS] == [0, 0, 1, 1, 1, 1, 1]


def test_unknown_level_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown level, got 'pods'.*did you mean 'pod'"):
        seen(fleet(pod("p", 8))).level("pods")


def test_a_fleet_of_2048_nodes():
    cluster = fleet(
        *(pod(f"p{i}", 128, "rail", nodes_per_leaf=32, uplink=800 * GB_S) for i in range(16))
    )
    found = seen(cluster)
    assert cluster.accelerator_count == 16_384
    assert found.levels == ("node", "leaf", "pod", "site")
    assert len(found.pools) == 64
    assert at_level(found, "site")[0].bytes_per_s == pytest.approx(800 * GB_S / 1024)
