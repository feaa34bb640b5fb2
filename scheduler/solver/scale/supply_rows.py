"""Linear rows that say which demands by size the fleet can hold.

Variables are the demands by type and size and, where sizes do not divide one another, *steps*:
how many nodes (pods) with so much left have a slot (gang) of such a size cut from them next.
Steps are the arc-flow form of all filling patterns (Valerio de Carvalho 1999): whole steps
that satisfy the rows are a filling, so that the same rows serve the LP and CP-SAT. Where sizes
divide one another, counted slots say the same without steps: the largest first cannot fail.

References
----------
J. Valerio de Carvalho, "Exact solution of bin-packing problems using column generation and
branch-and-bound", Annals of Operations Research 86, 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from scheduler.solver.scale.rows import SizeTable


@dataclass(frozen=True, slots=True)
class Step:
    """Cutting a size from what is left of a node or a pod.

    Parameters
    ----------
    type_index, column : int
        Type and size, as in `SizeTable`.
    left : int
        Accelerators left of the node, or nodes left of the pod, before the cut.
    most : int
        A bound on how often.
    """

    type_index: int
    column: int
    left: int
    most: int


@dataclass(slots=True)
class Row:
    """``sum coefficients * variables <= limit``.

    Where `covers`, the row says that what is asked for is cut; whole answers cut no more.
    """

    variables: list[int]
    coefficients: list[int]
    limit: int
    covers: bool = False


@dataclass(slots=True)
class SupplyRows:
    """Rows over demands (type times columns plus column) and then steps.

    Parameters
    ----------
    rows : list of Row
        All of them.
    steps : list of Step
        Variables after the demands.
    """

    rows: list[Row] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def supply_rows(table: SizeTable) -> SupplyRows:
    """Return the rows of every type."""
    made = SupplyRows()
    for t in range(table.types):
        slots = [c for c in range(len(table.slots)) if table.used[t, c]]
        gangs = [c for c in range(len(table.slots), table.columns) if table.used[t, c]]
        if slots or gangs:
            _type_rows(made, table, t, slots, gangs)
    return made


def _type_rows(
    made: SupplyRows, table: SizeTable, t: int, slots: Sequence[int], gangs: Sequence[int]
) -> None:
    base = t * table.columns
    sizes = [*table.slots, *table.gangs]
    pods = {left: int(n) for left, n in enumerate(table.pods[t].tolist()) if n and left}
    nodes = {left: int(n) for left, n in enumerate(table.nodes[t].tolist()) if n and left}
    whole, size = sum(left * n for left, n in pods.items()), int(table.node_size[t])
    used = [(base + c, sizes[c]) for c in gangs]  # whole nodes that gangs inside pods take
    if _is_chain([sizes[c] for c in gangs]):
        for c in gangs:
            k = sizes[c]
            terms = [(base + b, sizes[b] // k) for b in gangs if sizes[b] >= k]
            _add(made, terms, sum(n * (left // k) for left, n in pods.items()))
    else:
        _step_rows(made, table, t, gangs, pods, None)
    _add(made, used, whole)
    if _is_chain([sizes[c] for c in slots]):
        for c in slots:
            k = sizes[c]
            terms = [(base + b, sizes[b] // k) for b in slots if sizes[b] >= k]
            terms += [(v, nodes_each * (size // k)) for v, nodes_each in used]
            most = sum(n * (left // k) for left, n in nodes.items()) + whole * (size // k)
            _add(made, terms, most)
    else:
        _step_rows(made, table, t, slots, {**nodes, size: whole}, (size, used))


def _step_rows(
    made: SupplyRows,
    table: SizeTable,
    t: int,
    columns: Sequence[int],
    start: dict[int, int],
    also_used: tuple[int, list[tuple[int, int]]] | None,
) -> None:
    """Add steps from what is left to what remains, and rows that what leaves has come."""
    sizes = [*table.slots, *table.gangs]
    demands = table.used.size
    reached = dict(start)
    leaving: dict[int, list[int]] = {}
    coming: dict[int, list[int]] = {}
    cut: dict[int, list[int]] = {c: [] for c in columns}
    for left in range(max(start, default=0), 0, -1):
        n = reached.get(left, 0)
        if not n:
            continue
        for c in columns:
            if sizes[c] <= left:
                variable = demands + len(made.steps)
                made.steps.append(Step(t, c, left, n))
                leaving.setdefault(left, []).append(variable)
                coming.setdefault(left - sizes[c], []).append(variable)
                cut[c].append(variable)
                after = left - sizes[c]
                reached[after] = reached.get(after, 0) + n
    for left, out in leaving.items():
        terms = [(v, 1) for v in out] + [(v, -1) for v in coming.get(left, ())]
        if also_used is not None and left == also_used[0]:
            terms += also_used[1]
        _add(made, terms, start.get(left, 0))
    for c in columns:
        _add(made, [(t * table.columns + c, 1), *((v, -1) for v in cut[c])], 0, covers=True)


def _is_chain(sizes: Sequence[int]) -> bool:
    return all(b % a == 0 for a, b in pairwise(sizes))


def _add(
    made: SupplyRows, terms: Sequence[tuple[int, int]], limit: int, *, covers: bool = False
) -> None:
    if terms:
        made.rows.append(Row([v for v, _ in terms], [a for _, a in terms], limit, covers))
