"""Predictions beside published measurements, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Prediction:
    """One published figure beside its prediction, both in the unit of the table's column.

    Parameters
    ----------
    id, quantity : str
        Row and column.
    predicted : float
        By the formula.
    measured : float or None
        As published.
    sigma_log : float
        Standard deviation of the logarithm of their ratio to expect.
    groups : tuple of str
        Groups it counts in, such as ``"stack/cuda"``.
    counted : bool
        Whether it enters the errors (confidence not low, and measured).
    fits : bool
        Whether the run fits into memory by our count of it. One that was measured did, by
        means we do not know of; it is predicted all the same.
    """

    id: str
    quantity: str
    predicted: float
    measured: float | None
    sigma_log: float
    groups: tuple[str, ...] = ()
    counted: bool = True
    fits: bool = True

    @property
    def relative_error(self) -> float:
        """``|predicted / measured - 1|``; NaN where nothing was measured."""
        return math.nan if self.measured is None else abs(self.predicted / self.measured - 1)


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of a group of figures.

    Parameters
    ----------
    rows : int
        Runs counted; each has one or two figures.
    median, p90 : float
        Quantiles of the relative error; NaN without rows.
    """

    rows: int
    median: float
    p90: float

    def as_dict(self) -> dict[str, float | int | None]:
        """Return JSON-ready fields; quantiles of no rows are None."""
        return {
            "rows": self.rows,
            "median_relative_error": self.median if self.rows else None,
            "p90_relative_error": self.p90 if self.rows else None,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Predictions of a table of published runs.

    Parameters
    ----------
    predictions : tuple of Prediction
        In file order, low-confidence rows included.
    errors : Errors
        Of the figures that count.
    groups : mapping of str to Errors
        By group, such as ``"source/..."``, ``"stack/..."``, ``"precision/..."``.
    unpredicted : mapping of str to str
        Row id to the reason.
    """

    predictions: tuple[Prediction, ...]
    errors: Errors
    groups: Mapping[str, Errors]
    unpredicted: Mapping[str, str] = field(default_factory=dict)

    @property
    def beyond_memory(self) -> tuple[str, ...]:
        """Rows that were predicted though they do not fit by our count of memory."""
        return tuple(dict.fromkeys(p.id for p in self.predictions if not p.fits))

    def as_dict(self) -> dict[str, object]:
        """Return JSON-ready fields; ``rows`` counts what enters the errors."""
        return {
            **self.errors.as_dict(),
            "groups": {name: errors.as_dict() for name, errors in self.groups.items()},
            "predictions": [
                {
                    "id": p.id,
                    "quantity": p.quantity,
                    "predicted": p.predicted,
                    "measured": p.measured,
                    "sigma_log": p.sigma_log,
                }
                for p in self.predictions
            ],
            "unpredicted": dict(self.unpredicted),
            "beyond_memory": list(self.beyond_memory),
        }


def report_of(predictions: Sequence[Prediction], unpredicted: Mapping[str, str]) -> Report:
    """Return predictions with their errors, in all and by group."""
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        for group in prediction.groups:
            groups.setdefault(group, []).append(prediction)
    summary = {name: errors_of(groups[name]) for name in sorted(groups)}
    return Report(tuple(predictions), errors_of(predictions), summary, unpredicted)


def errors_of(predictions: Iterable[Prediction]) -> Errors:
    """Return the errors of the predictions that count."""
    counted = [p for p in predictions if p.counted]
    return quantiles([p.relative_error for p in counted], len({p.id for p in counted}))


def quantiles(relative_errors: Sequence[float], rows: int | None = None) -> Errors:
    """Return median and 90th percentile of some errors, each of one row unless said."""
    if not len(relative_errors):
        return Errors(0, math.nan, math.nan)
    median, p90 = np.quantile(relative_errors, (0.5, 0.9))
    return Errors(len(relative_errors) if rows is None else rows, float(median), float(p90))
