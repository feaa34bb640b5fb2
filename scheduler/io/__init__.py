"""Reads and writes topology, workload, trace and result files; the only place that parses.

Names are loaded on first use: pydantic and PyYAML are not imported for `fleetfit --help`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scheduler.io.atomic_files import canonical_json, write_json, write_text
    from scheduler.io.catalogue import accelerators, models
    from scheduler.io.data_files import DataFile, list_topologies, list_workloads
    from scheduler.io.json_text import read_json
    from scheduler.io.profiles import read_profile
    from scheduler.io.results import (
        read_run,
        read_schedule,
        run_from_json,
        run_to_json,
        schedule_from_json,
        schedule_to_json,
        write_run,
        write_schedule,
    )
    from scheduler.io.snapshots import read_snapshot, write_snapshot
    from scheduler.io.topology import load_cluster, parse_cluster
    from scheduler.io.traces import TRACE_FORMATS, load_trace
    from scheduler.io.workload import load_workload, parse_workload

_HOMES: Final = {
    "DataFile": "data_files",
    "TRACE_FORMATS": "traces",
    "accelerators": "catalogue",
    "canonical_json": "atomic_files",
    "list_topologies": "data_files",
    "list_workloads": "data_files",
    "load_cluster": "topology",
    "load_trace": "traces",
    "load_workload": "workload",
    "models": "catalogue",
    "parse_cluster": "topology",
    "parse_workload": "workload",
    "read_json": "json_text",
    "read_profile": "profiles",
    "read_run": "results",
    "read_schedule": "results",
    "read_snapshot": "snapshots",
    "run_from_json": "results",
    "run_to_json": "results",
    "schedule_from_json": "results",
    "schedule_to_json": "results",
    "write_json": "atomic_files",
    "write_run": "results",
    "write_schedule": "results",
    "write_snapshot": "snapshots",
    "write_text": "atomic_files",
}

__all__ = [
    "TRACE_FORMATS",
    "DataFile",
    "accelerators",
    "canonical_json",
    "list_topologies",
    "list_workloads",
    "load_cluster",
    "load_trace",
    "load_workload",
    "models",
    "parse_cluster",
    "parse_workload",
    "read_json",
    "read_profile",
    "read_run",
    "read_schedule",
    "read_snapshot",
    "run_from_json",
    "run_to_json",
    "schedule_from_json",
    "schedule_to_json",
    "write_json",
    "write_run",
    "write_schedule",
    "write_snapshot",
    "write_text",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"scheduler.io.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
