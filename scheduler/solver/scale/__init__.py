"""One placement round at scale: prices, a core LP, counts in CP-SAT, slots on nodes.

A round with thousands of nodes and jobs is decided without a variable, or a row, per node:
nodes and pods enter by how many of them are alike, jobs outside a small core only through the
prices of what they use.
"""
