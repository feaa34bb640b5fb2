"""The cluster as an interconnect graph, and from it domains, bandwidth and the modes of each job."""
