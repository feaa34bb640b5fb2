"""Arguments and options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

_INPUT: Final = "Reading the workload"
_PLAY: Final = "Playing"
_OUTPUT: Final = "Output"
_SERVE: Final = "Serving"

TopologyArgument = Annotated[
    str,
    typer.Argument(
        metavar="TOPOLOGY", help="A topology file, or a name that 'list topologies' shows."
    ),
]
WorkloadArgument = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD", help="A workload file, a name that 'list workloads' shows, or a trace."
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="NAME",
        help="See 'list policies'. [default: optimizer; with --resume, the saved run's]",
        show_default=False,
    ),
]
PoliciesOption = Annotated[
    str,
    typer.Option(
        "--policies",
        "-p",
        metavar="NAMES",
        help="Names joined by commas; the others are set against the first.",
    ),
]
SaveAtOption = Annotated[
    str | None,
    typer.Option(
        "--save-at",
        metavar="TIME",
        help="Write the state at that instant of the run, such as '36 h', to --snapshot.",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
SnapshotOption = Annotated[
    Path | None,
    typer.Option(
        "--snapshot",
        metavar="FILE",
        help="Where --save-at writes.",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Go on from a snapshot, to the same end; with another --policy, under that one.",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
ReplaysOption = Annotated[
    int,
    typer.Option(
        "--replays", "-n", min=1, metavar="N", help="Replays of each policy, one seed each."
    ),
]
RelativeWidthOption = Annotated[
    float | None,
    typer.Option(
        "--relative-width",
        min=1e-6,
        max=10.0,
        metavar="SHARE",
        help="Stop before the last replay, once each policy's 95 % interval of mean completion "
        "time is no longer than this share of it, such as 0.05. [default: play them all]",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, metavar="SEED", help="First seed.", rich_help_panel=_PLAY)
]
NoiseOption = Annotated[
    float | None,
    typer.Option(
        "--noise",
        min=0.0,
        max=3.0,
        metavar="SIGMA",
        help="Log standard deviation of actual work around nominal work. "
        "[default: 0.1 with several replays, else 0]",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
InformationOption = Annotated[
    str,
    typer.Option(
        "--information",
        metavar="LEVEL",
        help="What policies know of remaining work: exact, estimates (the users'), or none.",
        rich_help_panel=_PLAY,
    ),
]
HorizonOption = Annotated[
    str | None,
    typer.Option(
        "--horizon",
        metavar="TIME",
        help="End of the run, such as '36 h'. [default: when the last job has ended]",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
AccountOption = Annotated[
    str,
    typer.Option(
        "--account",
        metavar="PERIOD",
        help="What the ledger covers: run (until the last job has ended), or arrivals "
        "(until the last job has arrived, the same for every policy).",
        rich_help_panel=_PLAY,
    ),
]
BoundOption = Annotated[
    str,
    typer.Option(
        "--bound",
        metavar="KIND",
        help="What no schedule can better: plan (by prices over time), quick (by area), none, "
        "or auto (the plan where that is quick too).",
        rich_help_panel=_PLAY,
    ),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="WHERE",
        help="ray, processes, or local (this process); the result is the same. "
        "[default: ray for several replays]",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Join this Ray cluster ('auto': the one on this machine).",
        show_default=False,
        rich_help_panel=_PLAY,
    ),
]
LoadOption = Annotated[
    float | None,
    typer.Option(
        "--load",
        metavar="SHARE",
        help="Scale arrivals until the jobs ask for this share of the fleet, such as 0.9.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="KEY=VALUE",
        help="Keep only matching rows of a trace (repeatable).",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Trace format, see 'list traces'. [default: recognised]",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Keep jobs submitted from then on.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Keep jobs submitted before then.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Throughput table for the job types of a trace.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="TYPE",
        help="Accelerator type that recorded run times hold on; other types follow by their "
        "speed. [default: they hold on every type]",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object instead of tables.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
MetricsOption = Annotated[
    bool,
    typer.Option(
        "--metrics",
        help="Also show distributions, fairness, tenants, and each difference that is clear.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
PlotOption = Annotated[
    bool,
    typer.Option(
        "--plot",
        help="Also draw where capacity goes, cause by cause, and the queue over time.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a page that opens in any browser, offline.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
PageOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The page.", show_default=False),
]
ResultsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[TOPOLOGY WORKLOAD] RESULT...",
        help="Runs or a folder that -o has saved, or the folder of a sweep; what it was made "
        "from, if it does not say so.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Save the runs: a .json file for one replay, else a folder. "
        "'fleetfit verify' checks them.",
        show_default=False,
        rich_help_panel=_OUTPUT,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="See 'list models'.", show_default=False),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="FORMAT", help="Number format, such as bf16 or fp8.")
]
SequenceOption = Annotated[
    int, typer.Option("--seq", metavar="TOKENS", help="Tokens in a sequence.")
]
BatchOption = Annotated[
    int, typer.Option("--batch", metavar="N", help="Sequences (or samples) in a training step.")
]
CountOption = Annotated[
    int, typer.Option("--count", "-n", metavar="N", help="Accelerators of the gang or replica.")
]
OnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="TYPE",
        help="Accelerator type (repeatable), see 'list accelerators'.",
        show_default=False,
    ),
]
AllTypesOption = Annotated[
    bool, typer.Option("--all-types", help="Every accelerator type.", show_default=False)
]
ServeOption = Annotated[
    bool,
    typer.Option(
        "--serve",
        help="Serve it instead of training it: the most requests one replica answers in time.",
        show_default=False,
        rich_help_panel=_SERVE,
    ),
]
PromptOption = Annotated[
    float,
    typer.Option("--prompt", metavar="TOKENS", help="Mean tokens in.", rich_help_panel=_SERVE),
]
OutputTokensOption = Annotated[
    float,
    typer.Option("--output", metavar="TOKENS", help="Mean tokens out.", rich_help_panel=_SERVE),
]
TtftOption = Annotated[
    str,
    typer.Option(
        "--ttft", metavar="TIME", help="Most time to the first token.", rich_help_panel=_SERVE
    ),
]
TpotOption = Annotated[
    str,
    typer.Option(
        "--tpot", metavar="TIME", help="Most time per output token.", rich_help_panel=_SERVE
    ),
]
RunsOption = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        metavar="FILE",
        help="A CSV of published training runs or inference measurements: predict each row "
        "and show how far off.",
        show_default=False,
    ),
]
CrossValidateOption = Annotated[
    bool,
    typer.Option(
        "--cross-validate",
        help="With --runs: also the errors with constants fitted without each source in turn.",
        show_default=False,
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", hidden=True)]
