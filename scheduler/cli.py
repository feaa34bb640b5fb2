"""The command `fleetfit`: words to calls, no logic."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, ParamSpec

import typer

from scheduler.cli_options import (
    AccountOption,
    AddressOption,
    AllTypesOption,
    BatchOption,
    CountOption,
    DebugOption,
    ExecutorOption,
    FormatOption,
    HorizonOption,
    InformationOption,
    JsonOption,
    LoadOption,
    ModelOption,
    NoiseOption,
    OnOption,
    OutputOption,
    OutputTokensOption,
    PlotOption,
    PoliciesOption,
    PolicyOption,
    PrecisionOption,
    ProfileOption,
    PromptOption,
    ReferenceOption,
    ReplaysOption,
    RunsOption,
    SeedOption,
    SelectOption,
    SequenceOption,
    ServeOption,
    SinceOption,
    TopologyArgument,
    TpotOption,
    TtftOption,
    UntilOption,
    WorkloadArgument,
)

if TYPE_CHECKING:
    from scheduler.commands import Inputs, Output, Replaying

P = ParamSpec("P")

EXIT_NO: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

DEFAULT_POLICIES: Final = "fifo,easy_backfill,srtf,optimizer"

app = typer.Typer(
    name="fleetfit",
    help="Fits training and inference jobs to a mixed accelerator fleet, "
    "and shows where every idle accelerator-second goes.",
    epilog="Start with: fleetfit demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _guarded(command: Callable[P, int | None]) -> Callable[P, None]:
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
            _complain(str(error))
            code = EXIT_NO if isinstance(error, InfeasibleError) else EXIT_BAD_INPUT
        except KeyboardInterrupt:
            _complain("stopped")
            code = EXIT_INTERRUPTED
        except BrokenPipeError:  # the reader (head, less) has gone: nothing left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_BROKEN_PIPE
        except OSError as error:
            if kwargs.get("debug"):
                raise
            _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            code = EXIT_BAD_INPUT
        except Exception as error:
            if kwargs.get("debug"):
                raise
            _complain(f"a fault in fleetfit, please report it: {type(error).__name__}: {error}")
            _complain("the same command with --debug shows where")
            code = EXIT_FAULT
        raise typer.Exit(code)

    return run


def _complain(message: str) -> None:
    lines = message.splitlines() or [""]
    for line in lines:
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        print(f"fleetfit: {text}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from scheduler import __version__

        print(f"fleetfit {__version__}")
        raise typer.Exit


@app.command()
@_guarded
def demo(
    replays: ReplaysOption = 8,
    seed: SeedOption = 0,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    plot: PlotOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Show it all on a small mixed fleet: four policies, a day of jobs, idle time by cause.

    \b
    fleetfit demo
    fleetfit demo --plot
    fleetfit demo --executor local
    """
    from scheduler import commands

    return commands.demo(
        _replaying(replays, seed, None, "exact", None, "arrivals", executor, address),
        _output(json, plot),
    )


@app.command()
@_guarded
def run(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    policy: PolicyOption = "optimizer",
    replays: ReplaysOption = 1,
    seed: SeedOption = 0,
    noise: NoiseOption = None,
    information: InformationOption = "exact",
    horizon: HorizonOption = None,
    account: AccountOption = "run",
    executor: ExecutorOption = None,
    address: AddressOption = None,
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    plot: PlotOption = False,
    json: JsonOption = False,
    output: OutputOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Play one policy on a topology and a workload, check it, and book the idle time.

    \b
    fleetfit run lab-mixed-64 llm-lab
    fleetfit run my-fleet.yaml my-jobs.yaml --policy srtf --replays 8
    fleetfit run gavel-36 jobs.csv.gz --format philly --select cluster=ee9e8c --load 0.9
    fleetfit run demo-mixed demo-day --json -o run.json
    """
    from scheduler import commands

    return commands.play(
        _inputs(topology, workload, load, select, format, since, until, profile, reference),
        [policy],
        _replaying(replays, seed, noise, information, horizon, account, executor, address),
        _output(json, plot, output),
        option="--policy",
    )


@app.command()
@_guarded
def compare(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    policies: PoliciesOption = DEFAULT_POLICIES,
    replays: ReplaysOption = 1,
    seed: SeedOption = 0,
    noise: NoiseOption = None,
    information: InformationOption = "exact",
    horizon: HorizonOption = None,
    account: AccountOption = "run",
    executor: ExecutorOption = None,
    address: AddressOption = None,
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    plot: PlotOption = False,
    json: JsonOption = False,
    output: OutputOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Play several policies under the same seeds and equal information, side by side.

    \b
    fleetfit compare demo-mixed demo-day --replays 8
    fleetfit compare lab-mixed-64 llm-lab --policies fifo,srtf,optimizer --load 0.9
    fleetfit compare two-site-tariffs philly-like --information estimates --json
    """
    from scheduler import commands

    return commands.play(
        _inputs(topology, workload, load, select, format, since, until, profile, reference),
        [name.strip() for name in policies.split(",")],
        _replaying(replays, seed, noise, information, horizon, account, executor, address),
        _output(json, plot, output),
        option="--policies",
        many=True,
    )


@app.command()
@_guarded
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for results, one file per cell. [default: FILE's name and -results]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the results that the folder holds.")
    ] = False,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Play a grid of clusters, workloads, policies, seeds and scenarios; resume it after any end.

    \b
    fleetfit sweep bench/sweep.yaml
    fleetfit sweep my-sweep.yaml -o results --resume
    fleetfit sweep my-sweep.yaml --address ray-head:6379
    """
    from scheduler import commands

    return commands.sweep(commands.Sweeping(file, output, resume, executor, address), _output(json))


@app.command()
@_guarded
def execute(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[TOPOLOGY WORKLOAD] RUN",
            help="A run file that -o has saved; what it was made from, if it does not say so.",
        ),
    ],
    speed: Annotated[
        str, typer.Option("--speed", metavar="TIMES", help="Simulated over real time.")
    ] = "1000x",
    address: AddressOption = None,
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Save what the workers noted, as JSON.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> int:
    r"""Play a saved run as real Ray tasks and set measured idle time against the simulator's.

    \b
    fleetfit run lab-mixed-64 llm-lab --policy srtf -o run.json
    fleetfit execute run.json --speed 4000x
    """
    from scheduler import commands

    return commands.execute(
        commands.Executing(words, speed, address, output, json),
        _inputs("", "", load, select, format, since, until, profile, reference),
    )


@app.command()
@_guarded
def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Topology or workload files, or traces.")
    ],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Check input files and report every fault of every file.

    \b
    fleetfit validate my-fleet.yaml my-jobs.yaml
    """
    from scheduler import commands

    return commands.validate(files, _output(json))


@app.command()
@_guarded
def verify(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run files that -o has saved.")
    ],
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Check saved runs against their inputs, by code that shares nothing with the simulator.

    \b
    fleetfit run demo-mixed demo-day -o run.json
    fleetfit verify demo-mixed demo-day run.json
    """
    from scheduler import commands

    return commands.verify(
        _inputs(topology, workload, load, select, format, since, until, profile, reference),
        runs,
        _output(json),
    )


@app.command()
@_guarded
def estimate(
    model: ModelOption = None,
    precision: PrecisionOption = "bf16",
    seq: SequenceOption = 4096,
    batch: BatchOption = 512,
    count: CountOption = 8,
    on: OnOption = None,
    all_types: AllTypesOption = False,
    serve: ServeOption = False,
    prompt: PromptOption = 1024.0,
    output: OutputTokensOption = 128.0,
    ttft: TtftOption = "2 s",
    tpot: TpotOption = "100 ms",
    runs: RunsOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Predict one job on one or all accelerator types, or a file of published runs.

    \b
    fleetfit estimate --model llama-3-70b --precision bf16 --count 64 --all-types
    fleetfit estimate --model llama-3-8b --serve --count 1 --on H100-SXM --tpot '50 ms'
    fleetfit estimate --runs published-runs.csv --json
    """
    from scheduler import commands

    return commands.estimate(
        commands.Question(
            model,
            precision,
            seq,
            batch,
            count,
            tuple(on or ()),
            all_types,
            serve,
            prompt,
            output,
            ttft,
            tpot,
            runs,
        ),
        _output(json),
    )


@app.command(name="list")
@_guarded
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="policies, topologies, workloads, accelerators, models, or traces.",
        ),
    ],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""List what can be named.

    \b
    fleetfit list policies
    fleetfit list accelerators --json
    """
    from scheduler import commands

    return commands.list_names(what, _output(json))


def _inputs(
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
    from scheduler.commands import Inputs

    rows = tuple(select or ())
    return Inputs(topology, workload, load, rows, format, since, until, profile, reference)


def _replaying(
    replays: int,
    seed: int,
    noise: float | None,
    information: str,
    horizon: str | None,
    account: str,
    executor: str | None,
    address: str | None,
) -> Replaying:
    from scheduler.commands import Replaying

    return Replaying(replays, seed, noise, information, horizon, account, executor, address)


def _output(json: bool, plot: bool = False, path: Path | None = None) -> Output:
    from scheduler.commands import Output

    return Output(json, plot, path)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:  # pressed while Python was still starting
        sys.exit(EXIT_INTERRUPTED)
