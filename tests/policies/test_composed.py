"""Orders, admissions and placements: combinations that must agree, and known optima."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_problems import fleet, random_problem, workload

from scheduler.core.errors import InputError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.policies import known, make, names, nearest
from scheduler.policies.ordered import ADMISSIONS, parse
from scheduler.policies.orders import ORDERS, TIRESIAS_LIMITS
from scheduler.policies.placements import PLACEMENTS
from scheduler.policies.research_names import RESEARCH
from scheduler.simulate import simulate
from scheduler.verify import verify_run

LEVELS = ("node", "pod", "site", "fleet")


def machines(
    run_s: list[float],
    release_s: list[float] | None = None,
    *,
    gangs: list[int] | None = None,
    nodes: tuple[int, ...] = (1,),
    restart_s: float = 0.0,
) -> Problem:
    """Return jobs on one pod of nodes of one type; a class per gang size."""
    cluster, types, domains, pools = fleet([[("A", size) for size in nodes]])
    gangs = gangs or [1] * len(run_s)
    sizes = sorted(set(gangs))
    classes = tuple(JobClass(f"g{g}", RunTimePhysics(), (g,), restart_s=restart_s) for g in sizes)
    modes = tuple((Mode((Group(0, g, g),), 0, 1.0, 1.0, 100.0 * g),) for g in sizes)
    jobs = workload(
        classes, [sizes.index(g) for g in gangs], release_s or [0.0] * len(run_s), run_s
    )
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes)


def ends_s(run: Run) -> list[float]:
    return [run.finished_us[j] / 1e6 for j in sorted(run.finished_us)]


def outcome(run: Run) -> tuple[object, ...]:
    return (run.allocations, run.replicas, run.finished_us, run.ledger.amount_us.tolist())


@pytest.mark.parametrize(
    ("composed", "named"),
    [("fifo+strict+first_fit", "fifo"), ("fifo+greedy+best_fit", "best_fit"),
     ("fifo+easy+first_fit", "easy_backfill"),
     ("srtf+preempt+first_fit", "srtf")],
)  # fmt: skip
def test_compositions_equal_the_policies_they_describe(composed: str, named: str) -> None:
    for seed in range(60):
        problem = random_problem(np.random.default_rng([seed, 5]))
        ours = simulate(problem, composed, seed=seed, noise_sigma=0.2, horizon_s=900.0)
        theirs = simulate(problem, named, seed=seed, noise_sigma=0.2, horizon_s=900.0)
        assert outcome(ours) == outcome(theirs), f"seed {seed}"


# the made-up types have no price: policies that count cost are tested beside Gavel's
UNPRICED = [name for name in RESEARCH if "cost" not in name]


@pytest.mark.parametrize("name", [*UNPRICED, "srtf+easy+worst_fit", "las+preempt+topology_fit"])
def test_every_baseline_plays_by_the_rules(name: str) -> None:
    for seed in range(9):
        problem = random_problem(np.random.default_rng([seed, 7]))
        levels = ("exact", "estimates", "none")
        run = simulate(
            problem,
            name,
            seed=seed,
            noise_sigma=0.3 * (seed % 3 > 0),
            horizon_s=None if seed % 2 else 600.0,
            information=levels[seed % 3],  # type: ignore[arg-type]
        )
        assert verify_run(problem, run) == [], f"seed {seed}"


def test_every_combination_plays_by_the_rules() -> None:
    problem = random_problem(np.random.default_rng([3, 7]))
    for parts in itertools.product(ORDERS, ADMISSIONS, PLACEMENTS):
        run = simulate(problem, "+".join(parts), horizon_s=200.0)
        assert verify_run(problem, run) == [], parts


def test_shortest_first_is_optimal_on_one_machine() -> None:
    rng = np.random.default_rng(1)
    run_s = np.round(rng.uniform(10, 1000, 7), 2).tolist()
    best = min(
        float(np.cumsum(order).mean()) for order in itertools.permutations(run_s)
    )  # Smith 1956
    problem = machines(run_s)
    for name in ("sjf", "srtf", "optimizer_jct", "srtf+preempt"):
        found = metrics_of(problem, simulate(problem, name)).mean_jct_s
        assert found == pytest.approx(best, rel=1e-6), name


def test_least_attained_service_takes_turns() -> None:
    # two equal jobs share the machine by quanta: both end late; first come ends one early
    problem = machines([6000.0, 6000.0])
    first, second = ends_s(simulate(problem, "las"))
    assert max(first, second) == pytest.approx(12_000, abs=1)
    assert min(first, second) >= 12_000 - 1900
    assert ends_s(simulate(problem, "fifo")) == [6000.0, 12_000.0]


def test_tiresias_puts_short_jobs_before_those_that_had_their_limit() -> None:
    # the long job passes its first limit before the short one comes, and gives way to it
    problem = machines([20_000.0, 1000.0], [0.0, TIRESIAS_LIMITS[0] + 10.0])
    long, short = ends_s(simulate(problem, "tiresias"))
    assert short == pytest.approx(TIRESIAS_LIMITS[0] + 1010, abs=61)
    assert long == pytest.approx(21_000, abs=61)
    # before its limit it does not
    problem = machines([3000.0, 1000.0], [0.0, 10.0])
    assert ends_s(simulate(problem, "tiresias"))[0] == pytest.approx(3000.0)


def test_themis_serves_the_worst_off() -> None:
    # the second job has waited long for its size; at the next lease it goes first
    problem = machines([50_000.0, 500.0], [0.0, 1.0])
    long, short = ends_s(simulate(problem, "themis"))
    assert short < 5000 < long


def test_conservative_backfill_delays_nobody_and_easy_only_spares_the_head() -> None:
    # Four accelerators. The first job holds two for 10; the second wants all (reserved at 10,
    # until 20); the third wants two (reserved at 20); the fourth wants one for 50.
    gangs, run_s = [2, 4, 2, 1], [10.0, 10.0, 10.0, 8.0]
    problem = machines(run_s, gangs=gangs, nodes=(4,))
    assert ends_s(simulate(problem, "conservative_backfill")) == [10.0, 20.0, 10.0, 28.0]
    # two jobs wait behind the head; a long narrow one delays the second of them under EASY
    gangs, run_s = [3, 4, 3, 2], [10.0, 5.0, 10.0, 20.0]
    problem = machines(run_s, gangs=gangs, nodes=(4,))
    easy = ends_s(simulate(problem, "fifo+easy+first_fit"))
    assert easy[1] == 15.0
    conservative = ends_s(simulate(problem, "conservative_backfill"))
    fifo = ends_s(simulate(problem, "fifo"))
    assert all(c <= f for c, f in zip(conservative, fifo, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_conservative_backfill_never_ends_a_job_later_than_first_come(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gangs = rng.choice([1, 2, 4, 8], 25, p=[0.5, 0.2, 0.2, 0.1]).tolist()
    run_s = np.round(rng.lognormal(5, 1, 25), 1).tolist()
    release_s = np.round(np.sort(rng.uniform(0, 800, 25)), 1).tolist()
    problem = machines(run_s, release_s, gangs=gangs, nodes=(8,))
    ours = ends_s(simulate(problem, "conservative_backfill"))
    fifo = ends_s(simulate(problem, "fifo"))
    assert all(c <= f + 1e-6 for c, f in zip(ours, fifo, strict=True))


def test_placements_choose_as_named() -> None:
    # nodes of 4, 4 and 8; a pair is taken first
    problem = machines([100.0, 100.0], gangs=[2, 1], nodes=(4, 4, 8))
    chosen = {}
    for rule in PLACEMENTS:
        run = simulate(problem, f"fifo+greedy+{rule}")
        chosen[rule] = [a.placement.nodes[0] for a in sorted(run.allocations, key=lambda a: a.job)]
    assert chosen["worst_fit"] == [2, 2]
    assert chosen["best_fit"] == [0, 0]
    assert chosen["topology_fit"] == [0, 0]
    again = simulate(problem, "random_fit")
    assert outcome(again) == outcome(simulate(problem, "random_fit"))


def test_names_are_read_and_refused() -> None:
    assert parse("srtf+easy+worst_fit") is not None
    assert parse("srtf+worst_fit+easy") is not None
    for wrong in ("srtf", "srtf+easy+easy", "srtf+soft", "soft+easy", "srtf+easy+worst_fit+x"):
        assert parse(wrong) is None
        assert known(wrong) == (wrong in names())
    assert known("las+preempt")
    for wrong, near in (
        ("srft+esy+wurst_fit", "srtf+easy+worst_fit"),
        ("las+premept", "las+preempt"),
        ("fifo+greedy+best-fit", "fifo+greedy+best_fit"),
        ("xxxxxx+easy", ""),
        ("srtf+easy+easi", ""),
        ("srft", "srtf"),
    ):
        assert nearest(wrong) == near
    with pytest.raises(InputError, match="ORDER\\+ADMISSION\\+PLACEMENT"):
        make("srtf+soft")
