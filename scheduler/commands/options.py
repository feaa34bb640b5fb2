"""The options of the command line in checked form, all faults in one pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from scheduler import api
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.problem import Problem
from scheduler.core.sweep import Until
from scheduler.execute import BOUNDINGS, EXECUTORS, Bounding, Executor
from scheduler.policies import (
    INFORMATION_LEVELS,
    LEARNED,
    Information,
    known,
    names,
    nearest,
    own,
)
from scheduler.simulate import ACCOUNTS, Account

NOISE_SIGMA: Final = 0.1
"""Noise on run times where several replays are asked for and nothing is said."""


WATCHED: Final = "mean_jct_s"
"""Whose interval says when replays are enough."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which problem, as written on the command line."""

    topology: str
    workload: str
    load: float | None = None
    select: tuple[str, ...] = ()
    format: str | None = None
    since: str | None = None
    until: str | None = None
    profile: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Replaying:
    """How to play it, as written on the command line."""

    replays: int
    seed: int
    noise: float | None
    information: str
    horizon: str | None
    account: str
    executor: str | None
    address: str | None
    relative_width: float | None = None
    bound: str = "auto"

    @property
    def until(self) -> Until | None:
        """When to stop early."""
        return None if self.relative_width is None else Until(WATCHED, self.relative_width)

    @property
    def noise_sigma(self) -> float:
        """Noise asked for, or what suits the number of replays."""
        if self.noise is not None:
            return self.noise
        return NOISE_SIGMA if self.replays > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """What to show and to save."""

    json: bool
    plot: bool = False
    path: Path | None = None
    report: Path | None = None
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """The checked form of the options of `Replaying`."""

    policies: tuple[str, ...]
    information: Information
    horizon_s: float | None
    account: Account
    executor: Executor
    bound: Bounding


def checked(policies: Sequence[str], replaying: Replaying, output: Output, option: str) -> Choices:
    """Return the options in checked form, or every fault among them at once."""
    faults = [*_policy_faults(policies, option)]
    information = one_of(replaying.information, INFORMATION_LEVELS, "--information", faults)
    executor = one_of(
        replaying.executor or _executor(len(policies) * replaying.replays, replaying),
        EXECUTORS,
        "--executor",
        faults,
    )
    if replaying.address and executor != "ray":
        faults.append(Fault(f"goes with --executor ray, not {executor}", "--address"))
    account = one_of(replaying.account, ACCOUNTS, "--account", faults)
    bound = one_of(replaying.bound, BOUNDINGS, "--bound", faults)
    horizon_s = None
    if replaying.horizon is not None:
        horizon_s, fault = seconds_of(replaying.horizon, "--horizon")
        faults += fault
    several = len(policies) * replaying.replays > 1
    if several and output.path is not None and output.path.suffix == ".json":
        faults.append(Fault("several runs need a folder", "--output", value=str(output.path)))
    if faults:
        raise InputError(faults)
    return Choices(tuple(policies), information, horizon_s, account, executor, bound)


Name = TypeVar("Name", bound=str)


def one_of(name: str, known: Sequence[Name], option: str, faults: list[Fault]) -> Name:
    """Return the known name equal to `name`; else add a fault and return any."""
    for candidate in known:
        if candidate == name:
            return candidate
    faults.append(
        Fault("unknown name", option, "", name, ", ".join(known), nearest_name(name, known))
    )
    return known[0]


def _policy_faults(policies: Sequence[str], option: str) -> list[Fault]:
    everyone = names()
    allowed = f"{', '.join(everyone)}, ORDER+ADMISSION+PLACEMENT, or FILE.py:CLASS, +learned or not"
    faults: list[Fault] = []
    for name in dict.fromkeys(policies):
        if own.in_file(name):
            try:
                own.load(name.removesuffix(LEARNED))
            except InputError as error:
                faults += error.faults
        elif not known(name):
            faults.append(Fault("unknown policy", option, "", name, allowed, nearest(name)))
    twice = [name for name in dict.fromkeys(policies) if policies.count(name) > 1]
    return faults + [Fault("named twice", option, value=name) for name in twice]


def _executor(cells: int, replaying: Replaying) -> Executor:
    """Return where to run if nothing is said: starting Ray does not pay for one replay."""
    return "ray" if cells > 1 or replaying.address else "local"


def seconds_of(text: str, option: str) -> tuple[float | None, list[Fault]]:
    """Return the time that an option gives, positive and with a unit, or what is wrong with it."""
    from scheduler.io.quantities import POSITIVE, TIME, QuantityError, parse_quantity

    try:
        return parse_quantity(text, TIME, POSITIVE), []
    except QuantityError as error:
        return None, [Fault(error.message, option, "", text, error.allowed, error.nearest)]


def load_problem(inputs: Inputs) -> Problem:
    """Return the problem that the command line names."""
    select: dict[str, str] = {}
    for pair in inputs.select:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(
                [Fault("not of the form KEY=VALUE", "--select", value=pair, allowed="gpus=8")]
            )
        select[key] = value
    return api.load(
        inputs.topology,
        inputs.workload,
        offered_load=inputs.load,
        format=inputs.format,
        select=select or None,
        since=inputs.since,
        until=inputs.until,
        profile=inputs.profile,
        reference=inputs.reference,
        told=lambda line: print(line, file=sys.stderr),
    )
