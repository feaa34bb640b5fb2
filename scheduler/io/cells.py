"""Results of single replays as JSON (``schema: cell/1``) and back.

The text of a cell is a function of what was played: it holds no time of day, host or path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from scheduler.core.bounds import Bounds
from scheduler.core.ledger import Ledger
from scheduler.core.metrics import Metrics
from scheduler.core.run import Violation
from scheduler.io.atomic_files import canonical_json
from scheduler.io.json_text import parse_json
from scheduler.io.results import Reader, float_out, ledger_in, ledger_out

CELL_SCHEMA: Final = "cell/1"

_METRICS: Final = {f.name: f.type for f in fields(Metrics)}
_BOUNDS: Final = {f.name: f.type for f in fields(Bounds)}


@dataclass(frozen=True, slots=True)
class CellRecord:
    """What a cell's file holds.

    Parameters
    ----------
    key : str
        Hash of `inputs`; the name of the file.
    inputs : mapping of str to JSON values
        What was played: hash of the problem, policy, seed, settings, version.
    horizon_us, end_us : int
        End of the period that the ledger covers, and of the replay.
    metrics : Metrics
        Of the jobs and the fleet.
    ledger : Ledger
        Where every accelerator-second went.
    bounds : Bounds
        What no schedule of the finished jobs can better.
    violations : tuple of Violation
        Rules that were broken.
    """

    key: str
    inputs: Mapping[str, Any]
    horizon_us: int
    end_us: int
    metrics: Metrics
    ledger: Ledger
    bounds: Bounds
    violations: tuple[Violation, ...]


def cell_text(record: CellRecord) -> str:
    """Return the canonical text of a cell's file."""
    return canonical_json(
        {
            "schema": CELL_SCHEMA,
            "key": record.key,
            "inputs": dict(record.inputs),
            "horizon_us": record.horizon_us,
            "end_us": record.end_us,
            "metrics": _figures_out(record.metrics),
            "ledger": ledger_out(record.ledger),
            "bounds": _figures_out(record.bounds),
            "violations": [asdict(v) for v in record.violations],
        }
    )


def cell_from_text(text: str, file: str = "<cell>") -> CellRecord:
    """Return the record that `cell_text` wrote.

    Raises
    ------
    InputError
        With every fault of `text`.
    """
    read = Reader(parse_json(text, file), file, CELL_SCHEMA)
    record = {
        "key": read.one("key", _is_text, ""),
        "inputs": read.one("inputs", lambda v: isinstance(v, dict), {}),
        "horizon_us": read.one("horizon_us", _is_whole, 0),
        "end_us": read.one("end_us", _is_whole, 0),
        "metrics": _figures_in(read, "metrics", _METRICS),
        "ledger": ledger_in(read),
        "bounds": _figures_in(read, "bounds", _BOUNDS),
        "violations": read.many("violations", _is_violation),
    }
    read.finish()
    return CellRecord(
        **record
        | {
            "metrics": Metrics(**record["metrics"]),
            "bounds": Bounds(**record["bounds"]),
            "violations": tuple(Violation(**v) for v in record["violations"]),
        }
    )


def _figures_out(figures: Metrics | Bounds) -> dict[str, Any]:
    return {k: v if isinstance(v, int) else float_out(v) for k, v in asdict(figures).items()}


def _figures_in(read: Reader, part: str, types: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: read.one(f"{part}.{name}", _is_whole, 0)
        if kind in (int, "int")
        else read.number(f"{part}.{name}")
        for name, kind in types.items()
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_violation(value: object) -> bool:
    names = {f.name for f in fields(Violation)}
    return (
        isinstance(value, dict)
        and set(value) == names
        and isinstance(value["at_s"], (int, float))
        and all(isinstance(value[n], str) for n in names - {"at_s"})
    )
