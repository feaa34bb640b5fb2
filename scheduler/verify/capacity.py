"""The rule on what nodes hold at every instant, by sweep line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from scheduler.core.run import Violation
from scheduler.core.units import s_from_us
from scheduler.verify.facts import Facts, Hold
from scheduler.verify.shares import is_share, open_spans


def node_capacity(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``capacity``: jobs and replicas together never hold more than a node has in use.

    An accelerator that is shared counts as one, from its first sharer to its last.

    All changes are sorted by (node, instant, releases first); their running sum is the
    use of each node in turn, since a node's changes cancel out.
    """
    rows: list[tuple[int, int, int]] = []
    for hold in holds:
        for node_index, count in hold.held if not is_share(hold.mode) else ():
            rows.append((node_index, hold.start_us, count))
            rows.append((node_index, hold.end_us, -count))
    for (node_index, _), spans in open_spans(facts, holds).items():
        for start_us, end_us in spans:
            rows += [(node_index, start_us, 1), (node_index, end_us, -1)]
    for node_index, partial in enumerate(facts.partial):
        for down in partial:
            rows.append((node_index, down.start_us, down.count))
            rows.append((node_index, down.end_us, -down.count))
    node, at, change = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    order = np.lexsort((change, at, node))
    node, at, change = node[order], at[order], change[order]
    used = np.cumsum(change)
    size = np.array(facts.node_size, dtype=np.int64)[node]
    over = used > size
    begins = over & ~np.concatenate(([False], over[:-1] & (node[1:] == node[:-1])))
    for i in np.flatnonzero(begins).tolist():
        text = f"{used[i]} accelerators held of {size[i]}"
        yield Violation("capacity", text, "", facts.node_id(int(node[i])), s_from_us(int(at[i])))
