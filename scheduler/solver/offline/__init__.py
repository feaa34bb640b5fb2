"""Offline schedules: known jobs over the whole horizon, with a bound and how it was proved."""

from scheduler.solver.offline.objectives import OBJECTIVES, general_bound, objective_value
from scheduler.solver.offline.search import OfflineAnswer, solve_offline

__all__ = ["OBJECTIVES", "OfflineAnswer", "general_bound", "objective_value", "solve_offline"]
