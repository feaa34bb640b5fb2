"""The command `fleetfit`: words to calls, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from scheduler.cli_guard import (
    EXIT_INTERRUPTED,
    guarded,
    inputs_of,
    output_of,
    replaying_of,
)
from scheduler.cli_looking import estimate, explain, figure, list_, report, ui, validate, verify
from scheduler.cli_options import (
    AccountOption,
    AddressOption,
    BoundOption,
    DebugOption,
    ExecutorOption,
    FormatOption,
    HorizonOption,
    InformationOption,
    JsonOption,
    LoadOption,
    MetricsOption,
    NoiseOption,
    OutputOption,
    PlotOption,
    PoliciesOption,
    PolicyOption,
    ProfileOption,
    ReferenceOption,
    RelativeWidthOption,
    ReplaysOption,
    ReportOption,
    ResumeOption,
    SaveAtOption,
    SeedOption,
    SelectOption,
    SinceOption,
    SnapshotOption,
    TopologyArgument,
    UntilOption,
    WorkloadArgument,
)

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
@guarded
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
        replaying_of(replays, seed, None, "exact", None, "arrivals", executor, address),
        output_of(json, plot, report=report),
    )


@app.command()
@guarded
def run(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    policy: PolicyOption = None,
    replays: ReplaysOption = 1,
    relative_width: RelativeWidthOption = None,
    seed: SeedOption = 0,
    noise: NoiseOption = None,
    information: InformationOption = "exact",
    horizon: HorizonOption = None,
    account: AccountOption = "run",
    bound: BoundOption = "auto",
    save_at: SaveAtOption = None,
    snapshot: SnapshotOption = None,
    resume: ResumeOption = None,
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
    metrics: MetricsOption = False,
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
    fleetfit run demo-mixed demo-day --policy fifo --save-at '6 h' --snapshot at-6h.json
    fleetfit run demo-mixed demo-day --resume at-6h.json --policy srtf
    """
    from scheduler import commands

    return commands.run(
        inputs_of(topology, workload, load, select, format, since, until, profile, reference),
        policy,
        replaying_of(
            *(replays, seed, noise, information, horizon, account, executor, address),
            *(relative_width, bound),
        ),
        output_of(json, plot, output, report, metrics),
        commands.Saving(save_at, snapshot, resume),
    )


@app.command()
@guarded
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
    bound: BoundOption = "auto",
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
    metrics: MetricsOption = False,
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
        inputs_of(topology, workload, load, select, format, since, until, profile, reference),
        [name.strip() for name in policies.split(",")],
        replaying_of(
            *(replays, seed, noise, information, horizon, account, executor, address),
            *(relative_width, bound),
        ),
        output_of(json, plot, output, report, metrics),
        option="--policies",
        many=True,
    )


@app.command()
@guarded
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
    bound: BoundOption = "auto",
    report: ReportOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Play a grid of clusters, workloads, policies, seeds and scenarios; resume it after any end.

    \b
    fleetfit sweep bench/sweep.yaml
    fleetfit sweep my-sweep.yaml -o results --resume
    fleetfit sweep my-sweep.yaml --address ray-head:6379 --bound quick
    """
    from scheduler import commands

    sweeping = commands.Sweeping(file, output, resume, executor, address, bound)
    return commands.sweep(sweeping, output_of(json, report=report))


@app.command()
@guarded
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
    report: ReportOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Play a saved run as real Ray tasks and set measured idle time against the simulator's.

    \b
    fleetfit run lab-mixed-64 llm-lab --policy srtf -o run.json
    fleetfit execute run.json --speed 4000x
    """
    from scheduler import commands

    return commands.execute(
        commands.Executing(words, speed, address, output, json, report),
        inputs_of("", "", load, select, format, since, until, profile, reference),
    )


@app.command()
@guarded
def solve(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="NAME[:SHARE]",
            help=(
                "What to optimise: idle, waste, mean_jct, weighted_completion, makespan, "
                "tardiness, max_min_fairness, finish_time_fairness, throughput, energy, cost, "
                "carbon. May be repeated: the first leads, later ones may worsen it by at most "
                "its share, such as makespan:5%. [default: mean_jct]"
            ),
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        str,
        typer.Option("--time-limit", metavar="TIME", help="Of all solves, in repeatable seconds."),
    ] = "60 s",
    seed: SeedOption = 0,
    free: Annotated[
        bool,
        typer.Option("--free", help="All cores, seconds of the clock: answers may differ."),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Run each job once; do not preempt where it helps.")
    ] = False,
    meet_deadlines: Annotated[
        bool,
        typer.Option("--meet-deadlines", help="Let no job end after its deadline, or say why."),
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
    report: ReportOption = None,
    debug: DebugOption = False,
) -> int:
    r"""Schedule known jobs offline: the best schedule found, and a bound on any other.

    Jobs run once, from start to end, in one mode, unless a schedule that preempts is better.
    What cannot be done is explained by a minimal set of constraints in conflict.

    \b
    fleetfit solve my-fleet.yaml my-jobs.yaml --objective makespan:5% --objective mean_jct
    fleetfit solve my-fleet.yaml my-jobs.yaml --time-limit '5 min' -o schedule.json
    """
    from scheduler import commands

    return commands.solve(
        inputs_of(topology, workload, load, select, format, since, until, profile, reference),
        commands.Solving(
            tuple(objective or ("mean_jct",)),
            time_limit,
            seed,
            free,
            output,
            json,
            preempt=not once,
            meet_deadlines=meet_deadlines,
            report=report,
        ),
    )


for looking in (validate, explain, verify, report, figure, ui, estimate):
    app.command()(looking)
app.command(name="list")(list_)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:  # pressed while Python was still starting
        sys.exit(EXIT_INTERRUPTED)
