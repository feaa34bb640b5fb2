"""Large-neighbourhood search: free a few jobs, place them anew, keep what is better, again.

Which jobs go is drawn from four neighbourhoods; they are placed anew either by the interval
model, with the present plan as its hint, or one by one where they cost least, in a drawn order.
A third kind of step shifts jobs to the left where others have left room: without it, what a
step gains stays where it was gained. How often each kind is tried follows what it has gained
per (repeatable) second, as in adaptive large neighbourhood search.

References
----------
S. Ropke, D. Pisinger, "An adaptive large neighborhood search heuristic for the pickup and
delivery problem with time windows", Transportation Science 40(4), 2006.
G. Schrimpf et al., "Record breaking optimization results using the ruin and recreate
principle", Journal of Computational Physics 159(2), 2000.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scheduler.core.random import stream
from scheduler.solver.offline.greedy import needed_first
from scheduler.solver.offline.instance import Instance, Planned
from scheduler.solver.offline.judge import USED, Goal, Judge
from scheduler.solver.offline.model import Limits, OfflineModel
from scheduler.solver.offline.neighbourhoods import NEIGHBOURHOODS, Draws
from scheduler.solver.offline.timetable import Timetable

EXACT_SIZES: Final = (3, 5, 8)
GREEDY_SIZES: Final = (2, 3, 5, 8, 14, 24)
SHIFTED: Final = 30
"""Jobs of one step."""

EXACT_TIME: Final = 0.06
"""CP-SAT's deterministic time of one interval model."""

SOLVER_COST: Final = 8.0
"""Seconds that a unit of it takes on such models, about."""

MODEL_COST: Final = 1.5e-4
STEP_COST: Final = 1.5e-3
"""Counted for every choice in a model and for every step: what no solver counts."""

JOB_COST: Final = 1.5e-5
CHECK_COST: Final = 4e-5
"""The same per job of the plan, for every step and every plan that is checked or integrated."""

EXACT_NODES: Final = 24
"""Nodes that one interval model chooses from."""

AREA_PRICES: Final = (0.0, 0.0, 0.5, 1.5, 4.0)
"""In jobs that wait: what they lose while another holds all accelerators of a type."""

WORSE: Final = 1e-3
"""Relative loss that a step may add at the beginning; at the end none."""

RESTART_AFTER: Final = 60
"""Steps without a new best after which the search goes on from the best."""

FORGET: Final = 0.85
EVEN: Final = 0.25
"""How much of a kind's gain is remembered, and the share of steps drawn evenly."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What the search came to.

    Parameters
    ----------
    plan : mapping of int to Planned
        The best accepted plan.
    loss : float
        Its loss by its ends.
    steps, improved : int
        Steps tried, and those that led to a new best.
    gains : mapping of str to float
        By kind of step, what it gained in all.
    spent : float
        Deterministic time.
    """

    plan: Mapping[int, Planned]
    loss: float
    steps: int
    improved: int
    gains: Mapping[str, float]
    spent: float


Accept = Callable[[Mapping[int, Planned]], bool]


def repair(
    instance: Instance,
    goal: Goal,
    plan: Mapping[int, Planned],
    limits: Limits,
    accept: Accept,
    enough: float,
) -> Repaired:
    """Improve a plan until the time is up or its loss is `enough`.

    Parameters
    ----------
    instance : Instance
        Jobs.
    goal : Goal
        What counts.
    plan : mapping of int to Planned
        Every job; must not worsen what leads.
    limits : Limits
        Time and seed.
    accept : callable
        Whether a plan that would be the best keeps to the rules the search does not know.
    enough : float
        Loss that is known to be best.
    """
    search = _Search(instance, goal, plan, limits, accept)
    began = time.monotonic()
    while search.best_loss > enough and search.spent < limits.deterministic_time:
        if limits.seconds is not None and time.monotonic() - began > limits.seconds:
            break
        if search.dull > 30 * len(search.kinds) + 6 * len(instance.jobs):
            break
        search.step()
    return Repaired(
        search.best, search.best_loss, search.steps, search.improved, search.gains, search.spent
    )


class _Search:
    def __init__(
        self,
        instance: Instance,
        goal: Goal,
        plan: Mapping[int, Planned],
        limits: Limits,
        accept: Accept,
    ) -> None:
        self.instance, self.goal, self.limits, self.accept = instance, goal, limits, accept
        self.judge = Judge(instance, goal)
        first = self.judge.losses(plan)
        assert first is not None, "the search begins with a plan that worsens nothing"
        self.draws: Draws = stream(limits.seed, f"offline repair {goal.name}")
        self.best, self.best_loss, self.best_key = dict(plan), first[0], first
        self.plan, self.key = dict(plan), first
        self.table = Timetable(instance, plan)
        self.successors: dict[int, list[int]] = {}
        for unit, needed in instance.after.items():
            for k in needed:
                self.successors.setdefault(k, []).append(unit)
        ways = [("exact", hood) for hood in NEIGHBOURHOODS]
        ways += [("greedy", hood) for hood in NEIGHBOURHOODS]
        self.kinds = [*ways, ("shift", "left")]
        self.score = [0.0] * len(self.kinds)
        self.tried = [0] * len(self.kinds)
        self.gains = {f"{how} {what}": 0.0 for how, what in self.kinds}
        self.steps = self.improved = self.dull = 0
        self.spent = 0.0

    def step(self) -> None:
        """Try one neighbour; keep it if it is better, or not much worse."""
        kind = self._pick()
        how, what = self.kinds[kind]
        before, spent = self.key[0], self.spent + self.table.spent
        if how == "shift":
            fresh = self._shifted()
        else:
            sizes = EXACT_SIZES if how == "exact" else GREEDY_SIZES
            size = min(len(self.plan), sizes[int(self.draws.integers(len(sizes)))])
            freed = NEIGHBOURHOODS[what](self.instance, self.plan, size, self.draws)
            fresh = (self._solved if how == "exact" else self._placed)(freed)
        fixed = STEP_COST + JOB_COST * len(self.plan)
        took = fixed + self.spent + self.table.spent - spent
        self.spent += fixed + self.table.spent
        self.table.spent = 0.0
        self.steps += 1
        self.dull += 1
        if fresh:
            self._judge(fresh)
        gain = max(0.0, (before - self.key[0]) / max(abs(before), 1e-12))
        self.gains[f"{how} {what}"] += gain
        self.tried[kind] += 1
        self.score[kind] = FORGET * self.score[kind] + (1 - FORGET) * gain / took

    def _pick(self) -> int:
        least = min(self.tried)
        if least < 2:
            return self.tried.index(least)
        total = sum(self.score)
        if total <= 0:
            return int(self.draws.integers(len(self.kinds)))
        n = len(self.kinds)
        weight = [EVEN / n + (1 - EVEN) * s / total for s in self.score]
        return int(self.draws.choice(n, p=[w / sum(weight) for w in weight]))

    def _judge(self, fresh: Mapping[int, Planned]) -> None:
        """Take changes over if they are good enough."""
        changed = {u: p for u, p in fresh.items() if p != self.plan[u]}
        if not changed:
            return
        trial = self.plan | changed
        key = self.judge.losses(trial)
        if self.goal.name in USED:
            self.spent += CHECK_COST * len(trial)
        left = max(0.0, 1 - self.spent / self.limits.deterministic_time)
        if key is None or key[0] > self.key[0] * (1 + WORSE * left * left):
            return
        if key[0] >= self.best_key[0] and self.dull > RESTART_AFTER and key >= self.key:
            self._go_to(self.best, self.best_key)
            return
        if key < self.best_key:
            self.spent += CHECK_COST * len(trial)
            if not self.accept(trial):
                return
        self._go_to(trial, key)
        if key < self.best_key:
            if key[0] < self.best_key[0]:
                self.improved += 1
                self.dull = 0
            self.best, self.best_loss, self.best_key = dict(trial), key[0], key

    def _go_to(self, plan: Mapping[int, Planned], key: tuple[float, float]) -> None:
        for u, p in plan.items():
            if p != self.plan[u]:
                self.table.remove(self.plan[u])
        for u, p in plan.items():
            if p != self.plan[u]:
                self.table.add(p)
        self.table.tidy()
        self.plan, self.key = dict(plan), key

    # --- the three kinds of step -------------------------------------------------------------

    def _room(self, unit: int, plan: Mapping[int, Planned]) -> tuple[int, int | None]:
        """Return the first start and the last end that needs and deadlines leave a job."""
        needed = [plan[k].end for k in self.instance.after.get(unit, ()) if k in plan]
        later = [plan[k].start for k in self.successors.get(unit, ()) if k in plan]
        due = self.instance.due.get(unit)
        latest = [*later, *([] if due is None else [due])]
        return max([self.instance.release[unit], *needed]), min(latest) if latest else None

    def _placed(self, freed: Sequence[int]) -> dict[int, Planned]:
        """Place freed jobs one by one in a drawn order, each where it costs least."""
        for u in freed:
            self.table.remove(self.plan[u])
        rest = {u: p for u, p in self.plan.items() if u not in set(freed)}
        last = max((p.end for p in rest.values()), default=0)
        price = AREA_PRICES[int(self.draws.integers(len(AREA_PRICES)))]
        fresh: dict[int, Planned] = {}
        for u in needed_first(self.instance, self._order(freed)):
            if u in rest:
                continue
            first, latest = self._room(u, rest)
            best = self._cheapest(u, first, latest, last, price)
            if best is None:
                break
            fresh[u] = rest[u] = best
            last = max(last, best.end)
            self.table.add(best)
        for p in fresh.values():
            self.table.remove(p)
        for u in freed:
            self.table.add(self.plan[u])
        self.table.tidy()
        return fresh if len(fresh) == len(freed) else {}

    def _cheapest(
        self, unit: int, first: int, latest: int | None, last: int, price: float
    ) -> Planned | None:
        if not price and self.goal.name not in USED:
            return self.table.soonest(unit, first, latest)
        found = list(self.table.ends_by_mode(unit, first, latest))
        judge = self.judge
        return min(found, key=lambda p: (judge.marginal(unit, p, last, price), p.end), default=None)

    def _order(self, freed: Sequence[int]) -> list[int]:
        """Return freed jobs in an order that is drawn: by length, release, end, or any."""
        how = int(self.draws.integers(4))
        noise = self.draws.uniform(0.7, 1.3, len(freed)).tolist()
        least = {u: min(self.instance.lengths[u].values()) for u in freed}
        weight = self.instance.problem.workload.jobs.weight
        keys = {
            u: [
                x * least[u] / float(weight[self.instance.job_of(u)]),
                -x * least[u],
                x * self.plan[u].end,
                x,
            ][how]
            for u, x in zip(freed, noise, strict=True)
        }
        return sorted(freed, key=lambda u: (keys[u], u))

    def _shifted(self) -> dict[int, Planned]:
        """Move consecutive jobs, one after another, to where each ends first."""
        units = sorted(self.plan, key=lambda u: (self.plan[u].start, u))
        begin = int(self.draws.integers(max(1, len(units) - SHIFTED + 1)))
        now, fresh = dict(self.plan), {}
        for u in units[begin : begin + SHIFTED]:
            self.table.remove(now[u])
            others = {k: p for k, p in now.items() if k != u} if u in self.successors else now
            first, latest = self._room(u, others)
            until = now[u].end if latest is None else min(latest, now[u].end)
            best = self.table.soonest(u, first, until)
            if best is not None and best.end < now[u].end:
                now[u] = fresh[u] = best
            self.table.add(now[u])
        for u in fresh:
            self.table.remove(now[u])
        for u in fresh:
            self.table.add(self.plan[u])
        self.table.tidy()
        return fresh

    def _solved(self, freed: Sequence[int]) -> dict[int, Planned]:
        """Place freed jobs by the interval model, all others as they are."""
        plan = self.plan
        for u in freed:
            self.table.remove(plan[u])
        among = self._nodes(freed)
        ends = [plan[u].end for u in (plan if self.goal.name in USED else freed)]
        horizon = max(ends)
        busy = self.table.busy(sorted(among), horizon)
        for u in freed:
            self.table.add(plan[u])
        fixed = {u: p for u, p in plan.items() if u not in set(freed)}
        model = OfflineModel(
            self.instance, self.goal.name, freed, fixed, horizon, among, self.goal.kept, busy=busy
        )
        model.hint(plan)
        left = max(1e-3, self.limits.deterministic_time - self.spent)
        answer = model.solve(
            replace(self.limits, deterministic_time=min(EXACT_TIME, left), seconds=None, workers=1)
        )
        choices = sum(len(some) for some in model.picks.values())
        self.spent += SOLVER_COST * answer.deterministic_time + MODEL_COST * choices
        return dict(answer.plan or {})

    def _nodes(self, freed: Sequence[int]) -> set[int]:
        """Return the nodes that a model chooses from: those held, and others drawn."""
        total = len(self.instance.problem.cluster.nodes)
        if total <= EXACT_NODES:
            return set(range(total))
        among = {n for u in freed for n in self.plan[u].placement.nodes}
        for n in self.draws.permutation(total).tolist():
            if len(among) >= EXACT_NODES:
                break
            among.add(n)
        return among
