"""Jobs that fail faster than they can save anything: a run without an end would never have one.

A gang of n accelerators on k nodes fails at a rate of ``n / crash + n / accelerator MTBF +
k / node MTBF``, whatever it has been through: each of these laws is exponential. What it does
counts once it has lasted through its restart and up to its next checkpoint, or to its end, T
seconds together. A start gets there with probability ``exp(-rate T)``, so ``exp(rate T)`` starts
are expected until one does. Failures of switches come on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from scheduler.core.problem import Mode, Problem

MOST_STARTS: Final = 1e5
"""Expected starts until one counts, from which on a job is hopeless."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What a job must last through in the mode in which it is likeliest to.

    Parameters
    ----------
    mode : Mode
        That mode.
    fails_per_s : float
        Failures per second held.
    lasts_s : float
        Seconds from a start until something of it counts.
    """

    mode: Mode
    fails_per_s: float
    lasts_s: float

    @property
    def starts(self) -> float:
        """Expected starts until one counts."""
        exponent = self.fails_per_s * self.lasts_s
        return math.exp(exponent) if exponent < _OVERFLOW else math.inf

    def __str__(self) -> str:
        return (
            f"expected to start {self.starts:.2g} times before anything it does counts, in its"
            f" best mode: it must last {self.lasts_s:.4g} s, to its next checkpoint or its end, and"
            f" {self.mode.count} accelerators fail every {1 / self.fails_per_s:.4g} s"
        )


_OVERFLOW: Final = 700.0


def chance_of(problem: Problem, class_index: int, work: float) -> Chance | None:
    """Return the best chance that a job with so much work left has; None: it cannot fail.

    Parameters
    ----------
    problem : Problem
        Modes and failures.
    class_index : int
        Class of the job; it has a mode.
    work : float
        Left to do since its last checkpoint.
    """
    owner, failures = problem.workload.classes[class_index], problem.cluster.failures
    largest = max((pool.size for pool in problem.pools), default=1)
    best: Chance | None = None
    for mode in problem.modes[class_index]:
        nodes = math.ceil(mode.count / largest)  # at least
        fails_per_s = (
            mode.count / failures.crash_accelerator_s
            + mode.count / failures.accelerator_mtbf_s
            + nodes / failures.node_mtbf_s
        )
        lasts_s = owner.restart_s + min(owner.checkpoint_s, work / mode.rate)
        if fails_per_s <= 0.0:
            return None
        if best is None or fails_per_s * lasts_s < best.fails_per_s * best.lasts_s:
            best = Chance(mode, fails_per_s, lasts_s)
    return best
