"""A whole answer from a fractional one: settle, pack, and fill up what is left by surplus."""

from __future__ import annotations

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.prices import demand_of
from scheduler.solver.scale.rows import JobTable, SizeTable
from scheduler.solver.scale.stock import Stock

_BATCH = 512


def rounded(
    jobs: JobTable, choice: IntArray, core: IntArray, share: FloatArray, least: float
) -> IntArray:
    """Return the row of every job that the fractional answer takes at least so far; else -1."""
    rows = choice.copy()
    taken = np.flatnonzero(share >= least - 1e-6)
    taken = core[taken[np.argsort(share[taken], kind="stable")]]  # of several, the greatest share
    rows[jobs.row_job[taken]] = taken
    return rows


def pack(table: SizeTable, jobs: JobTable, rows: IntArray, surplus: FloatArray) -> Stock:
    """Cut what the rows ask for, the largest first; drop from `rows` what does not fit.

    Of jobs that ask for the same size, those of most surplus stay.
    """
    stock = Stock(table)
    order = [*range(len(table.slots), table.columns)][::-1]  # gangs inside pods first
    order += [*range(len(table.slots))][::-1]
    demand = demand_of(table, jobs, rows[rows >= 0]).reshape(table.used.shape)
    for t in range(table.types):
        for column in order:
            wanted = int(demand[t, column])
            found = stock.take(t, column, wanted) if wanted else 0
            if found < wanted:
                flat = t * table.columns + column
                left = _drop(jobs, rows, surplus, flat, found)
                if left:  # only where gangs that span pods take several whole nodes
                    stock.give_whole(t, left)
    return stock


def _drop(jobs: JobTable, rows: IntArray, surplus: FloatArray, flat: int, found: int) -> int:
    """Keep the jobs of most surplus of one size within what was found; return what is left."""
    placed = np.flatnonzero(rows >= 0)
    key = jobs.key[rows[placed]]
    mine = placed[jobs.key_column[key] == flat]
    mine = mine[np.argsort(-surplus[rows[mine]], kind="stable")]
    left = found
    for job, slots in zip(
        mine.tolist(), jobs.key_slots[jobs.key[rows[mine]]].tolist(), strict=True
    ):
        if slots <= left:
            left -= int(slots)
        else:
            rows[job] = -1
    return left


def fill_up(
    stock: Stock, table: SizeTable, jobs: JobTable, rows: IntArray, surplus: FloatArray
) -> None:
    """Start jobs that do not run on what is left, those of most surplus first.

    Surplus is negative for what the prices refuse; on accelerators that would idle it is better
    than nothing, and least negative is best.
    """
    open_rows = jobs.rows_of(np.flatnonzero(rows < 0))
    columns = table.columns
    flats, slots = jobs.key_column.tolist(), jobs.key_slots.astype(np.int64).tolist()
    while True:
        fits = stock.fitting(jobs.key_column, jobs.key_slots)
        open_rows = open_rows[fits[jobs.key[open_rows]] & (rows[jobs.row_job[open_rows]] < 0)]
        if not len(open_rows):
            return
        owner = jobs.row_job[open_rows]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        best = np.maximum.reduceat(surplus[open_rows], starts)
        is_best = surplus[open_rows] == np.repeat(best, np.diff(np.append(starts, len(owner))))
        chosen = open_rows[is_best]
        chosen = chosen[np.argsort(-surplus[chosen], kind="stable")[:_BATCH]]
        for row, job, key in zip(
            chosen.tolist(), jobs.row_job[chosen].tolist(), jobs.key[chosen].tolist(), strict=True
        ):
            t, column = divmod(flats[key], columns)
            if rows[job] < 0 and stock.fits(t, column, slots[key]):
                stock.take(t, column, slots[key])
                rows[job] = row


def worth(jobs: JobTable, rows: IntArray) -> float:
    """Return the utility of the chosen rows."""
    return float(jobs.exact[rows[rows >= 0]].sum())
