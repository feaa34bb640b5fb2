"""Where a run's idle time went, and who could have used it: the ledger at every level.

The ledger is taken apart by accelerator type, by domain, by hour or by tenant; idle time of
each type gets a sentence with its largest cause, and `incompatible` time the reasons for which
waiting jobs could not use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.report.page.bins import Bins, bins_for
from scheduler.report.page.blocks import Block, largest_blocks
from scheduler.report.page.books import held_over_time, ledger_over_time
from scheduler.report.page.history import History, history_of

LEVELS: Final = ("type", "domain", "hour", "tenant")
"""What the ledger can be taken apart by."""

SERVICES: Final = "(services)"
"""Row of the accelerators that services hold, by tenant."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why waiting jobs cannot use a type.

    Parameters
    ----------
    text : str
        What physics or the class's own rules say.
    jobs : int
        Jobs that waited meanwhile.
    waited_s : float
        Job-seconds they waited, all together.
    """

    text: str
    jobs: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class TypeStory:
    """Idle time of one accelerator type.

    Parameters
    ----------
    name : str
        The type.
    capacity_s : float
        Accelerator-seconds that there were.
    causes : mapping of Cause to float
        Idle accelerator-seconds, largest first.
    waiting : int
        Jobs that waited at some time and may use this type.
    reasons : tuple of Reason
        Of those that may not, longest wait first.
    """

    name: str
    capacity_s: float
    causes: Mapping[Cause, float]
    waiting: int
    reasons: tuple[Reason, ...]

    @property
    def idle_s(self) -> float:
        """Idle accelerator-seconds."""
        return sum(self.causes.values())


class Explanation:
    """A run taken apart.

    Parameters
    ----------
    problem, run : Problem, Run
        What was played, and what happened.
    """

    def __init__(self, problem: Problem, run: Run) -> None:
        self.history: History = history_of(problem, run, run.ledger_end_us)
        self.bins: Bins = bins_for(self.history.end_us)
        self._over: FloatArray = ledger_over_time(self.history, self.bins)

    @property
    def problem(self) -> Problem:
        """What was played."""
        return self.history.problem

    def rows(self, level: str) -> dict[str, FloatArray]:
        """Return accelerator-seconds by cause, shape (causes,), for each row of a level.

        Of tenants only held time is theirs: idle time belongs to nobody.
        """
        pools = self.problem.pools
        if level == "type":
            names = [self.problem.types[pool.type_index] for pool in pools]
            return _grouped(names, self._over.sum(axis=2))
        if level == "domain":
            named = [
                self.problem.domains[pool.domains[0]].name if pool.domains else "-"
                for pool in pools
            ]
            return _grouped(named, self._over.sum(axis=2))
        if level == "hour":
            starts = self.bins.edges_us[:-1] / US_PER_S
            sums = self._over.sum(axis=0)
            return {f"{start:.0f} s": sums[:, b] for b, start in enumerate(starts.tolist())}
        return self._by_tenant()

    def _by_tenant(self) -> dict[str, FloatArray]:
        workload = self.problem.workload
        tenant_of = workload.jobs.tenant_index.tolist()
        rows: dict[str, FloatArray] = {}
        for t, tenant in enumerate(workload.tenants):
            holds = [h for h in self.history.holds if h.job >= 0 and tenant_of[h.job] == t]
            rows[tenant] = self._held(holds)
        if workload.services:
            rows[SERVICES] = self._held([h for h in self.history.holds if h.job < 0])
        return rows

    def _held(self, holds: Sequence[Any]) -> FloatArray:
        held = held_over_time(replace(self.history, holds=tuple(holds)), self.bins)
        sums: FloatArray = held.sum(axis=(0, 2))
        sums[Cause.DOWN] = 0.0
        return sums

    def stories(self) -> list[TypeStory]:
        """Return the idle time of each type, most idle first."""
        stories = [self._story(t, name) for t, name in enumerate(self.problem.types)]
        return sorted(stories, key=lambda s: (-s.idle_s, s.name))

    def _story(self, kind: int, name: str) -> TypeStory:
        of_type = [p for p, pool in enumerate(self.problem.pools) if pool.type_index == kind]
        sums = self._over[of_type].sum(axis=(0, 2))
        causes = {c: float(sums[c]) for c in sorted(IDLE_CAUSES, key=lambda c: -sums[c]) if sums[c]}
        able: set[int] = set()
        unable: dict[str, tuple[set[int], int]] = {}
        for want in self.history.wants:
            if want.key < 0:
                continue
            modes = self.problem.modes[want.key]
            if any(g.type_index == kind for m in modes for g in m.groups):
                able.add(want.job)
                continue
            label = self.problem.workload.classes[want.key].name
            text = self.problem.refusals.get(f"{label}/{name}", "has no mode on it")
            jobs, waited_us = unable.get(text, (set(), 0))
            unable[text] = (jobs | {want.job}, waited_us + want.end_us - want.start_us)
        reasons = sorted(
            (Reason(text, len(jobs), us / US_PER_S) for text, (jobs, us) in unable.items()),
            key=lambda r: (-r.waited_s, r.text),
        )
        return TypeStory(name, float(sums.sum()), causes, len(able), tuple(reasons))

    def blocks(self, most: int) -> list[Block]:
        """Return the largest idle blocks, with the jobs around them."""
        return largest_blocks(self.history, self.bins, self._over, most)

    def as_dict(self, most: int) -> dict[str, Any]:
        """Return everything as JSON values, accelerator-seconds by cause label."""
        ids = self.problem.workload.jobs.ids
        return {
            "levels": {
                level: {
                    row: {c.label: float(sums[c]) for c in Cause if sums[c]}
                    for row, sums in self.rows(level).items()
                }
                for level in LEVELS
            },
            "idle": [
                {
                    "type": story.name,
                    "idle_fraction": _share(story.idle_s, story.capacity_s),
                    "causes": {c.label: s for c, s in story.causes.items()},
                    "waiting_jobs": story.waiting,
                    "incompatible": [
                        {"reason": r.text, "jobs": r.jobs, "waited_s": r.waited_s}
                        for r in story.reasons
                    ],
                }
                for story in self.stories()
            ],
            "blocks": [
                {
                    "type": self.problem.types[self.problem.pools[block.pool].type_index],
                    "nodes": [self.problem.cluster.nodes[n].id for n in block.nodes],
                    "start_s": block.start_us / US_PER_S,
                    "end_s": block.end_us / US_PER_S,
                    "idle_accelerator_s": block.idle_s,
                    "causes": {c.label: s for c, s in block.causes},
                    "before": [ids[j] for j in block.before],
                    "after": [ids[j] for j in block.after],
                    "waiting": [ids[j] for j in block.waiting],
                    "waiting_jobs": block.waiting_count,
                }
                for block in self.blocks(most)
            ],
        }


def _grouped(names: Sequence[str], amounts: FloatArray) -> dict[str, FloatArray]:
    rows: dict[str, FloatArray] = {}
    for row, name in enumerate(names):
        rows[name] = rows.get(name, np.zeros(len(Cause))) + amounts[row]
    return rows


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
