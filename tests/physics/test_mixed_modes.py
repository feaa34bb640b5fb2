"""Modes of gangs that mix types: legal, dealt in whole nodes, played and verified."""

from dataclasses import replace

import pytest
from fleets import GB_S, fleet, jobs, pod, workload

from scheduler.core.cluster import Cluster, Pod
from scheduler.core.errors import InputError
from scheduler.core.ledger import Cause
from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import JobClass, ModelPhysics, RunTimePhysics
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.domains import read_interconnect
from scheduler.physics.interconnect import build_graph
from scheduler.physics.mixed import DEFAULTS
from scheduler.physics.mixed_modes import splits
from scheduler.physics.problem import build_problem
from scheduler.physics.spreads import Floor
from scheduler.simulate import simulate
from scheduler.verify import verify_run

A = accelerators()
CLASS = JobClass("llm", ModelPhysics("llama-3-8b", global_batch=512), (32,), mixed_types=2)


def rack(name: str, nodes: int, of: str, per_node: int | None = None, **more: object) -> Pod:
    kind = A[of]
    values: dict[str, object] = {"nodes_per_leaf": 4, "uplink": 400 * GB_S, **more}
    return pod(
        name,
        nodes,
        "fat_tree",
        of=of,
        per_node=per_node or kind.devices_per_node,
        nic=kind.nic_bytes_per_s,
        scaleup=kind.scaleup_bytes_per_s,
        **values,  # type: ignore[arg-type]
    )


def site(*pods: Pod) -> Cluster:
    names = {node.accelerator for p in pods for node in p.nodes}
    return fleet(*pods, types=[A[name] for name in sorted(names)])


TWO = site(rack("h", 4, "H100-SXM"), rack("a", 4, "A100-80GB-SXM"))
VENDORS = site(rack("h", 4, "H100-SXM"), rack("n", 4, "Ascend-910B"))


def problem(cluster: Cluster, job_class: JobClass = CLASS, count: int = 1) -> Problem:
    columns = jobs([0] * count, work=[5e8] * count)
    return build_problem(cluster, workload(job_class, columns=columns, models=models()))


def mixed(found: Problem) -> list[Mode]:
    return [m for m in found.modes[0] if len(m.groups) > 1]


def test_off_by_default() -> None:
    assert mixed(problem(TWO, replace(CLASS, mixed_types=1))) == []


@pytest.mark.parametrize("cluster", [TWO, VENDORS], ids=["one vendor", "two vendors"])
def test_parts_are_whole_nodes_and_sum_to_the_gang(cluster: Cluster) -> None:
    found = problem(cluster)
    modes = mixed(found)
    counts = {tuple(g.count for g in m.groups) for m in modes}
    assert counts <= {(8, 24), (16, 16), (24, 8)}
    assert (16, 16) in counts
    for mode in modes:
        assert mode.count == 32
        assert [g.type_index for g in mode.groups] == sorted({g.type_index for g in mode.groups})
        assert all(g.per_node == 8 and g.count % 8 == 0 for g in mode.groups)
        assert mode.level > 0
        assert 0 < mode.rate <= mode.best_rate
        assert 0 <= mode.straggler < 0.5
        kinds = [A[found.types[g.type_index]] for g in mode.groups]
        limits = [(k.idle_w, k.peak_w) for k in kinds]
        low, high = (
            sum(g.count * limit[i] for g, limit in zip(mode.groups, limits, strict=True))
            for i in (0, 1)
        )
        assert low < mode.power_w < high
        assert mode.memory_bytes <= max(k.memory_bytes for k in kinds)
    assert list(found.modes[0]) == sorted(found.modes[0], key=lambda m: -m.rate)


def test_a_mixed_gang_lies_between_the_pure_ones() -> None:
    """At best the efficiency of mixing times the mean of the two, each weighed by its part."""
    found = problem(TWO)
    best = {
        m.groups[0].type_index: max(
            o.rate
            for o in found.modes[0]
            if len(o.groups) == 1 and o.type_index == m.groups[0].type_index
        )
        for m in found.modes[0]
        if len(m.groups) == 1
    }
    for mode in mixed(found):
        balanced = sum(best[g.type_index] * g.count / 32 for g in mode.groups)
        assert mode.rate <= 1.02 * DEFAULTS.same_stack * balanced
        assert min(best.values()) < mode.rate < max(best.values())


def test_one_domain_holds_the_whole_gang() -> None:
    apart = site(rack("h", 4, "H100-SXM", uplink=0.0), rack("a", 4, "A100-80GB-SXM", uplink=0.0))
    assert mixed(problem(apart)) == []
    assert mixed(problem(TWO, replace(CLASS, max_level="pod"))) == []
    small = site(rack("h", 1, "H100-SXM"), rack("a", 2, "A100-80GB-SXM"))
    assert mixed(problem(small)) == []  # 24 accelerators in all
    exact = site(rack("h", 1, "H100-SXM"), rack("a", 3, "A100-80GB-SXM"))
    assert {tuple(g.count for g in m.groups) for m in mixed(problem(exact))} == {(24, 8)}


def test_a_thinner_spine_never_helps() -> None:
    rates = []
    for uplink in (400, 40, 4):
        cluster = site(
            rack("h", 4, "H100-SXM", uplink=uplink * GB_S),
            rack("a", 4, "A100-80GB-SXM", uplink=uplink * GB_S),
        )
        rates.append(max((m.rate for m in mixed(problem(cluster))), default=0.0))
    assert rates == sorted(rates, reverse=True)


def test_three_types() -> None:
    cluster = site(
        rack("h", 2, "H100-SXM"), rack("a", 2, "A100-80GB-SXM"), rack("n", 2, "Ascend-910B")
    )
    model = ModelPhysics("llama-3-70b", global_batch=512)
    both = replace(CLASS, physics=model, mixed_types=3, gang=(48,))
    (only,) = mixed(problem(cluster, both))
    assert [g.count for g in only.groups] == [16, 16, 16]
    assert mixed(problem(cluster, replace(both, mixed_types=2))) == []


def test_a_type_of_no_use_alone_is_not_refused_if_it_helps() -> None:
    """Fewer accelerators than the gang asks for: alone impossible, as a part welcome."""
    found = problem(site(rack("h", 2, "H100-SXM"), rack("a", 2, "A100-80GB-SXM")))
    assert {len(m.groups) for m in found.modes[0]} == {2}
    assert dict(found.refusals) == {}


def test_splits_are_all_and_distinct() -> None:
    floor = Floor(TWO, read_interconnect(TWO, build_graph(TWO)))
    assert set(splits(floor, (0, 1), 64, 2)) == {
        ((0, 8), (1, 56)),
        ((0, 16), (1, 48)),
        ((0, 32), (1, 32)),
        ((0, 48), (1, 16)),
        ((0, 56), (1, 8)),
    }
    assert list(splits(floor, (0, 1), 12, 2)) == []
    assert list(splits(floor, (0,), 64, 2)) == []


def test_only_described_jobs_mix() -> None:
    with pytest.raises(InputError, match=r"classes\[0\].mixed_types: only jobs described"):
        build_problem(TWO, workload(JobClass("r", RunTimePhysics(), (32,), mixed_types=2)))


@pytest.mark.parametrize("cluster", [TWO, VENDORS], ids=["one vendor", "two vendors"])
@pytest.mark.parametrize("policy", ["fifo", "optimizer"])
def test_the_engine_plays_mixed_gangs_and_the_verifier_accepts(
    cluster: Cluster, policy: str
) -> None:
    """Gangs of 48 need both types: their waiting for one another is booked."""
    model = ModelPhysics("llama-3-70b", global_batch=512)
    made = problem(cluster, replace(CLASS, physics=model, gang=(48,)), count=3)
    assert all(len(m.groups) == 2 for m in made.modes[0])
    run = simulate(made, policy, seed=0)
    assert verify_run(made, run) == []
    assert sorted(run.finished_us) == [0, 1, 2]
    used = [made.modes[0][allocation.mode] for allocation in run.allocations]
    assert any(mode.straggler > 0 for mode in used)
    assert run.ledger.of([Cause.STRAGGLER]) > 0
    held = run.ledger.of([Cause.STRAGGLER, Cause.PRODUCTIVE, Cause.COMMUNICATION])
    assert run.ledger.of([Cause.STRAGGLER]) <= max(m.straggler for m in used) * held
