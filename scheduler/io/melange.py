"""Provisioning cases after Melange (Griggs et al., 2024): buckets of request lengths.

One JSON object: ``in_edges`` and ``out_edges`` (upper edges of the buckets, only their number
counts), ``gpu_info_by_slo`` (objective to type to ``cost`` in USD/h and ``tputs``, requests/s by
input and output bucket, and optionally ``supply``), ``workload_distribution`` (name to shares by
input and output bucket) and ``cases`` (``name``, ``workload``, ``slo``, ``total_request_rate``
in requests/s, ``slice_factor``). A rate of 0 says that a type cannot serve a bucket.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from scheduler.core.errors import FAULT_CAP, Fault, InputError, nearest_name
from scheduler.core.provisioning import Offer, ProvisioningCase
from scheduler.core.workload import FloatArray
from scheduler.io.json_text import read_json

_SLICES_CAP: Final = 1000
_BUCKETS_CAP: Final = 10_000


def read_melange(path: Path) -> tuple[ProvisioningCase, ...]:
    """Return the cases of the file at `path`, each of one step of one hour.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    return _Reader(str(path), read_json(path)).cases()


class _Reader:
    """Reads one file, noting faults."""

    def __init__(self, file: str, raw: Any) -> None:
        self.file = file
        self.raw = raw
        self.faults: list[Fault] = []

    def cases(self) -> tuple[ProvisioningCase, ...]:
        """Return the checked cases."""
        raw = self.raw
        if not isinstance(raw, dict):
            self._fail("", "not an object", allowed="in_edges, out_edges, cases, ...")
            raise InputError(self.faults)
        tables = {
            slo: self._offers(f"gpu_info_by_slo.{slo}", types)
            for slo, types in self._mapping("gpu_info_by_slo").items()
        }
        mixes = {
            name: self._matrix(f"workload_distribution.{name}", rows)
            for name, rows in self._mapping("workload_distribution").items()
        }
        listed = raw.get("cases")
        if not isinstance(listed, list) or not listed:
            self._fail("cases", "no cases", allowed="a list of at least one case")
            listed = []
        made = [self._case(i, case, tables, mixes) for i, case in enumerate(listed)]
        if self.faults:
            raise InputError(self.faults[:FAULT_CAP])
        return tuple(case for case in made if case is not None)

    def _fail(self, path: str, message: str, value: object = "", allowed: str = "") -> None:
        text = value if isinstance(value, str) else repr(value)
        self.faults.append(Fault(message, self.file, path, text, allowed))

    def _mapping(self, name: str) -> dict[str, Any]:
        found = self.raw.get(name)
        if isinstance(found, dict) and found:
            return found
        self._fail(name, "missing or not an object", allowed="names with their values")
        return {}

    def _shape(self) -> tuple[int, int] | None:
        edges = [self.raw.get(name) for name in ("in_edges", "out_edges")]
        for name, found in zip(("in_edges", "out_edges"), edges, strict=True):
            if not isinstance(found, list) or not found:
                self._fail(name, "not a list of edges")
                return None
        shape = (len(edges[0] or ()), len(edges[1] or ()))
        if shape[0] * shape[1] > _BUCKETS_CAP:
            self._fail("in_edges", "too many buckets", shape, f"at most {_BUCKETS_CAP}")
            return None
        return shape

    def _number(self, path: str, value: object, least: float = 0.0) -> float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if good and math.isfinite(value) and value >= least:  # type: ignore[arg-type,operator]
            return float(value)  # type: ignore[arg-type]
        self._fail(path, "not a number in range", value, f"a number of at least {least:g}")
        return math.nan

    def _matrix(self, path: str, rows: object) -> FloatArray | None:
        shape = self._shape()
        if shape is None:
            return None
        good = isinstance(rows, list) and len(rows) == shape[0]
        good = good and all(isinstance(r, list) and len(r) == shape[1] for r in rows)  # type: ignore[attr-defined]
        if not good:
            self._fail(path, "wrong shape", "", f"{shape[0]} rows of {shape[1]} numbers")
            return None
        assert isinstance(rows, list)
        numbers = [
            self._number(f"{path}[{i}][{j}]", v)
            for i, row in enumerate(rows)
            for j, v in enumerate(row)
        ]
        return np.array(numbers)

    def _offers(self, path: str, types: object) -> tuple[Offer, ...]:
        if not isinstance(types, dict) or not types:
            self._fail(path, "not an object", allowed="machine types with cost and tputs")
            return ()
        offers = []
        for name, info in types.items():
            at = f"{path}.{name}"
            if not isinstance(info, dict):
                self._fail(at, "not an object", allowed="cost and tputs")
                continue
            price = self._number(f"{at}.cost", info.get("cost"))
            rates = self._matrix(f"{at}.tputs", info.get("tputs"))
            supply = info.get("supply")
            if supply is not None and (
                not isinstance(supply, int) or isinstance(supply, bool) or supply < 0
            ):
                self._fail(f"{at}.supply", "not a count", supply, "a whole number of at least 0")
            if rates is not None:
                offers.append(Offer(name, price, rates, supply))
        return tuple(offers)

    def _case(
        self,
        index: int,
        case: object,
        tables: dict[str, tuple[Offer, ...]],
        mixes: dict[str, FloatArray | None],
    ) -> ProvisioningCase | None:
        at = f"cases[{index}]"
        if not isinstance(case, dict):
            self._fail(at, "not an object", allowed="name, workload, slo, total_request_rate")
            return None
        for field, known in (("workload", mixes), ("slo", tables)):
            if case.get(field) not in known:
                value = str(case.get(field))
                near = nearest_name(value, known)
                allowed = ", ".join(known)
                fault = Fault("unknown name", self.file, f"{at}.{field}", value, allowed, near)
                self.faults.append(fault)
                return None
        rate = self._number(f"{at}.total_request_rate", case.get("total_request_rate"))
        slices = case.get("slice_factor", 1)
        if (
            not isinstance(slices, int)
            or isinstance(slices, bool)
            or not 1 <= slices <= _SLICES_CAP
        ):
            self._fail(f"{at}.slice_factor", "out of range", slices, f"from 1 to {_SLICES_CAP}")
            return None
        shares = mixes[case["workload"]]
        if shares is None or not math.isfinite(rate):
            return None
        name = str(case.get("name", f"case {index + 1}"))
        demand = (rate * shares)[None, :]
        return ProvisioningCase(name, demand, (1.0,), tables[case["slo"]], slices=slices)
