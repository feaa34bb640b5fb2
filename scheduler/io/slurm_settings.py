"""What slurm.conf says about order, backfill and preemption, and what of it is not played.

Sources: slurm.conf(5); for what counts without slurmdbd, priority/multifactor of release 22.05.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError
from scheduler.core.slurm import SlurmPartition, SlurmSettings

MINUTE_S: Final = 60.0

Line = Mapping[str, str]
"""Keys in lower case and values of one line."""

PLAYED: Final = frozenset(
    [
        "batch_sched_delay",
        "bf_interval",
        "bf_max_job_test",
        "bf_resolution",
        "bf_window",
        "default_queue_depth",
        "defer",
        "sched_interval",
    ]
)
"""Of SchedulerParameters."""

HARMLESS: Final = frozenset(
    [
        "bf_continue",
        "bf_max_time",
        "bf_yield_interval",
        "bf_yield_sleep",
        "max_rpc_cnt",
        "max_sched_time",
        "max_switch_wait",
        "nohold_on_prolog_fail",
        "sched_min_interval",
    ]
)
"""Of SchedulerParameters: bounds of the time that a pass takes, and what no job here asks for."""

IDLE: Final = frozenset(("", "0", "no", "none", "off", "00:00:00", "-1", "normal"))
"""Values that ask for nothing."""

OPTIONS_NOT_PLAYED: Final = (
    *("CompleteWait", "OverTimeLimit", "PreemptExemptTime", "PriorityFlags", "PriorityWeightAssoc"),
    *("PriorityWeightFairshare", "PriorityWeightQOS", "PriorityWeightTRES", "DownNodes"),
)
WITH_SLURMDBD: Final = frozenset(("PriorityWeightFairshare",))
"""Options that Slurm itself leaves aside without slurmdbd."""

PARTITION_NOT_PLAYED: Final = (
    *("ExclusiveUser", "GraceTime", "LLN", "MaxCPUsPerNode", "OverSubscribe", "OverTimeLimit"),
    *("QOS", "Reqresv", "Shared"),
)


def settings_of(
    path: Path, options: Line, partitions: tuple[SlurmPartition, ...], cpus_per_node: float
) -> SlurmSettings:
    """Return how a site schedules.

    Raises
    ------
    InputError
        If a value is not the number or the duration that it should be.
    """
    parameters = _parameters(options)
    usual = SlurmSettings()
    accounted = _accounted(options)

    def of(name: str, default: float, unit: float = 1.0) -> float:
        return _number(path, name, parameters[name]) * unit if name in parameters else default

    def option(name: str, default: float) -> float:
        return _number(path, name, options[name]) if name in options else default

    epilog = options.get("epilog", "").casefold() not in IDLE
    return SlurmSettings(
        backfills=options.get("schedulertype", "sched/backfill").casefold() == "sched/backfill",
        cycle_s=of("sched_interval", usual.cycle_s),
        submit_delay_s=of("batch_sched_delay", usual.submit_delay_s),
        backfill_interval_s=of("bf_interval", usual.backfill_interval_s),
        window_s=of("bf_window", usual.window_s, MINUTE_S),
        resolution_s=of("bf_resolution", usual.resolution_s),
        most_jobs=int(of("bf_max_job_test", usual.most_jobs)),
        multifactor="multifactor" in options.get("prioritytype", "priority/multifactor"),
        # priority/multifactor leaves age aside where no database keeps accounts
        age_weight=option("priorityweightage", 0.0) if accounted else 0.0,
        size_weight=option("priorityweightjobsize", 0.0),
        partition_weight=option("priorityweightpartition", 0.0),
        most_age_s=duration_s(path, "PriorityMaxAge", options.get("prioritymaxage", "7-0")),
        favours_small=options.get("priorityfavorsmall", "no").casefold() == "yes",
        preempts=options.get("preempttype", "").casefold() == "preempt/partition_prio"
        and any(p.requeues for p in partitions),
        partitions=partitions,
        cpus_per_node=cpus_per_node,
        queue_depth=int(of("default_queue_depth", usual.queue_depth)),
        priorities_every_s=duration_s(
            path, "PriorityCalcPeriod", options.get("prioritycalcperiod", "5")
        ),
        preempts_again_s=option("killwait", 30.0) + option("messagetimeout", 10.0),
        epilog=epilog and "defer" not in parameters,
        tree="tree" in options.get("topologyplugin", ""),
    )


def not_played(options: Line, lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the settings that a real Slurm heeds and the policy does not, as they stand."""
    return tuple(dict.fromkeys(_not_played(options, lines)))


def _not_played(options: Line, lines: Sequence[Line]) -> Iterator[str]:
    for name, value in _parameters(options).items():
        if name not in PLAYED | HARMLESS:
            yield f"SchedulerParameters={name}{'=' if value else ''}{value}"
    for name in OPTIONS_NOT_PLAYED:
        value = options.get(name.casefold(), "")
        if value.casefold() not in IDLE and (_accounted(options) or name not in WITH_SLURMDBD):
            yield f"{name}={value}"
    scheduler = options.get("schedulertype", "sched/backfill")
    if scheduler.casefold() not in ("sched/backfill", "sched/builtin"):
        yield f"SchedulerType={scheduler}"
    select = options.get("selecttype", "select/cons_tres")
    if "cons_" not in select.casefold():
        yield f"SelectType={select}"
    stated = options.get("selecttypeparameters", "")
    if any(word in stated.casefold() for word in ("lln", "memory", "socket", "one_task")):
        yield f"SelectTypeParameters={stated}"
    topology = options.get("topologyplugin", "topology/none")
    if topology.casefold() != "topology/tree":  # then free CPUs decide, which nothing here knows
        yield f"TopologyPlugin={topology}"
    preempt = options.get("preempttype", "preempt/none").casefold()
    if preempt not in ("preempt/none", "preempt/partition_prio"):
        yield f"PreemptType={preempt}"
    mode = options.get("preemptmode", "off")
    if preempt != "preempt/none" and mode.casefold() not in ("off", "requeue"):
        yield f"PreemptMode={mode}"
    weights: set[str] = set()
    for line in lines:
        if "downnodes" in line:
            yield f"DownNodes={line['downnodes']}"
        if "nodename" in line:
            weights.add(line.get("weight", "1"))
        if "partitionname" in line:
            yield from _partition_not_played(line)
    if len(weights) > 1:
        yield "Weight of nodes"


def _partition_not_played(line: Line) -> Iterator[str]:
    where = f"PartitionName={line['partitionname']}"
    for name in PARTITION_NOT_PLAYED:
        value = line.get(name.casefold(), "")
        if value.casefold() not in IDLE:
            yield f"{where} {name}={value}"
    mode = line.get("preemptmode", "off")
    if mode.casefold() not in ("off", "requeue"):
        yield f"{where} PreemptMode={mode}"
    state = line.get("state", "UP")
    if state.casefold() != "up":
        yield f"{where} State={state}"


def _parameters(options: Line) -> dict[str, str]:
    stated = options.get("schedulerparameters", "")
    pairs = (p.strip().partition("=") for p in stated.split(","))
    return {name.casefold(): value for name, _, value in pairs if name}


def _accounted(options: Line) -> bool:
    return "slurmdbd" in options.get("accountingstoragetype", "").casefold()


def duration_s(path: Path, name: str, text: str) -> float:
    """Return seconds of Slurm's ``days-hours:minutes:seconds``, ``hours:minutes`` or minutes.

    Raises
    ------
    InputError
        If `text` is none of these.
    """
    days, dash, rest = text.partition("-")
    if not dash:
        days, rest = "0", text
    parts = rest.split(":")
    if not (days.isdigit() and all(p.isdigit() for p in parts) and len(parts) <= 3):
        allowed = "minutes, hours:minutes:seconds or days-hours:minutes:seconds"
        raise InputError([Fault("not a duration", str(path), name, text, allowed)])
    values = [int(p) for p in parts]
    if dash:
        hours, minutes, seconds = (*values, 0, 0)[:3]
    elif len(values) == 1:
        hours, minutes, seconds = 0, values[0], 0
    elif len(values) == 2:
        hours, (minutes, seconds) = 0, values
    else:
        hours, minutes, seconds = values
    return ((int(days) * 24 + hours) * 60 + minutes) * MINUTE_S + seconds


def _number(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError([Fault("not a number", str(path), name, text)]) from None
    return value
