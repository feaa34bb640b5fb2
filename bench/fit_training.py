"""Fit the constants of the training-rate formula again and cross-validate them.

Usage: python bench/fit_training.py RUNS.csv [--folds 5] [--repeats 3] [--seed 0]

RUNS.csv is a table of published training runs (see `scheduler.io.published_runs`). Prints
the shipped constants beside those fitted to the whole table, and relative errors four ways:
shipped, fitted, k-fold cross-validated and with one whole source left out at a time. Rows of
low confidence enter neither fits nor errors.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.io.published_runs import read_published_runs
from scheduler.physics.parallelism import FloatArray
from scheduler.physics.run_description import is_moe
from scheduler.physics.training_constants import GOODPUT, SHIPPED, TrainingConstants
from scheduler.physics.training_fit import (
    GOODPUT_NAMES,
    counted_options,
    fit,
    folds_of,
    held_out_errors,
    pack,
    relative_errors,
    sources_of,
)


def show(name: str, errors: FloatArray, dense: NDArray[np.bool_]) -> None:
    """Print one line of errors."""
    parts = [f"{name:<24}"]
    for label, values in (
        ("all", errors),
        ("dense", errors[..., dense]),
        ("moe", errors[..., ~dense]),
    ):
        median, p90 = np.quantile(values, (0.5, 0.9))
        parts.append(f"{label} {median:.3f} / {p90:.3f}")
    print("   ".join(parts))


def main() -> None:
    """Fit, cross-validate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    options = counted_options(read_published_runs(arguments.runs).runs)
    dense = np.array([not is_moe(o.run) for o in options])
    sources = sources_of(options)
    shipped = pack(SHIPPED, [GOODPUT[name] for name in GOODPUT_NAMES])
    fitted = fit(options)
    print(f"{len(options)} runs of {len(np.unique(sources))} sources")
    names = [f.name for f in fields(TrainingConstants)] + list(GOODPUT_NAMES)
    for name, old, found in zip(names, np.exp(shipped), np.exp(fitted), strict=True):
        print(f"{name:<26}shipped {old:<10.4g} fitted {found:.4g}")
    print("relative errors, median / 90th percentile")
    show("shipped", relative_errors(shipped, options), dense)
    show("fitted", relative_errors(fitted, options), dense)
    rng = np.random.default_rng(arguments.seed)
    cross = [
        held_out_errors(options, folds_of(options, arguments.folds, rng))
        for _ in range(arguments.repeats)
    ]
    show(f"{arguments.folds}-fold", np.array(cross), dense)
    show("one source left out", held_out_errors(options, sources), dense)


if __name__ == "__main__":
    main()
