"""Packing shared and whole accelerators onto nodes: by patterns of one node, with a bound."""
