"""Names of the research baselines, and a line about each; nothing heavy is imported."""

from __future__ import annotations

from typing import Final

_GAVEL: Final = {
    "max_min": "max-min fairness of throughput",
    "finish_time": "finish-time fairness",
    "makespan": "least makespan",
    "throughput": "largest sum of throughputs",
}

RESEARCH: Final[dict[str, str]] = {
    "sjf": "shortest job first, nothing is stopped, what fits passes",
    "las": "least attained service, preemptive",
    "tiresias": "attained accelerator-time in four queues, preemptive (NSDI 2019)",
    "themis": "worst finish-time fairness first, by leases (NSDI 2020)",
    "conservative_backfill": "first come, first served; who passes delays nobody before it",
    "worst_fit": "arrival order without blocking, each gang on the emptiest nodes",
    "random_fit": "arrival order without blocking, each gang on random nodes",
    "topology_best_fit": "arrival order without blocking, least room left at every level",
    "dot_product": "arrival order without blocking, where least is free along what is asked",
    "gpu_packing": "arrival order without blocking, nodes in use before untouched ones",
    "gpu_clustering": "arrival order without blocking, gangs of one size together (OSDI 2018)",
    "fgd": "arrival order without blocking, where fragmentation grows least (ATC 2023)",
    "allox": "jobs matched to types and places in their queues, for mean JCT (EuroSys 2020)",
    "hadar": "Hadar-like (2025): rounds in which jobs take what pays at rising prices",
    "sia": "one type and count per job and round, by an integer program (SOSP 2023); slow",
    "lucid": "Lucid-like (ASPLOS 2023): small jobs first by predicted durations, no packing",
    **{
        f"gavel_{k}_perf": f"Gavel (OSDI 2020): {text}, by rates per type"
        for k, text in _GAVEL.items()
    },
    **{
        f"gavel_{k}": f"Gavel (OSDI 2020): {text}, types taken for equal"
        for k, text in _GAVEL.items()
    },
    "gavel_throughput_cost_perf": "Gavel (OSDI 2020): largest sum of throughputs per dollar",
    "gavel_max_min_cost_perf": "Gavel (OSDI 2020): max-min fairness of throughput per dollar",
    "gandiva_fair": "equal shares of every type in rounds (EuroSys 2020), without trading",
    "shockwave": "a fair and efficient market over a window of rounds (NSDI 2023)",
    "optimizer_jct": "rounds priced by a plan over time, for the least mean JCT",
    "optimizer_makespan": "a whole schedule laid to end together: makespan first, then mean JCT",
}
"""Policy name to a line about it; makers of the same names are in `research`."""
