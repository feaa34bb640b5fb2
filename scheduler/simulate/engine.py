"""The event engine: plays a policy on a problem and books every accelerator-second.

Events are ordered by (time, kind, sequence), a total order, so a run depends on nothing but
its inputs and its seed. All events of one instant are handled before the policy is asked.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np

from scheduler.core.errors import PolicyError
from scheduler.core.ledger import Ledger
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.random import stream
from scheduler.core.run import Allocation, Down, Placement, ReplicaAllocation, Run
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.view import (
    Information,
    Policy,
    RunningJob,
    RunningReplica,
    View,
)
from scheduler.simulate.held import HeldBook
from scheduler.simulate.idle import IdleBook
from scheduler.simulate.power_meter import PowerMeter, energy_of
from scheduler.simulate.serving import ServiceState

Account = Literal["run", "arrivals"]
"""What period the ledger covers."""

ACCOUNTS: tuple[Account, ...] = ("run", "arrivals")

_STANDSTILL_INSTANTS = 1000
"""A run without a horizon ends after so many instants at which nothing ran or could start."""


class Kind(IntEnum):
    """Event kinds, in the order in which they are handled at one instant."""

    FINISH = 0
    REPAIR = 1
    FAIL = 2
    ARRIVE = 3
    DEMAND = 4
    LOADED = 5
    WAKE = 6
    CLOSE = 7


@dataclass(slots=True)
class _JobState:
    """Work left and history of a job that has been released."""

    remaining: float
    attained_best_s: float = 0.0
    starts: int = 0


@dataclass(slots=True)
class _NodeState:
    """Why a node is down: overlapping outages and failures are counted."""

    reasons: int = 0
    since_us: int = 0


@dataclass(slots=True)
class _Log:
    """What happened so far."""

    allocations: list[Allocation] = field(default_factory=list)
    replicas: list[ReplicaAllocation] = field(default_factory=list)
    downs: list[Down] = field(default_factory=list)
    finished_us: dict[int, int] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)
    events: int = 0


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
        self.policy = policy
        self.policy_name = policy_name
        self.seed = seed
        self.information = information
        self._account = account
        self.horizon_us = None if horizon_s is None else us_from_s(horizon_s)
        self.layout = Layout(problem)
        self.occupancy = Occupancy(self.layout)
        self.meter = PowerMeter(problem, self.layout)
        self.services = [
            ServiceState(s, m)
            for s, m in zip(problem.workload.services, problem.service_modes, strict=True)
        ]
        self.now_us = 0
        self._heap: list[tuple[int, int, int, int, int]] = []
        self._sequence = 0
        self._log = _Log()
        self._work = self._actual_work(noise_sigma)
        self._release_us = [us_from_s(t) for t in problem.workload.jobs.release_s.tolist()]
        self._states: dict[int, _JobState] = {}
        self._unfinished = 0
        self._arriving = 0
        self._waiting_by_class: dict[int, int] = {}
        self._nodes: dict[int, _NodeState] = {}
        self._replica_used_us: dict[int, float] = {}
        self._next_replica = 0
        self._joining: list[int] = []
        self._standing = 0
        self._wake_us = -1
        self._ledger_end_us: int | None = None
        self._held = HeldBook(self.layout)
        self._failures = stream(seed, "failures")
        self.view = View(
            problem,
            self.occupancy,
            information,
            remaining_work=self._remaining_work,
            attained_s=self._attained_s,
            power_allows=self.meter.allows,
            services=self.services,
            actions=self,
        )
        self._idle = IdleBook(problem, self.layout, self.occupancy, self.view.power_allows)

    # --- the loop ----------------------------------------------------------------

    def run(self) -> Run:
        """Play to the end and return what happened."""
        self._schedule_known_events()
        self._refresh_idle()
        heap = self._heap
        view = self.view
        while heap and not self._over(heap[0][0]):
            self.now_us = view.now_us = now = heap[0][0]
            while heap and heap[0][0] == now:
                _, kind, _, subject, detail = heapq.heappop(heap)
                self._log.events += 1
                self._handle(Kind(kind), subject, detail)
            view.wake_us = None
            view.joined, self._joining = self._joining, []
            self.policy.decide(view)
            view.ended = 0
            self._watch_for_standstill()
            if view.wake_us is not None and not now < self._wake_us <= view.wake_us:
                self._wake_us = view.wake_us
                self._push(view.wake_us, Kind.WAKE, 0)
            self._refresh_idle()
        return self._finish()

    def _watch_for_standstill(self) -> None:
        """Count instants at which nothing runs, nothing more arrives and nothing starts."""
        stands = not self.view.running and not self._arriving
        self._standing = self._standing + 1 if stands else 0

    def _over(self, next_us: int) -> bool:
        if self.horizon_us is not None:
            return next_us >= self.horizon_us
        if self._standing > _STANDSTILL_INSTANTS:
            return True  # what waits can never start, for instance beside the replicas kept
        return not self._unfinished and self._services_done(next_us)

    def _services_done(self, next_us: int) -> bool:
        """Without a horizon, a run ends with its last job or the last demand step."""
        if len(self.problem.workload.jobs) - len(self._log.rejected):
            return True
        ends = [s.end_us if s.end_us is not None else s.times_us[-1] for s in self.services]
        return next_us > max(ends, default=0)

    def _push(self, at_us: int, kind: Kind, subject: int, detail: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at_us, int(kind), self._sequence, subject, detail))

    def _schedule_known_events(self) -> None:
        classes = self.problem.workload.jobs.class_index.tolist()
        refusals = [self._refusal(c) for c in range(len(self.problem.modes))]
        for job, release_us in enumerate(self._release_us):
            if refusals[classes[job]]:
                self._log.rejected[job] = refusals[classes[job]]
                continue
            self._unfinished += 1
            self._arriving += 1
            self._push(release_us, Kind.ARRIVE, job)
        node_index = {node.id: i for i, node in enumerate(self.problem.cluster.nodes)}
        for outage in self.problem.cluster.outages:
            self._push(us_from_s(outage.start_s), Kind.FAIL, node_index[outage.node], 0)
            self._push(us_from_s(outage.end_s), Kind.REPAIR, node_index[outage.node], 0)
        if math.isfinite(self.problem.cluster.failures.node_mtbf_s):
            for node in range(len(node_index)):
                self._schedule_failure(node)
        for index, state in enumerate(self.services):
            for step, at_us in enumerate(state.times_us):
                self._push(at_us, Kind.DEMAND, index, step)
            if state.end_us is not None:
                self._push(state.end_us, Kind.DEMAND, index, -1)

        if self.horizon_us is None and self._account == "arrivals":
            self._push(arrival_window_us(self.problem), Kind.CLOSE, 0)

    def _refusal(self, class_index: int) -> str:
        """Return why no job of the class can ever start here, or an empty string."""
        modes = self.problem.modes[class_index]
        name = self.problem.workload.classes[class_index].name
        if not modes:
            found = {r for k, r in self.problem.refusals.items() if k.startswith(f"{name}/")}
            return "; ".join(sorted(found)) or "no mode on this fleet"
        for mode in modes:  # at this point every node is up and empty
            placement = self.occupancy.find(mode)
            if placement is not None and self.view.power_allows(mode, placement):
                return ""
        return "no mode fits the empty fleet under its power caps"

    def _handle(self, kind: Kind, subject: int, detail: int) -> None:
        if kind is Kind.FINISH:
            self._on_finish(subject, detail)
        elif kind is Kind.ARRIVE:
            self._arriving -= 1
            self._states[subject] = _JobState(self._work[subject])
            self._wait(subject)
        elif kind is Kind.FAIL:
            self._on_fail(subject, detail)
        elif kind is Kind.REPAIR:
            self._on_repair(subject, detail)
        elif kind is Kind.DEMAND:
            self.services[subject].set_demand(self.now_us, None if detail < 0 else detail)
            if detail < 0:
                self._stop_service(subject)
        elif kind is Kind.CLOSE:
            self._close_books()
        elif kind is Kind.LOADED and subject in self.view.replicas:
            replica = self.view.replicas[subject]
            state = self.services[replica.service]
            self._replica_used_us[subject] = state.serve(self.now_us, subject, replica.mode)

    # --- jobs --------------------------------------------------------------------

    def _actual_work(self, sigma: float) -> list[float]:
        work = self.problem.workload.jobs.work
        if sigma > 0 and len(work):
            draws = stream(self.seed, "noise").standard_normal(len(work))
            work = work * np.exp(sigma * draws - 0.5 * sigma * sigma)
        return [float(w) for w in work]

    def _mode(self, job: int, mode: int) -> Mode:
        return self.problem.modes[self.view.class_of(job)][mode]

    def _remaining_work(self, job: int) -> float:
        running = self.view.running.get(job)
        left = self._states[job].remaining
        return left if running is None else max(0.0, left - self._progress(job, running))

    def _attained_s(self, job: int) -> float:
        """Return run time had so far, in seconds of the job's fastest mode."""
        state = self._states[job]
        running = self.view.running.get(job)
        attained = state.attained_best_s
        if running is not None:
            attained += self._progress(job, running) / self.view.modes(job)[0].rate
        return attained

    def _progress(self, job: int, running: RunningJob) -> float:
        ran_us = self.now_us - running.start_us - running.overhead_us
        if ran_us <= 0:
            return 0.0
        done = self._mode(job, running.mode).rate * ran_us / US_PER_S
        return min(self._states[job].remaining, done)

    def _wait(self, job: int) -> None:
        self.view.waiting[job] = None
        self._joining.append(job)
        c = self.view.class_of(job)
        self._waiting_by_class[c] = self._waiting_by_class.get(c, 0) + 1

    def start(self, job: int, mode_index: int, placement: Placement) -> None:
        """Start a waiting job (see `Actions`)."""
        if job not in self.view.waiting:
            raise PolicyError(f"{self.policy_name}: job {job} is not waiting, cannot start")
        mode = self._mode(job, mode_index)
        if not self.view.power_allows(mode, placement):
            raise PolicyError(f"{self.policy_name}: job {job} would exceed a power cap")
        self._take(mode, placement, f"job {job}")
        del self.view.waiting[job]
        c = self.view.class_of(job)
        self._waiting_by_class[c] -= 1
        if not self._waiting_by_class[c]:
            del self._waiting_by_class[c]
        state = self._states[job]
        state.starts += 1
        overhead_us = self.view.restart_us(job)
        run_us = max(1, math.ceil(state.remaining / mode.rate * US_PER_S - 1e-6))
        end_us = self.now_us + overhead_us + run_us
        self.view.running[job] = RunningJob(mode_index, placement, self.now_us, overhead_us, end_us)
        self._push(end_us, Kind.FINISH, job, state.starts)

    def _on_finish(self, job: int, start_number: int) -> None:
        state = self._states.get(job)
        if state is None or state.starts != start_number or job not in self.view.running:
            return  # it was stopped before
        running = self.view.running.pop(job)
        self._end_allocation(job, running, state.remaining, 0.0)
        del self._states[job]
        self._log.finished_us[job] = self.now_us
        self.view.ended += 1
        self._unfinished -= 1

    def stop(self, job: int) -> None:
        """Preempt a running job (see `Actions`)."""
        if job in self.view.running and not self.view.preemptible(job):
            raise PolicyError(f"{self.policy_name}: job {job} is not preemptible")
        self._stop(job, failed=False)

    def _stop(self, job: int, *, failed: bool) -> None:
        running = self.view.running.get(job)
        if running is None:
            raise PolicyError(f"{self.policy_name}: job {job} is not running, cannot stop")
        work = self._progress(job, running)
        lost = self._lost_work(job, running, work) if failed else 0.0
        del self.view.running[job]
        self._end_allocation(job, running, work, lost)
        state = self._states[job]
        state.remaining -= work - lost
        state.attained_best_s += (work - lost) / self.view.modes(job)[0].rate
        self._wait(job)

    def _lost_work(self, job: int, running: RunningJob, work: float) -> float:
        """Return the work since the last checkpoint of this allocation."""
        every_s = self.problem.workload.classes[self.view.class_of(job)].checkpoint_s
        per_checkpoint = every_s * self._mode(job, running.mode).rate
        if per_checkpoint <= 0:
            return 0.0
        if math.isinf(per_checkpoint):
            return work
        return work - math.floor(work / per_checkpoint + 1e-9) * per_checkpoint

    def _end_allocation(self, job: int, running: RunningJob, work: float, lost: float) -> None:
        self._release(self._mode(job, running.mode), running.placement)
        allocation = self._allocation(job, running, work, lost)
        if allocation is not None:
            self._log.allocations.append(allocation)
            if self._ledger_end_us is None:
                self._held.book_job(allocation, self._mode(job, running.mode))

    def _allocation(
        self, job: int, running: RunningJob, work: float, lost: float
    ) -> Allocation | None:
        """Return what the job has held until now; None if for no time at all."""
        held_us = self.now_us - running.start_us
        if not held_us:
            return None
        return Allocation(
            job, running.mode, running.start_us, self.now_us, min(running.overhead_us, held_us),
            work, max(0.0, lost), running.placement,
        )  # fmt: skip

    # --- nodes -------------------------------------------------------------------

    def _schedule_failure(self, node: int) -> None:
        mtbf_s = self.problem.cluster.failures.node_mtbf_s
        at_us = self.now_us + us_from_s(float(self._failures.exponential(mtbf_s)))
        self._push(at_us, Kind.FAIL, node, 1)

    def _on_fail(self, node: int, random: int) -> None:
        if random:
            model = self.problem.cluster.failures
            draw = float(self._failures.standard_normal())
            repair_us = us_from_s(model.repair_s * math.exp(model.repair_sigma * draw))
            self._push(self.now_us + max(1, repair_us), Kind.REPAIR, node, 1)
        state = self._nodes.setdefault(node, _NodeState())
        state.reasons += 1
        if state.reasons > 1:
            return
        state.since_us = self.now_us
        self.view.ended += 1
        for job in [j for j, r in self.view.running.items() if node in r.placement.nodes]:
            self._stop(job, failed=True)
        for number in [n for n, r in self.view.replicas.items() if node in r.placement.nodes]:
            self.stop_replica(number)
        self.occupancy.set_down(node)

    def _on_repair(self, node: int, random: int) -> None:
        if random:
            self._schedule_failure(node)
        state = self._nodes[node]
        state.reasons -= 1
        if state.reasons:
            return
        self._record_down(node, state.since_us, self.now_us)
        self.occupancy.set_up(node)

    def _record_down(self, node: int, start_us: int, end_us: int) -> None:
        if end_us > start_us:
            down = Down(node, start_us, end_us)
            self._log.downs.append(down)
            if self._ledger_end_us is None:
                self._held.book_down(down)

    # --- services ----------------------------------------------------------------

    def start_replica(self, service: int, mode_index: int, placement: Placement) -> None:
        """Start a replica of a service (see `Actions`)."""
        state = self.services[service]
        mode = state.modes[mode_index]
        if not self.view.power_allows(mode, placement):
            raise PolicyError(f"{self.policy_name}: a replica would exceed a power cap")
        self._take(mode, placement, f"replica of {state.service.name}")
        number = self._next_replica
        self._next_replica += 1
        serves_us = self.now_us + us_from_s(state.service.load_s)
        self.view.replicas[number] = RunningReplica(
            service, mode_index, placement, self.now_us, serves_us
        )
        state.add(number, mode_index)
        self._push(serves_us, Kind.LOADED, number)

    def _stop_service(self, service: int) -> None:
        for number in [n for n, r in self.view.replicas.items() if r.service == service]:
            self.stop_replica(number)

    def stop_replica(self, number: int) -> None:
        """Stop a replica (see `Actions`)."""
        replica = self.view.replicas.pop(number, None)
        if replica is None:
            raise PolicyError(f"{self.policy_name}: replica {number} is not running")
        state = self.services[replica.service]
        used_end_us = state.remove(self.now_us, number)
        self._release(state.modes[replica.mode], replica.placement)
        allocation = self._replica_allocation(replica)
        if allocation is not None:
            self._log.replicas.append(allocation)
            if self._ledger_end_us is None:
                self._book_replica(number, allocation, used_end_us)
        self._replica_used_us.pop(number, None)

    def _replica_allocation(self, replica: RunningReplica) -> ReplicaAllocation | None:
        held_us = self.now_us - replica.start_us
        if not held_us:
            return None
        overhead_us = min(held_us, replica.serves_us - replica.start_us)
        return ReplicaAllocation(
            replica.service, replica.mode, replica.start_us, self.now_us, overhead_us,
            replica.placement,
        )  # fmt: skip

    def _book_replica(self, number: int, allocation: ReplicaAllocation, used_end_us: float) -> None:
        used_us = used_end_us - self._replica_used_us.get(number, used_end_us)
        mode = self.services[allocation.service].modes[allocation.mode]
        self._held.book_replica(allocation, mode, used_us)

    # --- shared ------------------------------------------------------------------

    def _take(self, mode: Mode, placement: Placement, who: str) -> None:
        if sum(placement.counts) != mode.count:
            raise PolicyError(f"{self.policy_name}: {who} was not given {mode.count} accelerators")
        try:
            self.occupancy.take(placement)
        except ValueError as error:
            raise PolicyError(f"{self.policy_name}: {who}: {error}") from error
        self.meter.add(mode, placement, 1)

    def _release(self, mode: Mode, placement: Placement) -> None:
        self.occupancy.give(placement)
        self.meter.add(mode, placement, -1)

    def _refresh_idle(self) -> None:
        if self._ledger_end_us is None:
            unserved = frozenset(i for i, s in enumerate(self.services) if s.unserved)
            self._idle.refresh(self.now_us, frozenset(self._waiting_by_class), unserved)

    def _close_books(self) -> None:
        """Book everything up to now; nothing after now enters the ledger."""
        if self._ledger_end_us is not None:
            return
        idle = self._idle.close(self.now_us)
        for job, running in self.view.running.items():
            allocation = self._allocation(job, running, self._progress(job, running), 0.0)
            if allocation is not None:
                self._held.book_job(allocation, self._mode(job, running.mode))
        for number, replica in self.view.replicas.items():
            held = self._replica_allocation(replica)
            if held is not None:
                used_us = self.services[replica.service].advance(self.now_us)
                self._book_replica(number, held, used_us)
        for node, state in self._nodes.items():
            if state.reasons and self.now_us > state.since_us:
                self._held.book_down(Down(node, state.since_us, self.now_us))
        self._ledger_end_us = self.now_us
        problem = self.problem
        self._ledger = Ledger(
            self._held.amount_us + idle,
            tuple(problem.types[p.type_index] for p in problem.pools),
            tuple(problem.domains[p.domains[0]].name for p in problem.pools),
        )

    def _finish(self) -> Run:
        end_us = self.now_us if self.horizon_us is None else self.horizon_us
        self.now_us = self.view.now_us = end_us
        self._close_books()
        assert self._ledger_end_us is not None
        running = tuple(sorted(self.view.running))
        waiting = tuple(sorted(self.view.waiting))
        for job in running:
            held = self.view.running[job]
            self._end_allocation(job, held, self._progress(job, held), 0.0)
        for number in list(self.view.replicas):
            self.stop_replica(number)
        for node, state in sorted(self._nodes.items()):
            if state.reasons:
                self._record_down(node, state.since_us, end_us)
        for service in self.services:
            service.advance(end_us)
        problem = self.problem
        log = self._log
        released = set(running) | set(waiting) | set(log.finished_us) | set(log.rejected)
        later = [j for j in range(len(problem.workload.jobs)) if j not in released]
        allocations = tuple(sorted(log.allocations, key=lambda a: (a.end_us, a.job, a.start_us)))
        replicas = tuple(sorted(log.replicas, key=lambda r: (r.end_us, r.service, r.start_us)))
        downs = tuple(sorted(log.downs, key=lambda d: (d.start_us, d.node)))
        gangs = [
            (self._mode(a.job, a.mode), a.placement, a.start_us, a.end_us) for a in allocations
        ]
        gangs += [
            (self.services[r.service].modes[r.mode], r.placement, r.start_us, r.end_us)
            for r in replicas
        ]
        meter = PowerMeter(problem, self.layout)
        energy_j, cost_usd, carbon_g = energy_of(problem, meter, gangs, downs, end_us)
        return Run(
            policy=self.policy_name,
            information=self.information,
            seed=self.seed,
            horizon_us=end_us,
            ledger_end_us=self._ledger_end_us,
            allocations=allocations,
            replicas=replicas,
            downs=downs,
            actual_work=tuple(self._work),
            finished_us=dict(sorted(log.finished_us.items())),
            rejected=dict(sorted(log.rejected.items())),
            running=running,
            waiting=tuple(sorted([*waiting, *later])),
            ledger=self._ledger,
            served=tuple(s.served for s in self.services),
            demanded=tuple(s.demanded for s in self.services),
            energy_j=energy_j,
            cost_usd=cost_usd,
            carbon_g=carbon_g,
            events=log.events,
            solver=dict(getattr(self.policy, "counters", {})),
        )


def arrival_window_us(problem: Problem) -> int:
    """Return when the last job arrives that can run here (0 if there is none).

    A stream of jobs stops somewhere; the idle time after its last arrival is an artefact of
    the cut, and the longer, the less a policy has left behind.
    """
    jobs = problem.workload.jobs
    able = [j for j, c in enumerate(jobs.class_index.tolist()) if problem.modes[c]]
    return us_from_s(float(jobs.release_s[able[-1]])) if able else 0
