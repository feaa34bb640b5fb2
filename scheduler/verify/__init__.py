"""Checks any Schedule or Run against its Problem, from the definitions, by its own code."""
