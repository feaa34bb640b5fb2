"""The plan: a linear program over time whose value is a bound and whose duals are prices."""

from scheduler.solver.plan.bound import (
    Plan,
    Requests,
    plan_all,
    plan_bound,
    plan_jobs,
    priced_bound,
)
from scheduler.solver.plan.groups import Dates

__all__ = ["Dates", "Plan", "Requests", "plan_all", "plan_bound", "plan_jobs", "priced_bound"]
