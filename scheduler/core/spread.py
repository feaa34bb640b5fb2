"""A model spread over unlike machines: layers to machines, tokens through links."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.run import Status
from scheduler.core.workload import FloatArray


@dataclass(frozen=True, slots=True)
class SpreadInstance:
    """Machines that may each hold one contiguous interval of a model's layers.

    A token leaves a machine only at the end ``e`` of its interval, and may enter the next one
    wherever that holds layer ``e`` (partial inference: Mei et al., Helix, ASPLOS 2025).

    Parameters
    ----------
    name : str
        Of the instance.
    layers : int
        Of the model.
    ids, kinds : tuple of str
        Machine ids, and the names of their types.
    rates : tuple of tuple of float
        ``rates[i][k - 1]``: tokens/s of machine `i` while it holds `k` layers; its length is
        the most layers it can hold.
    source, sink : ndarray of float64, shape (n,)
        Tokens/s from the source to a machine and from it to the sink (0: no link).
    links : ndarray of float64, shape (n, n)
        Tokens/s from machine to machine (0: no link).
    """

    name: str
    layers: int
    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    rates: tuple[tuple[float, ...], ...]
    source: FloatArray
    sink: FloatArray
    links: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


Interval = tuple[int, int]
"""Layers ``[start, end)`` of one machine; ``(0, 0)``: it holds none."""


@dataclass(frozen=True, slots=True)
class SpreadPlan:
    """Layers on machines.

    Parameters
    ----------
    intervals : tuple of (int, int)
        By machine.
    flow : float
        Tokens/s from source to sink.
    depth : int
        Fewest machines a token passes.
    """

    intervals: tuple[Interval, ...]
    flow: float
    depth: int


@dataclass(frozen=True, slots=True)
class SpreadAnswer:
    """The plan of the highest flow, its bound, and plans of fewer stages.

    Parameters
    ----------
    plan : SpreadPlan
        Of the highest flow found.
    bound : float
        No placement carries more tokens/s.
    bound_name : str
        How the bound was proved.
    status : Status
        Optimal where flow and bound agree to 1e-6.
    front : tuple of SpreadPlan
        Plans of which none has both more flow and no more depth, deepest first.
    """

    plan: SpreadPlan
    bound: float
    bound_name: str
    status: Status
    front: tuple[SpreadPlan, ...]

    @property
    def gap(self) -> float:
        """Bound over flow, less 1."""
        return self.bound / self.plan.flow - 1 if self.plan.flow > 0 else float("inf")
