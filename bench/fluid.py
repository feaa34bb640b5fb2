"""Fluid against request by request: SLO attainment of random services.

The engine serves demand as a fluid with a line: the steady state of each step of demand and
capacity. Here every request of the same runs is played by itself: Poisson arrivals, slots, a
line, and impatience at the time to the first token. The fleets hold between 1/1.6 and 1/0.6 of
what their services ask for at the peak, so that attainment is not one throughout. Beside it, the
plain fluid without a line.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.run import Run
from scheduler.core.workload import Jobs, Profile, ProfilePhysics, Service, Workload
from scheduler.io.catalogue import accelerators
from scheduler.physics.problem import build_problem
from scheduler.policies.co_serving import Foresight, PeakProvisioned
from scheduler.simulate import simulate
from scheduler.simulate.requests import ServingSpan, arrivals_of, play_requests, serving_spans
from scheduler.verify import verify_run

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
        "without_line_within_two_points": sum(r["plain_points"] <= PERMITTED_POINTS for r in rows),
        "worst_points_without_line": max(r["plain_points"] for r in rows),
        "machine": machine_facts(),
    }


def played(seed: int, number: int) -> tuple[Problem, Run]:
    """Return one random service, and a run of it."""
    problem = _drawn(stream(seed, "fluid", number))
    return problem, simulate(problem, _Player(), horizon_s=SPAN_S)


def _drawn(rng: np.random.Generator) -> Problem:
    """Draw a service and a fleet that may be too small for it."""
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
        concurrency=slots,
    )
    return build_problem(_fleet(replicas), _workload(service, rate))


def compare(seed: int, number: int) -> dict[str, Any]:
    """Return the attainment of one random service by both models."""
    start = time.perf_counter()
    problem, run = played(seed, number)
    fluid_s = time.perf_counter() - start
    fluid = run.served[0] / run.demanded[0]
    service = problem.workload.services[0]
    spans = serving_spans(problem, run, 0)
    rng = stream(seed, "fluid/requests", number)
    start = time.perf_counter()
    arrived = in_time = draws = 0
    while arrived < ENOUGH_REQUESTS and draws < MOST_DRAWS:  # one short hour is mostly luck
        arrivals = arrivals_of(service.times_s, service.demand_per_s, SPAN_S, rng)
        single = play_requests(arrivals, spans, service.ttft_s, rng)
        arrived, in_time, draws = arrived + single.arrived, in_time + single.in_time, draws + 1
    plain = _without_line(service, spans)
    share = in_time / arrived if arrived else 1.0
    return {
        "case": _told(problem),
        "metric": "slo_attainment",
        "ours": fluid,
        "peer": share,
        "peer_name": "request by request",
        "ratio": fluid / share if share else None,
        "points": 100 * abs(fluid - share),
        "without_line": plain,
        "plain_points": 100 * abs(plain - share),
        "bound": None,
        "gap": None,
        "requests": arrived,
        "draws": draws,
        "seconds": fluid_s,
        "peer_seconds": time.perf_counter() - start,
        "information": "same",
        "violations": len(verify_run(problem, run)),
    }


def _told(problem: Problem) -> str:
    slots = problem.workload.services[0].concurrency
    seconds = slots / problem.service_modes[0][0].rate
    return f"{problem.cluster.accelerator_count} replicas of {slots} slots, {seconds:.1f} s each"


def _without_line(service: Service, spans: Sequence[ServingSpan]) -> float:
    """Return the attainment if all that the capacity can do were served."""
    edges = {*service.times_s.tolist(), SPAN_S, *(s.start_s for s in spans)}
    edges |= {s.end_s for s in spans}
    asked = served = 0.0
    for start_s, end_s in pairwise(sorted(edges)):
        step = int(np.searchsorted(service.times_s, start_s, side="right")) - 1
        rate = float(service.demand_per_s[step])
        capacity = math.fsum(s.rate_per_s for s in spans if s.start_s <= start_s < s.end_s)
        asked += rate * (end_s - start_s)
        served += min(rate, capacity) * (end_s - start_s)
    return served / asked


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
        f"{'service':<44}{'requests':>9}{'single %':>10}{'engine %':>9}{'points':>8}"
        f"{'no line %':>12}{'points':>8}"
    )
    for row in result["cases"]:
        line = f"{row['case']:<44}{row['requests']:>9}{100 * row['peer']:>10.2f}"
        line += f"{100 * row['ours']:>9.2f}{row['points']:>8.2f}"
        yield line + f"{100 * row['without_line']:>12.2f}{row['plain_points']:>8.2f}"
    yield (
        f"engine within {PERMITTED_POINTS:g} points of request by request on"
        f" {result['within_two_points']} of {len(result['cases'])}, at most"
        f" {result['worst_points']:.2f}; without the line on"
        f" {result['without_line_within_two_points']}, at most"
        f" {result['worst_points_without_line']:.2f}"
    )
