"""The cells of a sweep, and the key that tells each apart by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from scheduler.core.problem import Problem
from scheduler.core.version import VERSION
from scheduler.execute.cell import Cell, Settings
from scheduler.execute.fingerprint import fingerprint
from scheduler.execute.sweep.guard import Task
from scheduler.io import canonical_json
from scheduler.policies import origin

GRID_SCHEMA: Final = "sweep-grid/1"

_KEY_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Group:
    """One cluster and workload in one scenario: cells that share a problem.

    Parameters
    ----------
    cluster, workload, scenario : str
        How tables call them.
    problem : Problem
        With the scenario's load and failures.
    settings : Settings
        The scenario's noise, information and horizon.
    """

    cluster: str
    workload: str
    scenario: str
    problem: Problem
    settings: Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands in the grid: positions of its group, policy and seed."""

    group: int
    policy: int
    seed: int


@dataclass(frozen=True)
class Grid:
    """All combinations of groups, policies and seeds.

    Parameters
    ----------
    title : str
        A line for people.
    groups : sequence of Group
        Clusters, workloads and scenarios.
    policies : sequence of str
        The first is what the others are set against.
    seeds : sequence of int
        In the order in which they are played.
    """

    title: str
    groups: Sequence[Group]
    policies: Sequence[str]
    seeds: Sequence[int]
    tasks: Mapping[Place, Task] = field(init=False)
    """By group, then seed, then policy. Cells of equal content share a key."""

    def __post_init__(self) -> None:
        origins = {policy: origin(policy) for policy in self.policies}
        tasks: dict[Place, Task] = {}
        for g, group in enumerate(self.groups):
            shared = _inputs(group)
            for s, seed in enumerate(self.seeds):
                for p, policy in enumerate(self.policies):
                    inputs = shared | {
                        "policy": policy,
                        "policy_from": origins[policy],
                        "seed": seed,
                    }
                    key = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()
                    task = Task(key[:_KEY_DIGITS], Cell(policy, seed), inputs)
                    tasks[Place(g, p, s)] = task
        object.__setattr__(self, "tasks", tasks)

    def describe(self) -> dict[str, Any]:
        """Return which cell is which, as data for a file beside the results."""
        return {
            "schema": GRID_SCHEMA,
            "title": self.title,
            "fleetfit": VERSION,
            "cells": [
                {
                    "cluster": self.groups[place.group].cluster,
                    "workload": self.groups[place.group].workload,
                    "scenario": self.groups[place.group].scenario,
                    "policy": task.cell.policy,
                    "seed": task.cell.seed,
                    "key": task.key,
                }
                for place, task in self.tasks.items()
            ],
        }


def _inputs(group: Group) -> dict[str, Any]:
    """Return what the cells of a group have in common, as far as it decides their results."""
    return {
        "fleetfit": VERSION,
        "problem": fingerprint(group.problem),
        "cluster": group.problem.cluster.name,
        "workload": group.problem.workload.name,
        **{k: v for k, v in asdict(group.settings).items() if k != "keep_run"},
    }
