"""The constants of the training-rate formula, fitted to published runs.

``python bench/fit_training.py RUNS.csv`` fits them again and prints them beside the values
shipped here, with cross-validated errors. What a constant rests on stands beside it; the
thin ones are marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

STACKS: Final = ("cuda", "tpu", "cann", "rocm", "gaudi")
"""Software stacks with published training runs."""


@dataclass(frozen=True, slots=True)
class TrainingConstants:
    """Fitted constants.

    Parameters
    ----------
    cuda, tpu, cann, rocm, gaudi : float
        Share of the peak that matrix products would sustain with unlimited memory
        bandwidth, by software stack. cann rests on one bin of the 910B; rocm and gaudi on a
        handful of runs each (thin).
    flops_per_byte : float
        Operations of matrix products per byte they move through device memory: the share
        of the peak falls where the peak outruns the bandwidth.
    attention_cost : float
        Time of a floating-point operation of the attention scores against one of the
        matrix products.
    traffic_passes : float
        Times each hidden state (tokens x layers x hidden, 16 bits) crosses the memory bus in
        a forward and backward pass: norms, activations, residuals, dropout, rotary.
    small_step_exponent : float
        Loss where an accelerator sees fewer than `FULL_STEP_TOKENS` tokens in a step.
    small_step_exponent_moe : float
        The same for mixtures of experts, counted in tokens per weight (thin: 30 runs of a
        few models).
    dispatch_s : float
        Routing, permutation and launch of one MoE layer for one micro-batch, forward and
        backward (thin).
    overlap_norm : float
        Order of the norm that joins computation and communication: 1 adds them up, infinity
        hides the shorter one.
    """

    cuda: float
    tpu: float
    cann: float
    rocm: float
    gaudi: float
    flops_per_byte: float
    attention_cost: float
    traffic_passes: float
    small_step_exponent: float
    small_step_exponent_moe: float
    dispatch_s: float
    overlap_norm: float

    def efficiency(self, stack: str) -> float:
        """Return the share of the peak by stack; the least of all where none is known."""
        if stack in STACKS:
            return float(getattr(self, stack))
        return min(float(getattr(self, s)) for s in STACKS)


FULL_STEP_TOKENS: Final = 32768.0
"""Tokens per accelerator and step from which small steps cost nothing."""

RECOMPUTE_COST: Final = 1 / 3
"""A second forward pass against forward and backward (Chen et al., arXiv:1604.06174).
Published runs are fitted best between 0.3 and this."""

SHIPPED: Final = TrainingConstants(
    cuda=0.72,
    tpu=0.69,
    cann=0.51,
    rocm=0.51,
    gaudi=0.64,
    flops_per_byte=1610.0,
    attention_cost=1.36,
    traffic_passes=211.0,
    small_step_exponent=0.088,
    small_step_exponent_moe=0.23,
    dispatch_s=3.2e-3,
    overlap_norm=1.76,
)

GOODPUT: Final = MappingProxyType({"steady": 1.0, "with evaluation": 0.91, "device-hours": 0.83})
"""What a published figure counts against steady training: MLPerf run times include
evaluation (25 runs), tokens over device-hours restarts and idle nodes too (9 runs, thin)."""
