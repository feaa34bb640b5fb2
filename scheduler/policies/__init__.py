"""Decisions from a view of the state; each baseline fits on a screen.

A policy registers as an entry point of the group ``fleetfit.policies``, or is named by its file,
``my_policy.py:MyPolicy``; the built-in ones are listed here by ``module:class`` strings, and
loaded only when asked for.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.policies import own
from scheduler.policies.research_names import RESEARCH
from scheduler.policies.view import INFORMATION_LEVELS, Information, Policy, View

__all__ = [
    "INFORMATION_LEVELS",
    "LEARNED",
    "Information",
    "Policy",
    "View",
    "describe",
    "known",
    "make",
    "names",
    "nearest",
    "origin",
    "parts",
]

_BUILT_IN: dict[str, tuple[str, str]] = {
    "fifo": (
        "scheduler.policies.fifo:Fifo",
        "strict first come, first served; the head of the queue blocks",
    ),
    "easy_backfill": (
        "scheduler.policies.easy_backfill:EasyBackfill",
        "first come, first served; later jobs may pass if they do not delay the head",
    ),
    "srtf": (
        "scheduler.policies.srtf:Srtf",
        "shortest remaining time first, preemptive",
    ),
    "best_fit": (
        "scheduler.policies.best_fit:BestFit",
        "arrival order without blocking, each gang where it leaves the least room",
    ),
    "kueue_strict": (
        "scheduler.policies.kueue:StrictFifo",
        "Kueue's StrictFIFO: accelerator types in list order, the head of the queue blocks",
    ),
    "kueue_best_effort": (
        "scheduler.policies.kueue:BestEffortFifo",
        "Kueue's BestEffortFIFO: accelerator types in list order, nothing blocks",
    ),
    "slurm": (
        "scheduler.policies.slurm:Slurm",
        "multifactor priority, backfill that reserves whole nodes, tightest leaf switch first",
    ),
    **{name: (f"scheduler.policies.research:{name}", text) for name, text in RESEARCH.items()},
    "co_schedule": (
        "scheduler.policies.co_serving:CoScheduled",
        "srtf beside services that follow their forecast with a stated headroom",
    ),
    "co_schedule_causal": (
        "scheduler.policies.co_serving:CoScheduledCausal",
        "the same, the forecast made from the past alone",
    ),
    "threshold_scaled": (
        "scheduler.policies.co_serving:ThresholdScaled",
        "srtf beside services scaled by utilisation, as Kubernetes' autoscaler does",
    ),
    "static_split": (
        "scheduler.policies.co_serving:StaticSplit",
        "srtf beside services that own whole nodes, sized for the peak",
    ),
    "single_type": (
        "scheduler.policies.co_serving:SingleType",
        "srtf beside services on the one type that is cheapest per request",
    ),
    "optimizer": (
        "scheduler.policies.learned:optimizer",
        "exact CP-SAT placement rounds: starts, preempts and moves for mean JCT",
    ),
}

_GROUP = "fleetfit.policies"

LEARNED: Final = "+learned"
"""End of the name of a policy that is told what the run has taught of run times."""


def known(name: str) -> bool:
    """Return whether `make` knows the name: a policy's, or a composed one's."""
    name = name.removesuffix(LEARNED)
    return name in names() or ("+" in name and _composed(name) is not None)


def nearest(name: str) -> str:
    """Return the known name nearest to an unknown one, ``""`` when none is close."""
    if name.endswith(LEARNED):
        found = nearest(name.removesuffix(LEARNED))
        return found and found + LEARNED
    if "+" in name:
        from scheduler.policies import ordered

        return ordered.nearest(name)
    return nearest_name(name, names())


def parts() -> dict[str, tuple[str, ...]]:
    """Return the words that ``ORDER+ADMISSION+PLACEMENT`` is composed of, by what they choose."""
    from scheduler.policies.ordered import ADMISSIONS
    from scheduler.policies.orders import ORDERS
    from scheduler.policies.placements import PLACEMENTS

    return {"order": (*ORDERS,), "admission": ADMISSIONS, "placement": (*PLACEMENTS,)}


def names() -> tuple[str, ...]:
    """Return every policy name: built-in ones first, then those of installed plug-ins."""
    found = sorted({e.name for e in entry_points(group=_GROUP)} - set(_BUILT_IN))
    return (*_BUILT_IN, *found)


def describe() -> dict[str, str]:
    """Return a line about each policy, without loading plug-in code."""
    lines = {name: text for name, (_, text) in _BUILT_IN.items()}
    for entry in sorted(entry_points(group=_GROUP), key=lambda e: e.name):
        lines.setdefault(entry.name, f"from {entry.value}")
    return lines


def origin(name: str) -> str:
    """Return which distribution, and which version of it, a policy comes from."""
    name = name.removesuffix(LEARNED)
    if own.in_file(name):
        return own.origin(name)
    if name not in _BUILT_IN:
        for entry in entry_points(group=_GROUP, name=name):
            if entry.dist is not None:
                return f"{entry.dist.name} {entry.dist.version}"
    return "fleetfit"


def make(name: str) -> Policy:
    """Return a fresh instance of the policy `name`.

    With ``+learned`` at its end it goes by run times learnt in the run
    (`scheduler.policies.prediction`).

    Raises
    ------
    InputError
        If no policy has that name, or the file that it names holds none.
    """
    if name.endswith(LEARNED):
        from scheduler.policies.learned import learned

        return learned(make(name.removesuffix(LEARNED)))
    if own.in_file(name):
        mine: Policy = own.load(name)
        return mine
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name][0].split(":")
        policy: Policy = getattr(importlib.import_module(module), attribute)()
        return policy
    composed = _composed(name) if "+" in name else None
    if composed is not None:
        return composed
    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            plugged: Policy = entry.load()()
            return plugged
    raise InputError(
        [
            Fault(
                "unknown policy",
                file="--policy",
                value=name,
                allowed=f"{', '.join(names())}, ORDER+ADMISSION+PLACEMENT, or FILE.py:CLASS,"
                f" {LEARNED} or not",
                nearest=nearest(name),
            )
        ]
    )


def _composed(name: str) -> Policy | None:
    """Return the policy that a name such as ``srtf+easy+worst_fit`` stands for, if any."""
    from scheduler.policies.ordered import parse

    return parse(name)
