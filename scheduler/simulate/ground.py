"""The ground that gangs stand on: who may take which accelerators now, and taking them."""

from __future__ import annotations

from scheduler.core.errors import PolicyError
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.sharing import SharedOccupancy
from scheduler.core.units import WHOLE_MILLI
from scheduler.simulate.power_meter import PowerMeter


class Ground:
    """Free accelerators and power, as one thing to take from and to give back to.

    Attributes
    ----------
    layout, occupancy, meter
        Look-ups, free accelerators, and the draw of each site.
    shared : SharedOccupancy or None
        The same as `occupancy`, where jobs may share accelerators.
    """

    def __init__(self, problem: Problem, policy_name: str) -> None:
        self.problem = problem
        self.layout = Layout(problem)
        self.shared = SharedOccupancy(self.layout) if problem.shares else None
        self.occupancy = self.shared or Occupancy(self.layout)
        self.meter = PowerMeter(problem, self.layout)
        self._caps_power = self.meter.caps_power
        self._policy_name = policy_name

    def power_allows(self, mode: Mode, placement: Placement) -> bool:
        """Return whether the caps leave room for `mode` on `placement`."""
        return not self._caps_power or self.meter.allows(mode, placement)

    def take(self, mode: Mode, placement: Placement, count: int, who: str | int) -> None:
        """Occupy `placement` for a gang of `count` accelerators.

        Parameters
        ----------
        mode, placement, count
            What is taken; `count` is that of the mode.
        who : str or int
            For the message; a number is a job.

        Raises
        ------
        PolicyError
            If it is not free, not a gang, or beyond a power cap.
        """
        counts = placement.counts
        if count != (counts[0] if len(counts) == 1 else sum(counts)):
            raise self.error(f"{_named(who)} was not given {count} accelerators")
        if self._caps_power and not self.meter.allows(mode, placement):
            raise self.error(f"{_named(who)} would exceed a power cap")
        try:
            self.occupancy.take(placement)
        except ValueError as error:
            raise self.error(f"{_named(who)}: {error}") from error
        if self._caps_power:
            self.meter.add(mode, placement, 1)

    def seat(self, mode: Mode, placement: Placement, who: int) -> Placement:
        """Return the placement with a device for a share, on the node that was chosen for it.

        Policies that count whole accelerators name the node; sharers meet there all the same.

        Raises
        ------
        PolicyError
            If the node has no room, or a gang of whole accelerators was given a share of one.
        """
        if mode.share_milli < WHOLE_MILLI:
            assert self.shared is not None, "some class asks for shares"
            seated = self.shared.seat(mode, placement)
            if seated is None:
                raise self.error(f"{_named(who)}: no room for {mode.share_milli}/1000 there")
            return seated
        if placement.device >= 0:
            raise self.error(f"{_named(who)} was given a share of an accelerator it needs whole")
        return placement

    def give(self, mode: Mode, placement: Placement) -> None:
        """Release `placement`."""
        self.occupancy.give(placement)
        if self._caps_power:
            self.meter.add(mode, placement, -1)

    def error(self, text: str) -> PolicyError:
        """Return the error of a policy that decides what cannot be done."""
        return PolicyError(f"{self._policy_name}: {text}")


def _named(who: str | int) -> str:
    return f"job {who}" if isinstance(who, int) else who
