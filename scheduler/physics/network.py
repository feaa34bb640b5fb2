"""What a gang sees of the interconnect, and the answer "no, because".

These two records are what the rate formulas and the mode builder hand each other.
"""

from __future__ import annotations

from dataclasses import dataclass

USABLE_SHARE = 0.8
"""Share of a published link rate that collectives get on the wire: about 370 of 450 GB/s
on NVLink4 (https://github.com/NVIDIA/nccl-tests/issues/212), 468 of 600 GB/s on NVLink3
(FlagPerf)."""


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
