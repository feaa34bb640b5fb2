"""How fast one accelerator type is against another when only a run time is known.

The unknown job is taken for the training of a mid-sized transformer, whose rate follows from
the formula that was fitted to published training runs (`scheduler.physics.step_time`).
"""

from __future__ import annotations

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.physics.step_time import WIDE, StepTerms, busy_seconds, peaks_of
from scheduler.physics.training_constants import SHIPPED

LAYERS, HIDDEN, SEQUENCE = 32, 4096, 2048
"""Of the generic job: the 6.7-billion-parameter shape of GPT-3 (arXiv:2005.14165, table 2.1)."""

PRODUCT_FLOPS = 6.0 * 12 * LAYERS * HIDDEN**2
SCORE_FLOPS = 6.0 * LAYERS * HIDDEN * SEQUENCE
"""Of one token, forward and backward, attention being causal."""


def sustained_flops(accelerator: AcceleratorType, precision: str | None = None) -> float:
    """Return the FLOP/s that a generic training job sustains on one accelerator.

    Parameters
    ----------
    accelerator : AcceleratorType
        The device.
    precision : str or None
        Number format of the job; None: 16 bits, or the widest the device has instead.

    Returns
    -------
    float
        FLOP/s; 0 where the device has no floating-point peak at all, or not `precision`.
    """
    known = accelerator.peak_flops
    own = precision or next((p for p in WIDE if p in known), "")
    product_peak, score_peak = peaks_of(own, accelerator)
    if np.isnan(product_peak + score_peak):
        return 0.0
    none = np.zeros(1)
    terms = StepTerms(
        product_flops=PRODUCT_FLOPS,
        score_flops=SCORE_FLOPS,
        product_peak=product_peak,
        score_peak=score_peak,
        memory_bytes_per_s=accelerator.memory_bytes_per_s,
        state_bytes=2.0 * LAYERS * HIDDEN,
        fixed_bytes=0.0,
        recompute=none,
        dispatches=none,
        fullness=1.0,
        experts=0.0,
        bubble=none,
    )
    compute_s, memory_s = busy_seconds(terms, SHIPPED.efficiency(accelerator.stack), SHIPPED)
    return (PRODUCT_FLOPS + SCORE_FLOPS) / float((compute_s + memory_s)[0])
