"""Checks any Schedule or Run against its Problem, from the definitions, by its own code.

Every rule is a small function of its own with a stable violation code; the rules share no
code with the solver, the policies or the simulator.
"""

from scheduler.verify.checks import recompute_idle, verify_run, verify_schedule

__all__ = ["recompute_idle", "verify_run", "verify_schedule"]
