"""Known jobs scheduled offline: the search beside the best baseline, and how far from a bound.

Usage: python -m bench solve [--json] [--sizes 40,200,1000] [--objectives mean_jct,makespan]
       [--seconds 8] [--topology lab-mixed-64] [--workload llm-lab] [--squeeze 0.05]

Cases: the first jobs of the bundled list that have a mode on the fleet, their releases squeezed
so that they queue. Baselines (FIFO, EASY backfill, shortest remaining time first with
preemption) know all run times, as the search does. ``ours`` is what `fleetfit solve` returns:
the search over schedules that run each job once, and over the parts that a preemptive schedule
of the optimizer's cuts jobs into. The bound holds for every schedule, preempting or not; on
completion times, tardiness, makespan and fairness it is the plan's. Beside it stands the bound
on schedules of the answer's kind, which is tighter where each job runs once. Seconds are
processor seconds of one run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.io import load_cluster, load_workload
from scheduler.physics.problem import build_problem
from scheduler.simulate import simulate
from scheduler.solver.offline import OBJECTIVES, objective_value, solve_offline
from scheduler.solver.offline.model import Limits
from scheduler.verify import verify_run, verify_schedule

BASELINES: Final = ("fifo", "easy_backfill", "srtf")
SIZES: Final = "40,200,1000"
CASES: Final = "mean_jct,makespan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--sizes", default=SIZES, help="numbers of jobs, by commas")
    parser.add_argument("--objectives", default=CASES, help="by commas")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of search per case, in repeatable seconds"
    )
    parser.add_argument("--topology", default="lab-mixed-64", help="fleet")
    parser.add_argument("--workload", default="llm-lab", help="list of jobs")
    parser.add_argument(
        "--squeeze", type=float, default=0.05, help="factor on the releases of the jobs"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Solve every case."""
    sizes, names = arguments.sizes.split(","), arguments.objectives.split(",")
    known = ", ".join(OBJECTIVES)
    faults = [
        Fault("is no objective", "--objectives", value=n, allowed=known)
        for n in names
        if n not in OBJECTIVES
    ]
    faults += [
        Fault("is no number of jobs", "--sizes", value=n)
        for n in sizes
        if not n.isdigit() or not int(n)
    ]
    if not arguments.seconds > 0:
        faults.append(Fault("must be positive", "--seconds", value=str(arguments.seconds)))
    if not arguments.squeeze >= 0:
        faults.append(Fault("must not be negative", "--squeeze", value=str(arguments.squeeze)))
    if faults:
        raise InputError(faults)
    whole = build_problem(load_cluster(arguments.topology), load_workload(arguments.workload))
    cases = []
    for size in map(int, sizes):
        problem = _first_jobs(whole, size, arguments.squeeze)
        runs = _runs(problem)
        cases += [_case(problem, name, runs, arguments.seconds) for name in names]
    return {"bench": "solve", "cases": cases, "machine": machine_facts()}


def _first_jobs(problem: Problem, size: int, squeeze: float) -> Problem:
    """Return the problem with its first jobs that have a mode, released sooner."""
    columns = problem.workload.jobs
    able = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    jobs = columns.take(np.array(able[:size], dtype=np.int64))
    jobs = replace(jobs, release_s=jobs.release_s * squeeze)
    return replace(
        problem,
        workload=replace(problem.workload, jobs=jobs, services=()),
        service_modes=(),
    )


def _runs(problem: Problem) -> list[tuple[str, Run, float]]:
    """Return the runs in which every job finished, and the seconds they took."""
    found = []
    for name in (*BASELINES, "optimizer"):
        start = time.process_time()
        played = simulate(problem, name)
        seconds = time.process_time() - start
        if len(played.finished_us) == len(problem.workload.jobs):
            found.append((name, played, seconds))
    return found


def _case(
    problem: Problem, name: str, runs: list[tuple[str, Run, float]], seconds: float
) -> dict[str, Any]:
    maximised = OBJECTIVES[name].maximised
    values = {
        policy: objective_value(problem, name, played.allocations) for policy, played, _ in runs
    }
    baselines = [policy for policy in BASELINES if policy in values]
    if not baselines:
        raise InputError([Fault("no baseline finishes every job of it", "--workload")])
    sign = -1.0 if maximised else 1.0
    best = min(baselines, key=lambda policy: sign * values[policy])
    start = time.process_time()
    answer = solve_offline(
        problem,
        name,
        known=[(policy, played.allocations) for policy, played, _ in runs],
        limits=Limits(seconds),
    )
    took = time.process_time() - start
    stage = answer.stages[0]
    violations = len(verify_schedule(problem, answer.schedule))
    violations += sum(len(verify_run(problem, played)) for p, played, _ in runs if p == best)
    bound = stage.general_bound
    return {
        "case": f"{len(problem.workload.jobs)} jobs, {name}",
        "metric": f"{name}, {OBJECTIVES[name].unit}".rstrip(", "),
        "ours": stage.value,
        "peer": values[best],
        "peer_name": best,
        "ratio": stage.value / values[best] if values[best] else None,
        "optimizer": values.get("optimizer"),
        "bound": bound,
        "gap": abs(stage.value - bound) / abs(stage.value) if stage.value else 0.0,
        "seconds": took,
        "peer_seconds": next(s for policy, _, s in runs if policy == best),
        "information": "all jobs known",
        "violations": violations,
        "bound_of_its_kind": stage.bound,
        "gap_to_it": stage.gap,
        "proof": stage.proof,
        "status": str(stage.status),
        "made_by": answer.made_by,
        "preempts": answer.preempts,
        "began_with": answer.first,
        "began_at": answer.first_objective,
        "steps": answer.windows,
        "steps_that_helped": answer.improved,
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    lines = ["offline schedules: ours / best baseline, and the gap to a bound on every schedule"]
    for case in result["cases"]:
        how = "preempting" if case["preempts"] else "each job once"
        lines.append(
            f"  {case['case']}: {case['ours']:.6g} against {case['peer']:.6g}"
            f" ({case['peer_name']}), ratio {_ratio(case['ratio'])};"
            f" bound {case['bound']:.6g}, gap {case['gap']:.1%};"
            f" {case['proof']}: {case['bound_of_its_kind']:.6g}, gap {case['gap_to_it']:.1%};"
            f" {how}, {case['made_by']}; {case['seconds']:.1f} processor s"
        )
    return lines


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
