"""Decisions from a view of the state; each baseline fits on a screen."""
