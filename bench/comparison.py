"""All results in one table: what the README's section "How it compares" prints.

Cases are gathered by bench, metric and peer; a group shows its median ratio of ours to the
peer's, its best and worst case, and how many cases we lose. Where we play a peer's own policy
again, or check one model against another, a ratio of one is wanted; elsewhere more or less, by
the metric.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers import KNOWLEDGE

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"

MORE_IS_BETTER: Final = (
    *("allocation", "flow", "tokens", "throughput", "slo", "goodput"),
    *("bound on", "share_of_ideal"),
)
"""How the names of metrics begin of which more is better; of all others less is."""

SAME_IS_BETTER: Final = ("fgd", "slurm", "execute_schedule", "fluid", "gavel", "sia", "shockwave")
"""Benches that play the peer again, but for the cases that name our optimizer."""

SPEED_UPS: Final = ("round",)
"""Benches whose ratio says how many times faster we are."""

YARDSTICKS: Final = ("replay",)
"""Benches that measure against a yardstick, each with a bound of its own."""

OF_OURSELVES: Final = ("truth", "prediction")
"""Benches that set us beside ourselves or the truth, not beside a peer."""

HINDSIGHT: Final = "best baseline of each problem, in hindsight"
"""The peer of `floor`, which is another policy on each problem."""

PLAYED_AGAIN: Final = "its own runs, played again"

TOLERANCE: Final = 0.005
"""Ratios this near to one are a tie."""

KEPT: Final = (
    *("case", "metric", "ours", "peer", "peer_name", "ratio", "bound", "gap"),
    *("seconds", "peer_seconds", "information", "violations"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Cases of one bench, metric and peer."""

    bench: str
    metric: str
    peer: str
    ratios: tuple[float, ...]
    cases: tuple[str, ...]
    gaps: tuple[float, ...]
    information: str
    violations: int

    @property
    def aim(self) -> str:
        """``more``, ``less`` or ``same``."""
        if self.peer == PLAYED_AGAIN:
            return "same"
        more = self.bench in SPEED_UPS or self.metric.startswith(MORE_IS_BETTER)
        return "more" if more else "less"

    @property
    def what(self) -> str:
        """What the ratio is of."""
        return "times faster" if self.bench in SPEED_UPS else f"`{self.metric}`"

    def loss(self, ratio: float) -> float:
        """Return by what share a ratio is on the wrong side; negative where we are ahead."""
        if self.aim == "same":
            return abs(ratio - 1)
        return 1 - ratio if self.aim == "more" else ratio - 1

    @property
    def lost(self) -> list[str]:
        """Cases where the peer is better by more than a tie."""
        if self.aim == "same":
            return []
        pairs = zip(self.cases, self.ratios, strict=True)
        return [case for case, ratio in pairs if self.loss(ratio) > TOLERANCE]


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as small as a dated record needs it: six digits, nothing empty."""
    cases = [
        {k: _short(case[k]) for k in KEPT if case.get(k) not in (None, "")}
        for case in result["cases"]
    ]
    rest = {k: _short(result[k]) for k in ("seconds", "machine") if k in result}
    return {"bench": result["bench"], **rest, "cases": cases}


def _short(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def complete(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result whose cases have every field; None where a bench has nothing to say."""
    usual = dict.fromkeys(KEPT) | {"information": "", "violations": 0}
    return {**result, "cases": [{**usual, **case} for case in result["cases"]]}


def groups(results: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Gather the cases that a peer has a figure for."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        for case in result["cases"]:
            ratio = case.get("ratio")
            peer = str(case.get("peer_name") or "")
            if not peer or peer.startswith("ours") or ratio is None or not math.isfinite(ratio):
                continue
            if _again(result["bench"], case):
                peer = PLAYED_AGAIN
            if result["bench"] == "floor":
                peer = HINDSIGHT
            if result["bench"] not in (*YARDSTICKS, *OF_OURSELVES):
                found.setdefault((result["bench"], case["metric"], peer), []).append(case)
    return [
        Group(
            *key,
            tuple(case["ratio"] for case in cases),
            tuple(case["case"] for case in cases),
            tuple(case["gap"] for case in cases if case.get("gap") is not None),
            str(cases[0].get("information") or ""),
            sum(int(case.get("violations") or 0) for case in cases),
        )
        for key, cases in found.items()
    ]


def _again(bench: str, case: Mapping[str, Any]) -> bool:
    """Return whether a case plays the peer's own policy, or checks a model against another."""
    ours = bench != "execute_schedule" and "optimizer" in case["case"]
    return bench in SAME_IS_BETTER and not ours and case["metric"] != "seconds"


def markdown(results: Sequence[Mapping[str, Any]], dated: str) -> Iterator[str]:
    """Yield the section's lines."""
    machine = results[0]["machine"] if results else {}
    yield (
        f"Ours over the peer's figure, from `python -m bench all --keep {dated}` on"
        f" {machine.get('cores', '?')} cores of {machine.get('processor', 'an unknown processor')}."
    )
    yield ""
    yield "| bench | metric | peer | cases | median ratio | best | worst | better | lost | gap |"
    yield "|---|---|---|--:|--:|--:|--:|---|--:|--:|"
    every = groups(results)
    for group in every:
        ordered = sorted(group.ratios, key=group.loss)
        gap = f"{100 * statistics.median(group.gaps):.1f} %" if group.gaps else "-"
        cells = (
            *(group.bench, group.what, group.peer, str(len(ordered))),
            *(f"{r:.3f}" for r in (statistics.median(ordered), ordered[0], ordered[-1])),
            *(group.aim, str(len(group.lost)), gap),
        )
        yield "| " + " | ".join(cells) + " |"
    for result in results:
        if result["bench"] in YARDSTICKS:
            said = (
                f"{case['case']} {case['ratio']:.2f}"
                + (f" (asked {case['bound']})" if case.get("bound") else "")
                for case in result["cases"]
            )
            yield ""
            yield f"`{result['bench']}`, ratio to each yardstick: {'; '.join(said)}."
        if result["bench"] == "truth":
            held, trials = (sum(int(c[k]) for c in result["cases"]) for k in ("ours", "peer"))
            yield ""
            yield f"`truth`: {held:,} of {trials:,} answers and bounds hold."
    yield ""
    yield "What each side knows:"
    yield ""
    for bench in dict.fromkeys(group.bench for group in every):
        if bench in KNOWLEDGE:
            yield f"- `{bench}`: {KNOWLEDGE[bench]}."
    yield ""
    lost = [group for group in every if group.lost]
    yield "Cases we lose:" if lost else "Cases we lose: none of these."
    yield ""
    for group in lost:
        yield f"- `{group.bench}`, {group.what} against {group.peer}: {'; '.join(group.lost)}."
    yield ""
    broken = sum(group.violations for group in every)
    yield f"Violations found by the verifiers in all of them: {broken}."


def with_section(text: str, lines: Sequence[str]) -> str:
    """Return a README with the section between its marks replaced.

    Raises
    ------
    ValueError
        If the marks are not there, once each.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the README needs one line {BEGIN} and one line {END}")
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2]


def readme() -> Path:
    """Return the README's path."""
    return Path(__file__).resolve().parents[1] / "README.md"
