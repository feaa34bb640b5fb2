"""Shares of time of rigid gangs on accelerator types: Gavel's linear programs.

``x[j, t]`` is the share of time job j spends on type t; a job's shares sum to at most one, and
the accelerators that gangs hold on a type, weighted by their shares, to at most its capacity.
Both programs have many optima. An interior-point method ends in the middle of them, where equal
jobs have equal shares, and so do Gavel's solver and this one; a vertex would serve some of the
equal jobs and starve the others.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.workload import FloatArray

STEPS = 60
TOLERANCE = 1e-8


def max_sum_shares(values: FloatArray, gangs: FloatArray, capacity: FloatArray) -> FloatArray:
    """Return shares of largest total value.

    Parameters
    ----------
    values : ndarray, shape (jobs, types)
        Value of all time; 0 where a job cannot run.
    gangs : ndarray, shape (jobs,)
        Accelerators of each job.
    capacity : ndarray, shape (types,)
        Accelerators of each type.

    Returns
    -------
    ndarray, shape (jobs, types)
        The middle of the optimal face.
    """
    rows, limits = _common(values, gangs, capacity)
    worth = values.ravel()
    return _answer(_interior(worth / max(worth.max(), 1e-30), rows, limits), values)


def max_min_shares(values: FloatArray, gangs: FloatArray, capacity: FloatArray) -> FloatArray:
    """Return shares whose smallest value among jobs is largest; parameters as `max_sum_shares`."""
    jobs, types = values.shape
    rows, limits = _common(values, gangs, capacity)
    fair = np.zeros((jobs, jobs * types + 1))  # least - value <= 0
    for j in range(jobs):
        fair[j, j * types : (j + 1) * types] = -values[j]
    fair[:, -1] = 1.0
    runs = values.any(axis=1)
    rows = np.vstack([np.column_stack([rows, np.zeros(len(rows))]), fair[runs]])
    limits = np.append(limits, np.zeros(int(runs.sum())))
    worth = np.zeros(jobs * types + 1)
    worth[-1] = 1.0
    return _answer(_interior(worth, rows, limits)[:-1], values)


def _common(
    values: FloatArray, gangs: FloatArray, capacity: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the rows ``rows @ x <= limits`` of both programs."""
    jobs, types = values.shape
    time = np.repeat(np.eye(jobs), types, axis=1)
    held = np.tile(np.eye(types), jobs) * np.repeat(gangs, types)
    rows = np.vstack([-np.eye(jobs * types), time, held])
    return rows, np.concatenate([np.zeros(jobs * types), np.ones(jobs), capacity])


def _answer(x: FloatArray, values: FloatArray) -> FloatArray:
    return np.where(values > 0, np.clip(x, 0.0, 1.0).reshape(values.shape), 0.0)


def _interior(worth: FloatArray, rows: FloatArray, limits: FloatArray) -> FloatArray:
    """Maximise ``worth @ x`` over ``rows @ x <= limits`` by Mehrotra's predictor-corrector."""
    x = np.zeros(len(worth))
    slack = np.maximum(limits - rows @ x, 1.0)
    dual = np.ones(len(limits))
    for _ in range(STEPS):
        primal = limits - rows @ x - slack
        short = worth - rows.T @ dual
        gap = float(slack @ dual) / len(limits)
        if max(gap, np.abs(primal).max(), np.abs(short).max()) < TOLERANCE:
            break
        dx, ds, dz = _step(rows, slack, dual, primal, short, -slack * dual)
        near = _room(slack, ds), _room(dual, dz)
        ahead = float((slack + near[0] * ds) @ (dual + near[1] * dz)) / len(limits)
        centre = gap * (ahead / gap) ** 3 - slack * dual - ds * dz
        dx, ds, dz = _step(rows, slack, dual, primal, short, centre)
        along = 0.99 * min(_room(slack, ds), _room(dual, dz))
        x, slack, dual = x + along * dx, slack + along * ds, dual + along * dz
        slack, dual = np.maximum(slack, 1e-14), np.maximum(dual, 1e-14)
    return x


def _step(
    rows: FloatArray,
    slack: FloatArray,
    dual: FloatArray,
    primal: FloatArray,
    short: FloatArray,
    centre: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Newton's step of the variables, the slacks and the duals towards `centre`."""
    ratio = dual / slack
    matrix = (rows.T * ratio) @ rows + 1e-13 * np.eye(rows.shape[1])
    right = short - rows.T @ (centre / slack - ratio * primal)
    dx: FloatArray = np.asarray(np.linalg.solve(matrix, right), float)
    ds = np.asarray(primal - rows @ dx)
    return dx, ds, np.asarray(centre / slack - ratio * ds)


def _room(values: FloatArray, change: FloatArray) -> float:
    """Return the longest step up to 1 that keeps `values` positive."""
    falling = change < 0
    return float(min(1.0, (-values[falling] / change[falling]).min(initial=1.0)))
