"""The modes of jobs that share an accelerator.

A share s of a device does s times the work of the whole device, draws s times its power and
takes s of its memory, or what the class says it takes. Jobs of which only a recorded run time
is known run for that time: it was recorded as they shared. That sharers slow each other down
beyond their shares is left out: it depends on who shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scheduler.core.cluster import AcceleratorType
from scheduler.core.problem import Mode
from scheduler.core.units import GIB, WHOLE_MILLI
from scheduler.core.workload import JobClass, RunTimePhysics


def shares_of(
    job_class: JobClass,
    types: Sequence[AcceleratorType],
    whole: Sequence[Mode],
    refusals: Mapping[str, str],
) -> tuple[tuple[Mode, ...], dict[str, str]]:
    """Return the modes of a class that shares, and refusals by type name.

    Parameters
    ----------
    job_class : JobClass
        With a share below one.
    types : sequence of AcceleratorType
        What `Group.type_index` points at.
    whole : sequence of Mode
        Those of the class if it had one accelerator whole, by descending rate.
    refusals : mapping of str to str
        Why it has none on other types.
    """
    share = job_class.share_milli / WHOLE_MILLI
    pace = 1.0 if isinstance(job_class.physics, RunTimePhysics) else share
    modes: list[Mode] = []
    refused = dict(refusals)
    for mode in whole:
        kind = types[mode.type_index]
        memory_bytes = share_memory_bytes(job_class, kind)
        if mode.memory_bytes > memory_bytes:
            need, has = mode.memory_bytes / GIB, memory_bytes / GIB
            refused[kind.name] = (
                f"needs {need:.4g} GiB, {share:g} of the type's memory is {has:.4g} GiB"
                if not job_class.memory_bytes
                else f"needs {need:.4g} GiB, its memory is {has:.4g} GiB"
            )
            continue
        modes.append(
            replace(
                mode,
                rate=mode.rate * pace,
                best_rate=mode.best_rate * pace,
                power_w=mode.power_w * share,
                memory_bytes=float(memory_bytes),
                share_milli=job_class.share_milli,
            )
        )
    return tuple(modes), refused


def share_memory_bytes(job_class: JobClass, kind: AcceleratorType) -> int:
    """Return the device memory that a share takes, in whole bytes."""
    if job_class.memory_bytes:
        return int(job_class.memory_bytes)
    return int(kind.memory_bytes) * job_class.share_milli // WHOLE_MILLI
