"""An explanation as people read it in the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.report.explanation import Explanation, TypeStory
from scheduler.report.page.blocks import Block
from scheduler.report.tables import REMEDIES, STYLES
from scheduler.report.words import duration, number, percent, plain

HOUR_S: Final = 3600.0
SHOWN_REASONS: Final = 2
SHOWN_JOBS: Final = 3
LONGEST_REASON: Final = 90
_LACKS: Final = re.compile(r"does not support (\S+)")


def level_table(explanation: Explanation, *levels: str) -> Table:
    """Return accelerator-hours by cause for each row of the levels; causes that occur only."""
    rows = explanation.rows(*levels)
    present = [c for c in Cause if any(sums[c] > 0 for sums in rows.values())]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for level in levels:
        table.add_column(level)
    for cause in present:
        table.add_column(cause.label.replace("_", "\n"), justify="right", style=STYLES[cause])
    with_idle = "tenant" not in levels  # idle time is nobody's
    if with_idle:
        table.add_column("idle", justify="right")
    for names, sums in rows.items():
        cells = [_hours(float(sums[c])) for c in present]
        named = [escape(plain(name)) for name in names]
        table.add_row(*named, *cells, *([percent(_idle_share(sums))] if with_idle else []))
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
    yield f"{plain(story.name)}: idle {idle} of its time, of which {parts}."
    largest = next(iter(story.causes))
    if largest in REMEDIES:
        yield f"  most of it would be removed by: {REMEDIES[largest]}"
    if Cause.INCOMPATIBLE in story.causes:
        share = percent(story.causes[Cause.INCOMPATIBLE] / story.idle_s, 0)
        yield f"  {share} of the idle {plain(story.name)} time is incompatible: {_why(story)}"


def _why(story: TypeStory) -> str:
    """Return who waited and why they could not use the type."""
    clauses = [clause(r.text, r.jobs) for r in story.reasons[:SHOWN_REASONS]]
    more = sum(r.jobs for r in story.reasons[SHOWN_REASONS:])
    if more:
        clauses.append(f"{_jobs(more)} for other reasons")
    kept_off = "quotas, reservations or labels keep the waiting jobs off it"
    return "; ".join(clauses) or kept_off


def clause(reason: str, jobs: int) -> str:
    """Return that so many waiting jobs could not use a type, and why.

    >>> clause("does not support fp8", 21)
    '21 waiting jobs need fp8'
    >>> clause("needs 90 GiB per accelerator, the type has 80 GiB", 1)
    '1 waiting job needs 90 GiB per accelerator, the type has 80 GiB'
    """
    one = jobs == 1
    lacking = _LACKS.search(reason)
    if lacking:
        text = f"{'needs' if one else 'need'} {lacking[1]}"
    elif reason.startswith("needs "):
        text = f"{'needs' if one else 'need'} {reason.removeprefix('needs ')}"
    elif reason.startswith("built for "):
        text = f"{'is' if one else 'are'} {reason}"
    elif reason.startswith("waits for its turn"):
        text = reason if one else "wait for their turn in their array"
    else:
        text = f"could not use it: {reason}"
    return f"{_jobs(jobs)} {plain(text, LONGEST_REASON)}"


def _jobs(count: int) -> str:
    return f"{count} waiting job{'' if count == 1 else 's'}"


def block_table(explanation: Explanation, most: int) -> Table:
    """Return the largest idle blocks and the jobs around them."""
    problem = explanation.problem
    ids = problem.workload.jobs.ids
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("from", "for", "type", "nodes", "idle\naccelerator-h", "cause"):
        table.add_column(title, justify="right" if title[0] in "fi" else "left")
    table.add_column("ended before", overflow="fold")
    table.add_column("caused by", overflow="fold")
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
            _caused(explanation, block),
        )
    return table


def _caused(explanation: Explanation, block: Block) -> str:
    """Return the jobs whose wants the block's cause speaks of, and what kept them off it."""
    jobs, count = block.caused_by
    ids = explanation.problem.workload.jobs.ids
    names = _names([ids[j] for j in jobs], count)
    reason = explanation.reason_of(block)
    lacking = _LACKS.search(reason)
    words = f"need {lacking[1]}" if lacking else reason
    return f"{names} ({escape(plain(words, LONGEST_REASON))})" if words else names


def _names(ids: Sequence[str], count: int) -> str:
    shown = ", ".join(plain(name, 20) for name in ids[:SHOWN_JOBS])
    more = count - min(len(ids), SHOWN_JOBS)
    return escape(shown + (f" +{more}" if more > 0 else "")) or "-"


def _hours(seconds: float) -> str:
    return number(seconds / HOUR_S) if seconds else "-"


def _idle_share(sums: FloatArray) -> float:
    total = float(sums.sum())
    return sum(float(sums[c]) for c in IDLE_CAUSES) / total if total else 0.0
