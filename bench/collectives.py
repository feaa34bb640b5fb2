"""All-reduces measured on A100 servers against the formula, fabrics known by link figures only.

Measurements: github.com/microsoft/vidur, data/profiling/network (MIT), collective by size,
ranks and ranks per node; sizes of a mebibyte and more count. No constant is set per fabric:
line rates are those of data sheets, that of the network cards the plateau of send/recv
between the same servers.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.units import GB
from scheduler.core.workload import FloatArray
from scheduler.physics.collectives import USABLE_CEILING, all_reduce_call_s

MEASURED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "traces" / "network"
SOURCE: Final = "https://github.com/microsoft/vidur, data/profiling/network (MIT)"

NVLINK3: Final = 300 * GB
PCIE4: Final = 31.5 * GB
CARD: Final = 7.8 * GB / USABLE_CEILING
"""Of a network card, from the 7.8 GB/s that large send/recv reach between the same servers."""

MIB: Final = 2**20
STEP_S: Final = 1.3e-6
ETHERNET_STEP_S: Final = 17e-6


@dataclass(frozen=True, slots=True)
class Fabric:
    """One measured configuration.

    Parameters
    ----------
    file : str
        Beginning of the file's name.
    ranks, per_node : int
        In all, and in one server.
    inside, outside : float
        Line rate of one rank, bytes/s, in a server and between servers.
    steady : bool
        Whether neighbouring sizes run at one speed. Two configurations jump between two
        (6 and 12 GB/s) from size to size; no formula of the size can follow.
    """

    file: str
    ranks: int
    per_node: int
    inside: float
    outside: float = 0.0
    steady: bool = True

    @property
    def name(self) -> str:
        """Return file, ranks and servers."""
        return f"{self.file} {self.ranks} ranks on {self.ranks // self.per_node}"


FABRICS: Final = (
    Fabric("a100_dgx", 2, 2, NVLINK3),
    Fabric("a100_dgx", 4, 4, NVLINK3),
    Fabric("a100_dgx", 8, 8, NVLINK3),
    Fabric("a100_pairwise_nvlink", 2, 2, NVLINK3),
    Fabric("a100_pairwise_nvlink", 4, 4, PCIE4),
    Fabric("a100_dgx", 2, 1, NVLINK3, CARD),
    Fabric("a100_dgx", 8, 4, NVLINK3, CARD),
    Fabric("a100_dgx", 4, 2, NVLINK3, CARD, steady=False),
    Fabric("a100_dgx", 16, 8, NVLINK3, CARD / 2, steady=False),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument(
        "--measured", type=Path, default=MEASURED, metavar="DIR", help="the measured files"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare every configuration.

    Raises
    ------
    InputError
        Where files are missing.
    """
    paths = {f.file: arguments.measured / f"{f.file}_all_reduce.csv.gz" for f in FABRICS}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise InputError([Fault("no such file", str(p), allowed=SOURCE) for p in missing])
    tables = {name: _read(path) for name, path in paths.items()}
    errors = [relative_errors(fabric, tables[fabric.file]) for fabric in FABRICS]
    cases = [
        _case(fabric.name, e, fabric.steady) for fabric, e in zip(FABRICS, errors, strict=True)
    ]
    cases.append(_case("all", np.concatenate(errors), steady=True))
    return {"bench": "collectives", "cases": cases, "machine": machine_facts()}


def _case(name: str, errors: FloatArray, steady: bool) -> dict[str, Any]:
    median, p90 = (round(float(q), 4) for q in np.quantile(errors, (0.5, 0.9)))
    return {
        "case": name,
        "metric": "median relative error",
        "ours": median,
        "p90": p90,
        "calls": len(errors),
        "steady": steady,
    }


def _read(path: Path) -> FloatArray:
    """Return ranks, ranks per node, bytes and seconds of each call, shape (n, 4)."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [
            (
                float(row["num_workers"]),
                float(row["devices_per_node"]),
                float(row["size"]),
                float(row["ms_median"]) * 1e-3,
            )
            for row in csv.DictReader(lines)
        ]
    return np.array(rows)


def relative_errors(fabric: Fabric, calls: FloatArray) -> FloatArray:
    """Return |predicted / measured - 1| of the calls of a mebibyte and more."""
    ranks, per_node, size, seconds = calls.T
    chosen = (ranks == fabric.ranks) & (per_node == fabric.per_node) & (size >= MIB)
    predicted = [
        all_reduce_call_s(
            s,
            fabric.per_node,
            fabric.ranks // fabric.per_node,
            fabric.inside,
            STEP_S,
            fabric.outside,
            ETHERNET_STEP_S,
        )
        for s in size[chosen].tolist()
    ]
    errors: FloatArray = np.abs(np.array(predicted) / seconds[chosen] - 1)
    return errors


def table(result: dict[str, Any]) -> list[str]:
    """Return the result as lines for people."""
    lines = ["all-reduce of 1 MiB and more, time predicted against measured"]
    lines += [
        f"  {case['case']:<38}{case['calls']:>7} calls   median {100 * case['ours']:5.1f} %"
        f"   p90 {100 * case['p90']:5.1f} %{'' if case['steady'] else '   (two speeds)'}"
        for case in result["cases"]
    ]
    return lines
