"""The optimizer: placement rounds over everything that waits and runs, with a proof each."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import islice
from typing import ClassVar

from scheduler.core.problem import Mode, fleet_rates
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.autoscale import Autoscale
from scheduler.policies.class_queues import ClassQueues
from scheduler.policies.guarded_round import GuardedRound
from scheduler.policies.openings import Openings
from scheduler.policies.portfolio import Portfolio
from scheduler.policies.round_log import RoundLog
from scheduler.policies.view import View
from scheduler.solver.greedy_round import greedy_round
from scheduler.solver.large_round import large_round
from scheduler.solver.prices import Prices
from scheduler.solver.round_model import solve_round
from scheduler.solver.round_types import Candidate, Held, Option, RoundAnswer
from scheduler.solver.scale.columns import PriceList

ROUND_S = 60.0
"""Least time between two full rounds; in between, what fits starts at once."""

GAP_TOLERANCE = 0.02
"""A greedy round within this of the price bound is taken without the exact model."""

EXACT_TIME = 0.05
"""Deterministic time limit of one exact round."""

LARGE_FLEET = 1024
"""Accelerators from which on rounds count sizes instead of nodes (`solver.large_round`)."""

ROUND_FLEET = 4096
LONGEST_ROUND_S = 360.0
"""Accelerators above which the time between full rounds grows in proportion to the fleet, as
what starts and ends between two of them would otherwise; up to so long, as what waits for one
waits no shorter in a larger fleet."""


URGENCY = 30.0
MOST_URGENT = 0.005
"""A job grows urgent once its slack before the drain horizon is under 1/URGENCY of its
remaining time: late enough to cost other jobs little, early enough not to be the last one
running. It then counts as a job of that slack, but never as less than MOST_URGENT of itself,
so that really short jobs, which delay it little, still pass."""

DRAIN_EFFICIENCY = 0.93
"""Share of the fleet that a backlog of gangs keeps busy while it drains."""

IDLE_ROUND_S = 3600.0
"""Time between full rounds while nothing changes but the slack of what waits."""

MOVE_RELUCTANCE = 10.0
"""A move or preemption must be worth this many restarts more than the one it costs."""

MOST_HEADS = 64
"""Waiting jobs of one class that a round looks at, shortest first."""

SHAPES_PER_TYPE = 3
LEAST_SPEED = 0.1
"""A round looks at this many modes of each type, and at none slower than this share of the
job's fastest: better to wait for the next round."""

LEAST_S = 60.0
"""Remaining times below this count as this, so that crumbs do not push out real work."""


class Optimizer:
    """Starts, keeps, moves and preempts for the least mean JCT, without stretching the makespan.

    A job is worth its weight over its remaining time (Smith's rule; for equal speeds the
    round then runs the shortest remaining jobs first), in each mode in proportion to the
    mode's rate, restart included. A long job grows urgent as its slack before the drain
    horizon (the time in which the fleet could finish everything it knows of) runs out, so
    that favouring short jobs does not leave long ones for the end; with estimates or less to
    go by, it does not, and the makespan may be the longer for it. Each round maximises the
    total worth under the exact placement rules and reports its bound. Where quotas, labels,
    reservations, hosts or neighbours limit who may start where, it goes by worth per
    accelerator instead (`scheduler.policies.guarded_round`).

    Baselines of the same information are rehearsed beside this rule on the jobs known; while
    one of them promises to be better by a margin, it acts (`scheduler.policies.portfolio`).

    Parameters
    ----------
    has_floor : bool
        Whether baselines are rehearsed.
    guesses : bool
        Whether this is a rehearsal that guesses what comes: no job is urgent then, and no round
        is worth solving exactly.
    """

    TRANSIENT: tuple[str, ...] = ("_openings",)
    SHORTEST_IS_WORTHIEST: ClassVar[bool] = True
    """Whether a job is worth the more the less remains of it, as to those who go by that."""

    def __init__(self, *, has_floor: bool = True, guesses: bool = False) -> None:
        self._guesses = guesses
        self._floor = Portfolio(_rehearsed) if has_floor else None
        self._queues = ClassQueues(key=lambda view, job: view.remaining_s(job))
        self._openings: Openings | None = None
        self._services = Autoscale()
        self._prices: Prices | None = None
        self._counted: PriceList | None = None
        self._is_large = False
        self._round_s = ROUND_S
        self._last_round_us = -us_from_s(ROUND_S)
        self._changed = False
        self._fleet_rate: tuple[float, ...] = ()
        self._shapes: list[list[tuple[int, Mode]]] = []
        self._slower: list[list[float]] = []  # by class and shape: best rate over its rate
        self._drain_s = 0.0
        self.counters = {"rounds": 0, "exact_rounds": 0, "worst_gap": 0.0}
        self.rounds = RoundLog(())

    def decide(self, view: View) -> None:
        """Serve demand, then run a full round, or between rounds start what fits."""
        if self._prices is None:
            self._prices = Prices(len(view.problem.types))
            self.rounds = RoundLog(view.problem.types)
            self._fleet_rate = fleet_rates(view.problem)
            accelerators = sum(view.problem.capacity())
            self._is_large = accelerators >= LARGE_FLEET
            grown_s = ROUND_S * max(1.0, accelerators / ROUND_FLEET)
            self._round_s = min(LONGEST_ROUND_S, grown_s)
            self._shapes = [_shortlist(modes) for modes in view.problem.modes]
            self._slower = [
                [max(m.rate for m in modes) / mode.rate for _, mode in shapes]
                for shapes, modes in zip(self._shapes, view.problem.modes, strict=True)
            ]
        self._services.provision(view)
        self._queues.update(view)
        if not view.waiting and not view.running:
            return
        self._changed |= bool(view.joined) or view.ended > 0
        if self._floor is not None and not self._is_large and not view.restricted:
            self._floor.check(view)
            if self._floor.act(view):
                return
        wait_us = us_from_s(self._round_s if self._changed else IDLE_ROUND_S)
        if view.now_us - self._last_round_us >= wait_us:
            self._last_round_us = view.now_us
            self._changed = False
            self._round(view)
        if view.waiting:
            self._start_what_fits(view)
        if view.waiting or self._changed:
            wait_us = us_from_s(self._round_s if self._changed else IDLE_ROUND_S)
            view.wake_at(self._last_round_us + wait_us)

    # --- between rounds --------------------------------------------------------------

    def _start_what_fits(self, view: View) -> None:
        """Start waiting jobs, shortest first, wherever there is room."""
        heads = self._queues.heads(view)
        if not view.restricted:
            openings = self._openings_of(view)
            heads = {c: entries for c, entries in heads.items() if openings.any_of(c)}
        order = [(*next(entries), c) for c, entries in heads.items()]
        heapq.heapify(order)
        while order and view.occupancy.has_free():
            _, job, c = heapq.heappop(order)
            if not self._start(view, job):
                continue
            following = next(heads[c], None)
            if following is not None:
                heapq.heappush(order, (*following, c))

    def _openings_of(self, view: View) -> Openings:
        if self._openings is None:
            tables = [[mode for _, mode in shapes] for shapes in self._shapes]
            self._openings = Openings(view.occupancy, tables)
        return self._openings

    def _start(self, view: View, job: int) -> bool:
        for m, _ in self._shapes[view.class_of(job)]:
            placement = view.place_job(job, m)
            if placement is not None:
                view.start(job, m, placement)
                return True
        return False

    # --- a full round ----------------------------------------------------------------

    def _round(self, view: View) -> None:
        assert self._prices is not None
        urgent = self._look_ahead(view)
        candidates = self._waiting(view, urgent)
        candidates += self._running(view, contended=bool(candidates))
        if not candidates:
            return
        self.counters["rounds"] += 1
        layout = view.occupancy.layout
        bound = self._prices.search(layout, view.occupancy, candidates)
        if view.restricted:
            self._guarded_round(view, candidates, bound)
            return
        if self._is_large:
            answer, self._counted = large_round(
                layout, view.occupancy, candidates, bound, self._counted
            )
        else:
            answer = greedy_round(layout, view.occupancy, candidates, bound)
        if not self._is_large and not self._guesses and answer.gap > GAP_TOLERANCE:
            if self.SHORTEST_IS_WORTHIEST:
                # the hint is worth no less than the round of shortest remaining time first
                shortest = greedy_round(layout, view.occupancy, candidates, bound, "utility")
                answer = max(answer, shortest, key=lambda found: found.objective)
            self.counters["exact_rounds"] += 1
            answer = solve_round(
                view.problem, layout, view.occupancy, candidates,
                hint=answer, deterministic_time=EXACT_TIME,
            )  # fmt: skip
        self.counters["worst_gap"] = max(self.counters["worst_gap"], answer.gap)
        self.rounds.note(view.now_us, answer.gap, self._prices.value.tolist())
        self._carry_out(view, candidates, answer)

    def _guarded_round(self, view: View, candidates: list[Candidate], bound: float) -> None:
        """Start, preempt and move one by one: the exact model knows capacity only."""
        assert self._prices is not None
        reached = GuardedRound(view, candidates).play()
        gap = max(0.0, 1.0 - reached / bound) if bound > 0 else 0.0
        self.counters["worst_gap"] = max(self.counters["worst_gap"], gap)
        self.rounds.note(view.now_us, gap, self._prices.value.tolist())

    def _look_ahead(self, view: View) -> list[int]:
        """Set the drain horizon; return the waiting jobs whose slack runs out.

        Only where remaining times are known: the one estimate that is furthest off would set
        the horizon, and those too long by most would be urgent.
        """
        self._drain_s = 0.0
        if view.information != "exact" or self._guesses:
            return []
        longest_s = fluid_s = 0.0
        remaining: list[tuple[float, int]] = []
        for job in view.waiting:
            left_s = view.remaining_s(job)
            remaining.append((left_s, job))
            longest_s = max(longest_s, left_s)
            fluid_s += left_s * self._fluid_share(view, job)
        for job in view.running:
            left_s = view.remaining_s(job)
            longest_s = max(longest_s, left_s)
            fluid_s += left_s * self._fluid_share(view, job)
        self._drain_s = max(longest_s, fluid_s / DRAIN_EFFICIENCY)
        late = [
            (self._drain_s - left_s, job)
            for left_s, job in remaining
            if (self._drain_s - left_s) * URGENCY < left_s
        ]
        return [job for _, job in heapq.nsmallest(16, late)]

    def _fluid_share(self, view: View, job: int) -> float:
        """Return the share of the fleet that the job occupies if spread over all of it."""
        modes = view.modes(job)
        return modes[0].rate / self._fleet_rate[view.class_of(job)] if modes else 0.0

    def _waiting(self, view: View, urgent: list[int]) -> list[Candidate]:
        chosen: dict[int, None] = {}
        capacity = sum(view.problem.capacity())
        for entries in self._queues.heads(view).values():
            first = next(entries)[1]
            least = min((m.count for m in view.modes(first)), default=capacity)
            chosen[first] = None
            for _, job in islice(entries, min(MOST_HEADS, 4 + capacity // least) - 1):
                chosen[job] = None
        chosen.update(dict.fromkeys(urgent))
        return [Candidate(job, self._options(view, job)) for job in chosen]

    def _running(self, view: View, *, contended: bool) -> list[Candidate]:
        candidates: list[Candidate] = []
        down = view.occupancy.down
        for job, running in view.running.items():
            if not view.preemptible(job):
                continue
            if down and not down.isdisjoint(running.placement.nodes):
                continue  # on a node being drained: nobody could have what it leaves
            left_s = (view.expected_end_us(job) - view.now_us) / US_PER_S
            restart_s = view.restart_us(job) / US_PER_S
            worth = self._worth_of(view, job)
            # what is stopped pays a restart later: that much more is staying worth
            stay = 1 + (1 + MOVE_RELUCTANCE) * restart_s / max(LEAST_S, left_s)
            value = worth(view.modes(job)[running.mode], left_s) * stay
            better = self._options(view, job, extra_s=MOVE_RELUCTANCE * restart_s, above=value)
            if better or contended:
                candidates.append(Candidate(job, better, Held(running.placement, value)))
        return candidates

    def _options(
        self, view: View, job: int, *, extra_s: float = 0.0, above: float = -math.inf
    ) -> tuple[Option, ...]:
        """Return the modes worth more than `above`, if run times are so much longer."""
        c = view.class_of(job)
        left_s, restart_s = view.remaining_s(job), view.restart_us(job) / US_PER_S
        worth = self._worth_of(view, job)
        found = []
        for (m, mode), slower in zip(self._shapes[c], self._slower[c], strict=True):
            value = worth(mode, left_s * slower + restart_s + extra_s)
            if value > above:
                found.append(Option(m, mode, value))
        return tuple(found)

    def _worth_of(self, view: View, job: int) -> Callable[[Mode, float], float]:
        """Return what it is worth to hold `job` in a mode in which it needs so many seconds more.

        Its weight over the remaining time, or over what slack is left if that is less, times
        ideal over actual remaining run time.
        """
        left_s = view.remaining_s(job)
        least_s = max(1.0, left_s)
        if self._drain_s > 0:
            slack_s = (self._drain_s - left_s) * URGENCY
            left_s = min(left_s, max(MOST_URGENT * left_s, slack_s))
        worth = view.weight(job) / max(LEAST_S, left_s)
        return lambda _, run_s: worth * (least_s / max(least_s, run_s))

    def _carry_out(self, view: View, candidates: list[Candidate], answer: RoundAnswer) -> None:
        kept = set(answer.kept)
        for candidate in candidates:
            if candidate.held is not None and candidate.job not in kept:
                view.stop(candidate.job)
        for job, mode, placement in answer.starts:
            if view.power_allows(view.modes(job)[mode], placement):
                view.start(job, mode, placement)


def _rehearsed(promised: bool) -> Optimizer:
    """Return the rule for a rehearsal, in full or as a forecast needs it."""
    return Optimizer(has_floor=False, guesses=not promised)


def _shortlist(modes: tuple[Mode, ...]) -> list[tuple[int, Mode]]:
    """Return the fastest few modes of each accelerator type, fastest first."""
    kept: list[tuple[int, Mode]] = []
    seen: dict[int, int] = {}
    for m, mode in enumerate(modes):
        t = mode.type_index
        if seen.get(t, 0) < SHAPES_PER_TYPE and mode.rate >= LEAST_SPEED * modes[0].rate:
            seen[t] = seen.get(t, 0) + 1
            kept.append((m, mode))
    return kept
