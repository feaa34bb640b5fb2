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
               idle: 50 W, full: 350 W, price: 9000 USD, rent: 1.1 USD/h, aliases: [chip1]}

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
from typing import Any, Final

from scheduler.core.cluster import (
    AcceleratorType,
    Cluster,
    Fabric,
    Link,
    Node,
    Pod,
    Site,
)
from scheduler.io import catalogue, data_files
from scheduler.io.schema import Checker, Names, some_of
from scheduler.io.topology_outages import read_failures, read_outages, read_reservations
from scheduler.io.topology_sections import (
    NODE_CAP,
    AcceleratorSection,
    FabricSection,
    HeadSection,
    NodesSection,
    PodSection,
    SiteSection,
)
from scheduler.io.yaml_text import Document, FieldPath, parse_yaml, read_yaml, show_path

logger = logging.getLogger(__name__)

SUSPICIOUS_NIC_RATIO: Final = 4.0
"""A rate in bytes this far above the type's usual one is taken for bits, with a warning."""

_FABRIC_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "tree": ("nodes_per_leaf", "taper"),
    "fat_tree": ("nodes_per_leaf", "taper"),
    "rail": ("nodes_per_leaf", "taper"),
    "torus": ("shape", "link"),
    "dragonfly": ("nodes_per_leaf", "taper", "link"),
    "edges": ("links",),
}
_FABRIC_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "torus": ("shape", "link"),
    "dragonfly": ("nodes_per_leaf", "link"),
    "edges": ("links",),
}
_TYPE_FIELDS: Final = {
    "vendor": "vendor",
    "stack": "stack",
    "memory": "memory_bytes",
    "memory_rate": "memory_bytes_per_s",
    "peak": "peak_flops",
    "scaleup": "scaleup_bytes_per_s",
    "scaleup_devices": "scaleup_devices",
    "devices_per_node": "devices_per_node",
    "nic": "nic_bytes_per_s",
    "idle": "idle_w",
    "full": "peak_w",
    "price": "price_usd",
    "rent": "usd_per_hour",
    "year": "year",
    "export_status": "export_status",
    "confidence": "confidence",
    "source": "source",
}
_TYPE_NEEDS: Final = ("stack", "memory", "memory_rate", "peak", "idle", "full")


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
    types = _types(check)
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


def _types(check: Checker) -> dict[str, AcceleratorType]:
    """Return the catalogue with the file's own types; set the names that pods may use."""
    known = dict(catalogue.accelerators())
    aliases = {alias: t.name for t in known.values() for alias in (t.name, *t.aliases)}
    check.context["catalogue"] = Names(known, aliases)
    types = dict(known)
    for type_name, section in check.named_sections(AcceleratorSection, ("accelerators",)).items():
        aliases[type_name] = type_name
        if section is not None:
            aliases |= dict.fromkeys(section.aliases or (), type_name)
            base = known.get(section.like or type_name)
            built = _type(check, ("accelerators", type_name), section, base, type_name)
            types |= {} if built is None else {type_name: built}
    check.context["accelerators"] = Names(dict.fromkeys((*types, *aliases.values())), aliases)
    return types


def _type(
    check: Checker,
    path: FieldPath,
    section: AcceleratorSection,
    base: AcceleratorType | None,
    type_name: str,
) -> AcceleratorType | None:
    given: dict[str, Any] = {
        field: getattr(section, written)
        for written, field in _TYPE_FIELDS.items()
        if getattr(section, written) is not None
    }
    if section.aliases is not None:
        given["aliases"] = tuple(section.aliases)
    missing = [f for f in _TYPE_NEEDS if base is None and _TYPE_FIELDS[f] not in given]
    for field in missing:
        hint = f"all of {', '.join(_TYPE_NEEDS)}; or like: a type of the catalogue"
        near = check.context["catalogue"].nearest(type_name)
        check.fault((*path, field), "missing field", "", hint, near)
    if missing:
        return None
    if base is None:
        usual: dict[str, Any] = {"vendor": "", "scaleup_bytes_per_s": 0.0}
        built = AcceleratorType(name=type_name, **(usual | given))
    else:
        built = replace(base, name=type_name, **given)
    built = _sliced(built, section.slices)
    if built.idle_w > built.peak_w:
        check.fault(
            path,
            "idle power above full power",
            f"{built.idle_w:g} W",
            f"at most {built.peak_w:g} W",
        )
    return built


def _sliced(whole: AcceleratorType, slices: int) -> AcceleratorType:
    """Return one of `slices` equal parts of a device, which stand in its place."""
    if slices == 1:
        return whole
    return replace(
        whole,
        memory_bytes=whole.memory_bytes / slices,
        memory_bytes_per_s=whole.memory_bytes_per_s / slices,
        peak_flops={name: rate / slices for name, rate in whole.peak_flops.items()},
        scaleup_bytes_per_s=whole.scaleup_bytes_per_s / slices,
        nic_bytes_per_s=whole.nic_bytes_per_s / slices,
        idle_w=whole.idle_w / slices,
        peak_w=whole.peak_w / slices,
        scaleup_devices=whole.scaleup_devices * slices,
        devices_per_node=whole.devices_per_node * slices,
        price_usd=None if whole.price_usd is None else whole.price_usd / slices,
        usd_per_hour=None if whole.usd_per_hour is None else whole.usd_per_hour / slices,
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
            fabric = _fabric(
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


def _fabric(
    check: Checker,
    path: FieldPath,
    section: FabricSection,
    pod_name: str,
    nodes: list[Node],
    *,
    first: bool,
) -> Fabric:
    """Return the fabric of one pod; a repeated pod is checked once."""
    by_local = {n.id.removeprefix(f"{pod_name}-"): n.id for n in nodes}
    links = tuple(
        Link(by_local.get(c.a, c.a), by_local.get(c.b, c.b), c.rate, c.latency)
        for c in section.links
    )
    if first:
        _check_fabric(check, (*path, "fabric"), section, len(nodes))
        if section.kind == "edges" and links:
            _check_cables(check, (*path, "fabric", "links"), links, nodes)
    return Fabric(
        kind=section.kind,
        nodes_per_leaf=section.nodes_per_leaf,
        taper=section.taper,
        latency_s=section.latency,
        shape=tuple(section.shape),
        link_bytes_per_s=section.link,
        links=links,
    )


def _check_fabric(check: Checker, path: FieldPath, section: FabricSection, nodes: int) -> None:
    usable = ("kind", "latency", *_FABRIC_FIELDS[section.kind])
    for field in FabricSection.model_fields:
        if field in section.model_fields_set and field not in usable:
            message = f"a {section.kind} fabric has no such field"
            check.fault((*path, field), message, "", some_of(usable))
    for field in _FABRIC_NEEDS.get(section.kind, ()):
        if field not in section.model_fields_set:
            check.fault((*path, field), f"missing field of a {section.kind} fabric")
    places = 1
    for side in section.shape:
        places *= side
    if section.kind == "torus" and section.shape and places < nodes:
        shape = " x ".join(str(s) for s in section.shape)
        check.fault((*path, "shape"), "the torus is too small", shape, f"room for {nodes} nodes")


def _check_cables(
    check: Checker, path: FieldPath, links: tuple[Link, ...], nodes: list[Node]
) -> None:
    """Every node must be reachable from the first over the cables of its pod."""
    neighbours: dict[str, list[str]] = {}
    for i, link in enumerate(links):
        if link.a == link.b:
            check.fault((*path, i), "a cable from a node to itself", link.a, "two ends")
        neighbours.setdefault(link.a, []).append(link.b)
        neighbours.setdefault(link.b, []).append(link.a)
    reached = {nodes[0].id} if nodes else set()
    frontier = list(reached)
    while frontier:
        new = [n for n in neighbours.get(frontier.pop(), ()) if n not in reached]
        reached.update(new)
        frontier += new
    cut_off = [n.id for n in nodes if n.id not in reached]
    if cut_off:
        message = f"no path from {nodes[0].id!r} to {len(cut_off)} of the pod's nodes"
        ends = [e for e in neighbours if e not in {n.id for n in nodes}]
        shown = some_of(ends) if ends else "none"
        check.fault(path, message, cut_off[0], f"a connected pod (switches named here: {shown})")


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
