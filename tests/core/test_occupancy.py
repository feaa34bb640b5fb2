"""The occupancy finds a placement exactly where one exists, and its counts stay true."""

from __future__ import annotations

import numpy as np
from random_problems import random_problem

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement


def exists(problem: Problem, free: list[int], mode: Mode) -> bool:
    """Whether a legal placement exists, from the definition of slots (one group)."""
    (group,) = mode.groups
    if mode.level == 0:
        pools = [p for p in problem.pools if p.type_index == group.type_index]
        return any(free[n] >= group.count for p in pools for n in p.nodes)
    whole, rest = divmod(group.count, group.per_node)
    for domain in problem.domains:
        if domain.level != mode.level:
            continue
        nodes = [
            n
            for p in domain.pools
            if problem.pools[p].type_index == group.type_index
            for n in problem.pools[p].nodes
        ]
        for host in nodes if rest else [None]:
            left = {n: free[n] - (rest if n == host else 0) for n in nodes}
            if min(left.values(), default=0) >= 0 and (
                sum(f // group.per_node for f in left.values()) >= whole
            ):
                return True
    return False


def legal(problem: Problem, mode: Mode, placement: Placement) -> bool:
    pool_of = {n: p for p in problem.pools for n in p.nodes}
    (group,) = mode.groups
    if any(pool_of[n].type_index != group.type_index for n in placement.nodes):
        return False
    if sum(placement.counts) != group.count:
        return False
    if mode.level == 0:
        return len(placement.nodes) == 1
    if len({pool_of[n].domains[mode.level - 1] for n in placement.nodes}) != 1:
        return False
    rest = group.count % group.per_node
    odd = [c % group.per_node for c in placement.counts if c % group.per_node]
    return odd == ([rest] if rest else [])


def test_find_agrees_with_the_definition() -> None:
    tried = found = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng)
        occupancy = Occupancy(Layout(problem))
        held: list[Placement] = []
        modes = [m for ms in problem.modes for m in ms if len(m.groups) == 1]
        for _ in range(25):
            if not modes:
                break
            if held and rng.random() < 0.3:
                occupancy.give(held.pop(int(rng.integers(len(held)))))
                continue
            mode = modes[int(rng.integers(len(modes)))]
            fit = "first" if rng.random() < 0.5 else "best"
            placement = occupancy.find(mode, fit)
            tried += 1
            assert (placement is not None) == exists(problem, occupancy.free, mode), seed
            if placement is not None:
                found += 1
                assert legal(problem, mode, placement), seed
                occupancy.take(placement)
                held.append(placement)
            _check_counts(problem, occupancy)
    assert tried > 1000
    assert found > 300


def test_nodes_go_down_and_come_back() -> None:
    problem = random_problem(np.random.default_rng(3))
    occupancy = Occupancy(Layout(problem))
    before = occupancy.copy()
    for node in range(len(problem.cluster.nodes)):
        occupancy.set_down(node)
        _check_counts(problem, occupancy)
    assert sum(occupancy.type_free) == 0
    for node in range(len(problem.cluster.nodes)):
        occupancy.set_up(node)
    _check_counts(problem, occupancy)
    assert occupancy.free == before.free
    assert occupancy.masks == before.masks


def test_free_time_is_the_sum_over_instants() -> None:
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        problem = random_problem(rng)
        occupancy = Occupancy(Layout(problem))
        nodes = [n for n, free in enumerate(occupancy.free) if free]
        summed = [0] * len(problem.pools)
        for now_us in np.cumsum(rng.integers(0, 1000, 30)).tolist():
            elapsed = now_us - occupancy.now_us
            summed = [s + f * elapsed for s, f in zip(summed, occupancy.pool_free, strict=True)]
            occupancy.now_us = now_us
            assert [occupancy.free_us(p, now_us) for p in range(len(summed))] == summed
            node = nodes[int(rng.integers(len(nodes)))]
            if node in occupancy.down:
                occupancy.set_up(node)
            elif rng.random() < 0.2:
                occupancy.set_down(node)
            elif occupancy.free[node]:
                occupancy.take(
                    Placement((node,), (int(rng.integers(1, occupancy.free[node] + 1)),))
                )
            else:
                occupancy.withhold(node, -1)


def _check_counts(problem: Problem, occupancy: Occupancy) -> None:
    for p, pool in enumerate(problem.pools):
        up = [n for n in pool.nodes if n not in occupancy.down]
        first = occupancy.layout.first_mask[p]
        exactly = dict(occupancy.by_free(p))
        for f in range(pool.size + 2):
            nodes = [(i, occupancy.free[n]) for i, n in enumerate(pool.nodes) if n in up]
            assert occupancy.masks[first + f] == sum(1 << i for i, free in nodes if free >= f)
            if f:
                assert exactly.get(f, 0) == sum(1 << i for i, free in nodes if free == f)
        assert occupancy.pool_free[p] == sum(occupancy.free[n] for n in up)
    for t in range(len(problem.types)):
        pools = [p for p, pool in enumerate(problem.pools) if pool.type_index == t]
        assert occupancy.type_free[t] == sum(occupancy.pool_free[p] for p in pools)
