"""What is left of a job, learnt within a run from the jobs that have ended in it.

Jobs that are alike share a life table (`scheduler.policies.life_tables`). Alike are, from wide
to narrow, all jobs, those of one class, those of one class and tenant, and those of one batch:
of one class, tenant and form of name, submitted in one go. Users repeat themselves (D. Tsafrir,
Y. Etsion, D. Feitelson, IEEE TPDS 18, 2007), within a batch most of all. Each share of a table
is drawn to that of the wider group by a number of jobs, and that of all jobs to a law that
holds before anything has ended.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.units import us_from_s
from scheduler.core.workload import FloatArray
from scheduler.policies.life_tables import (
    ESTIMATES,
    EVEN,
    SECONDS,
    Law,
    Steps,
    given_estimate,
    octave_steps,
)
from scheduler.policies.view import View, overrun_s

TRUST: Final = MappingProxyType(
    {"all": 20.0, "class": 20.0, "tenant": 5.0, "batch": 1.0, "estimates": 20.0, "user": 20.0}
)
"""By kind of group, the jobs at a step that weigh as much as the share of the next wider one."""

RECENT: Final = 30.0
"""Jobs of one class and tenant over which those that ended before them fade from its table."""

BATCH_S: Final = 600.0
"""Jobs of one batch come within this of the one before."""

LEARN_SHARE: Final = 0.02
"""Tables are made anew when so much more has happened, as a share of what had before: jobs that
ended, and for the table of a batch also those that came to their next step."""

_DIGITS: Final = re.compile(r"\d+")

Group = tuple[str | int, ...]
"""Its kind, then which of that kind."""


class Prediction:
    """Remaining run times, as far as the past of this run tells them.

    It sees what a policy sees: which jobs ended, after how much service, and how much the
    others have had. ``estimates``: the median length of such jobs with such an estimate takes
    the place of the user's estimate, once it has been nearer than these in this run; of a job
    that has come so far, the median of what is then left. ``none``, or no estimate: the inverse
    of the Gittins index, in place of least attained service.

    Attributes
    ----------
    errors, estimate_errors : list of float
        log(run time / what was predicted when the job first started), of all jobs that have
        ended; the same of the users' estimates.
    """

    TRANSIENT = ("_laws", "_batch_of")

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.estimate_errors: list[float] = []
        self._predicted_s: dict[int, float] = {}  # by job that has started and not ended
        self._members: dict[int, dict[int, None]] = {}  # of each batch, those that have not
        self._ends: dict[Group, FloatArray] = {}
        self._tables: dict[Group, tuple[FloatArray, FloatArray]] = {}  # ends, and who came so far
        self._news: dict[int, tuple[int, int]] = {}  # of each batch: so far, at its last table
        self._due: list[tuple[int, int]] = []  # when which running job comes to its next step
        self._ended = 0
        self._learnt = 0
        self._ahead = 0.0  # by how much the users' estimates were further off, over all jobs
        self._corrects = False
        self._laws: dict[Group, dict[int | None, Law]] = {}
        self._batch_of: list[int] = []

    @property
    def counters(self) -> dict[str, float]:
        """Median and 90th percentile of log errors, and the share of jobs that took longer."""
        found: dict[str, float] = {}
        for name, errors in (("predicted", self.errors), ("estimate", self.estimate_errors)):
            if errors:
                off = np.abs(errors)
                found[f"{name}_jobs"] = len(errors)
                found[f"{name}_error_median"] = float(np.median(off))
                found[f"{name}_error_p90"] = float(np.percentile(off, 90))
                found[f"{name}_under_share"] = float(np.mean(np.array(errors) > 0))
        return found

    # --- what happens ----------------------------------------------------------------

    def note(self, view: View) -> list[int]:
        """Learn from the jobs that have ended; call it first in each decision.

        Returns
        -------
        list of int
            Waiting jobs of which something else is expected than before.
        """
        if not self._batch_of:
            self._batch_of = _batches(view)
        for job in view.joined:
            batch = self._batch_of[job]
            self._members.setdefault(batch, {})[job] = None
            if ("batch", batch) in self._ends and ("batch", batch) not in self._tables:
                self._learn_batch(view, batch)
        batches = {self._end(view, job): None for job in view.finished}
        self._ended += len(view.finished)
        batches.update(dict.fromkeys(self._further(view)))
        if self._ended - self._learnt > LEARN_SHARE * self._learnt:
            self._learnt = self._ended
            self._corrects = self._ahead > 0
            self._learn(view)
            return list(view.waiting)
        changed: list[int] = []
        for batch in batches:
            seen, learnt = self._news.get(batch, (0, 0))
            is_due = seen + 1 - learnt > LEARN_SHARE * learnt
            self._news[batch] = seen + 1, seen + 1 if is_due else learnt
            if is_due and self._members.get(batch):
                self._learn_batch(view, batch)
                changed += [job for job in self._members[batch] if job in view.waiting]
        return changed

    def _further(self, view: View) -> Iterator[int]:
        """Yield the batches of the jobs that have come to their next step by now.

        What a job has lived through tells of those that were submitted with it: without that,
        jobs of one length would take turns, each as promising as the last before it has run.
        """
        while self._due and self._due[0][0] <= view.now_us:
            _, job = heapq.heappop(self._due)
            if job in view.running:
                yield self._batch_of[job]
                self._expect_step(view, job)

    def _expect_step(self, view: View, job: int) -> None:
        """Note when a running job comes to its next step."""
        running, modes, had_s = view.running[job], view.modes(job), view.attained_s(job)
        step = SECONDS.of(had_s) + 1
        if step < len(SECONDS.starts):
            slower = modes[0].rate / modes[running.mode].rate
            from_us = max(view.now_us, running.start_us + running.overhead_us)
            in_us = us_from_s((SECONDS.starts[step] - had_s) * slower)
            heapq.heappush(self._due, (from_us + max(1, in_us), job))

    def note_starts(self, view: View) -> None:
        """Predict the jobs that have started at this instant; call it last in each decision."""
        for job in reversed(view.running):  # in order of their starts, moves aside
            if view.running[job].start_us != view.now_us:
                return
            self._expect_step(view, job)
            if job not in self._predicted_s:
                self._predicted_s[job] = self._law(view, job).median_left_s(0.0)

    def _end(self, view: View, job: int) -> int:
        """Count a job that has ended; return its batch."""
        had_s, estimate_s = view.attained_s(job), view.estimate_s(job)
        predicted_s = self._predicted_s.pop(job, math.nan)
        if had_s > 0 and not math.isnan(predicted_s):
            self.errors.append(math.log(had_s / predicted_s))
            if estimate_s > 0:
                self.estimate_errors.append(math.log(had_s / estimate_s))
                self._ahead += abs(self.estimate_errors[-1]) - abs(self.errors[-1])
        for group, steps, at in self._places(view, job, had_s):
            ends = self._ends.setdefault(group, np.zeros(len(steps.starts)))
            if group[0] == "tenant":
                ends *= 1.0 - 1.0 / RECENT
            ends[at] += 1.0
        batch = self._batch_of[job]
        self._members.get(batch, {}).pop(job, None)
        return batch

    # --- tables ----------------------------------------------------------------------

    def _learn(self, view: View) -> None:
        """Make every table anew that may tell something of a job that has not ended."""
        self._laws.clear()
        alive: dict[Group, FloatArray] = {}
        for job in self._predicted_s:
            for group, steps, at in self._places(view, job, view.attained_s(job)):
                if at > 0:  # it lived through all steps before; of this one nobody knows
                    alive.setdefault(group, np.zeros(len(steps.starts)))[at - 1] += 1.0
        self._tables = {}
        for group in dict.fromkeys((*self._ends, *alive)):
            if group[0] != "batch" or self._members.get(int(group[1])):
                self._tables[group] = _table(self._ends.get(group), alive.get(group))

    def _learn_batch(self, view: View, batch: int) -> None:
        """Make the table of one batch anew."""
        alive = np.zeros(len(SECONDS.starts))
        for job in self._members[batch]:
            at = SECONDS.of(view.attained_s(job)) if job in self._predicted_s else 0
            if at > 0:
                alive[at - 1] += 1.0
        key: Group = ("batch", batch)
        self._tables[key] = _table(self._ends.get(key), alive)
        self._laws.pop(key, None)

    def _law(self, view: View, job: int) -> Law:
        """Return what is known of the length of a job, before it has run."""
        estimate_s, tenant = view.estimate_s(job), view.tenant_of(job)
        guess = octave_steps(estimate_s) if estimate_s > 0 else None
        *wide, batch = self._alike(view, job)
        laws = self._laws.setdefault(batch if batch in self._tables else wide[-1], {})
        law = laws.get(guess)
        if law is None:
            shares = self._drawn((*wide, batch), SECONDS.prior if guess is None else EVEN)
            if guess is not None:
                off = self._drawn((("estimates",), ("user", tenant)), ESTIMATES.prior)
                shares = given_estimate(shares, off, guess)
            law = laws[guess] = Law.of(shares)
        return law

    def _drawn(self, groups: tuple[Group, ...], shares: FloatArray) -> FloatArray:
        """Return the shares of the last of `groups`, each drawn to those of the one before."""
        for group in groups:
            if group in self._tables:
                ends, reached = self._tables[group]
                trust = TRUST[str(group[0])]
                shares = (ends + trust * shares) / (reached + trust)
        return shares

    def _alike(self, view: View, job: int) -> tuple[Group, ...]:
        """Return the groups of jobs like this one, wide to narrow."""
        kind = view.class_of(job)
        batch: Group = ("batch", self._batch_of[job])
        return ("all",), ("class", kind), ("tenant", kind, view.tenant_of(job)), batch

    def _places(self, view: View, job: int, had_s: float) -> Iterator[tuple[Group, Steps, int]]:
        """Yield each group of a job, its steps, and the one that `had_s` falls in."""
        at = SECONDS.of(had_s)
        for group in self._alike(view, job):
            yield group, SECONDS, at
        estimate_s = view.estimate_s(job)
        if estimate_s > 0:
            at = ESTIMATES.of(had_s / estimate_s)
            yield ("estimates",), ESTIMATES, at
            yield ("user", view.tenant_of(job)), ESTIMATES, at

    # --- what is left ----------------------------------------------------------------

    def remaining_s(self, view: View, job: int) -> float:
        """Return the remaining run time in the job's fastest mode, as far as it is known."""
        had_s, estimate_s = view.attained_s(job), view.estimate_s(job)
        if estimate_s > 0 and not self._corrects:
            return estimate_s - had_s if had_s < estimate_s else overrun_s(had_s)
        law = self._law(view, job)
        if not estimate_s > 0:
            return law.index_s(had_s)
        whole_s = law.median_left_s(0.0)
        return whole_s - had_s if had_s < whole_s else law.median_left_s(had_s)


def _table(ends: FloatArray | None, alive: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return who ended in each step and who reached it, from who ended and who lived up to it."""
    known = ends if alive is None else alive if ends is None else ends + alive
    assert known is not None
    reached: FloatArray = np.cumsum(known[::-1])[::-1]
    return np.zeros(len(known)) if ends is None else ends.copy(), reached


def _batches(view: View) -> list[int]:
    """Return the batch of each job; nobody's depends on a job that comes after it."""
    jobs = view.problem.workload.jobs
    last: dict[tuple[int, int, str], tuple[int, float]] = {}
    found: list[int] = []
    batches = 0
    for job, (name, release_s) in enumerate(zip(jobs.ids, jobs.release_s.tolist(), strict=True)):
        alike = view.class_of(job), view.tenant_of(job), _DIGITS.sub("#", name)
        batch, before_s = last.get(alike, (0, -math.inf))
        if release_s - before_s > BATCH_S:
            batch, batches = batches, batches + 1
        last[alike] = batch, release_s
        found.append(batch)
    return found
