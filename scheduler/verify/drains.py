"""The rules on nodes that are being emptied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from scheduler.core.run import Violation
from scheduler.core.units import s_from_us
from scheduler.verify.facts import Facts, Hold
from scheduler.verify.shares import whole_held


def drains_kept(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``drain``: nothing starts on a node that is being emptied."""
    for hold in holds:
        for node in hold.placement.nodes:
            if any(start <= hold.start_us < end for start, end in facts.drains[node]):
                text = "starts on a node that is being emptied"
                at_s = s_from_us(hold.start_us)
                yield Violation("drain", text, hold.who, facts.node_id(node), at_s)


def drains_counted(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``drain``: what nothing holds on a node that is being emptied is out of use.

    The accelerators recorded as drained are, at every instant of a drain at which the node is
    up, those that neither a gang nor a failure has, and none otherwise.
    """
    by_node: dict[int, list[Hold]] = {}
    for hold in holds:
        for node in hold.placement.nodes:
            by_node.setdefault(node, []).append(hold)
    for node, spans in enumerate(facts.drains):
        if spans or any(d.cause == "drain" for d in facts.partial[node]):
            yield from _accounted(facts, node, by_node.get(node, []))


def _accounted(facts: Facts, node: int, holds: Sequence[Hold]) -> Iterator[Violation]:
    spans, downs, partial = facts.drains[node], facts.downs[node], facts.partial[node]
    at = {t for span in (*spans, *downs) for t in span}
    at |= {t for d in partial for t in (d.start_us, d.end_us)}
    at |= {t for h in holds for t in (h.start_us, h.end_us)}
    for begin, _ in pairwise(sorted(t for t in at if t <= facts.end_us)):
        recorded = sum(
            d.count for d in partial if d.cause == "drain" and d.start_us <= begin < d.end_us
        )
        due = 0
        emptied = any(start <= begin < end for start, end in spans)
        if emptied and not any(start <= begin < end for start, end in downs):
            held = whole_held(h for h in holds if h.start_us <= begin < h.end_us).get(node, 0)
            failed = sum(
                d.count
                for d in partial
                if d.cause == "accelerator" and d.start_us <= begin < d.end_us
            )
            due = facts.node_size[node] - held - failed
        if recorded != due:
            text = f"{recorded} accelerators drained, {due} follow from the run"
            yield Violation("drain", text, "", facts.node_id(node), s_from_us(begin))
            return
