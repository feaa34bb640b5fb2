"""Shockwave's trace on 32 GPUs (NSDI 2023): our policies beside its published table.

Usage: python -m bench shockwave [--trace T] [--throughputs J] [--cluster 32:0:0] [--json]

The published runs let jobs change their batch size as they train, which we do not model: ours
do all their steps at the first batch size, about a tenth more work. So compare how a policy
does against the others of its table, and each makespan with the time the work alone takes on
the whole cluster (``over area``), not the hours.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.gavel import SHARED, cluster_counts, read_case
from bench.machine import machine_facts
from scheduler.core.bounds import lower_bounds
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.simulate import simulate
from scheduler.verify import verify_run

SOURCE: Final = "https://github.com/uw-mad-dash/shockwave (scheduler/traces/reproduce)"
PEERS: Final = {
    "shockwave": "shockwave",
    "gavel_makespan_perf": "min_total_duration",
    "gavel_finish_time_perf": "finish_time_fairness",
    "gavel_max_min_perf": "max_min_fairness",
    "gavel_throughput_perf": "max_sum_throughput_perf",
    "gandiva_fair": "gandiva_fair",
    "themis": "finish_time_fairness",
    "tiresias": "",
    "las": "",
    "srtf": "",
    "optimizer": "",
    "optimizer_jct": "",
}
"""Our name of a policy to that of the published row, if there is one."""

HOUR_S: Final = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    folder = SHARED / "shockwave"
    parser.add_argument("--trace", type=Path, default=folder / "tacc_32gpus_120.trace")
    parser.add_argument("--throughputs", type=Path, default=folder / "tacc_throughputs.json")
    parser.add_argument("--cluster", default="32:0:0", help="V100:P100:K80")
    parser.add_argument("--recorded", type=Path, default=SHARED / "results-training.json")
    parser.add_argument("--policies", help="ours, joined by commas")
    parser.add_argument("--restart", type=float, default=0.0, help="seconds a start takes")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play each policy once."""
    faults = [
        Fault("no such file; fetch it", str(path), allowed=SOURCE)
        for path in (arguments.trace, arguments.throughputs)
        if not path.exists()
    ]
    if faults:
        raise InputError(faults)
    counts = cluster_counts(arguments.cluster)
    problem = read_case(arguments.trace, arguments.throughputs, counts, arguments.restart)
    published = _published(arguments.recorded, arguments.trace.name)
    chosen = arguments.policies.split(",") if arguments.policies else list(PEERS)
    cases = [row for policy in chosen for row in _cases(problem, policy, published, sum(counts))]
    return {"bench": "shockwave", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'policy':<26}{'metric':<11}{'ours':>7}{'table':>8}  {'published as':<25}{'bound':>7}"
        f"{'gap':>7}{'over area':>10}{'table':>7}{'s':>6}"
    )
    for case in result["cases"]:
        peer = "-" if case["peer"] is None else f"{case['peer']:.2f}"
        over = "-" if case["over_area"] is None else f"{case['over_area']:.3f}"
        theirs = "-" if case["peer_over_area"] is None else f"{case['peer_over_area']:.3f}"
        line = f"{case['policy']:<26}{case['metric']:<11}{case['ours']:>7.2f}{peer:>8}"
        line += f"  {case['peer_name']:<25}{case['bound']:>7.2f}{100 * case['gap']:>6.1f}%"
        line += f"{over:>10}{theirs:>7}{case['seconds']:>6.1f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    yield "hours; the published jobs change their batch sizes, ours do not: see --help"


def _published(path: Path, trace: str) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["published"]
    return {r["policy"]: r for r in rows if Path(r.get("trace", "")).name == trace}


def _cases(
    problem: Problem, policy: str, published: Mapping[str, Mapping[str, float]], devices: int
) -> list[dict[str, Any]]:
    """Play a policy; return a row for its mean JCT and one for its makespan."""
    start = time.process_time()
    played = simulate(problem, policy)
    seconds = time.process_time() - start
    metrics = metrics_of(problem, played)
    bounds = lower_bounds(problem)
    jobs = problem.workload.jobs
    area_s = sum(
        work / problem.modes[c][0].rate * problem.modes[c][0].count
        for work, c in zip(jobs.work.tolist(), jobs.class_index.tolist(), strict=True)
    )
    peer = published.get(PEERS.get(policy, ""))
    rows = []
    for metric, key, ours_s, bound_s in (
        ("mean_jct_h", "avg_jct_h", metrics.mean_jct_s, bounds.mean_jct_s),
        ("makespan_h", "makespan_h", metrics.makespan_s, bounds.makespan_s),
    ):
        whole = metric == "makespan_h"
        rows.append(
            {
                "case": f"{problem.workload.name}, {policy}",
                "policy": policy,
                "metric": metric,
                "ours": ours_s / HOUR_S,
                "peer": peer[key] if peer else None,
                "peer_name": PEERS.get(policy) or "-",
                "ratio": ours_s / HOUR_S / peer[key] if peer else None,
                "bound": bound_s / HOUR_S,
                "gap": ours_s / bound_s - 1,
                "over_area": ours_s * devices / area_s if whole else None,
                "peer_over_area": 1 / peer["utilization"] if peer and whole else None,
                "seconds": seconds,
                "peer_seconds": None,
                "information": "exact; batch sizes fixed",
                "violations": len(verify_run(problem, played)),
                "finished": metrics.finished,
            }
        )
    return rows
