"""Philly's virtual clusters with Gavel's measured rates on mixed V100, P100 and K80 servers.

No peer's figure exists for these inputs: the peers are the baselines, under the same
information, the same jobs, the same noise and the same verifier. Jobs are typed as Gavel's
authors typed Microsoft's trace (model, steps, gang); rates are those they measured. Replays
differ by noise on the run times; differences are paired by seed, 95 % intervals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import interval, paired_difference
from scheduler.core.problem import Problem
from scheduler.execute import ReplayResult, replay
from scheduler.io import load_cluster, load_trace
from scheduler.physics.load import scaled_to_load
from scheduler.physics.problem import build_problem

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "traces" / "gavel"
SOURCE: Final = (
    "scheduler/traces/msr and simulation_throughputs.json of"
    " https://github.com/stanford-futuredata/gavel (MIT), as CSV; named by"
    " --trace FILE --throughputs FILE"
)
OURS: Final = "optimizer"
METRICS: Final = ("mean_jct_s", "waste_fraction")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--trace", type=Path, default=SHARED / "msr_dev.csv.gz")
    parser.add_argument(
        "--throughputs", type=Path, default=SHARED / "throughput_isolated.csv", help="steps/s"
    )
    parser.add_argument("--topology", default="gavel-36", help="name or file of the fleet")
    parser.add_argument("--vc", action="append", help="virtual cluster; repeatable")
    parser.add_argument("--load", type=float, default=0.9, help="offered load")
    parser.add_argument(
        "--policies", default="fifo,easy_backfill,srtf", help="baselines, by commas"
    )
    parser.add_argument("--information", choices=("exact", "estimates", "none"), default="exact")
    parser.add_argument("--seeds", type=int, default=4, help="replays, noise 0.1")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every virtual cluster under every policy."""
    for path in (arguments.trace, arguments.throughputs):
        if not path.exists():
            raise InputError([Fault("no such file; fetch it", str(path), allowed=SOURCE)])
    if arguments.seeds < 1:
        raise InputError([Fault("out of range", "--seeds", "", str(arguments.seeds), "1 and up")])
    baselines = [name for name in arguments.policies.split(",") if name and name != OURS]
    cluster = load_cluster(arguments.topology)
    cases: list[dict[str, Any]] = []
    for vc in arguments.vc or ("103959", "0e4a51"):
        workload = load_trace(
            arguments.trace,
            select={"vc": vc, "seed": "0"},
            profile=str(arguments.throughputs),
        )
        problem = scaled_to_load(build_problem(cluster, workload), arguments.load)
        cases += _cases(vc, problem, baselines, arguments)
    return {"bench": "philly", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    heads = f"{'ours':>12}{'best baseline':>28}{'change':>22}{'gap':>8}{'s':>7}"
    yield f"{'case':<26}{'metric':<16}{heads}"
    for case in result["cases"]:
        low, high = (100 * x / case["peer"] for x in case["difference_interval"])
        change = f"{100 * (case['ratio'] - 1):+.1f} % [{low:+.1f}, {high:+.1f}]"
        gap = f"{100 * case['gap']:.0f} %" if case["gap"] is not None else "-"
        peer = f"{case['peer']:.6g} {case['peer_name']}"
        yield (
            f"{case['case']:<26}{case['metric']:<16}{case['ours']:>12.6g}{peer:>28}  "
            f"{change:>22}{gap:>8}{case['seconds']:>7.1f}"
            + (f"  {case['violations']} violations" if case["violations"] else "")
        )
    yield "change: paired by seed with the best baseline, 95 % interval; gap: over the lower bound"


def _cases(
    vc: str, problem: Problem, baselines: Sequence[str], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    played: dict[str, list[ReplayResult]] = {}
    seconds: dict[str, float] = {}
    for policy in (*baselines, OURS):
        start = time.perf_counter()
        played[policy] = replay(
            problem,
            [policy],
            range(arguments.seeds),
            executor="processes" if arguments.seeds > 1 else "local",
            information=arguments.information,
            noise_sigma=0.1,
        )
        seconds[policy] = time.perf_counter() - start
    return [
        _case(f"{vc}, load {arguments.load:g}", metric, played, seconds, baselines, arguments)
        for metric in METRICS
    ]


def _case(
    name: str,
    metric: str,
    played: Mapping[str, Sequence[ReplayResult]],
    seconds: Mapping[str, float],
    baselines: Sequence[str],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    values = {p: [float(getattr(r.metrics, metric)) for r in rs] for p, rs in played.items()}
    means = {p: interval(v).mean for p, v in values.items()}
    best = min(baselines, key=lambda p: means[p])
    change = paired_difference(values[OURS], values[best])
    bound = None
    if metric == "mean_jct_s":
        bound = interval([r.bounds.mean_jct_s for r in played[OURS]]).mean
    return {
        "case": name,
        "metric": metric,
        "ours": means[OURS],
        "peer": means[best],
        "peer_name": best,
        "ratio": means[OURS] / means[best] if means[best] else None,
        "difference_interval": [change.low, change.high],
        "bound": bound,
        "gap": means[OURS] / bound - 1 if bound else None,
        "seconds": seconds[OURS],
        "peer_seconds": seconds[best],
        "information": arguments.information,
        "violations": sum(len(r.violations) for rs in played.values() for r in rs),
        "baselines": {p: means[p] for p in baselines},
        "seeds": arguments.seeds,
    }
