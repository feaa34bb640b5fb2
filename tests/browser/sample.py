"""A small run that no change of the engine changes, and the same with hostile names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from first_come import first_come_run
from random_problems import LEVELS, fleet, workload

from scheduler.core.bounds import lower_bounds
from scheduler.core.cluster import Outage, Site
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group as GangPart
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, RunTimePhysics, Service
from scheduler.execute import ReplayResult
from scheduler.execute.cell import Cell
from scheduler.report import summarise
from scheduler.report.page import Contents, Group, Origin, contents_of

DAY_S = 86_400.0

HOSTILE = (
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<svg onload=\"document.title='owned'\"><script>document.title='owned'</script></svg>",
    "<a href=\"javascript:document.title='owned'\">click</a>",
    "\u202eesrever\u2066 \u200f\u061c bidi",
    "x" * 10_000,
    "'\"><style>*{display:none}</style>",
    "<!-- <![CDATA[ ]]> --> &lt;b&gt; &#x3c;",
    "${document.title='owned'} {{7*7}} `${1}`",
    "\x00\x07\x1b[2J\x1b]0;owned\x07\r\n\t",
    "__proto__",
    "constructor",
    "@data@ @script@ @policy@",
    "\ud83d\ude00\ufffe\u2028\u2029 \U0001f469\u200d\U0001f4bb",
    '=HYPERLINK("http://evil.example/")',
)


def mode(kind: int, count: int, per_node: int, level: int, rate: float, best: float) -> Mode:
    return Mode((GangPart(kind, count, per_node),), level, rate, best, 380.0 * count)


def sample() -> tuple[Problem, list[Run]]:
    """Return 40 accelerators of two types, 90 jobs and a service, and two days of it."""
    tariff = tuple(0.05 + 0.1 * (8 <= hour < 20) for hour in range(24))
    cluster, names, domains, pools = fleet(
        [[("Alpha", 4)] * 3, [("Alpha", 4)] * 2 + [("Beta", 8)], [("Beta", 8)] * 2],
        sites=(Site("north", None, 1.2, tariff, (420.0,)),),
        outages=(Outage("n1", 30_000.0, 40_000.0),),
    )
    rng = np.random.default_rng(9)
    kinds = [
        JobClass(name, RunTimePhysics(), gang, restart_s=60.0, preemptible=name != "big")
        for name, gang in (("small", (1,)), ("mid", (4,)), ("big", (8,)), ("wide", (16,)))
    ]
    modes = (
        (mode(0, 1, 1, 0, 1.0, 1.0), mode(1, 1, 1, 0, 0.6, 0.6)),
        (mode(0, 4, 4, 0, 4.0, 4.0), mode(1, 4, 4, 0, 2.6, 2.6)),
        (mode(1, 8, 8, 0, 5.0, 5.0), mode(0, 8, 4, 1, 6.4, 8.0)),
        (mode(1, 16, 8, 2, 8.0, 10.0),),
    )
    n = 90
    class_of = rng.choice(4, n, p=[0.5, 0.28, 0.17, 0.05]).tolist()
    hours = rng.exponential(1.6, n) + 0.3
    size = np.array([1.0, 3.0, 6.0, 9.0])[class_of]
    chat = Service(
        "chat", RunTimePhysics(), (2,), np.arange(0.0, 86_400.0, 7200.0),
        8 + 6 * np.sin(np.arange(12) / 2), load_s=300.0,
    )  # fmt: skip
    jobs = workload(
        tuple(kinds),
        class_of,
        sorted(np.round(rng.uniform(0, 70_000, n), 1).tolist()),
        np.round(hours * 3600 * size, 1).tolist(),
        (chat,),
        [int(rng.integers(3)) for _ in range(n)],
    )
    served = ((mode(0, 2, 2, 0, 5.0, 5.0),),)
    problem = Problem(cluster, jobs, names, LEVELS, domains, pools, modes, served)
    runs = []
    for policy in ("first", "second"):
        for seed in (1, 2):
            run = first_come_run(problem, np.random.default_rng(seed), DAY_S)
            runs.append(replace(run, policy=policy, seed=seed, rounds=rounds(names)))
    return problem, runs


def rounds(types: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Return what an optimizer might have noted of two rounds an hour."""
    at = np.arange(0.0, DAY_S, 1800.0)
    found = {"at_s": at, "gap": 0.1 + 0.1 * np.sin(at / 9000)}
    for i, name in enumerate(types):
        found[f"price {name}"] = (i + 1) * (1.2 + np.cos(at / 15000 + i))
    return {name: tuple(column.tolist()) for name, column in found.items()}


def contents(problem: Problem, runs: list[Run]) -> Contents:
    """Return the page of the runs; the first of each policy is drawn."""
    results = [
        ReplayResult(
            Cell(run.policy, run.seed),
            "exact",
            run.ledger_end_us,
            run.horizon_us,
            metrics_of(problem, run),
            run.ledger,
            lower_bounds(problem, run.actual_work, sorted(run.finished_us)),
            (),
        )
        for run in runs
    ]
    drawn = {run.policy: run for run in reversed(runs)}
    return contents_of(
        [Group("", summarise(results))],
        Origin("fleetfit compare a b", {"Fleet": problem.cluster.title or "a"}),
        title=f"{problem.workload.name} on {problem.cluster.name}",
        problem=problem,
        runs=[drawn[policy] for policy in dict.fromkeys(r.policy for r in runs)],
    )


def hostile(problem: Problem, runs: list[Run]) -> tuple[Problem, list[Run]]:
    """Return the same with every name replaced by a hostile one."""

    def bad(i: int) -> str:
        return HOSTILE[i % len(HOSTILE)] + ("" if i < len(HOSTILE) else f" {i}")

    cluster = problem.cluster
    number = iter(range(10_000))
    pods = tuple(
        replace(
            pod,
            name=bad(p + 3),
            site=bad(0),
            nodes=tuple(
                replace(
                    node,
                    id=bad(next(number)),
                    accelerator=bad(problem.types.index(node.accelerator)),
                )
                for node in pod.nodes
            ),
        )
        for p, pod in enumerate(cluster.pods)
    )
    types = tuple(bad(i) for i in range(len(problem.types)))
    wicked = replace(
        cluster,
        name=bad(0),
        title=bad(1),
        pods=pods,
        sites=tuple(replace(site, name=bad(i)) for i, site in enumerate(cluster.sites)),
        outages=(),
        accelerators={
            new: replace(cluster.accelerators[old], name=new)
            for old, new in zip(problem.types, types, strict=True)
        },
    )
    load = problem.workload
    jobs = replace(load.jobs, ids=tuple(bad(i) for i in range(len(load.jobs))))
    wicked_load = replace(
        load,
        name=bad(1),
        title=bad(2),
        jobs=jobs,
        classes=tuple(replace(c, name=bad(i + 1)) for i, c in enumerate(load.classes)),
        services=tuple(replace(s, name=bad(i)) for i, s in enumerate(load.services)),
        tenants=tuple(bad(i + 4) for i in range(len(load.tenants))),
    )
    domains = tuple(
        replace(d, path=tuple(bad(i + k) for k in range(len(d.path))))
        for i, d in enumerate(problem.domains)
    )
    changed = replace(problem, cluster=wicked, workload=wicked_load, types=types, domains=domains)
    policies = {name: bad(i) for i, name in enumerate(dict.fromkeys(r.policy for r in runs))}
    names = (types, tuple(d.name for d in domains))
    renamed = [
        replace(
            run,
            policy=policies[run.policy],
            rounds=rounds(types),
            rejected={0: bad(1)} if not run.rejected else run.rejected,
            ledger=replace(
                run.ledger,
                pool_types=tuple(names[0][p.type_index] for p in problem.pools),
                pool_domains=tuple(names[1][p.domains[0]] for p in problem.pools),
            ),
        )
        for run in runs
    ]
    return changed, renamed
