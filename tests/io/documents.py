"""Well-formed documents that the tests damage."""

from __future__ import annotations

TOPOLOGY = """\
schema: topology/1
title: Two pods
source: made up
licence: Apache-2.0
spine_latency: 5 us
sites:
  - name: main
    power_cap: 1.5 MW
    pue: 1.25
    tariff: 0.08 USD/kWh
    carbon: 450 g/kWh
    wan: {rate: 100 Gbit/s, latency: 10 ms}
accelerators:
  H100-SXM: {price: 27 kUSD}
  Chip-1: {stack: cuda, memory: 32 GiB, memory_rate: 1.2 TB/s, peak: {bf16: 200 TFLOP/s},
    idle: 50 W, full: 350 W, aliases: [chip1]}
pods:
  - name: a
    site: main
    uplink: 800 Gbit/s
    fabric: {kind: rail, nodes_per_leaf: 32, taper: 2, latency: 3 us}
    nodes:
      - {accelerator: H100-SXM, nodes: 2, per_node: 8, nic: 400 Gbit/s, overhead: 1.5 kW}
      - {accelerator: chip1, nodes: 1}
  - name: b
    repeat: 2
    site: main
    fabric: {kind: torus, shape: [2, 2], link: 100 GB/s}
    nodes:
      - {accelerator: T4, nodes: 4, per_node: 4, prefix: h}
outages:
  - {node: a-n2, start: 2 h, end: 6 h}
failures: {node_mtbf: 90 d, repair: 4 h, repair_sigma: 0.8}
"""

EDGES = """\
schema: topology/1
title: Cables
sites: [{name: main}]
pods:
  - name: p
    site: main
    fabric:
      kind: edges
      links:
        - {a: n1, b: sw, rate: 100 Gbit/s, latency: 1 us}
        - {a: sw, b: p-n2, rate: 100 Gbit/s}
    nodes: [{accelerator: T4, nodes: 2}]
"""

WORKLOAD = """\
schema: workload/1
title: A bit of everything
source: made up
licence: Apache-2.0
other_accelerators: [Chip-1]
models:
  my-7b: {kind: dense, parameters: 7e9, layers: 32, hidden: 4096, heads: 32}
profiles:
  own: {rates: [{job_type: resnet, accelerator: T4, count: 4, rate: 7.5}]}
classes:
  - name: pretrain
    model: {name: llama-3-70b, precision: bf16, sequence_length: 4096, global_batch: 512}
    gang: [64, 32]
    accelerators: [H100-SXM, a800, Chip-1]
    precision: bf16
    stacks: [cuda]
    memory: 40 GiB
    max_level: pod
    preemptible: true
    restart: 2 min
    checkpoint: 30 min
    mixed_types: 2
  - {name: vision, profile: {table: own, job_type: resnet}, gang: 4}
  - {name: script, run_time: {reference: T4}, gang: 1}
  - {name: tune, model: {name: my-7b}, gang: 8}
jobs:
  - {id: base, class: pretrain, work: 20e9, release: 2 h, every: 10 min, count: 3, at_once: 2,
     estimate: 5 h, deadline: 24 h, weight: 2, tenant: research}
  - {id: 7, class: script, run_time: 3 h}
services:
  - name: chat
    model: {name: llama-3-70b, precision: fp8}
    replica: [4, 8]
    demand: [[0 s, 4 req/s], [8 h, 20 req/s]]
    ttft: 2 s
    end: 7 d
  - name: images
    profile: {table: own, job_type: resnet}
    replica: 4
    demand: {shape: diurnal, peak: 20 req/s, base: 2 req/s, span: 2 d, step: 1 h, seed: 1}
generate:
  - {kind: philly-like, seed: 0, days: 0.2, mean_demand: 8, max_gang: 4, max_run_time: 2 h}
"""

JOBS_CSV = """\
id,release_s,gang,run_time_s,estimate_s,weight,deadline_s,tenant,accelerators
a,0,1,60,90,1,,x,
b,30.5,8,3600,,2,9000,y,T4|h100
c,30.5,4|8,10,20,,,x,
"""
