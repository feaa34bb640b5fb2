"""`fleetfit validate` and `fleetfit verify`: inputs and saved runs, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from scheduler import api
from scheduler.commands.options import Inputs, Output, load_problem
from scheduler.commands.printing import print_json, say
from scheduler.core.errors import Fault, InputError
from scheduler.execute import fingerprint
from scheduler.report import plain

Kind = Literal["topology", "workload", "run", "sweep"]

_HEAD_BYTES: Final = 65536


def validate(files: Sequence[str], output: Output) -> int:
    """Read every file; report all faults of all of them together."""
    rows: list[dict[str, object]] = []
    faults: list[Fault] = []
    for file in files:
        try:
            rows.append(_read(file))
        except InputError as error:
            faults += error.faults
    if output.json:
        print_json({"valid": rows, "faults": [asdict(f) for f in faults]})
    else:
        for row in rows:
            counts = ", ".join(f"{v} {k}" for k, v in row.items() if k not in ("file", "kind"))
            print(plain(f"ok: {row['file']}: {row['kind']}, {counts}", limit=1000))
    if faults:
        raise InputError(faults)
    return 0


def _read(file: str) -> dict[str, object]:
    """Read a file of any kind and return what it holds, in numbers."""
    from scheduler.io import load_cluster, load_workload, read_run

    row: dict[str, object] = {"file": file, "kind": _kind(file)}
    if row["kind"] == "topology":
        cluster = load_cluster(file)
        return row | {"nodes": len(cluster.nodes), "accelerators": cluster.accelerator_count}
    if row["kind"] == "run":
        run = read_run(file)
        return row | {"allocations": len(run.allocations), "finished": len(run.finished_us)}
    if row["kind"] == "sweep":
        return row | _counts_of_sweep(file)
    workload = load_workload(file)
    return row | {"jobs": len(workload.jobs), "services": len(workload.services)}


def _counts_of_sweep(file: str) -> dict[str, object]:
    from scheduler.commands.sweeping import read_sweep

    sweep = read_sweep(Path(file))
    parts = ("clusters", "workloads", "policies", "seeds", "scenarios")
    return {part: len(getattr(sweep, part)) for part in parts}


def _kind(file: str) -> Kind:
    """Return what a file claims to be, or looks like where it claims nothing."""
    from scheduler.io import list_topologies

    try:
        with Path(file).open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):  # perhaps the name of a shipped file
        return "topology" if file in {f.name for f in list_topologies()} else "workload"
    if re.search(r'"schema":\s*"run/', head):
        return "run"
    if re.search(r"^schema:\s*sweep/", head, re.MULTILINE):
        return "sweep"
    if re.search(r"^schema:\s*workload/", head, re.MULTILINE):
        return "workload"
    return (
        "topology" if re.search(r"^(schema:\s*topology/|pods:|sites:)", head, re.M) else "workload"
    )


def verify(inputs: Inputs, runs: Sequence[Path], output: Output) -> int:
    """Check saved runs; return 1 if any breaks a rule."""
    from scheduler.io import read_json, run_from_json

    faults: list[Fault] = []
    loaded = []
    for path in runs:
        try:
            data = read_json(path)
            loaded.append((path, data, run_from_json(data, str(path))))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    problem = load_problem(inputs)
    found: list[dict[str, object]] = []
    for path, data, run in loaded:
        made_from = data.get("inputs") if isinstance(data, dict) else None
        known = made_from.get("problem") if isinstance(made_from, dict) else None
        if known not in (None, fingerprint(problem)):
            say(f"{path} was made from other inputs than these")
        found += [
            {"run": str(path), "code": v.code, "message": v.message}
            | {"job": v.job, "node": v.node, "at_s": v.at_s}
            for v in api.verify(problem, run)
        ]
    if output.json:
        print_json({"runs": len(loaded), "violations": found})
    elif found:
        for row in found:
            print(plain(f"{row['run']}: {row['code']}: {row['message']}", limit=1000))
    else:
        print(f"{len(loaded)} verified: no violations, ledgers balance")
    return 1 if found else 0
