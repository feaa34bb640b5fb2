"""The event engine: plays a policy on a problem and books every accelerator-second.

All events of one instant are handled before the policy is asked. What happens to jobs, nodes
and services is each in a room of its own; here is the loop that ties them together.
"""

from __future__ import annotations

import gc
import heapq
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from scheduler.core.errors import Fault, InputError
from scheduler.core.ledger import Ledger
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.run import AllocationColumns, Run
from scheduler.core.units import us_from_s
from scheduler.policies.view import Information, Policy, View
from scheduler.simulate.clock import Clock, Kind
from scheduler.simulate.ground import Ground
from scheduler.simulate.held import held_us
from scheduler.simulate.jobs import FAR_US, JobBook
from scheduler.simulate.nodes import NodeBook
from scheduler.simulate.power_meter import energy_of
from scheduler.simulate.replicas import ReplicaBook
from scheduler.simulate.shared import SharedIdleBook, idle_book, shared_us
from scheduler.simulate.snapshot import (
    THEN,
    Overlay,
    Writer,
    differing,
    fingerprints,
    given_by,
    name_of,
)

Account = Literal["run", "arrivals"]
"""What period the ledger covers."""

ACCOUNTS: tuple[Account, ...] = ("run", "arrivals")

SNAPSHOT_SCHEMA = "snapshot/2"
_DAMAGES = (
    *(ArithmeticError, AttributeError, IndexError, KeyError, RecursionError),
    *(TypeError, ValueError),
)
"""What a snapshot can bring about that is not what `Engine.save` has returned."""
_STANDSTILL_INSTANTS = 1000
"""A run without a horizon ends after so many instants at which nothing ran or could start."""
_FRUITLESS_FAILURES = 10_000
"""It looks for jobs without hope after so many failures in a row with which all was lost."""
_OF_JOBS = (Kind.FINISH, Kind.LIMIT, Kind.CRASH, Kind.FAIL, Kind.WAKE)
"""Events to come that bring nobody any room."""
_log = logging.getLogger(__name__)


class Engine:
    """One replay of one policy.

    Parameters
    ----------
    problem : Problem
        What to play.
    policy : Policy
        Who decides; used once.
    policy_name : str
        For the record.
    seed : int
        Seed of noise and failures.
    information : str
        What the policy may know.
    noise_sigma : float
        Log standard deviation of a job's actual work around its nominal work (mean 1).
    horizon_s : float or None
        End of the run; None: when the last job has ended.
    account : str
        ``"run"``: the ledger covers the whole run. ``"arrivals"``: it ends with the last
        arrival, which is the same for every policy, while the run goes on.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        *,
        policy_name: str,
        seed: int,
        information: Information,
        noise_sigma: float,
        horizon_s: float | None,
        account: Account,
    ) -> None:
        self.problem = problem
        self.policy_name = policy_name
        self.seed = seed
        self.information = information
        self._account = account
        self._arguments = {
            "seed": seed,
            "information": information,
            "noise_sigma": noise_sigma,
            "horizon_s": horizon_s,
            "account": account,
        }
        self.horizon_us = None if horizon_s is None else us_from_s(horizon_s)
        self._work = _actual_work(problem, seed, noise_sigma)
        self._rejected: dict[int, str] = {}
        self._ledger: Ledger | None = None
        self._ledger_end_us = 0
        self._standing = 0
        self._patience = _FRUITLESS_FAILURES
        self._given_up: dict[int, str] = {}
        self._wake_us = -1
        self._events = 0
        self._paused_us = 0
        self.clock = Clock()
        self.ground = Ground(problem, policy_name)
        self.jobs = JobBook(problem, self.ground, self.clock, self._work, seed)
        self.replicas = ReplicaBook(problem, self.ground, self.clock, self.jobs.access)
        self.nodes = NodeBook(problem, self.ground, self.clock, self.jobs, self.replicas, seed)
        self.view = View(
            problem,
            self.ground.occupancy,
            information,
            jobs=self.jobs,
            replicas=self.replicas,
            power_allows=self.ground.power_allows,
        )
        self._idle = idle_book(problem, self.ground, self.jobs.access)
        handlers: dict[int, Callable[[int, int], None]] = {
            Kind.FINISH: self.jobs.finish,
            Kind.LIMIT: self.jobs.reach_limit,
            Kind.CRASH: self.jobs.crash,
            Kind.REPAIR: self.nodes.repair,
            Kind.FAIL: self.nodes.fail,
            Kind.RESERVE: self.nodes.reserve,
            Kind.ARRIVE: lambda *_: None,  # pushed by nobody: `JobBook` has them in order
            Kind.DEMAND: self.replicas.demand,
            Kind.LOADED: self.replicas.loaded,
            Kind.WAKE: lambda *_: None,
            Kind.CLOSE: lambda *_: self._close_books(self.jobs.allocations()),
        }
        self._handlers = [handlers[kind] for kind in range(len(handlers))]
        self._schedule()
        self._idle.refresh(0, self.jobs.waiting_wants, self.replicas.short())
        self.policy = policy  # saved last: a fork leaves it out, with all that only it knows

    def _schedule(self) -> None:
        """Push everything that is known before the run; arrivals one by one, as they come."""
        problem, jobs = self.problem, self.jobs
        refusals: dict[tuple[int, int], str] = {}
        able = []
        for job, c in enumerate(problem.workload.jobs.class_index.tolist()):
            key = (c, jobs.want_of[job])
            if key not in refusals:
                refusals[key] = self._refusal(*key)
            if refusals[key]:
                self._rejected[job] = refusals[key]
            else:
                able.append(job)
        jobs.expect(able, self._rejected)
        self.nodes.schedule()
        self.replicas.schedule()
        if self.horizon_us is None and self._account == "arrivals":
            self.clock.push(arrival_window_us(problem), Kind.CLOSE, 0)

    def _refusal(self, class_index: int, want: int) -> str:
        """Return why no job of the class and want can ever start here, or an empty string."""
        modes = self.problem.modes[class_index]
        name = self.problem.workload.classes[class_index].name
        if not modes:
            found = {r for k, r in self.problem.refusals.items() if k.startswith(f"{name}/")}
            return "; ".join(sorted(found)) or "no mode on this fleet"
        access, where = self.jobs.access, self.ground.occupancy
        if access is not None:
            where = access.hide(want, where)
            modes = tuple(mode for mode in modes if access.permits(want, mode))
        for mode in modes:  # at this point every node is up and empty
            if self.view.place(mode, occupancy=where) is not None:
                return ""
        if access is not None:
            return "no mode fits the empty fleet under its quotas, labels, hosts and power caps"
        return "no mode fits the empty fleet under its power caps"

    # --- the loop ----------------------------------------------------------------

    def run(self) -> Run:
        """Play to the end and return what happened."""
        with _rare_collections():
            self.play()
            return self._finish()

    def play(self, until_us: int | None = None) -> bool:
        """Handle every instant before `until_us`, by default all; return whether any is left."""
        heap, pop = self.clock.heap, heapq.heappop
        clock, view, jobs, handlers = self.clock, self.view, self.jobs, self._handlers
        decide, horizon_us = self.policy.decide, self.horizon_us
        refresh, serves = self._idle.refresh, bool(self.replicas.services)
        occupancy, turns = self.ground.occupancy, jobs.turns
        waiting, short, events = jobs.waiting_wants, _NOBODY, 0
        paused, watched, knows_ends = False, True, self.information == "exact"
        while True:
            now = jobs.next_us
            if heap and heap[0][0] < now:
                now = heap[0][0]
            elif now == FAR_US:
                break
            if until_us is not None and now >= until_us:
                paused, self._paused_us = True, until_us
                break
            if horizon_us is not None:
                if now >= horizon_us:
                    break
            elif (
                not jobs.unfinished
                or self._standing > _STANDSTILL_INSTANTS
                or jobs.fruitless >= self._patience
            ) and self._over(now):
                break
            clock.now_us = view.now_us = occupancy.now_us = now
            earlier = events - jobs.outdated
            if jobs.next_us == now:
                events += self._release(now)
            while heap and heap[0][0] == now:
                _, kind, _, subject, detail = pop(heap)
                events += 1
                handlers[kind](subject, detail)
            if not knows_ends and events - jobs.outdated == earlier:
                continue  # when a stopped job would have ended is not for the policy to know
            if turns is not None:
                jobs.deal_turns()
            if jobs.joining:
                view.joined, jobs.joining = jobs.joining, []
            elif view.joined:
                view.joined = []
            view.ended = jobs.ended
            if view.ended:
                jobs.ended = 0
                view.finished, jobs.finished = jobs.finished, []
            elif view.finished:
                view.finished = []
            decide(view)
            if not jobs.running:
                self._watch_for_standstill()
            if view.wake_us is not None:
                self._push_wake(now, view.wake_us)
            if occupancy.returned:
                self.nodes.settle_returned()
            if serves:
                short = self.replicas.short()
            if (waiting or short or watched) and self._ledger is None:
                watched = refresh(now, waiting, short)
        self._events += events
        return paused

    def _release(self, now_us: int) -> int:
        """Handle the arrivals of an instant and what comes before them; return how many."""
        heap, jobs, first = self.clock.heap, self.jobs, (now_us, Kind.ARRIVE)
        events = 0
        while heap and heap[0] < first:
            _, kind, _, subject, detail = heapq.heappop(heap)
            self._handlers[kind](subject, detail)
            events += 1
        while jobs.next_us == now_us:
            jobs.arrive()
            events += 1
        return events

    def _watch_for_standstill(self) -> None:
        """Count instants at which nothing runs, nothing more arrives and nothing starts."""
        self._standing = 0 if self.jobs.arriving else self._standing + 1

    def _over(self, next_us: int) -> bool:
        """Return whether a run without a horizon ends before the next event."""
        if self._standing > _STANDSTILL_INSTANTS:
            return True  # what waits can never start, for instance beside the replicas kept
        if self.jobs.unfinished:
            return self._gives_up()
        if len(self.problem.workload.jobs) - len(self._rejected):
            return True
        return next_us > self.replicas.last_us  # services alone: with the last demand step

    def _gives_up(self) -> bool:
        """Return whether nothing but jobs that fail faster than they can save anything goes on."""
        jobs = self.jobs
        self._patience = jobs.fruitless + _FRUITLESS_FAILURES
        hopeless = jobs.hopeless()
        changes = any(kind not in _OF_JOBS for _, kind, *_ in self.clock.heap)
        others = jobs.running.keys() if not changes else [*jobs.running, *jobs.waiting]
        if jobs.arriving or not hopeless or any(job not in hopeless for job in others):
            return False
        self._given_up = hopeless
        ids = self.problem.workload.jobs.ids
        for job, why in hopeless.items():
            _log.warning("%s: the run ends without job %s, %s", self.policy_name, ids[job], why)
        return True

    def _push_wake(self, now_us: int, wake_us: int) -> None:
        self.view.wake_us = None
        if not now_us < self._wake_us <= wake_us:
            self._wake_us = wake_us
            self.clock.push(wake_us, Kind.WAKE, 0)

    # --- snapshots ---------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Return the run as it stands, as JSON data.

        Raises
        ------
        SnapshotError
            If the policy holds something that cannot be saved.
        """
        return {
            "schema": SNAPSHOT_SCHEMA,
            "inputs": fingerprints(self.problem),
            "policy_name": self.policy_name,
            "arguments": self._arguments,
            "at_us": max(self._paused_us, self.clock.now_us),
            "run": Writer(given_by(**self._roots())).write(self),
        }

    def _roots(self) -> dict[str, object]:
        return {"problem": self.problem, "layout": self.ground.layout}

    @classmethod
    def restore(
        cls,
        problem: Problem,
        saved: Mapping[str, Any],
        policy: Policy,
        *,
        fork: bool = False,
        fork_name: str = "",
    ) -> Engine:
        """Return the run that was saved, as it stood.

        Parameters
        ----------
        problem : Problem
            The same as then.
        saved : mapping
            From `save`.
        policy : Policy
            A fresh one of the same kind, to take over the state of the saved one.
        fork : bool
            Let any policy go on from here instead. It is asked at once, and finds the jobs
            that wait as if they had just arrived.
        fork_name : str
            Name of a policy that forks, for the record, after that of the first:
            ``"fifo, then srtf"``. By default the name of its class.

        Raises
        ------
        InputError
            If `saved` is not a snapshot of this problem, or of another kind of policy.
        """
        schema, of = saved.get("schema"), saved.get("inputs")
        if schema != SNAPSHOT_SCHEMA:
            raise InputError([Fault("not a snapshot", value=str(schema), allowed=SNAPSHOT_SCHEMA)])
        if others := differing(problem, of if isinstance(of, Mapping) else {}):
            message = f"the snapshot is of another problem, with other {', '.join(others)}"
            raise InputError([Fault(message)])
        try:
            at_us = int(saved["at_us"])
            state, name = dict(saved["run"]["state"]), str(saved["policy_name"])
            engine = cls(problem, policy, policy_name=name, **saved["arguments"])
            kind = state["policy"]
        except _DAMAGES as error:
            raise InputError([Fault("the snapshot is damaged", value=str(error))]) from error
        if not fork and kind.get("object") != name_of(type(policy)):
            raise InputError([Fault("the snapshot is of another policy", value=name)])
        if fork:
            del state["policy"]
            state["policy_name"] = f"{name}{THEN}{fork_name or type(policy).__name__}"
        overlay = Overlay(engine._roots(), frozenset({type(policy).__module__}))
        try:
            overlay.read({**saved["run"], "state": state}, engine)
        except _DAMAGES as error:
            raise InputError([Fault("the snapshot is damaged", value=str(error))]) from error
        if fork:
            engine.jobs.joining = list(engine.jobs.waiting)
            engine.clock.push(at_us, Kind.WAKE, 0)
        return engine

    # --- the books ---------------------------------------------------------------

    def _close_books(self, allocations: AllocationColumns) -> None:
        """Book everything up to now; nothing after now enters the ledger."""
        if self._ledger is not None:
            return
        problem = self.problem
        held = held_us(
            problem,
            self.ground.layout,
            allocations,
            self.replicas.served(),
            self.nodes.downs(),
        )
        held += self._idle.close(self.clock.now_us)
        if isinstance(self._idle, SharedIdleBook):
            rests = self._idle.rests.close(self.clock.now_us)
            held += shared_us(problem, self.ground.layout, allocations, rests)
        self._ledger_end_us = self.clock.now_us
        self._ledger = Ledger(
            held,
            tuple(problem.types[p.type_index] for p in problem.pools),
            tuple(problem.domains[p.domains[0]].name for p in problem.pools),
        )

    def _finish(self) -> Run:
        end_us = self.clock.now_us if self.horizon_us is None else self.horizon_us
        self.clock.now_us = self.view.now_us = self.ground.occupancy.now_us = end_us
        jobs, services = self.jobs, self.replicas.services
        allocations = jobs.allocations().in_order()
        self._close_books(allocations)
        assert self._ledger is not None
        self._handlers.clear()  # they lead back here: without them, no cycle keeps a run alive
        running = tuple(sorted(jobs.running))
        waiting = tuple(sorted([*jobs.waiting, *jobs.to_come()]))
        self.replicas.cut()
        replicas = sorted(
            (served.allocation for served in self.replicas.log),
            key=lambda r: (r.end_us, r.service, r.start_us),
        )
        downs = sorted(
            self.nodes.downs(), key=lambda d: (d.start_us, d.node, d.end_us, d.cause, d.count)
        )
        energy_j, cost_usd, carbon_g = energy_of(
            self.problem, self.ground.meter, allocations, replicas, downs, end_us
        )
        return Run(
            policy=self.policy_name,
            information=self.information,
            seed=self.seed,
            horizon_us=end_us,
            ledger_end_us=self._ledger_end_us,
            allocations=allocations,
            replicas=tuple(replicas),
            downs=tuple(downs),
            actual_work=tuple(self._work),
            finished_us={job: at_us for job, at_us in enumerate(jobs.finished_us) if at_us >= 0},
            rejected=dict(sorted(self._rejected.items())),
            running=running,
            waiting=waiting,
            ledger=self._ledger,
            served=tuple(s.served for s in services),
            demanded=tuple(s.demanded for s in services),
            energy_j=energy_j,
            cost_usd=cost_usd,
            carbon_g=carbon_g,
            events=self._events,
            solver=dict(getattr(self.policy, "counters", {})),
            rounds=self.policy.rounds.columns() if hasattr(self.policy, "rounds") else {},
            killed_us=dict(sorted(jobs.killed_us.items())),
            cancelled=dict(sorted(jobs.cancelled.items())),
            given_up=self._given_up,
            crashes=tuple(sorted(jobs.crashes, key=lambda c: (c.at_us, c.job))),
        )


_NOBODY: frozenset[int] = frozenset()
_YOUNG_OBJECTS = 50_000
"""New objects after which the garbage collector looks at them."""


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the garbage collector run more rarely while a run is played.

    What a run makes is freed by counting references or kept to its end; the collector would
    only walk over columns of a million entries, again and again.
    """
    young, *older = gc.get_threshold()
    if 0 < young < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)


def _actual_work(problem: Problem, seed: int, sigma: float) -> list[float]:
    work = problem.workload.jobs.work
    if sigma > 0 and len(work):
        draws = stream(seed, "noise").standard_normal(len(work))
        work = work * np.exp(sigma * draws - 0.5 * sigma * sigma)
    found: list[float] = work.tolist()
    return found


def arrival_window_us(problem: Problem) -> int:
    """Return when the last job arrives that can run here (0 if there is none).

    A stream of jobs stops somewhere; the idle time after its last arrival is an artefact of
    the cut, and the longer, the less a policy has left behind.
    """
    jobs = problem.workload.jobs
    able = [j for j, c in enumerate(jobs.class_index.tolist()) if problem.modes[c]]
    return us_from_s(float(jobs.release_s[able[-1]])) if able else 0
