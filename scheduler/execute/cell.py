"""One replay: what goes in, and the small record that comes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.bounds import Bounds
from scheduler.core.errors import FleetfitError
from scheduler.core.ledger import Ledger
from scheduler.core.metrics import Metrics, metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run, Violation
from scheduler.execute.bounding import Bounding, bounds_of
from scheduler.policies.view import Information
from scheduler.simulate import Account, simulate
from scheduler.verify import verify_run


class ExecutionError(FleetfitError):
    """The machinery failed, not the input: a worker died, or Ray does not start."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one replay is told apart by."""

    policy: str
    seed: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What all cells of a call share; the fields are those of `replay`."""

    information: Information = "exact"
    noise_sigma: float = 0.0
    horizon_s: float | None = None
    verify: bool = True
    keep_run: bool = False
    account: Account = "run"
    bound: Bounding = "quick"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What is kept of one replay: small, and the same bytes on every executor.

    Parameters
    ----------
    cell : Cell
        Policy and seed.
    information : str
        What the policy was allowed to know.
    horizon_us : int
        End of the period that the ledger covers; it starts at 0.
    end_us : int
        When the replay ended; jobs may end after the ledger closes.
    metrics : Metrics
        Of the jobs and the fleet.
    ledger : Ledger
        Where every accelerator-second went.
    bounds : Bounds
        What no schedule of the jobs that finished in this replay can better.
    violations : tuple of Violation
        Empty when every rule held, or when the replay was not checked.
    run : Run or None
        The whole run, where it was asked for.
    """

    cell: Cell
    information: Information
    horizon_us: int
    end_us: int
    metrics: Metrics
    ledger: Ledger
    bounds: Bounds
    violations: tuple[Violation, ...]
    run: Run | None = None


def run_cell(problem: Problem, cell: Cell, settings: Settings) -> ReplayResult:
    """Play one replay and return what is kept of it."""
    run = simulate(
        problem,
        cell.policy,
        seed=cell.seed,
        information=settings.information,
        noise_sigma=settings.noise_sigma,
        horizon_s=settings.horizon_s,
        account=settings.account,
    )
    return result_of(problem, cell, settings, run)


def result_of(problem: Problem, cell: Cell, settings: Settings, run: Run) -> ReplayResult:
    """Return what is kept of a run that was played."""
    return ReplayResult(
        cell,
        settings.information,
        run.ledger_end_us,
        run.horizon_us,
        metrics_of(problem, run),
        run.ledger,
        bounds_of(problem, run, settings.bound),
        tuple(verify_run(problem, run)) if settings.verify else (),
        run if settings.keep_run else None,
    )


def run_batch(
    problem: Problem, cells: Sequence[Cell], settings: Settings
) -> tuple[float, list[ReplayResult]]:
    """Play several replays; return the seconds they took, which only sizes the next batch."""
    start = time.perf_counter()
    results = [run_cell(problem, cell, settings) for cell in cells]
    return time.perf_counter() - start, results
