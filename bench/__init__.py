"""Each comparison with a peer as one command: ``python -m bench NAME``.

A bench is a module of this package with ``add_arguments(parser)`` and ``run(arguments)``, which
returns ``{"bench", "cases", "machine", ...}``, and ``table(result)``, the lines that people
read. It raises `scheduler.core.errors.InputError` where its inputs are missing.
"""

from __future__ import annotations

from typing import Final

BENCHES: Final = {
    "execute_schedule": "a schedule on 32 nodes as real Ray tasks: measured against simulated idle",
    "ray_overhead": "sweeps on Ray: share of the ideal, overhead per cell, scaling over nodes",
    "fgd": "openb packing of FGD (ATC'23): allocation against the published runs",
}
"""Module name to a line about it."""
