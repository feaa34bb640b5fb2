"""FGD's openb experiment: how much of 6,212 GPUs each placement score allocates.

Peer: Weng et al., "Beware of fragmentation", USENIX ATC 2023, hkust-adsl/kubernetes-scheduler-
simulator (Apache-2.0), whose published results are curves of ten seeds for each pod list and
policy. A seed here gives the very pods, order and node ranks of the published run, so that a
policy without randomness of its own must meet the whole curve, not only the mean.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from bench.every_node import EveryNode
from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.packing import (
    REFUSED,
    Packing,
    PackingProblem,
    allocated_percent,
    arrived_percent,
    by_percent,
)
from scheduler.core.workload import FloatArray, IntArray
from scheduler.generate.pod_arrivals import published_experiment
from scheduler.io import write_json
from scheduler.io.openb import read_openb
from scheduler.policies.packing import PackingPolicy, canonical, make, names
from scheduler.policies.packing.fgd import Fgd
from scheduler.policies.packing.fragmentation import USUAL_PERCENT
from scheduler.simulate.packing import Tie, fragmentation_milli, pack
from scheduler.verify.packing import verify_packing

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "traces" / "openb"
SHARED_LISTS: Final = "openb_pod_list_*.csv*"
SOURCE: Final = "https://github.com/hkust-adsl/kubernetes-scheduler-simulator (Apache-2.0)"
PEER_NAMES: Final = {
    "random": "Random",
    "dot_product": "DotProd",
    "best_fit": "BestFit",
    "fgd": "FGD",
    "gpu_packing": "GpuPacking",
    "gpu_clustering": "GpuClustering",
}
CURVE_FILES: Final = {  # as re-encoded beside the checkout, and as published
    "alloc": ("alloc.csv.gz", "analysis_allo_discrete.csv"),
    "frag_amount": ("frag_amount.csv.gz", "analysis_frag_discrete.csv"),
}
CLUSTER: Final = (1213, 6_212_000)  # nodes and thousandths of GPUs of the published runs
SEEDS: Final = range(42, 52)
POLICIES: Final = ("random", "dot_product", "best_fit", "fgd")
TIES_COMPARED: Final = ("best_fit", "fgd")
LAST_PERCENT: Final = 130
PRINTED: Final = 0.0051
"""Published figures have two decimals."""

Curves = Mapping[tuple[str, str, str, int], FloatArray]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    allocation: FloatArray
    fragmented: FloatArray
    refused: int
    violations: int
    build_s: float
    play_s: float
    tie: str
    file: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument(
        "--pods", type=Path, action="append", metavar="FILE", help="pod list; may be repeated"
    )
    parser.add_argument(
        "--nodes", type=Path, default=SHARED / "openb_node_list_gpu_node.csv", help="node list"
    )
    parser.add_argument(
        "--published", type=Path, default=SHARED / "published", help="folder of published curves"
    )
    parser.add_argument(
        "--policy", action="append", metavar="NAME", help=f"of {', '.join(names())}; repeatable"
    )
    parser.add_argument("--seed", type=int, action="append", help="42 to 51 are published")
    parser.add_argument("--arrived", type=int, default=LAST_PERCENT, help="demand in %% of GPUs")
    parser.add_argument(
        "--tie", choices=("lexical", "random", "both"), help="among nodes of equal score"
    )
    parser.add_argument(
        "--order",
        choices=("published", "list"),
        default="published",
        help="names that lexical ties go by: with the simulator's random prefix, or as listed",
    )
    parser.add_argument(
        "--usual", type=float, default=USUAL_PERCENT, help="%% of pods in FGD's measure"
    )
    parser.add_argument(
        "--yardstick", action="store_true", help="time FGD against scoring every node per pod"
    )
    parser.add_argument("--placements", type=Path, help="folder to write every placement to")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every list, policy, tie rule and seed that is asked for."""
    lists = arguments.pods or sorted(SHARED.glob(SHARED_LISTS), key=_default_first)
    _check(arguments, lists)
    published = _published(arguments.published)
    seeds = arguments.seed or list(SEEDS)
    cases = []
    for number, path in enumerate(lists):
        start = time.perf_counter()
        problem = read_openb(arguments.nodes, path)
        read_s = time.perf_counter() - start
        _check_demand(problem, arguments.nodes, path)
        known = published if _is_published_cluster(problem) else {}
        for policy in [canonical(_own_name(p)) for p in arguments.policy or POLICIES]:
            for tie in _ties(arguments, policy, first=number == 0 and not arguments.pods):
                outcomes = {s: _play(problem, policy, tie, s, arguments) for s in seeds}
                cases.append(_case(problem, policy, outcomes, known, arguments, read_s))
        if arguments.yardstick or (not arguments.pods and number == 0):
            cases.append(_yardstick_case(problem, seeds[0]))
    return {"bench": "fgd", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield f"{'case':<52}{'ours':>8}{'peer':>8}{'ours-peer':>10}{'equal':>8}{'refused':>9}{'s':>8}"
    for case in result["cases"]:
        if case["metric"] == "seconds":
            yield (
                f"{case['case']:<52}{case['ours']:>8.2f}{case['peer']:>8.2f} s, ratio "
                f"{case['ratio']:.4f}; {case['peer_name']}; same placements: {case['same']}"
            )
            continue
        peer, gap, equal = "-", "-", "-"
        if case["peer"] is not None:
            peer, gap = f"{case['peer']:.2f}", f"{case['ours'] - case['peer']:+.2f}"
            equal = f"{case['equal_curves']}/{case['published_runs']}"
        line = f"{case['case']:<52}{case['ours']:>8.2f}{peer:>8}{gap:>10}{equal:>8}"
        line += f"{case['refused']:>9.0f}{case['seconds']:>8.2f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    yield "equal: runs that meet every point of the published curve; s: median of one run"


def _default_first(path: Path) -> tuple[bool, str]:
    return "default" not in path.name, path.name


def _own_name(policy: str) -> str:
    """Return our name of a policy that may go by the peer's."""
    return {peer.casefold(): ours for ours, peer in PEER_NAMES.items()}.get(
        policy.casefold(), policy
    )


def _check(arguments: argparse.Namespace, lists: Sequence[Path]) -> None:
    """Raise for options out of range and files that are not there."""
    faults = []
    if not 0 <= arguments.arrived <= LAST_PERCENT:
        allowed = f"from 0 to {LAST_PERCENT}"
        faults.append(Fault("out of range", "--arrived", "", str(arguments.arrived), allowed))
    for seed in arguments.seed or ():
        if seed < 0:
            faults.append(Fault("negative seed", "--seed", "", str(seed), "0 and above"))
    if not 0 < arguments.usual <= 100:
        allowed = "above 0 and at most 100"
        faults.append(Fault("out of range", "--usual", "", str(arguments.usual), allowed))
    fetch = f"data/csv of {SOURCE}, named by --pods FILE --nodes FILE"
    for path in (arguments.nodes, *lists):
        if not path.exists():
            faults.append(Fault("no such file; fetch it", str(path), allowed=fetch))
    if not lists:
        faults.append(Fault("no pod lists; fetch them", str(SHARED), allowed=fetch))
    if faults:
        raise InputError(faults)


def _check_demand(problem: PackingProblem, nodes: Path, pods: Path) -> None:
    """Raise if there is nothing to allocate, or nobody to allocate it to."""
    faults = []
    if not problem.nodes.capacity_milli:
        faults.append(Fault("no node has a GPU", str(nodes), "gpu"))
    if not problem.pods.demand_milli.any():
        faults.append(Fault("no pod asks for a GPU", str(pods), "num_gpu"))
    if faults:
        raise InputError(faults)


def _is_published_cluster(problem: PackingProblem) -> bool:
    return (len(problem.nodes), problem.nodes.capacity_milli) == CLUSTER


def _published(folder: Path) -> Curves:
    """Return published curves by (metric, list, policy, seed); none where the folder has none."""
    curves = {}
    for metric, files in CURVE_FILES.items():
        for path in (folder / file for file in files):
            if not path.exists():
                continue
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    name = row["workload"].removeprefix("openb_pod_list_")
                    key = (metric, name, row["sc_policy"].partition("-")[2], int(row["seed"]))
                    values = [float(row[str(p)]) for p in range(LAST_PERCENT + 1)]
                    curves[key] = np.array(values)
    return curves


def _ties(arguments: argparse.Namespace, policy: str, *, first: bool) -> tuple[Tie, ...]:
    """Return the tie rules to play; by default both once, to show what they decide."""
    if arguments.tie == "both" or (arguments.tie is None and first and policy in TIES_COMPARED):
        return ("lexical", "random")
    return (cast(Tie, arguments.tie or "lexical"),)


def _play(
    problem: PackingProblem, policy: str, tie: Tie, seed: int, arguments: argparse.Namespace
) -> Outcome:
    """Play one run up to the wanted demand, and check it."""
    start = time.perf_counter()
    arrivals, rank = published_experiment(problem, seed)
    arrivals = arrivals[np.round(arrived_percent(problem, arrivals)) <= arguments.arrived]
    player: PackingPolicy = make(policy, problem)
    if isinstance(player, Fgd):
        player = Fgd(problem, arguments.usual)
    built = time.perf_counter()
    by_list = arguments.order == "list"
    packing = pack(problem, arrivals, player, tie=tie, rank=None if by_list else rank, seed=seed)
    played = time.perf_counter()
    found = verify_packing(problem, arrivals, packing, online=True)
    arrived = arrived_percent(problem, arrivals)
    fragmented = 100.0 * fragmentation_milli(problem, packing) / problem.nodes.capacity_milli
    file = ""
    if arguments.placements:
        name = f"{problem.name}-{policy}-{tie}-{seed}.json"
        file = str(_written(problem, packing, arguments.placements / name))
    return Outcome(
        _curve(arrived, allocated_percent(problem, packing), arguments.arrived),
        _curve(arrived, fragmented, arguments.arrived),
        packing.refused,
        len(found),
        built - start,
        played - built,
        packing.tie,
        file,
    )


def _curve(arrived: FloatArray, values: FloatArray, last: int) -> FloatArray:
    """Return means by percent of demand; where nothing arrives, what was there before."""
    curve = by_percent(arrived, values, last)
    known = np.maximum.accumulate(np.where(np.isnan(curve), -1, np.arange(last + 1)))
    return np.where(known < 0, 0.0, curve[known])


def _case(
    problem: PackingProblem,
    policy: str,
    outcomes: Mapping[int, Outcome],
    published: Curves,
    arguments: argparse.Namespace,
    read_s: float,
) -> dict[str, Any]:
    """Return the row of a list, policy and tie rule: means over the seeds."""
    level = arguments.arrived
    tie = next(iter(outcomes.values())).tie  # a random policy ties at random whatever is asked
    peer_name = PEER_NAMES.get(policy, policy)
    keys = {s: (problem.name, peer_name, s) for s in outcomes}
    peers = {s: published[("alloc", *k)] for s, k in keys.items() if ("alloc", *k) in published}
    frags = [published[("frag_amount", *keys[s])][level] for s in peers]
    ours = np.array([o.allocation[level] for o in outcomes.values()])
    peer = float(np.mean([p[level] for p in peers.values()])) if len(peers) == len(ours) else None
    equal = [_same(outcomes[s].allocation, p[: level + 1]) for s, p in peers.items()]
    bound = float(min(100.0, level + 0.5))
    return {
        "case": f"{problem.name}, {policy}, {tie} ties, {_named(list(outcomes))}",
        "metric": f"allocation_percent_at_{level}",
        "ours": float(ours.mean()),
        "ours_std": float(ours.std(ddof=1)) if len(ours) > 1 else None,
        "peer": peer,
        "peer_name": f"{peer_name}, published",
        "ratio": float(ours.mean()) / peer if peer else None,
        "bound": bound,
        "bound_name": "capacity and demand",
        "gap": bound / float(ours.mean()) - 1 if ours.mean() else None,
        "seconds": float(np.median([o.play_s for o in outcomes.values()])),
        "build_seconds": read_s + float(np.median([o.build_s for o in outcomes.values()])),
        "peer_seconds": None,
        "information": "requests of the arriving pod; nothing of later ones",
        "violations": sum(o.violations for o in outcomes.values()),
        "refused": float(np.mean([o.refused for o in outcomes.values()])),
        "fragmented_percent": float(np.mean([o.fragmented[level] for o in outcomes.values()])),
        "peer_fragmented_percent": float(np.mean(frags)) if peer is not None and frags else None,
        "equal_curves": sum(equal),
        "published_runs": len(peers),
        "list": problem.name,
        "policy": policy,
        "tie": tie,
        "order": arguments.order,
        "seeds": {str(s): float(o.allocation[level]) for s, o in outcomes.items()},
        "placement": {str(s): o.file for s, o in outcomes.items() if o.file},
    }


def _named(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _same(curve: FloatArray, peer: FloatArray) -> bool:
    """Return whether two curves agree as far as the peer's is printed.

    The peer rounds each run's points to two decimals, takes means and rounds again.
    """
    return bool(np.all(np.abs(curve - peer) <= 2 * PRINTED))


def _yardstick_case(problem: PackingProblem, seed: int) -> dict[str, Any]:
    """Return the row of our time for FGD against scoring every node for every pod."""
    arrivals, rank = published_experiment(problem, seed)
    start = time.perf_counter()
    ours = pack(problem, arrivals, "fgd", rank=rank)
    played = time.perf_counter()
    plain = EveryNode(problem, rank).play(arrivals)
    done = time.perf_counter()
    return {
        "case": f"{problem.name}, fgd, {len(arrivals)} pods, time",
        "metric": "seconds",
        "ours": played - start,
        "peer": done - played,
        "peer_name": "numpy, every node scored for every pod",
        "ratio": (played - start) / (done - played),
        "bound": None,
        "gap": None,
        "seconds": played - start,
        "peer_seconds": done - played,
        "information": "same",
        "violations": len(verify_packing(problem, arrivals, ours, online=True)),
        "same": _equal(ours.node, plain.node) and _equal(ours.held, plain.held),
    }


def _equal(a: IntArray, b: IntArray) -> bool:
    return bool(np.array_equal(a, b))


def _written(problem: PackingProblem, packing: Packing, path: Path) -> Path:
    """Write each arrival with its node and accelerators, and return the path."""
    rows = []
    columns = (packing.arrivals.tolist(), packing.node.tolist(), packing.held.tolist())
    for pod, node, held in zip(*columns, strict=True):
        where = None if node == REFUSED else problem.nodes.ids[node]
        taken = [g for g in range(held.bit_length()) if held >> g & 1]
        rows.append({"pod": problem.pods.ids[pod], "node": where, "accelerators": taken})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"list": problem.name, "arrivals": rows})
    return path
