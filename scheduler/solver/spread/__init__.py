"""Spread one model's layers over unlike machines for the most tokens per second.

Generic integer programming on layers and links is hopeless here (the peer's stops at gaps of
thousands of percent). What works: chains of segments chosen by counts, junctions where thin
links are crossed, chains woven with the links in sight where links are thin or missing, a local
search on the true max-flow for what is left, and a bound from the linear program over covers of
a layer.
"""

from __future__ import annotations

from scheduler.solver.spread.solve import solve_spread

__all__ = ["solve_spread"]
