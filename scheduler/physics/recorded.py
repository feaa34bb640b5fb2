"""Rates of jobs of which only a recorded run time is known.

Such a job is taken for generic data-parallel training: every step computes, then sums its
gradients over the gang. The recorded run time is that of its best shape on the reference
type with the first count of its class; other shapes, counts and types follow from it.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.workload import FloatArray
from scheduler.physics.collectives import all_reduce_s, two_level_all_reduce_s
from scheduler.physics.network import Network, usual_network
from scheduler.physics.power import draw_w
from scheduler.physics.shapes import Rates, Shapes
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


def exposed_communication(flops_per_s: float, count: int, network: Network) -> float:
    """Return exposed communication over compute time of the generic job.

    Parameters
    ----------
    flops_per_s : float
        What one accelerator sustains; a faster one computes less long and waits more.
    count : int
        Gang size.
    network : Network
        Usable rates.

    Returns
    -------
    float
        0 for a single accelerator; infinite without a connection.
    """
    if count <= 1:
        return 0.0
    compute_s = GRADIENT_BYTES / GRADIENT_BYTES_PER_FLOP / flops_per_s
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
        self._own: dict[tuple[int, str | None], tuple[Shapes, FloatArray, FloatArray]] = {}

    def rates(
        self,
        shapes: Shapes,
        reference: AcceleratorType | None,
        recorded_count: int,
        precision: str | None,
    ) -> Rates:
        """Return work per second of each shape, in seconds of the recorded run.

        Parameters
        ----------
        shapes : Shapes
            What is asked about.
        reference : AcceleratorType or None
            Type the run time was recorded on; None: the type of each shape itself.
        recorded_count : int
            Gang it was recorded with.
        precision : str or None
            Number format of the job.

        Returns
        -------
        Rates
            1 for the best shape of the recorded gang on the reference type itself; counts
            scale linearly but for communication. 0 on types without a floating-point peak.
        """
        paces, power_w = self._paces(shapes, precision)
        types = range(len(self._floor.types)) if reference is None else (0,)
        anchors = np.array(
            [
                self._anchored(reference or self._floor.types[t], recorded_count, precision)
                for t in types
            ]
        )
        if reference is None:
            anchors = anchors[[g.type_index for g in shapes.groups]]
        rate = np.divide(paces, anchors, out=np.zeros_like(paces), where=anchors > 0)
        return Rates(rate, np.zeros_like(rate), power_w)

    def _paces(self, shapes: Shapes, precision: str | None) -> tuple[FloatArray, FloatArray]:
        """Return FLOP/s after communication and watts, by shape."""
        key = (id(shapes), precision)
        if key not in self._own:
            speeds = [sustained_flops(kind, precision) for kind in self._floor.types]
            rows = []
            for spread, group in zip(shapes.spreads, shapes.groups, strict=True):
                speed, kind = speeds[group.type_index], self._floor.types[group.type_index]
                busy = _computing_share(speed, group.count, spread.network)
                rows.append((group.count * speed * busy, group.count * draw_w(kind, busy)))
            table = np.array(rows).reshape(-1, 2)
            self._own[key] = shapes, table[:, 0], table[:, 1]
        return self._own[key][1:]

    def _anchored(self, reference: AcceleratorType, count: int, precision: str | None) -> float:
        key = (reference.name, count, precision)
        if key not in self._anchor:
            self._anchor[key] = self._reference_pace(reference, count, precision)
        return self._anchor[key]

    def _reference_pace(
        self, reference: AcceleratorType, count: int, precision: str | None
    ) -> float:
        if precision is not None and not reference.peak_flops.get(precision):
            precision = None  # recorded in whatever format the reference had
        known = {kind.name: t for t, kind in enumerate(self._floor.types)}
        networks: list[Network] = []
        if reference.name in known:
            networks = [s.network for s in self._floor.spreads(known[reference.name], count)]
        if not networks:
            networks = [usual_network(reference, count)]
        speed = sustained_flops(reference, precision)
        return count * speed * max(_computing_share(speed, count, n) for n in networks)


def _computing_share(flops_per_s: float, count: int, network: Network) -> float:
    """Return the share of its time in which the gang computes; 0 where it cannot."""
    if flops_per_s <= 0:
        return 0.0
    return 1 / (1 + exposed_communication(flops_per_s, count, network))
