"""One decision at scale: which of many jobs start now, in which way, on which nodes.

Usage: python -m bench round [--json] [--accelerators A --jobs J] [--types T] [--odd SHARE]

Generated rounds (`bench.round_cases`): nodes of eight in pods of 32, a third of them partly
busy, jobs that may use several types at several counts, inside a node, inside a pod or over
pods. Ours is timed cold and warm, which is from the prices of the round before, 2 % of the
jobs changed, and checked from the definitions by `bench.round_check`, the bound too. Peers, in
the same process after ours: OR-Tools' GLOP on the whole relaxation (a variable per option,
counted-slot rows), where that is not too large; CP-SAT with a variable per job and node on
fleets small enough; SCIP on a program of the form of Sia's. Libraries are loaded before the
clock starts; seconds are the least of the repeats.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from bench.round_cases import change_jobs, draw_round, draw_sia
from bench.round_check import violations
from bench.round_peers import PeerAnswer, by_node, whole_lp
from scheduler.core.errors import Fault, InputError
from scheduler.core.random import stream
from scheduler.solver.scale.columns import Decision, PriceList, Round
from scheduler.solver.scale.deciding import ENOUGH, decide
from scheduler.solver.scale.rows import tables
from scheduler.solver.scale.supply_rows import supply_rows

CHANGED: Final = 0.02
PATIENCE_S: Final = 5.0
"""A peer that has taken this long is not timed again."""

SIA_GAP: Final = 1e-4
"""Sia stops its solver at this relative gap."""

LARGEST: Final = (803_840, 200_000)
"""100,480 nodes."""

USUAL: Final = ((256, 40), (2_048, 1_000), (16_384, 8_000), (100_000, 50_000), LARGEST)


@dataclass(frozen=True, slots=True)
class Asked:
    """One case: a generated fleet and its jobs; no accelerators: Sia's round."""

    accelerators: int
    jobs: int
    types: int
    odd: float
    seed: int
    repeats: int
    peer_options: int
    peer_nodes: int

    @property
    def name(self) -> str:
        """How the case is called."""
        if not self.accelerators:
            return f"Sia's round, 2,048 accelerators, {self.jobs:,} jobs"
        odd = f"{self.odd:.0%} odd sizes" if self.odd else "dividing sizes"
        return f"{self.accelerators:,} accelerators, {self.jobs:,} jobs, {odd}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--accelerators", type=int, help="one fleet instead of the usual ones")
    parser.add_argument("--jobs", type=int, help="its jobs (half as many as accelerators)")
    parser.add_argument("--types", type=int, default=8, help="accelerator types")
    parser.add_argument("--seed", type=int, default=0, help="of the instances drawn")
    parser.add_argument("--odd", type=float, help="share of jobs of odd sizes (both 0 and 0.4)")
    parser.add_argument("--repeats", type=int, default=3, help="the least of so many counts")
    parser.add_argument(
        "--peer-options", type=int, default=250_000, help="largest relaxation given to GLOP"
    )
    parser.add_argument(
        "--peer-nodes", type=int, default=64, help="largest fleet given to a variable per node"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every case in a process of its own."""
    faults = [
        Fault("must be positive", f"--{name}", value=str(getattr(arguments, name)))
        for name in ("accelerators", "jobs", "types", "repeats")
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1
    ]
    if arguments.odd is not None and not 0 <= arguments.odd <= 1:
        faults.append(Fault("must be a share", "--odd", value=str(arguments.odd), allowed="0 to 1"))
    if faults:
        raise InputError(faults)
    cases: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    for asked in _cases(arguments):
        with context.Pool(1) as pool:  # so that memory is that of the case alone
            cases += pool.apply(measure, (asked,))
    return {"bench": "round", "cases": cases + _growth(cases), "machine": machine_facts()}


def _cases(arguments: argparse.Namespace) -> list[Asked]:
    rest = (arguments.seed, arguments.repeats, arguments.peer_options, arguments.peer_nodes)
    odds = (0.0, 0.4) if arguments.odd is None else (arguments.odd,)
    usual: tuple[tuple[int, int], ...] = USUAL
    if arguments.accelerators or arguments.jobs:
        accelerators = arguments.accelerators or 2 * arguments.jobs
        usual = ((accelerators, arguments.jobs or max(1, accelerators // 2)),)
    cases = [Asked(a, j, arguments.types, odd, *rest) for a, j in usual for odd in odds]
    return (
        cases
        if arguments.accelerators or arguments.jobs
        else [*cases, Asked(0, 960, 3, 0.0, *rest)]
    )


def measure(asked: Asked) -> list[dict[str, Any]]:
    """Return the rows of one case: cold, warm, and each peer's in the cold one."""
    import ortools.linear_solver.pywraplp
    import ortools.sat.python.cp_model  # noqa: F401

    rng = stream(asked.seed, "bench-round")
    if not asked.accelerators:
        return [_sia(asked, rng)]
    round_ = draw_round(rng, asked.accelerators, asked.jobs, asked.types, asked.odd)
    cold = _timed(round_, None, asked.repeats, ENOUGH)
    changed = change_jobs(rng, round_.options, asked.types, asked.odd, CHANGED)
    then = Round(round_.fleet, changed)
    warm = _timed(then, cold.answer.prices, asked.repeats, ENOUGH)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = [_row(asked, "cold", round_, cold, memory), _row(asked, "warm", then, warm, memory)]
    if len(round_.options.count) <= asked.peer_options:
        glop = _least(lambda: whole_lp(round_), asked.repeats)
        rows[0] |= _against(cold, glop, "OR-Tools GLOP, the relaxation alone")
        rows[0]["peer_bound"] = glop.value
    if len(round_.fleet.node_free) <= asked.peer_nodes:
        peer = by_node(round_, deterministic_time=60.0, workers=2)
        again = _row(asked, "cold", round_, cold, memory)
        again |= _against(cold, peer, f"CP-SAT, a variable per job and node ({peer.status})")
        rows.append(again | {"peer": peer.value})
    return rows


def _sia(asked: Asked, rng: np.random.Generator) -> dict[str, Any]:
    round_ = draw_sia(rng, asked.jobs)
    ours = _timed(round_, None, asked.repeats, SIA_GAP)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    scip = _least(lambda: whole_lp(round_, "SCIP", gap=SIA_GAP), asked.repeats)
    row = _row(asked, "cold", round_, ours, memory)
    return row | _against(ours, scip, f"OR-Tools SCIP ({scip.status})") | {"peer": scip.value}


@dataclass(frozen=True, slots=True)
class _Timed:
    answer: Decision
    build_s: float
    solve_s: float
    processor_s: float


def _timed(round_: Round, start: PriceList | None, repeats: int, enough: float) -> _Timed:
    """Return the answer, and the least seconds of building the tables and of the rest."""
    build, whole, processor = [], [], []
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        answer = decide(round_, start=start, enough=enough)
        whole.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
        began = time.perf_counter()
        supply_rows(tables(round_)[0])
        build.append(time.perf_counter() - began)
    return _Timed(answer, min(build), max(0.0, min(whole) - min(build)), min(processor))


def _least(solve: Callable[[], PeerAnswer], repeats: int) -> PeerAnswer:
    """Return the quickest of the repeats; a peer that takes long is not asked again."""
    answers: list[PeerAnswer] = []
    while len(answers) < repeats and sum(a.build_s + a.solve_s for a in answers) < PATIENCE_S:
        answers.append(solve())
    return min(answers, key=lambda peer: peer.build_s + peer.solve_s)


def _row(asked: Asked, start: str, round_: Round, timed: _Timed, memory: int) -> dict[str, Any]:
    answer = timed.answer
    found = violations(round_, answer)
    return {
        "case": f"{asked.name}, {start}",
        "metric": "utility",
        "ours": answer.value,
        "peer": None,
        "peer_name": "",
        "ratio": None,
        "bound": answer.bound,
        "gap": answer.gap,
        "gap_parts": {
            "convergence": answer.parts.convergence,
            "rounding": answer.parts.rounding,
            "packing": answer.parts.packing,
        },
        "seconds": timed.build_s + timed.solve_s,
        "build_seconds": timed.build_s,
        "solve_seconds": timed.solve_s,
        "processor_seconds": timed.processor_s,
        "peer_seconds": None,
        "information": "same",
        "violations": len(found),
        "first_violations": found[:3],
        "proved": answer.proved,
        "memory_bytes": memory,
        "accelerators": asked.accelerators or 2_048,
        "nodes": len(round_.fleet.node_free),
        "jobs": asked.jobs,
        "options": len(round_.options.count),
        "started": int((answer.option >= 0).sum()),
        "types": asked.types,
        "odd": asked.odd,
        "start": start,
        "seed": asked.seed,
    }


def _against(ours: _Timed, peer: PeerAnswer, name: str) -> dict[str, Any]:
    mine, theirs = ours.build_s + ours.solve_s, peer.build_s + peer.solve_s
    return {
        "peer_name": name,
        "peer_seconds": theirs,
        "peer_build_seconds": peer.build_s,
        "peer_solve_seconds": peer.solve_s,
        "ratio": theirs / mine,
        "ratio_solve_only": peer.solve_s / ours.solve_s if ours.solve_s else None,
    }


def _growth(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how cold seconds grow from 16,384 to 100,000 accelerators, as an exponent."""
    rows = []
    cold = {(c["accelerators"], c["odd"]): c for c in cases if c["start"] == "cold"}
    for odd in sorted({c["odd"] for c in cases}):
        small, large = cold.get((16_384, odd)), cold.get((100_000, odd))
        if small and large:
            span = math.log(100_000 / 16_384)
            rows.append(
                {
                    "case": f"growth from 16,384 to 100,000 accelerators, {odd:.0%} odd sizes",
                    "metric": "exponent of cold seconds",
                    "ours": math.log(large["seconds"] / small["seconds"]) / span,
                    "processor": math.log(large["processor_seconds"] / small["processor_seconds"])
                    / span,
                    "violations": 0,
                }
            )
    return rows


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    lines = ["one decision: seconds to build and solve, certified gap in its parts, memory"]
    for case in result["cases"]:
        if "gap_parts" not in case:
            lines.append(
                f"  {case['case']}: {case['ours']:.2f} (processor {case['processor']:.2f})"
            )
            continue
        parts = case["gap_parts"]
        lines.append(f"  {case['case']}: {case['started']:,} start")
        lines.append(
            f"    {case['build_seconds']:.3f} + {case['solve_seconds']:.3f} s"
            f" (processor {case['processor_seconds']:.2f}), gap {case['gap']:.4%}"
            f" = convergence {parts['convergence']:.4%} + rounding {parts['rounding']:.4%}"
            f" + packing {parts['packing']:.4%}, {case['memory_bytes'] / 2**20:.0f} MiB,"
            f" {case['violations']} violations"
        )
        if case["peer_seconds"] is not None:
            value = f", value {case['peer']:.2f} (ours {case['ours']:.2f})" if case["peer"] else ""
            lines.append(
                f"    {case['peer_name']}: {case['peer_build_seconds']:.3f} +"
                f" {case['peer_solve_seconds']:.3f} s, {case['ratio']:.1f} times ours{value}"
            )
    return lines
