"""Rates of jobs of which only a recorded run time is known.

Such a job is taken for generic data-parallel training: every step computes, then sums its
gradients over the gang. The recorded run time is that of its best shape on the reference
type with the first count of its class; other shapes, counts and types follow from it.
"""

from __future__ import annotations

from scheduler.core.cluster import AcceleratorType
from scheduler.physics.collectives import all_reduce_s, two_level_all_reduce_s
from scheduler.physics.interconnect import SCALEUP_LATENCY_S
from scheduler.physics.network import USABLE_SHARE, Network
from scheduler.physics.speed import sustained_flops
from scheduler.physics.spreads import Floor

GRADIENT_BYTES_PER_FLOP = 4e-5
"""Bytes to sum over bytes computed on: 2 bytes for 6 x 8,192 FLOP in 16-bit training of 8,192
tokens per accelerator and step; ResNet-50 with batch 64 (51 MB for 1.6 TFLOP) is near it."""

GRADIENT_BYTES = 256e6
"""Size of one all-reduce; only the start-up share of its time depends on it."""

EXPOSED_SHARE = 0.5
"""Part of the all-reduce that the backward pass does not hide; measured data-parallel
overlap hides 30-70 % (PyTorch DDP, VLDB 2020, figure 6)."""


def exposed_communication(
    accelerator: AcceleratorType,
    count: int,
    per_node: int,
    network: Network,
    precision: str | None = None,
) -> float:
    """Return exposed communication over compute time of the generic job.

    Parameters
    ----------
    accelerator : AcceleratorType
        Device; a faster one computes less long and waits more.
    count, per_node : int
        Gang size and accelerators per node.
    network : Network
        Usable rates.
    precision : str or None
        Number format of the job.

    Returns
    -------
    float
        0 for a single accelerator; infinite without a connection.
    """
    if count <= 1:
        return 0.0
    compute_s = GRADIENT_BYTES / GRADIENT_BYTES_PER_FLOP / sustained_flops(accelerator, precision)
    inner = min(count, max(1, network.scaleup_devices))
    if inner == count:
        took = all_reduce_s(
            GRADIENT_BYTES, count, network.scaleup_bytes_per_s, network.scaleup_latency_s
        )
    else:
        took = two_level_all_reduce_s(
            GRADIENT_BYTES,
            inner,
            -(-count // inner),
            network.scaleup_bytes_per_s,
            network.scaleup_latency_s,
            network.scaleout_bytes_per_s,
            network.scaleout_latency_s,
        )
    return EXPOSED_SHARE * took / compute_s


class RecordedRates:
    """Rates relative to a recorded run time, for one fleet.

    Parameters
    ----------
    floor : Floor
        Where gangs fit.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._anchor: dict[tuple[str, int, str | None], float] = {}

    def rate(
        self,
        reference: AcceleratorType,
        recorded_count: int,
        precision: str | None,
        type_index: int,
        count: int,
        per_node: int,
        network: Network,
    ) -> float:
        """Return work per second, in seconds of the recorded run.

        Parameters
        ----------
        reference : AcceleratorType
            Type the run time was recorded on (the asked type itself where nobody said).
        recorded_count : int
            Gang it was recorded with.
        precision : str or None
            Number format of the job.
        type_index, count, per_node : int
            The shape asked about.
        network : Network
            What that shape sees.

        Returns
        -------
        float
            1 for the best shape of the recorded gang on the reference type itself; counts
            scale linearly but for communication.
        """
        kind = self._floor.types[type_index]
        own = _pace(kind, count, per_node, network, precision)
        key = (reference.name, recorded_count, precision)
        if key not in self._anchor:
            self._anchor[key] = self._reference_pace(reference, recorded_count, precision)
        return own / self._anchor[key]

    def _reference_pace(
        self, reference: AcceleratorType, count: int, precision: str | None
    ) -> float:
        if precision is not None and not reference.peak_flops.get(precision):
            precision = None  # recorded in whatever format the reference had
        known = {kind.name: t for t, kind in enumerate(self._floor.types)}
        shapes: list[tuple[int, Network]] = []
        if reference.name in known:
            spreads = self._floor.spreads(known[reference.name], count)
            shapes = [(s.per_node, s.network) for s in spreads]
        if not shapes:
            shapes = [_usual_shape(reference, count)]
        return max(_pace(reference, count, g, net, precision) for g, net in shapes)


def _pace(
    kind: AcceleratorType, count: int, per_node: int, network: Network, precision: str | None
) -> float:
    """FLOP/s of the gang after communication."""
    lost = exposed_communication(kind, count, per_node, network, precision)
    return count * sustained_flops(kind, precision) / (1 + lost)


def _usual_shape(kind: AcceleratorType, count: int) -> tuple[int, Network]:
    """Return the shape of a gang on full nodes of a type the fleet does not have."""
    per_node = max(1, min(count, kind.devices_per_node))
    scaleout = kind.nic_bytes_per_s or kind.scaleup_bytes_per_s
    return per_node, Network(
        kind.scaleup_bytes_per_s * USABLE_SHARE,
        SCALEUP_LATENCY_S,
        max(per_node, min(count, kind.scaleup_devices)),
        scaleout * USABLE_SHARE,
        3e-6,
    )
