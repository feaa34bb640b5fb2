"""The plan: a linear program over time whose value is a bound and whose duals are prices."""

from scheduler.solver.plan.bound import Plan, plan_bound, plan_jobs

__all__ = ["Plan", "plan_bound", "plan_jobs"]
