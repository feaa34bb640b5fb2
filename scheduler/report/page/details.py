"""One run as the data that the page draws: compact columns, whole ticks, no user's markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from scheduler.core.job_figures import job_figures
from scheduler.core.metrics import DISTRIBUTIONS
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.report.page.bins import Bins, bins_for
from scheduler.report.page.blocks import Block, largest_blocks
from scheduler.report.page.books import ledger_over_time, reconciled
from scheduler.report.page.history import History, history_of
from scheduler.report.page.interconnect import Network
from scheduler.report.page.power import energy_over_time
from scheduler.report.page.services import service_bands
from scheduler.report.words import plain
from scheduler.verify.facts import Hold

NAME_LIMIT: Final = 120
_TICKS_US: Final = (1000, 10_000, 100_000, US_PER_S, 10 * US_PER_S, 60 * US_PER_S)
_MOST_TICKS: Final = 2_000_000
BALANCE: Final = 1e-6
"""Relative difference from the run's ledger that rounding explains."""

ENDS: Final = ("finished", "stopped", "failed", "running", "killed")
MOST_ROUNDS: Final = 500


@dataclass(frozen=True, slots=True)
class Details:
    """What is drawn of one run.

    Parameters
    ----------
    data : mapping
        For the page's script; see the functions of this module.
    bins : Bins
        Of the ledger's period.
    by_type : ndarray of float64, shape (types, causes, bins)
        Accelerator-seconds.
    queue : mapping of str to ndarray of float64, shape (bins,)
        Mean number of waiting jobs, and of accelerators that they ask for at least.
    job_figures : mapping of str to ndarray of float64
        By the names of `scheduler.core.metrics.DISTRIBUTIONS`: one figure per job.
    """

    data: Mapping[str, Any]
    bins: Bins
    by_type: FloatArray
    queue: Mapping[str, FloatArray] = field(default_factory=dict)
    job_figures: Mapping[str, FloatArray] = field(default_factory=dict)


def details_of(problem: Problem, run: Run, network: Network | None = None) -> Details:
    """Return what the page draws of `run`.

    Parameters
    ----------
    problem, run : Problem, Run
        What was played, and what happened.
    network : Network or None
        Of the problem's cluster, where several runs share it.
    """
    network = network or Network(problem.cluster)
    whole = history_of(problem, run)
    booked = whole if run.ledger_end_us >= run.horizon_us else history_of(
        problem, run, run.ledger_end_us
    )  # fmt: skip
    bins = bins_for(booked.end_us)
    found = ledger_over_time(booked, bins)
    by_pool = reconciled(found, run)
    by_type = _by_type(problem, by_pool)
    queue = queue_over_time(booked, bins)
    tick_us = next((t for t in _TICKS_US if run.horizon_us // t <= _MOST_TICKS), _TICKS_US[-1])
    blocks = largest_blocks(booked, bins, by_pool)
    load_bins = bins if bins.count <= 120 else Bins(bins.width_us * 2, bins.end_us)
    load = network.load(booked, load_bins)
    data = {
        "policy": plain(run.policy, NAME_LIMIT),
        "seed": run.seed,
        "information": run.information,
        "tick_s": tick_us / US_PER_S,
        "end": -(-run.horizon_us // tick_us),
        "ledger_end": -(-run.ledger_end_us // tick_us),
        "bin": bins.width_us // tick_us,
        "bins": bins.count,
        "grid": [np.rint(row).astype(int).tolist() for row in by_type],
        "balances": balances(found, run),
        "queue": {name: [round(v, 2) for v in row.tolist()] for name, row in queue.items()},
        "blocks": [_block(problem, block, tick_us) for block in blocks],
        "bars": bars(whole, run, tick_us),
        "jobs": jobs_columns(problem, run, tick_us),
        "downs": [
            value
            for node, start, end, _ in whole.out_of_use()
            for value in (node, start // tick_us, max(1, (end - start) // tick_us))
        ],
        "services": service_bands(whole, tick_us),
        "energy": _energy(whole, bins_for(run.horizon_us), tick_us),
        "load": {
            "bin": load_bins.width_us // tick_us,
            "bins": load_bins.count,
            "percent": np.rint(100 * np.minimum(load, 99)).astype(int).reshape(-1).tolist(),
        },
        "rounds": rounds_of(problem, run, tick_us),
        "solver": {k: v if math.isfinite(v) else None for k, v in sorted(run.solver.items())},
    }
    each = job_figures(problem, run)
    return Details(
        data, bins, by_type, queue, {name: getattr(each, name) for name in DISTRIBUTIONS}
    )


def fleet_of(problem: Problem, network: Network) -> dict[str, Any]:
    """Return the rows of the schedule, node by node in nested domains, and the interconnect."""
    cluster = problem.cluster
    nodes = cluster.nodes
    home = [problem.pools[0]] * len(nodes)
    for pool in problem.pools:
        for node in pool.nodes:
            home[node] = pool
    order = sorted(range(len(nodes)), key=lambda n: (*reversed(home[n].domains), n))
    spans: dict[int, list[int]] = {}
    for row, node in enumerate(order):
        for domain in home[node].domains:
            spans.setdefault(domain, [row, row])[1] = row
    return {
        "rows": order,
        "names": [plain(node.id, NAME_LIMIT) for node in nodes],
        "types": [home[n].type_index for n in range(len(nodes))],
        "sizes": [node.count for node in nodes],
        "levels": list(problem.levels),
        "domains": [
            [plain(problem.domains[d].name, NAME_LIMIT), problem.domains[d].level, *ends]
            for d, ends in sorted(spans.items(), key=lambda item: (item[1][0], -item[1][1]))
        ],
        "sites": [plain(site.name, NAME_LIMIT) for site in cluster.sites],
        "drawing": network.drawing(),
    }


def balances(by_pool: FloatArray, run: Run) -> float:
    """Return by how much the hours summed differ from the ledger, relative to all it holds."""
    amount_s = run.ledger.amount_us / US_PER_S
    total = float(amount_s.sum())
    if by_pool.shape[:2] != amount_s.shape or not total:
        return 0.0 if not total else 1.0
    return float(np.abs(by_pool.sum(axis=2) - amount_s).sum()) / total


def queue_over_time(history: History, bins: Bins) -> dict[str, FloatArray]:
    """Return by bin the mean number of waiting jobs and of accelerators they ask for."""
    seconds = np.diff(bins.edges_us) / US_PER_S
    classes = history.problem.workload.jobs.class_index
    gang = np.array([min(c.gang, default=1) for c in history.problem.workload.classes])
    jobs = np.array([w.job for w in history.waits], dtype=np.int64)
    start = np.array([w.start_us for w in history.waits], dtype=np.int64)
    end = np.array([w.end_us for w in history.waits], dtype=np.int64)
    asked = gang[classes[jobs]].astype(np.float64) if len(jobs) else np.zeros(0)
    return {
        "jobs": bins.amounts(start, end, np.ones(len(jobs)))[0] / seconds,
        "accelerators": bins.amounts(start, end, asked)[0] / seconds,
    }


def jobs_columns(problem: Problem, run: Run, tick_us: int) -> dict[str, Any]:
    """Return the jobs as columns; times in ticks, -1 where there is none."""
    jobs = problem.workload.jobs
    end = [run.finished_us.get(j, -tick_us) // tick_us for j in range(len(jobs))]
    release = np.rint(jobs.release_s * US_PER_S / tick_us).astype(np.int64)
    return {
        "id": [plain(name, NAME_LIMIT) for name in jobs.ids],
        "class": jobs.class_index.tolist(),
        "tenant": jobs.tenant_index.tolist(),
        "release": _deltas(release),
        "end": end,
        "rejected": {
            str(j): plain(why, 300) for j, why in sorted({**run.rejected, **run.cancelled}.items())
        },
        "classes": [plain(c.name, NAME_LIMIT) for c in problem.workload.classes],
        "gangs": [list(c.gang)[:8] for c in problem.workload.classes],
        "tenants": [plain(t, NAME_LIMIT) for t in problem.workload.tenants],
    }


def rounds_of(problem: Problem, run: Run, tick_us: int) -> dict[str, Any] | None:
    """Return the gap of a solving policy's rounds, and its prices by type and hour.

    A price holds until the next round; of each hour it is the mean. Prices are in percent of
    the highest, as only their relation to one another means anything outside the policy. None
    where the run has no rounds.
    """
    at_s = run.rounds.get("at_s", ())
    if not at_s:
        return None
    every = max(1, -(-len(at_s) // MOST_ROUNDS))
    at_us = np.rint(np.array(at_s) * US_PER_S).astype(np.int64)
    bins = bins_for(run.horizon_us)
    until_us = np.append(at_us[1:], run.horizon_us)
    rows = [run.rounds.get(f"price {name}", (0.0,) * len(at_s)) for name in problem.types]
    finite = [np.nan_to_num(np.array(row), nan=0.0, posinf=0.0, neginf=0.0) for row in rows]
    hourly = np.concatenate([bins.amounts(at_us, until_us, row) for row in finite])
    hourly /= np.diff(bins.edges_us) / US_PER_S
    most = float(hourly.max())
    return {
        "at": (at_us[::every] // tick_us).tolist(),
        "gap": [_figures(v) for v in run.rounds.get("gap", ())[::every]],
        "bin": bins.width_us // tick_us,
        "prices": np.round(100 * hourly / most, 2).tolist() if most > 0 else None,
    }


def _figures(value: float) -> float | None:
    """Return a number with four significant digits, None where it is infinite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def bars(history: History, run: Run, tick_us: int) -> dict[str, Any]:
    """Return what was held as columns, by start; start in ticks as differences.

    ``job`` is a job, or ``-1 - service``. ``nodes`` holds for each bar the first node and
    then differences; ``counts`` one number where all its nodes have as many, negative.
    """
    holds = sorted(history.holds, key=lambda h: (h.start_us, h.placement.nodes))
    finished = {(j, t) for j, t in run.finished_us.items()}
    nodes: list[int] = []
    counts: list[float] = []
    for hold in holds:
        here = hold.placement.nodes
        nodes += [here[0], *(b - a for a, b in pairwise(here))]
        each = _held(hold)
        counts += [-each[0]] if len(set(each)) == 1 else [*each]
    start = np.array([h.start_us // tick_us for h in holds], dtype=np.int64)
    return {
        "job": [h.job if h.job >= 0 else -1 - h.service for h in holds],
        "start": _deltas(start),
        "length": [max(1, h.end_us // tick_us - int(s)) for h, s in zip(holds, start, strict=True)],
        "overhead": [h.overhead_us // tick_us for h in holds],
        "ended": [_end(history, h, finished) for h in holds],
        "efficiency": [round(100 * h.mode.rate / h.mode.best_rate) for h in holds],
        "size": [len(h.placement.nodes) for h in holds],
        "nodes": nodes,
        "counts": counts,
    }


def _held(hold: Hold) -> tuple[float, ...]:
    """Return the accelerators held by node; a share of one as a fraction."""
    if hold.mode.share_milli == WHOLE_MILLI:
        return hold.placement.counts
    return tuple(n * hold.mode.share_milli / WHOLE_MILLI for n in hold.placement.counts)


def _end(history: History, hold: Any, finished: set[tuple[int, int]]) -> int:
    if (hold.job, hold.end_us) in finished:
        return ENDS.index("finished")
    if history.run.killed_us.get(hold.job) == hold.end_us:
        return ENDS.index("killed")
    if hold.end_us >= history.end_us:
        return ENDS.index("running")
    return ENDS.index("failed" if history.facts.went_down(hold) else "stopped")


def _deltas(values: IntArray) -> list[int]:
    return np.diff(values, prepend=np.int64(0)).tolist() if len(values) else []


def _by_type(problem: Problem, by_pool: FloatArray) -> FloatArray:
    out = np.zeros((len(problem.types), *by_pool.shape[1:]))
    np.add.at(out, [pool.type_index for pool in problem.pools], by_pool)
    return out


def _block(problem: Problem, block: Block, tick_us: int) -> dict[str, Any]:
    pool = problem.pools[block.pool]
    domain = problem.domains[pool.domains[0]].name if pool.domains else ""
    return {
        "type": pool.type_index,
        "domain": plain(domain, NAME_LIMIT),
        "nodes": list(block.nodes),
        "start": block.start_us // tick_us,
        "end": -(-block.end_us // tick_us),
        "idle_s": round(block.idle_s),
        "causes": [[int(cause), round(seconds)] for cause, seconds in block.causes],
        "before": list(block.before),
        "after": list(block.after),
        "waiting": list(block.waiting),
        "waiting_count": block.waiting_count,
    }


def _energy(history: History, bins: Bins, tick_us: int) -> dict[str, Any]:
    amounts = energy_over_time(history, bins)
    return {
        "bin": bins.width_us // tick_us,
        "bins": bins.count,
        **{name: _rounded(amounts[row]) for row, name in enumerate(("kwh", "usd", "co2_kg"))},
    }


def _rounded(rows: FloatArray) -> Sequence[Sequence[float]]:
    """Return rows with four significant digits or so: a page needs no more."""
    size = float(np.abs(rows).max()) if rows.size else 0.0
    digits = max(0, 4 - math.floor(math.log10(size))) if size > 0 else 0
    return [[round(v, digits) for v in row] for row in rows.tolist()]
