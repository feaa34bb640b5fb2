"""`fleetfit execute`: a run's allocations as real Ray tasks, idle time measured and compared."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from scheduler import __version__
from scheduler.commands.options import Inputs, load_problem
from scheduler.commands.pages import report_run
from scheduler.commands.printing import print_json, say
from scheduler.commands.reporting import prepare_page
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute import fingerprint
from scheduler.execute.schedules import Execution, execute_run
from scheduler.report import results_console
from scheduler.report.executions import execution_lines, execution_table
from scheduler.report.words import percent

EXECUTION_SCHEMA: Final = "execution/1"
USAGE: Final = "fleetfit execute TOPOLOGY WORKLOAD RUN"
MAX_SPEED: Final = 1e6
SHOWN_FAULTS: Final = 20


@dataclass(frozen=True, slots=True)
class Executing:
    """What to execute and how, as written on the command line."""

    words: Sequence[str]
    speed: str
    address: str | None
    log: Path | None
    json: bool
    report: Path | None = None


def execute(executing: Executing, inputs: Inputs) -> int:
    """Execute a saved run; return 1 if gangs were not whole or idle time is another.

    Parameters
    ----------
    executing : Executing
        What and how.
    inputs : Inputs
        How to read the workload; its names come from `executing`.
    """
    from scheduler.io import read_json, run_from_json

    speed = _speed(executing.speed)
    if executing.report is not None:
        prepare_page(executing.report, "--report")
    *names, file = executing.words
    if len(names) not in (0, 2):
        message = "takes a run, or a topology, a workload and a run"
        raise InputError([Fault(message, "execute", value=" ".join(executing.words))])
    data = read_json(Path(file))
    run = run_from_json(data, file)
    made_from = data.get("inputs") if isinstance(data, dict) else None
    problem = _problem(names, inputs, made_from if isinstance(made_from, dict) else {}, file)
    say(f"playing {run.ledger_end_us / 1e6 / speed:.0f} s on Ray, at {speed:g} times real time")
    found = execute_run(problem, run, speed=speed, address=executing.address)
    if executing.log is not None:
        _save(found, problem, executing.log)
    if executing.report is not None:
        words = ["fleetfit", "execute", *executing.words, "--speed", executing.speed]
        page, from_ = executing.report, made_from if isinstance(made_from, dict) else {}
        report_run(problem, run, from_, shlex.join(words), page, _facts(found))
    if executing.json:
        print_json(_object(problem, run, found))
    else:
        console = results_console()
        console.print(execution_table(found))
        for line in execution_lines(found):
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
    for fault in found.faults[:SHOWN_FAULTS]:
        say(fault)
    if found.leaked:
        say(f"{found.leaked} placement groups were left behind")
    return 0 if found.agrees else 1


def _speed(text: str) -> float:
    """Return the speed-up that ``1000x`` or ``1000`` stands for."""
    try:
        speed = float(text.strip().removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not 0 < speed <= MAX_SPEED:  # also where it is no number
        allowed = f"a number above 0, at most {MAX_SPEED:g}, such as 1000x"
        raise InputError([Fault("not a speed", "--speed", value=text, allowed=allowed)])
    return speed


def _problem(names: Sequence[str], inputs: Inputs, made_from: dict[str, Any], file: str) -> Problem:
    """Return the problem that the run was made from.

    Raises
    ------
    InputError
        The inputs are others than those of the run: its nodes would be other nodes.
    """
    where = None
    if not names:
        names = [str(made_from.get(part, "")) for part in ("topology", "workload")]
        if not all(names):
            message = "does not say what it was made from"
            raise InputError([Fault(message, file, allowed=USAGE)])
        where = Fault("says what it was made from, but not where that lies", file, allowed=USAGE)
    try:
        problem = load_problem(replace(inputs, topology=names[0], workload=names[1]))
    except InputError as error:
        raise InputError([*error.faults, where] if where else error.faults) from None
    if made_from.get("problem") not in (None, fingerprint(problem)):
        message = f"was made from other inputs than {names[0]} and {names[1]}"
        allowed = "its topology and workload, and the same --load, --select, ..."
        raise InputError([Fault(message, file, allowed=allowed)])
    return problem


def _object(problem: Problem, run: Run, found: Execution) -> dict[str, Any]:
    median_s, p99_s, worst_s = found.lateness_s
    return {
        "fleetfit": __version__,
        "topology": problem.cluster.name,
        "workload": problem.workload.name,
        "problem": fingerprint(problem),
        "policy": run.policy,
        "seed": run.seed,
        "speed": found.speed,
        "seconds": found.seconds,
        "agrees": found.agrees,
        "idle": [
            {
                "accelerator": row.name,
                "simulated": row.simulated,
                "raw": row.raw,
                "ray_latency": row.latency,
                "measured": row.measured,
                "points": row.points,
            }
            for row in found.idle
        ],
        "ray_latency": asdict(found.latency),
        "lateness_s": {"median": median_s, "p99": p99_s, "max": worst_s},
        "spread_s": found.spread_s,
        "gangs": found.gangs,
        "members": len(found.members),
        "handovers": found.handovers,
        "shorter_than_latency": found.short,
        "faults": list(found.faults),
        "leaked_placement_groups": found.leaked,
    }


def _facts(found: Execution) -> dict[str, str]:
    """Return what was measured, for the page of the run."""
    shares = {
        f"Idle when executed, {row.name}": f"{percent(row.measured)} measured, "
        f"{percent(row.simulated)} simulated"
        for row in found.idle
    }
    return shares | {"Executed on Ray": " ".join(execution_lines(found))}


def _save(found: Execution, problem: Problem, path: Path) -> None:
    """Write the workers' log."""
    from scheduler.io import write_json

    columns = ("gang", "node", "count", "start_s", "end_s", "process")
    log = {name: [getattr(m, name) for m in found.members] for name in columns}
    nodes = [node.id for node in problem.cluster.nodes]
    write_json(path, {"schema": EXECUTION_SCHEMA, "speed": found.speed, "nodes": nodes} | log)
    say(f"saved what the workers noted in {path}")
