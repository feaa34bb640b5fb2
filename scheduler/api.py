"""The functions behind `import scheduler`: load, simulate, verify, compare.

Each composes rooms and adds nothing of its own; the command line calls the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Run, Schedule, Violation

if TYPE_CHECKING:
    from scheduler.core.workload import Workload
    from scheduler.execute import Bounding, Executor, Progress
    from scheduler.policies import Information
    from scheduler.report import Summary
    from scheduler.simulate import Account


def load(
    topology: str | Path,
    workload: str | Path,
    *,
    offered_load: float | None = None,
    format: str | None = None,
    select: Mapping[str, str] | None = None,
    since: str | None = None,
    until: str | None = None,
    profile: str | None = None,
    reference: str | None = None,
    told: Callable[[str], None] | None = None,
) -> Problem:
    """Read a topology and a workload and derive what the one can do for the other.

    Parameters
    ----------
    topology, workload : str or Path
        Files, or names of shipped ones (``fleetfit list topologies``).
    offered_load : float or None
        Stretch or squeeze arrivals until the jobs ask for this share of the fleet.
    format, select, since, until, profile
        How to read a workload that is a table or trace of jobs, see
        `scheduler.io.load_workload`.
    reference : str or None
        Accelerator type that recorded run times without a type of their own hold on; None:
        they are taken to hold on every type.
    told : callable or None
        Is given a line about each service that was divided by the length of its requests.

    Returns
    -------
    Problem
        Ready for `simulate` and `compare`.

    Raises
    ------
    InputError
        With every fault of both files.

    Examples
    --------
    >>> problem = load("demo-mixed", "demo-day")  # doctest: +SKIP
    """
    from scheduler.io import load_cluster, load_workload
    from scheduler.physics.load import scaled_to_load
    from scheduler.physics.problem import build_problem

    faults: list[Fault] = []
    cluster = jobs = None
    try:
        cluster = load_cluster(topology)
    except InputError as error:
        faults += error.faults
    try:
        jobs = load_workload(
            workload, format=format, select=select, since=since, until=until, profile=profile
        )
    except InputError as error:
        faults += error.faults
    if cluster is None or jobs is None:
        raise InputError(faults)
    if reference is not None:
        jobs = _recorded_on(jobs, reference)
    problem = build_problem(cluster, jobs)
    if any(service.lengths for service in jobs.services):
        from scheduler.solver.length_split import divided

        problem = divided(problem, partial(build_problem, cluster), told)
    if faults := _impossible(problem, workload):
        raise InputError(faults)
    return problem if offered_load is None else scaled_to_load(problem, offered_load)


def _recorded_on(workload: Workload, reference: str) -> Workload:
    """Return the workload with a reference type for the run times that name none."""
    from scheduler.core.workload import RunTimePhysics
    from scheduler.io.catalogue import find_accelerator

    unsaid, said = RunTimePhysics(), RunTimePhysics(find_accelerator(reference).name)
    classes = (replace(c, physics=said) if c.physics == unsaid else c for c in workload.classes)
    return replace(workload, classes=tuple(classes))


def _impossible(problem: Problem, workload: str | Path) -> list[Fault]:
    """Return a fault for each class, written by hand, whose gangs exceed the whole fleet.

    In a trace or a generated workload such jobs are rejected one by one instead: they were
    right for the fleet they come from. But if no job at all can run, that is a fault too.
    """
    fleet = problem.cluster.accelerator_count
    too_large = {c.name: min(c.gang) for c in problem.workload.classes if min(c.gang) > fleet}
    lines = _class_lines(workload) if too_large else {}
    faults = [
        Fault(
            "the gang is larger than the cluster",
            str(workload),
            f"classes[{position}].gang",
            str(too_large[name]),
            f"at most {fleet} ({problem.cluster.name})",
            line=line,
        )
        for name, (position, line) in lines.items()
        if name in too_large
    ]
    used = set(problem.workload.jobs.class_index.tolist())
    if not faults and used and not any(problem.modes[c] for c in used):
        reasons = sorted(set(problem.refusals.values()))
        message = f"none of its {len(problem.workload.jobs)} jobs can run on {problem.cluster.name}"
        faults = [Fault(f"{message} ({'; '.join(reasons[:5])})", str(workload))]
    return faults


def _class_lines(workload: str | Path) -> dict[str, tuple[int, int]]:
    """Return position and line of each class that a workload file spells out."""
    from scheduler.io.data_files import resolve
    from scheduler.io.yaml_text import read_yaml

    path = resolve(workload, "workload")
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {}
    document = read_yaml(path)
    return {
        entry["name"]: (i, document.line(("classes", i, "gang")))
        for i, entry in enumerate(document.data.get("classes") or [])
    }


def simulate(
    problem: Problem,
    policy: str,
    *,
    seed: int = 0,
    information: Information = "exact",
    noise_sigma: float = 0.0,
    horizon_s: float | None = None,
    account: Account = "run",
) -> Run:
    """Play one replay of a policy, see `scheduler.simulate.simulate`.

    Returns
    -------
    Run
        What happened, with its ledger.
    """
    from scheduler.simulate import simulate as play

    return play(
        problem,
        policy,
        seed=seed,
        information=information,
        noise_sigma=noise_sigma,
        horizon_s=horizon_s,
        account=account,
    )


def verify(problem: Problem, answer: Run | Schedule) -> list[Violation]:
    """Check a run or a schedule against the definitions, by code of its own.

    Returns
    -------
    list of Violation
        Empty if every rule holds.
    """
    from scheduler.verify import verify_run, verify_schedule

    if isinstance(answer, Run):
        return verify_run(problem, answer)
    return verify_schedule(problem, answer)


def compare(
    problem: Problem,
    policies: Sequence[str],
    *,
    replays: int = 8,
    seed: int = 0,
    information: Information = "exact",
    noise_sigma: float = 0.1,
    horizon_s: float | None = None,
    account: Account = "run",
    executor: Executor = "local",
    address: str | None = None,
    progress: Progress | None = None,
    bound: Bounding = "auto",
) -> list[Summary]:
    """Replay several policies under the same seeds and draw each one's replays together.

    Parameters
    ----------
    problem : Problem
        What to play.
    policies : sequence of str
        Policy names; the first is what the others are set against.
    replays, seed : int
        Seeds ``seed .. seed + replays - 1``; each gives every policy the same noise.
    information, noise_sigma, horizon_s, account
        See `simulate`.
    executor : {"local", "processes", "ray"}
        Where the replays run; the result is the same. ``processes`` and ``ray`` need the
        usual ``if __name__ == "__main__":`` around the calling script.
    address : str or None
        A Ray cluster to join.
    progress : callable or None
        Called as ``progress(done, total, result)``.
    bound : {"auto", "plan", "quick", "none"}
        Which lower bound stands beside the figures: by prices over time, by area, or by the
        former where the problem is small.

    Returns
    -------
    list of Summary
        By policy, in the order given.
    """
    from scheduler.execute import replay
    from scheduler.report import summarise

    results = replay(
        problem,
        policies,
        range(seed, seed + replays),
        executor=executor,
        address=address,
        information=information,
        noise_sigma=noise_sigma,
        horizon_s=horizon_s,
        account=account,
        progress=progress,
        bound=bound,
    )
    return summarise(results)
