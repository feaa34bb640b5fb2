"""Open accelerators against a list of what each has left, kept in the plainest way."""

from __future__ import annotations

import numpy as np
from random_problems import fleet, workload

from scheduler.core.occupancy import Layout
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import SharePlacement
from scheduler.core.sharing import SharedOccupancy
from scheduler.core.workload import JobClass, RunTimePhysics

LEVELS = ("node", "pod", "site", "fleet")
MEMORY = 80 * 10**9


def problem_of(pods: list[list[tuple[str, int]]]) -> Problem:
    cluster, names, domains, pools = fleet(pods)
    kind = JobClass("c", RunTimePhysics(), (1,), share_milli=500)
    jobs = workload((kind,), [], [], [])
    return Problem(cluster, jobs, names, LEVELS, domains, pools, ((),))


def share(type_index: int, milli: int, memory_bytes: int) -> Mode:
    return Mode(
        *((Group(type_index, 1, 1),), 0, 1.0, 1.0, 100.0),
        memory_bytes=memory_bytes, share_milli=milli,
    )  # fmt: skip


class Plain:
    """Devices of each node, as (thousandths, bytes, whether it is held whole)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.left: list[dict[int, tuple[int, int]]] = [{} for _ in problem.cluster.nodes]
        self.free = [node.count for node in problem.cluster.nodes]

    def fits(self, node: int, device: int, mode: Mode) -> bool:
        room, memory = self.left[node][device]
        return room >= mode.share_milli and memory >= mode.memory_bytes

    def best(self, mode: Mode) -> tuple[int, int, int, int] | None:
        """Return room, memory, pool and node of the tightest open accelerator with room."""
        return min(
            (
                (*self.left[node][device], p, node)
                for p, pool in enumerate(self.problem.pools)
                if pool.type_index == mode.type_index
                for node in pool.nodes
                for device in self.left[node]
                if self.fits(node, device, mode)
            ),
            default=None,
        )

    def change(self, place: SharePlacement, sign: int) -> None:
        node = place.nodes[0]
        if place.device not in self.left[node]:
            self.left[node][place.device] = (1000, MEMORY)
            self.free[node] -= 1
        room, memory = self.left[node][place.device]
        now = room - sign * place.share_milli, memory - sign * place.memory_bytes
        self.left[node][place.device] = now
        if now == (1000, MEMORY):
            del self.left[node][place.device]
            self.free[node] += 1


def test_the_tightest_is_found_and_what_is_left_is_right() -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        pods = [
            [("AB"[int(rng.integers(2))], int(rng.integers(1, 5))) for _ in range(3)]
            for _ in range(2)
        ]
        problem = problem_of(pods)
        occupancy, plain = SharedOccupancy(Layout(problem)), Plain(problem)
        held: list[SharePlacement] = []
        for _ in range(60):
            if held and rng.random() < 0.4:
                place = held.pop(int(rng.integers(len(held))))
                occupancy.give(place)
                plain.change(place, -1)
            else:
                milli = int(rng.choice([1, 100, 300, 333, 500, 600, 999]))
                memory = int(rng.choice([0, MEMORY * milli // 1000, MEMORY // 2]))
                mode = share(int(rng.integers(len(problem.types))), milli, memory)
                place = occupancy.find(mode)
                first = occupancy.find(mode, "first")
                expected = plain.best(mode)
                free = [
                    n
                    for pool in problem.pools
                    if pool.type_index == mode.type_index
                    for n in pool.nodes
                    if plain.free[n]
                ]
                assert (place is None) == (first is None) == (expected is None and not free)
                assert occupancy.holds(mode) == (place is not None)
                if place is None:
                    continue
                assert isinstance(place, SharePlacement)
                if expected is None:
                    least = min(plain.free[n] for n in free)
                    assert plain.free[place.nodes[0]] == least
                    assert place.device not in plain.left[place.nodes[0]]
                else:
                    assert plain.left[place.nodes[0]][place.device] == expected[:2]
                assert place.device < problem.cluster.nodes[place.nodes[0]].count
                occupancy.take(place)
                plain.change(place, 1)
                held.append(place)
            assert occupancy.free == plain.free
            for pool in range(len(problem.pools)):
                rests = sum(
                    room for n in problem.pools[pool].nodes for room, _ in plain.left[n].values()
                )
                assert occupancy.pool_rest[pool] == rests
            twin = occupancy.copy()
            for place in held:
                twin.give(place)
            assert twin.free == [node.count for node in problem.cluster.nodes]
            assert not any(twin.pool_rest)


def test_nothing_starts_on_the_rest_of_a_node_that_is_down_or_closed() -> None:
    problem = problem_of([[("A", 1), ("A", 1)]])
    occupancy = SharedOccupancy(Layout(problem))
    mode = share(0, 300, 0)
    place = occupancy.find(mode)
    assert place is not None
    occupancy.take(place)
    assert occupancy.find(mode).nodes == place.nodes  # type: ignore[union-attr]
    closed = occupancy.copy()
    closed.close(place.nodes[0])
    occupancy.set_down(place.nodes[0])
    for where in (closed, occupancy):
        assert where.find(mode).nodes != place.nodes  # type: ignore[union-attr]
        assert not where.fits(place)
        assert where.type_rest == [0]
        assert where.pool_rest == [700]
    assert occupancy.closed_rest == [700]
    occupancy.set_up(place.nodes[0], 0)
    assert occupancy.find(mode).nodes == place.nodes  # type: ignore[union-attr]
    assert occupancy.closed_rest == [0]
    occupancy.give(place)
    assert occupancy.free == [1, 1]
