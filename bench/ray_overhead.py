"""What Ray costs a sweep: utilisation of the cores, overhead per cell, scaling over nodes.

Three parts, each a sweep through the shipped code path (`scheduler.execute.sweep`), results
written to disk as always, Ray up and its workers warm before the clock starts:

- *cores*: cells that compute for a second of processor time each on every core; the ideal is
  their processor time divided by the cores.
- *quick cells*: cells that do nothing; what one takes is overhead.
- *nodes*: cells that wait for a second of wall time on 1, 2 and 4 Ray nodes simulated on this
  machine, a few slots each; from the driver's processor time per cell follows how many cells a
  second it can serve, and from that a projection to 1,000 nodes. A projection, not a
  measurement.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.problem import Problem
from scheduler.core.sweep import Limits
from scheduler.core.workload import Jobs
from scheduler.execute import Settings
from scheduler.execute.batches import HAND_OVER_S, TARGET_S
from scheduler.execute.sweep import Grid, Group, SweepFolder, run_sweep
from scheduler.execute.sweep.ray_crew import RayCrew

POLICIES: Final = '''\
import os, time
from scheduler.policies.fifo import Fifo

class Computes(Fifo):
    """Takes so much processor time before it decides for the first time."""
    seconds = float(os.environ.get("FLEETFIT_BENCH_CELL_S", "1.0"))
    def decide(self, view):
        if self.seconds:
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                sum(range(1000))
            self.seconds = 0.0
        super().decide(view)

class Waits(Fifo):
    """The same, but sleeps."""
    seconds = Computes.seconds
    def decide(self, view):
        time.sleep(self.seconds)
        self.seconds = 0.0
        super().decide(view)
'''

NODES: Final = (1, 2, 4)
PROJECTED_NODES: Final = 1000
LIMITS: Final = Limits()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--cells", type=int, default=200, help="cells of the first part")
    parser.add_argument("--cell-seconds", type=float, default=1.0, help="length of a cell")
    parser.add_argument("--quick-cells", type=int, default=400, help="cells of the second part")
    parser.add_argument("--slots", type=int, default=4, help="cells at once on a simulated node")
    parser.add_argument("--rounds", type=int, default=8, help="cells per slot in the third part")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all three parts."""
    with tempfile.TemporaryDirectory() as folder:
        _install_policies(Path(folder))
        os.environ["FLEETFIT_BENCH_CELL_S"] = str(arguments.cell_seconds)
        problem = _one_job()
        parts = {
            "cores": _cores(problem, Path(folder), arguments),
            "quick_cells": _quick(problem, Path(folder), arguments),
        }
        import ray

        ray.shutdown()
        per_cell_s = parts["quick_cells"]["driver_s_per_cell"]
        parts["nodes"] = _nodes(problem, Path(folder), arguments, per_cell_s)
    return {"bench": "ray", "cases": _rows(parts), "parts": parts, "machine": machine_facts()}


def _rows(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts as cases: shares of the ideal, and the overhead of one cell."""
    cores, quick, nodes = (parts[k] for k in ("cores", "quick_cells", "nodes"))
    shares = [(f"{cores['cells']} cells on {cores['workers']} cores", cores)]
    shares += [(f"{row['nodes']} nodes, {row['cells']} cells", row) for row in nodes["rows"]]
    rows = [
        {
            "case": name,
            "metric": "share_of_ideal",
            "ours": part["efficiency"],
            "bound": 1.0,
            "gap": 1.0 - part["efficiency"],
            "seconds": part["elapsed_s"],
        }
        for name, part in shares
    ]
    named = f"{quick['cells']} cells that do nothing"
    return [*rows, {"case": named, "metric": "overhead_s", "ours": quick["overhead_s"]}]


def table(result: dict[str, Any]) -> list[str]:
    """Return the lines that people read."""
    cores, quick, nodes = (result["parts"][k] for k in ("cores", "quick_cells", "nodes"))
    projection = nodes["projection"]
    lines = [
        f"{cores['cells']} cells of {cores['cell_s']:g} s on {cores['workers']} cores: "
        f"{cores['elapsed_s']:.1f} s, ideal {cores['ideal_s']:.1f} s: "
        f"{100 * cores['efficiency']:.1f} % of ideal; workers busy "
        f"{100 * cores['busy']:.1f} % of the time; Ray up in {cores['ray_start_s']:.1f} s; "
        f"load before {cores['load_before']}",
        f"{quick['cells']} cells that do nothing: {1e3 * quick['overhead_s']:.1f} ms each beyond "
        f"their own {1e3 * quick['own_s']:.1f} ms",
    ]
    lines += [
        f"{row['nodes']} nodes of {nodes['slots_per_node']} slots: {row['cells']} cells of "
        f"{nodes['cell_s']:g} s in {row['elapsed_s']:.2f} s: {100 * row['efficiency']:.1f} %"
        for row in nodes["rows"]
    ]
    lines.append(
        f"projected, not measured, to {projection['nodes']} nodes ({projection['slots']} slots): "
        f"the driver takes {1e3 * projection['driver_s_per_task']:.2f} ms per task and "
        f"{1e3 * projection['driver_s_per_cell']:.2f} ms per cell, so "
        f"{projection['cells_per_s']:.0f} cells/s, {100 * projection['efficiency']:.0f} % of the "
        f"slots with cells of {nodes['cell_s']:g} s, all of them with cells of "
        f"{projection['full_from_cell_s']:.1f} s or more"
    )
    return lines


def _cores(problem: Problem, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    before_s = time.perf_counter()
    workers = RayCrew([], LIMITS).workers()
    ray_start_s = time.perf_counter() - before_s
    crew = _crew(None)
    _play(problem, "computes", 2 * workers, folder / "warm", crew)
    load = round(os.getloadavg()[0], 2)
    played = _play(problem, "computes", arguments.cells, folder / "cores", crew)
    ideal_s = arguments.cells * arguments.cell_seconds / workers
    return {
        "cells": arguments.cells,
        "cell_s": arguments.cell_seconds,
        "workers": workers,
        "ray_start_s": ray_start_s,
        "load_before": load,
        "elapsed_s": played["elapsed_s"],
        "ideal_s": ideal_s,
        "efficiency": ideal_s / played["elapsed_s"],
        "busy": played["cells_s"] / (workers * played["elapsed_s"]),
        "overhead_s_per_cell": (workers * played["elapsed_s"] - played["cells_s"])
        / arguments.cells,
    }


def _quick(problem: Problem, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    cells = arguments.quick_cells
    workers = RayCrew([], LIMITS).workers()
    played = _play(problem, "fifo", cells, folder / "quick", _crew(None))
    return {
        "cells": cells,
        "elapsed_s": played["elapsed_s"],
        "own_s": played["cells_s"] / cells,
        "overhead_s": (workers * played["elapsed_s"] - played["cells_s"]) / cells,
        "driver_s_per_cell": played["driver_s"] / cells,
    }


def _nodes(
    problem: Problem, folder: Path, arguments: argparse.Namespace, per_cell_s: float
) -> dict[str, Any]:
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    size = {"num_cpus": arguments.slots, "object_store_memory": 100 * 2**20}
    head = {"num_cpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    rows = []
    try:
        there = 0
        for nodes in NODES:
            for _ in range(nodes - there):
                cluster.add_node(**size)
            there = nodes
            slots = nodes * arguments.slots
            crew = _crew(cluster.address)
            _play(problem, "waits", 3 * slots, folder / f"warm-{nodes}", crew)
            cells = slots * arguments.rounds
            played = _play(problem, "waits", cells, folder / f"nodes-{nodes}", crew)
            ideal_s = cells * arguments.cell_seconds / slots
            rows.append(
                {
                    "nodes": nodes,
                    "slots": slots,
                    "cells": cells,
                    "elapsed_s": played["elapsed_s"],
                    "ideal_s": ideal_s,
                    "efficiency": ideal_s / played["elapsed_s"],
                    "driver_s_per_cell": played["driver_s"] / cells,
                }
            )
    finally:
        ray.shutdown()
        cluster.shutdown()
    return {
        "slots_per_node": arguments.slots,
        "cell_s": arguments.cell_seconds,
        "rows": rows,
        "projection": _projection(rows, arguments, per_cell_s),
    }


def _projection(
    rows: Sequence[dict[str, Any]], arguments: argparse.Namespace, per_cell_s: float
) -> dict[str, Any]:
    """Project the largest measured fleet to 1,000 nodes by the driver's time per task and cell.

    Workers share nothing but the driver, so the driver is what saturates: a task costs it what
    the cells of one task each cost above, less what a cell costs inside a batch; batches are
    as long as the sweep makes them for so many slots.
    """
    slots = PROJECTED_NODES * arguments.slots
    task_s = max(0.0, rows[-1]["driver_s_per_cell"] - per_cell_s)
    batch = max(1, math.ceil(max(TARGET_S, HAND_OVER_S * slots) / arguments.cell_seconds))
    served = 1 / (per_cell_s + task_s / batch)
    return {
        "nodes": PROJECTED_NODES,
        "slots": slots,
        "driver_s_per_task": task_s,
        "driver_s_per_cell": per_cell_s,
        "cells_per_task": batch,
        "cells_per_s": served,
        "efficiency": min(1.0, served * arguments.cell_seconds / slots),
        "full_from_cell_s": slots / served,
    }


def _crew(address: str | None) -> Callable[[Grid], RayCrew]:
    return lambda grid: RayCrew(grid.groups, LIMITS, address=address)


def _play(
    problem: Problem, policy: str, cells: int, folder: Path, crew: Callable[[Grid], RayCrew]
) -> dict[str, float]:
    """Play so many cells of a policy; return wall time, cells' own time, driver's time."""
    grid = Grid("", [Group("one", "one", policy, problem, Settings())], [policy], range(cells))
    with SweepFolder(folder) as entered:
        made = crew(grid)
        wall_s, driver_s = time.perf_counter(), time.process_time()
        run_sweep(grid, entered, lambda: made, limits=LIMITS)
        elapsed_s = time.perf_counter() - wall_s
        driver_s = time.process_time() - driver_s
        own = [row.seconds or 0.0 for row in entered.index.rows()]
    return {"elapsed_s": elapsed_s, "driver_s": driver_s, "cells_s": float(np.sum(own))}


def _install_policies(folder: Path) -> None:
    """Make a distribution of the policies above that Ray's workers find too."""
    (folder / "fleetfit_bench.py").write_text(POLICIES)
    info = folder / "fleetfit_bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fleetfit-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fleetfit.policies]\ncomputes = fleetfit_bench:Computes\nwaits = fleetfit_bench:Waits\n"
    )
    sys.path.insert(0, str(folder))


def _one_job() -> Problem:
    """Return a problem that takes no time: one job on one shipped fleet."""
    import scheduler

    problem = scheduler.load("gavel-36", "philly-like")
    jobs: Jobs = problem.workload.jobs.take(np.array([0]))
    return replace(problem, workload=replace(problem.workload, jobs=jobs))
