"""`fleetfit run --save-at` and `--resume`: a run saved on the way, resumed, or forked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scheduler.commands.options import Choices, Replaying, seconds_of
from scheduler.commands.printing import say
from scheduler.commands.reporting import prepare_page
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.execute import ReplayResult
from scheduler.execute.cell import Cell, Settings, result_of
from scheduler.policies import make, own
from scheduler.report import duration
from scheduler.simulate import Engine
from scheduler.simulate.snapshot import THEN, differing


@dataclass(frozen=True, slots=True)
class Saving:
    """What to save on the way and what to go on with, as written on the command line."""

    at: str | None = None
    path: Path | None = None
    resume: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether any of it was written."""
        return (self.at, self.path, self.resume) != (None, None, None)


@dataclass(slots=True)
class Course:
    """One replay that is saved on its way, or that goes on from where it was saved.

    Parameters
    ----------
    policy : str
        Who decides from here on.
    replaying : Replaying
        How to play, the saved run's own where there is one.
    at_us : int or None
        When to save.
    path : Path or None
        Where to.
    source : Path or None
        File of the saved run.
    saved : mapping or None
        What it holds.

    Attributes
    ----------
    missed : bool
        Whether the run ended before it could be saved.
    """

    policy: str
    replaying: Replaying
    at_us: int | None = None
    path: Path | None = None
    source: Path | None = None
    saved: Mapping[str, Any] | None = None
    missed: bool = False

    @property
    def forks(self) -> bool:
        """Whether another policy takes over from the saved one."""
        return self.saved is not None and _latest(self.saved) != self.policy

    def play(
        self, problem: Problem, choices: Choices, made_from: Mapping[str, Any], *, keep_run: bool
    ) -> ReplayResult:
        """Play to the end; save on the way."""
        engine = self._engine(problem, choices)
        if self.at_us is not None and self.path is not None:
            self.missed = not engine.play(self.at_us)
            if self.missed:
                ended = duration(engine.clock.now_us / US_PER_S)
                say(f"the run ended after {ended}, before --save-at: nothing was saved")
            else:
                self._save(engine, made_from)
        run = engine.run()
        settings = Settings(
            choices.information,
            self.replaying.noise_sigma,
            choices.horizon_s,
            keep_run=keep_run,
            account=choices.account,
            bound=choices.bound,
        )
        return result_of(problem, Cell(run.policy, run.seed), settings, run)

    def _engine(self, problem: Problem, choices: Choices) -> Engine:
        policy = make(self.policy)
        if self.saved is None or self.source is None:
            return Engine(
                problem,
                policy,
                policy_name=self.policy,
                seed=self.replaying.seed,
                information=choices.information,
                noise_sigma=self.replaying.noise_sigma,
                horizon_s=choices.horizon_s,
                account=choices.account,
            )
        if others := differing(problem, self.saved["inputs"]):
            made_from = self.saved["made_from"]
            names = " and ".join(str(made_from.get(n, "?")) for n in ("topology", "workload"))
            message = f"the snapshot is of another problem, with other {', '.join(others)}"
            allowed = f"{names}, with the same --load, --select, ..."
            raise InputError([Fault(message, str(self.source), allowed=allowed)])
        try:
            engine = Engine.restore(
                problem, self.saved, policy, fork=self.forks, fork_name=self.policy
            )
        except InputError as error:
            raise InputError(replace(f, file=str(self.source)) for f in error.faults) from None
        say(f"goes on from {duration(self.saved['at_us'] / US_PER_S)}: {engine.policy_name}")
        return engine

    def _save(self, engine: Engine, made_from: Mapping[str, Any]) -> None:
        from scheduler.io import write_snapshot

        assert self.path is not None
        saved = engine.save()
        write_snapshot(saved, self.path, made_from)
        say(f"saved the run as it stood at {duration(saved['at_us'] / US_PER_S)} in {self.path}")


def course_of(saving: Saving, policy: str | None, usual: str, replaying: Replaying) -> Course:
    """Return what to play, all faults of the options in one pass.

    Parameters
    ----------
    saving : Saving
        What was written.
    policy : str or None
        Likewise.
    usual : str
        The policy where none is written and nothing is resumed.
    replaying : Replaying
        Likewise; with a saved run, only what it says may be repeated.
    """
    faults = _apart(saving, replaying)
    at_us = None
    if saving.at is not None:
        at_s, found = seconds_of(saving.at, "--save-at")
        at_us = None if at_s is None else us_from_s(at_s)
        faults += found
    if saving.path is not None:
        prepare_page(saving.path, "--snapshot")
    course = Course(policy or usual, replaying, at_us, saving.path)
    if saving.resume is not None:
        try:
            course = _resumed(course, saving.resume, policy, faults)
        except InputError as error:
            faults += error.faults
    ends = course.replaying.horizon
    if course.at_us is not None and ends is not None:
        ends_s, _ = seconds_of(ends, "--horizon")
        if ends_s is not None and course.at_us >= us_from_s(ends_s):
            faults.append(
                Fault("lies after the end", "--save-at", "", str(saving.at), f"before {ends}")
            )
    if faults:
        raise InputError(faults)
    return course


def _apart(saving: Saving, replaying: Replaying) -> list[Fault]:
    """Return faults of options that do not go together."""
    faults = []
    if (saving.at is None) != (saving.path is None):
        written, missing = ("--save-at", "--snapshot FILE")
        if saving.at is None:
            written, missing = ("--snapshot", "--save-at TIME")
        faults.append(Fault(f"goes with {missing}", written))
    option = "--save-at" if saving.resume is None else "--resume"
    if replaying.replays > 1:
        faults.append(Fault(f"{option} is for one replay", "--replays", "", str(replaying.replays)))
    if replaying.executor not in (None, "local"):
        message = f"{option} plays in this process"
        faults.append(Fault(message, "--executor", "", str(replaying.executor), "local"))
    if replaying.address is not None:
        faults.append(Fault(f"{option} plays in this process", "--address"))
    return faults


def _resumed(course: Course, source: Path, policy: str | None, faults: list[Fault]) -> Course:
    """Return the course with the saved run's own settings; note what contradicts them."""
    from scheduler.io import read_snapshot

    saved = read_snapshot(source)
    asked, said = course.replaying, saved["arguments"]
    if policy is None and own.in_file(_latest(saved)):
        message = "the saved run's policy is code in a file, which only the command line may name"
        faults.append(Fault(message, "--policy", allowed=_latest(saved)))
    if course.at_us is not None and course.at_us < saved["at_us"]:
        least, value = (f"{at_us / US_PER_S:g} s" for at_us in (saved["at_us"], course.at_us))
        faults.append(Fault("lies before the snapshot", "--save-at", "", value, f"from {least}"))
    horizon_s = said.get("horizon_s")
    asked_horizon_s = None
    if asked.horizon is not None:
        asked_horizon_s, found = seconds_of(asked.horizon, "--horizon")
        faults += found
    written: list[tuple[str, object, object, str]] = [  # option, value, if unwritten, saved as
        ("--seed", asked.seed, 0, "seed"),
        ("--noise", asked.noise, None, "noise_sigma"),
        ("--information", asked.information, "exact", "information"),
        ("--horizon", asked_horizon_s, None, "horizon_s"),
        ("--account", asked.account, "run", "account"),
    ]
    for option, value_of, usual, name in written:
        if value_of not in (usual, said.get(name)):
            message, allowed = "the saved run was played otherwise", str(said.get(name))
            faults.append(Fault(message, option, "", str(value_of), allowed))
    return replace(
        course,
        policy=policy or _latest(saved),
        replaying=replace(
            asked,
            seed=said.get("seed"),
            noise=said.get("noise_sigma"),
            information=said.get("information"),
            horizon=None if horizon_s is None else f"{horizon_s!r} s",
            account=said.get("account"),
        ),
        source=source,
        saved=saved,
    )


def _latest(saved: Mapping[str, Any]) -> str:
    """Return the policy that decided last in a saved run."""
    return str(saved["policy_name"]).rsplit(THEN, 1)[-1]
