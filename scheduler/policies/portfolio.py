"""The optimizer's floor: baselines rehearsed on what is known, and the best of them obeyed.

Whenever enough jobs have come to make a difference, the present is played forward
(`scheduler.policies.rehearsal`) under the optimizer's own rule and under baselines of the same
information, all with the same beliefs about what is left of each job, while jobs keep coming as
those of late did; whoever has the least total time to go acts until the next time. This is
rollout (D. Bertsekas, J. Tsitsiklis, C. Wu, J. Heuristics 3, 1997) over a portfolio (K. Deng et
al., "Exploring portfolio scheduling for long-term execution of scientific workloads in IaaS
clouds", SC 2013).

What is proved, and what is not. A rehearsal has the run's own arithmetic and order of events, so
with exact knowledge it is what then happens, unless jobs come, depend on one another or reach
time limits, nodes fail, power caps bind or services change. For jobs that are all released
together the optimizer's total weighted completion time is therefore at most
``1 / (1 - PROMISED)`` times that of every member that plays them in `PATIENCE` decisions each.
No online policy can be proved never worse than another for arrivals that it does not know:
wherever the two differ, some future punishes the difference. Nor can one that goes by beliefs
about lengths, where these turn out wrong. There the floor is a forecast, and baselines must
promise more before they take over. ``python -m bench floor`` measures how it comes out.

Fleets so large that a round only counts, and runs whose quotas, labels, reservations or shared
accelerators a rehearsal does not know, have no floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from scheduler.policies.allox import AlloX
from scheduler.policies.easy_backfill import EasyBackfill
from scheduler.policies.ordered import Admission, Ordered
from scheduler.policies.orders import Service
from scheduler.policies.rehearsal import Coming, Present, Rehearsal, Rehearsed, present_of
from scheduler.policies.srtf import Srtf
from scheduler.policies.view import Information, Policy, View

OWN: Final = "optimizer"

FEWEST: Final = 8
RENEWAL: Final = 4.0
"""After the first check, which is made when a job waits, one is due when so many jobs have come
(or ended, where ends tell something), and so many for each that is there: however many wait, a
job is rehearsed a bounded number of times on average."""

MOST_RECENT: Final = 1000
"""Latest arrivals that are taken to come again; never more than jobs are there."""

PROMISED: Final = 0.01
MARGIN: Final[Mapping[Information, float]] = MappingProxyType(
    {"exact": 0.2, "estimates": 0.05, "none": 0.05}
)
NOISE: Final = 0.5
"""Share of the time to go by which another must be better to take over: `PROMISED` where the
rehearsal is a promise (lengths are known, and nothing has come since the start). Where it is a
forecast, `MARGIN`, and more of few jobs: ``NOISE / sqrt(jobs)``. With lengths known the
optimizer's own rule is rarely far off, and what is forecast of arrivals misleads more often than
it tells: there it is replaced only where it fails plainly, and for no longer than that."""

PATIENCE: Final = 30
"""Decisions per job after which a rehearsal is given up."""

MATCHED: Final = 24
"""Waiting jobs that AlloX matches here, the shortest: matching more takes long."""


class Attained(Service):
    """Service as the view has it, for a policy that was not there from the start."""

    def had_s(self, view: View, job: int) -> float:
        """Return the run time that a job has had, in seconds of its fastest mode."""
        return view.attained_s(job)


class Taking(Ordered):
    """An `Ordered` policy that can take over in mid-run."""

    def __init__(self, order: str, admission: Admission) -> None:
        super().__init__(order, admission, "best_fit")
        self._service = Attained()


class Matching(AlloX):
    """AlloX for the shortest of those that wait."""

    def _shortest(self, view: View) -> list[int]:
        return super()._shortest(view)[:MATCHED]


MEMBERS: Final[Mapping[str, Callable[[], Policy]]] = MappingProxyType(
    {
        "srtf": Srtf,
        "srtf+preempt+best_fit": lambda: Taking("srtf", "preempt"),
        "sjf": lambda: Taking("sjf", "greedy"),
        "srtf+easy+best_fit": lambda: Taking("srtf", "easy"),
        "best_fit": lambda: Taking("fifo", "greedy"),
        "easy_backfill": EasyBackfill,
        "las": lambda: Taking("las", "preempt"),
        "tiresias": lambda: Taking("tiresias", "preempt"),
        "allox": Matching,
    }
)
"""Makers of baselines by name."""

AT_LEVEL: Final[Mapping[Information, tuple[str, ...]]] = MappingProxyType(
    {
        "exact": (
            *("srtf", "srtf+preempt+best_fit", "sjf", "srtf+easy+best_fit", "best_fit", "allox"),
        ),
        "estimates": ("srtf", "sjf", "srtf+easy+best_fit", "best_fit", "easy_backfill", "allox"),
        "none": ("srtf", "best_fit", "easy_backfill", "las", "tiresias"),
    }
)
"""Who is rehearsed at which level: those that were ever best there."""


class Portfolio:
    """Says who acts: the optimizer's own rule, or a baseline in its place.

    Parameters
    ----------
    own : callable
        ``own(promised)`` makes the optimizer's own rule for a rehearsal; `promised` says
        whether it will do in the run what it does there, so that every detail counts.

    Attributes
    ----------
    acting : str
        `OWN` or a key of `MEMBERS`.
    checks, switches : int
        How often the members were rehearsed, and how often another one took over.
    """

    TRANSIENT = ("_rehearsal",)

    def __init__(self, own: Callable[[bool], Policy]) -> None:
        self._own = own
        # all of them, always: a run that is restored lays saved state over what a fresh one has
        self._members = {name: make() for name, make in MEMBERS.items()}
        self._rehearsal: Rehearsal | None = None
        self._came_us: dict[int, int] = {}
        self._work: dict[int, float] = {}
        self._recent: list[int] = []
        self._news = 0
        self._is_new = False
        self._promised = False
        self.acting = OWN
        self.checks = self.switches = 0

    def check(self, view: View) -> None:
        """Rehearse if enough has come since the last time."""
        self._note(view)
        if view.information == "exact" and self._recent and self._promised:
            self._promised = False  # something has come: what was promised holds no more
            self._obey(OWN)
        there = len(view.waiting) + len(view.running)
        enough = max(FEWEST, RENEWAL * there) if self.checks else 1
        if view.waiting and self._news >= enough:
            self._news = 0
            self._rehearse(view)

    def act(self, view: View) -> bool:
        """Let a baseline decide if one is to; return whether it did.

        It sees no services: those are the optimizer's business.
        """
        if self.acting == OWN:
            return False
        joined, services = view.joined, view.services
        if self._is_new:
            view.joined = list(view.waiting)
            self._is_new = False
        view.services = ()
        try:
            self._members[self.acting].decide(view)
        finally:
            view.joined, view.services = joined, services
        return True

    def _note(self, view: View) -> None:
        """Count what is new: jobs that come, and ends where they tell something."""
        for job in view.joined:
            if job in self._came_us:
                continue
            self._came_us[job] = view.now_us
            self._work[job] = _work(view, job, view.remaining_s(job))
            self._news += 1
            if view.now_us > 0:  # what is there at the start has not come at any rate
                self._recent.append(job)
        if view.information == "exact":
            return
        self._news += view.ended
        for job in view.finished:
            self._work[job] = _work(view, job, view.attained_s(job))

    def _rehearse(self, view: View) -> None:
        if self._rehearsal is None:
            self._rehearsal = Rehearsal(view.problem, view.occupancy)
        self.checks += 1
        present = present_of(view)
        present = replace(present, coming=self._coming(view, len(present.work)))
        promised = self._promised = view.information == "exact" and not present.coming
        favourite = OWN if view.information == "exact" and not promised else self.acting
        incumbent = self._play(favourite, present, promised, math.inf)
        if incumbent.unfinished:  # it was given up: there is nothing to compare with
            self._obey(OWN)
            return
        best, least = favourite, incumbent
        for name in (OWN, *AT_LEVEL[view.information]):
            if name == favourite:
                continue
            found = self._play(name, present, promised, least.there_s)
            if found.rank < least.rank:
                best, least = name, found
        jobs = len(present.work) + len(present.coming)
        margin = PROMISED if promised else max(MARGIN[view.information], NOISE / math.sqrt(jobs))
        enough_s = incumbent.there_s * (1.0 - margin)
        self._obey(best if least.there_s < enough_s else favourite)

    def _obey(self, name: str) -> None:
        """Let `name` act from now on, afresh, as it was rehearsed."""
        self.switches += name != self.acting
        self.acting = name
        if name != OWN:
            self._members[name] = MEMBERS[name]()
            self._is_new = True

    def _coming(self, view: View, there: int) -> Coming:
        """Return the latest arrivals, as many as jobs are there, to come once more from now on."""
        self._recent = self._recent[-MOST_RECENT - 1 :]
        count = min(there, len(self._recent), MOST_RECENT)
        before = self._recent[: len(self._recent) - count]
        since_us = self._came_us[before[-1]] if before else 0
        return tuple(
            (view.now_us + self._came_us[job] - since_us, job, self._work[job])
            for job in self._recent[len(before) :]
        )

    def _play(self, name: str, present: Present, promised: bool, most_s: float) -> Rehearsed:
        assert self._rehearsal is not None
        policy = self._own(promised) if name == OWN else MEMBERS[name]()
        most = PATIENCE * (len(present.work) + len(present.coming))
        return self._rehearsal.play(policy, present, most_decisions=most, most_s=most_s)


def _work(view: View, job: int, run_s: float) -> float:
    """Return the work that a job does in `run_s` seconds of its fastest mode."""
    return max(1e-6, run_s) * view.modes(job)[0].rate
