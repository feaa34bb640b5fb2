"""`fleetfit solve`: known jobs over the whole horizon, with a bound and how it was proved."""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scheduler import __version__
from scheduler.commands.options import Inputs, load_problem
from scheduler.commands.pages import report_run
from scheduler.commands.printing import print_json, say
from scheduler.commands.recounting import recount
from scheduler.commands.reporting import prepare_page
from scheduler.core.cluster import FailureModel
from scheduler.core.errors import Fault, FleetfitError, InputError, nearest_name
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Run
from scheduler.execute import fingerprint
from scheduler.policies.view import View
from scheduler.report import results_console
from scheduler.simulate import simulate
from scheduler.solver.offline import OBJECTIVES, Aim, OfflineAnswer, objective_value, solve_offline
from scheduler.solver.offline.answers import Stage
from scheduler.solver.offline.model import Limits
from scheduler.verify import verify_run, verify_schedule

BASELINES: Final = ("fifo", "easy_backfill", "srtf", "optimizer")
"""What the search begins with."""

MAX_TIME_S: Final = 86400.0
JOBS_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Solving:
    """What to optimise and how, as written on the command line.

    Each objective is a name, or ``name:tolerance`` with the share by which later ones may worsen
    it, such as ``makespan:5%``.
    """

    objectives: tuple[str, ...] = ("mean_jct",)
    time_limit: str = "60 s"
    seed: int = 0
    free: bool = False
    path: Path | None = None
    json: bool = False
    preempt: bool = True
    meet_deadlines: bool = False
    report: Path | None = None


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
        Some job can never run, or constraints are in conflict; names them.
    """
    aims, limits = _checked(solving)
    if solving.report is not None:
        prepare_page(solving.report, "--report")
    problem = load_problem(inputs)
    _refuse(problem, aims, solving)
    steady = _without_failures(problem)
    if steady is not problem:
        say("random failures are left out of an offline schedule")
    _name_rejected(problem)
    known = _known(steady)
    answer = solve_offline(
        steady,
        aims,
        known=[(n, r.allocations) for n, r in known],
        limits=limits,
        preempt=solving.preempt,
        meet_deadlines=solving.meet_deadlines,
    )
    faults = [v.message for v in verify_schedule(steady, answer.schedule)]
    run = _played(steady, answer)
    faults += _disagreements(steady, answer, run)
    for text in faults[:JOBS_NAMED]:
        say(text)
    if faults:
        return 1
    made_from = _object(problem, solving, answer, _others(steady, aims[0].name, known))
    if solving.path is not None:
        _save(answer, run, problem, made_from, solving.path)
    if solving.report is not None:
        facts = {"Offline schedule": "; ".join(_lines(made_from))}
        report_run(steady, run, made_from, _command(inputs, solving), solving.report, facts)
    if solving.json:
        print_json(made_from)
    else:
        console = results_console()
        for line in _lines(made_from):
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
    return 0


def _command(inputs: Inputs, solving: Solving) -> str:
    """Return the command that gives the schedule again."""
    words = ["fleetfit", "solve", inputs.topology, inputs.workload]
    words += [word for name in solving.objectives for word in ("--objective", name)]
    words += ["--time-limit", solving.time_limit, "--seed", str(solving.seed)]
    words += [] if inputs.load is None else ["--load", f"{inputs.load:g}"]
    return shlex.join(words)


def _checked(solving: Solving) -> tuple[tuple[Aim, ...], Limits]:
    """Return the objectives and limits that the options ask for, or every fault among them."""
    from scheduler.io.quantities import POSITIVE, TIME, QuantityError, parse_quantity

    faults: list[Fault] = []
    aims = tuple(_aim(text, faults) for text in solving.objectives)
    named = [aim.name for aim in aims]
    faults += [
        Fault("named twice", "--objective", value=name)
        for i, name in enumerate(named)
        if name in named[:i] and name in OBJECTIVES
    ]
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
        return aims, Limits(limit_s, os.cpu_count() or 1, solving.seed, limit_s)
    return aims, Limits(limit_s, 1, solving.seed)


def _aim(text: str, faults: list[Fault]) -> Aim:
    """Read ``name`` or ``name:tolerance``; add what is wrong with it to the faults."""
    name, colon, rest = text.partition(":")
    if name not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        near = nearest_name(name, tuple(OBJECTIVES))
        faults.append(Fault("unknown name", "--objective", "", name, known, near))
    tolerance = 0.0
    if colon:
        percent = rest.endswith("%")
        try:
            tolerance = float(rest.removesuffix("%")) / (100.0 if percent else 1.0)
        except ValueError:
            tolerance = math.nan
        if not 0 <= tolerance < 1:
            allowed = "a share from 0 to below 1, such as 5% or 0.05"
            faults.append(Fault("no tolerance", "--objective", "", text, allowed))
    return Aim(name, tolerance)


def _refuse(problem: Problem, aims: Sequence[Aim], solving: Solving) -> None:
    """Refuse what an offline schedule cannot mean."""
    workload = problem.workload
    sizes = Counter(workload.jobs.array_index.tolist())
    if any(sizes[array] > most for array, most in enumerate(workload.jobs.array_most)):
        message = "has arrays of which only some may run at once, which is not planned offline"
        allowed = "no at_once; or 'fleetfit run', which keeps to it"
        raise InputError([Fault(message, workload.name, "jobs.at_once", allowed=allowed)])
    if workload.services:
        names = ", ".join(s.name for s in workload.services)
        message = f"has services ({names}), which an offline schedule of jobs does not plan"
        raise InputError([Fault(message, workload.name, allowed="jobs only; or 'fleetfit run'")])
    if problem.shares:
        message = "has jobs that share accelerators, which an offline schedule holds whole"
        allowed = "whole accelerators; or 'fleetfit run', which plays shares"
        raise InputError([Fault(message, workload.name, "classes.gang", allowed=allowed)])
    able = [bool(problem.modes[c]) for c in workload.jobs.class_index.tolist()]
    due_s = workload.jobs.deadline_s.tolist()
    if any(a and not math.isnan(t) for t, a in zip(due_s, able, strict=True)):
        return
    faults = []
    if any(aim.name == "tardiness" for aim in aims):
        message = "tardiness needs jobs with a deadline, none has one"
        faults.append(Fault(message, "--objective", value="tardiness"))
    if solving.meet_deadlines:
        message = "there are no deadlines to meet, no job has one"
        faults.append(Fault(message, "--meet-deadlines"))
    if faults:
        raise InputError(faults)


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
    """Starts and preempts each job when and where a schedule has it."""

    def __init__(self, allocations: Sequence[Allocation]) -> None:
        ordered = sorted(allocations, key=lambda a: (a.start_us, a.job))
        self._left = deque(ordered)
        last = {a.job: a for a in ordered}
        cuts = [(a.end_us, a.job) for a in ordered if a is not last[a.job]]
        self._cuts = deque(sorted(cuts))

    def decide(self, view: View) -> None:
        """Stop and start what is due."""
        while self._cuts and self._cuts[0][0] <= view.now_us:
            _, job = self._cuts.popleft()
            if job in view.running:
                view.stop(job)
        while self._left and self._left[0].start_us <= view.now_us:
            due = self._left.popleft()
            view.start(due.job, due.mode, due.placement)
        for at_us in (
            *([self._cuts[0][0]] if self._cuts else []),
            *([self._left[0].start_us] if self._left else []),
        ):
            view.wake_at(at_us)


def _played(problem: Problem, answer: OfflineAnswer) -> Run:
    """Return the run of a schedule in the simulator, with its ledger."""
    run = simulate(problem, _AsPlanned(answer.schedule.allocations))
    return replace(run, policy=f"offline {answer.schedule.objective_name}")


def _disagreements(problem: Problem, answer: OfflineAnswer, run: Run) -> list[str]:
    """Return where the run of the schedule is not what the schedule says."""
    found = [v.message for v in verify_run(problem, run)]
    ends: dict[int, int] = {}
    for a in answer.schedule.allocations:
        ends[a.job] = max(a.end_us, ends.get(a.job, 0))
    if ends != dict(run.finished_us):
        found.append("carried out, the schedule ends otherwise than planned")
    for stage in answer.stages:
        name, value = stage.aim.name, recount(problem, run, stage.aim.name)
        if abs(value - stage.value) > 1e-6 * max(1.0, abs(value)):
            found.append(f"carried out, {name} is {value!r}, {stage.value!r} said")
    return found


# --- what is shown and saved --------------------------------------------------------------


def _object(
    problem: Problem, solving: Solving, answer: OfflineAnswer, others: list[dict[str, Any]]
) -> dict[str, Any]:
    schedule = answer.schedule
    lead = _stage(answer.stages[0])
    jobs = len({a.job for a in schedule.allocations})
    return {
        "fleetfit": __version__,
        "topology": problem.cluster.name,
        "workload": problem.workload.name,
        "problem": fingerprint(problem),
        "jobs": len(problem.workload.jobs),
        "planned": jobs,
        **lead,
        "objectives": [_stage(stage) for stage in answer.stages],
        "schedules": "preemptive" if answer.preempts else "non-preemptive",
        "made_by": answer.made_by,
        "preemptions": len(schedule.allocations) - jobs,
        "meet_deadlines": solving.meet_deadlines,
        "seed": solving.seed,
        "mode": "free" if solving.free else "repeatable",
        "time_limit": solving.time_limit,
        "deterministic_time": answer.deterministic_time,
        "tick_s": answer.tick_s,
        "began_with": answer.first,
        "began_at": answer.first_objective if answer.first != "nothing" else None,
        "windows": answer.windows,
        "windows_improved": answer.improved,
        "gains": dict(answer.gains),
        "policies": others,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    objective = OBJECTIVES[stage.aim.name]
    return {
        "objective": objective.name,
        "goal": "max" if objective.maximised else "min",
        "unit": objective.unit,
        "tolerance": stage.aim.tolerance,
        "status": str(stage.status),
        "best": stage.best,
        "value": stage.value,
        "bound": stage.bound,
        "gap": stage.gap,
        "proof": stage.proof,
        "general_bound": stage.general_bound,
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    kind = "each job once, in one mode" if found["schedules"] == "non-preemptive" else "preempting"
    lines = [
        f"{found['planned']} of {found['jobs']} jobs on {found['topology']}, {kind}, "
        f"by {found['made_by']}"
    ]
    for row in found["objectives"]:
        unit = f" {row['unit']}" if row["unit"] else ""
        best, side = ("most", "above") if row["goal"] == "max" else ("least", "below")
        lines.append(
            f"{best} {row['objective']}: {row['value']:.6g}{unit}, bound {row['bound']:.6g}{unit}, "
            f"gap {100 * row['gap']:.2f} %, {row['status']} ({row['proof']})"
        )
        if row["value"] != row["best"]:
            lines.append(
                f"  alone it reached {row['best']:.6g}{unit}; "
                f"up to {100 * row['tolerance']:g} % was given up for the next"
            )
        text = f"no schedule at all, preempting or not, is {side} {row['general_bound']:.6g}{unit}"
        lines.append(f"  {text}")
    unit = f" {found['unit']}" if found["unit"] else ""
    if found["began_at"] is not None:
        lines.append(
            f"began with {found['began_with']} at {found['began_at']:.6g}{unit}; "
            f"{found['windows_improved']} of {found['windows']} steps of repair helped"
        )
    for row in found["policies"]:
        how = ", preempting" if row["preempts"] else ""
        lines.append(f"policy {row['policy']}{how}: {row['objective']:.6g}{unit}")
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
