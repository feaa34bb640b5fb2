"""Datasheet speeds of the accelerator types that work is drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Device:
    """Dense 16-bit peak in FLOP/s and memory bandwidth in bytes/s."""

    flops: float
    bytes_per_s: float


DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        name: Device(tera_flops * 1e12, tera_bytes_per_s * 1e12)
        for name, tera_flops, tera_bytes_per_s in (
            ("T4", 65, 0.32),
            ("V100-16GB-SXM", 125, 0.9),
            ("V100-32GB-SXM", 125, 0.9),
            ("A10", 125, 0.6),
            ("L4", 121, 0.3),
            ("L20", 119.5, 0.864),
            ("L40S", 362, 0.864),
            ("A100-40GB-SXM", 312, 1.555),
            ("A100-80GB-SXM", 312, 2.039),
            ("A800-80GB-SXM", 312, 2.039),
            ("H20", 148, 4.0),
            ("H100-SXM", 989.4, 3.35),
            ("H800-SXM", 989.4, 3.35),
            ("H200-SXM", 989.4, 4.8),
            ("B200", 2250, 7.7),
            ("Ascend-910B", 376, 1.6),
            ("Ascend-910C", 752, 3.2),
            ("MI300X", 1307.4, 5.3),
        )
    }
)
"""Vendors' datasheets; names are those of the accelerator catalogue."""
