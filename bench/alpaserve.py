"""Models that share groups of devices: selective replication, AlpaServe's placement, ours.

Peer: Li et al., "AlpaServe" (OSDI 2023). Its simulator (alpa-projects/mms) was run on its
in-tree profile (2 GB, 100 ms, 16 models on 8 devices, gamma arrivals of CV 4, SLO of five
latencies); what it told is recorded here, to show that the policies written after the paper
(`scheduler.solver.group_placement`, which says what is simplified) come out alike. Placements
are chosen on some seconds of arrivals and judged on others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.random import stream
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.group_placement import (
    Groups,
    SharedCase,
    alpaserve,
    improved,
    judge,
    replicate,
)

RECORDED: Final[Mapping[tuple[float, float], tuple[float, float]]] = {
    (4.5, 40.0): (0.575, 0.946),
    (8.5, 40.0): (0.813, 0.987),
    (4.5, 20.0): (0.648, 0.987),
}
"""By GB of a device and requests/s: share in time that the peer's simulator tells for selective
replication, and for its groups of up to four devices."""

DEVICES: Final = 8
LATENCY_S: Final = 0.1
SIZE_BYTES: Final = 2e9
TRAINING_S: Final = 200.0
PEER_GROUP: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument("--models", type=int, default=16, help="models, of equal demand")
    parser.add_argument("--cv", type=float, default=4.0, help="of the gaps between arrivals")
    parser.add_argument("--slo-scale", type=float, default=5.0, help="in latencies")
    parser.add_argument("--seeds", type=int, default=3, help="draws of arrivals")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--judged", type=float, default=1000.0, help="seconds judged on")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Place and judge every case under every policy."""
    wrong = [
        Fault("out of range", f"--{name.replace('_', '-')}", "", str(value), "above 0")
        for name, value in vars(arguments).items()
        if name in ("models", "cv", "slo_scale", "seeds", "judged") and not value > 0
    ]
    if wrong:
        raise InputError(wrong)
    rows = [row for key in RECORDED for row in _rows(arguments, *key)]
    return {"bench": "alpaserve", "cases": rows, "machine": machine_facts()}


def _rows(arguments: argparse.Namespace, memory_gb: float, rate: float) -> list[dict[str, Any]]:
    count = arguments.models
    case = SharedCase(
        np.full(count, LATENCY_S), np.full(count, SIZE_BYTES), DEVICES, 1e9 * memory_gb,
        arguments.slo_scale,
    )  # fmt: skip
    shares: dict[str, list[float]] = {"replication": [], "alpaserve": [], "ours": []}
    start = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        name = f"alpaserve/{memory_gb}/{rate}"
        known = drawn(stream(seed, f"{name}/known"), count, rate, arguments.cv, TRAINING_S)
        judged = drawn(stream(seed, f"{name}/judged"), count, rate, arguments.cv, arguments.judged)
        whole = alpaserve(case, *known)
        placed: dict[str, Groups] = {
            "replication": replicate(case, [1] * DEVICES, *known),
            "alpaserve": alpaserve(case, *known, PEER_GROUP),
            "ours": improved(case, whole, *known, stream(seed, f"{name}/swaps"), 60),
        }
        for policy, groups in placed.items():
            shares[policy].append(judge(case, groups, *judged).in_time)
    seconds = time.perf_counter() - start
    mean = {policy: float(np.mean(found)) for policy, found in shares.items()}
    as_asked = (count, arguments.cv, arguments.slo_scale) == (16, 4.0, 5.0)
    recorded = RECORDED[memory_gb, rate] if as_asked else (None, None)
    told = f"{count} models on {DEVICES} x {memory_gb:g} GB, {rate:g} req/s"
    names = ("selective replication", "AlpaServe's groups")
    pairs = zip(names, (mean["replication"], mean["alpaserve"]), recorded, strict=True)
    return [
        {
            "case": f"{told}, {name}",
            "metric": "slo_attainment",
            "ours": mean["ours"],
            "peer": share,
            "peer_name": name,
            "recorded": known_share,
            "ratio": mean["ours"] / share if share else None,
            "bound": 1.0,
            "gap": 1 - mean["ours"],
            "seconds": seconds,
            "peer_seconds": None,
            "information": "same",
            "violations": 0,
        }
        for name, share, known_share in pairs
    ]


def drawn(
    rng: np.random.Generator, models: int, rate_per_s: float, cv: float, span_s: float
) -> tuple[FloatArray, IntArray]:
    """Return arrivals, ascending, and the model of each: gamma gaps by model, of that CV."""
    shape, each = 1 / cv**2, rate_per_s / models
    at_s, model = [], []
    for m in range(models):
        gaps = rng.gamma(shape, 1 / (each * shape), int(3 * each * span_s) + 50)
        times = np.cumsum(gaps)
        times = times[times < span_s]
        at_s.append(times)
        model.append(np.full(len(times), m, dtype=np.int64))
    times, of = np.concatenate(at_s), np.concatenate(model)
    order = np.argsort(times, kind="stable")
    return times[order], of[order]


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield f"{'case':<62}{'ours %':>8}{'peer %':>8}{'recorded %':>12}"
    for row in result["cases"]:
        told = "-" if row["recorded"] is None else f"{100 * row['recorded']:.1f}"
        yield f"{row['case']:<62}{100 * row['ours']:>8.1f}{100 * row['peer']:>8.1f}{told:>12}"
    yield "share of requests in time; recorded: the peer's own simulator on this case"
