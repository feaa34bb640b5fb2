"""Melange's provisioning cases: cost and time against its own integer program.

Peer: Griggs et al., "Melange: cost efficient LLM serving by exploiting GPU heterogeneity" (2024,
arXiv 2404.14527), tyler-griggs/melange-release. Its program (every slice of every bucket to one
type, in whole) is written here after the published model and solved by the same CBC as ours, in
the same process; seconds cover building and solving. Supply limits and a second time step, which
it cannot express, are solved beside it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InfeasibleError, InputError
from scheduler.core.provisioning import ProvisioningAnswer, ProvisioningCase
from scheduler.io.json_text import read_json
from scheduler.io.melange import read_melange
from scheduler.solver.provisioning import cost_of, provision
from scheduler.verify.provisioning import verify_provisioning

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "peers" / "melange"
SOURCE: Final = "cases in the format of scheduler/io/melange.py, named by --cases FILE"
NIGHT: Final = 0.35
"""Demand of the second step, as a share of the first."""

STEP_HOURS: Final = 12.0
START_HOURS: Final = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument("--cases", type=Path, default=SHARED / "cases.json", help="cases file")
    parser.add_argument(
        "--recorded",
        type=Path,
        help="results that the peer recorded (default: peer-results.json beside the cases)",
    )
    parser.add_argument("--case", action="append", metavar="NAME", help="only this; repeatable")
    parser.add_argument(
        "--peer-limit", type=float, default=30.0, help="seconds the peer's program gets per case"
    )
    parser.add_argument("--no-peer", action="store_true", help="do not run the peer's program")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many of our runs")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Solve every case in all forms."""
    if not arguments.cases.exists():
        raise InputError([Fault("no such file", str(arguments.cases), allowed=SOURCE)])
    if arguments.repeats < 1:
        raise InputError([Fault("out of range", "--repeats", allowed="1 and above")])
    cases = read_melange(arguments.cases)
    unknown = set(arguments.case or ()) - {c.name for c in cases}
    if unknown:
        names = ", ".join(c.name for c in cases)
        raise InputError([Fault("no such case", "--case", "", n, names) for n in sorted(unknown)])
    recorded = _recorded(arguments)
    chosen = [c for c in cases if not arguments.case or c.name in arguments.case]
    provision(chosen[0])  # the first call loads the library
    rows = [_row(case, recorded.get(case.name, {}), arguments) for case in chosen]
    return {
        "bench": "melange",
        "cases": rows,
        "summary": _summary(rows),
        "machine": machine_facts(),
    }


def _recorded(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    path = arguments.recorded or arguments.cases.with_name("peer-results.json")
    if not path.exists():
        if arguments.recorded:
            raise InputError([Fault("no such file", str(path))])
        return {}
    found = read_json(path)
    listed = found.get("rows", []) if isinstance(found, dict) else []
    return {r["name"]: r for r in listed if isinstance(r, dict) and "name" in r}


def _row(
    case: ProvisioningCase, recorded: Mapping[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    try:
        ours, seconds, process_s = _timed(case, arguments.repeats)
    except InfeasibleError as error:
        raise InputError([Fault(str(error), str(arguments.cases))]) from error
    peer = None if arguments.no_peer else peer_program(case, arguments.peer_limit)
    sliced, sliced_s = _sliced(case, arguments.peer_limit)
    violations = verify_provisioning(case, ours)
    violations += [] if sliced is None else verify_provisioning(case, sliced)
    limited, steps = _limited(case, ours), _two_steps(case)
    violations += verify_provisioning(*limited) if limited else []
    violations += verify_provisioning(*steps)
    peer_cost = recorded.get("melange_cost") if peer is None else peer["cost"]
    single = _single_type(case)
    return {
        "case": case.name,
        "metric": "usd_per_hour",
        "ours": ours.cost_usd,
        "peer": peer_cost,
        "peer_name": "Melange's ILP, CBC",
        "ratio": ours.cost_usd / peer_cost if peer_cost else None,
        "bound": ours.bound_usd,
        "gap": ours.cost_usd / ours.bound_usd - 1 if ours.bound_usd > 0 else 0.0,
        "status": str(ours.status),
        "seconds": seconds,
        "process_seconds": process_s,
        "peer_seconds": None if peer is None else peer["seconds"],
        "peer_process_seconds": None if peer is None else peer["process_seconds"],
        "peer_proved": None if peer is None else peer["proved"],
        "speedup": None if peer is None else peer["seconds"] / seconds,
        "recorded_cost": recorded.get("melange_cost"),
        "recorded_seconds": recorded.get("melange_s"),
        "machines": _named(case, ours),
        "sliced": None if sliced is None else sliced.cost_usd,
        "sliced_bound": None if sliced is None else sliced.bound_usd,
        "sliced_seconds": sliced_s,
        "saving_of_splitting": _saving(ours, sliced),
        "cheapest_single_type": single,
        "limited_supply": _limited_facts(limited),
        "two_steps": _step_facts(*steps),
        "information": "same",
        "violations": len(violations),
    }


def _timed(case: ProvisioningCase, repeats: int) -> tuple[ProvisioningAnswer, float, float]:
    walls, used = [], []
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        answer = provision(case)
        walls.append(time.perf_counter() - wall)
        used.append(time.process_time() - own)
    return answer, float(np.median(walls)), float(np.median(used))


def _sliced(case: ProvisioningCase, limit_s: float) -> tuple[ProvisioningAnswer | None, float]:
    """Return our answer to the peer's sliced problem and its seconds; None: not in time."""
    start = time.perf_counter()
    try:
        answer = provision(case, sliced=True, time_limit_s=limit_s)
    except InfeasibleError:
        answer = None
    return answer, time.perf_counter() - start


def _saving(ours: ProvisioningAnswer, sliced: ProvisioningAnswer | None) -> float:
    if sliced is None or sliced.cost_usd <= 0:
        return 0.0
    return 1 - ours.cost_usd / sliced.cost_usd


def peer_program(case: ProvisioningCase, limit_s: float) -> dict[str, Any]:
    """Solve the peer's own program: every slice of every bucket goes to one type in whole.

    Empty buckets keep their slices, as in the peer's code. A rate of 0, by which the peer's
    code divides, leaves out the pair.
    """
    from ortools.linear_solver import pywraplp

    wall, own = time.perf_counter(), time.process_time()
    solver = pywraplp.Solver.CreateSolver("CBC")
    rooms, counts = [], []
    for offer in case.offers:
        counts.append(solver.IntVar(0, solver.infinity(), ""))
        solver.Objective().SetCoefficient(counts[-1], offer.usd_per_hour)
        rooms.append(solver.Constraint(-solver.infinity(), 0))
        rooms[-1].SetCoefficient(counts[-1], -1)
    for b, rate in enumerate(case.demand_per_s[0].tolist()):
        for _ in range(case.slices):
            one = solver.Constraint(1, 1)
            for offer, room in zip(case.offers, rooms, strict=True):
                if offer.requests_per_s[b] > 0:
                    here = solver.BoolVar("")
                    one.SetCoefficient(here, 1)
                    room.SetCoefficient(here, rate / case.slices / float(offer.requests_per_s[b]))
    solver.Objective().SetMinimization()
    solver.SetTimeLimit(round(1000 * limit_s))
    status = solver.Solve()
    found = status in (solver.OPTIMAL, solver.FEASIBLE)
    return {
        "cost": solver.Objective().Value() if found else None,
        "proved": status == solver.OPTIMAL,
        "seconds": time.perf_counter() - wall,
        "process_seconds": time.process_time() - own,
    }


def _single_type(case: ProvisioningCase) -> float | None:
    """Return the cost of the cheapest single type, None where no type serves all."""
    demand = case.demand_per_s[0]
    costs = []
    for offer in case.offers:
        able = offer.requests_per_s > 0
        if (able | (demand <= 0)).all():
            load = math.fsum((demand[able] / offer.requests_per_s[able]).tolist())
            costs.append(math.ceil(load - 1e-9) * offer.usd_per_hour)
    return min(costs, default=None)


def _limited(
    case: ProvisioningCase, ours: ProvisioningAnswer
) -> tuple[ProvisioningCase, ProvisioningAnswer] | None:
    """Return the case with half the machines of the type most used, and its answer."""
    most = int(ours.machines[0].argmax())
    supply = int(ours.machines[0, most]) // 2
    offers = list(case.offers)
    offers[most] = replace(offers[most], supply=supply)
    limited = replace(case, name=f"{case.name}, limited", offers=tuple(offers))
    try:
        return limited, provision(limited)
    except InfeasibleError:
        return None


def _limited_facts(
    limited: tuple[ProvisioningCase, ProvisioningAnswer] | None,
) -> dict[str, Any] | None:
    if limited is None:
        return None
    case, answer = limited
    supply = {o.name: o.supply for o in case.offers if o.supply is not None}
    return {
        "supply": supply,
        "cost": answer.cost_usd,
        "bound": answer.bound_usd,
        "machines": _named(case, answer),
    }


def _two_steps(case: ProvisioningCase) -> tuple[ProvisioningCase, ProvisioningAnswer]:
    """Return a day of two steps with paid starts, and its answer."""
    demand = np.vstack([NIGHT * case.demand_per_s, case.demand_per_s])
    hours = (STEP_HOURS, STEP_HOURS)
    steps = replace(
        case,
        name=f"{case.name}, two steps",
        demand_per_s=demand,
        hours=hours,
        start_hours=START_HOURS,
    )
    return steps, provision(steps)


def _step_facts(case: ProvisioningCase, answer: ProvisioningAnswer) -> dict[str, Any]:
    peak = np.vstack([answer.machines.max(axis=0)] * len(case.hours))
    return {
        "cost": answer.cost_usd,
        "bound": answer.bound_usd,
        "machines_for_the_peak_all_day": cost_of(case, peak),
        "night": _named(case, answer, 0),
        "day": _named(case, answer, 1),
    }


def _named(case: ProvisioningCase, answer: ProvisioningAnswer, step: int = 0) -> dict[str, int]:
    pairs = zip(case.offers, answer.machines[step].tolist(), strict=True)
    return {o.name: n for o, n in pairs if n}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [r["speedup"] for r in rows if r["speedup"] is not None]
    compared = [r for r in rows if r["peer"] is not None]
    return {
        "cases": len(rows),
        "never_dearer": all(r["ours"] <= r["peer"] * (1 + 1e-6) for r in compared),
        "cheaper": sum(r["ours"] < r["peer"] * (1 - 1e-6) for r in compared),
        "median_speedup": float(np.median(speeds)) if speeds else None,
        "least_speedup": min(speeds, default=None),
        "longest_seconds": max(r["seconds"] for r in rows),
        "largest_saving_of_splitting": max(r["saving_of_splitting"] for r in rows),
        "violations": sum(r["violations"] for r in rows),
    }


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'case':<24}{'ours $/h':>11}{'Melange':>11}{'sliced':>11}{'s':>8}"
        f"{'peer s':>8}{'recorded':>10}{'x':>7}{'limited':>11}{'2 steps':>11}"
    )
    for row in result["cases"]:
        limited = row["limited_supply"]
        cells = [row["ours"], row["peer"], row["sliced"]]
        line = f"{row['case']:<24}" + "".join(f"{_text(c, 2):>11}" for c in cells)
        line += f"{_text(row['seconds'], 3):>8}{_text(row['peer_seconds'], 2):>8}"
        line += f"{_text(row['recorded_seconds'], 2):>10}{_text(row['speedup'], 1):>7}"
        line += f"{_text(limited['cost'] if limited else None, 2):>11}"
        line += f"{_text(row['two_steps']['cost'], 2):>11}"
        yield line + (f"  {row['violations']} violations" if row["violations"] else "")
    facts = result["summary"]
    yield (
        f"never dearer: {facts['never_dearer']}, cheaper on {facts['cheaper']} of"
        f" {facts['cases']}; median speed-up {_text(facts['median_speedup'], 1)},"
        f" least {_text(facts['least_speedup'], 1)}; slowest {facts['longest_seconds']:.2f} s;"
        f" splitting saves up to {100 * facts['largest_saving_of_splitting']:.1f} %"
    )
    yield "every cost of ours is proved optimal; two steps: 12 h at 0.35 of the demand, 12 h at it"


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
