"""Accelerators that jobs share: who holds which part of what, and the rules on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from scheduler.core.problem import Mode
from scheduler.core.run import Violation
from scheduler.core.units import WHOLE_MILLI, s_from_us
from scheduler.verify.facts import Facts, Hold, Span, merged

Rests = dict[tuple[int, int], tuple[int, float]]
"""Thousandths and bytes of memory left of each shared accelerator, by node and device."""


def is_share(mode: Mode) -> bool:
    """Return whether a mode takes a part of an accelerator."""
    return mode.share_milli < WHOLE_MILLI


def memory_taken(facts: Facts, hold: Hold) -> int:
    """Return the device memory that a sharer takes: what its class says, else its part."""
    workload = facts.problem.workload
    kind = workload.classes[int(workload.jobs.class_index[hold.job])]
    if kind.memory_bytes:
        return int(kind.memory_bytes)
    return int(_memory(facts, hold.placement.nodes[0])) * hold.mode.share_milli // WHOLE_MILLI


def whole_held(holds: Iterable[Hold]) -> dict[int, int]:
    """Return accelerators held at one instant by node; one that is shared counts once."""
    held: dict[int, int] = {}
    shared: set[tuple[int, int]] = set()
    for hold in holds:
        for node, count in hold.held:
            key = node, hold.placement.device
            if is_share(hold.mode):
                if key in shared:
                    continue
                shared.add(key)
            held[node] = held.get(node, 0) + count
    return held


def rests_of(facts: Facts, holds: Iterable[Hold]) -> Rests:
    """Return what is left of each accelerator that is shared at one instant."""
    rests: Rests = {}
    for hold in holds:
        if is_share(hold.mode):
            node = hold.placement.nodes[0]
            key = node, hold.placement.device
            room, memory = rests.get(key, (WHOLE_MILLI, _memory(facts, node)))
            rests[key] = room - hold.mode.share_milli, memory - memory_taken(facts, hold)
    return rests


def open_spans(facts: Facts, holds: Iterable[Hold]) -> dict[tuple[int, int], tuple[Span, ...]]:
    """Return, by node and device, when an accelerator was shared by somebody."""
    spans: dict[tuple[int, int], list[Span]] = {}
    for hold in holds:
        if is_share(hold.mode):
            for node, _ in hold.held:
                key = node, hold.placement.device
                spans.setdefault(key, []).append((hold.start_us, hold.end_us))
    return {key: merged(found, facts.end_us) for key, found in sorted(spans.items())}


def share_placed(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``share``: a sharer holds its share of one accelerator, and only a sharer does."""
    place, at_s = hold.placement, s_from_us(hold.start_us)
    if not is_share(hold.mode):
        if place.device >= 0 or place.share_milli != WHOLE_MILLI:
            text = f"holds {place.share_milli}/1000 of one, not accelerators whole"
            yield Violation("share", text, hold.who, "", at_s)
        return
    asked = 0
    if hold.job >= 0:
        workload = facts.problem.workload
        asked = workload.classes[int(workload.jobs.class_index[hold.job])].share_milli
    if place.share_milli != asked or hold.mode.share_milli != asked:
        text = f"holds {place.share_milli}/1000 of an accelerator, asked {asked}"
        yield Violation("share", text, hold.who, "", at_s)
    if place.nodes[1:] or place.counts != (1,):
        yield Violation("share", "a share of more than one accelerator", hold.who, "", at_s)
    if not 0 <= place.device < facts.node_size[place.nodes[0]]:
        text = f"no device {place.device} of {facts.node_size[place.nodes[0]]}"
        yield Violation("share", text, hold.who, facts.node_id(place.nodes[0]), at_s)
    if hold.job >= 0 and place.memory_bytes != memory_taken(facts, hold):
        text = f"takes {place.memory_bytes} bytes, {memory_taken(facts, hold)} are its part"
        yield Violation("share_memory", text, hold.who, "", at_s)


def shares_kept(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``shared``, ``shared_memory``: sharers of a device never come to more than it is and has."""
    changes: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for hold in holds:
        if is_share(hold.mode) and hold.job >= 0:
            rows = changes.setdefault((hold.placement.nodes[0], hold.placement.device), [])
            share, memory = hold.mode.share_milli, memory_taken(facts, hold)
            rows += [(hold.start_us, share, memory), (hold.end_us, -share, -memory)]
    for (node, device), rows in sorted(changes.items()):
        used = taken = 0
        for at_us, share, memory in sorted(rows):  # ends come before starts at one instant
            used += share
            taken += memory
            at_s = s_from_us(at_us)
            if used > WHOLE_MILLI:
                text = f"{used}/1000 of device {device} held"
                yield Violation("shared", text, "", facts.node_id(node), at_s)
                break
            if taken > _memory(facts, node):
                text = f"{taken} bytes of device {device} held of {_memory(facts, node):.0f}"
                yield Violation("shared_memory", text, "", facts.node_id(node), at_s)
                break


def _memory(facts: Facts, node: int) -> float:
    cluster = facts.problem.cluster
    return cluster.accelerators[cluster.nodes[node].accelerator].memory_bytes
