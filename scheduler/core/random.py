"""Named random streams: one more draw in one place never shifts the others."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, name: str, *more: int) -> np.random.Generator:
    """Return the generator of the stream `name` under `seed`.

    Parameters
    ----------
    seed : int
        Non-negative seed of the run.
    name : str
        Stream name, for example ``"noise"`` or ``"failures"``.
    *more : int
        Further coordinates, for example a replay number.

    Returns
    -------
    numpy.random.Generator
        Independent of every other (seed, name, more) by SeedSequence hashing.
    """
    tag = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng(np.random.SeedSequence([seed, tag, *more]))
