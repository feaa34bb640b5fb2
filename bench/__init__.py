"""Each comparison with a peer as one command: ``python -m bench NAME``.

A bench is a module of this package with ``add_arguments(parser)`` and ``run(arguments)``, which
returns ``{"bench", "cases", "machine", ...}``, and ``table(result)``, the lines that people
read. It raises `scheduler.core.errors.InputError` where its inputs are missing.
"""

from __future__ import annotations

from typing import Final

BENCHES: Final = {
    "page": "the page of 20,000 jobs on 4,096 accelerators: size, first picture, filters",
    "modes": "modes of 10,000 distinct jobs on 20 types and 5 levels, in two seconds",
    "collectives": "measured all-reduces against the formula, from link figures alone",
    "execute_schedule": "a schedule on 32 nodes as real Ray tasks: measured against simulated idle",
    "ray": "sweeps on Ray: share of the ideal, overhead per cell, scaling over nodes",
    "replay": "whole replays: a trace against a heap loop and SimPy, a month of 10^6 jobs",
    "sia": "adaptive jobs: Gavel, Sia and the optimizer against runs recorded in Sia's simulator",
    "slurm": "runs recorded on a real slurmctld, replayed under their settings",
    "round": "one decision for up to 100,480 nodes: seconds, gap, beside GLOP, CP-SAT and SCIP",
    "large_fleet": "a whole day of up to 100,352 accelerators under the optimizer, verified",
    "physics": "predicted rates against published training and inference runs",
    "philly": "Philly's virtual clusters on mixed pods: the optimizer against the baselines",
    "floor": "the optimizer against the best baseline of its level, on many drawn problems",
    "prediction": "run times learnt in the run: Philly's windows with and without history",
    "gavel": "Gavel's traces: its policies beside runs of its own code, then the optimizer",
    "shockwave": "Shockwave's trace: our policies beside its published table",
    "plan": "the plan's bound on mean completion time beside the combinatorial one",
    "solve": "known jobs scheduled offline: search against the best baseline, gap to the bound",
    "truth": "answers against exhaustive search, bounds against runs, counted",
    "fgd": "openb packing of FGD (ATC'23): allocation against the published runs",
    "pack": "openb packing with all pods known: allocation, proved bound, moves to make room",
    "melange": "the cheapest machines for a mix of requests, against Melange's integer program",
    "helix": "a model spread over unlike machines: flow, bound and depth, against Helix",
    "fluid": "services as a fluid against request by request: SLO attainment of random services",
    "alpaserve": "models that share groups of devices: replication, AlpaServe's placement, ours",
    "train_and_serve": "services and training on one fleet: waste and SLO, against provisioning",
}
"""Name to a line about it."""

MODULES: Final = {"ray": "ray_overhead"}
"""Modules whose name is not the bench's (`ray` is a package of its own)."""
