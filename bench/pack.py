"""Packing all pods at once against FGD and BestFit: allocation, proved bound, moves to make room.

The pods are those of the published FGD experiment up to a demand; see `bench.fgd`. FGD and
BestFit see them one by one, ours knows them all, so its figure is what packing could reach, and
its bound what nobody can exceed. Pods without accelerators are all placed, so that they do not
pay for the gain. Our answer is checked by `verify_packing`, without the rule that a pod is
placed whenever it fits at its arrival: that is a rule of online play.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.fgd import (
    PEER_NAMES,
    SHARED,
    SHARED_LISTS,
    SOURCE,
    Curves,
    _check_demand,
    _default_first,
    _is_published_cluster,
    _published,
    _written,
)
from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.packing import (
    REFUSED,
    Packing,
    PackingProblem,
    allocated_percent,
    arrived_percent,
)
from scheduler.core.workload import IntArray
from scheduler.generate.pod_arrivals import PUBLISHED_RATIO, published_experiment
from scheduler.io.openb import read_openb
from scheduler.simulate.packing import pack
from scheduler.solver.packing.migrate import Migration, migrations
from scheduler.solver.packing.solve import PackingAnswer, bound_of_keeping, pack_by_patterns
from scheduler.verify.packing import verify_packing

SECONDS: Final = 60.0
SEED: Final = 42
MOVES: Final = (10, 30, 100, 300, 1000)
"""Points of the defragmentation curve, and as many moves as one likes."""


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
    parser.add_argument("--seed", type=int, action="append", help="42 to 51 are published")
    parser.add_argument("--arrived", type=int, default=100, help="demand in %% of GPUs, at most")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit for each answer")
    parser.add_argument(
        "--defragment",
        type=int,
        metavar="K",
        help="move at most K pods of FGD's end state, on every list; else: first list, any number",
    )
    parser.add_argument("--placements", type=Path, metavar="DIR", help="write each placement")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pack every list and seed that is asked for."""
    lists = arguments.pods or sorted(SHARED.glob(SHARED_LISTS), key=_default_first)
    _check(arguments, lists)
    published = _published(arguments.published)
    cases = []
    for path in lists:
        problem = read_openb(arguments.nodes, path)
        _check_demand(problem, arguments.nodes, path)
        known = published if _is_published_cluster(problem) else {}
        for seed in arguments.seed or [SEED]:
            arrivals, rank = _arrivals(problem, seed, arguments.arrived)
            fgd = pack(problem, arrivals, "fgd", rank=rank)
            cases.append(_case(problem, arrivals, rank, fgd, seed, known, arguments))
            if arguments.defragment is not None or not any("moves" in case for case in cases):
                cases.append(_defragment_case(problem, fgd, seed, arguments))
    return {"bench": "pack", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'case':<34}{'ours':>8}{'FGD':>8}{'BestFit':>9}{'bound':>8}{'gap':>7}{'free':>8}"
        f"{'sums':>8}{'s':>7}{'refused':>9}{'FGD':>6}"
    )
    curves = []
    for case in result["cases"]:
        if case["metric"] == "points_gained":
            curves.append(case)
            continue
        yield (
            f"{case['case']:<34}{case['ours']:>8.3f}{case['peer']:>8.2f}"
            f"{case['best_fit']:>9.2f}{case['bound']:>8.3f}{case['gap_points']:>7.3f}"
            f"{case['free_bound']:>8.2f}{case['quick_bound']:>8.2f}{case['seconds']:>7.1f}"
            f"{case['refused']:>9}{case['peer_refused']:>6}{_remarks(case)}"
        )
        if case["published"]:
            named = ", ".join(f"{k} {v:.2f}" for k, v in case["published"].items())
            yield f"{'':<34}published curves at this demand: {named}"
    for case in curves:
        yield (
            f"{case['case']}: at most {case['bound']:.3f} points by any number of moves; "
            f"{case['seconds']:.1f} s{_remarks(case)}"
        )
        yield f"{'':<4}{'at most':>10}{'moved':>8}{'points':>9}{'bound':>9}{'s':>7}"
        for point in case["curve"]:
            yield (
                f"{'':<4}{point['most_moves']:>10}{point['moves']:>8}{point['points']:>9.3f}"
                f"{point['bound']:>9.3f}{point['seconds']:>7.1f}"
            )
    if curves:
        yield (
            "moved: pods whose node or accelerators change, all at once; s: from the start; bound: "
            "for pods with one accelerator or none, those with several staying"
        )
    yield (
        "% of all accelerators; gap: points from bound, which holds for packings that place every "
        "pod without accelerators; free: bound without that; sums: from totals alone"
    )


def _remarks(case: Mapping[str, Any]) -> str:
    text = f"  {case['violations']} violations" if case["violations"] else ""
    if case.get("dropped"):
        text += f"  {case['dropped']} pods without accelerators refused"
    return text + ("  stopped by the limit" if case.get("stopped") else "")


def _check(arguments: argparse.Namespace, lists: Sequence[Path]) -> None:
    """Raise for options out of range and files that are not there."""
    faults = []
    last = round(100 * PUBLISHED_RATIO)
    if not 1 <= arguments.arrived <= last:
        allowed = f"from 1 to {last}"
        faults.append(Fault("out of range", "--arrived", "", str(arguments.arrived), allowed))
    if not arguments.seconds > 0:
        faults.append(Fault("out of range", "--seconds", "", str(arguments.seconds), "above 0"))
    if arguments.defragment is not None and arguments.defragment < 0:
        moves = str(arguments.defragment)
        faults.append(Fault("out of range", "--defragment", "", moves, "0 and above"))
    for seed in arguments.seed or ():
        if seed < 0:
            faults.append(Fault("negative seed", "--seed", "", str(seed), "0 and above"))
    fetch = f"data/csv of {SOURCE}, named by --pods FILE --nodes FILE"
    for path in (arguments.nodes, *lists):
        if not path.exists():
            faults.append(Fault("no such file; fetch it", str(path), allowed=fetch))
    if not lists:
        faults.append(Fault("no pod lists; fetch them", str(SHARED), allowed=fetch))
    if faults:
        raise InputError(faults)


def _arrivals(problem: PackingProblem, seed: int, level: int) -> tuple[IntArray, IntArray]:
    """Return the pods of the published experiment up to a demand, and node ranks for ties."""
    arrivals, rank = published_experiment(problem, seed)
    return arrivals[arrived_percent(problem, arrivals) <= level], rank


def _allocated(problem: PackingProblem, packing: Packing) -> float:
    return float(allocated_percent(problem, packing)[-1]) if len(packing) else 0.0


def _case(
    problem: PackingProblem,
    arrivals: IntArray,
    rank: IntArray,
    fgd: Packing,
    seed: int,
    published: Curves,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Return the row of a list and seed."""
    start = time.perf_counter()
    answer: PackingAnswer = pack_by_patterns(
        problem, arrivals, seed=seed, time_limit_s=arguments.seconds
    )
    seconds = time.perf_counter() - start
    percent = 100.0 / problem.nodes.capacity_milli
    ours, bound = percent * answer.placed_milli, percent * answer.bound_milli
    peer = _allocated(problem, fgd)
    best_fit = pack(problem, arrivals, "best_fit", rank=rank)
    file = ""
    if arguments.placements:
        path = arguments.placements / f"{problem.name}-patterns-{seed}.json"
        file = str(_written(problem, answer.packing, path))
    curves = {
        name: published.get(("alloc", problem.name, name, seed))
        for name in (PEER_NAMES["fgd"], PEER_NAMES["best_fit"])
    }
    return {
        "case": f"{problem.name}, seed {seed}, {arguments.arrived} %",
        "metric": f"allocation_percent_at_{arguments.arrived}",
        "ours": ours,
        "peer": peer,
        "peer_name": "FGD, our run on the same pods",
        "ratio": ours / peer if peer else None,
        "best_fit": _allocated(problem, best_fit),
        "published": {
            name: float(curve[arguments.arrived])
            for name, curve in curves.items()
            if curve is not None
        },
        "bound": bound,
        "bound_name": "prices of the pooled relaxation, summed exactly",
        "gap": 1 - ours / bound if bound else None,
        "gap_points": bound - ours,
        "lp": percent * answer.lp_milli,
        "free_bound": percent * answer.free_bound_milli,
        "quick_bound": percent * answer.quick_bound_milli,
        "seconds": seconds,
        "peer_seconds": None,
        "information": "ours knows all pods; FGD and BestFit see one at a time",
        "violations": len(verify_packing(problem, arrivals, answer.packing)),
        "refused": answer.packing.refused,
        "peer_refused": fgd.refused,
        "kept": answer.kept,
        "dropped": answer.dropped,
        "columns": answer.columns,
        "stopped": answer.stopped,
        "list": problem.name,
        "seed": seed,
        "placement": file,
    }


def _defragment_case(
    problem: PackingProblem, fgd: Packing, seed: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return the row of what moving pods of FGD's end state gains."""
    start = time.perf_counter()
    curve, seconds = [], []
    for point in migrations(problem, fgd, _budgets(len(fgd), arguments.defragment)):
        curve.append(point)
        seconds.append(time.perf_counter() - start)
    percent = 100.0 / problem.nodes.capacity_milli
    before = _allocated(problem, fgd)
    stays = fgd.node != REFUSED
    bound = percent * bound_of_keeping(problem, fgd.arrivals, stays) - before
    last = curve[-1].packing
    gained = _allocated(problem, last) - before
    violations = sum(
        len(verify_packing(problem, fgd.arrivals, point.packing))
        + int((stays & (point.packing.node == REFUSED)).sum())
        for point in curve
    )
    file = ""
    if arguments.placements:
        path = arguments.placements / f"{problem.name}-defragmented-{seed}.json"
        file = str(_written(problem, last, path))
    return {
        "case": f"{problem.name}, seed {seed}, moves from FGD's {before:.2f}",
        "metric": "points_gained",
        "ours": gained,
        "peer": 0.0,
        "peer_name": "FGD's end state",
        "ratio": None,
        "bound": bound,
        "bound_name": "any number of moves, every admitted pod stays",
        "gap": 1 - gained / bound if bound > 0 else 0.0,
        "seconds": seconds[-1],
        "peer_seconds": None,
        "information": "all refused pods known",
        "violations": violations,
        "moves": [point.moves for point in curve],
        "points": [percent * point.gained_milli for point in curve],
        "curve": [_point(*pair, percent) for pair in zip(curve, seconds, strict=True)],
        "list": problem.name,
        "seed": seed,
        "placement": file,
    }


def _budgets(pods: int, most: int | None) -> list[int]:
    """Return the numbers of moves to try: the usual ones, and the most of all."""
    most = pods if most is None else most
    return [*(k for k in MOVES if k < most), most]


def _point(point: Migration, seconds: float, percent: float) -> dict[str, float]:
    return {
        "most_moves": point.most_moves,
        "moves": point.moves,
        "points": percent * point.gained_milli,
        "bound": percent * point.bound_milli,
        "seconds": seconds,
    }
