"""Runs by a first-come builder of the tests' own, which shares nothing with the engine."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np

from scheduler.core.ledger import Cause, Ledger
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation, Down, Placement, ReplicaAllocation, Run
from scheduler.core.units import HOUR_S, US_PER_S, us_from_s
from scheduler.verify import recompute_idle


@dataclass
class _Live:
    mode: int
    placement: Placement
    start_us: int
    end_us: int


@dataclass
class FirstComeBuilder:
    """Starts what fits, in order of release; some jobs are preempted, some nodes fail.

    It shares nothing with the engine, so that verifier and engine do not stand on one
    understanding only. Idle causes are the exception: they are filled in from
    `recompute_idle`, which other tests check by hand and against the engine.
    """

    problem: Problem
    rng: np.random.Generator
    horizon_us: int
    free: list[int] = field(default_factory=list)
    now: int = 0

    def build(self) -> Run:
        problem, rng = self.problem, self.rng
        nodes = problem.cluster.nodes
        jobs = problem.workload.jobs
        self.free = [n.count for n in nodes]
        self.node_type = [problem.types.index(n.accelerator) for n in nodes]
        pool_of = {n: p for p, pool in enumerate(problem.pools) for n in pool.nodes}
        self.pool_of = [pool_of[i] for i in range(len(nodes))]
        self.draw_w = [0.0] * len(problem.cluster.sites)  # as if no node were ever down
        for i, node in enumerate(nodes):
            idle_w = problem.cluster.accelerators[node.accelerator].idle_w
            self.draw_w[self._site(i)] += node.overhead_w + node.count * idle_w
        self.downs = self._draw_downs()
        self.work = [float(w * rng.uniform(0.5, 1.5)) for w in jobs.work]
        self.left = list(self.work)
        self.live: dict[int, _Live] = {}
        self.replicas: list[tuple[int, _Live]] = []
        self.log: list[Allocation] = []
        self.replica_log: list[ReplicaAllocation] = []
        self.finished: dict[int, int] = {}
        self.waiting: list[int] = []
        self.classes = jobs.class_index.tolist()
        hopeless = [all(self._find(m) is None for m in modes) for modes in problem.modes]
        rejected = {j: "fits nowhere" for j, c in enumerate(self.classes) if hopeless[c]}
        heap = [(us_from_s(t), 3, j) for j, t in enumerate(jobs.release_s) if j not in rejected]
        for d in self.downs:
            heap += [(d.end_us, 1, d.node), (d.start_us, 2, d.node)]
        heap += [(int(t), 4, 0) for t in rng.integers(0, self.horizon_us, 6)]
        heap += [(us_from_s(200.0), 5, 0)] if problem.workload.services else []
        heapq.heapify(heap)
        while heap and heap[0][0] < self.horizon_us:
            self.now = heap[0][0]
            while heap and heap[0][0] == self.now:
                _, kind, who = heapq.heappop(heap)
                self._handle(kind, who)
            self._start_replicas()
            for job in sorted(self.waiting):
                self._try(job, heap)
        waiting = tuple(
            j for j in range(len(jobs))
            if j not in self.finished and j not in rejected and j not in self.live
        )  # fmt: skip
        running = tuple(sorted(self.live))
        self.now = self.horizon_us
        for job in running:
            self._end(job, failed=False)
        for service, live in list(self.replicas):
            self._end_replica(service, live)
        run = Run(
            "first-come",
            "exact",
            0,
            self.horizon_us,
            self.horizon_us,
            tuple(sorted(self.log, key=lambda a: (a.end_us, a.job))),
            tuple(sorted(self.replica_log, key=lambda r: (r.end_us, r.service))),
            tuple(self.downs),
            tuple(self.work),
            self.finished,
            rejected,
            running,
            waiting,
            Ledger(np.zeros((len(problem.pools), len(Cause)), np.int64), (), ()),
        )
        return self._booked(run)

    def _site(self, node: int) -> int:
        return self.problem.pools[self.pool_of[node]].site_index

    def _draw_downs(self) -> list[Down]:
        ids = [n.id for n in self.problem.cluster.nodes]
        spans = [
            (ids.index(o.node), us_from_s(o.start_s), us_from_s(o.end_s))
            for o in self.problem.cluster.outages
        ]
        for _ in range(int(self.rng.integers(0, 3))):
            start = int(self.rng.integers(0, self.horizon_us))
            node = int(self.rng.integers(len(ids)))
            spans.append((node, start, start + int(self.rng.integers(1, 60 * US_PER_S))))
        downs: list[Down] = []
        for node in range(len(ids)):
            for start, end in sorted(
                (a, min(b, self.horizon_us)) for n, a, b in spans if n == node
            ):
                if start >= end:
                    continue
                if downs and downs[-1].node == node and start <= downs[-1].end_us:
                    downs[-1] = Down(node, downs[-1].start_us, max(end, downs[-1].end_us))
                else:
                    downs.append(Down(node, start, end))
        return sorted(downs, key=lambda d: (d.start_us, d.node))

    def _handle(self, kind: int, who: int) -> None:
        if kind == 0 and who in self.live and self.live[who].end_us == self.now:
            self._end(who, failed=False)
            self.finished[who] = self.now
        elif kind == 1:
            self.free[who] += self.problem.cluster.nodes[who].count
        elif kind == 2:
            for job in [j for j, v in self.live.items() if who in v.placement.nodes]:
                self._end(job, failed=True)
                self.waiting.append(job)
            for service, live in [r for r in self.replicas if who in r[1].placement.nodes]:
                self._end_replica(service, live)
            self.free[who] -= self.problem.cluster.nodes[who].count
        elif kind == 3:
            self.waiting.append(who)
        elif kind == 4:
            classes = self.problem.workload.classes
            ready = [j for j in sorted(self.live) if classes[self.classes[j]].preemptible]
            if ready:
                job = ready[int(self.rng.integers(len(ready)))]
                self._end(job, failed=False)
                self.waiting.append(job)
        elif kind == 5 and self.problem.workload.services[0].end_s is not None:
            for service, live in list(self.replicas):
                self._end_replica(service, live)

    def _end(self, job: int, *, failed: bool) -> None:
        live = self.live.pop(job)
        mode = self.problem.modes[self.classes[job]][live.mode]
        spec = self.problem.workload.classes[self.classes[job]]
        self._occupy(mode, live.placement, -1)
        if self.now == live.start_us:
            return
        overhead = min(us_from_s(spec.restart_s), self.now - live.start_us)
        run_s = (self.now - live.start_us - overhead) / US_PER_S
        work = min(self.left[job], run_s * mode.rate)
        safe_s = run_s
        if failed and spec.checkpoint_s > 0:
            steps = math.floor(run_s / spec.checkpoint_s + 1e-9)
            safe_s = steps * spec.checkpoint_s if steps else 0.0
        lost = max(0.0, work - safe_s * mode.rate) if failed else 0.0
        self.left[job] -= work - lost
        self.log.append(
            Allocation(
                job, live.mode, live.start_us, self.now, overhead, work, lost, live.placement
            )
        )

    def _end_replica(self, service: int, live: _Live) -> None:
        mode = self.problem.service_modes[service][live.mode]
        self.replicas.remove((service, live))
        self._occupy(mode, live.placement, -1)
        if self.now > live.start_us:
            load = us_from_s(self.problem.workload.services[service].load_s)
            overhead = min(load, self.now - live.start_us)
            self.replica_log.append(
                ReplicaAllocation(
                    service, live.mode, live.start_us, self.now, overhead, live.placement
                )
            )

    def _start_replicas(self) -> None:
        for s, spec in enumerate(self.problem.workload.services):
            if spec.end_s is not None and self.now >= us_from_s(spec.end_s):
                continue
            for m, mode in enumerate(self.problem.service_modes[s]):
                if len(self.replicas) < 2:
                    placement = self._find(mode)
                    if placement is not None:
                        self._occupy(mode, placement, 1)
                        self.replicas.append((s, _Live(m, placement, self.now, 0)))

    def _try(self, job: int, heap: list[tuple[int, int, int]]) -> None:
        c = self.classes[job]
        for m, mode in enumerate(self.problem.modes[c]):
            placement = self._find(mode)
            if placement is None:
                continue
            self.waiting.remove(job)
            self._occupy(mode, placement, 1)
            run_us = max(1, math.ceil(self.left[job] / mode.rate * US_PER_S - 1e-6))
            end = self.now + us_from_s(self.problem.workload.classes[c].restart_s) + run_us
            self.live[job] = _Live(m, placement, self.now, end)
            heapq.heappush(heap, (end, 0, job))
            return

    def _occupy(self, mode: Mode, placement: Placement, sign: int) -> None:
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            self.free[node] -= sign * count
        for site, extra in self._extra_w(mode, placement).items():
            self.draw_w[site] += sign * extra

    def _extra_w(self, mode: Mode, placement: Placement) -> dict[int, float]:
        extra: dict[int, float] = {}
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            name = self.problem.cluster.nodes[node].accelerator
            idle_w = self.problem.cluster.accelerators[name].idle_w
            site = self._site(node)
            extra[site] = extra.get(site, 0.0) + count * (mode.power_w / mode.count - idle_w)
        return extra

    def _find(self, mode: Mode) -> Placement | None:
        """Fill slots node by node, in every domain of the level in turn."""
        everywhere = range(len(self.free))
        if mode.level == 0:
            sets = [[n] for n in everywhere]
        else:
            domain = [
                self.problem.pools[self.pool_of[n]].domains[mode.level - 1] for n in everywhere
            ]
            sets = [[n for n in everywhere if domain[n] == d] for d in sorted(set(domain))]
        for inside in sets:
            taken: dict[int, int] = {}
            for group in mode.groups:
                for slot in group.slots:
                    for node in inside:
                        room = self.free[node] - taken.get(node, 0)
                        if self.node_type[node] == group.type_index and room >= slot:
                            taken[node] = taken.get(node, 0) + slot
                            break
            if sum(taken.values()) != mode.count:
                continue
            nodes = tuple(sorted(taken))
            placement = Placement(nodes, tuple(taken[n] for n in nodes))
            caps = [s.power_cap_w for s in self.problem.cluster.sites]
            if all(
                caps[site] is None or self.draw_w[site] + extra <= caps[site]
                for site, extra in self._extra_w(mode, placement).items()
            ):
                return placement
        return None

    # --- the books -----------------------------------------------------------------

    def _booked(self, run: Run) -> Run:
        problem = self.problem
        amounts = recompute_idle(problem, run)
        for d in run.downs:
            p = self.pool_of[d.node]
            amounts[p, Cause.DOWN] += problem.pools[p].size * (d.end_us - d.start_us)
        used, demanded, served = self._serve(run)
        for a in run.allocations:
            mode = problem.modes[self.classes[a.job]][a.mode]
            run_us = a.end_us - a.start_us - a.overhead_us
            lost = round(run_us * a.lost_work / a.work) if a.work else 0
            straggler = math.floor((run_us - lost) * mode.straggler)
            useful = math.floor((run_us - lost - straggler) * mode.rate / mode.best_rate)
            self._spread(amounts, a.placement, {
                Cause.RECONFIGURATION: a.overhead_us, Cause.LOST: lost,
                Cause.STRAGGLER: straggler, Cause.PRODUCTIVE: useful,
                Cause.COMMUNICATION: run_us - lost - straggler - useful,
            })  # fmt: skip
        for r, share in zip(run.replicas, used, strict=True):
            mode = problem.service_modes[r.service][r.mode]
            run_us = r.end_us - r.start_us - r.overhead_us
            busy = min(run_us, math.floor(share))
            useful = math.floor(busy * mode.rate / mode.best_rate)
            self._spread(amounts, r.placement, {
                Cause.RECONFIGURATION: r.overhead_us, Cause.PRODUCTIVE: useful,
                Cause.COMMUNICATION: busy - useful, Cause.HEADROOM: run_us - busy,
            })  # fmt: skip
        energy_j, cost_usd, carbon_g = self._energy(run)
        return replace(
            run,
            ledger=Ledger(
                amounts,
                tuple(problem.types[p.type_index] for p in problem.pools),
                tuple(problem.domains[p.domains[0]].name for p in problem.pools),
            ),
            served=served,
            demanded=demanded,
            energy_j=energy_j,
            cost_usd=cost_usd,
            carbon_g=carbon_g,
        )

    def _spread(self, amounts: np.ndarray, where: Placement, split: dict[Cause, int]) -> None:
        for node, count in zip(where.nodes, where.counts, strict=True):
            for cause, amount in split.items():
                amounts[self.pool_of[node], cause] += count * amount

    def _cuts(self, run: Run) -> list[tuple[int, int]]:
        at = {0, run.horizon_us}
        at.update(range(0, run.horizon_us, int(HOUR_S) * US_PER_S))
        for x in (*run.allocations, *run.replicas, *run.downs):
            at.update((x.start_us, x.end_us))
        at.update(r.start_us + r.overhead_us for r in run.replicas)
        for s in self.problem.workload.services:
            at.update(us_from_s(t) for t in (*s.times_s, s.end_s or 0.0))
        return list(itertools.pairwise(sorted(t for t in at if t <= run.horizon_us)))

    def _serve(self, run: Run) -> tuple[list[float], tuple[float, ...], tuple[float, ...]]:
        used = [0.0] * len(run.replicas)
        services = self.problem.workload.services
        demanded, served = [0.0] * len(services), [0.0] * len(services)
        for start, end in self._cuts(run):
            for s, spec in enumerate(services):
                demand = float(
                    spec.demand_per_s[np.searchsorted(spec.times_s * US_PER_S, start, "right") - 1]
                )
                if spec.end_s is not None and start >= us_from_s(spec.end_s):
                    demand = 0.0
                on = [
                    i for i, r in enumerate(run.replicas)
                    if r.service == s and r.start_us + r.overhead_us <= start < r.end_us
                ]  # fmt: skip
                capacity = sum(self.problem.service_modes[s][run.replicas[i].mode].rate for i in on)
                demanded[s] += demand * (end - start) / US_PER_S
                served[s] += min(demand, capacity) * (end - start) / US_PER_S
                for i in on:
                    used[i] += min(1.0, demand / capacity) * (end - start)
        return used, tuple(demanded), tuple(served)

    def _energy(self, run: Run) -> tuple[float, float, float]:
        problem = self.problem
        totals = np.zeros(3)
        for start, end in self._cuts(run):
            draw_w = [0.0] * len(problem.cluster.sites)
            down = {d.node for d in run.downs if d.start_us <= start < d.end_us}
            for i, node in enumerate(problem.cluster.nodes):
                if i not in down:
                    idle_w = problem.cluster.accelerators[node.accelerator].idle_w
                    draw_w[self._site(i)] += node.overhead_w + node.count * idle_w
            holds = [(problem.modes[self.classes[a.job]][a.mode], a) for a in run.allocations]
            holds += [(problem.service_modes[r.service][r.mode], r) for r in run.replicas]
            for mode, a in holds:
                if a.start_us <= start < a.end_us:
                    for site, extra in self._extra_w(mode, a.placement).items():
                        draw_w[site] += extra
            hour = start // (int(HOUR_S) * US_PER_S)
            for site, watts in zip(problem.cluster.sites, draw_w, strict=True):
                joules = watts * (end - start) / US_PER_S
                kwh = joules * site.pue / 3.6e6
                totals += (
                    joules,
                    kwh * site.usd_per_kwh[hour % len(site.usd_per_kwh)],
                    kwh * site.carbon_g_per_kwh[hour % len(site.carbon_g_per_kwh)],
                )
        return float(totals[0]), float(totals[1]), float(totals[2])


def first_come_run(problem: Problem, rng: np.random.Generator, horizon_s: float = 400.0) -> Run:
    return FirstComeBuilder(problem, rng, us_from_s(horizon_s)).build()
