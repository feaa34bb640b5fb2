"""Results of single replays as JSON (``schema: cell/1``) and back.

The text of a cell is a function of what was played: it holds no time of day, host or path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from scheduler.core.bounds import Bounds
from scheduler.core.ledger import Ledger
from scheduler.core.metrics import FIGURES, Metrics
from scheduler.core.run import Violation
from scheduler.core.tenant_use import TenantUse
from scheduler.io.atomic_files import canonical_json
from scheduler.io.json_text import parse_json
from scheduler.io.results import Reader, float_out, ledger_in, ledger_out

CELL_SCHEMA: Final = "cell/1"

_METRICS: Final = {f.name: f.type for f in fields(Metrics) if f.name in FIGURES}
_TENANT: Final = tuple(f.name for f in fields(TenantUse) if f.name != "tenant")
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
            "tenants": [t.tenant for t in record.metrics.tenants],
            "tenant_use": {
                name: [float_out(getattr(t, name)) for t in record.metrics.tenants]
                for name in _TENANT
            },
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
        "tenants": read.many("tenants", _is_text),
        "tenant_use": read.named_columns("tenant_use"),
        "bounds": _figures_in(read, "bounds", _BOUNDS),
        "violations": read.many("violations", _is_violation),
    }
    names, use = record.pop("tenants"), record.pop("tenant_use")
    if set(use) != set(_TENANT) or any(len(column) != len(names) for column in use.values()):
        read.one("tenant_use", lambda _: False, None)
        names = []
    read.finish()
    tenants = tuple(
        TenantUse(name, *(use[field][i] for field in _TENANT)) for i, name in enumerate(names)
    )
    return CellRecord(
        **record
        | {
            "metrics": Metrics(**record["metrics"], tenants=tenants),
            "bounds": Bounds(**record["bounds"]),
            "violations": tuple(Violation(**v) for v in record["violations"]),
        }
    )


def _figures_out(figures: Metrics | Bounds) -> dict[str, Any]:
    named = {f.name: getattr(figures, f.name) for f in fields(figures) if f.name != "tenants"}
    return {k: v if isinstance(v, (int, str)) else float_out(v) for k, v in named.items()}


def _figures_in(read: Reader, part: str, types: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: read.one(f"{part}.{name}", _is_whole, 0)
        if kind in (int, "int")
        else read.one(f"{part}.{name}", _is_text, "")
        if kind in (str, "str")
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
