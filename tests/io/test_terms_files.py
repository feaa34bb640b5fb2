"""Limits, needs, quotas, labels, reservations and failures as users write them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from scheduler.core.cluster import FailureModel, Outage, Reservation
from scheduler.core.errors import InputError
from scheduler.core.run import Run
from scheduler.core.units import GIB
from scheduler.core.workload import Tenancy
from scheduler.io.catalogue import accelerators
from scheduler.io.results import run_from_json, run_to_json
from scheduler.io.topology import parse_cluster
from scheduler.io.workload import load_workload, parse_workload
from scheduler.physics.problem import build_problem
from scheduler.simulate import simulate
from scheduler.verify import verify_run

CLUSTER = """
schema: topology/1
title: two nodes and a sliced one
sites: [{name: s}]
accelerators:
  A100-part: {like: A100-80GB-SXM, slices: 7}
pods:
  - name: p
    site: s
    fabric: {kind: tree}
    nodes:
      - {accelerator: A100-80GB-SXM, nodes: 2, labels: {region: eu, trust: high}, cpus: 96,
         host_memory: 1 TiB}
      - {accelerator: A100-part, nodes: 1, prefix: m}
outages:
  - {node: p-n1, start: 1 h, end: 3 h, kind: drain}
  - {node: p-n1, start: 2 h, end: 4 h}
reservations:
  - {name: launch, nodes: p-n2, start: 2 h, end: 5 h, tenants: lab, jobs: [x-1]}
failures: {accelerator_mtbf: 100 d, switch_mtbf: 30 d, job_mtbf: 50 d}
"""

WORKLOAD = """
schema: workload/1
title: everything
classes:
  - {name: a, run_time: {}, gang: 4, labels: {trust: high, region: eu}, cpus: 12,
     host_memory: 10 GiB, apart: node, group: pair}
  - {name: b, run_time: {}, gang: [1, 2], near: pod}
jobs:
  - {id: x, class: a, run_time: 3 h, count: 2, limit: 2.5 h, tenant: lab, priority: 3}
  - {id: y, class: b, run_time: 1 h, count: 3, every: 10 min}
  - {id: z, class: b, run_time: 1 h, after: [y, x-1]}
tenants:
  lab: {share: 2, quota: {a100-80gb-sxm: 8}, borrow: any}
  guest: {total: 4}
"""


def test_a_topology_says_it_all() -> None:
    cluster = parse_cluster(CLUSTER)
    node = cluster.nodes[0]
    assert node.labels == (("region", "eu"), ("trust", "high"))
    assert (node.cpus, node.host_memory_bytes) == (96.0, 1024 * GIB)
    assert math.isinf(cluster.nodes[2].cpus)
    assert cluster.outages == (
        Outage("p-n1", 3600.0, 10800.0, "drain"), Outage("p-n1", 7200.0, 14400.0)
    )  # fmt: skip
    assert cluster.reservations == (
        Reservation("launch", ("p-n2",), 7200.0, 18000.0, ("lab",), ("x-1",)),
    )
    assert cluster.failures == FailureModel(
        accelerator_mtbf_s=100 * 86400.0, switch_mtbf_s=30 * 86400.0,
        crash_accelerator_s=50 * 86400.0,
    )  # fmt: skip


def test_slices_share_a_device_out() -> None:
    cluster = parse_cluster(CLUSTER)
    whole, part = accelerators()["A100-80GB-SXM"], cluster.accelerators["A100-part"]
    assert cluster.nodes[2].count == 7 * whole.devices_per_node
    assert part.memory_bytes == whole.memory_bytes / 7
    assert part.peak_w * 7 == pytest.approx(whole.peak_w)
    assert part.peak_flops["bf16"] * 7 == pytest.approx(whole.peak_flops["bf16"])


def test_a_workload_says_it_all() -> None:
    workload = parse_workload(WORKLOAD)
    jobs = workload.jobs
    kind = workload.classes[0]
    assert kind.labels == (("region", "eu"), ("trust", "high"))
    assert (kind.cpus, kind.host_memory_bytes, kind.group, kind.apart) == (
        12.0, 10 * GIB, "pair", "node"
    )  # fmt: skip
    assert workload.classes[1].near == "pod"
    assert workload.tenancies == (
        Tenancy("lab", 2.0, {"A100-80GB-SXM": 8}, None, None), Tenancy("guest", total=4)
    )  # fmt: skip
    assert "guest" in workload.tenants
    position = {name: i for i, name in enumerate(jobs.ids)}
    needed = {jobs.ids[k] for k in jobs.after[position["z"]]}
    assert needed == {"y-1", "y-2", "y-3", "x-1"}
    assert jobs.priority[position["x-2"]] == 3
    assert jobs.limit_s[position["x-1"]] == 9000.0
    assert np.isnan(jobs.limit_s[position["z"]])


def test_choosing_jobs_keeps_whom_they_need() -> None:
    jobs = parse_workload(WORKLOAD).jobs
    order = np.array([i for i, name in enumerate(jobs.ids) if name in ("z", "y-2")])[::-1]
    taken = jobs.take(order)
    assert [taken.ids[k] for k in taken.after[taken.ids.index("z")]] == ["y-2"]


def test_all_of_it_runs_and_is_verified_and_kept() -> None:
    problem = build_problem(parse_cluster(CLUSTER), parse_workload(WORKLOAD))
    for policy in ("fifo", "srtf"):
        run = simulate(problem, policy, seed=3)
        assert verify_run(problem, run) == []
        assert len(run.killed_us) == 2
        assert list(run.cancelled.values()) == ["needs x-1, which reached its time limit"]
        data = json.loads(json.dumps(run_to_json(run)))
        again = run_from_json(data)
        assert run_to_json(again) == run_to_json(run)
        assert again.downs == run.downs


def test_runs_written_before_these_terms_are_still_read() -> None:
    problem = build_problem(parse_cluster(CLUSTER), parse_workload(WORKLOAD))
    data = run_to_json(simulate(problem, "fifo", horizon_s=3000.0))
    for name in ("killed_us", "cancelled", "crashes"):
        del data[name]
    del data["downs"]["count"], data["downs"]["cause"]
    run: Run = run_from_json(data)
    assert not run.killed_us
    assert not run.crashes


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("after: [y, x-1]", "after: [y, x1]", "needs an unknown job: 'z', got 'x1'; did you mean"),
        ("after: [y, x-1]", "after: z", "needs itself, in a circle: 'z'"),
        ("borrow: any", "borrow: some", "not a number of accelerators, got 'some'"),
        ("quota: {a100-80gb-sxm: 8}", "quota: {a100-80gb-sxn: 8}", "unknown accelerator type"),
        ("apart: node", "apart: nodes", "not a known word, got 'nodes'"),
        ("limit: 2.5 h", "limit: 0 s", "jobs[0].limit"),
        ("priority: 3", "priority: high", "not a whole number, got 'high'"),
        ("cpus: 12", "cpus: -1", "out of range, got '-1'"),
    ],
)
def test_a_fault_of_a_workload_is_named(find: str, put: str, message: str) -> None:
    assert find in WORKLOAD
    with pytest.raises(InputError) as caught:
        parse_workload(WORKLOAD.replace(find, put))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("nodes: p-n2", "nodes: p-n9", "unknown node, got 'p-n9'"),
        ("start: 2 h, end: 5 h", "start: 5 h, end: 5 h", "the reservation ends before it starts"),
        ("kind: drain", "kind: drained", "not a known word, got 'drained'"),
        ("slices: 7", "slices: 0", "out of range, got '0'"),
        ("{accelerator_mtbf: 100 d, switch_mtbf: 30 d, job_mtbf: 50 d}", "{}", "nothing fails"),
        ("cpus: 96", "cpus: 0", "out of range, got '0'"),
    ],
)
def test_a_fault_of_a_topology_is_named(find: str, put: str, message: str) -> None:
    assert find in CLUSTER
    with pytest.raises(InputError) as caught:
        parse_cluster(CLUSTER.replace(find, put))
    assert message in str(caught.value)


def test_a_table_of_jobs_says_whom_they_need(tmp_path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(
        "id,gang,run_time_s,priority,limit_s,after\na,1,5,,,\nb,1,5,-2,60,a\nc,2,5,,,a|b\n"
    )
    jobs = load_workload(table).jobs
    assert jobs.after == ((), (0,), (0, 1))
    assert jobs.priority.tolist() == [0, -2, 0]
    assert jobs.limit_s[1] == 60.0
    table.write_text("id,gang,run_time_s,priority,after\na,1,5,x,\n")
    with pytest.raises(InputError, match="not a whole number, got 'x'"):
        load_workload(table)
    table.write_text("id,gang,run_time_s,after\na,1,5,b\nb,1,5,a\n")
    with pytest.raises(InputError, match="in a circle: 'a'"):
        load_workload(table)
