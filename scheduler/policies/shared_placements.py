"""The published scores of GPU-sharing studies, for jobs that share accelerators.

Where some class of a workload asks for a share of an accelerator, the rules of
`scheduler.policies.packing_placements` go by the scores of `scheduler.policies.packing` for
everything that one node holds, on every node that has room, and take the accelerator that the
score's study would. Gangs over several nodes, which those studies do not know, keep the
preferences of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import numpy as np

from scheduler.core.occupancy import Occupancy
from scheduler.core.packing import ANY_TYPE, PackingNodes, PackingProblem, Pods
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.sharing import SharedOccupancy, placed
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import IntArray
from scheduler.policies.packing import NodeState, PackingPolicy, Request, make
from scheduler.policies.placements import Found, Place
from scheduler.policies.view import View

_SAME: Final = 1e-9
"""Rates that differ by less are equally fast."""


class Published:
    """A published score where jobs share accelerators, and another rule where none does.

    Parameters
    ----------
    name : str
        A name of `scheduler.policies.packing`.
    gangs : callable
        The rule for gangs over several nodes, and for problems without shares.
    """

    TRANSIENT: Final = ("_score", "_known")

    def __init__(self, name: str, gangs: Place) -> None:
        self._name = name
        self._gangs = gangs
        self._score: PackingPolicy | None = None
        self._known: dict[tuple[Request, NodeState], float] = {}

    def __call__(self, view: View, job: int, occupancy: Occupancy | None) -> Found | None:
        """Return the fastest mode with room, and of equally fast ones the best place."""
        modes = view.modes(job)
        if not view.problem.shares or any(m.level or len(m.groups) > 1 for m in modes):
            return self._gangs(view, job, occupancy)
        where = view.usable(job, occupancy)
        assert isinstance(where, SharedOccupancy)
        used = _Used(view, occupancy)
        order = sorted(range(len(modes)), key=lambda m: (-modes[m].rate, m))
        for _, alike in groupby(order, key=lambda m: math.floor(math.log(modes[m].rate) / _SAME)):
            best: tuple[float, int, int, Placement] | None = None
            for m in alike:
                if not view.permits(job, m):
                    continue
                for score, node, place in self._places(view, job, modes[m], where, used):
                    rank = (-score, node, m, place)
                    if (best is None or rank[:3] < best[:3]) and view.power_allows(modes[m], place):
                        best = rank
            if best is not None:
                return best[2], best[3]
        return None

    def _places(
        self, view: View, job: int, mode: Mode, where: SharedOccupancy, used: _Used
    ) -> Iterator[tuple[float, int, Placement]]:
        """Yield score, node and place of a mode for every node that has room."""
        if self._score is None:
            self._score = make(self._name, as_packing(view.problem))
        layout, score = where.layout, self._score
        request = _request(view.problem, view.class_of(job), mode)
        for pool in layout.type_pools[mode.type_index]:
            for node in layout.pool_nodes[pool]:
                if not _has_room(where, mode, node):
                    continue
                state, devices = used.state(mode.type_index, node, score)
                points = self._known.get((request, state))
                if points is None:
                    points = self._known[request, state] = score.score(request, state)
                place: Placement = layout.single(node, mode.count)
                if request.shares:
                    picked = score.pick(request, _within(state, mode, where, node, devices), _NONE)
                    own = picked >= len(devices)
                    place = where.opened(mode, node) if own else placed(mode, node, devices[picked])
                yield points, node, place


class _Used:
    """What is taken of every node: accelerators as planned, CPUs and kinds of jobs at present."""

    def __init__(self, view: View, occupancy: Occupancy | None) -> None:
        problem = view.problem
        where = view.occupancy if occupancy is None else occupancy
        assert isinstance(where, SharedOccupancy)
        self._where = where
        self._nodes = problem.cluster.nodes
        self._cpu_milli: dict[int, int] = {}
        self._kinds: dict[int, set[int]] = {}
        for job, running in view.running.items():
            c = view.class_of(job)
            mode, place = problem.modes[c][running.mode], running.placement
            each = problem.workload.classes[c].cpus
            for node, count in zip(place.nodes, place.counts, strict=True):
                taken = self._cpu_milli.get(node, 0) + round(WHOLE_MILLI * each * count)
                self._cpu_milli[node] = taken
                kind = Request(0, count, mode.share_milli).kind
                self._kinds.setdefault(node, set()).add(kind)

    def state(
        self, type_index: int, node: int, score: PackingPolicy
    ) -> tuple[NodeState, list[int]]:
        """Return the state of a node, and the numbers of its open accelerators, which come first.

        Behind them come those that are free, then those that are taken.
        """
        opened = [(device, room) for device, room, _ in self._where.open_on(node)]
        whole, size = self._where.free[node], self._nodes[node].count
        free = [room for _, room in opened] + [WHOLE_MILLI] * whole
        free += [0] * (size - len(free))
        left = _cpu_milli(self._nodes[node].cpus) - self._cpu_milli.get(node, 0)
        kinds = tuple(sorted(self._kinds.get(node, ()))) if score.looks_at_kinds else ()
        state = NodeState(type_index, max(0, left), tuple(free), kinds)
        return state, [device for device, _ in opened]


_NONE: Final = np.random.default_rng(0)  # these scores leave nothing to chance


def _has_room(where: SharedOccupancy, mode: Mode, node: int) -> bool:
    if mode.share_milli == WHOLE_MILLI:
        return where.free[node] >= mode.count
    return where.seat(mode, where.layout.single(node, 1)) is not None


def _within(
    state: NodeState, mode: Mode, where: SharedOccupancy, node: int, devices: list[int]
) -> NodeState:
    """Return the state without the accelerators whose memory, or whose node, has no room."""
    memory = {device: left for device, _, left in where.open_on(node)}
    able = where.usable(node)
    free = [
        0 if i < len(devices) and not (able and memory[devices[i]] >= mode.memory_bytes) else left
        for i, left in enumerate(state.free_milli)
    ]
    if not where.free[node]:  # what is free is not for this job
        free = [left if i < len(devices) else 0 for i, left in enumerate(free)]
    return state._replace(free_milli=tuple(free))


def _cpu_milli(cpus: float) -> int:
    return round(WHOLE_MILLI * cpus) if math.isfinite(cpus) else 0


def _request(problem: Problem, class_index: int, mode: Mode) -> Request:
    each = problem.workload.classes[class_index].cpus
    slot = mode.count if mode.level == 0 else mode.groups[0].per_node
    return Request(round(WHOLE_MILLI * each * slot), slot, mode.share_milli)


def as_packing(problem: Problem) -> PackingProblem:
    """Return the nodes of a problem, and its jobs as pods: what a job has on one node.

    CPUs that no node limits do not count; jobs that cannot run are left out.
    """
    nodes = problem.cluster.nodes
    type_of = {name: t for t, name in enumerate(problem.types)}
    requests: dict[int, tuple[Request, int]] = {}
    for c, modes in enumerate(problem.modes):
        if modes:
            types = sorted({g.type_index for m in modes for g in m.groups})
            every = len(types) == len(problem.types)
            allowed = ANY_TYPE if every else sum(1 << t for t in types)
            least = min(modes, key=lambda m: m.groups[0].per_node)
            requests[c] = _request(problem, c, least), allowed
    classes = problem.workload.jobs.class_index.tolist()
    rows = [requests[c] for c in classes if c in requests]
    return PackingProblem(
        problem.workload.name,
        problem.types,
        PackingNodes(
            tuple(node.id for node in nodes),
            _column([type_of[node.accelerator] for node in nodes]),
            _column([node.count for node in nodes]),
            _column([_cpu_milli(node.cpus) for node in nodes]),
            _column([0] * len(nodes)),
        ),
        Pods(
            tuple(str(i) for i in range(len(rows))),
            _column([request.cpu_milli for request, _ in rows]),
            _column([0] * len(rows)),
            _column([request.accelerators for request, _ in rows]),
            _column([request.share_milli for request, _ in rows]),
            _column([allowed for _, allowed in rows]),
            ("",) * len(rows),
        ),
    )


def _column(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)
