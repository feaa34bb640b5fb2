"""Sweeps for people and programs: live progress, tables of policy by scenario, JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from scheduler.core.metrics import Interval
from scheduler.execute.sweep import Grid, Standing, SweepResult
from scheduler.report.objects import run_object
from scheduler.report.running import running_interval
from scheduler.report.screen import LINE_EVERY_S, replays_bar
from scheduler.report.summary import Summary, fewest, half_width, summarise
from scheduler.report.words import duration, number, plain, spread, time_unit


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One policy in one group of a sweep.

    Parameters
    ----------
    cluster, workload, scenario, policy : str
        Which.
    summary : Summary or None
        Of its finished replays; None if there are none.
    failed : int
        Cells that were given up.
    """

    cluster: str
    workload: str
    scenario: str
    policy: str
    summary: Summary | None
    failed: int


def sweep_rows(grid: Grid, found: SweepResult) -> list[SweepRow]:
    """Draw the cells of a sweep together, by group and policy.

    Differences from the first policy are there where all policies of a group finished the
    same seeds.
    """
    rows = []
    for g, group in enumerate(grid.groups):
        by_policy = [
            [
                result
                for place, result in found.results.items()
                if (place.group, place.policy) == (g, p)
            ]
            for p in range(len(grid.policies))
        ]
        seeds = {tuple(r.cell.seed for r in results) for results in by_policy}
        if len(seeds) == 1 and by_policy[0]:
            summaries: list[Summary | None] = [*summarise([r for rs in by_policy for r in rs])]
        else:
            summaries = [summarise(results)[0] if results else None for results in by_policy]
        for p, policy in enumerate(grid.policies):
            failed = sum((f.place.group, f.place.policy) == (g, p) for f in found.failures)
            rows.append(
                SweepRow(
                    group.cluster, group.workload, group.scenario, policy, summaries[p], failed
                )
            )
    return rows


def sweep_tables(rows: Sequence[SweepRow]) -> list[tuple[str, Table]]:
    """Return a title and a table for each cluster and workload: policies by scenario.

    Intervals are those of the mean over replays, 95 %; the change is paired by seed with the
    first policy.
    """
    pairs: dict[tuple[str, str], list[SweepRow]] = {}
    for row in rows:
        pairs.setdefault((row.cluster, row.workload), []).append(row)
    return [
        (f"{plain(cluster)}, {plain(workload)}", _table(members))
        for (cluster, workload), members in pairs.items()
    ]


def sweep_object(grid: Grid, found: SweepResult) -> dict[str, Any]:
    """Return a sweep as data for JSON: one entry per group and policy."""
    groups, tasks = grid.groups, grid.tasks
    inputs = {place.group: task.inputs for place, task in tasks.items()}
    names = [(g.cluster, g.workload, g.scenario) for g in groups]
    results = []
    for row in sweep_rows(grid, found):
        g = names.index((row.cluster, row.workload, row.scenario))
        entry = {"cluster": row.cluster, "workload": row.workload, "scenario": row.scenario}
        shared = {k: v for k, v in inputs[g].items() if k not in ("policy", "policy_from", "seed")}
        more = run_object(row.summary, shared) if row.summary else {"policy": row.policy}
        results.append(entry | more | {"failed": row.failed, "seeds_needed": found.needed[g]})
    failures = [
        {
            "cluster": groups[f.place.group].cluster,
            "workload": groups[f.place.group].workload,
            "scenario": groups[f.place.group].scenario,
            "policy": tasks[f.place].cell.policy,
            "seed": tasks[f.place].cell.seed,
            "kind": f.kind,
            "message": f.message,
            "attempts": f.attempts,
        }
        for f in found.failures
    ]
    return {"title": grid.title, "results": results, "failures": failures}


def _table(rows: Sequence[SweepRow]) -> Table:
    shown = [row.summary for row in rows if row.summary]
    length, unit = time_unit(s.mean("mean_jct_s") for s in shown)
    far, far_unit = time_unit(s.mean("p99_jct_s") for s in shown)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    proofs = list(dict.fromkeys(s.bound_proof for s in shown if s.bounds))
    bounded = [f"{'/'.join(proofs)} bound\n{unit}", "gap\n%"] if proofs else []
    for title in (
        "replays",
        f"mean JCT\n{unit}",
        "change\n%",
        *bounded,
        f"p99 JCT\n{far_unit}",
        "idle\n%",
        "waste\n%",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    failing = any(row.failed for row in rows)
    if failing:
        table.add_column("failed", justify="right")
    last = ""
    for row in rows:
        if last and row.scenario != last:
            table.add_section()
        s = row.summary
        cells = ["0", *["-"] * (5 + len(bounded))]
        if s is not None:
            cells = [
                str(len(s.seeds)),
                _shown(s.figures["mean_jct_s"], 1 / length),
                _change(s),
                *_bound(s, length)[: len(bounded)],
                _shown(s.figures["p99_jct_s"], 1 / far),
                _shown(s.figures["idle_fraction"], 100.0),
                _shown(s.figures["waste_fraction"], 100.0),
            ]
        name = "" if row.scenario == last else escape(plain(row.scenario))
        failed = [str(row.failed)] if failing else []
        table.add_row(name, escape(plain(row.policy)), *cells, *failed)
        last = row.scenario
    if bounded:
        held_for = fewest(s.bound_holds_for for s in shown if s.bounds)
        table.caption = f"bound: on the mean JCT of the jobs that finished, for {held_for}"
        table.caption_justify = "left"
    return table


def _bound(summary: Summary, length: float) -> list[str]:
    bound = summary.bounds.get("mean_jct_s", math.nan)
    return [number(bound / length), number(100 * summary.gap())]


def _shown(figure: Interval, scale: float) -> str:
    return spread(figure.mean * scale, half_width(figure) * scale)


def _change(summary: Summary) -> str:
    """Return the change of mean completion time, in percent of the first policy's."""
    found: Mapping[str, Interval] = summary.differences or {}
    change = found.get("mean_jct_s")
    if change is None:
        return ""
    reference = summary.mean("mean_jct_s") - change.mean
    if not reference:
        return "-"
    return spread(100 * change.mean / reference, 100 * half_width(change) / reference, "+")


@contextmanager
def sweep_progress(console: Console, grid: Grid) -> Iterator[SweepProgress]:
    """Show a bar with rate, remaining time and running interval; lines where piped."""
    with replays_bar(console) as bar:
        yield SweepProgress(console, bar, grid)


class SweepProgress:
    """Moves the bar; called after each cell.

    Parameters
    ----------
    console : Console
        Where lines go if it is no terminal.
    bar : Progress
        What is moved if it is one.
    grid : Grid
        Names of what is played.
    """

    def __init__(self, console: Console, bar: Progress, grid: Grid) -> None:
        self._console = console
        self._bar = bar
        self._grid = grid
        self._task = bar.add_task("starting", total=None)
        self._spoke_s = self._start_s = time.monotonic()
        self._counted = False

    def __call__(self, standing: Standing) -> None:
        """Show how far the sweep has come."""
        ended = standing.done + standing.failed
        if standing.latest is not None and not self._counted:
            self._counted = True  # the rate shall count neither the start nor earlier sweeps
            self._bar.reset(self._task, total=standing.total, completed=ended)
            self._start_s = time.monotonic()
        self._bar.update(
            self._task,
            completed=ended,
            total=standing.total,
            description=self._running_interval(standing),
        )
        if not self._console.is_terminal and time.monotonic() - self._spoke_s > LINE_EVERY_S:
            self._spoke_s = time.monotonic()
            self._console.print(self._line(standing, ended), markup=False, soft_wrap=True)

    def _running_interval(self, standing: Standing) -> str:
        place, found = standing.latest, standing.interval
        if place is None or found is None:
            return "starting"
        group = self._grid.groups[place.group]
        names = (group.cluster, group.workload, group.scenario, self._grid.policies[place.policy])
        return (
            f"{' '.join(plain(n, 20) for n in names)}: {running_interval(standing.metric, found)}"
        )

    def _line(self, standing: Standing, ended: int) -> str:
        played = ended - standing.reused
        elapsed_s = time.monotonic() - self._start_s
        left = ""
        if played > 0 and elapsed_s > 0 and math.isfinite(elapsed_s):
            rate = played / elapsed_s
            remaining_s = (standing.total - ended) / rate
            left = f", {number(rate)}/s, about {duration(max(1.0, remaining_s))} left"
        failed = f", {standing.failed} failed" if standing.failed else ""
        return (
            f"{ended} of {standing.total} cells{failed}{left}; {self._running_interval(standing)}"
        )
