"""Any policy, going by what is learnt of run times in the run: ``srtf+learned``."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.policies.prediction import Prediction
from scheduler.policies.round_log import RoundLog
from scheduler.policies.view import Information, Policy, View


class Learned:
    """A policy that is told, for what is left of a job, what the run so far has taught.

    Parameters
    ----------
    policy : Policy
        Who decides, by `View.remaining_s` and what follows from it.
    levels : sequence of str
        Information levels at which it is told so; at others all is as without.
    """

    def __init__(
        self, policy: Policy, levels: Sequence[Information] = ("estimates", "none")
    ) -> None:
        self.policy = policy
        self._levels = tuple(level for level in levels if level != "exact")
        self._prediction = Prediction()

    @property
    def counters(self) -> dict[str, float]:
        """The policy's own, and how far off predictions and estimates have been."""
        return {**getattr(self.policy, "counters", {}), **self._prediction.counters}

    @property
    def rounds(self) -> RoundLog:
        """The policy's own, if it keeps them."""
        found: RoundLog = self.policy.rounds  # type: ignore[attr-defined]
        return found

    def decide(self, view: View) -> None:
        """Learn from what has ended, then let the policy decide."""
        if view.information not in self._levels:
            self.policy.decide(view)
            return
        view.changed = self._prediction.note(view)
        view.prediction = self._prediction
        try:
            self.policy.decide(view)
            self._prediction.note_starts(view)
        finally:
            view.prediction, view.changed = None, []


def learned(policy: Policy) -> Learned:
    """Return a policy that learns at every level, whether or not it does so already at some."""
    return Learned(policy.policy if isinstance(policy, Learned) else policy)


def optimizer() -> Learned:
    """Return the optimizer; where there is nothing but attained service to go by, it learns."""
    from scheduler.policies.optimizer import Optimizer

    return Learned(Optimizer(), levels=("none",))
