"""What a gang sees of the interconnect, and the answer "no, because".

The records are what the rate formulas and the mode builder hand each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.cluster import AcceleratorType
from scheduler.physics.collectives import USABLE_CEILING

USABLE_SHARE = USABLE_CEILING
"""Share of a published link rate that the collectives of jobs get; theirs are large."""

USUAL_SCALEUP_LATENCY_S = 2e-6
USUAL_SCALEOUT_LATENCY_S = 5e-6
"""Of fabrics in good order (NVLink and InfiniBand NDR: 1-2 and 2-3 us, plus a switch)."""


@dataclass(frozen=True, slots=True)
class Network:
    """Usable rates of one accelerator inside and outside its scale-up domain.

    Parameters
    ----------
    scaleup_bytes_per_s : float
        Usable rate of one accelerator, one direction, inside its scale-up domain
        (line rate times `USABLE_SHARE`); 0: no link.
    scaleup_latency_s : float
        One step inside the scale-up domain.
    scaleup_devices : int
        Accelerators of the gang that may share one scale-up domain, at least 1.
    scaleout_bytes_per_s : float
        Usable rate of one accelerator, one direction, between scale-up domains, when the
        whole level communicates at once; 0: no connection (a gang that fits the scale-up
        domain does not need one).
    scaleout_latency_s : float
        One step between scale-up domains.
    """

    scaleup_bytes_per_s: float
    scaleup_latency_s: float
    scaleup_devices: int
    scaleout_bytes_per_s: float
    scaleout_latency_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job or replica cannot run in some way.

    Parameters
    ----------
    reason : str
        A clause without a full stop, fit for ``"llm/T4: <reason>"``.
    """

    reason: str


def usual_network(accelerator: AcceleratorType, count: int, per_node: int | None = None) -> Network:
    """Return the network such accelerators usually come with.

    Parameters
    ----------
    accelerator : AcceleratorType
        Its scale-up link and usual network card.
    count : int
        Accelerators of the gang.
    per_node : int or None
        In one node; None: the usual number.
    """
    node = per_node or accelerator.devices_per_node
    return Network(
        scaleup_bytes_per_s=accelerator.scaleup_bytes_per_s * USABLE_SHARE,
        scaleup_latency_s=USUAL_SCALEUP_LATENCY_S,
        scaleup_devices=max(1, min(count, max(accelerator.scaleup_devices, node))),
        scaleout_bytes_per_s=accelerator.nic_bytes_per_s * USABLE_SHARE,
        scaleout_latency_s=USUAL_SCALEOUT_LATENCY_S,
    )
