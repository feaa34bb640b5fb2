"""Checks the placement of a spread model by a max-flow on the full instance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.core.run import Violation
from scheduler.core.spread import Interval, SpreadAnswer, SpreadInstance, SpreadPlan

FLOW = 1e-5
"""Relative difference of two flows that counts as none."""


def placement_flow(instance: SpreadInstance, intervals: Sequence[Interval]) -> tuple[float, int]:
    """Return the maximum flow of a placement and the fewest machines on a path, by networkx.

    Machine `i` with interval ``[s, e)`` takes at most ``rates[i][e - s - 1]`` tokens/s; it
    hands them to `j` where ``s_j <= e_i < e_j``; the source feeds machines that start at layer
    0, and the sink takes from those that end at the last.
    """
    import networkx as nx

    graph: nx.DiGraph[object] = nx.DiGraph()
    graph.add_node("source")
    graph.add_node("sink")
    held = [i for i, (start, end) in enumerate(intervals) if end > start]
    for i in held:
        start, end = intervals[i]
        graph.add_edge((i, "in"), (i, "out"), capacity=instance.rates[i][end - start - 1])
        if start == 0 and instance.source[i] > 0:
            graph.add_edge("source", (i, "in"), capacity=float(instance.source[i]))
        if end == instance.layers and instance.sink[i] > 0:
            graph.add_edge((i, "out"), "sink", capacity=float(instance.sink[i]))
        for j in held:
            takes = intervals[j][0] <= end < intervals[j][1]
            if takes and instance.links[i, j] > 0:
                graph.add_edge((i, "out"), (j, "in"), capacity=float(instance.links[i, j]))
    flow = float(nx.maximum_flow_value(graph, "source", "sink"))
    if not nx.has_path(graph, "source", "sink"):
        return flow, 0
    # source, sink, and two nodes per machine
    return flow, int(nx.shortest_path_length(graph, "source", "sink")) // 2


def verify_spread(instance: SpreadInstance, answer: SpreadAnswer) -> list[Violation]:
    """Return every rule that an answer, or a plan of its front, breaks."""
    found = []
    for plan in (answer.plan, *answer.front):
        found += _plan(instance, plan)
    if answer.plan.flow > answer.bound * (1 + FLOW):
        text = f"the flow {answer.plan.flow:.9g} is above the bound {answer.bound:.9g}"
        found.append(Violation("bound", text))
    return found


def _plan(instance: SpreadInstance, plan: SpreadPlan) -> list[Violation]:
    found = []
    for i, (start, end) in enumerate(plan.intervals):
        if (start, end) == (0, 0):
            continue
        if not 0 <= start < end <= instance.layers or end - start > len(instance.rates[i]):
            text = f"machine {instance.ids[i]} cannot hold layers [{start}, {end})"
            found.append(Violation("interval", text))
    if found:
        return found
    flow, depth = placement_flow(instance, plan.intervals)
    if not math.isclose(flow, plan.flow, rel_tol=FLOW, abs_tol=FLOW):
        found.append(Violation("flow", f"{plan.flow:.9g} is told, {flow:.9g} can be carried"))
    if depth != plan.depth:
        found.append(Violation("depth", f"{plan.depth} stages are told, there are {depth}"))
    return found
