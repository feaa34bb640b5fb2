"""Executed schedules: a run's allocations as real Ray tasks, and the idle time they leave."""

from __future__ import annotations

from scheduler.execute.schedules.measure import Execution, TypeIdle
from scheduler.execute.schedules.perform import execute_run

__all__ = ["Execution", "TypeIdle", "execute_run"]
