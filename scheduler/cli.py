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
    CrossValidateOption,
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
    PageOption,
    PlotOption,
    PoliciesOption,
    PolicyOption,
    PrecisionOption,
    ProfileOption,
    PromptOption,
    ReferenceOption,
    RelativeWidthOption,
    ReplaysOption,
    ReportOption,
    ResultsArgument,
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

    # click keeps the lines after a backspace character as they are
    run.__doc__ = (command.__doc__ or "").replace("\\b\n", "\b\n")
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
    report: ReportOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Show it all on a small mixed fleet: four policies, a day of jobs, idle time by cause.

    \b
    fleetfit demo
    fleetfit demo --plot
    fleetfit demo --report demo.html
    fleetfit demo --executor local
    """
    from scheduler import commands

    return commands.demo(
        _replaying(replays, seed, None, "exact", None, "arrivals", executor, address),
        _output(json, plot, report=report),
    )


@app.command()
@_guarded
def run(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    policy: PolicyOption = "optimizer",
    replays: ReplaysOption = 1,
    relative_width: RelativeWidthOption = None,
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
    report: ReportOption = None,
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
        _replaying(
            replays, seed, noise, information, horizon, account, executor, address, relative_width
        ),
        _output(json, plot, output, report),
        option="--policy",
    )


@app.command()
@_guarded
def compare(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    policies: PoliciesOption = DEFAULT_POLICIES,
    replays: ReplaysOption = 1,
    relative_width: RelativeWidthOption = None,
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
    report: ReportOption = None,
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
        _replaying(
            replays, seed, noise, information, horizon, account, executor, address, relative_width
        ),
        _output(json, plot, output, report),
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
    report: ReportOption = None,
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

    sweeping = commands.Sweeping(file, output, resume, executor, address)
    return commands.sweep(sweeping, _output(json, report=report))


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
def solve(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="What to minimise: mean_jct, weighted_completion, makespan, tardiness, energy.",
        ),
    ] = "mean_jct",
    time_limit: Annotated[
        str,
        typer.Option("--time-limit", metavar="TIME", help="Of all solves, in repeatable seconds."),
    ] = "60 s",
    seed: SeedOption = 0,
    free: Annotated[
        bool,
        typer.Option("--free", help="All cores, seconds of the clock: answers may differ."),
    ] = False,
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
            help="Save the schedule and the run that carries it out, as a run file.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> int:
    r"""Schedule known jobs offline: the best schedule found, and a bound on any other.

    Every job runs once, from start to end, in one mode.

    \b
    fleetfit solve my-fleet.yaml my-jobs.yaml --objective makespan
    fleetfit solve my-fleet.yaml my-jobs.yaml --time-limit '5 min' -o schedule.json
    """
    from scheduler import commands

    return commands.solve(
        _inputs(topology, workload, load, select, format, since, until, profile, reference),
        commands.Solving(objective, time_limit, seed, free, output, json),
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
def explain(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    run_file: Annotated[Path, typer.Argument(metavar="RUN", help="A run file that -o has saved.")],
    by: Annotated[
        str, typer.Option("--by", help="Rows of the table: type, domain, hour or tenant.")
    ] = "type",
    blocks: Annotated[int, typer.Option("--blocks", help="Idle blocks shown at most.")] = 10,
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
    r"""Say where a saved run's idle time went, and which jobs could have used it, or why not.

    \b
    fleetfit run demo-mixed demo-day --policy easy_backfill -o run.json
    fleetfit explain demo-mixed demo-day run.json
    fleetfit explain demo-mixed demo-day run.json --by tenant --blocks 3
    """
    from scheduler import commands

    return commands.explain(
        _inputs(topology, workload, load, select, format, since, until, profile, reference),
        run_file,
        by,
        blocks,
        _output(json),
    )


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
def report(
    words: ResultsArgument,
    output: PageOption,
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Write saved results as one page that opens in any browser, offline, and prints.

    \b
    fleetfit compare demo-mixed demo-day --replays 8 -o runs
    fleetfit report runs -o page.html
    fleetfit report my-fleet.yaml my-jobs.yaml run.json -o page.html
    """
    from scheduler import commands

    return commands.report(
        commands.Reporting(words, output),
        _inputs("", "", load, select, format, since, until, profile, reference),
    )


@app.command()
@_guarded
def figure(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="waterfall, policies, idle, queue, schedule, or energy."
        ),
    ],
    words: ResultsArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The figure, .svg or .png; its data lies beside it as .csv.",
            show_default=False,
        ),
    ],
    load: LoadOption = None,
    select: SelectOption = None,
    format: FormatOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    reference: ReferenceOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Draw one figure of saved results for a paper, with the data behind it.

    \b
    fleetfit compare demo-mixed demo-day --replays 8 -o runs
    fleetfit figure waterfall runs -o waterfall.svg
    """
    from scheduler import commands

    return commands.figure(
        commands.Drawing(name, words, output),
        _inputs("", "", load, select, format, since, until, profile, reference),
    )


@app.command()
@_guarded
def ui(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where results lie.", show_default=False)
    ] = Path(),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="PORT", help="0: any free one.")
    ] = 0,
    browse: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    debug: DebugOption = False,
) -> int:
    r"""Look at the results of a folder in a browser, and start a small run; this machine only.

    \b
    fleetfit ui
    fleetfit ui results --open
    """
    from scheduler import commands

    return commands.ui(folder, port, show=browse)


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
    cross_validate: CrossValidateOption = False,
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
            cross_validate,
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
    relative_width: float | None = None,
) -> Replaying:
    from scheduler.commands import Replaying

    return Replaying(
        replays, seed, noise, information, horizon, account, executor, address, relative_width
    )


def _output(
    json: bool, plot: bool = False, path: Path | None = None, report: Path | None = None
) -> Output:
    from scheduler.commands import Output

    return Output(json, plot, path, report)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:  # pressed while Python was still starting
        sys.exit(EXIT_INTERRUPTED)
