"""An interior-point method for linear programs over shares of time.

The programs are ``min c v`` subject to ``G v + s = h, s >= 0``, where v holds a share of time
``x[i, t]`` for each job and type and, in some, a level y. The rows say that shares are not
negative, fit a type's capacity, add up to at most one for a job, and give it a throughput of
at least ``need * y`` (or a fixed need). The method is Mehrotra's predictor-corrector on the
homogeneous self-dual embedding, with the start, the equilibration and the step rules of ECOS,
which Gavel's policies were published with: where the optimum is not unique, what an
interior-point method ends at depends on where it began.

A Newton system falls apart into a block per job, of as many rows as there are types, joined
by the capacities and the level: O(jobs x types^3) per iteration.

References
----------
A. Domahidi, E. Chu, S. Boyd, "ECOS: an SOCP solver for embedded systems", ECC 2013.
L. Vandenberghe, "The CVXOPT linear and quadratic cone program solvers", 2010.
D. Ruiz, "A scaling algorithm to equilibrate both rows and columns norms in matrices", 2001.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scheduler.core.workload import FloatArray

_ITERATIONS = 100
_TOLERANCE = 1e-8
_PATIENCE = 4
_STEP = 0.99
_LEAST_CENTRING = 1e-4
_EQUILIBRATIONS = 3
_STEEP = 1e5
"""As in ECOS, but for two: it stops after `_PATIENCE` iterations without gain, and curvatures
beyond the square of `_STEEP` are not squared."""

_PERTURBATION = 2e-13
_REFINEMENTS = 9
"""Where rows that hold with equality depend on one another (all time of all jobs and all
accelerators, say), what joins the jobs loses its least digits and may become exactly singular.
Its diagonal is then raised by this part, as in ECOS, and solutions are refined this often."""


class _Rows(NamedTuple):
    """A value for each inequality."""

    share: FloatArray
    room: FloatArray
    whole: FloatArray
    rate: FloatArray


class _Point(NamedTuple):
    """A value for each variable."""

    x: FloatArray
    level: float


class _State(NamedTuple):
    """Variables, slacks and prices of the rows, and the embedding's scale and certificate."""

    at: _Point
    s: _Rows
    z: _Rows
    tau: float
    kappa: float


class _Residuals(NamedTuple):
    """Of the columns, the rows and the gap; and the mean of the complementary products."""

    x: _Point
    z: _Rows
    t: float
    mu: float


class ShareProgram:
    """Find shares of least cost.

    Parameters
    ----------
    rates, gang : ndarray of float64, shape (jobs, types)
        Work per second and accelerators.
    capacity : ndarray of float64, shape (types,)
        Accelerators.
    need : ndarray of float64, shape (jobs,), or None
        Throughput each job is to have, times the level if there is one; None: no such rows.
    cost : ndarray of float64, shape (jobs, types), or None
        Cost of a share; None: none.
    levelled : bool
        Whether there is a level, which is then maximised.
    """

    def __init__(
        self,
        rates: FloatArray,
        gang: FloatArray,
        capacity: FloatArray,
        need: FloatArray | None,
        cost: FloatArray | None = None,
        *,
        levelled: bool = False,
    ) -> None:
        jobs, _ = rates.shape
        self._rates = rates if need is not None else np.zeros_like(rates)
        self._gang = gang
        self._need = need if need is not None and levelled else np.zeros(jobs)
        self._levelled = levelled
        floor = np.zeros(jobs) if need is None or levelled else -need
        if need is None:
            floor = np.ones(jobs)  # an empty row that always holds
        self._bound = _Rows(np.zeros_like(rates), capacity.copy(), np.ones(jobs), floor)
        self._cost = _Point(
            np.zeros_like(rates) if cost is None else cost, -1.0 if levelled else 0.0
        )

    def solve(self) -> tuple[FloatArray, float]:
        """Return the shares and the level where the method ends.

        Notes
        -----
        An infeasible program ends where its residuals no longer fall: ask only for what can
        be met.
        """
        state = self._first()
        best, least, stalled = state, np.inf, 0
        for _ in range(_ITERATIONS):
            residuals, off = self._residuals(state)
            stalled = 0 if off < least else stalled + 1
            if off < least:
                best, least = state, off
            if off < _TOLERANCE or stalled > _PATIENCE or not residuals.mu > 0:
                break
            state = self._next(state, residuals)
        return np.clip(best.at.x / best.tau, 0.0, 1.0), best.at.level / best.tau

    def _first(self) -> _State:
        """Return the start: least-norm slacks and prices, shifted until they are positive."""
        scale = self._equilibrated()
        bound, cost = self._bound, self._cost
        weight = _rows(lambda d: 1 / (d * d), scale)
        self._factor(weight)
        at, price = self._solved(weight, _Point(np.zeros_like(cost.x), 0.0), bound)
        slack = _rows(lambda z, d: -z * d * d, price, scale)
        _, price = self._solved(weight, _scaled(cost, -1.0), _rows(np.zeros_like, bound))
        s = _into_cone(slack, scale)
        z = _into_cone(price, _rows(lambda d: 1 / d, scale))
        return _State(at, s, z, 1.0, 1.0)

    def _residuals(self, now: _State) -> tuple[_Residuals, float]:
        """Return how far a state is from optimal: by part, and the largest, relative."""
        bound, cost, tau = self._bound, self._cost, now.tau
        rx = _combine(self._pulled(now.z), -1.0, cost, -tau)
        rz = _mix(1.0, _mix(1.0, now.s, 1.0, self._held(now.at)), -tau, bound)
        value = _dot_points(cost, now.at)
        rt = now.kappa + value + _dot(bound, now.z)
        gap = _dot(now.s, now.z)
        count = sum(row.size for row in now.s) + 1
        size_c = 1 + max(float(np.abs(cost.x).max()), abs(cost.level))
        size_h = 1 + max(float(np.abs(row).max(initial=0)) for row in bound)
        off = max(
            max(float(np.abs(rx.x).max()), abs(rx.level)) / size_c,
            max(float(np.abs(row).max(initial=0)) for row in rz) / size_h,
            gap / tau / max(1e-9, abs(value), tau),
        )
        return _Residuals(rx, rz, rt, (gap + now.kappa * tau) / count), off / tau

    def _next(self, now: _State, r: _Residuals) -> _State:
        """Take a predictor-corrector step."""
        at, s, z, tau, kappa = now
        bound, cost = self._bound, self._cost
        weight = _rows(lambda a, b: a / b, z, s)
        self._factor(weight)
        x1, z1 = self._solved(weight, _scaled(cost, -1.0), bound)
        denominator = kappa / tau - _dot_points(cost, x1) - _dot(bound, z1)
        # predictor: straight at the optimum
        x2, z2 = self._solved(weight, r.x, _mix(1.0, s, -1.0, r.z))
        dtau = (r.t - kappa + _dot_points(cost, x2) + _dot(bound, z2)) / denominator
        dz = _mix(1.0, z2, dtau, z1)
        ds = _rows(lambda a, b, c: -a * (1 + b / c), s, dz, z)
        dkappa = -kappa - kappa / tau * dtau
        step = _longest(s, ds, z, dz, tau, dtau, kappa, dkappa)
        # corrector: back towards the centre, and the predictor's error of second order
        centring = min(1.0, max(_LEAST_CENTRING, (1 - step) ** 3))
        target, left = centring * r.mu, 1 - centring
        turn = _mix(1.0, s, 1.0, _rows(lambda b, c, d: c * d / b, z, ds, dz))
        turn = _mix(1.0, turn, -target, _rows(lambda b: 1 / b, z))
        cross = kappa * tau + dkappa * dtau - target
        x2, z2 = self._solved(weight, _scaled(r.x, left), _mix(1.0, turn, -left, r.z))
        lifted = left * r.t - cross / tau + _dot_points(cost, x2) + _dot(bound, z2)
        dtau = lifted / denominator
        dz = _mix(1.0, z2, dtau, z1)
        ds = _rows(lambda a, b, c, d: -(a + b * c / d), turn, s, dz, z)
        dkappa = -(cross + kappa * dtau) / tau
        step = _STEP * _longest(s, ds, z, dz, tau, dtau, kappa, dkappa)
        return _State(
            _combine(at, 1.0, _combine(x2, 1.0, x1, dtau), step),
            _mix(1.0, s, step, ds),
            _mix(1.0, z, step, dz),
            tau + step * dtau,
            kappa + step * dkappa,
        )

    # --- rows and columns --------------------------------------------------------------

    def _held(self, at: _Point) -> _Rows:
        """Return G v."""
        return _Rows(
            -at.x,
            (self._gang * at.x).sum(axis=0),
            at.x.sum(axis=1),
            self._need * at.level - (self._rates * at.x).sum(axis=1),
        )

    def _pulled(self, z: _Rows) -> _Point:
        """Return G^T z."""
        x = -z.share + self._gang * z.room + z.whole[:, None] - self._rates * z.rate[:, None]
        return _Point(x, float((self._need * z.rate).sum()))

    def _equilibrated(self) -> _Rows:
        """Return what each row is divided by so that its largest entry, and a column's, is 1."""
        shape = self._rates.shape
        rows = _Rows(np.ones(shape), np.ones(shape[1]), np.ones(shape[0]), np.ones(shape[0]))
        columns, level = np.ones(shape), 1.0
        rates, need = np.abs(self._rates), np.abs(self._need)
        for _ in range(_EQUILIBRATIONS):
            share = 1 / (rows.share * columns)
            room = self._gang / (rows.room * columns)
            whole = 1 / (rows.whole[:, None] * columns)
            rate = rates / (rows.rate[:, None] * columns)
            lift = need / (rows.rate * level)
            most_rate = np.maximum(rate.max(axis=1), lift)
            most_x = np.maximum.reduce([share, room, whole, rate])
            most_level = float(lift.max())
            rows = _Rows(
                rows.share * np.sqrt(share),
                rows.room * np.sqrt(room.max(axis=0)),
                rows.whole * np.sqrt(whole.max(axis=1)),
                rows.rate * np.sqrt(np.where(most_rate > 1e-6, most_rate, 1.0)),
            )
            columns = columns * np.sqrt(most_x)
            level *= float(np.sqrt(most_level)) if most_level > 1e-6 else 1.0
        return rows

    # --- Newton systems ----------------------------------------------------------------

    def _factor(self, weight: _Rows) -> None:
        """Prepare ``G^T diag(weight) G`` for solving."""
        jobs, types = self._rates.shape
        unit = 1 / np.sqrt(weight.share)  # the blocks are 1 plus squares, in these units
        steep = np.stack(
            [
                np.sqrt(weight.whole)[:, None] * unit,
                np.sqrt(weight.rate)[:, None] * self._rates * unit,
            ],
            axis=1,
        )
        self._unit = unit
        eye = np.broadcast_to(np.eye(types), (jobs, types, types))
        self._upper: FloatArray | None = None
        if float(np.abs(steep).max()) < _STEEP:
            self._inverse = np.linalg.inv(eye + steep.transpose(0, 2, 1) @ steep)
        else:
            self._upper = np.asarray(
                np.linalg.qr(np.concatenate([eye, steep], axis=1), mode="r"), dtype=np.float64
            )
        joined = np.zeros((jobs, types, types))
        joined[:, range(types), range(types)] = self._gang * np.sqrt(weight.room) * unit
        cross = -(weight.rate * self._need)[:, None] * self._rates * unit
        self._joined, self._cross = joined, cross
        self._by_joined = self._blocks(joined)
        self._by_cross = self._blocks(cross[:, :, None])[:, :, 0]
        size = types + self._levelled
        small = np.eye(size)
        small[:types, :types] += np.einsum("itj,itk->jk", joined, self._by_joined)
        whole = small.diagonal().copy()  # what is added up there, before any of it cancels
        if self._levelled:
            small[:types, types] = np.einsum("itj,it->j", joined, self._by_cross)
            small[types, :types] = -np.einsum("it,itj->j", cross, self._by_joined)
            own = float((weight.rate * self._need * self._need).sum())
            small[types, types] = own - float((cross * self._by_cross).sum())
            whole[types] = own
        self._refinements = 1
        if not np.linalg.slogdet(small)[0]:
            small += np.diag(_PERTURBATION * whole)
            self._refinements = _REFINEMENTS
        self._small = small

    def _blocks(self, right: FloatArray) -> FloatArray:
        """Solve with every job's block."""
        if self._upper is None:
            return np.asarray(self._inverse @ right)
        half = np.linalg.solve(self._upper.transpose(0, 2, 1), right)
        return np.asarray(np.linalg.solve(self._upper, half))

    def _normal(self, right: _Point) -> _Point:
        """Solve with the prepared matrix."""
        types = self._rates.shape[1]
        by_right = self._blocks((right.x * self._unit)[:, :, None])[:, :, 0]
        small = np.zeros(len(self._small))
        small[:types] = np.einsum("itj,it->j", self._joined, by_right)
        if self._levelled:
            small[types] = right.level - float((self._cross * by_right).sum())
        found = np.linalg.solve(self._small, small)
        level = float(found[types]) if self._levelled else 0.0
        x = by_right - self._by_joined @ found[:types] - self._by_cross * level
        return _Point(x * self._unit, level)

    def _solved(self, weight: _Rows, bx: _Point, bz: _Rows) -> tuple[_Point, _Rows]:
        """Solve ``G^T z = bx, G v - z / weight = bz``, and refine the solution."""
        weighed = self._pulled(_rows(lambda w, b: w * b, weight, bz))
        v = self._normal(_combine(bx, 1.0, weighed, 1.0))
        z = _rows(lambda w, a, b: w * (a - b), weight, self._held(v), bz)
        least, before = np.inf, (v, z)
        for _ in range(self._refinements):
            error = _combine(bx, 1.0, self._pulled(z), -1.0)
            size = max(float(np.abs(error.x * self._unit).max()), abs(error.level))
            if not size < least:
                return before
            least, before = size, (v, z)
            v = _combine(v, 1.0, self._normal(error), 1.0)
            z = _rows(lambda w, a, b: w * (a - b), weight, self._held(v), bz)
        return v, z


def _rows(function: Callable[..., FloatArray], *rows: _Rows) -> _Rows:
    """Apply a function of arrays row kind by row kind."""
    return _Rows(*(function(*parts) for parts in zip(*rows, strict=True)))


def _mix(p: float, a: _Rows, q: float, b: _Rows) -> _Rows:
    return _Rows(*(p * u + q * v for u, v in zip(a, b, strict=True)))


def _scaled(a: _Point, factor: float) -> _Point:
    return _Point(a.x * factor, a.level * factor)


def _combine(a: _Point, p: float, b: _Point, q: float) -> _Point:
    return _Point(p * a.x + q * b.x, p * a.level + q * b.level)


def _dot(a: _Rows, b: _Rows) -> float:
    return float(sum((p * q).sum() for p, q in zip(a, b, strict=True)))


def _dot_points(a: _Point, b: _Point) -> float:
    return float((a.x * b.x).sum()) + a.level * b.level


def _into_cone(rows: _Rows, unit: _Rows) -> _Rows:
    """Shift rows, in their units, until all are positive, by one more than it takes."""
    worst = max(float((-row / d).max(initial=-_STEP)) for row, d in zip(rows, unit, strict=True))
    return _rows(lambda row, d: row + (1 + worst) * d, rows, unit)


def _longest(
    s: _Rows,
    ds: _Rows,
    z: _Rows,
    dz: _Rows,
    tau: float,
    dtau: float,
    kappa: float,
    dkappa: float,
) -> float:
    """Return the longest step, at most 1, that keeps everything positive."""
    fall = max(-dtau / tau, -dkappa / kappa, 1.0)
    for at, step in ((s, ds), (z, dz)):
        for a, d in zip(at, step, strict=True):
            if a.size:
                fall = max(fall, float((-d / a).max()))
    return 1 / fall
