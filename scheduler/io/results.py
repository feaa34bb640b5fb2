"""Runs and schedules as JSON (``schema: run/1``, ``schema: schedule/1``) and back.

Allocations are columns, so that a large run stays a small file and reads fast. Numbers that
JSON cannot hold (an infinite gap) are the words ``inf``, ``-inf`` and ``nan``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from scheduler.core.errors import Fault, InputError
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.run import (
    Allocation,
    Crash,
    Down,
    Placement,
    ReplicaAllocation,
    Run,
    Schedule,
    SharePlacement,
    Status,
)
from scheduler.io.atomic_files import write_json
from scheduler.io.json_text import read_json

RUN_SCHEMA: Final = "run/1"
SCHEDULE_SCHEMA: Final = "schedule/1"

_JOB_COLUMNS: Final = ("job", "mode", "start_us", "end_us", "overhead_us")
_WORK_COLUMNS: Final = ("work", "lost_work")
_REPLICA_COLUMNS: Final = ("service", "mode", "start_us", "end_us", "overhead_us")
_DOWN_COLUMNS: Final = ("node", "start_us", "end_us")
_SHARE_COLUMNS: Final = ("device", "share_milli", "memory_bytes")
_CRASH_COLUMNS: Final = ("job", "at_us", "node")
_CAUSES: Final = ("down", "accelerator", "drain")
_INT64: Final = 2**63


def write_run(run: Run, path: str | Path, inputs: Mapping[str, Any] | None = None) -> None:
    """Write `run` to the file at `path`, atomically.

    Parameters
    ----------
    run : Run
        What happened.
    path : str or Path
        Not a link.
    inputs : mapping, optional
        What the run was made from (names, hashes, version), kept under ``inputs``.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_json(path, run_to_json(run) | ({"inputs": dict(inputs)} if inputs else {}))


def read_run(path: str | Path) -> Run:
    """Return the run in the file at `path`.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    return run_from_json(read_json(Path(path)), str(path))


def write_schedule(schedule: Schedule, path: str | Path) -> None:
    """Write `schedule` to the file at `path`, atomically; see `write_run`."""
    write_json(path, schedule_to_json(schedule))


def read_schedule(path: str | Path) -> Schedule:
    """Return the schedule in the file at `path`; see `read_run`."""
    return schedule_from_json(read_json(Path(path)), str(path))


def run_to_json(run: Run) -> dict[str, Any]:
    """Return `run` as data for `canonical_json`."""
    return {
        "schema": RUN_SCHEMA,
        "policy": run.policy,
        "information": run.information,
        "seed": int(run.seed),
        "horizon_us": int(run.horizon_us),
        "ledger_end_us": int(run.ledger_end_us),
        "allocations": _allocations_out(run.allocations),
        "replicas": _columns_out(run.replicas, _REPLICA_COLUMNS) | _places_out(run.replicas),
        "downs": _columns_out(run.downs, (*_DOWN_COLUMNS, "count"))
        | {"cause": [d.cause for d in run.downs]},
        "actual_work": [float_out(w) for w in run.actual_work],
        "finished_us": [[int(j), int(t)] for j, t in sorted(run.finished_us.items())],
        "rejected": [[int(j), reason] for j, reason in sorted(run.rejected.items())],
        "running": [int(j) for j in run.running],
        "waiting": [int(j) for j in run.waiting],
        "ledger": ledger_out(run.ledger),
        "served": [float_out(v) for v in run.served],
        "demanded": [float_out(v) for v in run.demanded],
        "energy_j": float_out(run.energy_j),
        "cost_usd": float_out(run.cost_usd),
        "carbon_g": float_out(run.carbon_g),
        "events": int(run.events),
        "solver": {k: float_out(v) for k, v in run.solver.items()},
        "killed_us": [[int(j), int(t)] for j, t in sorted(run.killed_us.items())],
        "cancelled": [[int(j), reason] for j, reason in sorted(run.cancelled.items())],
        "crashes": _columns_out(run.crashes, _CRASH_COLUMNS),
        "rounds": {k: [float_out(v) for v in column] for k, column in run.rounds.items()},
        "given_up": [[int(j), reason] for j, reason in sorted(run.given_up.items())],
    }


def run_from_json(data: object, file: str = "<run>") -> Run:
    """Return the run that `run_to_json` turned into `data`.

    Raises
    ------
    InputError
        With every fault of `data`.
    """
    read = Reader(data, file, RUN_SCHEMA)
    finished = read.pairs("finished_us", _is_int)
    rejected = read.pairs("rejected", _is_text)
    run = {
        "policy": read.one("policy", _is_text, ""),
        "information": read.one("information", _is_text, ""),
        "seed": read.one("seed", _is_int, 0),
        "horizon_us": read.one("horizon_us", _is_int, 0),
        "ledger_end_us": read.one("ledger_end_us", _is_int, 0),
        "allocations": _allocations_in(read),
        "replicas": _replicas_in(read),
        "downs": _downs_in(read),
        "actual_work": read.numbers("actual_work"),
        "finished_us": dict(finished),
        "rejected": dict(rejected),
        "running": tuple(read.many("running", _is_int)),
        "waiting": tuple(read.many("waiting", _is_int)),
        "ledger": ledger_in(read),
        "served": read.numbers("served"),
        "demanded": read.numbers("demanded"),
        "energy_j": read.number("energy_j"),
        "cost_usd": read.number("cost_usd"),
        "carbon_g": read.number("carbon_g"),
        "events": read.one("events", _is_int, 0),
        "solver": read.named_numbers("solver"),
    }
    if "killed_us" in read.data:  # absent from files of before there were such jobs
        run["killed_us"] = dict(read.pairs("killed_us", _is_int))
        run["cancelled"] = dict(read.pairs("cancelled", _is_text))
        rows = read.columns("crashes", _CRASH_COLUMNS)
        run["crashes"] = tuple(Crash(job, at, node) for job, at, node in rows)
    if "given_up" in read.data:
        run["given_up"] = dict(read.pairs("given_up", _is_text))
    if "rounds" in read.data:
        run["rounds"] = read.named_columns("rounds")
    read.finish()
    return Run(**run)


def schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    """Return `schedule` as data for `canonical_json`."""
    return {
        "schema": SCHEDULE_SCHEMA,
        "allocations": _allocations_out(schedule.allocations),
        "objective_name": schedule.objective_name,
        "objective": float_out(schedule.objective),
        "bound": float_out(schedule.bound),
        "status": str(schedule.status),
    }


def schedule_from_json(data: object, file: str = "<schedule>") -> Schedule:
    """Return the schedule that `schedule_to_json` turned into `data`.

    Raises
    ------
    InputError
        With every fault of `data`.
    """
    read = Reader(data, file, SCHEDULE_SCHEMA)
    allocations = _allocations_in(read)
    name = read.one("objective_name", _is_text, "")
    objective, bound = read.number("objective"), read.number("bound")
    status = read.one("status", lambda v: v in list(Status), Status.FEASIBLE)
    read.finish()
    return Schedule(allocations, name, objective, bound, Status(status))


# --- out ----------------------------------------------------------------------------------


def float_out(value: float) -> float | str:
    """Return a number as JSON can hold it."""
    value = float(value)
    return value if math.isfinite(value) else repr(value)


def ledger_out(ledger: Ledger) -> dict[str, Any]:
    """Return `ledger` as data for `canonical_json`."""
    return {
        "causes": [c.label for c in Cause],
        "amount_us": ledger.amount_us.tolist(),
        "pool_types": list(ledger.pool_types),
        "pool_domains": list(ledger.pool_domains),
    }


def _columns_out(rows: Iterable[object], columns: Sequence[str]) -> dict[str, list[int]]:
    rows = list(rows)
    return {c: [int(getattr(row, c)) for row in rows] for c in columns}


def _places_out(rows: Iterable[Allocation | ReplicaAllocation]) -> dict[str, list[list[int]]]:
    places = [row.placement for row in rows]
    return {
        "nodes": [[int(n) for n in p.nodes] for p in places],
        "counts": [[int(c) for c in p.counts] for p in places],
    }


def _allocations_out(rows: Sequence[Allocation]) -> dict[str, Any]:
    work = {c: [float_out(getattr(row, c)) for row in rows] for c in _WORK_COLUMNS}
    return _columns_out(rows, _JOB_COLUMNS) | work | _places_out(rows) | _shares_out(rows)


def _shares_out(rows: Sequence[Allocation]) -> dict[str, list[int]]:
    """Return what holds shares of accelerators, by position; nothing where nothing does."""
    some = [(i, row.placement) for i, row in enumerate(rows) if row.placement.device >= 0]
    if not some:
        return {}
    columns = {c: [int(getattr(place, c)) for _, place in some] for c in _SHARE_COLUMNS}
    return {"sharer": [i for i, _ in some]} | columns


# --- in -----------------------------------------------------------------------------------


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_float(value: object) -> bool:
    if isinstance(value, str):
        return value in ("inf", "-inf", "nan")
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Reader:
    """Takes typed values out of parsed JSON, noting what is missing or of another type."""

    def __init__(self, data: object, file: str, schema: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}
        found = self.data.get("schema")
        if found != schema:
            value = "" if found is None else str(found)
            raise InputError([Fault("another kind of file", file, "schema", value, schema)])

    def one(self, path: str, good: Callable[[Any], bool], default: Any) -> Any:
        """Return the value at the dotted `path`, `default` after noting a fault."""
        value: Any = self.data
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            self._fault("missing field", path)
        elif not good(value):
            self._fault("not what is expected here", path, str(value)[:80])
        else:
            return value
        return default

    def many(self, path: str, good: Callable[[Any], bool]) -> list[Any]:
        """Return the list at `path`, an empty one after noting a fault."""
        found: list[Any] = self.one(path, lambda v: isinstance(v, list), [])
        for i, value in enumerate(found):
            if not good(value):
                self._fault("not what is expected here", f"{path}[{i}]", str(value)[:80])
                return []
        return found

    def number(self, path: str) -> float:
        """Return a number, infinities and NaN included."""
        return float(self.one(path, _is_float, 0.0))

    def numbers(self, path: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        return tuple([float(v) for v in self.many(path, _is_float)])

    def named_numbers(self, path: str) -> dict[str, float]:
        """Return a mapping of numbers."""

        def good(found: Any) -> bool:
            return isinstance(found, dict) and all(map(_is_float, found.values()))

        return {k: float(v) for k, v in self.one(path, good, {}).items()}

    def named_columns(self, path: str) -> dict[str, tuple[float, ...]]:
        """Return a mapping of equally long columns of numbers."""

        def good(found: Any) -> bool:
            if not isinstance(found, dict) or not all(isinstance(c, list) for c in found.values()):
                return False
            columns = list(found.values())
            same = len({len(c) for c in columns}) <= 1
            return same and all(_is_float(v) for c in columns for v in c)

        found = self.one(path, good, {})
        return {name: tuple(float(v) for v in column) for name, column in found.items()}

    def pairs(self, path: str, good: Callable[[Any], bool]) -> list[tuple[int, Any]]:
        """Return a list of [number, value]."""

        def pair(v: Any) -> bool:
            return isinstance(v, list) and len(v) == 2 and _is_int(v[0]) and good(v[1])

        return [(k, v) for k, v in self.many(path, pair)]

    def columns(self, group: str, names: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the rows of equally long columns of integers."""
        found = [self.many(f"{group}.{n}", _is_int) for n in names]
        return list(zip(*self._equal(group, names, found), strict=False))

    def places(self, group: str) -> list[Placement]:
        """Return the placements of a group."""

        def whole(v: Any) -> bool:
            return isinstance(v, list) and all(map(_is_int, v))

        nodes = self.many(f"{group}.nodes", whole)
        counts = self.many(f"{group}.counts", whole)
        self._equal(group, ("nodes", "counts"), [nodes, counts])
        return [Placement(tuple(n), tuple(c)) for n, c in zip(nodes, counts, strict=False)]

    def same_length(self, group: str, first: Sequence[object], *others: Sequence[object]) -> None:
        """Note a fault if the parts of a group differ in length."""
        if any(len(o) != len(first) for o in others):
            self._fault("columns of different length", group)

    def finish(self) -> None:
        """Raise what was noted, if anything."""
        if self.faults:
            raise InputError(self.faults)

    def _equal(self, group: str, names: Sequence[str], found: list[list[Any]]) -> list[list[Any]]:
        if len({len(column) for column in found}) > 1:
            lengths = ", ".join(f"{n}: {len(c)}" for n, c in zip(names, found, strict=True))
            self._fault("columns of different length", group, lengths)
            return [[] for _ in found]
        return found

    def _fault(self, message: str, path: str, value: str = "") -> None:
        self.faults.append(Fault(message, self.file, path, value))


def _allocations_in(read: Reader) -> tuple[Allocation, ...]:
    rows = read.columns("allocations", _JOB_COLUMNS)
    work = [read.numbers(f"allocations.{c}") for c in _WORK_COLUMNS]
    places = read.places("allocations")
    read.same_length("allocations", rows, places, *work)
    _share_out(read, places)
    return tuple(
        Allocation(job, mode, start, end, overhead, done, lost, place)
        for (job, mode, start, end, overhead), done, lost, place in zip(
            rows, *work, places, strict=False
        )
    )


def _share_out(read: Reader, places: list[Placement]) -> None:
    """Put what holds shares of accelerators in the place of what does not."""
    group = read.data.get("allocations")
    if not isinstance(group, dict) or "sharer" not in group:
        return  # all hold accelerators whole
    rows = read.columns("allocations", ("sharer", *_SHARE_COLUMNS))
    for at, device, share_milli, memory_bytes in rows:
        if 0 <= at < len(places) and device >= 0:
            place = places[at]
            places[at] = SharePlacement(
                place.nodes, place.counts, device, share_milli, memory_bytes
            )
        else:
            fault = Fault(
                "not a position of an allocation", read.file, "allocations.sharer", f"{at}"
            )
            read.faults.append(fault)


def _downs_in(read: Reader) -> tuple[Down, ...]:
    downs = read.data.get("downs")
    if not isinstance(downs, dict) or "count" not in downs:  # whole nodes only, as of old
        return tuple(Down(n, s, e) for n, s, e in read.columns("downs", _DOWN_COLUMNS))
    rows = read.columns("downs", (*_DOWN_COLUMNS, "count"))
    causes = read.many("downs.cause", lambda v: v in _CAUSES)
    read.same_length("downs", rows, causes)
    return tuple(
        Down(node, start, end, count, cause)
        for (node, start, end, count), cause in zip(rows, causes, strict=False)
    )


def _replicas_in(read: Reader) -> tuple[ReplicaAllocation, ...]:
    rows = read.columns("replicas", _REPLICA_COLUMNS)
    places = read.places("replicas")
    read.same_length("replicas", rows, places)
    return tuple(
        ReplicaAllocation(service, mode, start, end, overhead, place)
        for (service, mode, start, end, overhead), place in zip(rows, places, strict=False)
    )


def ledger_in(read: Reader) -> Ledger:
    """Return the ledger under ``ledger``, an empty one after noting a fault."""
    labels = [c.label for c in Cause]

    def is_row(v: Any) -> bool:
        return isinstance(v, list) and len(v) == len(labels) and all(map(_is_int, v))

    causes = read.many("ledger.causes", _is_text)
    if causes and causes != labels:
        known = ", ".join(labels)
        read.faults.append(Fault("other causes than ours", read.file, "ledger.causes", "", known))
    amount = read.many("ledger.amount_us", is_row)
    types = read.many("ledger.pool_types", _is_text)
    domains = read.many("ledger.pool_domains", _is_text)
    read.same_length("ledger", amount, types, domains)
    shaped = np.array(amount, dtype=np.int64).reshape(len(amount), len(labels))
    return Ledger(shaped, tuple(types), tuple(domains))
