"""Times whole replays: a recorded trace against a bare heap loop and SimPy, and a synthetic month.

Usage: python -m bench replay [--json] [--trace T] [--policy P ...] [--accelerators A] [--jobs N]
                              [--repeats R] [--no-growth] [--plot FILE]

The trace is played on nodes of eight accelerators of one type. Its yardsticks play the same
jobs first come, first served:

- *bare heap loop*: a heap of arrivals and ends and a count of free accelerators, nothing else;
- *SimPy, a counter*: processes that queue at one container; no nodes, no record of what ran;
- *SimPy, the same model*: processes on the same nodes, first fit, gangs over several nodes,
  every allocation recorded and every accelerator-second booked to a cause.

Times are processor time, the best of the repeats, interleaved so that all cases see the same
machine.

Then the engine plays 10,000 and `--jobs` jobs of one synthetic stream (Poisson arrivals, 70 %
load) in fresh processes: seconds per event, the peak of memory, and the power of the number of
jobs with which the time per event grows. A small stream is played again and again, up to a
million jobs, and its mean taken: the best of many short runs against a single long one would
show how often the machine is busy with others, not how the engine grows. With `--plot`, sizes in
between are played too, and drawn (SVG or PNG, with the figures beside it as CSV).
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import math
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.growth import power_of
from bench.machine import machine_facts
from bench.replay_figure import growth_figure
from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.io.catalogue import accelerators
from scheduler.io.workload import load_workload
from scheduler.physics.problem import build_problem
from scheduler.report.figures import write_figure
from scheduler.report.figures.writing import FORMATS
from scheduler.simulate import simulate

TRACE = Path("../shared/traces/philly/philly_dev.csv.gz")
SOURCE = (
    "the Philly trace as CSV: columns timestamp,duration,num_gpus,cluster "
    "(sia-simulator/traces/philly.csv of siasosp23/artifacts, from msr-fiddle/philly-traces)"
)
PER_NODE = 8
SMALL = 10_000
SIZES = (30_000, 100_000, 300_000)
"""Sizes of the stream between the smallest and the largest, for the plot."""
EVEN = 1_000_000
"""Jobs played at every size, in as many runs as that takes."""
GANGS = (1, 1, 1, 1, 2, 4, 8, 16)
LOAD = 0.7
MEAN_WORK_S = 600.0
HEAP_BOUND, SIMPY_BOUND, EASY_BOUND, GROWTH_BOUND = 8.0, 5.0, 3.0, 1.2
MEMORY_BOUND_BYTES = 2e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--policy", action="append", help="default: fifo and easy_backfill")
    parser.add_argument("--accelerators", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of the synthetic stream")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-growth", action="store_true", help="leave out the synthetic stream")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="growth as .svg or .png")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time every case and return the record."""
    if arguments.only:
        return _synthetic(arguments.only, arguments.accelerators)
    if arguments.plot and arguments.plot.suffix.lower() not in FORMATS:
        allowed = " or ".join(FORMATS)
        raise InputError(
            [Fault("no format of pictures", "--plot", "", str(arguments.plot), allowed)]
        )
    if not arguments.trace.exists():
        raise InputError([Fault("no such trace", "--trace", "", str(arguments.trace), SOURCE)])
    cases = _trace_cases(arguments)
    if not arguments.no_growth:
        cases += _growth_cases(arguments)
    return {"bench": "replay", "cases": cases, "machine": machine_facts()}


def table(result: dict[str, Any]) -> list[str]:
    """Return the lines that people read."""
    lines = [f"{'case':<46}{'ours':>12}{'yardstick':>14}{'ratio':>9}  bound"]
    for case in result["cases"]:
        held = "" if case["bound"] is None else f"{case['sense']} {case['bound']:g}"
        lines.append(
            f"{case['case']:<46}{case['ours']:>12.4g}{case['peer']:>14.4g}{case['ratio']:>9.3g}"
            f"  {held}"
        )
    facts = result["machine"]
    return [*lines, f"{facts['processor']}, load {facts.get('load_1_min', '?')}"]


# --- the trace ------------------------------------------------------------------------------


def fleet(count: int) -> Cluster:
    """Return `count` accelerators of one type in nodes of eight, one of them smaller if need be."""
    kind: AcceleratorType = accelerators()["V100-32GB-SXM"]
    sizes = [PER_NODE] * (count // PER_NODE) + ([count % PER_NODE] if count % PER_NODE else [])
    nodes = tuple(
        Node(f"n{i}", kind.name, size, kind.scaleup_bytes_per_s, kind.nic_bytes_per_s)
        for i, size in enumerate(sizes)
    )
    pod = Pod("pod", "site", nodes, Fabric("fat_tree", nodes_per_leaf=16))
    return Cluster("replay", "one type", {kind.name: kind}, (pod,), (Site("site"),))


def _trace_cases(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    problem = build_problem(fleet(arguments.accelerators), load_workload(arguments.trace))
    policies: list[str] = arguments.policy or ["fifo", "easy_backfill"]
    plays: dict[str, Callable[[], object]] = {
        "bare heap loop": lambda: bare_loop(problem, arguments.accelerators),
        "SimPy, a counter": lambda: simpy_counter(problem, arguments.accelerators),
        "SimPy, the same model": lambda: SimpyFleet(problem).play(),
    }
    plays |= {p: lambda p=p: simulate(problem, p) for p in policies}  # type: ignore[misc]
    seconds = _best_of(plays, arguments.repeats)
    first = policies[0]
    rows = []
    for peer, sense, bound in (
        ("bare heap loop", "<=", HEAP_BOUND),
        ("SimPy, the same model", ">=", SIMPY_BOUND),
        ("SimPy, a counter", ">=", None),
    ):
        ratio = seconds[first] / seconds[peer]
        rows.append(
            _case(
                f"{first} against {peer}", "processor seconds", seconds[first], seconds[peer],
                peer, ratio if sense == "<=" else 1 / ratio, sense, bound,
            )
        )  # fmt: skip
    for other in policies[1:]:
        ratio = seconds[other] / seconds[first]
        bound = EASY_BOUND if (first, other) == ("fifo", "easy_backfill") else None
        rows.append(
            _case(
                f"{other} against {first}", "processor seconds", seconds[other], seconds[first],
                first, ratio, "<=", bound,
            )
        )  # fmt: skip
    return rows


def _best_of(plays: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    best = dict.fromkeys(plays, float("inf"))
    for _ in range(repeats):
        for name, play in plays.items():
            gc.collect()
            began = time.process_time()
            play()
            best[name] = min(best[name], time.process_time() - began)
    return best


def _case(
    name: str,
    metric: str,
    ours: float,
    peer: float,
    peer_name: str,
    ratio: float,
    sense: str,
    bound: float | None,
) -> dict[str, Any]:
    met = bound is None or (ratio <= bound if sense == "<=" else ratio >= bound)
    return {
        "case": name, "metric": metric, "ours": ours, "peer": peer, "peer_name": peer_name,
        "ratio": ratio, "sense": sense, "bound": bound, "met": met,
    }  # fmt: skip


def _columns(problem: Problem) -> list[tuple[float, int, float]]:
    """Return (release, gang, seconds held) of every job."""
    jobs = problem.workload.jobs
    gang = [modes[0].count for modes in problem.modes]
    rate = [modes[0].rate for modes in problem.modes]
    restart_s = [c.restart_s for c in problem.workload.classes]
    return [
        (release, gang[c], restart_s[c] + work / rate[c])
        for release, c, work in zip(
            jobs.release_s.tolist(), jobs.class_index.tolist(), jobs.work.tolist(), strict=True
        )
    ]


def bare_loop(problem: Problem, free: int) -> list[float]:
    """Return every end: arrivals and ends in one heap, a count of what is free, a queue."""
    jobs = _columns(problem)
    heap = [(release, 0, job) for job, (release, _, _) in enumerate(jobs)]
    heapq.heapify(heap)
    ends = [0.0] * len(jobs)
    queue: deque[int] = deque()
    while heap:
        now, kind, job = heapq.heappop(heap)
        if kind:
            free += jobs[job][1]
            ends[job] = now
        else:
            queue.append(job)
        while queue and jobs[queue[0]][1] <= free:
            job = queue.popleft()
            free -= jobs[job][1]
            heapq.heappush(heap, (now + jobs[job][2], 1, job))
    return ends


def simpy_counter(problem: Problem, free: int) -> list[float]:
    """Return every end: a process per job that queues at a container of accelerators."""
    import simpy

    jobs = _columns(problem)
    env = simpy.Environment()
    pool = simpy.Container(env, free, free)
    ends = [0.0] * len(jobs)

    def job(index: int) -> Generator[Any, Any, None]:
        release, gang, held_s = jobs[index]
        yield env.timeout(release)
        yield pool.get(gang)
        yield env.timeout(held_s)
        ends[index] = env.now
        yield pool.put(gang)

    for index in range(len(jobs)):
        env.process(job(index))
    env.run()
    return ends


class SimpyFleet:
    """What the engine gives, the straightforward way: nodes, first fit, records and a ledger.

    A gang of more than a node takes whole nodes and what remains on one more, as its modes say
    that spread the least.
    """

    def __init__(self, problem: Problem) -> None:
        import simpy

        self.env: Any = simpy.Environment()
        self.jobs = _columns(problem)
        self.free = [node.count for node in problem.cluster.nodes]
        self.total = sum(self.free)
        self.queue: deque[tuple[int, int, Any]] = deque()
        self.records: list[tuple[int, float, float, list[tuple[int, int]]]] = []
        self.ledger = dict.fromkeys(("held", "no_demand", "policy", "shape", "gang_wait"), 0.0)
        self.since = 0.0
        self.cause = "no_demand"

    def play(self) -> list[tuple[int, float, float, list[tuple[int, int]]]]:
        """Run to the end and return (job, start, end, placement) of every job."""
        for index in range(len(self.jobs)):
            self.env.process(self._job(index))
        self.env.run()
        return self.records

    def _job(self, index: int) -> Generator[Any, Any, None]:
        release, gang, held_s = self.jobs[index]
        yield self.env.timeout(release)
        started = self.env.event()
        self.queue.append((index, gang, started))
        self._changed()
        placement = yield started
        start = self.env.now
        yield self.env.timeout(held_s)
        self._book()
        for node, count in placement:
            self.free[node] += count
        self.records.append((index, start, self.env.now, placement))
        self._changed()

    def _changed(self) -> None:
        self._book()
        while self.queue:
            _, gang, started = self.queue[0]
            placement = self._first_fit(gang)
            if placement is None:
                break
            self.queue.popleft()
            for node, count in placement:
                self.free[node] -= count
            started.succeed(placement)
        self.cause = self._why()

    def _first_fit(self, gang: int) -> list[tuple[int, int]] | None:
        if gang <= PER_NODE:
            for node, free in enumerate(self.free):
                if free >= gang:
                    return [(node, gang)]
            return None
        whole, rest = divmod(gang, PER_NODE)
        empty = [node for node, free in enumerate(self.free) if free == PER_NODE][:whole]
        if len(empty) < whole:
            return None
        placement = [(node, PER_NODE) for node in empty]
        if rest:
            taken = set(empty)
            for node, free in enumerate(self.free):
                if free >= rest and node not in taken:
                    return [*placement, (node, rest)]
            return None
        return placement

    def _book(self) -> None:
        elapsed = self.env.now - self.since
        if elapsed:
            free = sum(self.free)
            self.ledger[self.cause] += free * elapsed
            self.ledger["held"] += (self.total - free) * elapsed
            self.since = self.env.now

    def _why(self) -> str:
        if not self.queue:
            return "no_demand"
        gangs = {gang for _, gang, _ in self.queue}
        if any(self._first_fit(gang) is not None for gang in gangs):
            return "policy"
        return "shape" if min(gangs) <= sum(self.free) else "gang_wait"


# --- the synthetic stream -------------------------------------------------------------------


def stream_of(count: int, size: int, seed: int = 0, load: float = LOAD) -> Problem:
    """Return `count` jobs of one Poisson stream that loads `size` accelerators to a share."""
    rng = np.random.default_rng(seed)
    gangs = sorted(set(GANGS))
    mean_gang = sum(GANGS) / len(GANGS)
    gap_s = MEAN_WORK_S * mean_gang / (load * size)
    drawn = rng.choice(np.array(GANGS), count)
    nothing = np.full(count, np.nan)
    jobs = Jobs(
        tuple(map(str, range(count))),
        np.searchsorted(np.array(gangs), drawn).astype(np.int64),
        np.cumsum(rng.exponential(gap_s, count)),
        rng.exponential(MEAN_WORK_S, count) + 1.0,
        nothing,
        np.ones(count),
        nothing,
        np.zeros(count, dtype=np.int64),
    )
    classes = tuple(JobClass(f"gang-{g}", RunTimePhysics(), (g,), restart_s=0.0) for g in gangs)
    return build_problem(fleet(size), Workload("stream", "", classes, jobs))


def _synthetic(count: int, size: int) -> dict[str, Any]:
    """Play the stream here and return what it took."""
    problem = stream_of(count, size)
    runs, events, seconds = max(1, EVEN // count), 0, 0.0
    for _ in range(runs):
        gc.collect()
        began = time.process_time()
        events += simulate(problem, "fifo").events
        seconds += time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "events": events, "peak_bytes": peak_bytes, "cases": []}


def _alone(count: int, size: int) -> dict[str, Any]:
    """Play the stream in a process of its own."""
    words = ["-m", "bench", "replay", "--json", "--only", str(count), "--accelerators", str(size)]
    done = subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, text=True
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _growth_cases(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    between = [count for count in SIZES if arguments.plot and count < arguments.jobs]
    counts = [SMALL, *between, arguments.jobs]
    runs = [_alone(count, arguments.accelerators) for count in counts]
    each_us = [1e6 * r["seconds"] / r["events"] for r in runs]
    peaks = [r["peak_bytes"] for r in runs]
    if arguments.plot:
        write_figure(growth_figure(counts, each_us, peaks), arguments.plot)
    power = growth_power(counts, each_us)
    most = math.log(GROWTH_BOUND) / math.log(1_000_000 / SMALL)
    stream = f"{arguments.jobs:,} jobs"
    return [
        _case(
            f"{stream} against {SMALL:,}: time per event", "microseconds", each_us[-1],
            each_us[0], f"{SMALL:,} jobs", each_us[-1] / each_us[0], "<=", GROWTH_BOUND,
        ),
        _case(
            f"time per event: power of jobs, {len(counts)} sizes", "exponent", power, most,
            "the bound", power / most, "<=", 1.0,
        ),
        _case(
            f"{stream}: peak memory", "bytes", peaks[-1], MEMORY_BOUND_BYTES, "the bound",
            peaks[-1] / MEMORY_BOUND_BYTES, "<=", 1.0,
        ),
    ]  # fmt: skip


def growth_power(counts: Sequence[int], values: Sequence[float]) -> float:
    """Return the power of the count with which a value grows; 0 for a single size."""
    return power_of(counts, values)[0] if len(set(counts)) > 1 else 0.0
