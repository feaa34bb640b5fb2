"""A round at scale equals brute force on small instances, and its bound holds everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.round_check import priced_bound, violations
from bench.round_peers import by_node
from scheduler.solver.scale.columns import NODE, POD, SPAN, Decision, Fleet, Options, Round
from scheduler.solver.scale.deciding import decide
from scheduler.solver.scale.prices import bound_at
from scheduler.solver.scale.rows import lifted, supply, tables


def small_round(rng: np.random.Generator, *, most_jobs: int, odd: bool) -> Round:
    """Draw up to three types, pods of up to four nodes, jobs of up to four options."""
    types = int(rng.integers(1, 4))
    size = rng.choice([2, 4, 8] if not odd else [3, 4, 6, 8], types)
    pods = int(rng.integers(1, 5))
    node_type, node_pod = [], []
    for pod in range(pods):
        for _ in range(int(rng.integers(1, 5))):
            node_type.append(int(rng.integers(types)))
            node_pod.append(pod)
    kind = np.array(node_type)
    free = np.where(rng.random(len(kind)) < 0.4, rng.integers(0, size[kind] + 1), size[kind])
    first, rows = [0], []
    for _ in range(int(rng.integers(1, most_jobs + 1))):
        for _ in range(int(rng.integers(1, 5))):
            t = int(rng.integers(types))
            level = int(rng.choice([NODE, NODE, POD, SPAN]))
            whole = int(size[t])
            if level == NODE:
                count = int(rng.integers(1, whole + 1)) if odd else int(2 ** rng.integers(0, 4))
                count = min(count, whole)
            else:
                count = whole * int(rng.integers(1, 4) if odd else 2 ** rng.integers(0, 3))
            rows.append((t, count, level, round(count * float(rng.uniform(0.3, 1.5)), 2)))
        first.append(len(rows))
    columns = [np.array(part) for part in zip(*rows, strict=True)]
    fleet = Fleet(size, kind, np.array(node_pod), free)
    return Round(fleet, Options(np.array(first), columns[0], columns[1], columns[2], columns[3]))


def brute_force(asked: Round) -> float:
    """Try every choice of options and every way to place it."""
    fleet, options = asked.fleet, asked.options
    node_type, node_pod = fleet.node_type.tolist(), fleet.node_pod.tolist()
    size, free = fleet.node_size.tolist(), fleet.node_free.tolist()
    nodes = range(len(node_type))
    ways: list[list[tuple[float, dict[int, int]]]] = []
    for a, b in itertools.pairwise(options.first.tolist()):
        mine: list[tuple[float, dict[int, int]]] = []
        for o in range(a, b):
            t, count = int(options.type_index[o]), int(options.count[o])
            level, utility = int(options.level[o]), float(options.utility[o])
            fit = [n for n in nodes if node_type[n] == t]
            if level == NODE:
                mine += [(utility, {n: count}) for n in fit if free[n] >= count]
                continue
            fit = [n for n in fit if free[n] == size[t]]
            for chosen in itertools.combinations(fit, count // size[t]):
                if level == SPAN or len({node_pod[n] for n in chosen}) == 1:
                    mine.append((utility, dict.fromkeys(chosen, size[t])))
        ways.append(mine)
    rest = [0.0] * (len(ways) + 1)
    for j in range(len(ways) - 1, -1, -1):
        rest[j] = rest[j + 1] + max((u for u, _ in ways[j]), default=0.0)
    best = 0.0

    def place(job: int, left: list[int], value: float) -> None:
        nonlocal best
        best = max(best, value)
        if job == len(ways) or value + rest[job] <= best:
            return
        for utility, held in ways[job]:
            if all(left[n] >= c for n, c in held.items()):
                then = list(left)
                for n, c in held.items():
                    then[n] -= c
                place(job + 1, then, value + utility)
        place(job + 1, left, value)

    place(0, free, 0.0)
    return best


def exactly(asked: Round) -> Decision:
    return decide(asked, enough=0.0, deterministic_time=20.0)


def equals_brute_force(rng: np.random.Generator, count: int) -> None:
    for number in range(count):
        asked = small_round(rng, most_jobs=5, odd=bool(number % 2))
        answer = exactly(asked)
        best = brute_force(asked)
        assert not violations(asked, answer)
        assert answer.value == pytest.approx(best, abs=1e-6)
        assert answer.bound >= best - 1e-9
        assert answer.proved or answer.gap < 1e-9


def equals_variables_per_node(rng: np.random.Generator, count: int) -> None:
    for number in range(count):
        asked = small_round(rng, most_jobs=14, odd=bool(number % 2))
        answer = exactly(asked)
        assert not violations(asked, answer)
        assert answer.value == pytest.approx(
            by_node(asked, deterministic_time=20.0).value, abs=1e-6
        )


def test_small_rounds_equal_brute_force() -> None:
    equals_brute_force(np.random.default_rng(7), 40)


@pytest.mark.slow
def test_many_small_rounds_equal_brute_force() -> None:
    equals_brute_force(np.random.default_rng(8), 300)


def test_rounds_equal_a_variable_per_job_and_node() -> None:
    equals_variables_per_node(np.random.default_rng(9), 20)


@pytest.mark.slow
def test_many_rounds_equal_a_variable_per_job_and_node() -> None:
    equals_variables_per_node(np.random.default_rng(10), 200)


def any_answer(rng: np.random.Generator, asked: Round) -> float:
    """Return the worth of a random feasible answer: jobs in any order wherever they fit."""
    fleet, options = asked.fleet, asked.options
    left = fleet.node_free.copy()
    value = 0.0
    for job in rng.permutation(options.jobs).tolist():
        for o in rng.permutation(np.arange(options.first[job], options.first[job + 1])).tolist():
            t, count, level = (
                int(x[o]) for x in (options.type_index, options.count, options.level)
            )
            mine = fleet.node_type == t
            if level == NODE:
                fit = np.flatnonzero(mine & (left >= count))[:1]
                need = 1
            else:
                fit = np.flatnonzero(mine & (left == fleet.node_size[t]))
                need = count // int(fleet.node_size[t])
                if level == POD:
                    pods, found = np.unique(fleet.node_pod[fit], return_counts=True)
                    wide = pods[found >= need]
                    fit = fit[fleet.node_pod[fit] == wide[0]] if len(wide) else fit[:0]
            if len(fit) >= need and options.utility[o] > 0:
                left[fit[:need]] -= count // need
                value += float(options.utility[o])
                break
    return value


def bound_holds(rng: np.random.Generator, count: int) -> None:
    for number in range(count):
        asked = small_round(rng, most_jobs=12, odd=bool(number % 2))
        table, jobs = tables(asked)
        value = any_answer(rng, asked)
        prices = rng.exponential(1.0, table.used.shape) * rng.choice([0.0, 0.5, 2.0, 8.0])
        anywhere = bound_at(table, jobs, prices)
        assert value <= anywhere + 1e-9
        assert supply(table, lifted(table, prices)) <= supply(table, prices) + 1e-9
        assert value <= bound_at(table, jobs, lifted(table, prices)) + 1e-9 <= anywhere + 2e-9
        if number % 4 < 2:  # one with and one without odd sizes
            answer = decide(asked, enough=1.0)
            assert value <= answer.bound + 1e-9
            assert not violations(asked, answer)


def test_bounds_are_above_any_answer() -> None:
    bound_holds(np.random.default_rng(11), 150)


@pytest.mark.slow
def test_bounds_are_above_any_of_many_answers() -> None:
    bound_holds(np.random.default_rng(12), 2000)


def test_the_bound_is_that_of_its_prices() -> None:
    rng = np.random.default_rng(13)
    for number in range(30):
        asked = small_round(rng, most_jobs=10, odd=bool(number % 2))
        answer = decide(asked, enough=1.0)
        assert priced_bound(asked, answer) == pytest.approx(answer.bound, rel=1e-12, abs=1e-12)
        parts = answer.parts
        assert parts.convergence + parts.rounding + parts.packing == pytest.approx(
            answer.gap, abs=1e-12
        )


def test_a_negative_price_proves_nothing() -> None:
    asked = small_round(np.random.default_rng(14), most_jobs=4, odd=False)
    table, jobs = tables(asked)
    with pytest.raises(ValueError, match="not negative"):
        bound_at(table, jobs, np.full(table.used.shape, -1.0))


def test_nothing_to_do_and_nowhere_to_go() -> None:
    fleet = Fleet(np.array([8]), np.array([0, 0]), np.array([0, 1]), np.array([0, 3]))
    nothing = Options(np.array([0]), *(np.zeros(0, dtype=np.int64),) * 3, np.zeros(0))
    assert decide(Round(fleet, nothing)).value == 0.0
    too_large = Options(
        np.array([0, 1]), np.array([0]), np.array([4]), np.array([NODE]), np.ones(1)
    )
    answer = decide(Round(fleet, too_large))
    assert (answer.value, answer.bound, answer.gap) == (0.0, 0.0, 0.0)
    assert answer.option.tolist() == [-1]


@pytest.mark.parametrize(
    ("count", "level", "words"),
    [(12, POD, "whole nodes"), (12, NODE, "no larger than the node"), (0, NODE, "whole nodes")],
)
def test_gangs_that_are_no_gangs_are_refused(count: int, level: int, words: str) -> None:
    fleet = Fleet(np.array([8]), np.array([0]), np.array([0]), np.array([8]))
    one = (np.array([0]), np.array([count]), np.array([level]), np.ones(1))
    with pytest.raises(ValueError, match=words):
        Round(fleet, Options(np.array([0, 1]), *one))


def test_last_prices_give_the_same_round_and_repeats_give_the_same_bytes() -> None:
    rng = np.random.default_rng(15)
    for odd in (False, True):
        asked = small_round(rng, most_jobs=30, odd=odd)
        cold = exactly(asked)
        again = exactly(asked)
        assert cold.nodes.tobytes() == again.nodes.tobytes()
        assert cold.prices.value.tobytes() == again.prices.value.tobytes()
        warm = decide(asked, start=cold.prices, enough=0.0, deterministic_time=20.0)
        assert warm.value == pytest.approx(cold.value, abs=1e-6)
