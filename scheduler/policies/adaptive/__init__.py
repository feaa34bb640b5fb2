"""Policies for jobs that adapt batch and gang while they train."""

from __future__ import annotations

from typing import Final

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive.agents import KnownAgents, LearningAgents, RigidAgents
from scheduler.policies.adaptive.gavel import Gavel
from scheduler.policies.adaptive.optimizer import Optimizer
from scheduler.policies.adaptive.sia import Sia
from scheduler.policies.adaptive.view import AdaptivePolicy, Agents

POLICIES: Final = ("gavel_max_min", "gavel_max_sum", "sia", "optimizer")
INFORMATION: Final = ("exact", "none")
RATES: Final = ("known", "learned")
OBJECTIVES: Final = ("mean_jct", "makespan")


def make_adaptive(
    name: str,
    tables: Tables,
    *,
    information: str = "none",
    rates: str = "known",
    objective: str = "mean_jct",
) -> tuple[AdaptivePolicy, Agents]:
    """Return a policy and the jobs' side that goes with it.

    Parameters
    ----------
    name : str
        One of `POLICIES`.
    tables : Tables
        The problem's tables.
    information, rates, objective : str
        One of `INFORMATION`, `RATES` and `OBJECTIVES`. Gavel knows the rates of rigid jobs and
        Sia looks at no remaining work, so these matter to some policies only.

    Raises
    ------
    InputError
        If a name is none of those.
    """
    faults = [
        Fault("unknown", f"--{option}", "", value, ", ".join(known), nearest_name(value, known))
        for option, value, known in (
            ("policy", name, POLICIES),
            ("information", information, INFORMATION),
            ("rates", rates, RATES),
            ("objective", objective, OBJECTIVES),
        )
        if value not in known
    ]
    if faults:
        raise InputError(faults)
    if name.startswith("gavel"):
        return Gavel(tables, fair=name == "gavel_max_min"), RigidAgents(tables)
    sia = name == "sia"
    policy = Sia(tables) if sia else Optimizer(tables, information=information, objective=objective)
    if rates == "known":
        return policy, KnownAgents(tables)
    return policy, LearningAgents(tables, shared=not sia, capped=sia)
