"""Slurm's backfill: who cannot start now has whole nodes set aside for later.

Rules after reading sched/backfill of release 22.05 (GPL-2.0: rules only, no code). Times are
whole seconds of the controller's clock, as Slurm has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from scheduler.policies.slurm_nodes import Nodes, Outlook, Start
from scheduler.policies.view import View


@dataclass(slots=True)
class _Span:
    """From when until when which nodes are not set aside."""

    begin_s: int
    end_s: int
    nodes: int


class Table:
    """Which nodes are not set aside for waiting jobs, span by span of time.

    Parameters
    ----------
    begin_s, end_s : int
        Now, and the end of what backfill looks at.
    nodes : int
        All nodes, as a mask.
    """

    def __init__(self, begin_s: int, end_s: int, nodes: int) -> None:
        self._spans = [_Span(begin_s, end_s, nodes)]

    def usable(self, start_s: int, end_s: int, allowed: int) -> tuple[int, int]:
        """Return nodes of `allowed` not set aside from `start_s` to `end_s`, and when more are.

        The latter is the end of the first span after which a node comes back, or 0.
        """
        nodes, later_s = allowed, 0
        for span, after in zip(self._spans, (*self._spans[1:], None), strict=True):
            if span.end_s <= start_s:
                continue
            if after is not None and not later_s and allowed & after.nodes & ~(nodes & span.nodes):
                later_s = span.end_s
            if span.begin_s > end_s:
                break
            nodes &= span.nodes
        return nodes, later_s

    def clashes(self, start_s: int, end_s: int, nodes: int) -> bool:
        """Return whether any of the nodes is set aside for part of that time."""
        return any(
            span.end_s > start_s and span.begin_s < end_s and nodes & ~span.nodes
            for span in self._spans
        )

    def set_aside(self, start_s: int, end_s: int, nodes: int) -> None:
        """Set nodes aside."""
        self._cut(start_s)
        self._cut(end_s)
        for span in self._spans:
            if span.begin_s >= start_s and span.end_s <= end_s:
                span.nodes &= ~nodes

    def _cut(self, at_s: int) -> None:
        for i, span in enumerate(self._spans):
            if span.begin_s < at_s < span.end_s:
                self._spans.insert(i + 1, _Span(at_s, span.end_s, span.nodes))
                span.end_s = at_s
                return


class Starter(Protocol):
    """What starts the jobs that backfill finds room for."""

    def start_now(self, view: View, nodes: Nodes, job: int, allowed: int, found: Start) -> bool:
        """Start the job, or make room for it; return whether it started."""
        ...


class Pass:
    """One pass over the queue.

    Parameters
    ----------
    view : View
        The present.
    nodes : Nodes
        What is free and what leaves.
    starter : Starter
        Starts jobs.
    window_s, resolution_s : float
        ``bf_window`` and ``bf_resolution``.
    """

    def __init__(
        self, view: View, nodes: Nodes, starter: Starter, window_s: float, resolution_s: float
    ) -> None:
        self._view, self._nodes, self._starter = view, nodes, starter
        self._step_s = max(1, int(resolution_s))
        self._now_s = nodes.clock_s(view.now_us)
        self._last_s = self._now_s + int(window_s)
        self._table = Table(self._round(self._now_s), self._round(self._last_s), nodes.every)
        self._outlook = Outlook(view, nodes)

    def look_at(self, job: int) -> None:
        """Start the job, or set nodes aside for it, or neither."""
        nodes, now_s = self._nodes, self._now_s
        limit_s = math.ceil(self._view.run_s(job, 0))
        usable, least = nodes.usable(job), nodes.wanted(self._view, job)
        later_s = now_s
        while later_s:
            from_s = later_s
            allowed, later_s = self._table.usable(from_s, from_s + limit_s, usable)
            if allowed.bit_count() < least:
                continue
            found = nodes.foresee(self._view, job, allowed, self._outlook)
            if found is None:
                continue
            at_s = max(found.at_s, from_s)
            if at_s <= now_s:
                later_s = 0
                if found.nodes & nodes.completing:
                    at_s = now_s + 1
                elif self._starter.start_now(self._view, nodes, job, allowed, found):
                    self._outlook = Outlook(self._view, nodes)
                    return
                else:  # who was preempted has yet to leave
                    self._outlook = Outlook(self._view, nodes)
            if later_s and at_s > later_s:
                continue
            if at_s > self._last_s:
                return
            start_s, end_s = self._round(at_s), self._round(at_s + limit_s)
            end_s = max(end_s, start_s + self._step_s)
            if at_s > now_s and self._table.clashes(start_s, end_s, found.nodes):
                later_s = at_s
                continue
            self._table.set_aside(start_s, end_s, found.nodes)
            return

    def _round(self, at_s: int) -> int:
        return at_s // self._step_s * self._step_s
