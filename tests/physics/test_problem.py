"""From a cluster and a workload to a Problem; refusals, faults, load."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, jobs, pod, workload

from scheduler.core.errors import InputError
from scheduler.core.workload import (
    JobClass,
    ModelPhysics,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
    Service,
)
from scheduler.physics.domains import read_interconnect
from scheduler.physics.inference import replica_estimate
from scheduler.physics.interconnect import build_graph
from scheduler.physics.load import offered_load, scaled_to_load
from scheduler.physics.problem import build_problem
from scheduler.physics.spreads import Floor
from scheduler.physics.training import training_estimate

T4 = accelerator(
    "T4", memory_bytes=16e9, memory_bytes_per_s=320e9, peak_flops={"fp16": 65e12}, scaleup_devices=1
)
FLEET = fleet(
    pod("p", 8, nodes_per_leaf=4, uplink=100 * GB_S),
    pod("q", 4, of="T4", per_node=4, nic=3 * GB_S, scaleup=15.8 * GB_S, uplink=10 * GB_S),
    types=[T4],
)


def service(name="chat", **changes):
    values = {
        "physics": ModelPhysics("llama-2-7b"),
        "replica": (1, 2),
        "times_s": np.array([0.0]),
        "demand_per_s": np.array([5.0]),
    }
    return Service(name, **(values | changes))


def test_refusals_say_why_type_by_type():
    classes = (
        JobClass("large", RunTimePhysics(), (8,), memory_bytes=2**30 * 40),
        JobClass("picky", RunTimePhysics(), (8,), accelerators=("T4",), precision="fp8"),
        JobClass("rocm", RunTimePhysics(), (8,), stacks=("rocm", "cann")),
        JobClass("huge", RunTimePhysics(), (96, 128)),
        JobClass("flat", RunTimePhysics(), (24,), max_level="leaf"),
    )
    problem = build_problem(FLEET, workload(*classes))
    why = problem.refusals
    assert why["large/T4"] == "needs 40 GiB per accelerator, the type has 14.9 GiB"
    assert why["picky/H100"] == "not among the permitted accelerators"
    assert why["picky/T4"] == "does not support fp8"
    assert why["rocm/H100"] == "built for rocm or cann, the type needs cuda"
    assert why["huge/H100"] == "needs 96 accelerators in one site, the largest has 64"
    assert why["flat/T4"] == "needs 24 accelerators in one leaf, the largest has 16"
    assert [len(m) > 0 for m in problem.modes] == [True, False, False, False, True]
    assert "large/H100" not in why


def test_nodes_without_a_connection_are_refused_as_such():
    apart = fleet(pod("p", 4, nic=0.0), pod("q", 2))
    problem = build_problem(apart, workload(JobClass("c", RunTimePhysics(), (16,))))
    assert {m.level for m in problem.modes[0]} == {1}
    alone = fleet(pod("p", 4, nic=0.0))
    problem = build_problem(alone, workload(JobClass("c", RunTimePhysics(), (16,))))
    assert problem.modes == ((),)
    assert problem.refusals["c/H100"] == "needs 16 accelerators in one pod, the largest has 8"


def test_types_without_a_peak_rate():
    blank = accelerator("blank", peak_flops={})
    cluster = fleet(pod("p", 1), pod("q", 1, of="blank"), types=[blank])
    problem = build_problem(cluster, workload(JobClass("c", RunTimePhysics(), (1,))))
    assert [m.rate for m in problem.modes[0]] == [1.0]
    assert problem.refusals["c/blank"] == "has no floating-point peak"
    with pytest.raises(InputError, match="reference type has no known peak rate, got 'blank'"):
        build_problem(cluster, workload(JobClass("c", RunTimePhysics("blank"), (1,))))


def test_every_fault_in_one_pass_with_its_place():
    classes = (
        JobClass("a", RunTimePhysics("H10O"), (1,)),
        JobClass("b", RunTimePhysics(), (1,), max_level="rack"),
        JobClass("c", ProfilePhysics("gavle", "lm"), (1,)),
        JobClass("d", ModelPhysics("lama-2-7b"), (1,)),
    )
    profiles = {"gavel": Profile("gavel", {("lm", "T4", 1, "packed"): 1.0})}
    bad = service(physics=ProfilePhysics("nope", "x"))
    with pytest.raises(InputError) as caught:
        build_problem(FLEET, workload(*classes, profiles=profiles, services=(bad,)))
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "classes[1].max_level: unknown level, got 'rack'" in text
    assert "unknown throughput table, got 'gavle'; did you mean 'gavel'?" in text
    assert "unknown model, got 'lama-2-7b'; did you mean 'llama-2-7b'?" in text
    assert "services[0]" in text


def test_alike_classes_are_computed_once():
    classes = [JobClass(f"c{i}", RunTimePhysics(), (8,), restart_s=float(i)) for i in range(50)]
    problem = build_problem(FLEET, workload(*classes))
    assert all(modes is problem.modes[0] for modes in problem.modes)


def test_capacity_and_order_of_types():
    problem = build_problem(FLEET, workload(JobClass("c", RunTimePhysics(), (1,))))
    assert problem.types == ("T4", "H100")  # catalogue order, not that of the nodes
    assert problem.capacity() == (16, 64)
    assert pickle.loads(pickle.dumps(problem)).modes == problem.modes


def test_two_builds_are_equal():
    made = workload(JobClass("c", RunTimePhysics(), (8, 16)), services=(service(),))
    first, second = build_problem(FLEET, made), build_problem(FLEET, made)
    assert first.modes == second.modes
    assert first.service_modes == second.service_modes
    assert dict(first.refusals) == dict(second.refusals)


def test_model_described_jobs_get_the_training_estimate_of_each_shape():
    from scheduler.io.catalogue import find_model

    physics = ModelPhysics("llama-2-7b", global_batch=64)
    problem = build_problem(FLEET, workload(JobClass("c", physics, (8, 16))))
    floor = Floor(FLEET, read_interconnect(FLEET, build_graph(FLEET)))
    assert problem.modes[0]
    for mode in problem.modes[0]:
        (group,) = mode.groups
        (spread,) = (
            s
            for s in floor.spreads(group.type_index, group.count)
            if (s.level, s.per_node) == (mode.level, group.per_node)
        )
        kind = floor.types[group.type_index]
        found = training_estimate(
            find_model("llama-2-7b"), physics, kind, group.count, group.per_node, spread.network
        )
        assert mode.rate == found.work_per_s
        assert mode.power_w == found.power_w
        assert mode.memory_bytes == found.memory_bytes
        assert mode.memory_bytes <= kind.memory_bytes


def test_replicas_stand_on_the_fewest_nodes_best_per_accelerator_first():
    from scheduler.io.catalogue import find_model

    made = service(replica=(1, 2, 4))
    problem = build_problem(FLEET, workload(services=(made,)))
    modes = problem.service_modes[0]
    assert modes
    each = [m.rate / m.count for m in modes]
    assert each == sorted(each, reverse=True)
    floor = Floor(FLEET, read_interconnect(FLEET, build_graph(FLEET)))
    for mode in modes:
        assert mode.level == 0
        kind = floor.types[mode.type_index]
        network = floor.spreads(mode.type_index, mode.count)[0].network
        found = replica_estimate(find_model("llama-2-7b"), made, kind, mode.count, network)
        assert mode.rate == found.requests_per_s
    only = build_problem(FLEET, workload(services=(replace(made, accelerators=("T4",)),)))
    assert only.refusals["chat/H100"] == "not among the permitted accelerators"


def test_services_with_a_measured_rate():
    rates = {("chat", "H100", 2, "packed"): 7.0, ("chat", "H100", 1, "packed"): 3.0}
    made = service(physics=ProfilePhysics("t", "chat"))
    problem = build_problem(FLEET, workload(services=(made,), profiles={"t": Profile("t", rates)}))
    assert [(m.count, m.rate) for m in problem.service_modes[0]] == [(2, 7.0), (1, 3.0)]


# --- offered load -----------------------------------------------------------------------------


def one_type(columns, gang=(1,)):
    cluster = fleet(pod("p", 1))
    return build_problem(
        cluster, workload(JobClass("c", RunTimePhysics("H100"), gang), columns=columns)
    )


def test_load_of_a_single_type_is_accelerator_seconds_over_capacity():
    # Four jobs of 20 s on one of eight accelerators each, over 10 s: 80 / 80.
    problem = one_type(jobs([0] * 4, [0.0, 2.0, 6.0, 10.0], [20.0] * 4))
    assert offered_load(problem) == pytest.approx(1.0)


def test_gangs_count_with_all_their_accelerators():
    problem = one_type(jobs([0] * 4, [0.0, 2.0, 6.0, 10.0], [5.0] * 4), gang=(8,))
    assert offered_load(problem) == pytest.approx(2.0)


def test_types_add_up_at_their_own_rates():
    rates = {("x", "H100", 1, "packed"): 4.0, ("x", "T4", 1, "packed"): 1.0}
    columns = jobs([0, 0], [0.0, 1.0], [136.0, 136.0])
    problem = build_problem(
        FLEET,
        workload(
            JobClass("c", ProfilePhysics("t", "x"), (1,)),
            columns=columns,
            profiles={"t": Profile("t", rates)},
        ),
    )
    assert offered_load(problem) == pytest.approx(2 * 136.0 / (64 * 4.0 + 16 * 1.0))


@pytest.mark.parametrize("load", [0.3, 1.0, 2.5])
def test_scaling_reaches_the_load_and_keeps_deadlines_at_their_distance(load):
    columns = replace(
        jobs([0] * 50, np.sort(np.random.default_rng(1).uniform(0, 1e4, 50)), [300.0] * 50),
        deadline_s=np.arange(50.0) + 2e4,
    )
    before = one_type(columns)
    after = scaled_to_load(before, load)
    assert offered_load(after) == pytest.approx(load)
    np.testing.assert_allclose(
        after.workload.jobs.deadline_s - after.workload.jobs.release_s,
        columns.deadline_s - columns.release_s,
    )
    assert after.modes is before.modes


def test_load_that_cannot_be_set():
    together = one_type(jobs([0, 0], [3.0, 3.0]))
    assert offered_load(together) == float("inf")
    with pytest.raises(InputError, match="released at once"):
        scaled_to_load(together, 0.5)
    with pytest.raises(InputError, match="load must be positive, got '-1'"):
        scaled_to_load(one_type(jobs([0, 0])), -1)
    impossible = one_type(jobs([0, 0]), gang=(64,))
    assert offered_load(impossible) == 0.0
    assert offered_load(one_type(jobs([]))) == 0.0
