"""Everything on a page: the answer, the policies side by side, and runs in detail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scheduler.core.ledger import HELD_UNPRODUCTIVE_CAUSES, IDLE_CAUSES, Cause
from scheduler.core.metrics import FIGURES, Interval
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.report.page.details import NAME_LIMIT, Details, details_of, fleet_of
from scheduler.report.page.interconnect import Network
from scheduler.report.summary import BOUNDS, Summary, is_clear
from scheduler.report.tables import REMEDIES
from scheduler.report.words import duration, percent, plain

MOST_TENANTS: Final = 20
"""Tenants whose use is listed, those that had most."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a page's figures come from, for its last section.

    Parameters
    ----------
    command : str
        What makes the same figures again.
    facts : mapping of str to str
        Name to value: hashes, versions, settings; shown as they are.
    """

    command: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Policies played on one problem.

    Parameters
    ----------
    name : str
        What tells it from other groups, ``""`` where there is but one.
    summaries : sequence of Summary
        By policy.
    """

    name: str
    summaries: Sequence[Summary]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page shows.

    Parameters
    ----------
    title : str
        Fleet and workload.
    answer : str
        One sentence.
    data : mapping
        For the page's script.
    details : sequence of Details
        Of each run that is drawn, in the order of ``data["runs"]``.
    """

    title: str
    answer: str
    data: Mapping[str, Any]
    details: Sequence[Details] = ()


def contents_of(
    groups: Sequence[Group],
    origin: Origin,
    *,
    title: str,
    problem: Problem | None = None,
    runs: Sequence[Run] = (),
) -> Contents:
    """Put a page together.

    Parameters
    ----------
    groups : sequence of Group
        At least one, of at least one policy.
    origin : Origin
        For the section on proof.
    title : str
        What was played on what.
    problem : Problem or None
        That of `runs`.
    runs : sequence of Run
        Drawn in detail, one of each policy.
    """
    details: list[Details] = []
    fleet = None
    if problem is not None and runs:
        network = Network(problem.cluster)
        fleet = fleet_of(problem, network)
        details = [details_of(problem, run, network) for run in runs]
    answer = answer_of(groups[0].summaries)
    data = {
        "title": plain(title, 300),
        "answer": answer,
        "causes": [
            {
                "name": c.label,
                "group": _group_of(c),
                "remedy": REMEDIES.get(c, ""),
            }
            for c in Cause
        ],
        "types": [plain(t, NAME_LIMIT) for t in problem.types] if problem else [],
        "capacity": list(problem.capacity()) if problem else [],
        "groups": [
            {"name": plain(g.name, 300), "policies": [policy_row(s) for s in g.summaries]}
            for g in groups
        ],
        "fleet": fleet,
        "runs": [d.data for d in details],
        "origin": {
            "command": plain(origin.command, 2000),
            "facts": [[plain(k), plain(v, 1000)] for k, v in origin.facts.items()],
        },
    }
    return Contents(plain(title, 300), answer, data, details)


def answer_of(summaries: Sequence[Summary]) -> str:
    """Return the answer in one sentence, with its interval and its bound."""
    best = min(summaries, key=lambda s: (_or_infinite(s.mean("mean_jct_s")), s.policy))
    figure = best.figures["mean_jct_s"]
    idle = percent(best.mean("idle_fraction"))
    causes = [*IDLE_CAUSES, *HELD_UNPRODUCTIVE_CAUSES]
    largest = max(causes, key=lambda c: best.ledger[c.label])
    loss = (
        f"{idle} of accelerator-time is idle and the largest loss is {largest.label} "
        f"({percent(best.share(largest.label))}), which "
        f"{' or '.join(REMEDIES[largest].split(', '))} would remove"
    )
    if not math.isfinite(figure.mean):
        return f"With {plain(best.policy)}, no job finished; {loss}."
    lead = "With" if len(summaries) == 1 else "Best with"
    text = f"{lead} {plain(best.policy)}: jobs complete in {duration(figure.mean)} on average"
    if math.isfinite(figure.low):
        text += f" (95 % interval {duration(max(0.0, figure.low))} to {duration(figure.high)})"
    if best.bounds.get("mean_jct_s", 0) > 0:
        which = best.bound_holds_for.removeprefix("every ")
        text += f", where no {which} can do it in less than {duration(best.bounds['mean_jct_s'])}"
    return f"{text}; {loss}."


def policy_row(summary: Summary) -> dict[str, Any]:
    """Return one policy's figures: mean, low and high over replays, None where there is none."""
    return {
        "policy": plain(summary.policy, NAME_LIMIT),
        "information": summary.information,
        "seeds": list(summary.seeds),
        "accelerator_s": summary.accelerator_s,
        "period_s": summary.horizon_s,
        "figures": {n: _ends(summary.figures[n]) for n in FIGURES},
        "ledger": [round(summary.ledger[c.label], 1) for c in Cause],
        "by_type": {
            plain(name, NAME_LIMIT): [round(row[c.label], 1) for c in Cause]
            for name, row in summary.by_type.items()
        },
        "bounds": {n: _number(summary.bounds.get(n, math.nan)) for n in BOUNDS},
        "bound_proof": summary.bound_proof,
        "gap": _number(summary.gap()),
        "against": plain(summary.against, NAME_LIMIT),
        "differences": {
            n: [*_ends(f), is_clear(f)]
            for n, f in (summary.differences or {}).items()
            if n in FIGURES and math.isfinite(f.mean)
        },
        "violations": [plain(v, 300) for v in summary.violations[:20]],
        "violation_count": len(summary.violations),
        "tenants": _tenants(summary),
        "tenant_count": len(summary.tenants),
    }


def _tenants(summary: Summary) -> list[dict[str, Any]]:
    """Return what those tenants had that had most."""
    of = summary.tenants
    most = sorted(of, key=lambda name: (-of[name].accelerator_s.mean, name))[:MOST_TENANTS]
    return [
        {
            "name": plain(name, NAME_LIMIT),
            "weight": of[name].weight,
            "accelerator_s": _ends(of[name].accelerator_s),
            "share": _ends(of[name].share),
            "dominant_share": _ends(of[name].dominant_share),
        }
        for name in most
    ]


def _group_of(cause: Cause) -> str:
    if cause in IDLE_CAUSES:
        return "idle"
    if cause in HELD_UNPRODUCTIVE_CAUSES:
        return "held"
    return cause.label


def _ends(figure: Interval) -> list[float | None]:
    return [_number(figure.mean), _number(figure.low), _number(figure.high)]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
