"""Policies put together from an order, an admission rule and a placement rule.

``srtf+easy+worst_fit`` is shortest remaining time first, with EASY backfilling, each gang on
the emptiest nodes. The three choices are independent: who goes first
(`scheduler.policies.orders`), who may start past whom (below), and where
(`scheduler.policies.placements`); Blox (S. Agarwal et al., EuroSys 2024) draws the same lines.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final, Literal

from scheduler.core.errors import nearest_name
from scheduler.core.occupancy import Occupancy
from scheduler.core.run import Placement
from scheduler.core.units import us_from_s
from scheduler.policies.class_queues import ClassQueues
from scheduler.policies.easy_backfill import BACKFILL_DEPTH, reserve_head
from scheduler.policies.orders import ORDERS, Order, Service
from scheduler.policies.placements import PLACEMENTS, Place
from scheduler.policies.provision import StaticPeak
from scheduler.policies.reservations import Timeline
from scheduler.policies.view import View

Admission = Literal["strict", "greedy", "easy", "conservative", "preempt"]

ADMISSIONS: Final[tuple[Admission, ...]] = (
    "strict",
    "greedy",
    "easy",
    "conservative",
    "preempt",
)
"""``strict``: nothing passes the first that cannot start. ``greedy``: whatever fits starts.
``easy``: what does not delay the first that waits (D. Lifka, JSSPP 1995). ``conservative``:
what delays nobody before it (D. Feitelson, A. Weil, IPPS 1998). ``preempt``: as greedy, and
jobs further back in the order are stopped to make room."""

CONSERVATIVE_DEPTH: Final = 100
"""Waiting jobs that get a reservation."""


class Ordered:
    """An order, an admission rule and a placement rule.

    Parameters
    ----------
    order : str or Order
        Who goes first: a key of `ORDERS`, or one of your own.
    admission : str
        Who may start past whom: one of `ADMISSIONS`.
    placement : str
        Where: a key of `PLACEMENTS`.
    """

    def __init__(
        self, order: str | Order, admission: Admission = "greedy", placement: str = "best_fit"
    ) -> None:
        self._order = ORDERS[order]() if isinstance(order, str) else order
        self._admission = admission
        self._place: Place = PLACEMENTS[placement]()
        self._service = Service()
        self._queues = ClassQueues(key=self._key)
        self._services = StaticPeak("best" if placement == "best_fit" else "first")
        self._lease_end_us = 0

    def decide(self, view: View) -> None:
        """Start what the order, the admission and the free accelerators permit."""
        self._services.provision(view)
        if self._order.moves:
            heads = self._sorted(view)
        else:
            self._queues.update(view)
            heads = self._queues.heads(view)
        {
            "strict": self._strict,
            "greedy": self._greedy,
            "easy": self._easy,
            "conservative": self._conservative,
            "preempt": self._preempt,
        }[self._admission](view, _Merged(view, heads))

    def _key(self, view: View, job: int) -> float:
        return self._order.key(view, job, self._service)

    def _sorted(self, view: View) -> dict[int, Iterator[tuple[float, int]]]:
        by_want: dict[int, list[tuple[float, int]]] = {}
        for job in view.waiting:
            by_want.setdefault(view.want_of(job), []).append((self._key(view, job), job))
        return {want: iter(sorted(entries)) for want, entries in sorted(by_want.items())}

    def _start(self, view: View, job: int, mode: int, placement: Placement) -> None:
        view.start(job, mode, placement)
        self._service.started(job, view.now_us)

    # --- admissions ------------------------------------------------------------------

    def _strict(self, view: View, queue: _Merged) -> None:
        for _, job in queue:
            found = self._place(view, job, None)
            if found is None:
                return
            self._start(view, job, *found)

    def _greedy(self, view: View, queue: _Merged) -> None:
        for _, job in queue:
            found = self._place(view, job, None)
            if found is None:
                queue.drop()
            else:
                self._start(view, job, *found)

    def _easy(self, view: View, queue: _Merged) -> None:
        shadow: tuple[int, Occupancy] | None = None
        tried = 0
        for _, job in queue:
            found = self._place(view, job, None)
            if found is None:
                if shadow is None:
                    shadow = reserve_head(view, job)
                queue.drop()
            elif shadow is None:
                self._start(view, job, *found)
            else:
                self._start_behind(view, job, *found, shadow)
            tried += shadow is not None
            if tried > BACKFILL_DEPTH or not view.occupancy.has_free():
                return

    def _start_behind(
        self,
        view: View,
        job: int,
        mode: int,
        placement: Placement,
        shadow: tuple[int, Occupancy],
    ) -> None:
        """Start a job if it ends before the reservation or leaves room for it."""
        shadow_us, then = shadow
        if view.now_us + us_from_s(view.run_s(job, mode)) > shadow_us:
            if not then.fits(placement):
                return
            then.take(placement)
        self._start(view, job, mode, placement)

    def _conservative(self, view: View, queue: _Merged) -> None:
        timeline: Timeline | None = None
        reserved = 0
        for _, job in queue:
            if timeline is None:
                found = self._place(view, job, None)
                if found is not None:
                    self._start(view, job, *found)
                    continue
                timeline = Timeline(view)
            start = timeline.reserve(view, job, self._place)
            if start is not None and start[0] <= view.now_us:
                self._start(view, job, *start[1:])
            reserved += 1
            if reserved >= CONSERVATIVE_DEPTH or not view.occupancy.has_free():
                return

    def _preempt(self, view: View, queue: _Merged) -> None:
        may_stop = view.now_us >= self._lease_end_us
        if may_stop:
            self._lease_end_us = view.now_us + us_from_s(self._order.lease_s)
        victims: list[tuple[float, int]] | None = None
        for key, job in queue:
            found = self._place(view, job, None)
            if found is None and may_stop:
                if victims is None:
                    running = (j for j in view.running if view.preemptible(j))
                    victims = sorted(((self._key(view, j), j) for j in running), reverse=True)
                found = self._make_room(view, job, key, victims)
            if found is None:
                queue.drop()
            else:
                self._start(view, job, *found)
        if self._order.lease_s and view.waiting and view.running:
            view.wake_at(max(self._lease_end_us, view.now_us + us_from_s(1.0)))

    def _make_room(
        self, view: View, job: int, key: float, victims: list[tuple[float, int]]
    ) -> tuple[int, Placement] | None:
        """Stop jobs from the end of the order until `job` fits; none if it would not."""
        least = key + self._order.margin(view, job)
        if not victims or victims[0][0] <= least:
            return None  # the usual case: nothing runs that is so far back
        then = view.occupancy.copy()
        chosen: list[tuple[float, int]] = []
        for entry in victims:
            if entry[0] <= least:
                return None
            if entry[1] not in view.running:
                continue
            placement = view.running[entry[1]].placement
            if not view.may_use(job, placement):
                continue
            then.give(placement)
            chosen.append(entry)
            if self._place(view, job, then) is not None:
                break
        else:
            return None
        for entry in chosen:
            view.stop(entry[1])
            victims.remove(entry)
        return self._place(view, job, None)


class _Merged:
    """Waiting jobs of all wants in order; a want can be left out from where it stands."""

    def __init__(self, view: View, heads: dict[int, Iterator[tuple[float, int]]]) -> None:
        self._view = view
        self._heads = heads
        self._order = [(*next(entries), want) for want, entries in heads.items()]
        heapq.heapify(self._order)
        self._last: int | None = None

    def __iter__(self) -> Iterator[tuple[float, int]]:
        return self

    def __next__(self) -> tuple[float, int]:
        if self._last is not None:
            following = next(self._heads[self._last], None)
            if following is not None:
                heapq.heappush(self._order, (*following, self._last))
        if not self._order:
            raise StopIteration
        key, job, self._last = heapq.heappop(self._order)
        return key, job

    def drop(self) -> None:
        """Leave out the rest of the want of the job that came last."""
        self._last = None


def parse(name: str) -> Ordered | None:
    """Return the policy that a name such as ``srtf+easy+worst_fit`` stands for, if it does.

    The order comes first; admission and placement follow in any order or not at all
    (``greedy``, ``best_fit``).
    """
    order, *more = name.split("+")
    if order not in ORDERS or not more:
        return None
    admissions = [word for word in more if word in ADMISSIONS]
    placements = [word for word in more if word in PLACEMENTS]
    if len(admissions) > 1 or len(placements) > 1 or len(admissions) + len(placements) < len(more):
        return None
    return Ordered(
        order,
        admissions[0] if admissions else "greedy",
        placements[0] if placements else "best_fit",
    )


def nearest(name: str) -> str:
    """Return the composed name nearest to one that `parse` does not know, ``""`` if none is."""
    order, *more = name.split("+")
    rest = (*ADMISSIONS, *PLACEMENTS)
    words = [nearest_name(order, ORDERS), *(nearest_name(word, rest) for word in more)]
    found = "+".join(words)
    return found if all(words) and parse(found) is not None else ""
