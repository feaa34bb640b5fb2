"""Fluid against request by request: SLO attainment of random services.

The engine serves demand as a fluid. Here every request of the same runs is played by itself:
Poisson arrivals, slots, a line, and impatience at the time to the first token. The fleets hold
between 1/1.6 and 1/0.6 of what their services ask for at the peak, so that attainment is not
one throughout.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.random import stream
from scheduler.core.workload import Jobs, Profile, ProfilePhysics, Service, Workload
from scheduler.io.catalogue import accelerators
from scheduler.physics.problem import build_problem
from scheduler.policies.co_serving import Foresight, PeakProvisioned
from scheduler.simulate import simulate
from scheduler.simulate.requests import (
    ServingSpan,
    arrivals_of,
    play_requests,
    queueing_attainment,
)

SPAN_S: Final = 3600.0
STEP_S: Final = 60.0
KIND: Final = "A100-80GB-SXM"
PERMITTED_POINTS: Final = 2.0
ENOUGH_REQUESTS: Final = 30_000
MOST_DRAWS: Final = 10


class _Player(PeakProvisioned):
    """Provisions by forecast; the fleet itself is the limit."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Foresight()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument("--services", type=int, default=50, help="random services")
    parser.add_argument("--seed", type=int, default=0, help="of the services and requests")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every service both ways."""
    if arguments.services < 1 or arguments.seed < 0:
        raise InputError([Fault("out of range", "--services or --seed", allowed="1, 0 and above")])
    rows = [compare(arguments.seed, i) for i in range(arguments.services)]
    return {
        "bench": "fluid",
        "cases": rows,
        "within_two_points": sum(r["points"] <= PERMITTED_POINTS for r in rows),
        "worst_points": max(r["points"] for r in rows),
        "worst_points_with_queueing": max(r["queueing_points"] for r in rows),
        "machine": machine_facts(),
    }


def compare(seed: int, number: int) -> dict[str, Any]:
    """Return the attainment of one random service by both models."""
    rng = stream(seed, "fluid", number)
    replicas = int(rng.integers(2, 11))
    slots = int(rng.integers(8, 49))
    residence_s = float(rng.uniform(4.0, 20.0))
    patience_s = float(rng.uniform(1.0, 5.0))
    rate = slots / residence_s
    peak = replicas * rate * float(rng.uniform(0.6, 1.6))
    times = np.arange(0.0, SPAN_S, STEP_S)
    season = 0.6 + 0.4 * np.sin(2 * np.pi * (times / SPAN_S + rng.uniform()))
    demand = peak * season * rng.uniform(0.9, 1.1, len(times))
    service = Service(
        "served",
        ProfilePhysics("rates", "served"),
        (1,),
        times,
        demand,
        load_s=float(rng.uniform(10.0, 120.0)),
        ttft_s=patience_s,
        end_s=SPAN_S,
    )
    problem = build_problem(_fleet(replicas), _workload(service, rate))
    start = time.perf_counter()
    played = simulate(problem, _Player(), horizon_s=SPAN_S)
    fluid = played.served[0] / played.demanded[0]
    fluid_s = time.perf_counter() - start
    spans = [
        ServingSpan((r.start_us + r.overhead_us) / 1e6, r.end_us / 1e6, rate, slots)
        for r in played.replicas
        if r.end_us > r.start_us + r.overhead_us
    ]
    start = time.perf_counter()
    arrived = in_time = draws = 0
    while arrived < ENOUGH_REQUESTS and draws < MOST_DRAWS:  # one short hour is mostly luck
        arrivals = arrivals_of(times, demand, SPAN_S, rng)
        single = play_requests(arrivals, spans, patience_s, rng)
        arrived, in_time, draws = arrived + single.arrived, in_time + single.in_time, draws + 1
    queueing = queueing_attainment(times, demand, spans, patience_s, SPAN_S)
    share = in_time / arrived if arrived else 1.0
    return {
        "case": f"{replicas} replicas of {slots} slots, {residence_s:.1f} s each",
        "metric": "slo_attainment",
        "ours": fluid,
        "peer": share,
        "peer_name": "request by request",
        "ratio": fluid / share if share else None,
        "points": 100 * abs(fluid - share),
        "queueing": queueing,
        "queueing_points": 100 * abs(queueing - share),
        "bound": None,
        "gap": None,
        "requests": arrived,
        "draws": draws,
        "seconds": fluid_s,
        "peer_seconds": time.perf_counter() - start,
        "information": "same",
        "violations": 0,
    }


def _fleet(size: int) -> Cluster:
    kind: AcceleratorType = accelerators()[KIND]
    nodes = tuple(
        Node(f"n{i}", KIND, 1, kind.scaleup_bytes_per_s, kind.nic_bytes_per_s) for i in range(size)
    )
    pod = Pod("pod", "site", nodes, Fabric("tree", nodes_per_leaf=max(2, size)), 1e11)
    return Cluster("fleet", f"{size} accelerators", {KIND: kind}, (pod,), (Site("site"),))


def _workload(service: Service, rate: float) -> Workload:
    empty = np.zeros(0)
    whole = np.zeros(0, dtype=np.int64)
    jobs = Jobs((), whole, empty, empty, empty, empty, empty, whole)
    table = Profile("rates", {("served", KIND.casefold(), 1, "packed"): rate})
    return Workload("one", "one service", (), jobs, (service,), {"rates": table})


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'service':<44}{'requests':>9}{'single %':>10}{'fluid %':>9}{'points':>8}"
        f"{'queueing %':>12}{'points':>8}"
    )
    for row in result["cases"]:
        line = f"{row['case']:<44}{row['requests']:>9}{100 * row['peer']:>10.2f}"
        line += f"{100 * row['ours']:>9.2f}{row['points']:>8.2f}"
        yield line + f"{100 * row['queueing']:>12.2f}{row['queueing_points']:>8.2f}"
    yield (
        f"fluid within {PERMITTED_POINTS:g} points of request by request on"
        f" {result['within_two_points']} of {len(result['cases'])}, at most"
        f" {result['worst_points']:.2f}; with queueing"
        f" {result['worst_points_with_queueing']:.2f}"
    )
