"""Chains of segments: machines that hold the same layers and share the flow.

A segment is a multiset of machines and the most layers at which their rates still sum to the
flow. Which segments make up a chain is a small integer program over counts; their order, and
which machine of a group stands where, is settled afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.solver.spread.groups import Group

MOST_MACHINES = 5
"""Machines of one segment."""

MOST_SEGMENT_KINDS = 6000
_DETERMINISTIC_TIME = 0.15


@dataclass(frozen=True, slots=True)
class Segment:
    """Machines that hold the same `layers`.

    Parameters
    ----------
    counts : tuple of (int, int)
        (group, machines) pairs, by group.
    layers : int
        Held by each of them.
    """

    counts: tuple[tuple[int, int], ...]
    layers: int

    @property
    def machines(self) -> int:
        """Machines of the segment."""
        return sum(n for _, n in self.counts)

    def flow(self, groups: Sequence[Group]) -> float:
        """Return the sum of its machines' rates."""
        return sum(n * groups[g].rate(self.layers) for g, n in self.counts)


@dataclass(frozen=True, slots=True)
class Junction:
    """Two segments of different regions whose links carry the flow from one to the other.

    Parameters
    ----------
    senders, receivers : tuple of int
        Machines of the last segment of a region and of the first one of the next.
    sender_layers, receiver_layers : int
        What each of them holds.
    uses : tuple of (int, int)
        (group, machines) pairs of both.
    """

    senders: tuple[int, ...]
    receivers: tuple[int, ...]
    sender_layers: int
    receiver_layers: int
    uses: tuple[tuple[int, int], ...]

    @property
    def layers(self) -> int:
        """Layers of both segments."""
        return self.sender_layers + self.receiver_layers


@dataclass(frozen=True, slots=True)
class Chain:
    """Segments with how often each occurs, and one junction per crossing."""

    segments: tuple[tuple[Segment, int], ...]
    junctions: tuple[Junction, ...]

    @property
    def depth(self) -> int:
        """Segments in the chain."""
        return sum(n for _, n in self.segments) + 2 * len(self.junctions)


def segments_at(groups: Sequence[Group], flow: float) -> list[Segment]:
    """Return the segments inside one region that carry `flow`, without superfluous machines."""
    found: list[Segment] = []
    for region in sorted({g.region for g in groups}):
        inside = [i for i, g in enumerate(groups) if g.region == region]
        _Multisets(groups, inside, flow).collect(found)
    return found


class _Multisets:
    """Enumerates multisets of machines of one region."""

    def __init__(self, groups: Sequence[Group], inside: Sequence[int], flow: float) -> None:
        self.groups = groups
        self.inside = inside
        self.flow = flow
        self.layers: dict[tuple[int, ...], int] = {}

    def collect(self, found: list[Segment]) -> None:
        """Append the segments that no machine can leave without losing layers."""
        for size in range(1, MOST_MACHINES + 1):
            self._visit(0, [], size)
            if len(self.layers) > MOST_SEGMENT_KINDS:
                break
        for counts, layers in self.layers.items():
            if layers and not self._superfluous(counts, layers):
                held = tuple((self.inside[i], n) for i, n in enumerate(counts) if n)
                found.append(Segment(held, layers))

    def _visit(self, at: int, counts: list[int], left: int) -> None:
        if at == len(self.inside):
            if not left:
                self.layers[tuple(counts)] = self._most_layers(counts)
            return
        room = len(self.groups[self.inside[at]].machines)
        last = at == len(self.inside) - 1
        for n in range(left if last else 0, min(left, room) + 1):
            counts.append(n)
            self._visit(at + 1, counts, left - n)
            counts.pop()

    def _most_layers(self, counts: Sequence[int]) -> int:
        held = [(self.groups[self.inside[i]], n) for i, n in enumerate(counts) if n]
        most = min(len(g.rates) for g, _ in held)
        for layers in range(most, 0, -1):
            if sum(n * g.rate(layers) for g, n in held) >= self.flow:
                return layers
        return 0

    def _superfluous(self, counts: tuple[int, ...], layers: int) -> bool:
        for i, n in enumerate(counts):
            if n:
                fewer = (*counts[:i], n - 1, *counts[i + 1 :])
                if self.layers.get(fewer, 0) >= layers:
                    return True
        return False


def chain_at(
    groups: Sequence[Group],
    segments: Sequence[Segment],
    layers: int,
    *,
    junctions: Sequence[Sequence[Junction]] = (),
    most_depth: int | None = None,
    shortest: bool = False,
) -> Chain | None:
    """Return a chain that covers `layers`, or None where none is found.

    Parameters
    ----------
    groups : sequence of Group
        Machines.
    segments : sequence of Segment
        What the chain may be made of.
    layers : int
        Of the model.
    junctions : sequence of sequence of Junction
        By crossing: one of them is taken.
    most_depth : int or None
        Stages permitted.
    shortest : bool
        Look for the fewest stages.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    times = [
        model.new_int_var(0, min(len(groups[g].machines) // n for g, n in s.counts), "")
        for s in segments
    ]
    taken = [[model.new_bool_var("") for _ in options] for options in junctions]
    for options in taken:
        if not options:
            return None
        model.add_exactly_one(options)
    flat = [
        (b, j) for bs, js in zip(taken, junctions, strict=True) for b, j in zip(bs, js, strict=True)
    ]
    for g, group in enumerate(groups):
        used = [(x, n) for x, s in zip(times, segments, strict=True) for h, n in s.counts if h == g]
        used += [(b, n) for b, j in flat for h, n in j.uses if h == g]
        if used:
            held = cp_model.LinearExpr.weighted_sum([v for v, _ in used], [n for _, n in used])
            model.add(held <= len(group.machines))
    parts = [(x, s.layers) for x, s in zip(times, segments, strict=True)]
    parts += [(b, j.layers) for b, j in flat]
    covered = cp_model.LinearExpr.weighted_sum([v for v, _ in parts], [n for _, n in parts])
    model.add(covered >= layers)
    depth = cp_model.LinearExpr.sum(times) + 2 * len(junctions)
    if most_depth is not None:
        model.add(depth <= most_depth)
    if shortest:
        model.minimize(depth)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = _DETERMINISTIC_TIME
    solver.parameters.symmetry_level = 0
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    chosen = [(s, solver.value(x)) for s, x in zip(segments, times, strict=True)]
    crossings = [j for b, j in flat if solver.value(b)]
    return Chain(tuple((s, n) for s, n in chosen if n), tuple(crossings))
