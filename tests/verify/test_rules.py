"""Rules one by one on hand-made cases: exact limits, and what is legal must pass."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from first_come import first_come_run
from random_problems import LEVELS, fleet, random_problem, workload

import scheduler.verify
from scheduler.core.cluster import Outage, Site
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Allocation, Down, Placement, Run, Schedule, Status
from scheduler.core.workload import JobClass, RunTimePhysics, Service
from scheduler.verify import checks, recompute_idle, verify_run, verify_schedule
from scheduler.verify.facts import Hold, gather
from scheduler.verify.placement import slots_whole
from scheduler.verify.waiting import Clock, Want

S = 1_000_000


def gang(count: int, per_node: int, level: int, t: int = 0, rate: float = 1.0) -> Mode:
    return Mode((Group(t, count, per_node),), level, rate, rate, 100.0 * count)


def make(
    pods: list[list[tuple[str, int]]],
    modes: list[tuple[Mode, ...]],
    jobs: list[tuple[int, float, float]],
    *,
    restart_s: float = 0.0,
    preemptible: bool = True,
    checkpoint_s: float = 10.0,
    services: tuple[Service, ...] = (),
    service_modes: tuple[tuple[Mode, ...], ...] = (),
    **cluster: object,
) -> Problem:
    """Return a problem with jobs of (class, release, work)."""
    built, types, domains, pools = fleet(pods, **cluster)
    classes = tuple(
        JobClass(
            f"k{i}",
            RunTimePhysics(),
            tuple(m.count for m in of_class) or (1,),
            restart_s=restart_s,
            preemptible=preemptible,
            checkpoint_s=checkpoint_s,
        )
        for i, of_class in enumerate(modes)
    )
    rows = workload(
        classes, [j[0] for j in jobs], [j[1] for j in jobs], [j[2] for j in jobs], services
    )
    return Problem(built, rows, types, LEVELS, domains, pools, tuple(modes), service_modes)


def held(job, start_s, end_s, nodes, counts, *, mode=0, overhead_s=0.0, work=None, lost=0.0):
    run_s = end_s - start_s - overhead_s
    return Allocation(
        job,
        mode,
        round(start_s * S),
        round(end_s * S),
        round(overhead_s * S),
        run_s if work is None else work,
        lost,
        Placement(nodes, counts),
    )


def run_of(problem: Problem, allocations, horizon_s: float, **fields) -> Run:
    """A run whose books are not filled in: for rules that do not read them."""
    finished = fields.pop("finished", {})
    jobs = range(len(problem.workload.jobs))
    running = tuple(fields.pop("running", ()))
    values = {
        "policy": "p",
        "information": "exact",
        "seed": 0,
        "horizon_us": round(horizon_s * S),
        "ledger_end_us": round(horizon_s * S),
        "allocations": tuple(allocations),
        "replicas": (),
        "downs": (),
        "actual_work": tuple(problem.workload.jobs.work.tolist()),
        "finished_us": {j: round(t * S) for j, t in finished.items()},
        "rejected": {},
        "running": running,
        "waiting": tuple(j for j in jobs if j not in finished and j not in running),
        "ledger": Ledger(np.zeros((len(problem.pools), len(Cause)), np.int64), (), ()),
    }
    return Run(**{**values, **fields})


BOOKS = {"ledger_rows", "energy", "cost", "carbon", "served", "demanded"}


def codes(problem: Problem, run: Run) -> list[str]:
    """Return the codes found, those of the books left out."""
    return sorted({v.code for v in verify_run(problem, run)} - BOOKS)


# --- shapes ---------------------------------------------------------------------------


def test_shapes_agree_with_exhaustive_partition() -> None:
    """A count vector is legal exactly if the slots can be dealt onto the nodes."""
    problem = make([[("A", 8)] * 3], [(gang(1, 1, 1),)], [(0, 0.0, 1.0)])
    facts = gather(problem, S, ())
    for count, per_node in itertools.product(range(1, 9), range(1, 5)):
        group = Group(0, count, min(per_node, count))
        legal = set()
        for nodes in itertools.product(range(3), repeat=len(group.slots)):
            totals = [0, 0, 0]
            for node, slot in zip(nodes, group.slots, strict=True):
                totals[node] += slot
            legal.add(tuple(totals))
        mode = Mode((group,), 1, 1.0, 1.0, 1.0)
        for totals in itertools.product(range(count + 1), repeat=3):
            if sum(totals) != count:
                continue
            nodes = tuple(n for n in range(3) if totals[n])
            placement = Placement(nodes, tuple(totals[n] for n in nodes))
            hold = Hold("j", 0, -1, mode, 0, S, 0, 0, placement)
            assert (not list(slots_whole(facts, hold))) == (totals in legal), (group, totals)


def test_mixed_gang_is_checked_type_by_type() -> None:
    mode = Mode((Group(0, 4, 2), Group(1, 3, 2)), 1, 1.0, 1.0, 1.0)
    problem = make([[("A", 4), ("A", 4), ("B", 4), ("B", 4)]], [(mode,)], [(0, 0.0, 5.0)])
    for counts, expected in (
        ({0: 2, 1: 2, 2: 2, 3: 1}, []),
        ({0: 4, 2: 3}, []),
        ({0: 3, 1: 1, 2: 3}, ["shape"]),
        ({0: 4, 2: 2}, ["gang"]),
        ({0: 3, 2: 4}, ["gang"]),
    ):
        a = held(0, 0, 5, tuple(counts), tuple(counts.values()))
        assert codes(problem, run_of(problem, [a], 5, finished={0: 5})) == expected


def test_domain_levels() -> None:
    pods = [[("A", 2), ("A", 2)], [("A", 2)], [("A", 2)]]
    for level, nodes, expected in (
        (1, (0, 1), []),
        (1, (1, 2), ["domain"]),
        (2, (1, 2), []),
        (2, (1, 3), ["domain"]),
        (3, (1, 3), []),
    ):
        problem = make(pods, [(gang(4, 2, level),)], [(0, 0.0, 5.0)], site_of_pod=[0, 0, 1])
        run = run_of(problem, [held(0, 0, 5, nodes, (2, 2))], 5, finished={0: 5})
        assert codes(problem, run) == expected


def test_level_zero_holds_several_slots_on_its_one_node() -> None:
    problem = make([[("A", 8)]], [(gang(6, 2, 0),)], [(0, 0.0, 5.0)])
    run = run_of(problem, [held(0, 0, 5, (0,), (6,))], 5, finished={0: 5})
    assert codes(problem, run) == []


# --- time -----------------------------------------------------------------------------


def two_jobs(first_end: float, second_start: float) -> list[str]:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, first_end), (0, 0.0, 5.0)])
    run = run_of(
        problem,
        [
            held(0, 0, first_end, (0,), (2,)),
            held(1, second_start, second_start + 5, (0,), (2,)),
        ],
        20,
        finished={0: first_end, 1: second_start + 5},
    )
    return codes(problem, run)


def test_intervals_are_half_open() -> None:
    assert two_jobs(5, 5) == []
    assert two_jobs(5, 5 - 1e-6) == ["capacity"]


def test_down_intervals_are_half_open() -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0)])
    for start, end, expected in (
        (0, 5, []),
        (5, 9, ["down"]),
        (10 - 1e-6, 12, ["down"]),
        (10, 12, []),
    ):
        down = Down(0, round(start * S), round(end * S))
        run = run_of(problem, [held(0, 5, 10, (0,), (2,))], 20, finished={0: 10}, downs=(down,))
        assert codes(problem, run) == expected


def test_overlapping_downs_and_outages_count_once() -> None:
    problem = make(
        [[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0)], outages=(Outage("n0", 3.0, 8.0),)
    )
    downs = (Down(0, 5 * S, 9 * S), Down(0, 9 * S, 10 * S))
    assert gather(problem, 20 * S, downs).downs == (((3 * S, 10 * S),),)
    assert gather(problem, 6 * S, downs).downs == (((3 * S, 6 * S),),)


def test_a_failure_may_interrupt_what_is_not_preemptible() -> None:
    problem = make(
        [[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 30.0)], preemptible=False, checkpoint_s=10
    )
    history = [held(0, 0, 14, (0,), (2,), lost=4.0), held(0, 16, 36, (0,), (2,))]
    down = Down(0, 14 * S, 16 * S)
    run = run_of(problem, history, 40, finished={0: 36}, downs=(down,))
    assert codes(problem, run) == []
    # Without the failure, both the interruption and the loss are unexplained.
    assert codes(problem, replace(run, downs=())) == ["interrupted", "lost_work"]
    # A failure at another instant, or of another node, explains nothing.
    late = replace(run, downs=(Down(0, 15 * S, 16 * S),))
    assert codes(problem, late) == ["interrupted", "lost_work"]


@pytest.mark.parametrize(("lost", "fine"), [(4.0, True), (0.0, False), (3.9, False), (14.0, False)])
def test_a_failure_loses_exactly_what_was_not_saved(lost: float, fine: bool) -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 30.0)], checkpoint_s=10)
    run = run_of(
        problem,
        [held(0, 0, 14, (0,), (2,), lost=lost), held(0, 16, 32 + lost, (0,), (2,))],
        60,
        finished={0: 32 + lost},
        downs=(Down(0, 14 * S, 16 * S),),
    )
    assert codes(problem, run) == ([] if fine else ["lost_work"])


def test_overhead_may_be_cut_short_but_not_skipped() -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0)], restart_s=3)
    cut = held(0, 0, 2, (0,), (2,), overhead_s=2)
    again = held(0, 4, 12, (0,), (2,), overhead_s=3)
    run = run_of(problem, [cut, again], 20, finished={0: 12})
    assert codes(problem, run) == []
    skipped = held(0, 4, 9, (0,), (2,))
    run = run_of(problem, [cut, skipped], 20, finished={0: 9})
    assert codes(problem, run) == ["overhead"]


# --- state ----------------------------------------------------------------------------


def test_jobs_too_big_for_the_fleet_must_be_rejected() -> None:
    problem = make([[("A", 2)], [("A", 2)]], [(gang(4, 2, 1),), ()], [(0, 0, 1.0), (1, 0, 1.0)])
    assert codes(problem, run_of(problem, [], 5)) == ["rejected"]
    rejected = run_of(problem, [], 5, waiting=(), rejected={0: "too big", 1: "no mode"})
    assert codes(problem, rejected) == []


def test_a_cap_below_any_gang_makes_a_job_impossible() -> None:
    for cap_w, possible in ((300 + 80 + 119.0, False), (300 + 80 + 121.0, True)):
        site = Site("s0", cap_w)
        problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0, 1.0)], sites=(site,))
        found = codes(problem, run_of(problem, [], 5))
        assert found == ([] if possible else ["rejected"])


def test_jobs_released_after_the_horizon_wait() -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 99.0, 1.0)])
    assert codes(problem, run_of(problem, [], 5)) == []


# --- idle -----------------------------------------------------------------------------


def idle_seconds(problem: Problem, run: Run) -> dict[tuple[int, str], float]:
    amounts = recompute_idle(problem, run)
    return {(int(p), Cause(int(c)).label): int(amounts[p, c]) / S for p, c in np.argwhere(amounts)}


def test_no_demand_then_policy() -> None:
    problem = make([[("A", 4)]], [(gang(2, 2, 0),)], [(0, 3.0, 5.0)])
    assert idle_seconds(problem, run_of(problem, [], 10)) == {
        (0, "no_demand"): 4 * 3,
        (0, "policy"): 4 * 7,
    }


def test_incompatible_type_and_compatible_type() -> None:
    problem = make([[("A", 2), ("B", 4)]], [(gang(2, 2, 0, t=0),)], [(0, 0.0, 5.0)])
    assert idle_seconds(problem, run_of(problem, [], 10)) == {
        (0, "policy"): 20,
        (1, "incompatible"): 40,
    }


def test_gang_wait_and_shape() -> None:
    # The job needs 4 on one node; nodes of 4 and 2, with 2 of the former held: 4 are free.
    modes = [(gang(4, 4, 0),), (gang(2, 2, 0),)]
    problem = make([[("A", 4), ("A", 2)]], modes, [(0, 0.0, 5.0), (1, 0.0, 10.0)])
    a = held(1, 0, 10, (0,), (2,))
    assert idle_seconds(problem, run_of(problem, [a], 10, finished={1: 10})) == {
        (0, "shape"): 20,
        (1, "shape"): 20,
    }
    problem = make([[("A", 4)]], modes, [(0, 0.0, 5.0), (1, 0.0, 10.0)])
    a = held(1, 0, 10, (0,), (2,))
    run = run_of(problem, [a], 10, finished={1: 10})
    assert idle_seconds(problem, run) == {(0, "gang_wait"): 20}


def test_a_node_too_small_for_the_slot_is_not_the_policys_fault() -> None:
    # The gang starts on the node of 4; the node of 1 could not help whatever the policy did.
    problem = make([[("A", 1), ("A", 4)]], [(gang(2, 2, 1),)], [(0, 0.0, 5.0)])
    assert idle_seconds(problem, run_of(problem, [], 10)) == {(0, "shape"): 10, (1, "policy"): 40}


def test_the_remainder_slot_may_use_a_small_node() -> None:
    # 2 + 1: the single node takes the remainder.
    problem = make([[("A", 1), ("A", 4)]], [(gang(3, 2, 1),)], [(0, 0.0, 5.0)])
    assert idle_seconds(problem, run_of(problem, [], 10)) == {(0, "policy"): 10, (1, "policy"): 40}


def test_a_domain_without_room_is_not_the_policys_fault() -> None:
    pods = [[("A", 2), ("A", 2)], [("A", 2)]]
    problem = make(pods, [(gang(4, 2, 1),)], [(0, 0.0, 5.0)])
    assert idle_seconds(problem, run_of(problem, [], 10)) == {(0, "policy"): 40, (1, "shape"): 20}


def test_power_cap_cause_needs_a_cap_that_forbids_every_placement() -> None:
    # Idle draw 300 + 4 * 40; a gang of 2 adds 200 - 80.
    pods = [[("A", 4)], [("A", 4)]]
    jobs = [(0, 0.0, 50.0), (0, 0.0, 50.0)]
    for cap_w, cause in ((460 + 239.0, "power_cap"), (460 + 241.0, "policy")):
        problem = make(
            pods[:1], [(gang(2, 2, 0),)], jobs, sites=(Site("s0", cap_w),), site_of_pod=[0]
        )
        run = run_of(problem, [held(0, 0, 10, (0,), (2,))], 10, running=[0])
        assert idle_seconds(problem, run) == {(0, cause): 20}
    # At another site without a cap it could start: there it is the policy's, here the cap's.
    sites = (Site("s0", 460 + 239.0), Site("s1"))
    problem = make(pods, [(gang(2, 2, 0),)], jobs, sites=sites, site_of_pod=[0, 1])
    run = run_of(problem, [held(0, 0, 10, (0,), (2,))], 10, running=[0])
    assert idle_seconds(problem, run) == {(0, "power_cap"): 20, (1, "policy"): 40}


def test_down_nodes_are_not_idle() -> None:
    problem = make([[("A", 2), ("A", 2)]], [(gang(4, 2, 1),)], [(0, 0.0, 5.0)])
    run = run_of(problem, [], 10, downs=(Down(1, 4 * S, 7 * S),))
    assert idle_seconds(problem, run) == {(0, "policy"): 4 * 4 + 4 * 3, (0, "gang_wait"): 2 * 3}


def test_an_unserved_service_waits_like_a_job() -> None:
    chat = Service(
        "chat", RunTimePhysics(), (1,), np.array([0.0, 4.0]), np.array([0.0, 3.0]), end_s=8.0
    )
    problem = make(
        [[("A", 2)]], [(gang(2, 2, 0),)], [(0, 99.0, 1.0)], services=(chat,),
        service_modes=((gang(1, 1, 0, rate=2.0),),),
    )  # fmt: skip
    run = run_of(problem, [], 10, served=(0.0,), demanded=(12.0,))
    assert idle_seconds(problem, run) == {(0, "no_demand"): 2 * 6, (0, "policy"): 2 * 4}


def test_clock_measures_unions_exactly() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        spans = [sorted(rng.integers(0, 40, 2).tolist()) for _ in range(int(rng.integers(0, 8)))]
        clock = Clock([Want(0, a, b) for a, b in spans if a < b])
        for start, end in itertools.combinations(range(0, 41, 3), 2):
            due = sum(any(a <= t < b for a, b in spans) for t in range(start, end))
            assert clock.covered(start, end) == due


def test_long_runs_are_checked_for_what_nobody_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear check agrees with the exact one, and finds an exchange of one microsecond."""
    monkeypatch.setattr(checks, "IDLE_LIMIT", 0)
    rng = np.random.default_rng(11)
    for _ in range(60):
        problem = random_problem(rng)
        run = first_come_run(problem, rng)
        assert verify_run(problem, run) == []
        p = int(rng.integers(len(problem.pools)))
        amounts = run.ledger.amount_us.copy()
        amounts[p, Cause.NO_DEMAND] += 1
        amounts[p, Cause.INCOMPATIBLE] -= 1
        bad = replace(run, ledger=replace(run.ledger, amount_us=amounts))
        found = {v.code for v in verify_run(problem, bad)}
        assert {"ledger_no_demand", "ledger_incompatible"} <= found


# --- schedules ------------------------------------------------------------------------


def schedule(allocations, name, objective, bound, status=Status.FEASIBLE) -> Schedule:
    return Schedule(tuple(allocations), name, objective, bound, status)


def planned() -> tuple[Problem, list[Allocation]]:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0), (0, 2.0, 3.0)], restart_s=1)
    plan = [
        held(0, 0, 6, (0,), (2,), overhead_s=1),
        held(1, 6, 10, (0,), (2,), overhead_s=1),
    ]
    return problem, plan


def test_valid_schedules_pass() -> None:
    problem, plan = planned()
    assert verify_schedule(problem, schedule(plan, "mean_jct", 7.0, 6.5)) == []
    assert verify_schedule(problem, schedule(plan, "makespan", 10.0, 10.0, Status.OPTIMAL)) == []
    assert verify_schedule(problem, schedule(plan[:1], "value", 1.0, 2.0 - 1.0)) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: schedule(p, "mean_jct", 6.9, 6.5), "objective"),
        (lambda p: schedule(p, "makespan", 9.0, 9.0), "objective"),
        (lambda p: schedule(p, "mean_jct", 7.0, 7.1), "bound"),
        (lambda p: schedule(p, "mean_jct", 7.0, float("nan")), "bound"),
        (lambda p: schedule(p, "mean_jct", 7.0, 6.5, Status.OPTIMAL), "bound"),
        (lambda p: schedule(p[:1], "mean_jct", 6.0, 6.0), "incomplete"),
        (lambda p: schedule([replace(p[0], work=4.0), p[1]], "mean_jct", 7.0, 6.5), "work_total"),
        (lambda p: schedule([p[0], replace(p[1], start_us=S)], "mean_jct", 7.0, 6), "release"),
        (lambda p: schedule([p[0], replace(p[1], start_us=5 * S)], "x", 7.0, 6.5), "capacity"),
    ],
)
def test_broken_schedules_are_found(change, code: str) -> None:
    problem, plan = planned()
    assert code in {v.code for v in verify_schedule(problem, change(plan))}


def test_schedules_keep_to_declared_outages() -> None:
    problem, plan = planned()
    cluster = replace(problem.cluster, outages=(Outage("n0", 4.0, 5.0),))
    found = verify_schedule(replace(problem, cluster=cluster), schedule(plan, "mean_jct", 7, 6))
    assert {v.code for v in found} == {"down"}


# --- the verifier itself --------------------------------------------------------------


def test_violations_say_who_where_and_when() -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 3.0, 5.0)])
    run = run_of(problem, [held(0, 2.5, 7.5, (0,), (2,))], 20, finished={0: 7.5})
    (violation,) = [v for v in verify_run(problem, run) if v.code == "release"]
    assert violation.job == "job0"
    assert violation.at_s == 2.5
    assert violation.message == "starts 500000 us before its release"


def test_pools_that_do_not_match_the_cluster_are_found() -> None:
    problem = make([[("A", 2), ("B", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0)])
    pools = (problem.pools[0], replace(problem.pools[1], type_index=0))
    wrong = replace(problem, pools=pools)
    assert {v.code for v in verify_run(wrong, run_of(wrong, [], 5))} == {"pool"}
    missing = replace(problem, pools=problem.pools[:1])
    assert {v.code for v in verify_run(missing, run_of(missing, [], 5))} == {"pool"}


def test_absurd_numbers_are_violations_not_crashes() -> None:
    problem = make([[("A", 2)]], [(gang(2, 2, 0),)], [(0, 0.0, 5.0)])
    huge = 10**30
    a = held(0, 0, 5, (0,), (2,))
    for damaged in (
        replace(a, end_us=huge),
        replace(a, start_us=-huge),
        replace(a, work=float("inf")),
        replace(a, placement=Placement((), ())),
        replace(a, placement=Placement((0,), (1, 1))),
        replace(a, placement=Placement((0,), (-2,))),
        replace(a, mode=-1),
        replace(a, job=-1),
    ):
        assert codes(problem, run_of(problem, [damaged], 5, finished={0: 5}))
    assert codes(problem, replace(run_of(problem, [], 5), horizon_us=huge)) == ["run"]
    assert codes(problem, run_of(problem, [], 5, downs=(Down(7, 0, S),))) == ["unknown_node"]
    assert codes(problem, run_of(problem, [], 5, downs=(Down(0, S, S),))) == ["interval"]
    assert codes(problem, run_of(problem, [], 5, running=[9])) == ["unknown_job"]


def test_verifier_imports_nothing_it_checks() -> None:
    folder = Path(scheduler.verify.__file__).parent
    allowed = {"cluster", "ledger", "packing", "problem", "run", "units", "workload"}
    allowed |= {"adaptive", "provisioning", "spread"}  # nouns of their own instances
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.startswith("scheduler") and not name.startswith("scheduler.verify"):
                    assert name.removeprefix("scheduler.core.") in allowed, f"{path.name}: {name}"


def test_what_a_class_permits_is_read_as_the_user_wrote_it() -> None:
    """Accelerators by name or alias in any case; the exact memory; the exact level."""
    problem = make([[("A", 2)], [("A", 2)]], [(gang(4, 2, 2),)], [(0, 0.0, 5.0)])
    device = replace(problem.cluster.accelerators["A"], aliases=("Big-A",))
    cluster = replace(problem.cluster, accelerators={"A": device})
    for wish, expected in (
        ({"accelerators": ("b", "BIG-a")}, []),
        ({"accelerators": ("b",)}, ["permitted"]),
        ({"memory_bytes": device.memory_bytes}, []),
        ({"memory_bytes": device.memory_bytes + 1}, ["permitted"]),
        ({"precision": "bf16", "stacks": ("s", "t")}, []),
        ({"precision": "fp8"}, ["permitted"]),
        ({"stacks": ("t",)}, ["permitted"]),
        ({"max_level": "site"}, []),
        ({"max_level": "pod"}, ["permitted"]),
        ({"gang": (2, 4)}, []),
        ({"gang": (2, 8)}, ["permitted"]),
    ):
        kind = replace(problem.workload.classes[0], **wish)
        asked = replace(
            problem, cluster=cluster, workload=replace(problem.workload, classes=(kind,))
        )
        run = run_of(asked, [held(0, 0, 5, (0, 1), (2, 2))], 5, finished={0: 5})
        assert codes(asked, run) == expected, wish
