"""Orders in which pods arrive: a list resampled to a wanted demand, as in the FGD experiment.

References
----------
Q. Weng, L. Yang, Y. Yu, W. Wang, X. Tang, G. Yang, L. Zhang, "Beware of fragmentation:
scheduling GPU-sharing workloads with fragmentation gradient descent", USENIX ATC 2023;
simulator and data at hkust-adsl/kubernetes-scheduler-simulator.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from scheduler.core.packing import PackingProblem
from scheduler.core.workload import IntArray
from scheduler.generate.go_random import GoRandom

PUBLISHED_RATIO: Final = 1.3
"""Demand over capacity in the published experiment."""

_LOGGED: Final = 1  # the simulator logs one draw after seeding
_WATCHES: Final = 10
"""Draws between the pods and the nodes. The scheduler's watches, which start in between, draw a
timeout each; ten is the number with which all published curves are met, to the last point."""


class Draws(Protocol):
    """A random stream: `numpy.random.Generator` or `GoRandom`."""

    def integers(self, high: int, /) -> int:
        """Return a whole number from 0 to `high` - 1."""
        ...

    def shuffle(self, x: list[int], /) -> None:
        """Shuffle a list in place."""
        ...


def inflated_arrivals(problem: PackingProblem, ratio: float, draws: Draws) -> IntArray:
    """Return an order of arrival whose demand is `ratio` times the accelerators.

    The pods are shuffled. If they ask for less than wanted, uniform draws from the list
    follow, up to the first pod one accelerator's share of which would be too much; if they ask
    for more, uniformly drawn ones are left out.

    Parameters
    ----------
    problem : PackingProblem
        Its pods sorted by name.
    ratio : float
        Wanted demand over capacity.
    draws : Draws
        Randomness.

    Returns
    -------
    ndarray of int64
        Positions in `problem.pods`.

    Raises
    ------
    ValueError
        If no pod asks for accelerators, so that no number of them is enough.
    """
    demand = problem.pods.demand_milli.tolist()
    share = problem.pods.share_milli.tolist()
    wanted = ratio * problem.nodes.capacity_milli
    total = sum(demand)
    if not total:
        raise ValueError("no pod asks for an accelerator")
    order = list(range(len(demand)))
    draws.shuffle(order)
    if total > wanted:
        while total > wanted:
            total -= demand[order.pop(int(draws.integers(len(order))))]
    elif total < wanted:
        while True:
            pod = int(draws.integers(len(demand)))
            if total + share[pod] > wanted:
                break
            total += demand[pod]
            order.append(pod)
    return np.array(order, dtype=np.int64)


def published_experiment(
    problem: PackingProblem, seed: int, ratio: float = PUBLISHED_RATIO
) -> tuple[IntArray, IntArray]:
    """Return arrivals and tie ranks of the nodes under a seed of the published experiment.

    The simulator breaks ties by the lowest node name, after it has put the numbers of a random
    permutation in front of the names. So its ties go by a random order of the nodes, drawn
    once per seed, and not by their order in the list.

    Parameters
    ----------
    problem : PackingProblem
        Pods sorted by name.
    seed : int
        The published runs have 42 to 51.
    ratio : float
        Wanted demand over capacity.

    Returns
    -------
    arrivals : ndarray of int64
        Positions in `problem.pods`.
    rank : ndarray of int64
        By node; the lowest wins a tie.
    """
    draws = GoRandom(seed)
    draws.skip(_LOGGED)
    arrivals = inflated_arrivals(problem, ratio, draws)
    draws.skip(_WATCHES)
    prefix = draws.permutation(len(problem.nodes))
    by_name = sorted(range(len(prefix)), key=lambda i: problem.nodes.ids[i])
    rank = np.empty(len(prefix), dtype=np.int64)
    rank[by_name] = prefix
    return arrivals, rank
