"""Recorded requests of an inference service: when, how many, how long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.workload import FloatArray


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Requests of a real site, as columns sorted by time.

    Parameters
    ----------
    name : str
        Of the trace.
    at_s : ndarray of float64, shape (n,)
        From the first row, non-decreasing.
    amount : ndarray of float64, shape (n,)
        Requests that each row stands for; where `standing` is true, the change in the
        accelerators held by the service's instances.
    prompt_tokens, output_tokens : ndarray of float64, shape (n,)
        Lengths; NaN where the trace does not tell.
    span_s : float
        Time that the trace covers.
    standing : bool
        Whether rows are starts and ends of instances rather than requests. One accelerator
        then counts as one request per second.
    source, licence : str
        Where it is published.
    """

    name: str
    at_s: FloatArray
    amount: FloatArray
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    span_s: float
    standing: bool = False
    source: str = ""
    licence: str = ""

    def __len__(self) -> int:
        return len(self.at_s)

    def mean_tokens(self) -> tuple[float, float]:
        """Return mean prompt and output tokens, NaN where the trace does not tell."""
        return _mean(self.prompt_tokens), _mean(self.output_tokens)

    def curve(self, step_s: float) -> tuple[FloatArray, FloatArray]:
        """Return (times, requests/s): the mean rate of each step of `step_s`.

        The last step is as long as the trace still covers, if that is at least half a step;
        a shorter rest is left out.
        """
        steps = max(1, int(np.floor(self.span_s / step_s + 0.5)))
        edges = np.minimum(np.arange(steps + 1) * step_s, max(self.span_s, step_s))
        width = np.diff(edges)
        if self.standing:
            level = np.cumsum(self.amount)
            return edges[:-1], np.maximum(0.0, _time_means(self.at_s, level, edges))
        place = np.minimum((self.at_s / step_s).astype(np.int64), steps)
        total = np.bincount(place, weights=self.amount, minlength=steps + 1)[:steps]
        return edges[:-1], total / width

    def mix(self, prompt_edges: FloatArray, output_edges: FloatArray) -> FloatArray:
        """Return the share of requests by bucket of prompt and output length.

        Parameters
        ----------
        prompt_edges, output_edges : ndarray of float64
            Upper edges, ascending; longer requests count in the last bucket.

        Returns
        -------
        ndarray of float64, shape (len(prompt_edges), len(output_edges))
            Sums to 1 (0 where no request tells both lengths).
        """
        known = ~(np.isnan(self.prompt_tokens) | np.isnan(self.output_tokens))
        rows = np.searchsorted(prompt_edges, self.prompt_tokens[known])
        columns = np.searchsorted(output_edges, self.output_tokens[known])
        shares = np.zeros((len(prompt_edges), len(output_edges)))
        np.add.at(
            shares,
            (np.minimum(rows, len(prompt_edges) - 1), np.minimum(columns, len(output_edges) - 1)),
            self.amount[known],
        )
        total = shares.sum()
        return shares / total if total > 0 else shares


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _time_means(at_s: FloatArray, level: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the mean level of a step function between the edges."""
    instants = np.concatenate([[0.0], at_s])
    values = np.concatenate([[0.0], level])
    area = np.concatenate([[0.0], np.cumsum(np.diff(instants) * values[:-1])])
    last = np.searchsorted(instants, edges, side="right") - 1
    until = area[last] + values[last] * (edges - instants[last])
    return np.asarray(np.diff(until) / np.diff(edges))
