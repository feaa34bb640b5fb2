"""Times the modes of 10,000 distinct jobs on a fleet of 20 accelerator types and 5 levels.

Usage: python -m bench modes [--json] [--jobs 10000] [--repeats 3] [--seed 0]

No two jobs are alike: each is a class of its own, with its own gang, precision, memory,
spread, recorded run time, throughput table row or model. Six in ten come with a recorded run
time, three with a row of a throughput table, one with a model description - a mixed trace.
Tells the seconds of the whole and of each kind (the best of the repeats), how many modes came
out, how many distinct answers they are, and the machine. The budget is two seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.machine import machine_facts
from scheduler.core.cluster import Cluster, Fabric, Node, Pod, Site
from scheduler.core.problem import Problem
from scheduler.core.workload import (
    JobClass,
    Jobs,
    ModelPhysics,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
    Workload,
)
from scheduler.io.catalogue import accelerators, models
from scheduler.physics.problem import build_problem

TYPES = (
    *("V100-16GB-SXM", "V100-32GB-SXM", "T4", "A30", "A100-40GB-SXM", "A100-80GB-SXM"),
    *("A800-80GB-SXM", "L40S", "RTX-4090", "H100-SXM", "H800-SXM", "H20", "H200-SXM", "B200"),
    *("MI250X", "MI300X", "Ascend-910B", "Ascend-910B3", "TPU-v5p", "Gaudi2"),
)
MODELS = (
    *("llama-3-8b", "llama-3-70b", "qwen-2.5-7b", "qwen-2.5-32b", "mistral-7b", "yi-34b"),
    *("gpt-3-13b", "llama-2-13b", "mixtral-8x7b", "bert-large", "vit-l-16", "resnet-50"),
)
GANGS = (1, 1, 1, 1, 2, 4, 8, 8, 16, 32, 64)
"""As in published traces: most jobs ask for one accelerator or one node."""

BUDGET_S = 2.0

KINDS = {
    "all kinds": (RunTimePhysics, ProfilePhysics, ModelPhysics),
    "recorded run times": (RunTimePhysics,),
    "throughput tables": (ProfilePhysics,),
    "model descriptions": (ModelPhysics,),
}


def fleet(nodes: int = 32) -> Cluster:
    """Return 20 pods of one type each, on two sites: node, leaf, pod, site, fleet."""
    pods = []
    for i, name in enumerate(TYPES):
        kind = accelerators()[name]
        made = tuple(
            Node(
                f"{name}-{j}",
                name,
                kind.devices_per_node,
                kind.scaleup_bytes_per_s,
                kind.nic_bytes_per_s,
            )
            for j in range(nodes)
        )
        fabric = Fabric("fat_tree", nodes_per_leaf=8, taper=2.0)
        pods.append(Pod(name, "ab"[i % 2], made, fabric, uplink_bytes_per_s=100e9))
    sites = tuple(Site(name, wan_bytes_per_s=10e9) for name in "ab")
    kinds = {name: accelerators()[name] for name in TYPES}
    return Cluster("bench", "20 types on 5 levels", kinds, tuple(pods), sites)


def distinct_classes(count: int, rng: np.random.Generator) -> list[JobClass]:
    """Return classes of which no two are equal apart from their names."""
    found: dict[JobClass, JobClass] = {}
    draws = [*[_recorded] * 6, *[_measured] * 3, _described]
    while len(found) < count:
        made = draws[len(found) % len(draws)](rng, len(found))
        found.setdefault(made, made)
    return [_named(made, i) for i, made in enumerate(found)]


def _named(made: JobClass, number: int) -> JobClass:
    fields = {name: getattr(made, name) for name in made.__slots__}
    return JobClass(**{**fields, "name": f"job{number}"})


def _recorded(rng: np.random.Generator, _: int) -> JobClass:
    reference = TYPES[int(rng.integers(len(TYPES)))]
    precision = (None, "fp16", "bf16", "fp32")[int(rng.integers(4))]
    memory = float(rng.integers(1, 79)) * 2**30
    restart_s = float(rng.integers(10, 600))
    return JobClass(
        "",
        RunTimePhysics(reference),
        _gang(rng),
        precision=precision,
        memory_bytes=memory,
        max_level=_level(rng),
        restart_s=restart_s,
    )


def _measured(rng: np.random.Generator, number: int) -> JobClass:
    return JobClass("", ProfilePhysics("table", f"program-{number}"), _gang(rng))


def _described(rng: np.random.Generator, _: int) -> JobClass:
    physics = ModelPhysics(
        MODELS[int(rng.integers(len(MODELS)))],
        ("bf16", "fp16")[int(rng.integers(2))],
        int(2 ** rng.integers(11, 14)),
        int(2 ** rng.integers(6, 11)),
    )
    return JobClass("", physics, _gang(rng), max_level=_level(rng))


def _gang(rng: np.random.Generator) -> tuple[int, ...]:
    return (GANGS[int(rng.integers(len(GANGS)))],)


def _level(rng: np.random.Generator) -> str | None:
    return (None, None, "pod", "site")[int(rng.integers(4))]


def table_of(classes: Sequence[JobClass], rng: np.random.Generator) -> Profile:
    """Return measured rates of each program on every type, packed and spread."""
    rates: dict[tuple[str, str, int, str], float] = {}
    for made in classes:
        if isinstance(made.physics, ProfilePhysics):
            for name, rate in zip(TYPES, rng.uniform(1, 10, len(TYPES)).tolist(), strict=True):
                for count in (1, 8, 64):
                    key = (made.physics.job_type, name, count)
                    rates[*key, "packed"] = rate * count**0.95
                    rates[*key, "spread"] = rate * count**0.80
    return Profile("table", rates)


def workload(classes: Sequence[JobClass], profile: Profile) -> Workload:
    """Return one job of each class."""
    n = len(classes)
    jobs = Jobs(
        tuple(made.name for made in classes),
        np.arange(n),
        np.zeros(n),
        np.ones(n),
        np.full(n, np.nan),
        np.ones(n),
        np.full(n, np.nan),
        np.zeros(n, dtype=np.int64),
    )
    return Workload(
        "bench",
        f"{n} distinct jobs",
        tuple(classes),
        jobs,
        profiles={profile.name: profile},
        models={name: models()[name] for name in MODELS},
    )


def best_of(repeats: int, work: Callable[[], Problem]) -> tuple[float, float, Problem]:
    """Return the least wall and processor seconds, and what came out."""
    wall, processor = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        made = work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return min(wall), min(processor), made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--jobs", type=int, default=10_000, help="distinct jobs")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--seed", type=int, default=0, help="of the jobs drawn")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the whole, then each kind of physics by itself."""
    rng = np.random.default_rng(arguments.seed)
    classes = distinct_classes(arguments.jobs, rng)
    profile = table_of(classes, rng)
    cluster = fleet()
    cases = []
    for name, kinds in KINDS.items():
        some = [made for made in classes if isinstance(made.physics, kinds)]
        asked = workload(some, profile)
        wall_s, processor_s, problem = best_of(
            arguments.repeats, partial(build_problem, cluster, asked)
        )
        cases.append(
            {
                "case": name,
                "metric": "seconds",
                "ours": round(wall_s, 3),
                "jobs": len(some),
                "processor_seconds": round(processor_s, 3),
                "modes": sum(len(modes) for modes in problem.modes),
                "distinct_answers": len({id(modes) for modes in problem.modes}),
                "impossible_jobs": sum(not modes for modes in problem.modes),
            }
        )
    return {
        "bench": "modes",
        "types": len(problem.types),
        "levels": list(problem.levels),
        "budget_seconds": BUDGET_S,
        "cases": cases,
        "machine": machine_facts(),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    levels = ", ".join(result["levels"])
    lines = [f"modes of distinct jobs on {result['types']} types and levels {levels}"]
    lines += [
        f"  {case['case']:<20}{case['jobs']:>7} jobs {case['ours']:>7.2f} s"
        f" ({case['processor_seconds']:.2f} s of processor)"
        f"{case['modes']:>9} modes, {case['distinct_answers']} distinct answers"
        for case in result["cases"]
    ]
    return [*lines, f"  budget for all {result['budget_seconds']:.0f} s"]


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser)
    print(json.dumps(run(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
