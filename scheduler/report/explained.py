"""An explanation as people read it in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.report.explanation import Explanation, TypeStory
from scheduler.report.tables import REMEDIES, STYLES
from scheduler.report.words import duration, number, percent, plain

HOUR_S: Final = 3600.0
SHOWN_REASONS: Final = 2
SHOWN_JOBS: Final = 3
LONGEST_REASON: Final = 90


def level_table(explanation: Explanation, level: str) -> Table:
    """Return accelerator-hours by cause for each row of a level; causes that occur only."""
    rows = explanation.rows(level)
    present = [c for c in Cause if any(sums[c] > 0 for sums in rows.values())]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(level)
    for cause in present:
        table.add_column(cause.label.replace("_", "\n"), justify="right", style=STYLES[cause])
    some_idle = any(_idle_share(sums) > 0 for sums in rows.values())
    if some_idle:  # of tenants there is none: idle time is nobody's
        table.add_column("idle", justify="right")
    for name, sums in rows.items():
        cells = [_hours(float(sums[c])) for c in present]
        idle = [percent(_idle_share(sums))] if some_idle else []
        table.add_row(escape(plain(name)), *cells, *idle)
    return table


def story_lines(explanation: Explanation) -> Iterator[str]:
    """Yield a sentence for each type that was idle, most idle first."""
    for story in explanation.stories():
        if story.idle_s > 0:
            yield from _sentences(story)


def _sentences(story: TypeStory) -> Iterator[str]:
    idle = percent(story.idle_s / story.capacity_s)
    parts = ", ".join(
        f"{percent(seconds / story.idle_s, 0)} {cause.label}"
        for cause, seconds in story.causes.items()
        if seconds >= 0.01 * story.idle_s
    )
    largest = next(iter(story.causes))
    yield f"{plain(story.name)}: idle {idle} of its time, of which {parts}."
    if largest in REMEDIES:
        yield f"  most of it would be removed by: {REMEDIES[largest]}"
    if Cause.INCOMPATIBLE in story.causes:
        for reason in story.reasons[:SHOWN_REASONS]:
            jobs = f"{reason.jobs} waiting job{'' if reason.jobs == 1 else 's'}"
            yield f"  {jobs} could not use it: {plain(reason.text, LONGEST_REASON)}"


def block_table(explanation: Explanation, most: int) -> Table:
    """Return the largest idle blocks and the jobs around them."""
    problem = explanation.problem
    ids = problem.workload.jobs.ids
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("from", "for", "type", "nodes", "idle\naccelerator-h", "cause"):
        table.add_column(title, justify="right" if title[0] in "fi" else "left")
    table.add_column("ended before", overflow="fold")
    table.add_column("waited meanwhile", overflow="fold")
    for block in explanation.blocks(most):
        cause = block.causes[0][0].label if block.causes else "-"
        table.add_row(
            duration(block.start_us / US_PER_S),
            duration((block.end_us - block.start_us) / US_PER_S),
            escape(plain(problem.types[problem.pools[block.pool].type_index])),
            str(len(block.nodes)),
            _hours(block.idle_s),
            cause,
            _names([ids[j] for j in block.before], len(block.before)),
            _names([ids[j] for j in block.waiting], block.waiting_count),
        )
    return table


def _names(ids: Sequence[str], count: int) -> str:
    shown = ", ".join(plain(name, 20) for name in ids[:SHOWN_JOBS])
    more = count - min(len(ids), SHOWN_JOBS)
    return escape(shown + (f" +{more}" if more > 0 else "")) or "-"


def _hours(seconds: float) -> str:
    return number(seconds / HOUR_S) if seconds else "-"


def _idle_share(sums: FloatArray) -> float:
    total = float(sums.sum())
    return sum(float(sums[c]) for c in IDLE_CAUSES) / total if total else 0.0
