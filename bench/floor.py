"""The optimizer against the best baseline of the same information, over many problems.

Each problem is drawn from a seed: a shipped fleet, a kind of workload (or a window of a real
trace), how much it asks of the fleet, how large its gangs are and how users err. All policies
play the same jobs under the same information and are verified. The peer is whichever baseline
has the least mean JCT on that very problem, chosen in hindsight, which nobody who has to choose
one beforehand gets: run times have long tails, so that the luckiest of a dozen policies is
some per cent better than its own average. The last lines therefore also compare with each
baseline as if it had been chosen for all problems. ``before`` is the optimizer without the
baselines that it rehearses (`scheduler.policies.portfolio`). Under ``estimates`` users'
estimates are off by a lognormal factor whose standard deviation the case's name gives.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import interval, metrics_of
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.workload import Jobs, Workload
from scheduler.generate import generate
from scheduler.generate.estimates import user_estimates
from scheduler.io import load_cluster, load_trace
from scheduler.physics.load import scaled_to_load
from scheduler.physics.problem import build_problem
from scheduler.policies import INFORMATION_LEVELS, Information, Policy, known, make
from scheduler.policies.optimizer import Optimizer
from scheduler.simulate import simulate
from scheduler.verify import verify_run

TRACES: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "traces" / "gavel"
SOURCE: Final = (
    "scheduler/traces/msr and simulation_throughputs.json of"
    " https://github.com/stanford-futuredata/gavel (MIT), as CSV; named by"
    " --trace FILE --throughputs FILE, or leave them out with --windows 0"
)
BASELINES: Final = (
    *("fifo", "easy_backfill", "best_fit", "sjf", "srtf", "las", "tiresias", "themis"),
    *("srtf+preempt+best_fit", "srtf+easy+best_fit", "fifo+easy+best_fit", "allox", "lucid"),
)
FLEETS: Final = ("gavel-36", "sia-64", "lab-mixed-64", "demo-mixed", "ascend-910b-pod")
KINDS: Final = ("philly-like", "helios-like", "llm-lab")
LOADS: Final = (0.9, 1.2, 1.6, 2.5, 5.0)
SIGMAS: Final = (0.3, 0.8, 1.5)
CLUSTERS: Final = ("103959", "0e4a51", "ee9e8c")
"""Virtual clusters whose windows are played."""

MOST_JOBS: Final = 250
TIE: Final = 1e-9
OURS: Final = "optimizer"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A problem and what it is called."""

    name: str
    problem: Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument(
        "--problems", type=int, default=8, help="generated problems; 60 take half an hour"
    )
    parser.add_argument("--windows", type=int, default=2, help="windows of the trace")
    parser.add_argument("--first", type=int, default=2000, help="seed of the first problem")
    parser.add_argument("--trace", type=Path, default=TRACES / "msr_dev.csv.gz")
    parser.add_argument("--throughputs", type=Path, default=TRACES / "throughput_isolated.csv")
    parser.add_argument("--information", default=",".join(INFORMATION_LEVELS), help="by commas")
    parser.add_argument("--baselines", default=",".join(BASELINES), help="by commas")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every problem at every level under every policy."""
    baselines = [name for name in arguments.baselines.split(",") if name]
    levels = [level for level in arguments.information.split(",") if level]
    _check(arguments, baselines, levels)
    problems = [drawn_problem(arguments.first + i) for i in range(arguments.problems)]
    problems += [
        trace_window(arguments.trace, arguments.throughputs, arguments.first + i)
        for i in range(arguments.windows)
    ]
    cases = [_case(drawn, level, baselines) for drawn in problems for level in levels]
    return {
        "bench": "floor",
        "cases": cases,
        "summary": summary(cases),
        "against_each": against_each(cases),
        "machine": machine_facts(),
    }


def _check(arguments: argparse.Namespace, baselines: Sequence[str], levels: Sequence[str]) -> None:
    faults = [
        Fault("unknown policy", "--baselines", "", name) for name in baselines if not known(name)
    ]
    if not baselines:
        faults.append(Fault("no policy to compare with", "--baselines"))
    faults += [
        Fault("unknown level", "--information", "", level, ", ".join(INFORMATION_LEVELS))
        for level in levels
        if level not in INFORMATION_LEVELS
    ]
    if arguments.problems < 0 or arguments.windows < 0 or arguments.first < 0:
        faults.append(Fault("out of range", "--problems, --windows, --first", allowed="0 and up"))
    if arguments.windows > 0:
        faults += [
            Fault("no such file; fetch it", str(path), allowed=SOURCE)
            for path in (arguments.trace, arguments.throughputs)
            if not path.exists()
        ]
    if faults:
        raise InputError(faults)


def drawn_problem(seed: int) -> Drawn:
    """Return the generated problem of a seed."""
    rng = stream(seed, "floor")
    fleet, kind = FLEETS[rng.integers(len(FLEETS))], KINDS[rng.integers(len(KINDS))]
    load, sigma = LOADS[rng.integers(len(LOADS))], SIGMAS[rng.integers(len(SIGMAS))]
    cluster = load_cluster(fleet)
    accelerators = sum(node.count for node in cluster.nodes)
    gang = int(rng.choice([g for g in (4, 8, 16, 32) if g <= accelerators // 3]))
    days = float(rng.choice([0.5, 1.0, 2.0]))
    workload = generate(
        kind,
        seed=seed,
        days=days,
        mean_demand=0.8 * accelerators,
        max_gang=gang,
        max_batch=int(rng.choice([2, 20])),
        max_run_time_s=float(rng.choice([4, 12, 48])) * 3600.0,
        estimates="lognormal",
        estimate_sigma=sigma,
    )
    workload = window(workload, 0, MOST_JOBS)
    problem = scaled_to_load(build_problem(cluster, workload), load)
    return Drawn(f"{seed} {kind} on {fleet}, gangs to {gang}, load {load}, sigma {sigma}", problem)


def trace_window(trace: Path, throughputs: Path, seed: int) -> Drawn:
    """Return a window of a virtual cluster's jobs, on Gavel's fleet."""
    rng = stream(seed, "floor window")
    vc = CLUSTERS[rng.integers(len(CLUSTERS))]
    load, sigma = LOADS[rng.integers(len(LOADS))], SIGMAS[rng.integers(len(SIGMAS))]
    workload = load_trace(trace, select={"vc": vc, "seed": "0"}, profile=str(throughputs))
    first = int(rng.integers(max(1, len(workload.jobs) - MOST_JOBS)))
    workload = window(workload, first, MOST_JOBS)
    problem = build_problem(load_cluster("gavel-36"), workload)
    jobs = problem.workload.jobs
    best = np.array([max((m.rate for m in modes), default=np.nan) for modes in problem.modes])
    estimate_s = user_estimates(
        jobs.work / best[jobs.class_index], "lognormal", sigma, stream(seed, "floor estimates")
    )
    workload = replace(problem.workload, jobs=replace(jobs, estimate_s=estimate_s))
    problem = scaled_to_load(replace(problem, workload=workload), load)
    return Drawn(f"{seed} Philly {vc} from {first}, load {load}, sigma {sigma}", problem)


def window(workload: Workload, first: int, count: int) -> Workload:
    """Return the workload with some jobs only, their releases counted from the first one."""
    jobs = workload.jobs
    kept = slice(first, first + count)
    release_s = jobs.release_s[kept]
    start_s = float(release_s.min()) if len(release_s) else 0.0
    cut = Jobs(
        jobs.ids[kept],
        jobs.class_index[kept],
        release_s - start_s,
        jobs.work[kept],
        jobs.estimate_s[kept],
        jobs.weight[kept],
        jobs.deadline_s[kept] - start_s,
        jobs.tenant_index[kept],
    )
    return replace(workload, jobs=cut)


def summary(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, by level and together, how the ratios to the best baseline are spread."""
    rows = []
    for which in ("ratio", "ratio_before"):
        for level in (*INFORMATION_LEVELS, "all"):
            ratios = [c[which] for c in cases if level in (c["information"], "all")]
            if not ratios:
                continue
            rows.append(
                {
                    "information": level,
                    "when": "now" if which == "ratio" else "before",
                    "problems": len(ratios),
                    "mean": math.fsum(ratios) / len(ratios),
                    "share_not_above": sum(r <= 1.0 + TIE for r in ratios) / len(ratios),
                    "share_above_1_02": sum(r > 1.02 for r in ratios) / len(ratios),
                    "worst": max(ratios),
                }
            )
    return rows


def against_each(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, by level, the mean ratio to each baseline over all problems, nearest first."""
    rows = []
    for level in INFORMATION_LEVELS:
        mine = [c for c in cases if c["information"] == level]
        found = []
        for name in mine[0]["baselines"] if mine else ():
            ratios = interval([c["ours"] / c["baselines"][name] for c in mine])
            row = {"information": level, "baseline": name, "mean": ratios.mean}
            found.append({**row, "low": ratios.low, "high": ratios.high})
        rows += sorted(found, key=lambda row: -row["mean"])
    return rows


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield f"{'problem':<76}{'information':<12}{'ours h':>8}{'ratio':>8}{'before':>8}  best"
    for case in sorted(result["cases"], key=lambda c: -c["ratio"]):
        yield (
            f"{case['case']:<76}{case['information']:<12}{case['ours'] / 3600:>8.3f}"
            f"{case['ratio']:>8.3f}{case['ratio_before']:>8.3f}  {case['peer_name']}"
            + (f"  {case['violations']} violations" if case["violations"] else "")
        )
    yield "mean JCT over that of the baseline that is best on the problem:"
    for row in result["summary"]:
        yield (
            f"{row['when']:<8}{row['information']:<11}{row['problems']:>4} problems  "
            f"mean {row['mean']:.3f}  not above 1: {100 * row['share_not_above']:.0f} %  "
            f"above 1.02: {100 * row['share_above_1_02']:.0f} %  worst {row['worst']:.3f}"
        )
    yield "mean JCT over that of one baseline throughout, 95 % interval over problems:"
    for row in result["against_each"]:
        yield (
            f"{row['information']:<11}{row['baseline']:<24}{row['mean']:.3f}"
            f" [{row['low']:.3f}, {row['high']:.3f}]"
        )


def _case(drawn: Drawn, level: Information, baselines: Sequence[str]) -> dict[str, Any]:
    policies: dict[str, Policy] = {OURS: make(OURS), "before": Optimizer(has_floor=False)}
    policies |= {name: make(name) for name in baselines}
    jct_s: dict[str, float] = {}
    seconds: dict[str, float] = {}
    violations = 0
    for name, policy in policies.items():
        start = time.process_time()
        played = simulate(drawn.problem, policy, information=level)
        seconds[name] = time.process_time() - start
        jct_s[name] = float(metrics_of(drawn.problem, played).mean_jct_s)
        violations += len(verify_run(drawn.problem, played))
    best = min(baselines, key=lambda name: jct_s[name])
    return {
        "case": drawn.name,
        "metric": "mean_jct_s",
        "ours": jct_s[OURS],
        "peer": jct_s[best],
        "peer_name": best,
        "ratio": jct_s[OURS] / jct_s[best],
        "ratio_before": jct_s["before"] / jct_s[best],
        "bound": None,
        "gap": None,
        "seconds": seconds[OURS],
        "seconds_before": seconds["before"],
        "peer_seconds": seconds[best],
        "information": level,
        "violations": violations,
        "baselines": {name: jct_s[name] for name in baselines},
    }
