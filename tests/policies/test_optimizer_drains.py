"""The optimizer beside nodes that are being drained: what is held there is nobody else's."""

from __future__ import annotations

from random_problems import fleet, workload

from scheduler.core.cluster import Outage
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.simulate import simulate
from scheduler.verify import verify_run


def test_it_does_not_stop_a_job_for_room_on_a_node_being_drained() -> None:
    cluster, types, domains, pools = fleet(
        [[("A", 1)]], outages=(Outage("n0", 100.0, 5000.0, "drain"),)
    )
    kind = JobClass("k", RunTimePhysics(), (1,), restart_s=0.0)
    modes = ((Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 100.0),),)
    jobs = workload((kind,), [0, 0], [0.0, 200.0], [3000.0, 10.0])
    problem = Problem(cluster, jobs, types, ("node", "pod", "site", "fleet"), domains, pools, modes)
    run = simulate(problem, "optimizer")
    assert verify_run(problem, run) == []
    # the long one runs on while its node drains; the short one waits for the node's return
    assert run.finished_us[0] == 3_000_000_000
    assert run.finished_us[1] == 5_010_000_000
