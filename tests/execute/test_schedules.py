"""Executed schedules: what is planned, what the workers' log must show, and the real thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sweeps import write_sweep

import scheduler
from scheduler.core.cluster import FailureModel
from scheduler.core.errors import InputError
from scheduler.core.ledger import IDLE_CAUSES
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute.schedules import execute_run
from scheduler.execute.schedules.measure import (
    Latency,
    Member,
    drawn_together,
    faults_of,
    idle_by_type,
    latency_of,
    lateness_of,
    spread_of,
)
from scheduler.execute.schedules.plan import Gang, Plan, null_plan, plan_of, with_handovers

Call = Callable[..., tuple[int, str, str]]

SPEED = 1000.0
NO_LATENCY = Latency(0.0, 0.0, 0.0, 1)


def as_planned(plan: Plan) -> list[Member]:
    """Return the log of a runtime that takes no time for anything."""
    return [
        Member(g, node, count, gang.start_s, gang.end_s, 1)
        for g, gang in enumerate(plan.gangs)
        for node, count in zip(gang.nodes, gang.counts, strict=True)
    ]


@pytest.fixture(scope="module")
def played(small_problem: Problem) -> Run:
    return scheduler.simulate(small_problem, "srtf", seed=1, noise_sigma=0.3)


@pytest.fixture(scope="module")
def plan(small_problem: Problem, played: Run) -> Plan:
    return plan_of(small_problem, played, SPEED)


class TestIdle:
    """A perfect log gives back the simulator's ledger, whatever there was in the run."""

    @pytest.mark.parametrize("policy", ["fifo", "srtf"])
    @pytest.mark.parametrize("account", ["run", "arrivals"])
    @pytest.mark.parametrize("failing", [False, True])
    def test_jobs_and_failures(
        self, small_problem: Problem, policy: str, account: str, failing: bool
    ) -> None:
        problem = small_problem
        if failing:
            cluster = replace(problem.cluster, failures=FailureModel(43_200.0, 7200.0))
            problem = replace(problem, cluster=cluster)
        run = scheduler.simulate(problem, policy, seed=3, noise_sigma=0.3, account=account)
        self.check(problem, run)
        if failing:
            assert run.downs

    def test_services(self) -> None:
        problem = scheduler.load("demo-mixed", "demo-day")
        run = scheduler.simulate(problem, "easy_backfill", horizon_s=20_000.0)
        assert run.replicas
        self.check(problem, run)

    def check(self, problem: Problem, run: Run) -> None:
        plan = plan_of(problem, run, SPEED)
        members = as_planned(plan)
        assert faults_of(plan, members) == []
        rows = idle_by_type(problem, run, plan, members, NO_LATENCY)
        assert [row.name for row in rows] == [*problem.types, "fleet"]
        for row in rows:
            assert row.measured == pytest.approx(row.simulated, abs=1e-9)
        assert rows[-1].simulated == pytest.approx(run.ledger.fraction(IDLE_CAUSES), abs=1e-9)

    def test_late_starts_are_idle_time_and_latency_is_taken_off(
        self, small_problem: Problem, played: Run, plan: Plan
    ) -> None:
        late = [replace(m, start_s=m.start_s + 0.02) for m in as_planned(plan)]
        exact = idle_by_type(small_problem, played, plan, as_planned(plan), NO_LATENCY)[-1]
        raw = idle_by_type(small_problem, played, plan, late, NO_LATENCY)[-1]
        held = sum(m.count for m in late)
        assert raw.raw - exact.raw == pytest.approx(0.02 * held / (32 * plan.end_s), rel=1e-9)
        known = Latency(0.02, 0.02, 0.02, 1)
        assert idle_by_type(small_problem, played, plan, late, known)[-1].points == pytest.approx(0)


class TestPlan:
    def test_speed_squeezes_time_and_the_period_cuts(
        self, small_problem: Problem, played: Run
    ) -> None:
        end_us = played.ledger_end_us // 2
        plan = plan_of(small_problem, replace(played, ledger_end_us=end_us), SPEED)
        assert plan.end_s == end_us / 1e9
        assert max(g.end_s for g in plan.gangs) == plan.end_s
        assert len(plan.gangs) == sum(a.start_us < end_us for a in played.allocations)
        assert [g.start_s for g in plan.gangs] == sorted(g.start_s for g in plan.gangs)

    def test_a_handover_needs_what_ends_at_that_instant(self) -> None:
        gangs = [
            Gang("first", (0,), (6,), 0.0, 1.0),
            Gang("beside", (0,), (2,), 0.5, 2.0),
            Gang("after", (0,), (2,), 1.0, 2.0),  # two of the six that end
            Gang("elsewhere", (1,), (8,), 1.0, 2.0),
            Gang("later", (0,), (8,), 2.5, 3.0),
        ]
        marked = with_handovers(gangs, (8, 8))
        assert [g.name for g in marked if g.handover] == ["after"]

    def test_nulls_are_free_first_and_handovers_from_then_on(self, plan: Plan) -> None:
        nulls = null_plan(plan)
        assert with_handovers(nulls.gangs, nulls.sizes) == nulls.gangs
        assert 0 < sum(not g.handover for g in nulls.gangs) < sum(g.handover for g in nulls.gangs)

    def test_peak_counts_members_at_once(self) -> None:
        gangs = (
            Gang("a", (0, 1), (1, 1), 0.0, 1.0),
            Gang("b", (0,), (1,), 0.5, 2.0),
            Gang("c", (1,), (8,), 1.0, 2.0),
        )
        assert Plan(("x", "y"), (8, 8), gangs, 2.0).peak() == 3

    def test_a_run_of_another_problem_is_refused(self, small_problem: Problem, played: Run) -> None:
        placement = replace(played.allocations[0].placement, nodes=(99,), counts=(1,))
        strange = replace(played.allocations[0], placement=placement)
        for run in (
            replace(played, allocations=(strange,)),
            replace(played, allocations=(replace(played.allocations[0], job=10_000),)),
        ):
            with pytest.raises(InputError, match="names a job, service or node"):
                plan_of(small_problem, run, SPEED)
        with pytest.raises(InputError, match="no allocation in the period"):
            plan_of(small_problem, replace(played, allocations=()), SPEED)


class TestLog:
    """Damage to a whole log is found."""

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda ms, big: ms[:-1], "0 of 1 members ran"),
            (lambda ms, big: [m for m in ms if m is not big], "1 of 2 members ran"),
            (lambda ms, big: [*ms, big], "3 of 2 members ran"),
            (lambda ms, big: _with(ms, big, count=big.count - 1), "2 of 2 members ran"),
            (lambda ms, big: _with(ms, big, node=0 if big.node else 1), "members ran"),
            (
                lambda ms, big: _with(ms, big, start_s=big.start_s - 2, end_s=big.start_s - 1),
                "not on at the same time",
            ),
            (lambda ms, big: _with(ms, big, end_s=big.end_s + 1e6), "held at"),
        ],
    )
    def test_damage(
        self,
        plan: Plan,
        damage: Callable[[list[Member], Member], list[Member]],
        message: str,
    ) -> None:
        members = as_planned(plan)
        members.sort(key=lambda m: len(plan.gangs[m.gang].nodes), reverse=True)
        big = next(m for m in members if len(plan.gangs[m.gang].nodes) == 2)
        assert faults_of(plan, members) == []
        assert any(message in fault for fault in faults_of(plan, damage(members, big)))

    def test_lateness_and_spread_are_those_of_the_last_member(self, plan: Plan) -> None:
        members = as_planned(plan)
        big = next(m for m in members if len(plan.gangs[m.gang].nodes) == 2)
        later = _with(members, big, start_s=big.start_s + 0.5)
        assert lateness_of(plan, later)[-1] == pytest.approx(0.5)
        assert spread_of(plan, later) == pytest.approx(0.5)
        free, handed = latency_of(plan, later)
        assert len(free) + len(handed) == len(plan.gangs)
        assert drawn_together([0.1, 0.3], [0.5, 0.7, 0.6]) == Latency(0.2, 0.6, 0.7, 5)


def _with(members: list[Member], one: Member, **changes: float) -> list[Member]:
    return [replace(m, **changes) if m is one else m for m in members]


@pytest.mark.slow
@pytest.mark.ray
def test_a_schedule_executes_as_planned(tmp_path: Path) -> None:
    """As real Ray tasks: whole gangs, never early, nothing held twice, nothing left behind.

    How late they are depends on the machine, so that idle time is compared by the bench.
    """
    import ray

    problem = scheduler.load(*few_jobs(tmp_path))
    run = scheduler.simulate(problem, "fifo", seed=1, noise_sigma=0.3)
    found = execute_run(problem, run, speed=6000.0)
    assert not ray.is_initialized()
    assert found.faults == ()
    assert found.leaked == 0
    assert found.gangs == len(run.allocations)
    assert len(found.members) == sum(len(a.placement.nodes) for a in run.allocations)
    assert max(len(a.placement.nodes) for a in run.allocations) == 2
    plan = plan_of(problem, run, 6000.0)
    assert faults_of(plan, found.members) == []
    for member in found.members:
        assert member.start_s >= plan.gangs[member.gang].start_s - 1e-6
        assert member.end_s >= plan.gangs[member.gang].end_s - 1e-6
    assert len({m.process for m in found.members}) > 1
    assert found.latency.samples == 2 * len(null_plan(plan).gangs)
    assert [row.name for row in found.idle] == [*problem.types, "fleet"]
    perfect = idle_by_type(problem, run, plan, as_planned(plan), NO_LATENCY)
    assert [r.simulated for r in found.idle] == pytest.approx([r.measured for r in perfect])


def few_jobs(folder: Path) -> tuple[Path, Path]:
    """Write the small fleet and seven of its jobs."""
    sweep = write_sweep(folder, "", short=True)
    return sweep.with_name("small.yaml"), sweep.with_name("jobs.yaml")


class TestCommand:
    @pytest.fixture
    def saved(self, small_files: tuple[Path, Path], tmp_path: Path, call: Call) -> Path:
        path = tmp_path / "run.json"
        code, _, _ = call("run", *small_files, "-p", "fifo", "-o", path)
        assert code == 0
        return path

    @pytest.mark.parametrize("speed", ["0x", "-5", "nan", "fast", "1e9x", "x", "1000 x x"])
    def test_speeds_that_are_none(self, speed: str, saved: Path, call: Call) -> None:
        code, _, err = call("execute", saved, "--speed", speed)
        assert code == 2
        assert "--speed: not a speed" in err

    def test_inputs_are_named_or_said_to_be_needed(
        self, saved: Path, small_files: tuple[Path, Path], call: Call
    ) -> None:
        code, _, err = call("execute", saved)
        assert code == 2
        assert "fleetfit execute TOPOLOGY WORKLOAD RUN" in err
        code, _, err = call("execute", small_files[0], saved)
        assert code == 2
        assert "takes a run, or a topology, a workload and a run" in err
        code, _, err = call("execute", "demo-mixed", "demo-day", saved)
        assert code == 2
        assert "was made from other inputs than demo-mixed and demo-day" in err
        data = json.loads(saved.read_text())
        del data["inputs"]
        saved.write_text(json.dumps(data))
        code, _, err = call("execute", saved)
        assert code == 2
        assert "does not say what it was made from" in err
