"""A cluster and a workload become a Problem: levels, domains, pools and modes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from scheduler.core.cluster import Cluster
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.workload import Workload
from scheduler.physics.domains import Interconnect, read_interconnect
from scheduler.physics.interconnect import build_graph
from scheduler.physics.length_mix import service_modes
from scheduler.physics.modes import ModeBuilder
from scheduler.physics.spreads import Floor


def build_problem(cluster: Cluster, workload: Workload) -> Problem:
    """Return what physics says about running `workload` on `cluster`.

    Parameters
    ----------
    cluster : Cluster
        As declared.
    workload : Workload
        As declared, with the tables and models its physics names.

    Returns
    -------
    Problem
        A class without any mode is legal: its refusals say why, type by type.

    Raises
    ------
    InputError
        With every unknown level, model, table or reference type that classes name.
    """
    seen = read_interconnect(cluster, build_graph(cluster))
    with _collector_paused():
        return _built(cluster, workload, seen)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking over modes while there come more and more.

    They live on and hold no cycles; the walks would take a third of the time. Afterwards all
    there is passes into the oldest generation at once, unwalked.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what a caller froze must stay so
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def _built(cluster: Cluster, workload: Workload, seen: Interconnect) -> Problem:
    builder = ModeBuilder(Floor(cluster, seen), workload)
    faults: list[Fault] = []
    refusals: dict[str, str] = {}
    modes = []
    for i, job_class in enumerate(workload.classes):
        try:
            level = _widest(seen, job_class.max_level)
            found, refused = builder.of_class(job_class, level)
        except InputError as error:
            faults += _located(error, workload.name, f"classes[{i}]")
            continue
        modes.append(found)
        refusals |= {f"{job_class.name}/{kind}": why for kind, why in refused.items()}
    replicas = []
    for i, service in enumerate(workload.services):
        try:
            found, refused = service_modes(builder, service)
        except InputError as error:
            faults += _located(error, workload.name, f"services[{i}]")
            continue
        replicas.append(found)
        refusals |= {f"{service.name}/{kind}": why for kind, why in refused.items()}
    if faults:
        raise InputError(faults)
    return Problem(
        cluster,
        workload,
        seen.types,
        seen.levels,
        seen.domains,
        seen.pools,
        tuple(modes),
        tuple(replicas),
        refusals,
    )


def _widest(seen: Interconnect, name: str | None) -> int:
    return len(seen.levels) - 1 if name is None else seen.level(name, path="max_level")


def _located(error: InputError, file: str, path: str) -> list[Fault]:
    return [
        Fault(
            f.message,
            f.file or file,
            f"{path}.{f.path}" if f.path else path,
            f.value,
            f.allowed,
            f.nearest,
            f.line,
        )
        for f in error.faults
    ]
