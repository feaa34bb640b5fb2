"""Small fleets and workloads from which the physics tests build theirs."""

from collections.abc import Iterable, Mapping

import numpy as np

from scheduler.core.cluster import AcceleratorType, Cluster, Fabric, Node, Pod, Site
from scheduler.core.workload import JobClass, Jobs, Profile, Service, Workload

GB_S = 1e9
SITE = Site("here")


def accelerator(name: str = "H100", **changes: object) -> AcceleratorType:
    values: dict[str, object] = {
        "name": name,
        "vendor": "NVIDIA",
        "stack": "cuda",
        "memory_bytes": 80e9,
        "memory_bytes_per_s": 3.35e12,
        "peak_flops": {"bf16": 989e12, "fp16": 989e12, "fp8": 1979e12},
        "scaleup_bytes_per_s": 450 * GB_S,
        "idle_w": 70.0,
        "peak_w": 700.0,
        "scaleup_devices": 8,
        "devices_per_node": 8,
        "nic_bytes_per_s": 50 * GB_S,
        "year": 2022,
    }
    return AcceleratorType(**(values | changes))  # type: ignore[arg-type]


def pod(
    name: str,
    nodes: int,
    kind: str = "tree",
    *,
    of: str = "H100",
    per_node: int = 8,
    nic: float = 50 * GB_S,
    scaleup: float = 450 * GB_S,
    site: str = "here",
    uplink: float = 0.0,
    **fabric: object,
) -> Pod:
    made = tuple(Node(f"{name}-{i}", of, per_node, scaleup, nic) for i in range(nodes))
    return Pod(name, site, made, Fabric(kind, **fabric), uplink)  # type: ignore[arg-type]


def fleet(
    *pods: Pod,
    types: Iterable[AcceleratorType] = (),
    sites: tuple[Site, ...] = (SITE,),
    name: str = "fleet",
) -> Cluster:
    known = {t.name: t for t in types}
    for p in pods:
        for node in p.nodes:
            known.setdefault(node.accelerator, accelerator(node.accelerator))
    return Cluster(name, "", known, pods, sites)


def jobs(
    class_index: Iterable[int],
    release_s: Iterable[float] | None = None,
    work: Iterable[float] | None = None,
) -> Jobs:
    index = np.array(list(class_index), dtype=np.int64)
    n = len(index)
    return Jobs(
        tuple(f"j{i}" for i in range(n)),
        index,
        np.arange(n, dtype=np.float64) if release_s is None else np.array(list(release_s)),
        np.full(n, 100.0) if work is None else np.array(list(work)),
        np.full(n, np.nan),
        np.ones(n),
        np.full(n, np.nan),
        np.zeros(n, dtype=np.int64),
    )


def workload(
    *classes: JobClass,
    columns: Jobs | None = None,
    services: tuple[Service, ...] = (),
    profiles: Mapping[str, Profile] | None = None,
    models: Mapping[str, object] | None = None,
) -> Workload:
    made = jobs(range(len(classes))) if columns is None else columns
    return Workload("w", "", classes, made, services, profiles or {}, models or {})  # type: ignore[arg-type]
