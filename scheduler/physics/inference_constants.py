"""The fitted constants of the inference formulas, in one place, with their support.

``bench/fit_inference.py`` refits them from published runs and prints them beside these.
Everything else in the formulas is a datasheet value or a count taken from the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class InferenceConstants:
    """What published serving runs say about hardware and serving software.

    Parameters
    ----------
    compute_efficiency : float
        Share of the dense 16-bit peak that prefill matrix products reach.
    low_precision_exponent : float
        Effective peak is ``P16 * (P / P16) ** exponent`` for precisions below 16 bits:
        attention, norms and scaling stay in 16 or 32 bits.
    bandwidth_efficiency : float
        Share of the memory bandwidth that decoding reaches.
    widening_efficiency : float
        Of both, for weights that are widened to 16 bits in registers before they multiply.
    layer_gap_s : float
        Device time per layer and pass beside matrix products and attention: kernel starts,
        norms, sampling.
    prefill_layer_s : float
        Further time per layer of a prefill, which no captured graph replays.
    collective_call_s : float
        Fixed part of one all-reduce call, besides its hops and bytes.
    eager_layer_s : float
        Host time per layer and pass of a runtime without captured graphs (2023), on hosts
        sold with accelerators before 2022.
    eager_newer_host : float
        That time on hosts sold with accelerators from 2022 on, as a share.
    eager_sequence_s : float
        Host time per sequence and step of such a runtime.
    eager_batch_exponent : float
        Such a runtime slows a static batch of prompts by ``(tokens / 2048) ** exponent``
        beyond 2048 tokens (arXiv:2311.18677, section 3, shows the decline).
    first_token_s : float
        Server time of a request beside the model: tokenizer, scheduling, HTTP.
    first_token_steps : float
        Decode steps that a new request waits for.
    """

    compute_efficiency: float = 0.70
    low_precision_exponent: float = 0.64
    bandwidth_efficiency: float = 0.776
    widening_efficiency: float = 0.72
    layer_gap_s: float = 36.5e-6
    prefill_layer_s: float = 93e-6
    collective_call_s: float = 9e-6
    eager_layer_s: float = 540e-6
    eager_newer_host: float = 0.68
    eager_sequence_s: float = 240e-6
    eager_batch_exponent: float = 0.285
    first_token_s: float = 0.020
    first_token_steps: float = 1.93


SHIPPED = InferenceConstants()
"""What fleetfit uses."""

SUPPORT: Mapping[str, int] = MappingProxyType(
    {
        "compute_efficiency": 61,
        "low_precision_exponent": 22,
        "bandwidth_efficiency": 73,
        "widening_efficiency": 8,
        "layer_gap_s": 30,
        "prefill_layer_s": 10,
        "collective_call_s": 10,
        "eager_layer_s": 18,
        "eager_newer_host": 8,
        "eager_sequence_s": 3,
        "eager_batch_exponent": 3,
        "first_token_s": 9,
        "first_token_steps": 9,
    }
)
"""Published figures, of 114, that a fifth more of a constant moves by over 2 %. Fewer than
ten is thin: such a constant rests on experience as much as on data."""

ROOFLINE_NORM = 1.5
"""Compute and memory time join as ``(c ** p + m ** p) ** (1 / p)``: 1 is no overlap, infinity
the ideal roofline (Williams, Waterman, Patterson, doi:10.1145/1498765.1498785)."""

EAGER_NORM = 3.0
"""Host and device time of an eager runtime's decode step join likewise: the host runs ahead."""
