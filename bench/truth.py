"""Answers and bounds against exhaustive search and against runs, counted.

Usage: python -m bench truth [--json] [--instances N] [--runs N] [--seed 0]

The defaults are a sample for `bench all`; `--instances 500 --runs 2000` is the whole count.

Three counts, all on instances drawn by seed (`tests/solver`, `tests/verify`):

- `fleetfit solve` against all active schedules of small instances, by objective: equal, proved,
  and accepted by the verifier. The schedules and the objectives are enumerated and added up by
  code of their own.
- The bounds on every objective against runs in which all jobs finished, under every rule but
  random failures: quotas, reservations, outages, drains, power caps, labels, hosts, needs.
- The bound beside a run (`--bound plan`) against runs under every rule, random failures and
  services among them.

Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError

TRIALS: Final = ("solver", "verify")
"""Folders of the tests that the trials are kept in."""

LEAVES: Final = 60
"""Active schedules of an instance, at most."""

PLANS: Final = 25
"""Every so many runs, the plan's bounds on the objectives are held below them, too."""

EFFORT: Final = {"buckets": 6, "rounds": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--instances", type=int, default=60, help="of each objective; 0: none")
    parser.add_argument("--runs", type=int, default=300, help="for each kind of bound; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="that instances are drawn from")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Count what holds."""
    faults = [
        Fault("must not be negative", f"--{name}", value=str(getattr(arguments, name)))
        for name in ("instances", "runs")
        if getattr(arguments, name) < 0
    ]
    tests = Path(__file__).resolve().parents[1] / "tests"
    if not tests.is_dir():
        faults.append(Fault("no such folder; the trials need a checkout", str(tests)))
    if faults:
        raise InputError(faults)
    sys.path += [str(tests / name) for name in TRIALS if str(tests / name) not in sys.path]
    cases = _answers(arguments.seed, arguments.instances) if arguments.instances else []
    if arguments.runs:
        cases.append(_bounds(arguments.seed, arguments.runs))
        cases.append(_beside_runs(arguments.seed, arguments.runs))
    return {"bench": "truth", "cases": cases, "machine": machine_facts()}


def _answers(seed: int, count: int) -> list[dict[str, Any]]:
    offline_trials = import_module("offline_trials")
    start = time.process_time()
    tally = offline_trials.against_every_schedule(1_000_000 + seed, count, LEAVES)
    seconds = time.process_time() - start
    rows = []
    for name, compared in tally.compared.items():
        wrong = [text for text in tally.wrong if f", {name}:" in text]
        rows.append(
            _case(f"solve, {name}", "equal to brute force", compared - len(wrong), compared, wrong)
            | {"proved": tally.proved[name]}
        )
    accepted = [] if tally.accepted == tally.solved else ["an answer was not accepted"]
    rows.append(
        _case("solve, all", "accepted by the verifier", tally.accepted, tally.solved, accepted)
        | {"seconds": seconds}
    )
    return rows


def _bounds(seed: int, count: int) -> dict[str, Any]:
    offline_trials = import_module("offline_trials")
    start = time.process_time()
    tally = offline_trials.bounds_below_runs(2_000_000 + seed, count, plans=PLANS)
    wrong = list(tally.wrong)
    wrong += ["a run was not accepted"] * (tally.instances - tally.accepted)
    held = tally.instances * len(tally.compared)
    case = _case("bounds on each objective", "below the run", held - len(wrong), held, wrong)
    return case | {"runs": tally.instances, "seconds": time.process_time() - start}


def _beside_runs(seed: int, count: int) -> dict[str, Any]:
    bound_trials = import_module("bound_trials")
    start = time.process_time()
    terms, wrong = bound_trials.hold_many_below(3_000_000 + seed, count, **EFFORT)
    held = terms.pop("runs")
    case = _case("bound beside a run", "below the run", held - len(wrong), held, wrong)
    seconds = time.process_time() - start
    return case | {"runs": held, "terms": dict(sorted(terms.items())), "seconds": seconds}


def _case(name: str, metric: str, ours: int, of: int, wrong: list[str]) -> dict[str, Any]:
    return {
        "case": name,
        "metric": metric,
        "ours": ours,
        "peer": of,
        "peer_name": "trials",
        "ratio": ours / of if of else None,
        "bound": None,
        "gap": None,
        "seconds": None,
        "peer_seconds": None,
        "information": "all jobs known",
        "violations": len(wrong),
        "wrong": wrong[:10],
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    lines = ["what holds, of how many trials"]
    for case in result["cases"]:
        more = f", {case['proved']} proved" if "proved" in case else ""
        if "terms" in case:
            more += "; " + ", ".join(f"{n} with {name}" for name, n in case["terms"].items())
        if case["seconds"] is not None:
            more += f"; {case['seconds']:.0f} processor s"
        lines.append(f"  {case['case']}: {case['ours']} of {case['peer']} {case['metric']}{more}")
        lines += [f"    {text}" for text in case["wrong"]]
    return lines
