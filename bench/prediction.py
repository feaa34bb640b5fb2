"""What history is worth: run times learnt in the run, on windows of Philly's virtual clusters.

The peers are the same policies without it, the best baseline of the same information, and exact
knowledge. Every window is so many jobs in a row of one virtual cluster, played at a stated load;
ratios of mean JCT are paired by window, geometric means with 95 % intervals. The trace has no
estimates of its users: those of level ``estimates`` are generated (rounded-up time limits).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import interval, metrics_of
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.workload import Workload
from scheduler.generate.estimates import user_estimates
from scheduler.io import load_cluster, load_trace
from scheduler.physics.load import scaled_to_load
from scheduler.physics.problem import build_problem
from scheduler.policies import Information, Policy, make
from scheduler.policies.optimizer import Optimizer
from scheduler.simulate import simulate
from scheduler.verify import verify_run

TRACE: Final = (
    Path(__file__).resolve().parents[1] / ".." / "shared" / "traces" / "philly/philly_dev.csv.gz"
)
SOURCE: Final = "philly.csv of https://github.com/siasosp23/artifacts; named by --trace FILE"
FIRST_UNSEEN: Final = 14_400
"""Jobs of 6214e9 before this one, and all of 0e4a51, served to set the constants."""
BASELINES: Final = ("fifo", "easy_backfill", "srtf")
COMPARED: Final = ("srtf", "easy_backfill", "optimizer")


@dataclass(frozen=True, slots=True)
class Played:
    """Runs of one policy at one level, a window each."""

    jct_s: list[float]
    facts: list[Mapping[str, float]]
    violations: int
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--topology", default="gavel-36", help="name or file of the fleet")
    parser.add_argument("--vc", action="append", help="virtual cluster; repeatable")
    parser.add_argument("--jobs", type=int, default=300, help="jobs of a window")
    parser.add_argument("--windows", type=int, default=2, help="windows of a cluster, at most")
    parser.add_argument("--load", type=float, default=1.0, help="offered load")
    parser.add_argument("--largest", type=int, default=8, help="largest gang that is kept")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every window with and without history."""
    if not arguments.trace.exists():
        raise InputError([Fault("no such file; fetch it", str(arguments.trace), allowed=SOURCE)])
    for name in ("jobs", "windows", "largest"):
        if getattr(arguments, name) < 1:
            value = str(getattr(arguments, name))
            raise InputError([Fault("out of range", f"--{name}", "", value, "1 and up")])
    windows: list[Problem] = []
    for vc in arguments.vc or ("6214e9", "ee9e8c", "103959"):
        windows += _windows(vc, arguments)
    if len(windows) < 2:
        allowed = "at least two windows: fewer --jobs"
        raise InputError([Fault("too few jobs", str(arguments.trace), allowed=allowed)])
    cases = [*_level(windows, "none"), *_level(windows, "estimates")]
    return {"bench": "prediction", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield f"{'case':<34}{'ours':>9}{'peer':>9}  {'peer':<22}{'ratio':>24}{'worst':>8}"
    for case in result["cases"]:
        low, high = case.get("ratio_interval", (None, None))
        ratio = "" if case["ratio"] is None else f"{case['ratio']:.3f}"
        ratio += f" [{low:.3f}, {high:.3f}]" if low else ""
        peer = "" if case["peer"] is None else f"{case['peer']:.3f}"
        worst = f"{case['worst']:.3f}" if "worst" in case else ""
        yield (
            f"{case['case']:<34}{case['ours']:>9.3f}{peer:>9}  "
            f"{case['peer_name']:<22}{ratio:>24}{worst:>8}"
            + (f"  {case['violations']} violations" if case["violations"] else "")
        )
    yield "mean JCT in h; ratio: geometric mean over windows, 95 % interval; errors: |log|"


def _windows(vc: str, arguments: argparse.Namespace) -> list[Problem]:
    workload = load_trace(
        arguments.trace, select={"cluster": vc}, since="2017-10-02", until="2017-12-10"
    )
    jobs, size = workload.jobs, arguments.jobs
    gang = np.array([kind.gang[0] for kind in workload.classes])[jobs.class_index]
    kept = np.flatnonzero(gang <= arguments.largest)
    first = FIRST_UNSEEN if len(kept) > 2 * FIRST_UNSEEN else 0
    cluster = load_cluster(arguments.topology)
    found: list[Problem] = []
    for at in range(first, len(kept) - size + 1, size):
        if len(found) == arguments.windows:
            break
        part = jobs.take(kept[at : at + size])
        estimate_s = user_estimates(part.work, "limits", 0.8, stream(at, "estimates"))
        part = replace(part, release_s=part.release_s - part.release_s[0], estimate_s=estimate_s)
        window: Workload = replace(workload, jobs=part)
        found.append(scaled_to_load(build_problem(cluster, window), arguments.load))
    return found


def _level(windows: Sequence[Problem], level: Information) -> Iterator[dict[str, Any]]:
    makers: dict[str, Callable[[], Policy]] = {"optimizer": Optimizer}
    for name in BASELINES:
        makers[name] = lambda name=name: make(name)  # type: ignore[misc]
    for name in COMPARED:
        makers[f"{name}+learned"] = lambda name=name: make(f"{name}+learned")  # type: ignore[misc]
    played = {name: _play(windows, maker, level) for name, maker in makers.items()}
    exact = _play(windows, lambda: make("srtf"), "exact")
    best = min(BASELINES, key=lambda name: statistics.fmean(np.log(played[name].jct_s)))
    for name in COMPARED:
        ours = played[f"{name}+learned"]
        peers = {name: played[name], best: played[best], "srtf, exact": exact}
        for peer_name, peer in peers.items():
            yield _case(f"{level}, {name}+learned", ours, peer_name, peer, level)
    facts = played["srtf+learned"].facts
    for figure in ("median", "p90"):
        yield _error(f"{level}, {figure} error", figure, facts, level)


def _error(
    case: str, figure: str, facts: Sequence[Mapping[str, float]], level: Information
) -> dict[str, Any]:
    """Return by how much predictions were off, beside the users' estimates if there are any."""
    ours = statistics.fmean(f[f"predicted_error_{figure}"] for f in facts)
    users = [f[name] for f in facts if (name := f"estimate_error_{figure}") in f]
    peer = statistics.fmean(users) if users else None
    return {
        "case": case,
        "metric": f"error_{figure}",
        "ours": ours,
        "peer": peer,
        "peer_name": "user estimates",
        "ratio": ours / peer if peer else None,
        "bound": None,
        "gap": None,
        "seconds": None,
        "peer_seconds": None,
        "information": level,
        "violations": 0,
    }


def _play(windows: Sequence[Problem], maker: Callable[[], Policy], level: Information) -> Played:
    start = time.process_time()
    runs = [simulate(problem, maker(), information=level) for problem in windows]
    seconds = time.process_time() - start
    return Played(
        [metrics_of(p, r).mean_jct_s for p, r in zip(windows, runs, strict=True)],
        [r.solver for r in runs],
        sum(len(verify_run(p, r)) for p, r in zip(windows, runs, strict=True)),
        seconds,
    )


def _case(
    case: str, ours: Played, peer_name: str, peer: Played, level: Information
) -> dict[str, Any]:
    logs = [math.log(a / b) for a, b in zip(ours.jct_s, peer.jct_s, strict=True)]
    found = interval(logs)
    return {
        "case": case,
        "metric": "mean_jct_h",
        "ours": statistics.fmean(ours.jct_s) / 3600,
        "peer": statistics.fmean(peer.jct_s) / 3600,
        "peer_name": peer_name,
        "ratio": math.exp(found.mean),
        "ratio_interval": [math.exp(found.low), math.exp(found.high)],
        "worst": math.exp(max(logs)),
        "windows": len(logs),
        "bound": None,
        "gap": None,
        "seconds": ours.seconds,
        "peer_seconds": peer.seconds,
        "information": level,
        "violations": ours.violations + peer.violations,
    }
