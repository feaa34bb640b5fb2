"""The cluster as an interconnect graph, and from it domains, bandwidth and the modes of each job.

From declarations to a Problem: `interconnect` builds the graph, `bandwidth` and `domains` read
levels, domains and pools off it, `spreads` fits gangs into them, `recorded`, `profiles`,
`training` and `inference` rate them, `modes` and `problem` put it all together. `load` sets how
much a workload asks. `contention` gives bandwidth on concrete nodes, `collectives` the time of
single operations.
"""
