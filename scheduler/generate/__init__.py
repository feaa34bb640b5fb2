"""Seeded synthetic workloads from published distributions."""
