"""Sia's workloads: our Gavel, Sia and optimizer against the runs recorded in Sia's simulator.

Peer: Jayaram Subramanya et al., "Sia: heterogeneity-aware, goodput-optimized ML-cluster
scheduling", SOSP 2023, siasosp23/artifacts (no licence file: nothing of it is copied or shipped;
the user names a checkout). Sixty-four accelerators of three types; batch size and gang adapt.
Every run is checked by `scheduler.verify.adaptive` and every accelerator-second is booked.

Beside each run stand a lower bound, from prices on every round, and a clairvoyant schedule: all
arrivals known, built at those prices and mended by large-neighbourhood search, then played and
verified as any other run. What lies between bound and clairvoyant is what the bound gives away
(fractions of several schedules of one job) and what the search misses; what lies between
clairvoyant and a policy is what it loses by not knowing the arrivals and deciding one round at
a time. Nothing is lost to the nodes: elastic gangs that fit by count fit on them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.adaptive import AdaptiveProblem, AdaptiveRun, NodeGroup
from scheduler.core.errors import Fault, InfeasibleError, InputError, nearest_name
from scheduler.core.ledger import IDLE_CAUSES, WASTE_CAUSES, Cause, Ledger
from scheduler.core.random import stream
from scheduler.io.sia import DEFAULT_GROUPS, parse_groups, read_sia
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive import (
    ESTIMATE_ERROR,
    INFORMATION,
    OBJECTIVES,
    POLICIES,
    RATES,
    make_adaptive,
)
from scheduler.policies.adaptive.agents import KnownAgents
from scheduler.policies.adaptive.scripted import Scripted
from scheduler.policies.adaptive.view import AdaptivePolicy
from scheduler.simulate.adaptive.books import adaptive_ledger
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.solver.adaptive.offline import offline_schedule
from scheduler.solver.adaptive.prices import priced_plan
from scheduler.solver.adaptive_bound import adaptive_bounds
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

BOUND_STEPS: Final = 54
SEARCH_ROUNDS: Final = 500_000
"""Price vectors tried for the bound, and rounds over which the clairvoyant seeks paths."""

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
        default=BOUND_STEPS,
        metavar="N",
        help="price steps of the lower bound on the mean JCT; 0: jobs alone, no clairvoyant",
    )
    parser.add_argument(
        "--search",
        type=int,
        default=SEARCH_ROUNDS,
        metavar="ROUNDS",
        help="effort of the clairvoyant schedule; 0: none",
    )
    parser.add_argument(
        "--estimate-error",
        type=float,
        default=ESTIMATE_ERROR,
        metavar="SIGMA",
        help="spread of the logarithm of users' estimates, for --information estimates",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the estimates and the search")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One workload and how to play it."""

    path: Path
    profiles: Path
    groups: tuple[NodeGroup, ...]
    settings: tuple[dict[str, str], ...]
    bound_steps: int
    search: int
    estimate_error: float
    seed: int
    recorded: tuple[Mapping[str, Any], ...]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every workload under every policy asked for, workloads side by side."""
    workloads = arguments.workload or sorted((SHARED / "sia" / "workloads").glob("[ps]*/w*.csv"))
    workloads = [w for w in workloads if arguments.workload or w.parent.name in SMALL]
    _check(arguments, workloads)
    groups = parse_groups(arguments.fleet) if arguments.fleet else DEFAULT_GROUPS
    recorded = [] if arguments.fleet else _recorded(arguments.recorded)
    asked = [
        _Asked(
            path,
            arguments.profiles,
            tuple(groups),
            tuple(_settings(arguments)),
            arguments.bound_steps,
            arguments.search,
            arguments.estimate_error,
            arguments.seed,
            tuple(recorded),
        )
        for path in workloads
    ]
    processes = min(len(asked), os.cpu_count() or 1)
    if processes == 1:
        found = [_workload(one) for one in asked]
    else:
        with ProcessPoolExecutor(processes) as pool:
            found = list(pool.map(_workload, asked))
    faults = list(dict.fromkeys(fault for _, wrong in found for fault in wrong))
    if faults:
        raise InputError(faults)
    cases = [case for some, _ in found for case in some]
    return {"bench": "sia", "cases": cases + _means(cases), "machine": machine_facts()}


def _workload(asked: _Asked) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Return the cases of a workload, or what is wrong with it."""
    try:
        return _played(asked), []
    except InputError as error:
        return [], list(error.faults)


def _played(asked: _Asked) -> list[dict[str, Any]]:
    """Return a workload's cases: every setting, and the clairvoyant schedule."""
    problem = read_sia(asked.path, asked.profiles, asked.groups)
    tables = Tables(problem)
    begun = time.process_time()
    plan = priced_plan(tables, asked.bound_steps) if asked.bound_steps else None
    limits = asdict(adaptive_bounds(tables, plan))
    bound_s = time.process_time() - begun
    cases: list[dict[str, Any]] = []
    elastic: list[AdaptiveRun] = []
    for settings in asked.settings:
        begun = time.process_time()
        policy, agents = make_adaptive(
            settings["name"],
            tables,
            information=settings["information"],
            rates=settings["rates"],
            objective=settings["objective"],
            estimate_error=asked.estimate_error,
            seed=asked.seed,
        )
        information, rates = settings["information"], settings["rates"]
        try:
            result = simulate_adaptive(
                problem, policy, agents, information=information, rates=rates
            )
        except InfeasibleError as error:
            raise InputError([Fault(str(error), problem.name)]) from error
        seconds = time.process_time() - begun
        if not policy.rigid and rates == "known":
            elastic.append(result)
        bounds = {} if policy.rigid else limits  # the bounds are those of elastic gangs
        cases += _cases(problem, result, policy, _label(settings), bounds, asked, seconds)
    if plan is None or not asked.search:
        return cases
    begun = time.process_time()
    rng = stream(asked.seed, "clairvoyant")
    offline = offline_schedule(tables, plan.prices, elastic, rng, asked.search)
    script = Scripted(tables, offline.stays, "clairvoyant")
    result = simulate_adaptive(problem, script, KnownAgents(tables), information="arrivals")
    seconds = time.process_time() - begun + bound_s
    best = _cases(problem, result, script, "clairvoyant", limits, asked, seconds)
    for case in cases:
        if case["metric"] == "mean_jct_h" and case["bound"]:
            case["clairvoyant"] = best[0]["ours"]
            case["over_clairvoyant"] = case["ours"] / best[0]["ours"] - 1
    return cases + best


def _check(arguments: argparse.Namespace, workloads: Sequence[Path]) -> None:
    """Raise for inputs that are not there."""
    faults = [
        Fault("no such file; fetch it", str(path), allowed=FETCH)
        for path in (*workloads, arguments.profiles)
        if not path.exists()
    ]
    if not workloads:
        faults.append(Fault("no workloads; fetch them", str(SHARED / "sia"), allowed=FETCH))
    faults += [
        Fault("negative", f"--{name.replace('_', '-')}", "", str(value))
        for name in ("bound_steps", "search", "estimate_error", "seed")
        if not (value := getattr(arguments, name)) >= 0
    ]
    faults += [
        Fault("unknown", "--policy", "", name, ", ".join(POLICIES), nearest_name(name, POLICIES))
        for name in arguments.policy or ()
        if name not in POLICIES
    ]
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
        rates = arguments.rates or RATES if ours or sia else ("known",)
        objectives = (arguments.objective or ("mean_jct",)) if ours else ("mean_jct",)
        for level, kind, objective in itertools.product(information, rates, objectives):
            yield {"name": policy, "information": level, "rates": kind, "objective": objective}


def _cases(
    problem: AdaptiveProblem,
    result: AdaptiveRun,
    policy: AdaptivePolicy,
    label: str,
    limits: Mapping[str, float],
    asked: _Asked,
    seconds: float,
) -> list[dict[str, Any]]:
    """Verify a run, book its accelerator-seconds and return a case per metric."""
    violations = verify_adaptive(problem, result, rigid=policy.rigid)
    books = _booked(adaptive_ledger(problem, result, rigid=policy.rigid))
    peer = _peer(policy.name, problem.name, asked.recorded)
    ours = measures(problem, result)
    cases = []
    for metric, key in METRICS.items():
        value, bound = ours[metric], limits.get(metric)
        theirs = peer[key] if peer else None
        cases.append(
            {
                "case": f"{problem.name} {label}",
                "metric": metric,
                "ours": value,
                "peer": theirs,
                "peer_name": " ".join(w for w in PEER_RUNS.get(policy.name, ()) if w),
                "ratio": value / theirs if theirs else None,
                "bound": bound,
                "gap": value / bound - 1 if bound else None,
                "seconds": seconds,
                "peer_seconds": peer["wall_s"] if peer else None,
                "clairvoyant": None,
                "over_clairvoyant": None,
                "information": result.information,
                "violations": len(violations),
                "rates": result.rates,
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
    name: str, workload: str, recorded: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the recorded run of a workload that a policy stands beside."""
    if name not in PEER_RUNS:  # what knows the arrivals stands beside nobody
        return None
    policy, variant = PEER_RUNS[name]
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
            bound, best = (_mean([p[key] for p in parts]) for key in ("bound", "clairvoyant"))
            shares = {key: float(np.mean([p[key] for p in parts])) for key in SHARES}
            means.append(
                {
                    **dict.fromkeys(parts[0], None),
                    "case": f"mean of {len(parts)} {setting}",
                    "metric": metric,
                    "ours": value,
                    "bound": bound,
                    "gap": value / bound - 1 if bound else None,
                    "clairvoyant": best,
                    "over_clairvoyant": value / best - 1 if best else None,
                    "seconds": float(np.mean([p["seconds"] for p in parts])),
                    "information": parts[0]["information"],
                    "rates": parts[0]["rates"],
                    "violations": sum(p["violations"] for p in parts),
                    **shares,
                }
            )
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, None where a value is missing."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'case':<46}{'metric':<22}{'ours':>8}{'peer':>8}{'ratio':>7}{'bound':>8}{'gap':>6}{'over':>6}"
        f"{'idle':>6}{'waste':>7}{'restart':>8}{'starts':>7}{'s':>6}"
    )
    for case in result["cases"]:
        line = f"{case['case']:<46}{case['metric']:<22}{case['ours']:>8.3f}"
        line += f"{_or(case['peer'], '.3f'):>8}{_or(case['ratio'], '.2f'):>7}"
        line += f"{_or(case['bound'], '.3f'):>8}{_or(case['gap'], '.0%'):>6}"
        line += f"{_or(case['over_clairvoyant'], '.0%'):>6}"
        line += f"{case['idle']:>6.0%}{case['waste']:>7.0%}{case['restart']:>8.1%}"
        line += f"{case['restarts_per_job']:>7.1f}{case['seconds']:>6.1f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    yield from _parts(result["cases"])
    yield (
        "over: above the clairvoyant schedule, which knows all arrivals; "
        "idle: nothing held the accelerator; waste: idle, restarting or synchronising; "
        "starts: per job, each pays its restart; s: processor seconds of one run"
    )


def _parts(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what lies between the bound and the optimizer, part by part."""
    for case in cases:
        if case["over_clairvoyant"] is None or not str(case["case"]).endswith(
            " optimizer exact known"
        ):
            continue
        best, bound = case["clairvoyant"], case["bound"]
        yield (
            f"{case['case']}: {case['gap']:.1%} above the bound = {best / bound - 1:.1%} "
            "(fractions of schedules that only the bound may hold; what the search missed), then "
            f"{case['over_clairvoyant']:.1%} (arrivals not known, one round decided at a time), "
            "0 % (gangs that fit by count fit on the nodes)"
        )


def _or(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
