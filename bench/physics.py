"""Predicted rates against published runs: training, inference, and with each source left out.

Tables have the columns of `fleetfit estimate --runs`. The error of a row is |predicted /
measured - 1|; rows marked of low confidence are predicted but not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.commands.estimating import read_and_predict
from scheduler.core.errors import Fault, InputError
from scheduler.io.published_runs import read_published_runs
from scheduler.physics.published_training import leave_one_source_out

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "reference"
FETCH: Final = "a table of published runs, columns as `fleetfit estimate --help` names them"
QUANTILES: Final = ("median_relative_error", "p90_relative_error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--training", type=Path, default=SHARED / "training-runs.csv")
    parser.add_argument("--inference", type=Path, default=SHARED / "inference-throughput.csv")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Predict every row."""
    for path in (arguments.training, arguments.inference):
        if not path.exists():
            raise InputError([Fault("no such file", str(path), allowed=FETCH)])
    cases: list[dict[str, Any]] = []
    for name, path in (("training", arguments.training), ("inference", arguments.inference)):
        start = time.perf_counter()
        report = read_and_predict(path).as_dict()
        cases += _cases(name, report, time.perf_counter() - start)
    start = time.perf_counter()
    left_out = leave_one_source_out(read_published_runs(arguments.training).runs).as_dict()
    cases += _cases("training, source left out", left_out, time.perf_counter() - start)
    return {"bench": "physics", "cases": cases, "machine": machine_facts()}


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    for case in result["cases"]:
        yield (
            f"{case['case']:<28}{case['metric']:<24}{case['ours']:>8.3f}"
            f"{case['rows']:>6} rows{case['seconds']:>7.1f} s"
        )


def _cases(name: str, errors: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
    return [
        {
            "case": name,
            "metric": quantile,
            "ours": errors[quantile],
            "peer": None,
            "peer_name": None,
            "ratio": None,
            "bound": None,
            "gap": None,
            "seconds": seconds,
            "peer_seconds": None,
            "information": "model, accelerator, gang, parallelism where stated",
            "violations": 0,
            "rows": errors["rows"],
        }
        for quantile in QUANTILES
    ]
