"""Modes: legal, undominated, sorted; rates of recorded run times and of measured tables."""

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, pod, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InputError
from scheduler.core.problem import Group
from scheduler.core.workload import (
    JobClass,
    ModelPhysics,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
)
from scheduler.io.catalogue import models
from scheduler.physics.domains import read_interconnect
from scheduler.physics.interconnect import build_graph
from scheduler.physics.network import USABLE_SHARE, Refusal, usual_network
from scheduler.physics.problem import build_problem
from scheduler.physics.profiles import ProfileTable
from scheduler.physics.recorded import RecordedRates
from scheduler.physics.shapes import shapes_of
from scheduler.physics.speed import sustained_flops
from scheduler.physics.spreads import Floor, Spread, legal_wherever
from scheduler.physics.training import training_estimate

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"

A800 = accelerator("A800", peak_flops={"bf16": 312e12}, memory_bytes_per_s=2e12, year=2022)
V100 = accelerator(
    "V100-16GB",
    peak_flops={"fp16": 125e12, "fp32": 15.7e12},
    memory_bytes=16e9,
    memory_bytes_per_s=0.9e12,
    aliases=("v100",),
    year=2017,
)
NPU = accelerator("910B", stack="cann", peak_flops={"bf16": 376e12}, memory_bytes_per_s=1.6e12)
MIXED = fleet(
    pod("p", 16, "fat_tree", nodes_per_leaf=4, uplink=400 * GB_S),
    pod("q", 6, of="A800", nic=25 * GB_S, scaleup=200 * GB_S, uplink=100 * GB_S),
    pod("r", 5, of="V100-16GB", per_node=4, nic=2 * GB_S, scaleup=150 * GB_S, uplink=20 * GB_S),
    types=[A800, V100],
)


def floor_of(cluster):
    return Floor(cluster, read_interconnect(cluster, build_graph(cluster)))


def holds(problem, domain, group):
    """Whether the slots of a group fit into a domain, largest first into the fullest node."""
    free = sorted(
        problem.pools[p].size
        for p in domain.pools
        if problem.pools[p].type_index == group.type_index
        for _ in problem.pools[p].nodes
    )
    for slot in group.slots:
        room = [i for i, f in enumerate(free) if f >= slot]
        if not room:
            return False
        free[room[-1]] -= slot
        free.sort()
    return True


GANGS = [(1,), (2,), (3,), (6,), (8,), (12,), (16, 32), (24,), (128,), (5, 7, 40)]


@pytest.mark.parametrize("gang", GANGS)
@pytest.mark.parametrize("max_level", [None, "node", "leaf", "pod"])
def test_modes_are_legal_sorted_and_tell_their_best(gang, max_level):
    made = JobClass("c", RunTimePhysics(), gang, max_level=max_level)
    problem = build_problem(MIXED, workload(made))
    modes = problem.modes[0]
    widest = len(problem.levels) - 1 if max_level is None else problem.levels.index(max_level)
    assert list(modes) == sorted(
        modes, key=lambda m: (-m.rate, m.level, m.type_index, -m.groups[0].per_node)
    )
    for mode in modes:
        assert replace(mode) == mode, "every field is set"
        (group,) = mode.groups
        assert mode.count in gang
        assert mode.level <= widest
        assert 0 < mode.rate <= mode.best_rate
        if mode.level == 0:
            assert group.per_node == group.count
            assert any(
                p.size >= group.count for p in problem.pools if p.type_index == group.type_index
            )
        else:
            domains = [d for d in problem.domains if d.level == mode.level]
            assert any(holds(problem, d, group) for d in domains)
    unbounded = build_problem(MIXED, workload(JobClass("c", RunTimePhysics(), gang))).modes[0]
    best = {}
    for mode in unbounded:
        key = (mode.type_index, mode.count)
        best[key] = max(best.get(key, 0.0), mode.rate)
    for mode in modes:
        assert mode.best_rate == best[mode.type_index, mode.count]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 64])
def test_dropped_modes_are_dominated_and_kept_ones_are_not(count):
    made = JobClass("c", RunTimePhysics("H100"), (count,))
    problem = build_problem(MIXED, workload(made))
    floor = floor_of(MIXED)
    recorded, h100 = RecordedRates(floor), MIXED.accelerators["H100"]
    for t in range(len(floor.types)):
        shapes = shapes_of(floor, [t], [count])
        found = recorded.rates(shapes, h100, count, None).work_per_s.tolist()
        rates = dict(zip(shapes.spreads, found, strict=True))
        kept = {
            (m.level, m.groups[0].per_node): m.rate for m in problem.modes[0] if m.type_index == t
        }
        for spread, rate in rates.items():
            covering = [
                other
                for other in rates
                if (other.level, other.per_node) in kept
                and rates[other] >= rate
                and legal_wherever(other, spread, count)
            ]
            assert covering, "a dropped mode must have a kept one that replaces it"
            if (spread.level, spread.per_node) in kept:
                assert covering == [spread]


def embeds(small, large):
    """Whether slots `small` can be packed into bins `large`, by trying everything."""
    if not small:
        return True
    tried = set()
    for i, room in enumerate(large):
        if room >= small[0] and room not in tried:
            tried.add(room)
            if embeds(small[1:], (*large[:i], room - small[0], *large[i + 1 :])):
                return True
    return False


@given(count=st.integers(1, 14), small=st.integers(1, 8), large=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_legal_wherever_is_bin_packing(count, small, large):
    small, large = min(small, count), min(large, count)
    wide, narrow = (Spread(1, s, False, None) for s in (small, large))
    expected = embeds(Group(0, count, small).slots, Group(0, count, large).slots)
    assert legal_wherever(wide, narrow, count) == expected
    assert not legal_wherever(Spread(0, small, False, None), narrow, count)


@pytest.mark.parametrize("count", [2, 4, 8, 16, 64])
def test_wider_and_thinner_shapes_are_never_faster(count):
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics(), (count,))))
    for a, b in product(problem.modes[0], repeat=2):
        same = a.type_index == b.type_index
        if same and a.level <= b.level and a.groups[0].per_node >= b.groups[0].per_node:
            assert a.rate >= b.rate


def test_fewest_nodes_come_first_for_nodes_of_two_sizes():
    cluster = fleet(pod("a", 4, per_node=8, uplink=9.0), pod("b", 4, per_node=4, uplink=9.0))
    slots = {s.per_node for s in floor_of(cluster).spreads(0, 16)}
    assert slots == {8, 4, 2, 1}


def test_remainders_need_room_as_well():
    # Twelve on nodes of eight are a slot of eight and one of four.
    cluster = fleet(pod("a", 1, per_node=8, uplink=9.0), pod("b", 1, per_node=3, uplink=9.0))
    assert {s.per_node for s in floor_of(cluster).spreads(0, 11)} == {8, 4, 3, 2, 1}
    assert {s.per_node for s in floor_of(cluster).spreads(0, 12)} == set()


# --- the network a shape sees -------------------------------------------------------------


def test_slowest_domain_of_a_level_counts():
    cluster = fleet(pod("a", 4, nodes_per_leaf=2, taper=2), pod("b", 4, nodes_per_leaf=2, taper=5))
    by_level = {(s.level, s.per_node): s.network for s in floor_of(cluster).spreads(0, 24)}
    assert by_level[2, 8].scaleout_bytes_per_s == pytest.approx(10 * GB_S * USABLE_SHARE)


def test_levels_of_equal_bandwidth_are_one_mode():
    for taper, levels in ((1, {"pod"}), (2, {"leaf", "pod"})):
        cluster = fleet(pod("a", 8, nodes_per_leaf=4, taper=taper))
        made = JobClass("c", RunTimePhysics(), (16,))
        problem = build_problem(cluster, workload(made))
        assert {problem.levels[m.level] for m in problem.modes[0]} == levels
        narrow = build_problem(cluster, workload(replace(made, max_level="leaf")))
        assert {problem.levels[m.level] for m in narrow.modes[0]} == {"leaf"}


def test_a_lone_node_does_not_set_the_rate_of_its_level():
    cluster = fleet(pod("a", 4), pod("b", 1, nic=1.0))
    (whole,) = (s for s in floor_of(cluster).spreads(0, 8) if s.per_node == 4)
    assert whole.network.scaleout_bytes_per_s == 50 * GB_S * USABLE_SHARE


def test_a_gang_that_fills_a_torus_runs_on_its_rings():
    made = pod("p", 64, "torus", per_node=4, shape=(4, 4, 4), link_bytes_per_s=100 * GB_S)
    floor = floor_of(fleet(made))
    rate = {
        count: floor.spreads(0, count)[0].network.scaleout_bytes_per_s / USABLE_SHARE / GB_S
        for count in (32, 128, 256)
    }
    assert rate[256] == pytest.approx(6 * 100 / 4)  # six links a host, wrapped
    assert rate[128] == pytest.approx(2 * 16 * 100 / 128)  # somewhere inside: the bisection
    assert rate[32] == pytest.approx(3 * 100 / 4)  # a 2 x 2 x 2 slice: three links a host


def test_racks_and_bridges_in_the_network_record():
    gb200 = accelerator("GB200", scaleup_devices=72, devices_per_node=4)
    rack = pod("p", 36, "rail", of="GB200", per_node=4, scaleup=900 * GB_S, nodes_per_leaf=18)
    bridged = accelerator("PCIe", scaleup_devices=2, year=2020)
    pairs = pod("q", 2, of="PCIe", scaleup=300 * GB_S)
    floor = floor_of(fleet(rack, pairs, types=[gb200, bridged]))
    in_rack = floor.spreads(0, 64)[0]
    assert floor.levels[in_rack.level] == "scaleup"
    assert in_rack.network.scaleup_devices == 64
    assert floor.spreads(1, 2)[0].network.scaleup_bytes_per_s == 300 * GB_S * USABLE_SHARE
    assert floor.spreads(1, 4)[0].network.scaleup_bytes_per_s == 31.5 * GB_S * USABLE_SHARE


# --- recorded run times ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H100", "A800", "V100-16GB", "v100"])
@pytest.mark.parametrize("count", [1, 4, 8, 16])
def test_a_recorded_run_time_holds_on_its_own_type(name, count):
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics(name), (count,))))
    wanted = "V100-16GB" if name == "v100" else name
    rates = [m.rate for m in problem.modes[0] if problem.types[m.type_index] == wanted]
    assert max(rates) == 1.0


def test_without_a_reference_the_recorded_run_time_holds_on_every_type():
    problem = build_problem(
        MIXED,
        workload(
            JobClass("all", RunTimePhysics(), (8,)),
            JobClass("bf16", RunTimePhysics(), (1,), precision="bf16"),
        ),
    )
    best: dict[str, float] = {}
    for mode in problem.modes[0]:
        kind = problem.types[mode.type_index]
        best[kind] = max(best.get(kind, 0.0), mode.rate)
    assert best == dict.fromkeys(problem.types, 1.0)
    assert min(m.rate for m in problem.modes[0]) < 1.0  # spreading still costs
    assert problem.refusals["bf16/V100-16GB"] == "does not support bf16"


def test_speed_between_types_is_that_of_training_a_transformer():
    """Without links and large steps, the ratio is the one that the training formula gives."""
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics("A800"), (1,))))
    rates = {problem.types[m.type_index]: m.rate for m in problem.modes[0]}
    model = models()["gpt-3-6.7b"]
    how = ModelPhysics(model.name, sequence_length=2048, global_batch=64)
    roomy = [replace(k, memory_bytes=1e13) for k in (MIXED.accelerators["H100"], A800, NPU)]
    h100, a800, npu = (
        training_estimate(model, how, k, 1, 1, usual_network(k, 1)).work_per_s for k in roomy
    )
    assert rates["H100"] == pytest.approx(h100 / a800, rel=0.03)
    assert sustained_flops(NPU) / sustained_flops(A800) == pytest.approx(npu / a800, rel=0.03)
    assert 1.3 < sustained_flops(accelerator(), "fp8") / sustained_flops(accelerator()) < 2.0
    assert sustained_flops(V100, "bf16") == 0.0


def test_a_reference_outside_the_fleet_comes_from_the_catalogue():
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics("h200-sxm"), (8,))))
    assert 0.5 < problem.modes[0][0].rate < 1.1  # H100 against H200: memory bandwidth only
    with pytest.raises(InputError, match=r"classes\[0\].*unknown accelerator.*'H20O-SXM'"):
        build_problem(MIXED, workload(JobClass("c", RunTimePhysics("H20O-SXM"), (8,))))


def test_elastic_gangs_scale_from_the_first_count():
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics("H100"), (8, 16, 1))))
    own = problem.types.index("H100")
    best = {m.count: m.best_rate for m in problem.modes[0] if m.type_index == own}
    assert best[8] == 1.0
    assert 1 / 8 < best[1] < 1.05 / 8  # nothing to wait for
    assert 1.8 < best[16] < 2.0


def test_power_is_between_idle_and_peak():
    problem = build_problem(MIXED, workload(JobClass("c", RunTimePhysics(), (8,))))
    for mode in problem.modes[0]:
        kind = MIXED.accelerators[problem.types[mode.type_index]]
        assert 8 * kind.idle_w < mode.power_w < 8 * kind.peak_w


# --- measured tables ------------------------------------------------------------------------

RATES = {
    ("lm", "V100", 1, "packed"): 10.0,
    ("lm", "V100", 2, "packed"): 19.0,
    ("lm", "V100", 4, "packed"): 36.1,
    ("lm", "V100", 2, "spread"): 15.0,
    ("lm", "V100", 4, "spread"): 22.5,
    ("big", "v100", 1, "packed"): 0.0,
    ("big", "v100", 2, "packed"): 5.0,
    ("rows", "v100", 4, "packed"): 8.0,
}


def test_measured_rates_by_shape():
    profiles = {"t": Profile("t", RATES)}
    gangs = ((1,), (4,), (8,))
    classes = [JobClass(f"c{g[0]}", ProfilePhysics("t", "lm"), g) for g in gangs]
    problem = build_problem(MIXED, workload(*classes, profiles=profiles))
    one, four, eight = problem.modes
    assert [(m.level, m.rate) for m in one] == [(0, 10.0)]
    packed, spread = four
    assert (packed.level, packed.rate, spread.rate) == (0, 36.1, 22.5)
    assert spread.groups[0].per_node == 1
    assert eight[0].rate == pytest.approx(36.1 * 1.9)
    assert eight[-1].rate == pytest.approx(22.5 * 1.5)
    fastest = eight[0]
    assert fastest.groups[0].per_node == 4  # the fewest nodes of four
    assert problem.levels[fastest.level] == "pod"
    assert problem.refusals["c1/H100"] == "table 't' has no row for 'lm' on H100"


def test_measured_zero_means_that_it_does_not_fit():
    profiles = {"t": Profile("t", RATES)}
    classes = [JobClass(f"c{n}", ProfilePhysics("t", "big"), (n,)) for n in (1, 2)]
    problem = build_problem(MIXED, workload(*classes, profiles=profiles))
    assert problem.modes[0] == ()
    assert problem.refusals["c1/V100-16GB"] == "does not fit 1 x V100-16GB: measured rate is 0"
    assert [m.rate for m in problem.modes[1]] == [5.0]  # packed only: no spread row


@pytest.mark.parametrize(
    ("job_type", "count", "expected"),
    [
        ("lm", 16, 36.1 * 1.9**2),
        ("lm", 3, 19.0 * 1.5 ** np.log2(1.9)),
        ("rows", 2, 4.0),
        ("rows", 8, 16.0),
    ],
)
def test_counts_without_a_row(job_type, count, expected):
    table = ProfileTable(Profile("t", RATES))
    assert table.rate(job_type, V100, count, "packed") == pytest.approx(expected)


def test_more_accelerators_never_slow_a_measured_job_down():
    table = ProfileTable(
        Profile("t", {("x", "V100", 1, "packed"): 10.0, ("x", "V100", 2, "packed"): 8.0})
    )
    assert table.rate("x", V100, 8, "packed") == 8.0
    assert isinstance(table.rate("x", A800, 1, "packed"), Refusal)


def test_the_whole_gavel_table():
    path = SHARED / "traces" / "gavel" / "throughput_isolated.csv"
    if not path.is_file():
        pytest.skip("needs the shared reference data beside the checkout")
    rates = {}
    with path.open() as lines:
        for row in csv.DictReader(lines):
            name, _, spread = row["accelerator"].partition("_")
            key = (
                row["job_type"],
                name,
                int(row["scale_factor"]),
                "spread" if spread else "packed",
            )
            rates[key] = float(row["steps_per_s"])
    names = ("k80", "p100", "v100")
    types = [accelerator(n.upper(), aliases=(n,)) for n in names]
    pods = [pod(n, 9, of=n.upper(), per_node=4, nic=GB_S, uplink=40 * GB_S) for n in names]
    keys = sorted({(job_type, count) for job_type, _, count, _ in rates})
    classes = [JobClass(f"{j} x {n}", ProfilePhysics("g", j), (n,)) for j, n in keys]
    problem = build_problem(
        fleet(*pods, types=types), workload(*classes, profiles={"g": Profile("g", rates)})
    )
    for (job_type, count), modes in zip(keys, problem.modes, strict=True):
        for t, name in enumerate(names):
            rows = [rates.get((job_type, name, count, s)) for s in ("packed", "spread")]
            if rows[0] is None:
                continue
            got = max((m.rate for m in modes if m.type_index == t), default=0.0)
            assert got == max(rows[0], rows[1] or 0.0 if count > 1 else 0.0)
