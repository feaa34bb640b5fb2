"""`fleetfit solve`: known jobs over the whole horizon, with a bound and how it was proved."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scheduler import __version__
from scheduler.commands.options import Inputs, load_problem
from scheduler.commands.printing import print_json, say
from scheduler.core.cluster import FailureModel
from scheduler.core.errors import Fault, FleetfitError, InputError, nearest_name
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Run
from scheduler.execute import fingerprint
from scheduler.policies.view import View
from scheduler.report import results_console
from scheduler.simulate import simulate
from scheduler.solver.offline import OBJECTIVES, OfflineAnswer, objective_value, solve_offline
from scheduler.solver.offline.model import Limits
from scheduler.verify import verify_run, verify_schedule

BASELINES: Final = ("fifo", "easy_backfill", "srtf", "optimizer")
"""What the search begins with; those that preempt only serve for comparison."""

MAX_TIME_S: Final = 86400.0
JOBS_NAMED: Final = 20

_UNITS: Final = {"energy": "J"}


@dataclass(frozen=True, slots=True)
class Solving:
    """What to minimise and how, as written on the command line."""

    objective: str = "mean_jct"
    time_limit: str = "60 s"
    seed: int = 0
    free: bool = False
    path: Path | None = None
    json: bool = False


def solve(inputs: Inputs, solving: Solving) -> int:
    """Schedule known jobs, check the schedule and show it; return 1 if the verifier objects.

    Parameters
    ----------
    inputs, solving
        What was asked for.

    Raises
    ------
    InputError
        An unknown objective, no time limit, a workload with services.
    InfeasibleError
        Some job can never run; names it.
    """
    limits = _checked(solving)
    problem = load_problem(inputs)
    _refuse(problem, solving.objective)
    steady = _without_failures(problem)
    if steady is not problem:
        say("random failures are left out of an offline schedule")
    _name_rejected(problem)
    known = _known(steady)
    answer = solve_offline(
        steady, solving.objective, known=[(n, r.allocations) for n, r in known], limits=limits
    )
    faults = [v.message for v in verify_schedule(steady, answer.schedule)]
    run = _played(steady, answer)
    faults += _disagreements(steady, answer, run)
    for text in faults[:JOBS_NAMED]:
        say(text)
    if faults:
        return 1
    made_from = _object(problem, solving, answer, _others(steady, solving.objective, known))
    if solving.path is not None:
        _save(answer, run, problem, made_from, solving.path)
    if solving.json:
        print_json(made_from)
    else:
        console = results_console()
        for line in _lines(made_from):
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
    return 0


def _checked(solving: Solving) -> Limits:
    """Return the limits that the options ask for, or every fault among them."""
    from scheduler.io.quantities import POSITIVE, TIME, QuantityError, parse_quantity

    faults = []
    if solving.objective not in OBJECTIVES:
        near = nearest_name(solving.objective, OBJECTIVES)
        known = ", ".join(OBJECTIVES)
        faults.append(Fault("unknown name", "--objective", "", solving.objective, known, near))
    limit_s = 1.0
    try:
        limit_s = parse_quantity(solving.time_limit, TIME, POSITIVE)
        if limit_s > MAX_TIME_S:
            allowed = "at most 24 h"
            faults.append(Fault("too long", "--time-limit", "", solving.time_limit, allowed))
    except QuantityError as error:
        text = solving.time_limit
        faults.append(Fault(error.message, "--time-limit", "", text, error.allowed, error.nearest))
    if faults:
        raise InputError(faults)
    if solving.free:
        return Limits(limit_s, os.cpu_count() or 1, solving.seed, limit_s)
    return Limits(limit_s, 1, solving.seed)


def _refuse(problem: Problem, objective: str) -> None:
    """Refuse what an offline schedule cannot mean."""
    workload = problem.workload
    if workload.services:
        names = ", ".join(s.name for s in workload.services)
        message = f"has services ({names}), which an offline schedule of jobs does not plan"
        raise InputError([Fault(message, workload.name, allowed="jobs only; or 'fleetfit run'")])
    if objective == "tardiness":
        able = [bool(problem.modes[c]) for c in workload.jobs.class_index.tolist()]
        due_s = workload.jobs.deadline_s.tolist()
        if not any(a and not math.isnan(t) for t, a in zip(due_s, able, strict=True)):
            message = "tardiness needs jobs with a deadline, none has one"
            raise InputError([Fault(message, "--objective", value=objective)])


def _without_failures(problem: Problem) -> Problem:
    if problem.cluster.failures == FailureModel():
        return problem
    return replace(problem, cluster=replace(problem.cluster, failures=FailureModel()))


def _name_rejected(problem: Problem) -> None:
    """Say which jobs are left out since their class has no mode on this fleet."""
    columns = problem.workload.jobs
    by_class: dict[int, list[str]] = {}
    for job, c in enumerate(columns.class_index.tolist()):
        if not problem.modes[c]:
            by_class.setdefault(c, []).append(columns.ids[job])
    for c, ids in sorted(by_class.items()):
        name = problem.workload.classes[c].name
        why = sorted({r for key, r in problem.refusals.items() if key.startswith(f"{name}/")})
        shown = ", ".join(ids[:JOBS_NAMED]) + (", ..." if len(ids) > JOBS_NAMED else "")
        reason = "; ".join(why) or "no mode on this fleet"
        say(f"left out, can never run here: {shown} (class {name}: {reason})")


# --- what is known before the search ------------------------------------------------------


def _known(problem: Problem) -> list[tuple[str, Run]]:
    """Return the verified runs of the baselines in which every job that has a mode finished."""
    able = sum(bool(problem.modes[c]) for c in problem.workload.jobs.class_index.tolist())
    found = []
    for name in BASELINES if able else ():
        try:
            run = simulate(problem, name)
        except FleetfitError as error:
            say(f"{name} is left out: {error}")
            continue
        if len(run.finished_us) == able and not verify_run(problem, run):
            found.append((name, run))
    return found


def _others(
    problem: Problem, objective: str, known: Sequence[tuple[str, Run]]
) -> list[dict[str, Any]]:
    return [
        {
            "policy": name,
            "objective": objective_value(problem, objective, run.allocations),
            "preempts": len(run.allocations) > len(run.finished_us),
        }
        for name, run in known
    ]


# --- the schedule carried out -------------------------------------------------------------


class _AsPlanned:
    """Starts each job when and where a schedule has it."""

    def __init__(self, allocations: Sequence[Allocation]) -> None:
        self._left = deque(sorted(allocations, key=lambda a: (a.start_us, a.job)))

    def decide(self, view: View) -> None:
        """Start what is due."""
        while self._left and self._left[0].start_us <= view.now_us:
            due = self._left.popleft()
            view.start(due.job, due.mode, due.placement)
        if self._left:
            view.wake_at(self._left[0].start_us)


def _played(problem: Problem, answer: OfflineAnswer) -> Run:
    """Return the run of a schedule in the simulator, with its ledger."""
    run = simulate(problem, _AsPlanned(answer.schedule.allocations))
    return replace(run, policy=f"offline {answer.schedule.objective_name}")


def _disagreements(problem: Problem, answer: OfflineAnswer, run: Run) -> list[str]:
    """Return where the run of the schedule is not what the schedule says."""
    found = [v.message for v in verify_run(problem, run)]
    ends = {a.job: a.end_us for a in answer.schedule.allocations}
    if ends != dict(run.finished_us):
        found.append("carried out, the schedule ends otherwise than planned")
    value = objective_value(problem, answer.schedule.objective_name, run.allocations)
    if abs(value - answer.schedule.objective) > 1e-6 * max(1.0, abs(value)):
        found.append(f"carried out, the objective is {value!r}, {answer.schedule.objective!r} said")
    return found


# --- what is shown and saved --------------------------------------------------------------


def _object(
    problem: Problem, solving: Solving, answer: OfflineAnswer, others: list[dict[str, Any]]
) -> dict[str, Any]:
    schedule = answer.schedule
    return {
        "fleetfit": __version__,
        "topology": problem.cluster.name,
        "workload": problem.workload.name,
        "problem": fingerprint(problem),
        "jobs": len(problem.workload.jobs),
        "planned": len(schedule.allocations),
        "objective": schedule.objective_name,
        "unit": _UNITS.get(schedule.objective_name, "s"),
        "status": str(schedule.status),
        "value": schedule.objective,
        "bound": schedule.bound,
        "gap": answer.gap,
        "proof": answer.proof,
        "schedules": "non-preemptive",
        "general_bound": answer.general_bound,
        "seed": solving.seed,
        "mode": "free" if solving.free else "repeatable",
        "time_limit": solving.time_limit,
        "deterministic_time": answer.deterministic_time,
        "tick_s": answer.tick_s,
        "began_with": answer.first,
        "began_at": answer.first_objective if answer.first != "nothing" else None,
        "windows": answer.windows,
        "windows_improved": answer.improved,
        "policies": others,
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    unit = found["unit"]
    lines = [
        f"{found['planned']} of {found['jobs']} jobs on {found['topology']}, "
        f"least {found['objective']}: {found['status']}",
        f"objective {found['value']:.6g} {unit}, bound {found['bound']:.6g} {unit}, "
        f"gap {100 * found['gap']:.2f} % (each job once, in one mode; {found['proof']})",
        f"no schedule at all, preempting or not, is below {found['general_bound']:.6g} {unit}",
    ]
    if found["began_at"] is not None:
        lines.append(
            f"began with {found['began_with']} at {found['began_at']:.6g} {unit}; "
            f"{found['windows_improved']} of {found['windows']} windows of repair helped"
        )
    for row in found["policies"]:
        how = ", preempting" if row["preempts"] else ""
        lines.append(f"policy {row['policy']}{how}: {row['objective']:.6g} {unit}")
    how = "" if found["mode"] == "repeatable" else "; free mode: another call may answer otherwise"
    lines.append(f"deterministic time {found['deterministic_time']:.3f}, seed {found['seed']}{how}")
    return lines


def _save(
    answer: OfflineAnswer, run: Run, problem: Problem, made_from: dict[str, Any], path: Path
) -> None:
    """Write the schedule with its proof, and the run that carries it out, as one run file."""
    from scheduler.io import run_to_json, schedule_to_json, write_json

    inputs = {k: made_from[k] for k in ("fleetfit", "topology", "workload", "problem", "jobs")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made: {error.strerror}"
        raise InputError([Fault(message, "--output", value=str(path.parent))]) from None
    document = run_to_json(run) | {"inputs": inputs | {"noise_sigma": 0.0}}
    write_json(path, document | {"schedule": schedule_to_json(answer.schedule), "solve": made_from})
    say(f"saved the schedule in {path}")
