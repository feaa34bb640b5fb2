"""Seeded synthetic workloads from published distributions."""

from scheduler.generate.demand import SHAPES, demand_curve
from scheduler.generate.kinds import KINDS, Kind, generate
from scheduler.generate.parameters import Parameter

__all__ = ["KINDS", "SHAPES", "Kind", "Parameter", "demand_curve", "generate"]
