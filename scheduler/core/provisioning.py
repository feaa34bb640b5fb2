"""Which machines to rent for a mix of requests, and which requests go to which."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.run import Status
from scheduler.core.workload import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine type that can be rented.

    Parameters
    ----------
    name : str
        Unique in its case.
    usd_per_hour : float
        Price of one.
    requests_per_s : ndarray of float64, shape (buckets,)
        What one machine serves within the objectives if it serves nothing but the bucket's
        requests (0: it cannot). Loads of several buckets add up to at most 1 per machine.
    supply : int or None
        Machines there are; None: any number.
    """

    name: str
    usd_per_hour: float
    requests_per_s: FloatArray
    supply: int | None = None


@dataclass(frozen=True, slots=True)
class ProvisioningCase:
    """Requests by bucket of lengths over time, and machines that may serve them.

    Parameters
    ----------
    name : str
        Of the case.
    demand_per_s : ndarray of float64, shape (steps, buckets)
        Requests/s of each bucket in each step of time.
    hours : tuple of float
        Length of each step.
    offers : tuple of Offer
        What can be rented, by the step.
    start_hours : float
        A machine that starts is paid for this many hours more (load time of the model, and
        what the provider bills for it). All machines start in the first step.
    slices : int
        Parts into which the peer cuts each bucket; only the sliced problem uses it.
    """

    name: str
    demand_per_s: FloatArray
    hours: tuple[float, ...]
    offers: tuple[Offer, ...]
    start_hours: float = 0.0
    slices: int = 1


@dataclass(frozen=True, slots=True)
class ProvisioningAnswer:
    """Machines per step, and who serves what.

    Parameters
    ----------
    machines : ndarray of int64, shape (steps, offers)
        Rented.
    share : ndarray of float64, shape (steps, buckets, offers)
        Part of each bucket's requests that goes to each type; sums to 1 over types where the
        bucket has requests.
    cost_usd : float
        Over all steps; for one step of an hour, dollars per hour.
    bound_usd : float
        No answer costs less.
    status : Status
        How the bound was proved.
    """

    machines: IntArray
    share: FloatArray
    cost_usd: float
    bound_usd: float
    status: Status
