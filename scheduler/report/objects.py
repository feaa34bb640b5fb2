"""Summaries as JSON objects with stable field names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.core.metrics import DISTRIBUTIONS, PERCENTS, Interval
from scheduler.report.summary import Summary, is_clear

_FIGURES = ("idle_fraction", "waste_fraction")
_TIMES = ("mean_jct_s", "p99_jct_s", "makespan_s", "mean_queueing_s")
_JOB_STATES = ("finished", "running", "waiting", "rejected")
_MORE = (
    *("utilisation", "goodput", "mean_slowdown", "mean_tardiness_s", "fairness"),
    *("slo_attainment", "preemptions", "resizes", "moves", "restarts", "lost_accelerator_s"),
    *("energy_j", "cost_usd", "carbon_g"),
    *("mean_finish_time_ratio", "max_finish_time_ratio", "unfair_fraction", "share_fairness"),
    *("killed", "cancelled"),
)


def run_object(summary: Summary, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return one policy's object: means over its replays.

    Parameters
    ----------
    summary : Summary
        What to write.
    inputs : mapping
        What the replays were made from (version, hash, names, noise), written as it is.

    Returns
    -------
    dict
        A figure that no replay gives is None. Intervals are ``[low, high]``, 95 %.
    """
    return {
        "policy": summary.policy,
        "seed": summary.seeds[0],
        "replays": len(summary.seeds),
        "information": summary.information,
        "horizon_s": summary.horizon_s,
        "accelerator_s": summary.accelerator_s,
        **{name: _number(summary.mean(name)) for name in _FIGURES},
        "ledger": dict(summary.ledger),
        "by_type": {name: dict(row) for name, row in summary.by_type.items()},
        **{name: _number(summary.mean(name)) for name in _TIMES},
        "jobs": {name: _whole(summary.mean(name)) for name in _JOB_STATES},
        "bound": _number(summary.bounds.get("mean_jct_s", math.nan)),
        "violations": len(summary.violations),
        "violation_messages": list(summary.violations),
        "bounds": {name: _number(value) for name, value in summary.bounds.items()},
        "bound_proof": summary.bound_proof,
        "bound_holds_for": summary.bound_holds_for if summary.bounds else "",
        "gap": _number(summary.gap()),
        **{name: _number(summary.mean(name)) for name in _MORE},
        "seeds": list(summary.seeds),
        "end_s": summary.end_s,
        "intervals": {n: _ends(f) for n, f in summary.figures.items()},
        "against": _against(summary),
        "by_domain": {name: dict(row) for name, row in summary.by_domain.items()},
        "distributions": {name: _distribution(summary, name) for name in DISTRIBUTIONS},
        "tenants": {
            name: {
                "weight": t.weight,
                "accelerator_s": _number(t.accelerator_s.mean),
                "share": _number(t.share.mean),
                "dominant_share": _number(t.dominant_share.mean),
                "intervals": {
                    "accelerator_s": _ends(t.accelerator_s),
                    "share": _ends(t.share),
                    "dominant_share": _ends(t.dominant_share),
                },
            }
            for name, t in summary.tenants.items()
        },
        "inputs": dict(inputs),
    }


def compare_object(summaries: Sequence[Summary], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of a comparison: one entry per policy."""
    return {"results": [run_object(summary, inputs) for summary in summaries]}


def _against(summary: Summary) -> dict[str, Any] | None:
    """Return the differences from the first policy, paired by seed."""
    if summary.differences is None:
        return None
    rows = {
        name: {
            "difference": f.mean,
            "interval": _ends(f),
            "significant": is_clear(f),
            "p_value": _number(summary.p_values.get(name, math.nan)),
        }
        for name, f in summary.differences.items()
        if math.isfinite(f.mean)
    }
    return {"policy": summary.against, **rows}


def _distribution(summary: Summary, quantity: str) -> dict[str, float | None]:
    """Return mean and percentiles of a quantity; their intervals are among ``intervals``."""
    named = {"mean": f"mean_{quantity}", **{f"p{p}": f"p{p}_{quantity}" for p in PERCENTS}}
    return {short: _number(summary.mean(name)) for short, name in named.items()}


def _ends(figure: Interval) -> list[float] | None:
    return [figure.low, figure.high] if math.isfinite(figure.low) else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
