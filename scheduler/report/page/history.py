"""What a run was, looked up once: who held what when, who waited, what services had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.verify.facts import Facts, Hold, gather, holds_of
from scheduler.verify.lifecycle import lives_of
from scheduler.verify.services import Serving, servings_of
from scheduler.verify.waiting import Want, wants_of
from scheduler.verify.window import as_of


@dataclass(frozen=True, slots=True)
class History:
    """A run up to `end_us`, with its look-ups done.

    Parameters
    ----------
    problem, run : Problem, Run
        What was played, and what happened (cut at `end_us`).
    end_us : int
        Last instant that counts.
    facts : Facts
        Nodes, sites, outages.
    holds : tuple of Hold
        Jobs first, then replicas, as recorded.
    wants : tuple of Want
        Every wait of a job, and the times at which a service lacks capacity.
    servings : tuple of Serving
        By service.
    """

    problem: Problem
    run: Run
    end_us: int
    facts: Facts
    holds: tuple[Hold, ...]
    wants: tuple[Want, ...]
    servings: tuple[Serving, ...]

    @property
    def waits(self) -> list[Want]:
        """The waits of jobs, without the services."""
        return [want for want in self.wants if want.job >= 0]

    def out_of_use(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield node, start, end and accelerators of whatever was down, as a whole or in part."""
        facts = self.facts
        for node, spans in enumerate(facts.downs):
            for start_us, end_us in spans:
                yield node, start_us, end_us, facts.node_size[node]
            for down in facts.partial[node] if facts.partial else ():
                yield node, down.start_us, down.end_us, down.count


def history_of(problem: Problem, run: Run, end_us: int | None = None) -> History:
    """Return the history of `run` up to `end_us` (None: to its end)."""
    if end_us is None or end_us >= run.horizon_us:
        end_us = run.horizon_us
    else:
        run = as_of(problem, run, end_us)
    facts = gather(problem, end_us, run.downs, run.crashes)
    holds, _ = holds_of(problem, end_us, run.allocations, run.replicas)
    lives = lives_of(facts, holds, run.actual_work, run.finished_us, run.killed_us)
    servings = servings_of(facts, holds)
    wants = wants_of(facts, lives, {*run.rejected, *run.cancelled}, servings)
    return History(problem, run, end_us, facts, tuple(holds), tuple(wants), tuple(servings))
