"""What every command of `fleetfit` shares: faults become one message and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec

import typer

if TYPE_CHECKING:
    from scheduler.commands import Inputs, Output, Replaying

P = ParamSpec("P")

EXIT_NO: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Turn what a command raises into one message and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from scheduler.core.errors import FleetfitError, InfeasibleError

        try:
            code = command(*args, **kwargs) or 0
            sys.stdout.flush()
        except FleetfitError as error:
            if kwargs.get("debug"):
                raise
            complain(str(error))
            code = EXIT_NO if isinstance(error, InfeasibleError) else EXIT_BAD_INPUT
        except KeyboardInterrupt:
            complain("stopped")
            code = EXIT_INTERRUPTED
        except BrokenPipeError:  # the reader (head, less) has gone: nothing left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_BROKEN_PIPE
        except OSError as error:
            if kwargs.get("debug"):
                raise
            complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            code = EXIT_BAD_INPUT
        except Exception as error:
            if kwargs.get("debug"):
                raise
            complain(f"a fault in fleetfit, please report it: {type(error).__name__}: {error}")
            complain("the same command with --debug shows where")
            code = EXIT_FAULT
        raise typer.Exit(code)

    # click keeps the lines after a backspace character as they are
    run.__doc__ = (command.__doc__ or "").replace("\\b\n", "\b\n")
    return run


def complain(message: str) -> None:
    """Print a message to standard error, without characters that act on a terminal."""
    lines = message.splitlines() or [""]
    for line in lines:
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        print(f"fleetfit: {text}", file=sys.stderr)


def inputs_of(
    topology: str,
    workload: str,
    load: float | None,
    select: list[str] | None,
    format: str | None,
    since: str | None,
    until: str | None,
    profile: str | None,
    reference: str | None,
) -> Inputs:
    """Return what to play, from the words of the command line."""
    from scheduler.commands import Inputs

    rows = tuple(select or ())
    return Inputs(topology, workload, load, rows, format, since, until, profile, reference)


def replaying_of(
    replays: int,
    seed: int,
    noise: float | None,
    information: str,
    horizon: str | None,
    account: str,
    executor: str | None,
    address: str | None,
    relative_width: float | None = None,
    bound: str = "auto",
) -> Replaying:
    """Return how to play it, from the words of the command line."""
    from scheduler.commands import Replaying

    return Replaying(
        *(replays, seed, noise, information, horizon, account, executor, address),
        *(relative_width, bound),
    )


def output_of(
    json: bool,
    plot: bool = False,
    path: Path | None = None,
    report: Path | None = None,
    metrics: bool = False,
) -> Output:
    """Return what to show and to save, from the words of the command line."""
    from scheduler.commands import Output

    return Output(json, plot, path, report, metrics)
