"""A round at scale from end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from scheduler.core.random import stream
from scheduler.core.workload import FloatArray
from scheduler.solver.scale.columns import Decision, GapParts, PriceList, Round
from scheduler.solver.scale.filling import fill_up, pack, rounded, worth
from scheduler.solver.scale.integers import CORES, Whole, improve, open_jobs
from scheduler.solver.scale.placing import Cutting, assign
from scheduler.solver.scale.prices import Priced, key_prices, search
from scheduler.solver.scale.rows import JobTable, SizeTable, lifted, tables
from scheduler.solver.scale.supply_rows import SupplyRows, supply_rows

ENOUGH: Final = 1e-3
"""A gap that CP-SAT need not close."""

THRESHOLDS: Final = (0.5, 0.7, 1e-3, 1.0)
"""Shares of a job in the fractional answer from which on it is taken whole; 0.5 is mostly best."""

COUNTING_TIME: Final = 0.5
"""Deterministic time limit of CP-SAT."""

_NO_PRICE: Final = 1e-9
_ROUNDING: Final = 1e-12


def decide(
    round_: Round,
    *,
    start: PriceList | None = None,
    enough: float = ENOUGH,
    deterministic_time: float = COUNTING_TIME,
    seed: int = 0,
) -> Decision:
    """Choose which jobs start now, how and on which nodes, for the most utility.

    Parameters
    ----------
    round_ : Round
        Fleet and options.
    start : PriceList or None
        Prices of an earlier round of a like fleet; None: from nothing.
    enough : float
        Gap at which the search ends; 0: go on to the optimum, which small rounds reach.
    deterministic_time : float
        CP-SAT's limit in its own repeatable unit (about a second).
    seed : int
        Of the samples of jobs that the prices start from.

    Returns
    -------
    Decision
        Placement, value, bound, the gap in its parts, and the prices that prove the bound.
    """
    table, jobs = tables(round_)
    if not len(jobs):
        return _nothing(round_, table)
    supply = supply_rows(table)
    before = None if start is None else _carried(start, table)
    priced = search(table, jobs, supply, before, stream(seed, "round"))
    cost = key_prices(jobs, priced.prices)[jobs.key]
    surplus = jobs.exact - cost
    density = surplus / np.maximum(cost, _NO_PRICE * float(jobs.exact.max()))
    whole, value = _rounded(table, jobs, priced, surplus, density, enough)
    target = priced.bound * (1.0 - max(enough, _ROUNDING))
    for step in CORES:
        if value >= target or whole.proved:
            break
        every = open_jobs(jobs, whole.rows, surplus, priced.bound - value) <= CORES[-1]
        whole = _improved(
            table, jobs, supply, whole, surplus, density, priced.bound, priced.bound - target,
            CORES[-1] if every else step, deterministic_time * step / sum(CORES),
        )  # fmt: skip
        value = worth(jobs, whole.rows)
    first, nodes, counts = assign(
        round_,
        table,
        jobs,
        whole.rows,
        Cutting(round_.fleet, whole.stock.gang_cuts, whole.stock.slot_cuts),
    )
    option = np.full(round_.options.jobs, -1, dtype=np.int64)
    placed = whole.rows >= 0
    option[jobs.job[placed]] = jobs.option[whole.rows[placed]]
    return Decision(
        option,
        first,
        nodes,
        counts,
        value,
        max(priced.bound, value),
        _parts(priced, whole, cost, value),
        PriceList(table.slots, table.gangs, priced.prices),
        whole.proved,
    )


def _rounded(
    table: SizeTable,
    jobs: JobTable,
    priced: Priced,
    surplus: FloatArray,
    density: FloatArray,
    enough: float,
) -> tuple[Whole, float]:
    """Round at several thresholds until the gap is small; return the best, and its utility.

    A gang that the fractional answer takes by half may be worth the cheapest jobs in its way,
    or may not: packing drops those, filling up takes others in.
    """
    best: tuple[Whole, float] | None = None
    for least in THRESHOLDS:
        rows = rounded(jobs, priced.choice, priced.core, priced.share, least)
        stock = pack(table, jobs, rows, surplus)
        fill_up(stock, table, jobs, rows, density)
        value = worth(jobs, rows)
        if best is None or value > best[1]:
            best = Whole(rows, stock, proved=False), value
        if priced.bound - best[1] <= enough * priced.bound:
            break
    assert best is not None
    return best


def _improved(
    table: SizeTable,
    jobs: JobTable,
    supply: SupplyRows,
    whole: Whole,
    surplus: FloatArray,
    density: FloatArray,
    bound: float,
    enough: float,
    most_jobs: int,
    deterministic_time: float,
) -> Whole:
    """Return the better of an answer and what CP-SAT makes of it."""
    value = worth(jobs, whole.rows)
    found = improve(
        table, jobs, supply, whole, surplus, bound - value,
        enough=enough, most_jobs=most_jobs, deterministic_time=deterministic_time,
    )  # fmt: skip
    if found is None:
        return whole
    if not found.proved:
        fill_up(found.stock, table, jobs, found.rows, density)
    return found if worth(jobs, found.rows) >= value else replace(whole, proved=found.proved)


def _parts(priced: Priced, whole: Whole, cost: FloatArray, value: float) -> GapParts:
    if priced.bound <= 0:
        return GapParts(0.0, 0.0, 0.0)
    used = float(cost[whole.rows[whole.rows >= 0]].sum())
    settled = priced.choice[priced.choice >= 0]
    used_in_part = float(cost[settled].sum() + cost[priced.core] @ priced.share)
    convergence = priced.bound - priced.value
    packing = used_in_part - used
    rounding = priced.value - value - packing
    return GapParts(convergence / priced.bound, rounding / priced.bound, packing / priced.bound)


def _carried(start: PriceList, table: SizeTable) -> FloatArray | None:
    """Return the prices of the sizes of this round; of new sizes, what they take the place of."""
    if len(start.value) != table.types:
        return None
    names = [*((0, s) for s in start.slots), *((1, s) for s in start.gangs)]
    column = {name: i for i, name in enumerate(names)}
    prices = np.zeros(table.used.shape)
    for i, name in enumerate([*((0, s) for s in table.slots), *((1, s) for s in table.gangs)]):
        if name in column:
            prices[:, i] = start.value[:, column[name]]
    return lifted(table, prices)


def _nothing(round_: Round, table: SizeTable) -> Decision:
    none = np.zeros(0, dtype=np.int64)
    jobs = round_.options.jobs
    return Decision(
        np.full(jobs, -1, dtype=np.int64),
        np.zeros(jobs + 1, dtype=np.int64),
        none,
        none,
        0.0,
        0.0,
        GapParts(0.0, 0.0, 0.0),
        PriceList(table.slots, table.gangs, np.zeros(table.used.shape)),
        proved=True,
    )
