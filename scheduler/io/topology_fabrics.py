"""The fabric of a pod: its kind, the fields of that kind, its cables."""

from __future__ import annotations

from typing import Final

from scheduler.core.cluster import Fabric, Link, Node
from scheduler.io.schema import Checker, some_of
from scheduler.io.topology_sections import FabricSection
from scheduler.io.yaml_text import FieldPath

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


def read_fabric(
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
