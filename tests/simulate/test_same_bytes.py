"""Two processes with different hash seeds write the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from random_terms import RandomMover, random_terms

from scheduler.io.results import run_to_json
from scheduler.simulate import simulate


def digest() -> str:
    """Hash runs of many problems with every term, under several policies."""
    found = hashlib.sha256()
    for seed in range(30):
        rng = np.random.default_rng([seed, 21])
        problem = random_terms(rng)
        for policy in ("fifo", "easy_backfill", "best_fit", "srtf", RandomMover(rng)):
            run = simulate(problem, policy, seed=seed, noise_sigma=0.3, horizon_s=300.0)
            found.update(json.dumps(run_to_json(run), sort_keys=True).encode())
    return found.hexdigest()


def test_hash_seeds_do_not_matter() -> None:
    folders = [Path(__file__).parent, Path(__file__).parents[1] / "verify"]
    code = f"import sys; sys.path[:0] = {[str(f) for f in folders]!r}\n"
    code += "from test_same_bytes import digest; print(digest())"
    found = {digest()}
    for hash_seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
