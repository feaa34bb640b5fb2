"""What a comparison comes to, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scheduler.core.ledger import HELD_UNPRODUCTIVE_CAUSES, IDLE_CAUSES, Cause
from scheduler.core.metrics import Interval
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.report.summary import Summary, half_width, is_clear
from scheduler.report.tables import REMEDIES
from scheduler.report.words import duration, number, percent, plain

INFORMATION: dict[str, str] = {
    "exact": "policies know the true remaining work",
    "estimates": "policies know the users' estimates",
    "none": "policies know only the service attained so far",
}


def inputs_line(problem: Problem, load: float) -> str:
    """Return a line on the fleet and what it is asked to do."""
    capacity = dict(zip(problem.types, problem.capacity(), strict=True))
    kinds = ", ".join(f"{count} {plain(name)}" for name, count in capacity.items())
    jobs = len(problem.workload.jobs)
    services = len(problem.workload.services)
    asked = f"{jobs:,} job{_s(jobs)}"
    if services:
        asked += f", {services} service{_s(services)}"
    text = (
        f"{plain(problem.cluster.name)}: {sum(capacity.values()):,} accelerators ({kinds})\n"
        f"{plain(problem.workload.name)}: {asked}"
    )
    return f"{text}, offered load {number(load)}" if math.isfinite(load) else text


def replays_line(summaries: Sequence[Summary], noise_sigma: float) -> str:
    """Return a line on how the figures came about."""
    first = summaries[0]
    count = len(first.seeds)
    seeds = f"seed {first.seeds[0]}" if count == 1 else f"seeds {first.seeds[0]}-{first.seeds[-1]}"
    text = f"{count} replay{_s(count)} of each policy ({seeds})"
    if noise_sigma:
        text += f", run times with noise of {percent(noise_sigma, 0)}"
    text += f"; information {first.information}: {INFORMATION[first.information]}"
    if count > 1:
        return f"{text}; ± is the 95 % interval"
    return f"{text}; several (--replays 8) would give intervals"


def prediction_lines(runs: Sequence[Run]) -> list[str]:
    """Return a line for each run in which run times were learnt: how far off they have been."""
    lines = []
    for run in runs:
        facts = run.solver
        if "predicted_error_median" in facts:
            line = f"{plain(run.policy)}: learnt run times were {_off(facts, 'predicted')}"
            if "estimate_error_median" in facts:
                line += f"; users' estimates {_off(facts, 'estimate')}"
            lines.append(line)
    return lines


def _off(facts: Mapping[str, float], whose: str) -> str:
    middle, most = (math.exp(facts[f"{whose}_error_{of}"]) for of in ("median", "p90"))
    under = percent(facts[f"{whose}_under_share"], 0)
    return (
        f"off by a factor of {number(middle)} or less for half the jobs, {number(most)} for nine"
        f" in ten, too short for {under}"
    )


def verdict_lines(summaries: Sequence[Summary]) -> list[str]:
    """Return the answer: the best policy, by how much, how sure, and what is left to gain."""
    best = min(summaries, key=lambda s: (_or_infinite(s.mean("mean_jct_s")), s.policy))
    lines: list[str] = []
    for name, title in (("mean_jct_s", "mean completion time"), ("waste_fraction", "waste")):
        winner = min(summaries, key=lambda s: (_or_infinite(s.mean(name)), s.policy))
        if len(summaries) > 1 and math.isfinite(winner.mean(name)):
            lines.append(f"Least {title}: {_win(winner, summaries, name)}")
    lines += _clarity(summaries)
    lines.append(_rest(best))
    return lines


def _clarity(summaries: Sequence[Summary]) -> list[str]:
    """Return which policies differ from the first beyond what chance explains."""
    reference = summaries[0]
    if len(summaries) < 2 or len(reference.seeds) < 2:
        return []
    changes = {s.policy: (s.differences or {}).get("mean_jct_s") for s in summaries[1:]}
    groups = {
        "clear": [name for name, c in changes.items() if c and is_clear(c)],
        "not clear": [name for name, c in changes.items() if c and not is_clear(c)],
    }
    parts = [
        f"{word} for {', '.join(plain(name) for name in names)}"
        for word, names in groups.items()
        if names
    ]
    return [
        f"Paired over {len(reference.seeds)} seeds, the change of mean completion time against "
        f"{plain(reference.policy)} is {', '.join(parts)}."
    ]


def violations_line(summaries: Sequence[Summary]) -> str:
    """Return what the verifier found."""
    replays = sum(len(s.seeds) for s in summaries)
    found = sum(len(s.violations) for s in summaries)
    if found:
        return f"The verifier found {found} violation{_s(found)} in {replays} run{_s(replays)}."
    return f"{replays} run{_s(replays)} verified: no violations, ledgers balance."


def _win(winner: Summary, summaries: Sequence[Summary], name: str) -> str:
    text = f"{plain(winner.policy)}, {_value(winner.mean(name), name)}"
    reference = summaries[0]
    change = (winner.differences or {}).get(name)
    if winner is reference or change is None or not math.isfinite(change.mean):
        return f"{text}."
    return f"{text}; {_against(change, reference, name)}."


def _against(change: Interval, reference: Summary, name: str) -> str:
    base = reference.mean(name)
    unit = 100 / base if name == "mean_jct_s" and base else 100.0
    word = "% less" if name == "mean_jct_s" else "points less"
    text = f"{number(-change.mean * unit)} {word} than {plain(reference.policy)}"
    if not math.isfinite(change.low):
        return text
    sure = "" if is_clear(change) else ", not clear"
    return f"{text} (± {number(half_width(change) * unit)}{sure})"


def _rest(best: Summary) -> str:
    causes = [*IDLE_CAUSES, *HELD_UNPRODUCTIVE_CAUSES]
    largest = max(causes, key=lambda c: best.ledger[c.label])
    text = (
        f"With {plain(best.policy)}, {percent(best.mean('idle_fraction'))} of accelerator-time is "
        f"idle; the largest loss is {largest.label} ({percent(best.share(largest.label))}), "
        f"which {_remedy(largest)} would remove."
    )
    gap = best.gap()
    if math.isfinite(gap):
        most = percent(1 - 1 / (1 + gap), 0)
        text += f" No schedule can cut its mean completion time by more than {most}."
    return text


def _remedy(cause: Cause) -> str:
    return " or ".join(REMEDIES[cause].split(", "))


def _value(value: float, name: str) -> str:
    return duration(value) if name.endswith("_s") else percent(value)


def _or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _s(count: int) -> str:
    return "" if count == 1 else "s"
