"""Where a run's idle time went, and who could have used it: the ledger at every level.

The ledger is taken apart by accelerator type, domain, hour and tenant, and by any of them
crossed; idle time of each type gets a sentence with its largest cause, and `incompatible` time
the reasons for which waiting jobs could not use it.
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
from scheduler.core.workload import HELD_BACK, FloatArray
from scheduler.report.page.bins import Bins, bins_for
from scheduler.report.page.blocks import Block, largest_blocks
from scheduler.report.page.books import held_over_time, ledger_over_time, reconciled
from scheduler.report.page.history import History, history_of

LEVELS: Final = ("type", "domain", "hour", "tenant")
"""What the ledger can be taken apart by, one of them or several."""

SERVICES: Final = "(services)"
"""Row of the accelerators that services hold, by tenant."""

NOBODY: Final = "(nobody)"
"""Row of what no tenant held: idle or down."""


TURN: Final = "waits for its turn in its array"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why waiting jobs cannot use a type.

    Parameters
    ----------
    text : str
        What physics or the class's own rules say.
    jobs : int
        Jobs that waited in hours in which some of the type was idle as `incompatible`.
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
        self._over: FloatArray = reconciled(ledger_over_time(self.history, self.bins), run)

    @property
    def problem(self) -> Problem:
        """What was played."""
        return self.history.problem

    def rows(self, *levels: str) -> dict[tuple[str, ...], FloatArray]:
        """Return accelerator-seconds by cause, shape (causes,), for each row of the levels.

        Rows are keyed by one name per level, in the order of the levels; rows without any time
        are left out. All rows together are the ledger.
        """
        names = {
            "type": [self.problem.types[pool.type_index] for pool in self.problem.pools],
            "domain": [
                self.problem.domains[pool.domains[0]].name if pool.domains else "-"
                for pool in self.problem.pools
            ],
            "hour": [f"{start / US_PER_S:.0f} s" for start in self.bins.edges_us[:-1].tolist()],
        }
        known = {level: list(dict.fromkeys(names[level])) for level in names}
        known["type"] = list(self.problem.types)
        parts = self._by_tenant() if "tenant" in levels else [("", self._over)]
        known["tenant"] = [tenant for tenant, _ in parts]
        keyed: dict[tuple[int, ...], FloatArray] = {}
        for tenant, part in parts:
            over = part if "hour" in levels else part.sum(axis=2, keepdims=True)
            for p, b in np.argwhere(over.any(axis=1)).tolist():
                own = {
                    "type": names["type"][p],
                    "domain": names["domain"][p],
                    "hour": names["hour"][b],
                    "tenant": tenant,
                }
                key = tuple(known[level].index(own[level]) for level in levels)
                keyed[key] = keyed.get(key, np.zeros(len(Cause))) + over[p, :, b]
        return {
            tuple(known[level][i] for level, i in zip(levels, key, strict=True)): keyed[key]
            for key in sorted(keyed)
        }

    def _by_tenant(self) -> list[tuple[str, FloatArray]]:
        """Return what each tenant held, services, and nobody; by pool, cause and bin."""
        workload = self.problem.workload
        tenant_of = workload.jobs.tenant_index.tolist()
        holds: list[list[Any]] = [[] for _ in range(len(workload.tenants) + 1)]
        for hold in self.history.holds:
            holds[tenant_of[hold.job] if hold.job >= 0 else -1].append(hold)
        parts = [
            (name, self._held(held))
            for name, held in zip([*workload.tenants, SERVICES], holds, strict=True)
            if name != SERVICES or workload.services
        ]
        nobody = self._over.copy()
        nobody[:, Cause.PRODUCTIVE : Cause.POWER_CAP] = 0.0
        return [*parts, (NOBODY, nobody)]

    def _held(self, holds: Sequence[Any]) -> FloatArray:
        held = held_over_time(replace(self.history, holds=tuple(holds)), self.bins)
        held[:, Cause.DOWN] = 0.0
        return held

    def stories(self) -> list[TypeStory]:
        """Return the idle time of each type, most idle first."""
        stories = [self._story(t, name) for t, name in enumerate(self.problem.types)]
        return sorted(stories, key=lambda s: (-s.idle_s, s.name))

    def _story(self, kind: int, name: str) -> TypeStory:
        of_type = [p for p, pool in enumerate(self.problem.pools) if pool.type_index == kind]
        sums = self._over[of_type].sum(axis=(0, 2))
        causes = {c: float(sums[c]) for c in sorted(IDLE_CAUSES, key=lambda c: -sums[c]) if sums[c]}
        idle_by_bin = self._over[of_type, Cause.INCOMPATIBLE].sum(axis=0)
        meanwhile = np.concatenate([[0], np.cumsum(idle_by_bin > 0)])
        able: set[int] = set()
        unable: dict[str, tuple[set[int], int]] = {}
        for want in self.history.wants:
            if want.job < 0:
                continue
            text = self._why_not(want.key, kind)
            if not text:
                able.add(want.job)
                continue
            first = want.start_us // self.bins.width_us
            last = min(self.bins.count, -(-want.end_us // self.bins.width_us))
            if last <= first or meanwhile[last] == meanwhile[first]:
                continue  # it waited while none of the type was idle for such a reason
            jobs, waited_us = unable.get(text, (set(), 0))
            unable[text] = (jobs | {want.job}, waited_us + want.end_us - want.start_us)
        reasons = sorted(
            (Reason(text, len(jobs), us / US_PER_S) for text, (jobs, us) in unable.items()),
            key=lambda r: (-r.waited_s, r.text),
        )
        return TypeStory(name, float(sums.sum()), causes, len(able), tuple(reasons))

    def _why_not(self, key: int, kind: int) -> str:
        """Return why jobs of a want can never use a type, or ``""`` if they can."""
        if key == HELD_BACK:
            return TURN
        job_class = self.problem.workload.classes[key]
        name = self.problem.types[kind]
        if not any(g.type_index == kind for m in self.problem.modes[key] for g in m.groups):
            return self.problem.refusals.get(f"{job_class.name}/{name}", "has no mode on it")
        asked = set(job_class.labels)
        of_type = [n for n in self.problem.cluster.nodes if n.accelerator == name]
        if asked and not any(asked <= set(n.labels) for n in of_type):
            return "needs " + ", ".join(f"{k}={v}" for k, v in sorted(asked))
        return ""

    def blocks(self, most: int) -> list[Block]:
        """Return the largest idle blocks, with the jobs around them."""
        return largest_blocks(self.history, self.bins, self._over, most)

    def reason_of(self, block: Block) -> str:
        """Return why the first of the jobs that caused a block cannot use it, or ``""``."""
        jobs, _ = block.caused_by
        if not jobs or block.causes[0][0] is not Cause.INCOMPATIBLE:
            return ""
        key = int(self.problem.workload.jobs.class_index[jobs[0]])
        text = self._why_not(key, self.problem.pools[block.pool].type_index)
        return text or (TURN if jobs[0] in block.unable else "")

    def as_dict(self, most: int, by: Sequence[str] = ()) -> dict[str, Any]:
        """Return everything as JSON values, accelerator-seconds by cause label.

        Parameters
        ----------
        most : int
            Idle blocks at most.
        by : sequence of str
            Levels to cross, in ``rows``.
        """
        ids = self.problem.workload.jobs.ids
        return {
            "levels": {
                level: {row: _labelled(sums) for (row,), sums in self.rows(level).items()}
                for level in LEVELS
            },
            "by": list(by),
            "rows": [
                {**dict(zip(by, key, strict=True)), "causes": _labelled(sums)}
                for key, sums in (self.rows(*by).items() if by else ())
            ],
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
                    "caused_by": [ids[j] for j in block.caused_by[0]],
                    "caused_by_jobs": block.caused_by[1],
                    "reason": self.reason_of(block),
                }
                for block in self.blocks(most)
            ],
        }


def _labelled(sums: FloatArray) -> dict[str, float]:
    return {c.label: float(sums[c]) for c in Cause if sums[c]}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
