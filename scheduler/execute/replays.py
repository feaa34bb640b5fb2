"""Every policy under every seed, on the executor of one's choice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Final, Literal

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.sweep import Until
from scheduler.execute.bounding import Bounding
from scheduler.execute.cell import Cell, ReplayResult, Settings
from scheduler.execute.stopping import Stopping
from scheduler.policies.view import Information
from scheduler.simulate import Account

Executor = Literal["ray", "processes", "local"]

EXECUTORS: Final[tuple[Executor, ...]] = ("ray", "processes", "local")

Progress = Callable[[int, int, ReplayResult], None]
"""Called in the caller's thread as ``progress(done, total, result)`` after each cell."""

_log = logging.getLogger(__name__)


def replay(
    problem: Problem,
    policies: Sequence[str],
    seeds: Sequence[int],
    *,
    executor: Executor = "ray",
    address: str | None = None,
    information: Information = "exact",
    noise_sigma: float = 0.0,
    horizon_s: float | None = None,
    account: Account = "run",
    verify: bool = True,
    keep_runs: bool = False,
    progress: Progress | None = None,
    until: Until | None = None,
    bound: Bounding = "quick",
) -> list[ReplayResult]:
    """Play every policy under every seed.

    Parameters
    ----------
    problem : Problem
        What to play.
    policies : sequence of str
        Policy names.
    seeds : sequence of int
        The same seeds for each policy: equal noise and failures, so that policies compare in
        pairs.
    executor : {"ray", "processes", "local"}
        Where the cells run. ``processes`` and ``ray`` start processes; a calling script needs
        the usual ``if __name__ == "__main__":``. Without Ray installed, ``ray`` runs locally.
    address : str or None
        A Ray cluster to join; None starts a local Ray, once per process.
    information, noise_sigma, horizon_s, account
        See `scheduler.simulate.simulate`.
    verify : bool
        Whether each run is checked by the verifier.
    keep_runs : bool
        Whether the results carry the whole runs (large).
    progress : callable or None
        Called after each cell.
    until : Until or None
        When to stop early; the seeds that are enough do not depend on who finished first.
    bound : {"quick", "auto", "plan", "none"}
        Which bound each result carries, see `scheduler.execute.bounding.bounds_of`.

    Returns
    -------
    list of ReplayResult
        By policy, then seed, in the order given, whichever finished first. The same bytes on
        every executor. Where `until` held early, the seeds that it needed.

    Raises
    ------
    InputError
        An unknown executor or policy, or no cluster at `address`.
    ExecutionError
        The executor failed.
    """
    places = [(p, s) for p in range(len(policies)) for s in range(len(seeds))]
    if not places:
        return []
    if until is not None:  # it looks at the policies seed by seed
        places.sort(key=lambda place: place[::-1])
    cells = [Cell(policies[p], seeds[s]) for p, s in places]
    settings = Settings(information, noise_sigma, horizon_s, verify, keep_runs, account, bound)
    rule = Stopping(len(policies), len(seeds), until)
    results: dict[tuple[int, int], ReplayResult] = {}
    with closing(_stream(problem, cells, settings, executor, address, until)) as stream:
        for index, result in stream:
            policy, seed = places[index]
            results[policy, seed] = result
            if progress is not None:
                progress(len(results), len(cells), result)
            if until is not None:
                rule.add(policy, seed, float(getattr(result.metrics, until.metric)))
                if rule.needed < len(seeds):  # holds once all cells of those seeds are there
                    break
    return [results[place] for place in sorted(results) if place[1] < rule.needed]


def _stream(
    problem: Problem,
    cells: Sequence[Cell],
    settings: Settings,
    executor: str,
    address: str | None,
    until: Until | None,
) -> Generator[tuple[int, ReplayResult]]:
    ordered = until is not None
    if executor == "ray":
        from scheduler.execute import on_ray

        if on_ray.is_available():
            return on_ray.stream(problem, cells, settings, address=address, ordered=ordered)
        _log.warning("Ray is not installed here: running the replays in this process")
        executor = "local"
    if executor == "processes":
        from scheduler.execute import processes

        return processes.stream(problem, cells, settings, ordered=ordered)
    if executor == "local":
        from scheduler.execute import in_process

        return in_process.stream(problem, cells, settings)
    raise InputError(
        [Fault("unknown executor", "--executor", value=executor, allowed=", ".join(EXECUTORS))]
    )
