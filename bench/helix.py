"""Helix's instances: tokens/s of a model spread over unlike machines, with bound and depth.

Peer: Mei et al., "Helix: serving large language models over heterogeneous GPUs and network via
max-flow" (ASPLOS 2025), Thesys-lab/Helix-ASPLOS25 (Apache-2.0): its integer program by Gurobi
with 20 threads, as recorded there. Flow is the peer's objective, not its measure of serving: its
own simulator punishes deep chains, so every answer tells its depth, and the front of flow
against depth stands beside it. Each plan is checked by a max-flow of networkx.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from bench.spread_instances import made_instance
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.spread import SpreadInstance, SpreadPlan
from scheduler.io.helix import read_helix
from scheduler.io.json_text import read_json
from scheduler.solver.spread import solve_spread
from scheduler.verify.spread import placement_flow, verify_spread

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "peers" / "helix"
SECONDS: Final = 45.0
"""Leaves room for the step at work and for the bound within a minute."""

SOURCE: Final = (
    "instances in the format of scheduler/io/helix.py, from the LP files of"
    " https://github.com/Thesys-lab/Helix-ASPLOS25 (Apache-2.0), named by --instances FILE"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument(
        "--instance",
        action="append",
        metavar="FILE|NAME",
        help="a file of instances, or the name (or its start) of one; repeatable (default: all)",
    )
    parser.add_argument(
        "--instances", type=Path, default=SHARED / "instances.json", help="file of named instances"
    )
    parser.add_argument(
        "--recorded", type=Path, default=SHARED / "peer-results.json", help="the peer's results"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the local search")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="limit for each highest flow"
    )
    parser.add_argument("--no-front", action="store_true", help="only the highest flow")
    parser.add_argument(
        "--made", type=int, metavar="SEED", action="append", help="an instance of our own too"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Solve every instance that is asked for."""
    if not arguments.seconds > 0:
        value = str(arguments.seconds)
        raise InputError([Fault("out of range", "--seconds", "", value, "above 0")])
    recorded = _recorded(arguments.recorded)
    cases = [_case(one, recorded, arguments) for one in _chosen(arguments)]
    return {"bench": "helix", "cases": cases, "machine": machine_facts()}


def _chosen(arguments: argparse.Namespace) -> list[SpreadInstance]:
    made = [made_instance(seed) for seed in arguments.made or ()]
    if made and not arguments.instance:
        return made
    words = arguments.instance or []
    found: list[SpreadInstance] = []
    names = []
    for word in words:
        if word.endswith((".json", ".JSON")) or Path(word).is_file():
            if not Path(word).is_file():
                raise InputError([Fault("no such file", word, allowed=SOURCE)])
            found += read_helix(Path(word)).values()
        else:
            names.append(word)
    if names or not words:
        if not arguments.instances.exists():
            raise InputError([Fault("no such file", str(arguments.instances), allowed=SOURCE)])
        known = read_helix(arguments.instances)
        for word in names:
            some = [one for name, one in known.items() if name == word or name.startswith(word)]
            if not some:
                near, allowed = nearest_name(word, known), ", ".join(known)
                raise InputError([Fault("no such instance", "--instance", "", word, allowed, near)])
            found += some
        found += [] if words else known.values()
    return found + made


def _recorded(path: Path) -> dict[str, dict[str, float]]:
    """Return the peer's figures by instance; none where there is no such file."""
    if not path.exists():
        return {}
    raw = read_json(path)
    found = raw.get("flow_objectives", {}) if isinstance(raw, dict) else {}
    return found if isinstance(found, dict) else {}


def _case(
    instance: SpreadInstance,
    recorded: Mapping[str, Mapping[str, float]],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    wall, own = time.perf_counter(), time.process_time()
    answer = solve_spread(
        instance, seed=arguments.seed, front=False, time_limit_s=arguments.seconds
    )
    seconds, used = time.perf_counter() - wall, time.process_time() - own
    if not arguments.no_front:
        deep = solve_spread(
            instance, seed=arguments.seed, front=True, time_limit_s=arguments.seconds
        )
        answer = max(answer, deep, key=lambda a: (a.plan.flow, len(a.front)))
    with_front_s = time.perf_counter() - wall - seconds
    checked, depth = placement_flow(instance, answer.plan.intervals)
    peer = recorded.get(instance.name, {})
    known = [peer[k] for k in ("gurobi", "gurobi_pruned", "gurobi_full") if k in peer]
    times = [peer[k] for k in ("gurobi_s", "gurobi_pruned_s") if k in peer]
    best = max(known, default=None)
    return {
        "case": instance.name,
        "metric": "tokens_per_s",
        "ours": answer.plan.flow,
        "flow": answer.plan.flow,
        "peer": best,
        "peer_name": "Helix, Gurobi with 20 threads, recorded",
        "ratio": answer.plan.flow / best if best else None,
        "bound": answer.bound,
        "bound_name": answer.bound_name,
        "gap": answer.gap,
        "status": str(answer.status),
        "seconds": seconds,
        "process_seconds": used,
        "front_seconds": with_front_s,
        "peer_seconds": max(times, default=None),
        "depth": answer.plan.depth,
        "networkx_flow": checked,
        "networkx_depth": depth,
        "machines": len(instance),
        "layers": instance.layers,
        "placement": _placement(instance, answer.plan),
        "front": [
            {"depth": p.depth, "flow": p.flow, "placement": _placement(instance, p)}
            for p in answer.front
        ],
        "information": "same",
        "violations": len(verify_spread(instance, answer)),
    }


def _placement(instance: SpreadInstance, plan: SpreadPlan) -> dict[str, list[int]]:
    pairs = zip(instance.ids, plan.intervals, strict=True)
    return {node: list(span) for node, span in pairs if span[1] > span[0]}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'instance':<24}{'machines':>9}{'flow':>10}{'Helix':>10}{'bound':>10}"
        f"{'gap %':>7}{'depth':>7}{'s':>8}{'Helix s':>9}"
    )
    for case in result["cases"]:
        peer = "-" if case["peer"] is None else f"{case['peer']:.1f}"
        took = "-" if case["peer_seconds"] is None else f"{case['peer_seconds']:.0f}"
        line = f"{case['case']:<24}{case['machines']:>9}{case['flow']:>10.1f}{peer:>10}"
        line += f"{case['bound']:>10.1f}{100 * case['gap']:>7.2f}{case['depth']:>7}"
        line += f"{case['seconds']:>8.2f}{took:>9}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
        points = ", ".join(f"{p['depth']}: {p['flow']:.1f}" for p in case["front"])
        yield f"  stages: tokens/s  {points}"
    yield "flow is checked by networkx; depth: fewest machines that a token passes"
