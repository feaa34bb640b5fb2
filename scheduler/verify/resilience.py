"""Whether services kept the headroom and the spare they ask for, recomputed from a run.

A fleet may be too small for what a service asks, and replicas take time to load: these are
shares of time, not rules that a run breaks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scheduler.core.problem import Problem
from scheduler.core.run import ReplicaAllocation, Run
from scheduler.core.units import us_from_s
from scheduler.core.workload import Service
from scheduler.verify.services import late_share, slots_of_replica

RELATIVE = 1e-9


@dataclass(frozen=True, slots=True)
class Resilience:
    """One service over a run: shares of the time in which there was demand; NaN if not asked.

    Parameters
    ----------
    service : str
        Its name.
    in_time : float
        A request is taken up in time with the stated probability.
    spared : float
        The demand is within what is left without the largest `spare_replicas`.
    available : float
        The demand is within what stands with the stated availability.
    """

    service: str
    in_time: float
    spared: float
    available: float


def resilience_of(problem: Problem, run: Run, since_s: float = 0.0) -> list[Resilience]:
    """Return, by service, for how much of the time it was provided as it asks.

    Parameters
    ----------
    problem, run
        What was played, and what happened.
    since_s : float
        Leave out what came before, while the first replicas loaded.
    """
    return [
        _resilience(problem, run, index, us_from_s(since_s))
        for index in range(len(problem.workload.services))
    ]


def _resilience(problem: Problem, run: Run, index: int, since_us: int) -> Resilience:
    spec = problem.workload.services[index]
    held = [r for r in run.replicas if r.service == index]
    end_us = run.horizon_us
    if spec.end_s is not None:
        end_us = min(end_us, us_from_s(spec.end_s))
    steps_us = [us_from_s(t) for t in spec.times_s.tolist()]
    instants = {since_us, end_us, *steps_us}
    instants.update(t for r in held for t in (r.start_us + r.overhead_us, r.end_us))
    at_us = sorted(t for t in instants if since_us <= t <= end_us)
    total = kept_in_time = kept_spare = kept_up = 0
    for start, end in pairwise(at_us):
        demand = float(spec.demand_per_s[max(0, bisect_right(steps_us, start) - 1)])
        if demand <= 0:
            continue
        there = [r for r in held if r.start_us + r.overhead_us <= start < r.end_us]
        rates = [problem.service_modes[index][r.mode].rate for r in there]
        total += end - start
        kept_in_time += (end - start) * _in_time(spec, demand, rates)
        kept_spare += (end - start) * _spared(spec, demand, rates)
        kept_up += (end - start) * _available(problem, spec, demand, there, rates)
    if not total:
        return Resilience(spec.name, math.nan, math.nan, math.nan)
    return Resilience(
        spec.name,
        math.nan if spec.headroom_probability is None else kept_in_time / total,
        kept_spare / total if spec.spare_replicas else math.nan,
        kept_up / total if spec.availability else math.nan,
    )


def _in_time(spec: Service, demand: float, rates: Sequence[float]) -> bool:
    if spec.headroom_probability is None:
        return False
    if spec.arrivals != "poisson":
        return math.fsum(rates) >= demand * (1 - RELATIVE)
    slots = sum(slots_of_replica(spec, rate) for rate in rates)
    late = late_share(demand, slots, math.fsum(rates), spec.ttft_s)
    return late <= (1 - spec.headroom_probability) * (1 + 1e-6)


def _spared(spec: Service, demand: float, rates: Sequence[float]) -> bool:
    left = sorted(rates)[: max(0, len(rates) - spec.spare_replicas)]
    return math.fsum(left) >= demand * (1 - RELATIVE)


def _available(
    problem: Problem,
    spec: Service,
    demand: float,
    there: Sequence[ReplicaAllocation],
    rates: Sequence[float],
) -> bool:
    """Return whether the capacity of the nodes that are up suffices, with the probability asked.

    The probability that it does not is summed over failures of nodes, one after another; a
    replica over several nodes is taken for one that fails by itself.
    """
    if not spec.availability:
        return False
    failures = problem.cluster.failures
    mean_repair_s = failures.repair_s * math.exp(0.5 * failures.repair_sigma**2)
    down = 0.0
    if failures.node_mtbf_s < math.inf:
        down = mean_repair_s / (failures.node_mtbf_s + mean_repair_s)
    nodes: dict[tuple[int, ...], float] = {}
    for replica, rate in zip(there, rates, strict=True):
        key = tuple(sorted(replica.placement.nodes))
        nodes[key] = nodes.get(key, 0.0) + rate
    parts = sorted(nodes.items(), key=lambda e: -e[1])
    left = math.fsum(rates)

    def short(i: int, left: float, chance: float) -> float:
        """Return the probability that parts `i` and later leave less than the demand."""
        if left < demand * (1 - RELATIVE):
            return chance
        if i == len(parts) or chance < 1e-10:
            return 0.0
        up = (1 - down) ** len(parts[i][0])
        found = short(i + 1, left, chance * up)
        return found + short(i + 1, left - parts[i][1], chance * (1 - up))

    return short(0, left, 1.0) <= (1 - spec.availability) * (1 + 1e-6)
