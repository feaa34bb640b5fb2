"""Replicas of a service whose requests are of several lengths.

A replica that serves each length for the share of time it asks for completes
``1 / sum(share / rate of that length)`` requests/s: the load of several lengths adds up, as in
`scheduler.core.provisioning.Offer`. The rate of the mean request would be more, because time and
memory grow faster than the length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scheduler.core.problem import Group, Mode
from scheduler.core.workload import Service
from scheduler.physics.modes import ModeBuilder


def service_modes(
    builder: ModeBuilder, service: Service
) -> tuple[tuple[Mode, ...], dict[str, str]]:
    """Return replica modes by descending rate per accelerator, and refusals by type name.

    Where a service has no `lengths`, all its requests count as the mean one. Otherwise a mode
    serves every length within the objectives.
    """
    if not service.lengths:
        return builder.of_service(service)
    refusals: dict[str, str] = {}
    by_length: list[dict[tuple[tuple[Group, ...], int], Mode]] = []
    for _, prompt, output in service.lengths:
        alike = replace(service, prompt_tokens=prompt, output_tokens=output, lengths=())
        modes, refused = builder.of_service(alike)
        by_length.append({(m.groups, m.level): m for m in modes})
        for kind, why in refused.items():
            refusals.setdefault(kind, f"requests of {prompt:g} + {output:g} tokens: {why}")
    shares = [share for share, _, _ in service.lengths]
    mixed = [
        _mixed(shares, [modes[place] for modes in by_length])
        for place in by_length[0]
        if all(place in modes for modes in by_length)
    ]
    return tuple(sorted(mixed, key=lambda m: -m.rate / m.count)), refusals


def _mixed(shares: Sequence[float], modes: Sequence[Mode]) -> Mode:
    """Return one mode for all lengths, from the mode of each on the same accelerators."""
    asked_s = [share / m.rate for share, m in zip(shares, modes, strict=True)]
    total_s = math.fsum(asked_s)
    best_s = math.fsum(share / m.best_rate for share, m in zip(shares, modes, strict=True))
    drawn = math.fsum(s * m.power_w for s, m in zip(asked_s, modes, strict=True))
    return replace(
        modes[0],
        rate=1 / total_s,
        best_rate=1 / min(best_s, total_s),
        power_w=drawn / total_s,
        memory_bytes=max(m.memory_bytes for m in modes),
    )
