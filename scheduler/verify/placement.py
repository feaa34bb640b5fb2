"""Rules on one allocation by itself: where it is, and whether that is a legal gang."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from scheduler.core.problem import Mode
from scheduler.core.run import Violation
from scheduler.core.units import s_from_us
from scheduler.core.workload import JobClass, Service
from scheduler.verify.facts import Facts, Hold


def node_up(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``down``: no node is held at an instant at which it is down."""
    for node in hold.placement.nodes:
        downs = facts.downs[node]
        if not downs:
            continue
        at = bisect_right(downs, (hold.end_us - 1, 1 << 62)) - 1  # last to begin before the end
        if at >= 0 and downs[at][1] > hold.start_us:
            start, end = downs[at]
            text = f"held while down from {s_from_us(start)} s to {s_from_us(end)} s"
            at_s = s_from_us(max(start, hold.start_us))
            yield Violation("down", text, hold.who, facts.node_id(node), at_s)


def gang_complete(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``gang``, ``type``: per accelerator type, the placement holds what the mode asks for."""
    at_s = s_from_us(hold.start_us)
    asked = {group.type_index: group.count for group in hold.mode.groups}
    got = dict.fromkeys(asked, 0)
    for node, count in hold.held:
        t = facts.node_type[node]
        if t in got:
            got[t] += count
        else:
            name = facts.problem.cluster.nodes[node].accelerator
            text = f"{count} accelerators of type {name}, which the mode does not use"
            yield Violation("type", text, hold.who, facts.node_id(node), at_s)
    for t, count in asked.items():
        if got[t] != count:
            text = f"holds {got[t]} of {count} accelerators of type {facts.problem.types[t]}"
            yield Violation("gang", text, hold.who, "", at_s)


def slots_whole(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``shape``: each node holds whole slots; one of them also the remainder, if any."""
    for group in hold.mode.groups:
        counts = [c for node, c in hold.held if facts.node_type[node] == group.type_index]
        leftovers = [c % group.per_node for c in counts if c % group.per_node]
        rest = group.count % group.per_node
        if sum(counts) == group.count and leftovers != ([rest] if rest else []):
            text = f"counts {_some(counts)} are not made of the slots {_some(group.slots)}"
            yield Violation("shape", text, hold.who, "", s_from_us(hold.start_us))


def one_domain(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``domain``: one node for level 0, else one domain of the mode's level."""
    level, nodes = hold.mode.level, hold.placement.nodes
    at_s = s_from_us(hold.start_us)
    if level == 0:
        if len(nodes) != 1:
            text = f"spread over {len(nodes)} nodes, the mode needs one"
            yield Violation("domain", text, hold.who, facts.node_id(nodes[1]), at_s)
        return
    problem = facts.problem
    first = -1
    for node in nodes:
        domains = problem.pools[facts.node_pool[node]].domains
        domain = domains[level - 1] if level <= len(domains) else -1
        if first < 0:
            first = domain
        if domain < 0 or domain != first:
            name = problem.levels[level] if level < len(problem.levels) else f"level {level}"
            text = f"outside the {name} that holds the rest of the gang"
            yield Violation("domain", text, hold.who, facts.node_id(node), at_s)
            return


def mode_permitted(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``permitted``: the mode keeps to what the user asked for and what its devices have.

    Gang size, accelerator types, stack, precision, memory and spread of the class; types
    and size of a service's replica.
    """
    for text in _refused(facts, hold.job, hold.service, hold.mode):
        yield Violation("permitted", text, hold.who, "", s_from_us(hold.start_us))


def _refused(facts: Facts, job: int, service: int, mode: Mode) -> Iterator[str]:
    problem = facts.problem
    workload = problem.workload
    asked: JobClass | Service
    if job >= 0:
        asked = workload.classes[int(workload.jobs.class_index[job])]
        sizes = asked.gang
        if asked.max_level in problem.levels and mode.level > problem.levels.index(asked.max_level):
            yield f"spreads over a {problem.levels[mode.level]}, at most {asked.max_level} asked"
    else:
        asked = workload.services[service]
        sizes = asked.replica
    if mode.count not in sizes:
        yield f"{mode.count} accelerators, asked {_some(sizes)}"
    for group in mode.groups:
        device = problem.cluster.accelerators[problem.types[group.type_index]]
        names = {name.casefold() for name in (device.name, *device.aliases)}
        if asked.accelerators is not None and names.isdisjoint(
            name.casefold() for name in asked.accelerators
        ):
            yield f"{device.name} is not among the accelerators asked"
        need = mode.memory_bytes
        if isinstance(asked, JobClass):
            need = max(need, asked.memory_bytes)
            if asked.stacks is not None and device.stack not in asked.stacks:
                yield f"{device.name} needs the stack {device.stack}"
            if asked.precision is not None and not device.peak_flops.get(asked.precision):
                yield f"{device.name} lacks {asked.precision}"
        if need > device.memory_bytes:
            yield f"needs {need:.6g} bytes on {device.name}, which has {device.memory_bytes:.6g}"


def overhead_charged(facts: Facts, hold: Hold) -> Iterator[Violation]:
    """``overhead``: a start costs its restart (or load) time, unless the hold ends before."""
    least = min(hold.least_overhead_us, hold.end_us - hold.start_us)
    if hold.overhead_us < least:
        text = f"overhead of {hold.overhead_us} us, at least {least} us needed"
        yield Violation("overhead", text, hold.who, "", s_from_us(hold.start_us))


HOLD_RULES = (
    node_up,
    gang_complete,
    slots_whole,
    one_domain,
    mode_permitted,
    overhead_charged,
)


def _some(values: Sequence[int], limit: int = 8) -> str:
    shown = ", ".join(str(v) for v in values[:limit])
    return f"({shown}, ... {len(values)} in all)" if len(values) > limit else f"({shown})"
