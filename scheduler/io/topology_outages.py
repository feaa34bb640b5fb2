"""What takes nodes out of use, in a topology file: outages, reservations, failures.

`scheduler.io.topology` describes the file.
"""

from __future__ import annotations

from scheduler.core.cluster import FailureModel, Outage, OutageKind, Pod, Reservation
from scheduler.io.schema import Checker, Names, some_of
from scheduler.io.topology_sections import FailuresSection, OutageSection, ReservationSection


def read_failures(check: Checker) -> FailureModel:
    """Return how things fail; nothing does by default."""
    if check.get(("failures",)) is None:
        return FailureModel()
    section = check.section(FailuresSection, ("failures",))
    if section is None:
        return FailureModel()
    return FailureModel(
        node_mtbf_s=section.node_mtbf,
        repair_s=section.repair,
        repair_sigma=section.repair_sigma,
        accelerator_mtbf_s=section.accelerator_mtbf,
        accelerator_repair_s=section.accelerator_repair,
        switch_mtbf_s=section.switch_mtbf,
        switch_repair_s=section.switch_repair,
        crash_accelerator_s=section.job_mtbf,
    )


def read_reservations(
    check: Checker, pods: list[Pod], *, complete: bool
) -> tuple[Reservation, ...]:
    """Return the reservations in file order."""
    known = dict.fromkeys(n.id for p in pods for n in p.nodes)
    names = Names(known)
    check.names(("reservations",))
    found = []
    for path, section in check.sections(ReservationSection, ("reservations",)):
        if section is None:
            continue
        for i, node in enumerate(section.nodes):
            if complete and node not in known:
                at = (*path, "nodes", i)
                check.fault(at, "unknown node", node, some_of(known), names.nearest(node))
        nodes = tuple(dict.fromkeys(section.nodes))
        found.append(
            Reservation(
                *(section.name, nodes, section.start, section.end),
                *(tuple(section.tenants), tuple(section.jobs)),
            )
        )
    return tuple(found)


def read_outages(check: Checker, pods: list[Pod], *, complete: bool) -> tuple[Outage, ...]:
    """Return the outages by start and node, overlapping ones of a node joined.

    With a pod at fault (not `complete`) its nodes are not unknown but missing.
    """
    order = {n.id: i for i, n in enumerate(n for p in pods for n in p.nodes)}
    names = Names(order)
    spans: dict[tuple[OutageKind, str], list[tuple[float, float]]] = {}
    for path, section in check.sections(OutageSection, ("outages",)):
        if section is None:
            continue
        written = (
            [(*path, "node")]
            if section.nodes is None
            else [(*path, "nodes", i) for i in range(len(section.nodes))]
        )
        for at, node in zip(written, section.nodes or [section.node or ""], strict=True):
            if node in order:
                spans.setdefault((section.kind, node), []).append((section.start, section.end))
            elif complete:
                check.fault(at, "unknown node", node, some_of(order), names.nearest(node))
    joined: list[Outage] = []
    for (kind, node), times in spans.items():
        start, end = sorted(times)[0]
        for later, until in sorted(times):
            if later > end:
                joined.append(Outage(node, start, end, kind))
                start = later
            end = max(end, until) if later <= end else until
        joined.append(Outage(node, start, end, kind))
    return tuple(sorted(joined, key=lambda o: (o.start_s, order[o.node], o.kind)))
