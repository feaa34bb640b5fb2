"""Topology files, ``schema: topology/1``.

A topology file is YAML. Everything that has a dimension carries its unit. All of it::

    schema: topology/1
    title: Two pods behind a thin spine      # one line for people
    source: where the figures come from      # optional, as is licence
    licence: Apache-2.0
    spine_latency: 5 us                      # optional: between two pods of one site

    sites:
      - name: main
        power_cap: 1.5 MW                    # optional: accelerators and nodes, before PUE
        pue: 1.25                            # optional
        tariff: 0.08 USD/kWh                 # optional; one value, or a list of 24 by hour
        carbon: 450 g/kWh                    # likewise
        wan: {rate: 100 Gbit/s, latency: 10 ms}   # optional: towards the other sites

    accelerators:                            # optional: types the catalogue lacks, or changes
      H100-SXM: {price: 27000 USD}           # a catalogue name: only what differs
      H100-lab: {like: H100-SXM, memory: 94 GiB}       # a new name, like another type
      H100-7th: {like: H100-SXM, slices: 7}  # each device cut into so many that are shared out
      Chip-1: {vendor: V, stack: cuda, memory: 32 GiB, memory_rate: 1.2 TB/s,
               peak: {fp32: 20 TFLOP/s, bf16: 200 TFLOP/s}, scaleup: 200 GB/s,
               scaleup_devices: 8, devices_per_node: 8, nic: 100 Gbit/s,
               idle: 50 W, full: 350 W, price: 9000 USD, rent: 1.1 USD/h, aliases: [chip1],
               year: 2025, export_status: unrestricted, confidence: medium, source: a page}

    pods:
      - name: h100                           # with repeat: h100-1, h100-2, ...
        repeat: 2                            # optional
        site: main
        uplink: 800 Gbit/s                   # optional: of the pod, towards other pods; none: 0
        fabric: {kind: rail, nodes_per_leaf: 32, taper: 2, latency: 3 us}
        nodes:
          - accelerator: H100-SXM
            nodes: 16                        # how many, or names: [gpu01, gpu02]
            per_node: 8                      # from here on optional: taken from the type
            nic: 400 Gbit/s                  # of one accelerator
            scaleup: 450 GB/s                # of one accelerator
            overhead: 1.5 kW                 # host without accelerators; default 0 W
            prefix: n                        # ids are h100-1-n1, h100-1-n2, ...
            labels: {region: eu}             # what jobs may ask for
            cpus: 192                        # what jobs that ask for it may share, of one node;
            host_memory: 2 TiB               # likewise; default: not counted

    outages:                                 # optional
      - {node: h100-1-n3, start: 2 h, end: 6 h}        # or nodes: [..]
      - {node: h100-1-n3, start: 1 h, end: 2 h, kind: drain}   # nothing new starts there
    reservations:                            # optional: nodes kept for some over a window
      - {name: launch, nodes: [h100-1-n1], start: 8 h, end: 9 h, tenants: [research], jobs: [base]}
    failures:                                # optional; each kind is off by default
      node_mtbf: 90 d                        # of one node, with everything on it
      repair: 4 h                            # median; lognormal with repair_sigma
      repair_sigma: 0.8                      # of all repair times
      accelerator_mtbf: 2200 d               # of one accelerator, without the rest of its node
      accelerator_repair: 12 h
      switch_mtbf: 1100 d                    # of one switch of the innermost level, with its nodes
      switch_repair: 2 h
      job_mtbf: 1800 d                       # of one accelerator's share of a job: a gang of n
                                             # crashes n times as often, and no node goes down

Fabric kinds and their fields (`scheduler.core.cluster.Fabric` says what they mean): ``tree``,
``fat_tree`` and ``rail`` take nodes_per_leaf and taper; ``torus`` takes shape and link;
``dragonfly`` takes nodes_per_leaf, link and taper; ``edges`` takes links, a list of
``{a, b, rate, latency}`` between nodes of the pod (id, or prefix and number) and free switch
names. All take latency.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from scheduler.core.cluster import AcceleratorType, Cluster, Node, Pod, Site
from scheduler.io import data_files
from scheduler.io.schema import Checker, Names
from scheduler.io.topology_fabrics import read_fabric
from scheduler.io.topology_outages import read_failures, read_outages, read_reservations
from scheduler.io.topology_sections import (
    NODE_CAP,
    HeadSection,
    NodesSection,
    PodSection,
    SiteSection,
)
from scheduler.io.topology_types import read_types
from scheduler.io.yaml_text import Document, FieldPath, parse_yaml, read_yaml, show_path

logger = logging.getLogger(__name__)

SUSPICIOUS_NIC_RATIO: Final = 4.0
"""A rate in bytes this far above the type's usual one is taken for bits, with a warning."""


def load_cluster(path_or_name: str | Path) -> Cluster:
    """Return the cluster of a topology file.

    Parameters
    ----------
    path_or_name : str or Path
        A file, or the name of a shipped topology (`data_files.list_topologies`).

    Raises
    ------
    InputError
        With every fault of the file.
    """
    path = data_files.resolve(path_or_name, "topology")
    return _cluster(read_yaml(path), path.stem)


def parse_cluster(raw: bytes | str, name: str = "cluster", file: str = "<text>") -> Cluster:
    """Return the cluster described by the topology text `raw`.

    Parameters
    ----------
    raw : bytes or str
        YAML.
    name : str
        Becomes `Cluster.name`.
    file : str
        File name for messages.

    Raises
    ------
    InputError
        With every fault of the text.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return _cluster(parse_yaml(data, file), name)


def _cluster(document: Document, cluster_name: str) -> Cluster:
    check = Checker(document)
    check.schema("topology/1")
    head = check.section(HeadSection, ())
    types = read_types(check)
    check.context["sites"] = Names(check.names(("sites",)))
    sites = check.sections(SiteSection, ("sites",))
    pods, complete = _pods(check, types)
    outages = read_outages(check, pods, complete=complete)
    failures = read_failures(check)
    reservations = read_reservations(check, pods, complete=complete)
    for part in ("sites", "pods"):
        if part in document.data and not document.data[part]:
            check.fault((part,), "the list is empty", "", "at least one")
    if complete and pods:
        _check_sites(check, sites, {p.site for p in pods})
    check.finish()
    assert head is not None  # finish() raises where a section is not in order
    used = dict.fromkeys(n.accelerator for p in pods for n in p.nodes)
    return Cluster(
        name=cluster_name,
        title=head.title,
        accelerators={t: types[t] for t in used},
        pods=tuple(pods),
        sites=tuple(_site(s) for _, s in sites if s),
        outages=outages,
        failures=failures,
        spine_latency_s=head.spine_latency,
        source=head.source,
        licence=head.licence,
        reservations=reservations,
    )


def _site(section: SiteSection) -> Site:
    site = Site(
        name=section.name,
        power_cap_w=section.power_cap,
        pue=section.pue,
        usd_per_kwh=tuple(section.tariff),
        carbon_g_per_kwh=tuple(section.carbon),
    )
    if section.wan is None:
        return site
    return replace(site, wan_bytes_per_s=section.wan.rate, wan_latency_s=section.wan.latency)


def _check_sites(
    check: Checker, sites: list[tuple[FieldPath, SiteSection | None]], used: set[str]
) -> None:
    for path, site in sites:
        if site is not None and site.name not in used:
            check.fault(path, "no pod is in this site", site.name, "at least one pod")


def _pods(check: Checker, types: dict[str, AcceleratorType]) -> tuple[list[Pod], bool]:
    """Return the pods in file order, repeated ones in a row, and whether none is missing."""
    check.names(("pods",))
    found = check.sections(PodSection, ("pods",))
    sections = [(p, s) for p, s in found if s is not None]
    total = sum((s.repeat or 1) * sum(_how_many(n) for n in s.nodes) for _, s in sections)
    if total > NODE_CAP:
        check.fault(("pods",), "too many nodes", str(total), f"at most {NODE_CAP}")
        return [], False
    pods: list[Pod] = []
    taken_pods: dict[str, FieldPath] = {}
    taken_nodes: dict[str, FieldPath] = {}
    for path, section in sections:
        names = [section.name]
        if section.repeat is not None:
            names = [f"{section.name}-{i + 1}" for i in range(section.repeat)]
        _warn_of_slips(check, path, section, types)
        for pod_name in names:
            nodes = _nodes(pod_name, section, types)
            fabric = read_fabric(
                check, path, section.fabric, pod_name, nodes, first=pod_name == names[0]
            )
            _claim(check, path, "pod", [pod_name], taken_pods)
            _claim(check, path, "node", [n.id for n in nodes], taken_nodes)
            pods.append(Pod(pod_name, section.site, tuple(nodes), fabric, section.uplink))
    known = all(n.accelerator in types for _, s in sections for n in s.nodes)
    return pods, known and len(sections) == len(found)


def _how_many(section: NodesSection) -> int:
    return len(section.names) if section.names is not None else section.nodes or 0


def _nodes(pod_name: str, section: PodSection, types: dict[str, AcceleratorType]) -> list[Node]:
    nodes: list[Node] = []
    last: dict[str, int] = {}  # numbers go on where two entries share a prefix
    for entry in section.nodes:
        kind = types.get(entry.accelerator)
        if kind is None:  # its own section is at fault
            continue
        if entry.names is not None:
            ids = [n if section.repeat is None else f"{pod_name}-{n}" for n in entry.names]
        else:
            start = last.get(entry.prefix, 0) + 1
            last[entry.prefix] = start + (entry.nodes or 0) - 1
            numbers = range(start, last[entry.prefix] + 1)
            ids = [f"{pod_name}-{entry.prefix}{i}" for i in numbers]
        scaleup = kind.scaleup_bytes_per_s if entry.scaleup is None else entry.scaleup
        nic = kind.nic_bytes_per_s if entry.nic is None else entry.nic
        per_node = entry.per_node or kind.devices_per_node
        labels = tuple(sorted(entry.labels.items()))
        host = (labels, entry.cpus, entry.host_memory)
        nodes += [Node(i, kind.name, per_node, scaleup, nic, entry.overhead, *host) for i in ids]
    return nodes


def _claim(
    check: Checker, path: FieldPath, what: str, ids: list[str], taken: dict[str, FieldPath]
) -> None:
    for item in ids:
        if item in taken:
            message = f"{what} name is used twice, first in {show_path(taken[item])}"
            check.fault(path, message, item, "a unique name")
            return  # one collision of a range brings all others
        taken[item] = path


def _warn_of_slips(
    check: Checker, path: FieldPath, section: PodSection, types: dict[str, AcceleratorType]
) -> None:
    for i, entry in enumerate(section.nodes):
        kind = types.get(entry.accelerator)
        at: FieldPath = (*path, "nodes", i, "nic")
        written = str(check.get(at))
        if kind is None or entry.nic is None or "B/s" not in written:
            continue
        if 0 < kind.nic_bytes_per_s * SUSPICIOUS_NIC_RATIO < entry.nic:
            logger.warning(
                "%s:%d: %s: %s is %.3g times the usual rate of %s; did you mean %s?",
                check.document.file,
                check.document.line(at),
                show_path(at),
                written,
                entry.nic / kind.nic_bytes_per_s,
                kind.name,
                written.replace("iB/s", "B/s").replace("B/s", "bit/s"),
            )
