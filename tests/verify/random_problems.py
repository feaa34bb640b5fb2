"""Small random problems, drawn directly as pools, domains and modes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from scheduler.core.cluster import (
    AcceleratorType,
    Cluster,
    Fabric,
    FailureModel,
    Node,
    Outage,
    Pod,
    Site,
)
from scheduler.core.problem import Domain, Group, Mode, Pool, Problem
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Service, Workload

LEVELS = ("node", "pod", "site", "fleet")


def accelerator(name: str, idle_w: float = 60.0, peak_w: float = 400.0) -> AcceleratorType:
    return AcceleratorType(name, "v", "s", 80e9, 2e12, {"bf16": 1e14}, 3e11, idle_w, peak_w)


def fleet(
    pods: list[list[tuple[str, int]]],
    *,
    site_of_pod: list[int] | None = None,
    sites: tuple[Site, ...] | None = None,
    outages: tuple[Outage, ...] = (),
    failures: FailureModel | None = None,
) -> tuple[Cluster, tuple[str, ...], tuple[Domain, ...], tuple[Pool, ...]]:
    """Return a cluster of pods of (type, size) nodes, with its domains and pools."""
    site_of_pod = site_of_pod or [0] * len(pods)
    sites = sites or tuple(Site(f"s{i}") for i in range(max(site_of_pod) + 1))
    names = tuple(sorted({t for pod in pods for t, _ in pod}))
    numbers = itertools.count()
    cluster = Cluster(
        "c",
        "",
        {name: accelerator(name, 40.0 + 20 * i) for i, name in enumerate(names)},
        tuple(
            Pod(
                f"p{p}",
                sites[site_of_pod[p]].name,
                tuple(Node(f"n{next(numbers)}", t, size, 3e11, 5e10, 300.0) for t, size in pod),
                Fabric("tree"),
            )
            for p, pod in enumerate(pods)
        ),
        sites,
        outages,
        failures or FailureModel(),
    )
    members: dict[tuple[int, int, int], list[int]] = {}
    node = 0
    for p, pod in enumerate(pods):
        for t, size in pod:
            members.setdefault((p, names.index(t), size), []).append(node)
            node += 1
    keys = sorted(members)
    used = sorted(set(site_of_pod))
    first_site, top = len(pods), len(pods) + len(used)
    pools = tuple(
        Pool(
            t,
            size,
            tuple(members[p, t, size]),
            (p, first_site + used.index(site_of_pod[p]), top),
            site_of_pod[p],
        )
        for p, t, size in keys
    )
    paths = [("fleet", sites[site_of_pod[p]].name, f"p{p}") for p in range(len(pods))]
    paths += [("fleet", sites[s].name) for s in used]
    domains = [
        Domain(
            path,
            4 - len(path),
            tuple(i for i, pool in enumerate(pools) if d in pool.domains),
            1e9,
            1e-6,
        )
        for d, path in enumerate([*paths, ("fleet",)])
    ]
    return cluster, names, tuple(domains), pools


def workload(
    classes: tuple[JobClass, ...],
    class_of: list[int],
    release_s: list[float],
    work: list[float],
    services: tuple[Service, ...] = (),
    tenants: list[int] | None = None,
) -> Workload:
    n = len(class_of)
    tenant = np.array(tenants or [0] * n, dtype=np.int64)
    return Workload(
        "w",
        "",
        classes,
        Jobs(
            tuple(f"job{i}" for i in range(n)),
            np.array(class_of, dtype=np.int64),
            np.array(release_s, dtype=np.float64),
            np.array(work, dtype=np.float64),
            np.full(n, np.nan),
            np.ones(n),
            np.full(n, np.nan),
            tenant,
        ),
        services,
        tenants=tuple(f"t{i}" for i in range(int(tenant.max(initial=0)) + 1)),
    )


def random_problem(rng: np.random.Generator) -> Problem:
    """Draw 1-3 pods of 1-3 types, 1-4 classes (mixed gangs, misfits), 1-10 jobs, services."""
    type_names = ["A", "B", "C"][: int(rng.integers(1, 4))]
    pods = [
        [
            (type_names[int(rng.integers(len(type_names)))], int(rng.choice([1, 2, 4, 6, 8])))
            for _ in range(int(rng.integers(1, 4)))
        ]
        for _ in range(int(rng.integers(1, 4)))
    ]
    site_of_pod = sorted(int(rng.integers(2)) for _ in pods)
    site_of_pod = [s - site_of_pod[0] for s in site_of_pod]
    nodes = sum(len(p) for p in pods)
    outages = []
    for _ in range(int(rng.integers(0, 3))):
        start_s = round(float(rng.uniform(0, 300)), 3)
        end_s = start_s + round(float(rng.uniform(1, 120)), 3)
        outages.append(Outage(f"n{int(rng.integers(nodes))}", start_s, end_s))
    sites = []
    for s in range(max(site_of_pod) + 1):
        devices = sum(size for p, pod in enumerate(pods) if site_of_pod[p] == s for _, size in pod)
        hosts = sum(len(pod) for p, pod in enumerate(pods) if site_of_pod[p] == s)
        full_w = 300.0 * hosts + 400.0 * devices
        cap_w = full_w * float(rng.uniform(0.55, 1.0)) if rng.random() < 0.4 else None
        tariff = tuple(rng.uniform(0.05, 0.3, 24).tolist()) if rng.random() < 0.5 else (0.1,)
        sites.append(Site(f"s{s}", cap_w, 1.2, tariff, (300.0 + 100 * s,)))
    cluster, names, domains, pools = fleet(
        pods, site_of_pod=site_of_pod, sites=tuple(sites), outages=tuple(outages)
    )
    # The builder tries one division of a gang over sites, so under caps none may span them.
    widest = 2 if any(site.power_cap_w is not None for site in sites) else 3
    classes, modes = [], []
    for c in range(int(rng.integers(1, 5))):
        kind = JobClass(
            f"class{c}",
            RunTimePhysics(),
            (1,),
            preemptible=bool(rng.random() < 0.6),
            restart_s=float(rng.choice([0.0, 2.5, 10.0])),
            checkpoint_s=float(rng.choice([0.0, 7.0, 30.0, 1e9])),
        )
        modes.append(_modes(rng, names, pools, widest, none=0.1))
        classes.append(replace(kind, gang=_sizes(modes[-1])))
    n = int(rng.integers(1, 13))
    services: tuple[Service, ...] = ()
    service_modes: tuple[tuple[Mode, ...], ...] = ()
    if rng.random() < 0.3:
        times_s = np.array([0.0, 50.0, 120.0])
        demand = rng.uniform(0.5, 8.0, 3)
        end_s = None if rng.random() < 0.5 else 200.0
        service_modes = (_modes(rng, names, pools, widest, none=0.0),)
        chat = Service(
            "chat", RunTimePhysics(), (1,), times_s, demand, load_s=5.0, end_s=end_s,
            arrivals="steady",
        )  # fmt: skip
        services = (replace(chat, replica=_sizes(service_modes[0])),)
    jobs = workload(
        tuple(classes),
        [int(rng.integers(len(classes))) for _ in range(n)],
        sorted(np.round(rng.choice([0.0, 1.0, 30.0], n) * rng.integers(0, 5, n), 3).tolist()),
        np.round(rng.uniform(1, 400, n), 2).tolist(),
        services,
        [int(rng.integers(3)) for _ in range(n)],
    )
    return Problem(cluster, jobs, names, LEVELS, domains, pools, tuple(modes), service_modes)


def _sizes(modes: tuple[Mode, ...]) -> tuple[int, ...]:
    return tuple(sorted({mode.count for mode in modes})) or (1,)


def _modes(
    rng: np.random.Generator,
    types: tuple[str, ...],
    pools: tuple[Pool, ...],
    widest: int,
    *,
    none: float,
) -> tuple[Mode, ...]:
    if rng.random() < none:
        return ()
    found = []
    for _ in range(int(rng.integers(1, 4))):
        chosen = sorted(
            rng.choice(
                len(types), size=int(rng.integers(1, min(2, len(types)) + 1)), replace=False
            ).tolist()
        )
        level = int(rng.integers(0, widest + 1)) if len(chosen) == 1 else 2
        groups = []
        for t in chosen:
            size = max((p.size for p in pools if p.type_index == t), default=1)
            total = sum(p.size * len(p.nodes) for p in pools if p.type_index == t)
            most = size if level == 0 else total + int(rng.random() < 0.1)
            count = int(rng.integers(1, min(most, 12) + 1))
            per_node = count if level == 0 else int(rng.integers(1, min(count, size) + 1))
            groups.append(Group(t, count, per_node))
        best = float(rng.uniform(0.5, 4.0))
        count = sum(g.count for g in groups)
        found.append(
            Mode(
                tuple(groups),
                level,
                best * float(rng.uniform(0.5, 1.0)),
                best,
                count * float(rng.uniform(200, 400)),
                straggler=0.125 if len(groups) > 1 else 0.0,
            )
        )
    return tuple(sorted(found, key=lambda m: -m.rate))
