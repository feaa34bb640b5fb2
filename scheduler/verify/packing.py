"""Checks a packing against its problem: room on every node and accelerator, allowed types.

Sums over columns, sharing no code with what places the pods. With `online`, pods are also
replayed in order, to see that none was refused which fitted somewhere at its arrival.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scheduler.core.packing import ANY_TYPE, REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.core.run import Violation
from scheduler.core.workload import IntArray


def verify_packing(
    problem: PackingProblem, arrivals: IntArray, packing: Packing, *, online: bool = False
) -> list[Violation]:
    """Return every broken rule; empty for a legal packing.

    Parameters
    ----------
    problem : PackingProblem
        Nodes and pods.
    arrivals : ndarray of int64
        Pods that arrived, in order. The packing must answer each once.
    packing : Packing
        To check.
    online : bool
        Whether each pod had to be placed at its arrival if it fitted anywhere.

    Notes
    -----
    Codes: ``arrivals``, ``unknown_node``, ``accelerators`` (number or place of those held),
    ``type``, ``cpu``, ``memory``, ``share`` (one accelerator holds more than it has; whole
    ones are shared with nobody) and ``refused``.
    """
    found = list(_one_answer_each(problem, arrivals, packing))
    if found:
        return found
    placed = np.flatnonzero(packing.node != REFUSED)
    pod, node, held = packing.arrivals[placed], packing.node[placed], packing.held[placed]
    found += _held(problem, pod, node, held)
    found += _types(problem, pod, node)
    found += _room(problem, pod, node)
    found += _shares(problem, pod, node, held)
    if online and not found:
        found += _refused(problem, packing)
    return found


def _one_answer_each(
    problem: PackingProblem, arrivals: IntArray, packing: Packing
) -> Iterator[Violation]:
    """``arrivals``, ``unknown_node``: one answer for each pod that arrived, on a known node."""
    lengths = {len(arrivals), len(packing.arrivals), len(packing.node), len(packing.held)}
    if len(lengths) > 1 or not np.array_equal(arrivals, packing.arrivals):
        yield Violation("arrivals", "the packing does not answer the pods that arrived")
        return
    known = (packing.node == REFUSED) | (
        (packing.node >= 0) & (packing.node < len(problem.nodes.ids))
    )
    for i in np.flatnonzero(~known).tolist():
        name = problem.pods.ids[int(packing.arrivals[i])]
        yield Violation("unknown_node", f"arrival {i} is on node {packing.node[i]}", name)
    for i in np.flatnonzero((packing.node == REFUSED) & (packing.held != 0)).tolist():
        name = problem.pods.ids[int(packing.arrivals[i])]
        yield Violation("accelerators", f"arrival {i} was refused but holds accelerators", name)


def _held(
    problem: PackingProblem, pod: IntArray, node: IntArray, held: IntArray
) -> Iterator[Violation]:
    """``accelerators``: each pod holds as many as it asks for, and only such as there are."""
    for p, n, bits in zip(pod.tolist(), node.tolist(), held.tolist(), strict=True):
        wanted = int(problem.pods.accelerators[p])
        here = int(problem.nodes.accelerators[n])
        if bits < 0 or bits >> here or bits.bit_count() != wanted:
            text = f"holds accelerators {bits:#b} of {here}, asks for {wanted}"
            yield Violation("accelerators", text, problem.pods.ids[p], problem.nodes.ids[n])


def _types(problem: PackingProblem, pod: IntArray, node: IntArray) -> Iterator[Violation]:
    """``type``: pods that name types are on nodes of these."""
    allowed = problem.pods.allowed[pod]
    type_index = problem.nodes.type_index[node]
    asks = (problem.pods.accelerators[pod] > 0) & (allowed != ANY_TYPE)
    may = (type_index >= 0) & ((allowed >> np.maximum(type_index, 0)) & 1 == 1)
    for i in np.flatnonzero(asks & ~may).tolist():
        here = problem.types[int(type_index[i])] if type_index[i] >= 0 else "no accelerators"
        text = f"on {here}, allowed: {problem.pods.constraint[int(pod[i])]}"
        node_id = problem.nodes.ids[int(node[i])]
        yield Violation("type", text, problem.pods.ids[int(pod[i])], node_id)


def _room(problem: PackingProblem, pod: IntArray, node: IntArray) -> Iterator[Violation]:
    """``cpu``, ``memory``: what the pods of a node ask for is there."""
    pods, nodes = problem.pods, problem.nodes
    for code, unit, asked, there in (
        ("cpu", "milli-cores", pods.cpu_milli, nodes.cpu_milli),
        ("memory", "bytes", pods.memory_bytes, nodes.memory_bytes),
    ):
        used = np.zeros(len(nodes.ids), dtype=np.int64)
        np.add.at(used, node, asked[pod])
        for n in np.flatnonzero(used > there).tolist():
            text = f"{used[n]} {unit} used of {there[n]}"
            yield Violation(code, text, "", nodes.ids[n])


def _shares(
    problem: PackingProblem, pod: IntArray, node: IntArray, held: IntArray
) -> Iterator[Violation]:
    """``share``: no accelerator holds more than it has."""
    for g in range(int(problem.nodes.accelerators.max(initial=0))):
        used = np.zeros(len(problem.nodes.ids), dtype=np.int64)
        np.add.at(used, node, np.where((held >> g) & 1 == 1, problem.pods.share_milli[pod], 0))
        for n in np.flatnonzero(used > WHOLE_MILLI).tolist():
            text = f"{used[n]} of {WHOLE_MILLI} used on accelerator {g}"
            yield Violation("share", text, "", problem.nodes.ids[n])


def _refused(problem: PackingProblem, packing: Packing) -> Iterator[Violation]:
    """``refused``: nothing was refused that fitted on some node when it arrived."""
    pods, nodes = problem.pods, problem.nodes
    cpu, memory = nodes.cpu_milli.copy(), nodes.memory_bytes.copy()
    slots = np.arange(int(nodes.accelerators.max(initial=0)))
    free = np.where(slots < nodes.accelerators[:, None], WHOLE_MILLI, 0)
    type_bit = np.where(nodes.type_index < 0, 0, np.int64(1) << np.maximum(nodes.type_index, 0))
    rows = (packing.arrivals, packing.node, packing.held)
    for pod, node, held in zip(*(column.tolist() for column in rows), strict=True):
        share = pods.share_milli[pod]
        if node != REFUSED:
            cpu[node] -= pods.cpu_milli[pod]
            memory[node] -= pods.memory_bytes[pod]
            free[node] -= np.where((held >> slots) & 1 == 1, share, 0)
            continue
        fits = (cpu >= pods.cpu_milli[pod]) & (memory >= pods.memory_bytes[pod])
        if pods.accelerators[pod]:
            fits &= (free >= share).sum(axis=1) >= pods.accelerators[pod]
            if pods.allowed[pod] != ANY_TYPE:
                fits &= (type_bit & pods.allowed[pod]) != 0
        if fits.any():
            where = nodes.ids[int(fits.argmax())]
            text = f"refused, though it fitted on {int(fits.sum())} nodes"
            yield Violation("refused", text, pods.ids[pod], where)
