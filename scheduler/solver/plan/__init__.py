"""The plan: a linear program over time whose value is a bound and whose duals are prices."""

from scheduler.solver.plan.bound import Plan, plan_all, plan_bound, plan_jobs, priced_bound

__all__ = ["Plan", "plan_all", "plan_bound", "plan_jobs", "priced_bound"]
