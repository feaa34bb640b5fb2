"""Offline schedules: known jobs over the whole horizon, with a bound and how it was proved."""

from scheduler.solver.offline.answers import Aim, OfflineAnswer
from scheduler.solver.offline.bounds import general_bound
from scheduler.solver.offline.objectives import OBJECTIVES, objective_value
from scheduler.solver.offline.search import solve_offline

__all__ = [
    "OBJECTIVES",
    "Aim",
    "OfflineAnswer",
    "general_bound",
    "objective_value",
    "solve_offline",
]
