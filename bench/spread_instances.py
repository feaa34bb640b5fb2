"""Made instances of Helix's problem: unlike machines, regions, odd and missing links."""

from __future__ import annotations

import numpy as np

from scheduler.core.random import stream
from scheduler.core.spread import SpreadInstance

KINDS = {
    "A100": (12, 24_000.0),
    "V100": (5, 11_000.0),
    "L4": (7, 7_600.0),
    "L4x2": (14, 13_500.0),
    "T4": (4, 5_700.0),
    "T4x2": (9, 10_200.0),
    "T4x4": (19, 18_000.0),
}
"""Most layers held, and tokens/s with one layer."""

PAIR_TOKENS_PER_S = 61_035.0
"""What 10 Gbit/s carry at 8192 half-precision activations and the peer's pipeline share."""


def made_instance(
    seed: int,
    *,
    machines: int = 42,
    kinds: int = 7,
    layers: int = 80,
    regions: int = 1,
    thin: float = 760.0,
    spread: float = 0.2,
    degree: int | None = None,
    keep: int | None = None,
) -> SpreadInstance:
    """Return an instance of unlike machines.

    Parameters
    ----------
    seed : int
        Of the draws.
    machines, kinds, layers : int
        Machines, of how many kinds, and layers of the model.
    regions : int
        Regions of about equal size.
    thin : float
        Tokens/s of a link between regions, on average.
    spread : float
        Relative half-width of every link's rate.
    degree : int or None
        Machines that each machine can send to (None: all).
    keep : int or None
        Prune as the peer does: each machine, the source and the sink keep so many of their widest
        links, and a link stays where either end keeps it. With links of equal width the machines
        of low number are kept by all, and most others have links to them only.
    """
    rng = stream(seed, "spread-instance")
    names = list(KINDS)[:kinds] if kinds < len(KINDS) else list(KINDS)
    kind = [names[i % len(names)] for i in range(machines)]
    tables = {name: _table(*KINDS[name], rng) for name in names}
    order = rng.permutation(machines)
    kind = [kind[i] for i in order.tolist()]
    region = np.arange(machines) * regions // machines
    near = region[:, None] == region[None, :]
    width = 1 + spread * rng.uniform(-1, 1, (machines, machines))
    links = np.where(near, PAIR_TOKENS_PER_S, thin) * width
    np.fill_diagonal(links, 0.0)
    if degree is not None:
        for i in range(machines):
            drop = rng.permutation(machines)[degree:]
            links[i, drop] = 0.0
    ends = np.full(machines, 5e8)
    if keep is not None:
        links = _pruned(links, keep)
        ends[keep:] = 0.0
    return SpreadInstance(
        f"made-{machines}x{kinds}-r{regions}-s{seed}",
        layers,
        tuple(str(i) for i in range(machines)),
        tuple(kind),
        tuple(tables[k] for k in kind),
        ends,
        ends.copy(),
        links,
    )


def _pruned(links: np.ndarray, keep: int) -> np.ndarray:
    """Return links of which either end keeps them among its widest."""
    both = (links + links.T) / 2
    kept = np.zeros(links.shape, dtype=bool)
    for i, row in enumerate(both):
        kept[i, np.argsort(-row, kind="stable")[:keep]] = True
    return np.where(kept | kept.T, both, 0.0)


def _table(most: int, first: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Return rates that fall with the layers held, faster as memory for the cache runs out."""
    k = np.arange(1, most + 1)
    room = 1 - 0.5 * (k - 1) / most
    rates = first / k * room ** float(rng.uniform(0.6, 1.4))
    return tuple(float(x) for x in np.round(rates, 3))
