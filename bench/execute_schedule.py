"""A simulated schedule on 32 nodes played as real Ray tasks: idle time measured and compared.

The schedule (200 jobs, `execute_fleet.yaml` and `execute_jobs.yaml` beside this file) is
simulated, then played `--speed` times as fast on a local Ray whose custom resources are the
fleet's nodes. Workers' clocks say how long accelerators were held; what Ray itself takes to
start a gang is measured by gangs that do nothing, on the same Ray, and subtracted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.execute.schedules import Execution, execute_run

FLEET: Final = Path(__file__).with_name("execute_fleet.yaml")
JOBS: Final = Path(__file__).with_name("execute_jobs.yaml")
NOISE_SIGMA: Final = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--speed", type=float, default=4000.0, help="simulated over real time")
    parser.add_argument("--policies", default="easy_backfill,optimizer", help="joined by commas")
    parser.add_argument("--seed", type=int, default=0, help="of the noise on run times")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Simulate and execute the schedule of each policy."""
    import scheduler

    problem = scheduler.load(FLEET, JOBS)
    cases = []
    for policy in arguments.policies.split(","):
        played = scheduler.simulate(problem, policy, seed=arguments.seed, noise_sigma=NOISE_SIGMA)
        found = execute_run(problem, played, speed=arguments.speed)
        cases.append(_case(policy, found))
    return {
        "bench": "execute_schedule",
        "nodes": len(problem.cluster.nodes),
        "jobs": len(problem.workload.jobs),
        "speed": arguments.speed,
        "cases": cases,
        "machine": machine_facts(),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the lines that people read."""
    lines = [f"{result['nodes']} nodes, {result['jobs']} jobs, {result['speed']:g} times real time"]
    for case in result["cases"]:
        whole = case["idle"][-1]
        worst = max(case["idle"], key=lambda row: abs(row["points"]))
        lines += [
            f"{case['case']}: {case['gangs']} gangs, {case['members']} members in "
            f"{case['seconds']:.1f} s; idle simulated {100 * whole['simulated']:.2f} %, measured "
            f"{100 * whole['measured']:.2f} % (raw {100 * whole['raw']:.2f} %), "
            f"{whole['points']:+.2f} points; worst type {worst['accelerator']} "
            f"{worst['points']:+.2f} points",
            f"  Ray's latency {1e3 * case['free_s']:.1f} ms free, {1e3 * case['handover_s']:.1f} "
            f"ms at handovers; late by {1e3 * case['late_median_s']:.1f} ms (median), "
            f"{1e3 * case['late_worst_s']:.1f} ms (worst); {case['faults']} gangs not whole, "
            f"{case['leaked']} placement groups leaked, {case['short']} gangs shorter than that",
        ]
    return lines


def _case(policy: str, found: Execution) -> dict[str, Any]:
    fleet = found.idle[-1]
    return {
        "case": policy,
        "metric": "idle_percent",
        "ours": 100 * fleet.measured,
        "peer": 100 * fleet.simulated,
        "peer_name": "simulated",
        "ratio": fleet.measured / fleet.simulated if fleet.simulated else None,
        "violations": len(found.faults),
        "agrees": found.agrees,
        "seconds": found.seconds,
        "gangs": found.gangs,
        "members": len(found.members),
        "handovers": found.handovers,
        "short": found.short,
        "idle": [
            {
                "accelerator": row.name,
                "simulated": row.simulated,
                "raw": row.raw,
                "measured": row.measured,
                "points": row.points,
            }
            for row in found.idle
        ],
        "free_s": found.latency.free_s,
        "handover_s": found.latency.handover_s,
        "late_median_s": found.lateness_s[0],
        "late_worst_s": found.lateness_s[2],
        "spread_s": found.spread_s,
        "faults": len(found.faults),
        "leaked": found.leaked,
    }
