"""The plan's bound beside the combinatorial one: how far any schedule can be from the best.

Usage: python -m bench plan [--json] [--trace FILE --throughputs FILE] [--buckets N]

Cases: Gavel's static list of 300 jobs on its 36 GPUs (its simulator's best policies: mean JCT
71.4 h, makespan 310.0 h) and the demo. The bound holds for every schedule, preempting, resizing
and moving allowed, with perfect knowledge; the prices that prove it are re-evaluated in whole
numbers. Seconds are processor seconds of one run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.core.bounds import lower_bounds
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.io import load_cluster, load_workload
from scheduler.physics.problem import build_problem
from scheduler.solver.plan import plan_bound

TRACE: Final = Path("../shared/peers/gavel/gavel_static_multi_300_seed0.trace")
THROUGHPUTS: Final = Path("../shared/traces/gavel/throughput_isolated.csv")
GAVEL_BEST_S: Final = 71.4 * 3600
"""Mean completion time of Gavel's max_min_fairness_perf on that list."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--trace", type=Path, default=TRACE, help="a job list of Gavel's")
    parser.add_argument("--throughputs", type=Path, default=THROUGHPUTS, help="its table as CSV")
    parser.add_argument("--topology", default="gavel-36", help="fleet of the job list")
    parser.add_argument("--buckets", type=int, default=80, help="time buckets of the plan")
    parser.add_argument("--rounds", type=int, default=30, help="of column generation, at most")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bound every case."""
    faults = [
        Fault(
            "no such file; it is made from stanford-futuredata/gavel, see bench/plan.py",
            f"--{name}",
            value=str(path),
        )
        for name, path in (("trace", arguments.trace), ("throughputs", arguments.throughputs))
        if not path.is_file()
    ]
    faults += [
        Fault("must be at least 2", f"--{name}", value=str(getattr(arguments, name)))
        for name in ("buckets", "rounds")
        if getattr(arguments, name) < 2
    ]
    if faults:
        raise InputError(faults)
    listed = _problem(
        arguments.topology,
        arguments.trace,
        format="gavel",
        profile=str(arguments.throughputs),
    )
    demo = _problem("demo-mixed", "demo-day")
    effort = {"buckets": arguments.buckets, "rounds": arguments.rounds}
    peer_s = GAVEL_BEST_S if arguments.trace.name == TRACE.name else None
    cases = [_case(arguments.trace.stem, listed, effort, peer_s, serving=False)]
    cases += [_case("demo", demo, effort, None, serving=serving) for serving in (False, True)]
    return {"bench": "plan", "cases": cases, "machine": machine_facts()}


def _problem(topology: str, workload: str | Path, **how: Any) -> Problem:
    cluster = load_cluster(topology)
    return build_problem(cluster, load_workload(workload, **how))


def _case(
    name: str, problem: Problem, effort: dict[str, int], peer_s: float | None, *, serving: bool
) -> dict[str, Any]:
    least = lower_bounds(problem)
    start = time.process_time()
    found = plan_bound(problem, serving=serving, buckets=effort["buckets"], rounds=effort["rounds"])
    seconds = time.process_time() - start
    return {
        "case": f"{name}, {found.jobs} jobs" + (", all services served in full" * serving),
        "metric": "bound on the mean completion time, s",
        "ours": found.mean_jct_s,
        "peer": least.mean_jct_s,
        "peer_name": "combinatorial bound",
        "ratio": found.mean_jct_s / least.mean_jct_s if least.mean_jct_s else None,
        "bound": found.mean_jct_s,
        "gap": peer_s / found.mean_jct_s - 1 if peer_s else None,
        "gap_of": "Gavel's best policy" if peer_s else "",
        "seconds": seconds,
        "peer_seconds": None,
        "information": "all jobs known",
        "violations": int(found.mean_jct_s < least.mean_jct_s),
        "makespan_bound_s": found.makespan_s,
        **effort,
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    lines = ["no schedule has a lower mean completion time than the plan's bound"]
    for case in result["cases"]:
        gap = f", {case['gap_of']} is {case['gap']:.1%} above" if case["gap"] is not None else ""
        lines.append(
            f"  {case['case']}: {case['ours'] / 3600:.3f} h; combinatorial"
            f" {case['peer'] / 3600:.3f} h{gap}; {case['seconds']:.1f} processor s"
        )
    return lines
