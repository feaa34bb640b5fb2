"""Tenants that differ: who submits which gang sizes, with the aggregate left as published."""

from __future__ import annotations

import numpy as np

from scheduler.core.workload import FloatArray, IntArray

# Job shares by gang bucket (1, 2, 3-4, 5-8, above). Philly's virtual clusters have between 0 %
# and 86 % multi-GPU jobs; these are three typical mixes of them.
_MIXES: dict[str, tuple[float, ...]] = {
    "sweeps": (0.98, 0.010, 0.007, 0.0025, 0.0005),
    "mixed": (0.80, 0.05, 0.08, 0.06, 0.01),
    "large": (0.15, 0.05, 0.10, 0.55, 0.15),
}
_BUCKET_ENDS = (1, 2, 4, 8)
_ROUNDS = 500


def tenant_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` tenants, busiest first: sweeps, then mixed, then large."""
    kinds = [_kind_of(i, count) for i in range(count)]
    return tuple(f"{kind}-{kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds))


def tenant_chances(gangs: IntArray, shares: FloatArray, count: int) -> FloatArray:
    """Return P(tenant | strand), so that tenants differ and the aggregate does not move.

    Tenant t submits sessions in proportion to 1 / (t + 1). Its mix is the typical mix of its
    kind, moved by iterative proportional fitting until all tenants together submit `shares`.
    Because the tenant is drawn given the strand, changing the number of tenants changes no
    other draw.

    Parameters
    ----------
    gangs : ndarray of int64, shape (strands,)
        Gang size of each strand.
    shares : ndarray of float64, shape (strands,)
        Share of the sessions of each strand; sums to 1.
    count : int
        Tenants.

    Returns
    -------
    ndarray of float64, shape (strands, count)
        Rows sum to 1.
    """
    bucket = np.searchsorted(_BUCKET_ENDS, gangs)
    weight = 1.0 / np.arange(1, count + 1)
    weight /= weight.sum()
    usual = np.maximum(np.bincount(bucket, shares, minlength=len(_BUCKET_ENDS) + 1), 1e-12)
    mix = np.array([_MIXES[_kind_of(t, count)] for t in range(count)])
    joint = (mix / usual)[:, bucket] * shares
    for _ in range(_ROUNDS):
        joint *= (weight / joint.sum(axis=1))[:, None]
        joint *= shares / np.maximum(joint.sum(axis=0), 1e-300)
    chances: FloatArray = (joint / joint.sum(axis=0)).T
    return chances


def draw_tenants(chances: FloatArray, strand: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the tenant of each session given its strand, shape (n,)."""
    edges = np.cumsum(chances, axis=1)[:, :-1]
    u = rng.random(len(strand))
    tenant = np.zeros(len(strand), dtype=np.int64)
    for s in range(len(chances)):
        mine = strand == s
        tenant[mine] = np.searchsorted(edges[s], u[mine], side="right")
    return tenant


def _kind_of(tenant: int, count: int) -> str:
    return tuple(_MIXES)[int(3 * (tenant + 0.5) / count)]
