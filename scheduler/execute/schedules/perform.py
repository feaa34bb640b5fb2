"""Plays a plan on Ray: each gang a placement group with a bundle per node, a task in each bundle.

Ray knows a node of the fleet as a custom resource, ``fleet-`` and the node's id, as large as
the node has accelerators. A local Ray offers all of them itself; on a cluster that is there
already, the machine that stands for a node must offer its resource. Placement groups are all
or nothing, so Ray itself lets no gang start in part and no accelerator be held twice.

Every member notes its worker's monotonic clock when it starts and when it ends, and holds its
accelerators until the planned end; what a start is late is idle time, and is measured as such.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute import on_ray
from scheduler.execute.cell import ExecutionError
from scheduler.execute.schedules.measure import (
    Execution,
    Member,
    drawn_together,
    faults_of,
    idle_by_type,
    latency_of,
    lateness_of,
    spread_of,
)
from scheduler.execute.schedules.plan import Gang, Plan, null_plan, plan_of

PATIENCE_S: Final = 60.0
"""How long a gang may be late, or a member overdue, before the execution is given up."""

LEAD_S: Final = 0.2
"""Time between the order to begin and the first planned start."""

WORKER_BYTES: Final = 80 * 2**20
"""What a Ray worker that only waits takes (measured: 50 MB)."""

_SLICE: Final = 1e-4
"""Least part of a resource that Ray hands out; enough to reach a node."""

_CLOCK_SAMPLES: Final = 5
_WARM_UP_S: Final = 120.0
_POLL_S: Final = 0.005

_ENVIRONMENT: Final[Mapping[str, str]] = {
    # Ray sees that accelerators are free again when their node reports it; by default every
    # 0.1 s, and a placement group that is asked for too early then waits up to a second.
    "RAY_raylet_report_resources_period_milliseconds": "10",
}


def execute_run(
    problem: Problem, run: Run, *, speed: float, address: str | None = None
) -> Execution:
    """Play what `run` did, in the period of its ledger, as real Ray tasks.

    Parameters
    ----------
    problem : Problem
        What was simulated.
    run : Run
        How.
    speed : float
        Simulated seconds in one real second.
    address : str or None
        A Ray cluster whose machines offer the fleet's nodes as resources; None: a local Ray.

    Returns
    -------
    Execution
        What the workers' clocks say.

    Raises
    ------
    InputError
        The run does not fit the problem, this machine, or the cluster.
    ExecutionError
        Ray does not start or fails, or a gang waited for longer than `PATIENCE_S`.
    """
    plan = plan_of(problem, run, speed)
    stage = _Stage(plan, address)
    try:
        stage.prepare()
        free, handed = stage.measure_latency()
        members = stage.play(plan)
        more = stage.measure_latency()
        latency = drawn_together(free + more[0], handed + more[1])
        leaked = stage.leaked()
    finally:
        stage.close()
    late = lateness_of(plan, members)
    ray_s = {True: latency.handover_s, False: latency.free_s}
    return Execution(
        speed=speed,
        seconds=plan.end_s,
        idle=idle_by_type(problem, run, plan, members, latency),
        latency=latency,
        lateness_s=(late[len(late) // 2], late[99 * len(late) // 100], late[-1]),
        spread_s=spread_of(plan, members),
        gangs=len(plan.gangs),
        handovers=sum(g.handover for g in plan.gangs),
        short=sum(g.end_s - g.start_s <= ray_s[g.handover] for g in plan.gangs),
        members=tuple(members),
        faults=tuple(faults_of(plan, members)),
        leaked=leaked,
    )


@dataclass(slots=True)
class _Playing:
    """A gang that Ray holds: its placement group and what its members reported so far."""

    gang: int
    group: Any
    missing: int


class _Stage:
    """A Ray whose resources are the nodes of a fleet.

    Parameters
    ----------
    plan : Plan
        What will be played.
    address : str or None
        As in `execute_run`.
    """

    def __init__(self, plan: Plan, address: str | None) -> None:
        self._plan = plan
        self._resources = [f"fleet-{node}" for node in plan.nodes]
        self._workers = [(i % len(plan.nodes)) for i in range(max(plan.peak(), len(plan.nodes)))]
        if address is None:
            count = len(self._workers)
            _check_memory(count)
            self._ray = on_ray.start_apart(
                {**_ENVIRONMENT, "RAY_worker_maximum_startup_concurrency": str(count)},
                num_cpus=count,  # Ray keeps so many idle workers; none of them computes
                resources=dict(zip(self._resources, map(float, plan.sizes), strict=True)),
            )
        else:  # each machine has workers of its own
            peaks = _peaks_by_node(plan)
            self._workers = [node for node, peak in enumerate(peaks) for _ in range(peak)]
            self._ray, _ = on_ray.connect(address, on_ray.STORE_BYTES)
            self._check_offered()
        self._apart = address is None
        self._member = self._ray.remote(on_ray.shipped(hold, joined=address is not None))
        self._clocks: list[float] = [0.0] * len(plan.nodes)
        self._made: list[Any] = []

    def _check_offered(self) -> None:
        offered = self._ray.cluster_resources()
        faults = [
            Fault(
                f"the Ray cluster offers {offered.get(name, 0):g} of the resource {name!r}",
                "--address",
                allowed=f"{size}, as in ray start --resources='{{\"{name}\": {size}}}'",
            )
            for name, size in zip(self._resources, self._plan.sizes, strict=True)
            if offered.get(name, 0) < size
        ]
        if faults:
            raise InputError(faults)

    def prepare(self) -> None:
        """Start the workers, so that no gang waits for a process, and set the clocks by them."""
        count = len(self._workers)
        hold_s = 1.0
        deadline_s = time.monotonic() + _WARM_UP_S
        while True:
            until_s = time.time() + hold_s + 0.1 * count
            found = self._each([(node, until_s) for node in self._workers])
            if len({(host, pid) for host, pid, _, _ in found}) >= count:
                break
            if time.monotonic() > deadline_s:
                raise ExecutionError(f"Ray did not start {count} workers in {_WARM_UP_S:g} s")
            hold_s *= 2
        self._set_clocks()

    def _each(self, asked: Sequence[tuple[int, float]]) -> list[tuple[str, int, float, float]]:
        references = [
            self._member.options(num_cpus=0, resources={self._resources[node]: _SLICE}).remote(
                0.0, until_s
            )
            for node, until_s in asked
        ]
        ready, late = self._ray.wait(
            references, num_returns=len(references), timeout=_WARM_UP_S + PATIENCE_S
        )
        if late:
            raise ExecutionError(f"{len(late)} of {len(references)} Ray workers did not answer")
        found: list[tuple[str, int, float, float]] = self._ray.get(ready)
        return found

    def _set_clocks(self) -> None:
        """Learn what each node's monotonic clock is ahead of ours; on this machine, nothing."""
        here = _machine()
        for node in range(len(self._plan.nodes)):
            best = float("inf")
            for _ in range(_CLOCK_SAMPLES):
                before_s = time.monotonic()
                ((host, _, at_s, _),) = self._each([(node, 0.0)])
                after_s = time.monotonic()
                if host == here:
                    self._clocks[node] = 0.0
                    break
                if after_s - before_s < best:
                    best = after_s - before_s
                    self._clocks[node] = at_s - 0.5 * (before_s + after_s)

    def measure_latency(self) -> tuple[list[float], list[float]]:
        """Return how late gangs that do nothing start: on free nodes, and as handovers."""
        nulls = null_plan(self._plan)
        return latency_of(nulls, self.play(nulls))

    def play(self, plan: Plan) -> list[Member]:
        """Play a plan on these nodes to its end and return the workers' log."""
        return _Play(self, plan).run()

    def create(self, gang: Gang) -> Any:
        """Ask for a gang's placement group; Ray makes it when it can, whole."""
        from ray.util.placement_group import placement_group

        bundles = [
            {self._resources[node]: float(count)}
            for node, count in zip(gang.nodes, gang.counts, strict=True)
        ]
        self._made.append(placement_group(bundles, strategy="PACK"))
        return self._made[-1]

    def start(self, gang: Gang, group: Any, end_s: float) -> list[Any]:
        """Queue a gang's members inside its group; they begin once it is made."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return [
            self._member.options(
                num_cpus=0,
                max_retries=0,
                resources={self._resources[node]: float(count)},
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    group, placement_group_bundle_index=i
                ),
            ).remote(end_s + self._clocks[node], 0.0)
            for i, (node, count) in enumerate(zip(gang.nodes, gang.counts, strict=True))
        ]

    def remove(self, group: Any) -> None:
        """Give a group's accelerators back."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(group)

    def available(self) -> list[float]:
        """Return by node how many accelerators Ray sees free."""
        found = self._ray.available_resources()
        return [found.get(name, 0.0) for name in self._resources]

    def here(self, node: int, worker_s: float) -> float:
        """Return a worker's clock in ours."""
        return worker_s - self._clocks[node]

    def first_done(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Return what is done within `seconds`."""
        if not references:
            time.sleep(seconds)
            return []
        done, rest = self._ray.wait(list(references), num_returns=1, timeout=seconds)
        if done and rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            done = [*done, *more]
        return list(done)

    def result(self, reference: Any) -> tuple[str, int, float, float]:
        """Return what a member reported."""
        try:
            found: tuple[str, int, float, float] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise on_ray.unwrapped(error) from None
        except self._ray.exceptions.RayError as error:
            raise ExecutionError(f"a gang lost a member: {on_ray.reason(error)}") from error
        return found

    def leaked(self) -> int:
        """Return how many placement groups of ours Ray still holds, after a moment."""
        from ray.util.placement_group import placement_group_table

        deadline_s = time.monotonic() + 5.0
        while True:
            table = placement_group_table()
            states = [table.get(g.id.hex(), {"state": "REMOVED"})["state"] for g in self._made]
            held = sum(1 for state in states if state != "REMOVED")
            if not held or time.monotonic() > deadline_s:
                return held
            time.sleep(0.05)

    def close(self) -> None:
        """Leave nothing behind: no placement group, and no Ray that was started for this."""
        if self._apart:
            self._ray.shutdown()
            return
        for group in self._made:
            self.remove(group)


class _Play:
    """One plan being played.

    Ray makes a placement group that it cannot make at once only after a while. So a gang that
    takes over from another is asked for when Ray sees that the other has let go.
    """

    def __init__(self, stage: _Stage, plan: Plan) -> None:
        self._stage = stage
        self._plan = plan
        self._held = [0] * len(plan.nodes)  # by placement groups that exist
        self._returning = [0] * len(plan.nodes)  # given back, but Ray may not see it yet
        self._due: deque[int] = deque()
        self._playing: dict[Any, tuple[_Playing, int]] = {}
        self._log: list[Member] = []
        self._begin_s = 0.0

    def run(self) -> list[Member]:
        plan = self._plan
        self._begin_s = time.monotonic() + LEAD_S
        coming = deque(range(len(plan.gangs)))
        try:
            while coming or self._due or self._playing:
                now_s = time.monotonic() - self._begin_s
                while coming and plan.gangs[coming[0]].start_s <= now_s:
                    self._due.append(coming.popleft())
                self._start_due(now_s)
                pause_s = _POLL_S if self._due else 0.1
                if coming:
                    pause_s = min(pause_s, max(0.0, plan.gangs[coming[0]].start_s - now_s))
                for reference in self._stage.first_done(list(self._playing), pause_s):
                    self._end(reference)
                self._check_patience(now_s)
        finally:
            for group in {id(p.group): p.group for p, _ in self._playing.values()}.values():
                self._stage.remove(group)
        return self._log

    def _start_due(self, now_s: float) -> None:
        """Start what is due and has room, in order."""
        if not self._due:
            return
        if any(self._returning[n] for g in self._due for n in self._plan.gangs[g].nodes):
            free = self._stage.available()
            for node, size in enumerate(self._plan.sizes):
                if free[node] >= size - self._held[node] - 1e-9:
                    self._returning[node] = 0
        waiting = deque(self._due)
        self._due.clear()
        promised = [0] * len(self._plan.nodes)  # nobody overtakes a gang that waits for room
        for index in waiting:
            gang = self._plan.gangs[index]
            if self._has_room(gang, promised):
                self._begin(index, gang)
                continue
            self._due.append(index)
            for node, count in zip(gang.nodes, gang.counts, strict=True):
                promised[node] += count

    def _has_room(self, gang: Gang, promised: Sequence[int]) -> bool:
        return all(
            self._held[n] + self._returning[n] + promised[n] + count <= self._plan.sizes[n]
            for n, count in zip(gang.nodes, gang.counts, strict=True)
        )

    def _begin(self, index: int, gang: Gang) -> None:
        for node, count in zip(gang.nodes, gang.counts, strict=True):
            self._held[node] += count
        playing = _Playing(index, self._stage.create(gang), len(gang.nodes))
        references = self._stage.start(gang, playing.group, self._begin_s + gang.end_s)
        for reference, node in zip(references, gang.nodes, strict=True):
            self._playing[reference] = (playing, node)

    def _end(self, reference: Any) -> None:
        playing, node = self._playing.pop(reference)
        gang = self._plan.gangs[playing.gang]
        _, pid, start_s, end_s = self._stage.result(reference)
        begin_s, count = self._begin_s, gang.counts[gang.nodes.index(node)]
        self._log.append(
            Member(
                playing.gang,
                node,
                count,
                self._stage.here(node, start_s) - begin_s,
                self._stage.here(node, end_s) - begin_s,
                pid,
            )
        )
        playing.missing -= 1
        if not playing.missing:
            self._stage.remove(playing.group)
            for n, c in zip(gang.nodes, gang.counts, strict=True):
                self._held[n] -= c
                self._returning[n] += c

    def _check_patience(self, now_s: float) -> None:
        gangs = self._plan.gangs
        late = [g for g in self._due if now_s - gangs[g].start_s > PATIENCE_S]
        late += [
            p.gang for p, _ in self._playing.values() if now_s - gangs[p.gang].end_s > PATIENCE_S
        ]
        if late:
            gang = gangs[late[0]]
            raise ExecutionError(
                f"gang {gang.name} on {len(gang.nodes)} nodes has waited for {PATIENCE_S:g} s "
                f"beyond its time; {len(late)} such gangs"
            )


def hold(end_s: float, until_s: float) -> tuple[str, int, float, float]:
    """Hold a bundle, inside a Ray worker; return machine, process, start and end.

    Parameters
    ----------
    end_s : float
        Planned end by this machine's monotonic clock.
    until_s : float
        Or, to keep many workers at once, the time of day until which to stay.
    """
    start_s = time.monotonic()
    pause_s = max(end_s - start_s, until_s - time.time())
    if pause_s > 0:
        time.sleep(pause_s)
    return _machine(), os.getpid(), start_s, time.monotonic()


def _machine() -> str:
    """Return what tells machines that share a monotonic clock apart: one boot, one clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.uname().nodename


def _peaks_by_node(plan: Plan) -> list[int]:
    """Return by node the most members that are on at once; at least one."""
    changes: list[list[tuple[float, int]]] = [[] for _ in plan.nodes]
    for gang in plan.gangs:
        for node in gang.nodes:
            changes[node] += [(gang.start_s, 1), (gang.end_s, -1)]
    peaks = []
    for listed in changes:
        now = most = 0
        for _, change in sorted(listed):
            now += change
            most = max(most, now)
        peaks.append(max(1, most))
    return peaks


def _check_memory(workers: int) -> None:
    """Refuse a schedule whose members are more than this machine can hold."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    available = next((int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvail")), 0)
    if available and workers * WORKER_BYTES > available:
        needed, there = workers * WORKER_BYTES / 2**30, available / 2**30
        message = f"{workers} members run at once, which takes {needed:.1f} GiB of {there:.1f} free"
        allowed = "a smaller schedule, or a Ray cluster (--address)"
        raise InputError([Fault(message, "the run", allowed=allowed)])
