"""Topology files: what the fields become, and every shipped file."""

from __future__ import annotations

import logging
import pickle

import pytest
from documents import EDGES, TOPOLOGY

from scheduler.core.cluster import Fabric, FailureModel, Link, Node, Outage
from scheduler.core.errors import InputError
from scheduler.io import accelerators, list_topologies, load_cluster, parse_cluster

SHIPPED = [f.name for f in list_topologies()]


def test_fields_become_si_values() -> None:
    cluster = parse_cluster(TOPOLOGY, "two-pods")
    assert (cluster.name, cluster.title, cluster.licence) == ("two-pods", "Two pods", "Apache-2.0")
    assert cluster.spine_latency_s == 5e-6
    (site,) = cluster.sites
    assert (site.power_cap_w, site.pue) == (1.5e6, 1.25)
    assert (site.usd_per_kwh, site.carbon_g_per_kwh) == ((0.08,), (450.0,))
    assert (site.wan_bytes_per_s, site.wan_latency_s) == (12.5e9, 0.01)
    first, *copies = cluster.pods
    assert first.uplink_bytes_per_s == 100e9
    assert first.fabric == Fabric("rail", nodes_per_leaf=32, taper=2.0, latency_s=3e-6)
    assert first.nodes[0] == Node("a-n1", "H100-SXM", 8, 450e9, 50e9, 1500.0)
    assert [p.name for p in copies] == ["b-1", "b-2"]
    assert copies[0].fabric == Fabric("torus", shape=(2, 2), link_bytes_per_s=100e9)
    assert [n.id for n in copies[1].nodes] == ["b-2-h1", "b-2-h2", "b-2-h3", "b-2-h4"]
    assert cluster.outages == (Outage("a-n2", 7200.0, 21600.0),)
    assert cluster.failures == FailureModel(90 * 86400.0, 4 * 3600.0, 0.8)
    assert pickle.loads(pickle.dumps(cluster)) == cluster


def test_numbers_go_on_where_two_entries_share_a_prefix() -> None:
    cluster = parse_cluster(TOPOLOGY)
    assert [n.id for n in cluster.pods[0].nodes] == ["a-n1", "a-n2", "a-n3"]
    assert cluster.pods[0].nodes[2].accelerator == "Chip-1"


def test_types_come_from_the_catalogue_with_the_files_changes() -> None:
    cluster = parse_cluster(TOPOLOGY)
    assert list(cluster.accelerators) == ["H100-SXM", "Chip-1", "T4"]
    assert cluster.accelerators["T4"] == accelerators()["T4"]
    changed = cluster.accelerators["H100-SXM"]
    assert changed.price_usd == 27000.0
    assert changed.memory_bytes == accelerators()["H100-SXM"].memory_bytes
    own = cluster.accelerators["Chip-1"]
    assert (own.memory_bytes, own.memory_bytes_per_s) == (32 * 2**30, 1.2e12)
    assert dict(own.peak_flops) == {"bf16": 200e12}
    assert (own.idle_w, own.peak_w, own.devices_per_node) == (50.0, 350.0, 8)


def test_aliases_and_like() -> None:
    text = TOPOLOGY.replace("accelerator: T4", "accelerator: h100").replace(
        "  H100-SXM: {price: 27 kUSD}", "  H100-lab: {like: h100, memory: 94 GiB}"
    )
    cluster = parse_cluster(text.replace("accelerator: H100-SXM", "accelerator: h100-LAB"))
    assert list(cluster.accelerators) == ["H100-lab", "Chip-1", "H100-SXM"]
    lab, base = cluster.accelerators["H100-lab"], cluster.accelerators["H100-SXM"]
    assert lab.memory_bytes == 94 * 2**30
    assert lab.peak_flops == base.peak_flops


def test_cables_name_nodes_with_or_without_their_pod() -> None:
    (pod,) = parse_cluster(EDGES).pods
    assert pod.fabric.links == (
        Link("p-n1", "sw", 12.5e9, 1e-6),
        Link("sw", "p-n2", 12.5e9, 0.0),
    )


def test_names_given_and_repeated() -> None:
    text = EDGES.replace("nodes: 2}", "names: [n1, p-n2]}")
    assert [n.id for n in parse_cluster(text).nodes] == ["n1", "p-n2"]
    text = text.replace("name: p\n", "name: p\n    repeat: 2\n").replace("p-n2", "n2")
    assert [n.id for n in parse_cluster(text).nodes] == ["p-1-n1", "p-1-n2", "p-2-n1", "p-2-n2"]


def test_a_tariff_by_hour() -> None:
    hours = ", ".join(f"{i / 100} USD/kWh" for i in range(24))
    cluster = parse_cluster(TOPOLOGY.replace("0.08 USD/kWh", f"[{hours}]"))
    assert cluster.sites[0].usd_per_kwh == tuple(i / 100 for i in range(24))


def test_overlapping_outages_of_a_node_are_joined() -> None:
    text = TOPOLOGY.replace(
        "  - {node: a-n2, start: 2 h, end: 6 h}",
        "  - {node: a-n2, start: 5 h, end: 7 h}\n"
        "  - {nodes: [a-n2, a-n1], start: 2 h, end: 6 h}\n"
        "  - {node: a-n2, start: 8 h, end: 9 h}",
    )
    assert parse_cluster(text).outages == (
        Outage("a-n1", 7200.0, 21600.0),
        Outage("a-n2", 7200.0, 25200.0),
        Outage("a-n2", 28800.0, 32400.0),
    )


def test_bytes_where_bits_are_meant_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_cluster(TOPOLOGY.replace("nic: 400 Gbit/s", "nic: 400 GB/s"), file="f.yaml")
    (record,) = caplog.records
    assert record.getMessage() == (
        "f.yaml:23: pods[0].nodes[0].nic: 400 GB/s is 8 times the usual rate of H100-SXM; "
        "did you mean 400 Gbit/s?"
    )
    caplog.clear()
    parse_cluster(TOPOLOGY)
    assert not caplog.records


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load_with_title_source_and_licence(name: str) -> None:
    cluster = load_cluster(name)
    assert cluster.title
    assert cluster.source
    assert cluster.licence == "Apache-2.0"
    assert cluster.name == name
    ids = [n.id for n in cluster.nodes]
    assert len(set(ids)) == len(ids)
    for site in cluster.sites:  # a cap below the idle draw could never be met
        nodes = [n for p in cluster.pods if p.site == site.name for n in p.nodes]
        idle = sum(
            n.overhead_w + n.count * cluster.accelerators[n.accelerator].idle_w for n in nodes
        )
        assert site.power_cap_w is None or site.power_cap_w > 1.5 * idle


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("lab-mixed-64", {"A100-80GB-SXM": 16, "V100-32GB-SXM": 16, "RTX-3090": 16, "T4": 16}),
        ("h100-superpod-su", {"H100-SXM": 256}),
        ("sia-64", {"T4": 24, "RTX-2080Ti": 24, "A100-40GB-SXM": 16}),
        ("gavel-36", {"V100-16GB-SXM": 12, "P100-16GB-SXM": 12, "K80": 12}),
        ("demo-mixed", {"H100-SXM": 32, "A800-80GB-SXM": 32, "H20": 32, "Ascend-910B": 32}),
        ("tpu-v4-torus", {"TPU-v4": 256}),
        ("gb200-nvl72", {"GB200": 144}),
    ],
)
def test_shipped_mixes(name: str, counts: dict[str, int]) -> None:
    cluster = load_cluster(name)
    found = dict.fromkeys(cluster.accelerators, 0)
    for node in cluster.nodes:
        found[node.accelerator] += node.count
    assert found == counts


def test_the_large_fleet_is_16384_of_several_types() -> None:
    cluster = load_cluster("fleet-16384")
    assert cluster.accelerator_count == 16384
    assert len(cluster.accelerators) >= 4


def test_names_resolve_and_unknown_ones_suggest() -> None:
    assert load_cluster("gavel-36.yaml") == load_cluster("gavel-36")
    with pytest.raises(InputError, match="did you mean 'gavel-36'"):
        load_cluster("gavel36")
    with pytest.raises(InputError, match="did you mean 'demo-mixed'"):
        load_cluster("no/such/folder/demo-mixd.yaml")
    with pytest.raises(InputError, match="no such topology"):
        load_cluster("x" * 5000)
    with pytest.raises(InputError, match="no such topology"):
        load_cluster("nul\0name")
    assert {"demo-mixed", "fleet-16384", "edges-example"} <= set(SHIPPED)
