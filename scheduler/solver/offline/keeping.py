"""Which of the schedules found keep to every rule, and worsen nothing that leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Schedule, Status
from scheduler.core.units import us_from_s
from scheduler.solver.offline.answers import Found
from scheduler.solver.offline.instance import Instance, Planned
from scheduler.solver.offline.objectives import loss_of
from scheduler.solver.offline.parts import in_parts
from scheduler.verify import verify_schedule


class Keeper:
    """Compares schedules of one problem.

    Parameters
    ----------
    problem, instance : Problem, Instance
        What is planned.

    Attributes
    ----------
    kept : tuple of (str, float)
        Objectives that lead, with the most loss they may have.
    """

    def __init__(self, problem: Problem, instance: Instance) -> None:
        self.problem, self.instance = problem, instance
        self.kept: tuple[tuple[str, float], ...] = ()

    def found(
        self,
        title: str,
        plan: Mapping[int, Planned] | None,
        name: str,
        than: Found | None,
        instance: Instance | None = None,
    ) -> Found | None:
        """Return a plan as found if it is better than another and keeps to all rules."""
        if plan is None:
            return than
        instance = instance or self.instance
        allocations = instance.allocations(plan)
        loss = loss_of(self.problem, name, allocations)
        if than is not None and loss >= than.loss:
            return than
        if not self._allowed(allocations):
            return than
        return Found(title, allocations, loss, instance, plan)

    def cut(
        self, title: str, allocations: tuple[Allocation, ...], name: str, than: Found | None
    ) -> Found | None:
        """Return a schedule that cuts jobs as found, under the same terms."""
        loss = loss_of(self.problem, name, allocations)
        if (than is not None and loss >= than.loss) or not self._allowed(allocations):
            return than
        raw = Found(title, allocations, loss)
        parts = in_parts(self.instance, allocations)
        if parts is None:
            return raw
        return self.found(title, parts[1], name, None, parts[0]) or raw

    def _allowed(self, allocations: Sequence[Allocation]) -> bool:
        """Return whether a schedule worsens nothing that leads, is in time, and is verified."""
        if any(loss_of(self.problem, n, allocations) > most for n, most in self.kept):
            return False
        due_s = self.problem.workload.jobs.deadline_s
        if self.instance.due and any(
            a.end_us > us_from_s(float(due_s[a.job]))
            for a in allocations
            if a.job in self.instance.due
        ):
            return False
        return self.verified(allocations)

    def verified(self, allocations: Sequence[Allocation]) -> bool:
        """Return whether the verifier accepts a schedule."""
        loss = loss_of(self.problem, "mean_jct", allocations)
        schedule = Schedule(tuple(allocations), "mean_jct", loss, min(0.0, loss), Status.FEASIBLE)
        return not verify_schedule(self.problem, schedule)
