"""What changed between two dated results: regressions by name, exit code 1 where there are any.

Usage: python -m bench trend [OLD NEW] [--all]

Without files, the two newest of ``bench/results``. A figure has regressed when it moved the
wrong way by more than 1 %, a time by more than half: times of another day say little, and where
the machine differs they are not judged at all. A figure that was there and is no longer is
named too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.comparison import Group, groups

RESULTS: Final = Path(__file__).resolve().parent / "results"
QUALITY: Final = 0.01
SECONDS: Final = 0.5
LEAST_S: Final = 0.05
"""Times below this are noise."""

SAME_MACHINE: Final = ("processor", "cores")


@dataclass(frozen=True, slots=True)
class Change:
    """A figure in two results.

    Parameters
    ----------
    bench, case, metric : str
        Which.
    old, new : float or None
        Its values; None where it is not there.
    worse : float
        By what share it moved the wrong way; negative: the right way.
    limit : float
        Beyond which it counts as a regression.
    """

    bench: str
    case: str
    metric: str
    old: float | None
    new: float | None
    worse: float
    limit: float

    @property
    def regressed(self) -> bool:
        """Whether it moved the wrong way by more than its limit."""
        return self.worse > self.limit


def changes(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield every figure of benches that both results hold."""
    before, after = ({r["bench"]: r for r in results} for results in (old, new))
    for bench in before:
        if bench not in after:
            continue
        yield from _ratios(before[bench], after[bench])
        facts = [r["machine"] for r in (before[bench], after[bench])]
        if all(facts[0].get(key) == facts[1].get(key) for key in SAME_MACHINE):
            yield from _seconds(before[bench], after[bench])


def _ratios(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the ratios to peers, each with its own way of being better."""
    before, after = (
        {(g.metric, g.peer, c): (g, r) for g in groups([x]) for c, r in _pairs(g)}
        for x in (old, new)
    )
    for key, (group, was) in before.items():
        metric, peer, case = key
        name = f"{metric} over {peer}"
        if key not in after:
            yield Change(old["bench"], case, name, was, None, math.inf, QUALITY)
            continue
        now = after[key][1]
        # Losses are shares on the wrong side, so that more of them is worse for any metric.
        worse = group.loss(now) - group.loss(was)
        if group.aim != "same" and was:
            worse /= abs(was)
        yield Change(old["bench"], case, name, was, now, worse, _limit(group))


def _pairs(group: Group) -> Iterator[tuple[str, float]]:
    """Yield cases and ratios; a name that comes again gets its number."""
    seen: dict[str, int] = {}
    for case, ratio in zip(group.cases, group.ratios, strict=True):
        seen[case] = seen.get(case, 0) + 1
        yield (case if seen[case] == 1 else f"{case} ({seen[case]})"), ratio


def _limit(group: Group) -> float:
    timed = group.what == "times faster" or group.metric == "seconds"
    return SECONDS if timed else QUALITY


def _seconds(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the seconds of cases, of those long enough to be measured."""
    before, after = (
        {(c["case"], c["metric"]): c.get("seconds") for c in r["cases"]} for r in (old, new)
    )
    for (case, metric), was in before.items():
        now = after.get((case, metric))
        if was and now and max(was, now) >= LEAST_S:
            name = f"seconds of {metric}"
            yield Change(old["bench"], case, name, was, now, now / was - 1, SECONDS)


def main(argv: Sequence[str]) -> int:
    """Run the command: 0 nothing regressed, 1 something did, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m bench trend", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="the older one first")
    parser.add_argument("--all", action="store_true", help="print what did not regress too")
    arguments = parser.parse_args(argv)
    files = arguments.files or sorted(RESULTS.glob("*.json"))[-2:]
    if len(files) != 2:
        held = f"{RESULTS} holds {len(files)}" if not arguments.files else f"{len(files)} given"
        print(f"a trend needs two kept results ({held}): OLD NEW", file=sys.stderr)
        return 2
    results = []
    for path in files:
        try:
            results.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
    found = list(changes(*results))
    print(f"{files[0]} to {files[1]}: {len(found)} figures in both")
    print("\n".join(table(found, everything=arguments.all)))
    return int(any(change.regressed for change in found))


def table(found: Sequence[Change], *, everything: bool = False) -> list[str]:
    """Return the changes as lines for people, the worst first."""
    shown = [c for c in found if everything or c.regressed]
    lines = []
    for c in sorted(shown, key=lambda c: (-c.worse, c.bench, c.case, c.metric)):
        if c.new is None:
            lines.append(f"  gone        {c.bench}: {c.case}: {c.metric} (was {c.old:.4g})")
            continue
        word = "regressed" if c.regressed else "better" if c.worse < -QUALITY else "as before"
        lines.append(
            f"  {word:<11} {c.bench}: {c.case}: {c.metric} {c.old:.4g} -> {c.new:.4g}"
            f" ({abs(c.worse):.1%} {'worse' if c.worse > 0 else 'better'})"
        )
    better = sum(c.worse < -QUALITY for c in found)
    worse = sum(c.regressed for c in found)
    return [*lines, f"{worse} regressed, {better} better, {len(found) - worse - better} as before"]
