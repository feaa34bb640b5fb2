"""`--report` of the commands that do not play policies: what they found as one page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.commands.printing import say
from scheduler.commands.reporting import report_results
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import GIB
from scheduler.execute.cell import Cell, Settings, result_of
from scheduler.physics.network import Refusal
from scheduler.physics.predictions import Report
from scheduler.physics.type_estimates import TypeEstimate
from scheduler.policies import INFORMATION_LEVELS, Information
from scheduler.report import summarise
from scheduler.report.catalogues import UNSURE_NOTE, type_name
from scheduler.report.estimates import how_of
from scheduler.report.table_page import Sheet, write_tables
from scheduler.report.words import number, percent


def report_run(
    problem: Problem,
    run: Run,
    made_from: Mapping[str, Any],
    command: str,
    path: Path,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the page of one run that a command has made or carried out.

    Parameters
    ----------
    problem, run : Problem, Run
        What was asked, and what happened.
    made_from : mapping
        As a run file says it.
    command : str
        Gives these figures again.
    path : Path
        The page.
    facts : mapping of str to str, optional
        What else the section on proof says.
    """
    information: Information = next(
        (i for i in INFORMATION_LEVELS if i == run.information), "exact"
    )
    settings = Settings(information, keep_run=True)
    result = result_of(problem, Cell(run.policy, run.seed), settings, run)
    report_results(problem, [result], summarise([result]), made_from, command, path, facts)


def report_estimates(
    title: str, rows: Sequence[TypeEstimate], unit: str, facts: Mapping[str, str], path: Path
) -> None:
    """Write the page of one job on accelerator types, fastest first, with those refused."""
    possible = [(r, r.found) for r in rows if r.work_per_s > 0 and not isinstance(r.found, Refusal)]
    refused = [(r, r.found) for r in rows if isinstance(r.found, Refusal)]
    answer = "No accelerator type that was asked about can do it."
    top = 1.0
    if possible:
        best = max(possible, key=lambda pair: pair[0].work_per_s)[0]
        top = best.work_per_s
        answer = (
            f"{best.accelerator.name} is the fastest of {len(rows)}: {number(top)} {unit}/s on "
            f"{best.count} of them."
        )
    able = Sheet(
        "Where it can run",
        ("accelerator", f"{unit}/s", "low", "high", "GiB used\nof each", "GiB\nof each", "W",
         f"{unit}/J", "million\nper USD", "compute", "memory", "net", "bubble", "how"),
        [
            (
                type_name(row.accelerator.name, row.accelerator.confidence),
                number(row.work_per_s),
                number(row.work_per_s / math.exp(found.sigma_log)),
                number(row.work_per_s * math.exp(found.sigma_log)),
                number(found.memory_bytes / GIB),
                number(row.accelerator.memory_bytes / GIB),
                number(found.power_w),
                number(row.work_per_joule),
                number(row.work_per_usd / 1e6),
                *(
                    percent(part / found.step_s.total, 0)
                    for part in (
                        found.step_s.compute,
                        found.step_s.memory,
                        found.step_s.communication,
                        found.step_s.bubble,
                    )
                ),
                how_of(found),
            )
            for row, found in possible
        ],
        frozenset((13,)),
        [row.work_per_s / top for row, _ in possible],
    )  # fmt: skip
    unable = Sheet(
        "Where it cannot, and why",
        ("accelerator", "because"),
        [
            (type_name(row.accelerator.name, row.accelerator.confidence), found.reason)
            for row, found in refused
        ],
        frozenset((1,)),
    )
    notes = {"Low and high": "with odds of 2:1", "?": UNSURE_NOTE}
    write_tables(title, answer, [able, unable], {**facts, **notes}, path)
    say(f"wrote {path}")


def report_predictions(title: str, report: Report, facts: Mapping[str, str], path: Path) -> None:
    """Write the page of a table of published runs beside what the formulas say."""
    errors = report.errors
    answer = "None of its rows counts towards the errors."
    if errors.rows:
        answer = (
            f"{errors.rows} figures: half are within {percent(errors.median)} of what was "
            f"measured, nine in ten within {percent(errors.p90)}."
        )
    groups = Sheet(
        "Errors by group",
        ("group", "figures", "median", "p90"),
        [
            (name, str(e.rows), percent(e.median), percent(e.p90))
            for name, e in report.groups.items()
            if e.rows
        ],
    )
    worst = max((p.relative_error for p in report.predictions if p.counted), default=1.0) or 1.0
    shown = sorted(
        (p for p in report.predictions if p.measured is not None), key=lambda p: -p.relative_error
    )
    figures = Sheet(
        "Figures, the farthest off first",
        ("row", "figure", "predicted", "measured", "error", "counts"),
        [
            (
                p.id,
                p.quantity,
                number(p.predicted),
                number(p.measured if p.measured is not None else math.nan),
                percent(p.relative_error),
                "yes" if p.counted else "no",
            )
            for p in shown
        ],
        frozenset((1,)),
        [min(1.0, p.relative_error / worst) for p in shown],
    )
    left = Sheet(
        "Not predicted", ("row", "because"), [*report.unpredicted.items()], frozenset((1,))
    )
    write_tables(title, answer, [groups, figures, left], facts, path)
    say(f"wrote {path}")
