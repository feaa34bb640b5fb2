"""Texts of a small fleet and a small workload."""

from __future__ import annotations

SMALL_TOPOLOGY = """\
schema: topology/1
title: "Small: 16 A100 and 16 T4"
spine_latency: 8 us
sites:
  - {name: main, pue: 1.2, tariff: 0.1 USD/kWh, carbon: 400 g/kWh}
pods:
  - name: west
    site: main
    uplink: 400 Gbit/s
    fabric: {kind: fat_tree, nodes_per_leaf: 4, taper: 1, latency: 3 us}
    nodes:
      - {accelerator: A100-80GB-SXM, nodes: 2, per_node: 8, nic: 200 Gbit/s}
      - {accelerator: T4, nodes: 4, per_node: 4, nic: 50 Gbit/s}
"""

SMALL_WORKLOAD = """\
schema: workload/1
title: Forty jobs of three classes
classes:
  - {name: big, run_time: {reference: A100-80GB-SXM}, gang: 16, accelerators: [A100-80GB-SXM]}
  - {name: mid, run_time: {reference: A100-80GB-SXM}, gang: 4, accelerators: [A100-80GB-SXM]}
  - {name: tiny, run_time: {reference: T4}, gang: 1, accelerators: [T4]}
jobs:
  - {id: b, class: big, run_time: 2 h, release: 10 min, every: 3 h, count: 4}
  - {id: m, class: mid, run_time: 1 h, release: 0 s, every: 20 min, count: 18}
  - {id: t, class: tiny, run_time: 4 h, release: 5 min, every: 15 min, count: 18}
"""
