"""Properties of whole problems: better fleets are never slower, wider spreads never faster.

Drawn fleets of two types go all the way from declarations to modes.
"""

from dataclasses import replace

import numpy as np
import pytest
from fleets import GB_S, accelerator, fleet, jobs, pod, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cluster import Cluster
from scheduler.core.ledger import Cause
from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import JobClass, ModelPhysics, RunTimePhysics
from scheduler.io.catalogue import models
from scheduler.physics.problem import build_problem
from scheduler.simulate import simulate

OLD = accelerator(
    "A100", peak_flops={"bf16": 312e12, "fp16": 312e12}, memory_bytes_per_s=2e12, peak_w=400.0
)
NEW = accelerator("H100")
MODELS = {name: models()[name] for name in ("llama-2-7b", "qwen3-30b-a3b", "resnet-50")}
CLASSES = (
    *(
        JobClass(name, ModelPhysics(name, global_batch=128, sequence_length=2048), (8, 16, 32))
        for name in MODELS
    ),
    JobClass("recorded", RunTimePhysics("A100"), (8, 16, 32)),
)

SHAPES = st.sampled_from(
    [
        ("tree", {"nodes_per_leaf": 2, "taper": 4.0}),
        ("fat_tree", {"nodes_per_leaf": 2, "taper": 2.0}),
        ("rail", {"nodes_per_leaf": 2, "taper": 1.0}),
        ("dragonfly", {"nodes_per_leaf": 2, "link_bytes_per_s": 100 * GB_S}),
        ("torus", {"shape": (2, 2, 1), "link_bytes_per_s": 100 * GB_S}),
    ]
)


def made(
    shape: tuple[str, dict[str, object]],
    *,
    nic: float = 25.0,
    scaleup: float = 200.0,
    link: float = 1.0,
    uplink: float = 100.0,
    **changes: float,
) -> Problem:
    """Build a fleet of two pods; rates in GB/s, `changes` multiply fields of the types."""
    kind, fabric = shape
    fabric = dict(fabric)
    if "link_bytes_per_s" in fabric:
        fabric["link_bytes_per_s"] = 100 * GB_S * link
    types = []
    for base in (OLD, NEW):
        values: dict[str, object] = {}
        for field, factor in changes.items():
            value = getattr(base, field)
            if field == "peak_flops":
                values[field] = {p: peak * factor for p, peak in value.items()}
            else:
                values[field] = value * factor
        types.append(replace(base, **values))  # type: ignore[arg-type]
    pods = [
        pod(
            name,
            4,
            kind,
            of=name,
            nic=nic * GB_S,
            scaleup=scaleup * GB_S,
            uplink=uplink * GB_S,
            **fabric,
        )
        for name in ("A100", "H100")
    ]
    return build_problem(fleet(*pods, types=types), workload(*CLASSES, models=MODELS))


def best_rates(problem: Problem) -> dict[tuple[str, int, int], float]:
    """Return the best rate by class, type and count."""
    found: dict[tuple[str, int, int], float] = {}
    for job_class, modes in zip(CLASSES, problem.modes, strict=True):
        for mode in modes:
            key = (job_class.name, mode.type_index, mode.count)
            found[key] = max(found.get(key, 0.0), mode.rate)
    return found


@given(
    SHAPES,
    st.sampled_from(
        [
            *("nic", "scaleup", "link", "uplink"),
            *("memory_bytes", "memory_bytes_per_s", "peak_flops"),
        ]
    ),
    st.floats(1.0, 6.0),
)
@settings(max_examples=40, deadline=None)
def test_a_better_fleet_is_never_slower(shape, what: str, factor: float) -> None:
    """More of any one thing, on the way from the declaration to the modes.

    A recorded run time is relative to the A100's own, which improves as well: such classes
    are left out. Levels whose bandwidth becomes equal are one level, at the latency of the
    wider, so that faster links may cost microseconds, which the smallest steps feel.
    """
    slack = 0.01 if what in ("nic", "link", "uplink") else 1e-9
    base = {"nic": 25.0, "scaleup": 200.0, "uplink": 100.0}.get(what, 1.0)
    before, after = best_rates(made(shape)), best_rates(made(shape, **{what: base * factor}))
    for key, rate in before.items():
        if key[0] != "recorded":
            assert after.get(key, 0.0) >= rate * (1 - slack), key
    assert set(before) <= set(after)


@given(SHAPES, st.floats(5.0, 100.0), st.floats(10.0, 400.0))
@settings(max_examples=15, deadline=None)
def test_a_wider_or_thinner_shape_is_never_faster(shape, nic: float, uplink: float) -> None:
    problem = made(shape, nic=nic, uplink=uplink)
    for modes in problem.modes:
        of: dict[tuple[int, int], list[Mode]] = {}
        for mode in modes:
            of.setdefault((mode.type_index, mode.count), []).append(mode)
        for alike in of.values():
            for a in alike:
                for b in alike:
                    wider = a.level <= b.level and a.groups[0].per_node >= b.groups[0].per_node
                    if wider:
                        assert a.rate >= b.rate * (1 - 1e-9)


@pytest.mark.parametrize("kind", ["dragonfly", "torus", "edges"])
def test_levels_are_read_off_the_graph(kind: str) -> None:
    """Nobody declares levels: groups, slices and cables make them."""
    from scheduler.core.cluster import Link

    if kind == "dragonfly":
        cluster = fleet(pod("p", 12, kind, nodes_per_leaf=4, link_bytes_per_s=50 * GB_S))
        expected, sizes = ("node", "leaf", "pod"), {1: 4, 2: 12}
    elif kind == "torus":
        cluster = fleet(pod("p", 64, kind, shape=(4, 4, 4), link_bytes_per_s=50 * GB_S))
        expected, sizes = ("node", "slice-1", "pod"), {1: 8, 2: 64}
    else:
        links = [Link(f"p-{i}", f"sw{i // 2}", 100 * GB_S, 1e-6) for i in range(8)]
        links += [Link(f"sw{i}", f"top{i // 2}", 100 * GB_S, 1e-6) for i in range(4)]
        links += [Link(f"top{i}", "core", 100 * GB_S, 1e-6) for i in range(2)]
        cluster = fleet(pod("p", 8, kind, links=tuple(links)))
        expected, sizes = ("node", "leaf", "block", "pod"), {1: 2, 2: 4, 3: 8}
    problem = build_problem(cluster, workload(JobClass("c", RunTimePhysics(), (1,))))
    assert problem.levels == expected
    for level, size in sizes.items():
        for domain in problem.domains:
            if domain.level == level:
                members = sum(len(problem.pools[p].nodes) for p in domain.pools)
                assert members == size


def test_the_ledger_books_communication_as_the_modes_say() -> None:
    """Held time splits into productive and communication by rate over best rate, no more."""
    small: Cluster = fleet(pod("a", 4, nodes_per_leaf=2, taper=8.0, nic=5 * GB_S))
    model = ModelPhysics("llama-2-7b", global_batch=64)
    # four gangs of six leave two accelerators on each node, and so the last one spread thin
    classes = tuple(JobClass(f"of {n}", model, (n,), restart_s=5.0) for n in (6, 8))
    order = [0, 0, 0, 0, 1, 0]
    columns = jobs(order, release_s=np.arange(6) * 1.0, work=[2e9] * 6)
    problem = build_problem(small, workload(*classes, columns=columns, models=MODELS))
    run = simulate(problem, "fifo", seed=0)
    productive = communication = 0.0
    for allocation in run.allocations:
        mode = problem.modes[order[allocation.job]][allocation.mode]
        held = mode.count * (allocation.end_us - allocation.start_us - allocation.overhead_us)
        productive += held * mode.rate / mode.best_rate
        communication += held * (1 - mode.rate / mode.best_rate)
    assert communication > 0
    slack = 64.0 * len(run.allocations)  # a microsecond of rounding per accelerator
    assert abs(run.ledger.of([Cause.PRODUCTIVE]) - productive) <= slack
    assert abs(run.ledger.of([Cause.COMMUNICATION]) - communication) <= slack
