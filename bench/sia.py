"""Sia's workloads: our Gavel, Sia and optimizer against the runs recorded in Sia's simulator.

Peer: Jayaram Subramanya et al., "Sia: heterogeneity-aware, goodput-optimized ML-cluster
scheduling", SOSP 2023, siasosp23/artifacts (no licence file: nothing of it is copied or shipped;
the user names a checkout). Sixty-four accelerators of three types; batch size and gang adapt.
Every run is checked by `scheduler.verify.adaptive` and every accelerator-second is booked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.adaptive import AdaptiveProblem, AdaptiveRun
from scheduler.core.errors import Fault, InfeasibleError, InputError
from scheduler.core.ledger import IDLE_CAUSES, WASTE_CAUSES, Cause, Ledger
from scheduler.io.sia import DEFAULT_GROUPS, parse_groups, read_sia
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive import INFORMATION, OBJECTIVES, POLICIES, RATES, make_adaptive
from scheduler.simulate.adaptive.books import adaptive_ledger
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.solver.adaptive_bound import Bounds, adaptive_bounds
from scheduler.verify.adaptive import verify_adaptive

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "peers"
FETCH: Final = "sia-simulator/workloads and traces of https://github.com/siasosp23/artifacts"
PEER_RUNS: Final = {  # our policy to the peer's policy and Gavel variant in the recorded file
    "gavel_max_min": ("gavel", "max_min_fairness_perf"),
    "gavel_max_sum": ("gavel", None),
    "sia": ("sia", None),
    "optimizer": ("sia", None),
}
METRICS: Final = {
    "mean_jct_h": "avg_jct_h",
    "makespan_h": "makespan_h",
    "accelerator_h_per_job": "gpu_hours_per_job",
}
SMALL: Final = ("philly", "saturn")
"""Folders played by default."""

SHARES: Final = ("idle", "waste", "restart", "communication", "restarts_per_job")
HOUR_S: Final = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument(
        "--workload", type=Path, action="append", metavar="FILE", help="CSV of jobs; repeatable"
    )
    parser.add_argument(
        "--profiles", type=Path, default=SHARED / "sia" / "profiles", help="folder per application"
    )
    parser.add_argument(
        "--fleet", metavar="TYPE=NODESxACCELERATORS,...", help="by default the simulator's 64"
    )
    parser.add_argument(
        "--policy", action="append", metavar="NAME", help=f"of {', '.join(POLICIES)}; repeatable"
    )
    parser.add_argument(
        "--information", action="append", choices=INFORMATION, help="what the optimizer knows"
    )
    parser.add_argument(
        "--rates", action="append", choices=RATES, help="for sia and the optimizer; repeatable"
    )
    parser.add_argument(
        "--objective", action="append", choices=OBJECTIVES, help="what the optimizer leads with"
    )
    parser.add_argument(
        "--recorded", type=Path, default=SHARED / "results-training.json", help="the peer's runs"
    )
    parser.add_argument(
        "--bound-steps",
        type=int,
        default=0,
        metavar="N",
        help="price steps of the lower bound on the mean JCT; 0: jobs alone",
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every workload under every policy asked for."""
    workloads = arguments.workload or sorted((SHARED / "sia" / "workloads").glob("[ps]*/w*.csv"))
    workloads = [w for w in workloads if arguments.workload or w.parent.name in SMALL]
    _check(arguments, workloads)
    groups = parse_groups(arguments.fleet) if arguments.fleet else DEFAULT_GROUPS
    recorded = [] if arguments.fleet else _recorded(arguments.recorded)
    cases: list[dict[str, Any]] = []
    for path in workloads:
        problem = read_sia(path, arguments.profiles, groups)
        tables = Tables(problem)
        bounds = adaptive_bounds(tables, steps=arguments.bound_steps)
        for settings in _settings(arguments):
            cases += _cases(problem, tables, bounds, settings, recorded)
    return {"bench": "sia", "cases": cases + _means(cases), "machine": machine_facts()}


def _check(arguments: argparse.Namespace, workloads: Sequence[Path]) -> None:
    """Raise for inputs that are not there."""
    faults = [
        Fault("no such file; fetch it", str(path), allowed=FETCH)
        for path in (*workloads, arguments.profiles)
        if not path.exists()
    ]
    if not workloads:
        faults.append(Fault("no workloads; fetch them", str(SHARED / "sia"), allowed=FETCH))
    if arguments.bound_steps < 0:
        faults.append(Fault("negative", "--bound-steps", "", str(arguments.bound_steps)))
    if faults:
        raise InputError(faults)


def _recorded(path: Path) -> list[dict[str, Any]]:
    """Return the peer's complete runs, none where the file is missing."""
    if not path.exists():
        return []
    runs = json.loads(path.read_text(encoding="utf-8")).get("runs", [])
    return [r for r in runs if "sia" in r.get("repo", "") and r.get("complete")]


def _settings(arguments: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Yield policy, information, rates and objective, each that differs once."""
    for policy in arguments.policy or POLICIES:
        ours, sia = policy == "optimizer", policy == "sia"
        information = (arguments.information or INFORMATION) if ours else ("none",)
        rates: Sequence[str] = ("known",)
        if ours:
            rates = arguments.rates or ("known",)
        elif sia:
            rates = arguments.rates or RATES
        objectives = (arguments.objective or ("mean_jct",)) if ours else ("mean_jct",)
        for level, kind, objective in itertools.product(information, rates, objectives):
            yield {"name": policy, "information": level, "rates": kind, "objective": objective}


def _cases(
    problem: AdaptiveProblem,
    tables: Tables,
    bounds: Bounds,
    settings: Mapping[str, str],
    recorded: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Play one setting on one workload and return a case per metric."""
    start = time.process_time()
    policy, agents = make_adaptive(
        settings["name"],
        tables,
        information=settings["information"],
        rates=settings["rates"],
        objective=settings["objective"],
    )
    information, rates = settings["information"], settings["rates"]
    try:
        result = simulate_adaptive(problem, policy, agents, information=information, rates=rates)
    except InfeasibleError as error:
        raise InputError([Fault(str(error), problem.name)]) from error
    seconds = time.process_time() - start
    violations = verify_adaptive(problem, result, rigid=policy.rigid)
    books = _booked(adaptive_ledger(problem, result, rigid=policy.rigid))
    peer = _peer(settings, problem.name, recorded)
    ours = measures(problem, result)
    limits = {} if policy.rigid else asdict(bounds)  # the bounds are those of elastic gangs
    cases = []
    for metric, key in METRICS.items():
        value, bound = ours[metric], limits.get(metric)
        theirs = peer[key] if peer else None
        cases.append(
            {
                "case": f"{problem.name} {_label(settings)}",
                "metric": metric,
                "ours": value,
                "peer": theirs,
                "peer_name": " ".join(w for w in PEER_RUNS[settings["name"]] if w),
                "ratio": value / theirs if theirs else None,
                "bound": bound,
                "gap": value / bound - 1 if bound else None,
                "seconds": seconds,
                "peer_seconds": peer["wall_s"] if peer else None,
                "information": information,
                "violations": len(violations),
                "rates": rates,
                "restarts_per_job": ours["restarts_per_job"],
                **books,
            }
        )
    return cases


def _label(settings: Mapping[str, str]) -> str:
    words = [settings["name"]]
    if settings["name"] == "optimizer":
        words += [settings["information"]]
    if settings["name"] in ("optimizer", "sia"):
        words += [settings["rates"]]
    if settings["objective"] != "mean_jct":
        words += [settings["objective"]]
    return " ".join(words)


def _peer(
    settings: Mapping[str, str], workload: str, recorded: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the recorded run of a workload that a setting stands beside."""
    policy, variant = PEER_RUNS[settings["name"]]
    for peer in recorded:
        same = str(peer["workload"]).removesuffix(".csv").endswith(workload)
        if same and peer["policy"] == policy and peer.get("gavel_policy") == variant:
            return peer
    return None


def measures(problem: AdaptiveProblem, result: AdaptiveRun) -> dict[str, float]:
    """Return what the peer reports; accelerator-hours end with the job, not with its round."""
    jct = [end - job.release_s for end, job in zip(result.finished_s, problem.jobs, strict=True)]
    held = sum(s.accelerators * (s.end_s - s.idle_s - s.start_s) for s in result.stints)
    return {
        "mean_jct_h": float(np.mean(jct)) / HOUR_S,
        "makespan_h": result.horizon_s / HOUR_S,
        "accelerator_h_per_job": held / HOUR_S / len(problem.jobs),
        "restarts_per_job": sum(result.restarts) / len(problem.jobs),
    }


def _booked(ledger: Ledger) -> dict[str, float]:
    """Return the shares of all accelerator-time that are printed beside the metrics."""
    return {
        "idle": ledger.fraction(IDLE_CAUSES),
        "waste": ledger.fraction(WASTE_CAUSES),
        "restart": ledger.fraction([Cause.RECONFIGURATION]),
        "communication": ledger.fraction([Cause.COMMUNICATION]),
        **{f"idle_{c.label}": ledger.fraction([c]) for c in IDLE_CAUSES if ledger.of([c])},
    }


def _means(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over workloads of each setting and metric."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for case in cases:
        setting = str(case["case"]).partition(" ")[2]
        groups.setdefault((setting, case["metric"]), []).append(case)
    means = []
    for (setting, metric), parts in groups.items():
        if len(parts) > 1:
            value = float(np.mean([p["ours"] for p in parts]))
            bound = float(np.mean([p["bound"] for p in parts])) if parts[0]["bound"] else None
            shares = {key: float(np.mean([p[key] for p in parts])) for key in SHARES}
            means.append(
                {
                    **dict.fromkeys(parts[0], None),
                    "case": f"mean of {len(parts)} {setting}",
                    "metric": metric,
                    "ours": value,
                    "bound": bound,
                    "gap": value / bound - 1 if bound else None,
                    "seconds": float(np.mean([p["seconds"] for p in parts])),
                    "information": parts[0]["information"],
                    "rates": parts[0]["rates"],
                    "violations": sum(p["violations"] for p in parts),
                    **shares,
                }
            )
    return means


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'case':<46}{'metric':<22}{'ours':>8}{'peer':>8}{'ratio':>7}{'bound':>8}{'gap':>7}"
        f"{'idle':>6}{'waste':>7}{'restart':>8}{'starts':>7}{'s':>6}"
    )
    for case in result["cases"]:
        line = f"{case['case']:<46}{case['metric']:<22}{case['ours']:>8.3f}"
        line += f"{_or(case['peer'], '.3f'):>8}{_or(case['ratio'], '.2f'):>7}"
        line += f"{_or(case['bound'], '.3f'):>8}{_or(case['gap'], '.0%'):>7}"
        line += f"{case['idle']:>6.0%}{case['waste']:>7.0%}{case['restart']:>8.1%}"
        line += f"{case['restarts_per_job']:>7.1f}{case['seconds']:>6.1f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    yield (
        "idle: nothing held the accelerator; waste: idle, restarting or synchronising; "
        "starts: per job, each pays its restart; s: processor seconds of one run"
    )


def _or(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
