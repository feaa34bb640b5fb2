"""Many replays of one policy drawn together: means, intervals, ledger, bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.core.bounds import EVERY_SCHEDULE
from scheduler.core.errors import Fault, InputError
from scheduler.core.metrics import FIGURES, Interval, interval, p_value, paired_difference
from scheduler.core.units import US_PER_S, s_from_us
from scheduler.execute import ReplayResult

BOUNDS: tuple[str, ...] = ("mean_jct_s", "makespan_s")
"""Metrics that `scheduler.core.bounds` bounds from below."""


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """What one tenant had under one policy: means over its replays, 95 % intervals.

    Parameters
    ----------
    weight : float
        In fair sharing.
    accelerator_s, share, dominant_share : Interval
        See `scheduler.core.tenant_use.TenantUse`.
    """

    weight: float
    accelerator_s: Interval
    share: Interval
    dominant_share: Interval


@dataclass(frozen=True, slots=True)
class Summary:
    """One policy over its replays.

    Parameters
    ----------
    policy, information : str
        Who decided, and what it was allowed to know.
    seeds : tuple of int
        One per replay.
    horizon_s, accelerator_s : float
        Mean length of the period that the ledger covers, and mean of capacity times that.
    end_s : float
        Mean end of the replays.
    figures : mapping of str to Interval
        By the names of `scheduler.core.metrics.Metrics`: mean over replays, 95 % interval.
    ledger : mapping of str to float
        Mean accelerator-seconds by cause; they sum to `accelerator_s`.
    by_type, by_domain : mapping of str to mapping of str to float
        The same by accelerator type, and by innermost domain.
    bounds : mapping of str to float
        Mean of what no schedule can better, by metric.
    violations : tuple of str
        Every rule that a replay broke, as text.
    against : str
        Policy that the differences are taken from, ``""`` for itself.
    differences : mapping of str to Interval
        This policy's figure less the other's, seed by seed.
    p_values : mapping of str to float
        How likely so large a difference is by chance alone (paired t test); NaN for one seed.
    tenants : mapping of str to TenantSummary
        By tenant.
    bound_proof : str
        What the bounds on mean completion time rest on: ``plan``, ``area`` or ``none``; joined by
        a slash where replays differ.
    bound_holds_for : str
        Which schedules those bounds hold for: the fewest that they do in any replay.
    """

    policy: str
    information: str
    seeds: tuple[int, ...]
    horizon_s: float
    accelerator_s: float
    end_s: float
    figures: Mapping[str, Interval]
    ledger: Mapping[str, float]
    by_type: Mapping[str, Mapping[str, float]]
    by_domain: Mapping[str, Mapping[str, float]]
    bounds: Mapping[str, float]
    violations: tuple[str, ...]
    against: str = ""
    differences: Mapping[str, Interval] | None = None
    p_values: Mapping[str, float] = field(default_factory=dict)
    tenants: Mapping[str, TenantSummary] = field(default_factory=dict)
    bound_proof: str = "area"
    bound_holds_for: str = EVERY_SCHEDULE

    def mean(self, name: str) -> float:
        """Return the mean of a figure by name."""
        return self.figures[name].mean

    def share(self, cause: str) -> float:
        """Return the share of all accelerator-time booked to `cause`."""
        return self.ledger[cause] / self.accelerator_s if self.accelerator_s else 0.0

    def gap(self, name: str = "mean_jct_s") -> float:
        """Return how far the figure lies above its bound, as a fraction of the bound."""
        bound = self.bounds.get(name, math.nan)
        return self.mean(name) / bound - 1 if bound > 0 else math.nan


def summarise(results: Sequence[ReplayResult]) -> list[Summary]:
    """Draw the replays of each policy together.

    Parameters
    ----------
    results : sequence of ReplayResult
        All policies under the same seeds, as `scheduler.execute.replay` returns them.

    Returns
    -------
    list of Summary
        In order of first appearance. Differences are taken from the first policy.

    Raises
    ------
    InputError
        If the policies were not allowed to know the same.
    """
    refuse_unequal_information(results)
    by_policy: dict[str, list[ReplayResult]] = {}
    for result in results:
        by_policy.setdefault(result.cell.policy, []).append(result)
    first = next(iter(by_policy.values()), [])
    return [_summary(group, None if group is first else first) for group in by_policy.values()]


def refuse_unequal_information(results: Sequence[ReplayResult]) -> None:
    """Raise `InputError` if not all replays gave their policies the same information.

    What a policy may know decides its figures as much as the policy does.
    """
    known = sorted({(r.cell.policy, r.information) for r in results})
    if len({level for _, level in known}) > 1:
        told = ", ".join(f"{policy}: {level}" for policy, level in known)
        raise InputError(
            [
                Fault(
                    "policies that knew different things do not compare",
                    "information",
                    value=told,
                    allowed="replays of one level of information",
                )
            ]
        )


def half_width(figure: Interval) -> float:
    """Return half the length of an interval; NaN where there is none (a single replay)."""
    return (figure.high - figure.low) / 2 if math.isfinite(figure.low) else math.nan


def is_clear(figure: Interval) -> bool:
    """Return whether the interval keeps away from zero."""
    return figure.low > 0 or figure.high < 0


def _summary(results: list[ReplayResult], reference: list[ReplayResult] | None) -> Summary:
    return Summary(
        policy=results[0].cell.policy,
        information=results[0].information,
        seeds=tuple(r.cell.seed for r in results),
        horizon_s=_mean([s_from_us(r.horizon_us) for r in results]),
        accelerator_s=_mean([r.ledger.total_us() / US_PER_S for r in results]),
        end_s=_mean([s_from_us(r.end_us) for r in results]),
        figures={n: interval(_each(results, n)) for n in FIGURES},
        ledger=_mean_of([r.ledger.by_cause() for r in results]),
        by_type=_mean_of_rows([r.ledger.by_type() for r in results]),
        by_domain=_mean_of_rows([r.ledger.by_domain() for r in results]),
        bounds=_bounds(results),
        violations=tuple(
            f"{r.cell.policy}, seed {r.cell.seed}: {v.code}: {v.message}"
            for r in results
            for v in r.violations
        ),
        against=reference[0].cell.policy if reference else "",
        differences=_differences(results, reference) if reference else None,
        p_values=_p_values(results, reference) if reference else {},
        tenants=_tenants(results),
        bound_proof="/".join(sorted({r.bounds.proof for r in results}, reverse=True)),
        bound_holds_for=fewest(r.bounds.holds_for for r in results),
    )


def fewest(held_for: Iterable[str]) -> str:
    """Return which schedules several bounds hold for together."""
    return next((some for some in held_for if some != EVERY_SCHEDULE), EVERY_SCHEDULE)


def _bounds(results: list[ReplayResult]) -> dict[str, float]:
    """Return the mean of each bound; none where none was asked for."""
    if any(r.bounds.proof == "none" for r in results):
        return {}
    return {n: _mean([getattr(r.bounds, n) for r in results]) for n in BOUNDS}


def _differences(results: list[ReplayResult], reference: list[ReplayResult]) -> dict[str, Interval]:
    assert [r.cell.seed for r in results] == [r.cell.seed for r in reference]
    return {n: paired_difference(_each(results, n), _each(reference, n)) for n in FIGURES}


def _p_values(results: list[ReplayResult], reference: list[ReplayResult]) -> dict[str, float]:
    pairs = {n: zip(_each(results, n), _each(reference, n), strict=True) for n in FIGURES}
    return {n: p_value([a - b for a, b in pair]) for n, pair in pairs.items()}


def _each(results: list[ReplayResult], name: str) -> list[float]:
    return [getattr(r.metrics, name) for r in results]


def _tenants(results: list[ReplayResult]) -> dict[str, TenantSummary]:
    """Draw each tenant's replays together; all replays have the same tenants."""
    return {
        rows[0].tenant: TenantSummary(
            rows[0].weight,
            interval([row.accelerator_s for row in rows]),
            interval([row.share for row in rows]),
            interval([row.dominant_share for row in rows]),
        )
        for rows in zip(*(r.metrics.tenants for r in results), strict=True)
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: _mean([row[key] for row in rows]) for key in rows[0]}


def _mean_of_rows(
    tables: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    return {key: _mean_of([table[key] for table in tables]) for key in tables[0]}
