"""How fast a share of an accelerator is, and what fits into its memory."""

from __future__ import annotations

import pytest

from scheduler.core.problem import Problem
from scheduler.io.topology import parse_cluster
from scheduler.io.workload import parse_workload
from scheduler.physics.problem import build_problem

TOPOLOGY = """\
schema: topology/1
title: two kinds
sites: [{name: main}]
pods:
  - name: west
    site: main
    fabric: {kind: fat_tree, nodes_per_leaf: 4, taper: 1, latency: 3 us}
    nodes:
      - {accelerator: A100-80GB-SXM, nodes: 2, per_node: 2, nic: 200 Gbit/s}
      - {accelerator: T4, nodes: 2, per_node: 2, nic: 50 Gbit/s}
"""


def problem(*classes: str) -> Problem:
    written = "".join(f"  - {{name: c{i}, {fields}}}\n" for i, fields in enumerate(classes))
    text = f"schema: workload/1\ntitle: t\nclasses:\n{written}"
    run_time = "run_time" in classes[0]
    work = "run_time: 1 h" if run_time else "work: 1e9"
    jobs = f"jobs:\n  - {{id: a, class: c0, {work}}}\n"
    table = "profiles: {lab: {rates: [{job_type: r, accelerator: T4, count: 1, rate: 8.0}]}}\n"
    return build_problem(parse_cluster(TOPOLOGY), parse_workload(text + jobs + table))


def test_recorded_jobs_run_for_their_time() -> None:
    made = problem("run_time: {}, gang: 0.25", "run_time: {reference: T4}, gang: 0.5")
    assert {m.rate for m in made.modes[0]} == {1.0}
    by_type = {made.types[m.type_index]: m.rate for m in made.modes[1]}
    assert by_type["T4"] == pytest.approx(1.0)
    assert by_type["A100-80GB-SXM"] > 1.0
    for mode in made.modes[0]:
        memory = made.cluster.accelerators[made.types[mode.type_index]].memory_bytes
        assert mode.memory_bytes == int(memory) * 250 // 1000
        assert (mode.count, mode.size, mode.level, mode.share_milli) == (1, 0.25, 0, 250)


def test_a_share_does_its_share_of_the_work_for_its_share_of_the_power() -> None:
    for physics in ("profile: {table: lab, job_type: r}", "model: {name: resnet-50}"):
        made = problem(f"{physics}, gang: 1", f"{physics}, gang: 0.4")
        whole, part = ({m.type_index: m for m in modes} for modes in made.modes)
        assert part
        for t, mode in part.items():
            assert mode.rate == pytest.approx(0.4 * whole[t].rate)
            assert mode.best_rate == pytest.approx(0.4 * whole[t].best_rate)
            assert mode.power_w == pytest.approx(0.4 * whole[t].power_w)


def test_a_model_must_fit_into_the_memory_of_the_share() -> None:
    made = problem(
        "model: {name: llama-2-7b}, gang: 1",
        "model: {name: gpt2}, gang: 1",
        "model: {name: gpt2}, gang: 0.001",
        "model: {name: gpt2}, gang: 0.1, memory: 1 GiB",
    )
    need = max(m.memory_bytes for m in made.modes[1])
    assert need > 2**30
    assert made.modes[2] == made.modes[3] == ()
    assert "0.001 of the type's memory is" in made.refusals["c2/A100-80GB-SXM"]
    assert made.refusals["c3/A100-80GB-SXM"].endswith("its memory is 1 GiB")


def test_memory_that_no_type_has_is_refused() -> None:
    made = problem("run_time: {}, gang: 0.5, memory: 40 GiB")
    assert [made.types[m.type_index] for m in made.modes[0]] == ["A100-80GB-SXM"]
    assert "40 GiB" in made.refusals["c0/T4"]
