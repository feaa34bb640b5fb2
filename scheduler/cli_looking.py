"""Commands that look rather than play: check, explain, draw, estimate, list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli_guard import guarded, inputs_of, output_of
from scheduler.cli_options import (
    AllTypesOption,
    BatchOption,
    CountOption,
    CrossValidateOption,
    DebugOption,
    FormatOption,
    JsonOption,
    LoadOption,
    ModelOption,
    OnOption,
    OutputTokensOption,
    PageOption,
    PrecisionOption,
    ProfileOption,
    PromptOption,
    ReferenceOption,
    ReportOption,
    ResultsArgument,
    RunsOption,
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


@guarded
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

    return commands.validate(files, output_of(json))


@guarded
def explain(
    topology: TopologyArgument,
    workload: WorkloadArgument,
    run_file: Annotated[Path, typer.Argument(metavar="RUN", help="A run file that -o has saved.")],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="LEVELS",
            help="Rows of the table: type, domain, hour or tenant, or several joined by commas.",
        ),
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
    fleetfit explain demo-mixed demo-day run.json --by type,hour --blocks 0
    """
    from scheduler import commands

    return commands.explain(
        inputs_of(topology, workload, load, select, format, since, until, profile, reference),
        run_file,
        by,
        blocks,
        output_of(json),
    )


@guarded
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
        inputs_of(topology, workload, load, select, format, since, until, profile, reference),
        runs,
        output_of(json),
    )


@guarded
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
        inputs_of("", "", load, select, format, since, until, profile, reference),
    )


@guarded
def figure(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="waterfall, policies, idle, queue, schedule, energy, or ecdf."
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
        inputs_of("", "", load, select, format, since, until, profile, reference),
    )


@guarded
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


@guarded
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
    report: ReportOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""Predict one job on one or all accelerator types, or a file of published runs.

    \b
    fleetfit estimate --model llama-3-70b --precision bf16 --count 64 --all-types
    fleetfit estimate --model llama-3-8b --serve --count 1 --on H100-SXM --tpot '50 ms'
    fleetfit estimate --runs published-runs.csv --json
    fleetfit estimate --model llama-3-70b --count 64 --all-types --report types.html
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
        output_of(json, report=report),
    )


@guarded
def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="policies, topologies, workloads, accelerators, models, traces, or files.",
        ),
    ],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> int:
    r"""List what can be named.

    \b
    fleetfit list policies
    fleetfit list accelerators --json
    fleetfit list files          # what the files you write may hold, field by field
    """
    from scheduler import commands

    return commands.list_names(what, output_of(json))
