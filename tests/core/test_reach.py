"""What the incremental look-ups say of free accelerators is what a count of them says."""

from __future__ import annotations

import numpy as np
from random_problems import random_problem

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.reach import Reach, Ways
from scheduler.core.run import Placement
from scheduler.policies.openings import Openings


def room_in(problem: Problem, free: list[int], mode: Mode, domain: int) -> bool:
    """Whether a domain has room for a gang, from the definition of slots."""
    for group in mode.groups:
        nodes = [
            n
            for p in problem.domains[domain].pools
            if problem.pools[p].type_index == group.type_index
            for n in problem.pools[p].nodes
        ]
        whole, rest = divmod(group.count, group.per_node)
        fits = False
        for host in nodes if rest else [None]:
            left = [free[n] - (rest if n == host else 0) for n in nodes]
            slots = sum(f // group.per_node for f in left)
            fits |= min(left, default=0) >= 0 and slots >= whole
        if not fits:
            return False
    return True


def holders(problem: Problem, free: list[int], mode: Mode, type_index: int) -> set[int]:
    """Pools of a type in a domain, or with a node, that holds the gang."""
    found = set()
    for p, pool in enumerate(problem.pools):
        if pool.type_index != type_index:
            continue
        if mode.level:
            able = room_in(problem, free, mode, pool.domains[mode.level - 1])
        else:
            able = any(free[n] >= mode.count for n in pool.nodes)
        if able:
            found.add(p)
    return found


def shake(rng: np.random.Generator, occupancy: Occupancy, held: list[Placement]) -> None:
    """Take, release, or lose and regain some nodes."""
    for _ in range(int(rng.integers(1, 4))):
        node = int(rng.integers(len(occupancy.free)))
        if rng.random() < 0.15 and not held:
            if node in occupancy.down:
                occupancy.set_up(node)
            else:
                occupancy.set_down(node)
        elif held and rng.random() < 0.45:
            occupancy.give(held.pop(int(rng.integers(len(held)))))
        elif occupancy.free[node]:
            count = int(rng.integers(1, occupancy.free[node] + 1))
            held.append(Placement((node,), (count,)))
            occupancy.take(held[-1])


def test_reach_is_what_counting_finds() -> None:
    asked = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 11])
        problem = random_problem(rng)
        layout = Layout(problem)
        occupancy = Occupancy(layout)
        ways = Ways(len(problem.types), problem.modes, by_power=bool(seed % 2))
        reach = Reach(layout, occupancy, ways)
        held: list[Placement] = []
        for _ in range(25):
            shake(rng, occupancy, held)
            if rng.random() < 0.2:  # a copy knows as much, and goes its own way
                twin = occupancy.copy()
                for modes in problem.modes:
                    for mode in modes:
                        assert (twin.find(mode) is None) == (occupancy.find(mode) is None)
            for t, here in enumerate(ways.of_type):
                for number, way in enumerate(here):
                    if rng.random() < 0.5:
                        continue  # what was not asked for a while is right all the same
                    mask = reach.where(t, number)
                    expected = holders(problem, occupancy.free, way.mode, t)
                    assert set(reach.pools(t, mask)) == expected, (seed, t, number)
                    asked += 1
    assert asked > 2000


def test_every_mode_is_one_of_the_ways_of_its_types() -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng([seed, 12]))
        ways = Ways(len(problem.types), problem.modes, by_power=True)
        for c, modes in enumerate(problem.modes):
            masks = dict(ways.of_table[c])
            for mode in modes:
                for t in {group.type_index for group in mode.groups}:
                    same = [
                        number
                        for number, way in enumerate(ways.of_type[t])
                        if (way.mode.level, way.mode.groups) == (mode.level, mode.groups)
                        and way.mode.power_w == mode.power_w
                    ]
                    assert len(same) == 1
                    assert masks[t] >> same[0] & 1
        for here in ways.of_type:
            assert [w.least for w in here] == sorted(w.least for w in here)
            assert all(w.kin >> number & 1 for number, w in enumerate(here))


def test_a_class_has_an_opening_where_one_of_its_modes_has_a_place() -> None:
    answers = []
    for seed in range(60):
        rng = np.random.default_rng([seed, 13])
        problem = random_problem(rng)
        occupancy = Occupancy(Layout(problem))
        openings = Openings(occupancy, problem.modes)
        held: list[Placement] = []
        for _ in range(25):
            shake(rng, occupancy, held)
            for c in rng.permutation(len(problem.modes)).tolist():
                expected = any(occupancy.find(mode) is not None for mode in problem.modes[c])
                assert openings.any_of(c) == expected, (seed, c)
                answers.append(expected)
    assert 0.1 < np.mean(answers) < 0.9
