"""A schedule made beforehand, played round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from scheduler.physics.adaptive_tables import Config, Tables
from scheduler.policies.adaptive.view import AdaptiveView

ROUND_S: Final = 60


class Scripted:
    """What each job holds is known in advance.

    Parameters
    ----------
    tables : Tables
        Configurations.
    stays : sequence of sequence of (int, int, int)
        By job: configuration, first round, round after the last.
    name : str
        Recorded in the run.
    """

    round_s = ROUND_S
    rigid = False

    def __init__(
        self, tables: Tables, stays: Sequence[Sequence[tuple[int, int, int]]], name: str
    ) -> None:
        self.name = name
        self._needs = [config for config, _ in tables.configs]
        self._stays = stays

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        """Return what the script says."""
        now = view.time_s // ROUND_S
        return {
            s.job: self._needs[c]
            for s in view.jobs
            for c, first, last in self._stays[s.job]
            if first <= now < last
        }
