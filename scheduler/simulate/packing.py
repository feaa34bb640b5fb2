"""Plays a packing policy over arrivals: one pod at a time, never retried, no departures.

Nodes in equal states share one score per kind of request. Each class of pods keeps its score
of every node; when a pod of the class arrives, only nodes whose state has changed since its
last pod are looked at again. So the work grows with what changes, not with the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import numpy as np

from scheduler.core.packing import ANY_TYPE, REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.core.random import stream
from scheduler.core.workload import FloatArray, IntArray
from scheduler.policies.packing import NodeState, PackingPolicy, Request, make
from scheduler.policies.packing.fragmentation import Fragmentation

Tie = Literal["lexical", "random"]

_NO_FIT: Final = -np.inf


def pack(
    problem: PackingProblem,
    arrivals: IntArray,
    policy: str | PackingPolicy,
    *,
    tie: Tie = "lexical",
    rank: IntArray | None = None,
    seed: int = 0,
) -> Packing:
    """Place arriving pods one after the other and return where they went.

    Parameters
    ----------
    problem : PackingProblem
        Nodes and pods.
    arrivals : ndarray of int64
        Positions in `problem.pods`, in order of arrival.
    policy : str or PackingPolicy
        A name of `scheduler.policies.packing`, or an instance of one's own.
    tie : {"lexical", "random"}
        Among nodes of equal score: that of lowest `rank`, or any with equal chance.
    rank : ndarray of int64 or None
        By node; None: by name.
    seed : int
        Seed of random ties and random policies.

    Returns
    -------
    Packing
        The same for the same arguments.

    Raises
    ------
    InputError
        If the policy name is unknown.
    """
    player = make(policy, problem) if isinstance(policy, str) else policy
    name = policy if isinstance(policy, str) else type(policy).__name__
    if rank is None:
        rank = np.argsort(np.argsort(np.array(problem.nodes.ids), kind="stable"))
    row_node = np.argsort(rank, kind="stable")
    at_random = tie == "random" or player.ties_at_random
    rng = stream(seed, "packing")
    cluster = _Cluster(problem, player, row_node)
    class_of, first = problem.pods.classes()
    classes = [_PodClass(problem, cluster, pod) for pod in first.tolist()]
    rows = np.full(len(arrivals), REFUSED, dtype=np.int64)
    held = np.zeros(len(arrivals), dtype=np.int64)
    for i, c in enumerate(class_of[arrivals].tolist()):
        pod_class = classes[c]
        scores = pod_class.scores_now()
        row = int(scores.argmax())
        best = scores[row]
        if best == _NO_FIT:
            continue
        if at_random:
            equal = np.flatnonzero(scores == best)
            row = int(equal[rng.integers(len(equal))])
        rows[i] = row
        held[i] = cluster.place(pod_class, row, rng)
    node = np.where(rows == REFUSED, REFUSED, row_node[rows])
    return Packing(arrivals, node, held, name, "random" if at_random else tie)


def fragmentation_milli(problem: PackingProblem, packing: Packing) -> FloatArray:
    """Return the fragmentation of all nodes after each arrival, in thousandths of one.

    See `scheduler.policies.packing.fragmentation`.
    """
    measure = Fragmentation(problem)
    nodes, pods = problem.nodes, problem.pods
    types = nodes.type_index.tolist()
    cpu = nodes.cpu_milli.tolist()
    free = [[WHOLE_MILLI] * n for n in nodes.accelerators.tolist()]
    of_node = [measure.of_parts(*node) for node in zip(types, cpu, free, strict=True)]
    total = sum(of_node)
    totals = []
    rows = (packing.arrivals, packing.node, packing.held)
    for pod, node, held in zip(*(column.tolist() for column in rows), strict=True):
        if node != REFUSED:
            cpu[node] -= int(pods.cpu_milli[pod])
            for g in range(len(free[node])):
                if held >> g & 1:
                    free[node][g] -= int(pods.share_milli[pod])
            now = measure.of_parts(types[node], cpu[node], sorted(free[node]))
            total += now - of_node[node]
            of_node[node] = now
        totals.append(total)
    return np.array(totals, dtype=np.float64)


class _Cluster:
    """What is left of every node, by row (nodes in the order in which they win ties)."""

    def __init__(self, problem: PackingProblem, policy: PackingPolicy, row_node: IntArray) -> None:
        nodes = problem.nodes
        self.policy = policy
        self.type_index = nodes.type_index[row_node]
        self.cpu: list[int] = nodes.cpu_milli[row_node].tolist()
        self.memory: list[int] = nodes.memory_bytes[row_node].tolist()
        counts: list[int] = nodes.accelerators[row_node].tolist()
        self.free = [(WHOLE_MILLI,) * n for n in counts]
        self.most = [WHOLE_MILLI if n else 0 for n in counts]  # free on the emptiest one
        self.whole = counts  # accelerators that nothing holds
        self.changes: list[int] = []  # rows, in order of placement
        self.states: list[NodeState] = []
        self._state_ids: dict[NodeState, int] = {}
        self._kinds: list[tuple[int, ...]] = [()] * len(counts)
        self.state = [self._state_id(row) for row in range(len(counts))]
        self.known: dict[Request, dict[int, float]] = {}  # scores by request and state

    def __len__(self) -> int:
        return len(self.cpu)

    def place(self, pod: _PodClass, row: int, rng: np.random.Generator) -> int:
        """Put a pod on a node and return the accelerators that it takes, as bits."""
        request = pod.request
        free = list(self.free[row])
        if request.shares:
            taken = [self.policy.pick(request, self.states[self.state[row]], rng)]
        else:
            unused = (g for g, left in enumerate(free) if left == WHOLE_MILLI)
            taken = [g for g, _ in zip(unused, range(request.accelerators), strict=False)]
        for g in taken:
            free[g] -= request.share_milli
        self.free[row] = tuple(free)
        self.most[row] = max(free, default=0)
        self.whole[row] = free.count(WHOLE_MILLI)
        self.cpu[row] -= request.cpu_milli
        self.memory[row] -= pod.memory_bytes
        if taken and self.policy.looks_at_kinds:
            self._kinds[row] = tuple(sorted({*self._kinds[row], request.kind}))
        self.state[row] = self._state_id(row)
        self.changes.append(row)
        return sum(1 << g for g in taken)

    def _state_id(self, row: int) -> int:
        type_index = int(self.type_index[row])
        state = NodeState(type_index, self.cpu[row], self.free[row], self._kinds[row])
        found = self._state_ids.setdefault(state, len(self.states))
        if found == len(self.states):
            self.states.append(state)
        return found


class _PodClass:
    """Pods that ask for the same, and their score of every node."""

    def __init__(self, problem: PackingProblem, cluster: _Cluster, pod: int) -> None:
        pods = problem.pods
        self.request = Request(
            int(pods.cpu_milli[pod]), int(pods.accelerators[pod]), int(pods.share_milli[pod])
        )
        self.memory_bytes = int(pods.memory_bytes[pod])
        self._cluster = cluster
        self._scores = np.full(len(cluster), _NO_FIT)
        self._known = cluster.known.setdefault(self.request, {})
        self._seen = -1  # placements looked at; -1: not even the first state of the nodes
        self._may_use: list[bool] | None = None  # None: every node
        allowed = int(pods.allowed[pod])
        if self.request.accelerators and allowed != ANY_TYPE:
            bits = np.where(cluster.type_index < 0, 0, 1 << np.maximum(cluster.type_index, 0))
            self._may_use = (bits & allowed > 0).tolist()

    def scores_now(self) -> FloatArray:
        """Return the score of every row, -inf where the pod does not fit."""
        cluster, scores = self._cluster, self._scores
        changes = cluster.changes
        rows: Iterable[int] = range(len(cluster))
        if self._seen >= 0:
            rows = dict.fromkeys(changes[self._seen :])
        self._seen = len(changes)
        need_cpu, need_memory = self.request.cpu_milli, self.memory_bytes
        room, need = cluster.whole, self.request.accelerators
        if self.request.shares:
            room, need = cluster.most, self.request.share_milli
        cpu, memory, state, known = cluster.cpu, cluster.memory, cluster.state, self._known
        may_use = self._may_use
        for row in rows:
            if (
                cpu[row] < need_cpu
                or room[row] < need
                or memory[row] < need_memory
                or (may_use is not None and not may_use[row])
            ):
                scores[row] = _NO_FIT
                continue
            score = known.get(state[row])
            if score is None:
                node = cluster.states[state[row]]
                score = known[state[row]] = cluster.policy.score(self.request, node)
            scores[row] = score
        return scores
