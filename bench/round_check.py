"""Checks a round's answer from the definitions, with nothing of the solver's own code."""

from __future__ import annotations

from itertools import pairwise

from scheduler.solver.scale.columns import NODE, POD, Decision, Round


def violations(round_: Round, answer: Decision) -> list[str]:
    """Return what is wrong with an answer: legal gangs, one domain, capacity, value, bound."""
    fleet, options = round_.fleet, round_.options
    node_type, node_pod = fleet.node_type.tolist(), fleet.node_pod.tolist()
    size = fleet.node_size.tolist()
    left = fleet.node_free.tolist()
    first = options.first.tolist()
    asked_type, asked, level = (
        part.tolist() for part in (options.type_index, options.count, options.level)
    )
    bounds, nodes, counts = answer.first.tolist(), answer.nodes.tolist(), answer.counts.tolist()
    wrong = []
    value = 0.0
    for job, option in enumerate(answer.option.tolist()):
        held = list(
            zip(
                nodes[bounds[job] : bounds[job + 1]],
                counts[bounds[job] : bounds[job + 1]],
                strict=True,
            )
        )
        if option < 0:
            if held:
                wrong.append(f"job {job} does not start and holds nodes")
            continue
        if not first[job] <= option < first[job + 1]:
            wrong.append(f"job {job} has another job's option")
        value += float(options.utility[option])
        t = asked_type[option]
        if any(node_type[n] != t for n, _ in held):
            wrong.append(f"job {job} is on another type")
        if sum(count for _, count in held) != asked[option]:
            wrong.append(f"job {job} has not the accelerators it asked for")
        if len({n for n, _ in held}) != len(held) or any(count <= 0 for _, count in held):
            wrong.append(f"job {job} names a node twice or takes nothing of it")
        if level[option] == NODE and len(held) != 1:
            wrong.append(f"job {job} is not inside one node")
        if level[option] != NODE and any(count != size[t] for _, count in held):
            wrong.append(f"job {job} spans nodes and does not take whole ones")
        if level[option] == POD and len({node_pod[n] for n, _ in held}) != 1:
            wrong.append(f"job {job} is not inside one pod")
        for n, count in held:
            left[n] -= count
    wrong += [f"node {n} is overfull" for n, count in enumerate(left) if count < 0]
    if abs(value - answer.value) > 1e-9 * max(1.0, abs(value)):
        wrong.append(f"the value is {value}, not {answer.value}")
    if value > answer.bound * (1 + 1e-12) + 1e-12:
        wrong.append(f"the value {value} is above the bound {answer.bound}")
    if any(price < 0 for price in answer.prices.value.ravel().tolist()):
        wrong.append("a price is negative")
    bound = priced_bound(round_, answer)
    if abs(bound - answer.bound) > 1e-9 * max(1.0, bound):
        wrong.append(f"the prices prove {bound}, not {answer.bound}")
    return wrong


def priced_bound(round_: Round, answer: Decision) -> float:
    """Return the bound that the answer's prices prove, worked out node by node."""
    fleet, options, prices = round_.fleet, round_.options, answer.prices
    slot = {s: i for i, s in enumerate(prices.slots)}
    gang = {s: len(slot) + i for i, s in enumerate(prices.gangs)}
    table = prices.value.tolist()
    size = fleet.node_size.tolist()
    pods: dict[tuple[int, int], int] = {}
    total = 0.0
    types = range(len(size))
    by_room: list[list[float]] = [
        _knapsack(size[t], [(s, table[t][i]) for s, i in slot.items()]) for t in types
    ]
    partly: dict[int, int] = dict.fromkeys(types, 0)
    for t, pod, free in zip(
        fleet.node_type.tolist(), fleet.node_pod.tolist(), fleet.node_free.tolist(), strict=True
    ):
        if free == size[t]:
            pods[t, pod] = pods.get((t, pod), 0) + 1
        else:
            total += by_room[t][free]
            partly[t] = max(partly[t], free)
    most = {t: max((n for (u, _), n in pods.items() if u == t), default=0) for t in types}
    room = {
        t: _knapsack(
            most[t], [(1, by_room[t][size[t]]), *((s, table[t][i]) for s, i in gang.items())]
        )
        for t in types
    }
    whole = {t: sum(n for (u, _), n in pods.items() if u == t) for t in types}
    total += sum(room[t][n] for (t, _), n in pods.items())
    columns = zip(
        options.type_index.tolist(), options.count.tolist(), options.level.tolist(),
        options.utility.tolist(), strict=True,
    )  # fmt: skip
    surplus = []
    for t, count, level, utility in columns:
        nodes = count // size[t]
        if level == NODE:
            possible = count <= (size[t] if whole[t] else partly[t])
            cost = table[t][slot[count]] if possible and utility > 0 else 0.0
        elif level == POD and nodes > 1:
            possible = nodes <= most[t]
            cost = table[t][gang[nodes]] if possible and utility > 0 else 0.0
        else:
            possible = nodes <= whole[t]
            cost = nodes * table[t][slot[size[t]]] if possible and utility > 0 else 0.0
        surplus.append(utility - cost if possible else 0.0)
    first = options.first.tolist()
    for a, b in pairwise(first):
        total += max([0.0, *surplus[a:b]])
    return total


def _knapsack(room: int, items: list[tuple[int, float]]) -> list[float]:
    best = [0.0] * (room + 1)
    for left in range(1, room + 1):
        best[left] = max(
            [best[left - 1], *(best[left - s] + price for s, price in items if s <= left)]
        )
    return best
