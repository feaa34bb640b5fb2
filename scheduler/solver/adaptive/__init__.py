"""Schedules of adaptive jobs with all arrivals known: bound, plan and repair."""
