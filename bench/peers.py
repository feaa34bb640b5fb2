"""What each peer knows and does, beside what ours does: the small print of the ratios."""

from __future__ import annotations

from typing import Final

KNOWLEDGE: Final = {
    "slurm": "a recorded slurmctld and our replay read the same submissions, limits and settings; "
    "when its scheduling loops ran is not recorded, so ours is a mean over phases of them",
    "gavel": "Gavel's policies know the speed of each job on each type; finish-time fairness and "
    "makespan know the work left too, as our optimizer does. `played again` is our rebuild of "
    "its simulator against runs of its own code",
    "shockwave": "the published table is of Shockwave's own simulator, whose jobs change their "
    "batch size on the way; our rebuild leaves that out",
    "sia": "Sia learns rates as jobs run and never knows the work left. Ours with `exact` knows "
    "the work left, with `estimates` a wrong guess of it, with `none` nothing; `known` rates are "
    "known from the start, `learned` ones are not",
    "philly": "all policies of a row have the same information; runtimes are of the trace, rates "
    "on other types are Gavel's measured ones",
    "fgd": "the same pods in the same order, nobody knows the next one",
    "pack": "ours knows all pods at once, FGD places each as it comes: a planner's figure, not a "
    "scheduler's",
    "melange": "both know the whole case; Melange's program is run here with the solver it uses",
    "helix": "both know the whole instance; Helix's figures were recorded with Gurobi on 20 "
    "threads, ours run here on one",
    "train_and_serve": "static baselines are told the peak, the threshold autoscaler sees the "
    "present, ours is told the recorded demand curve except where it says `from the past alone`",
    "alpaserve": "both choose on the same arrivals and are judged on others; recorded figures are "
    "of the peer's simulator",
    "solve": "both know all run times; the baselines do not know which jobs are still to come",
    "large_fleet": "the same policy, deciding by counts or by greedy round and CP-SAT; a "
    "day also beside SRTF and EASY backfilling",
    "floor": "the same information; which baseline is best on a problem is only known afterwards",
    "round": "the same generated instance; GLOP's is the relaxation only, which places nothing",
    "plan": "both bounds hold for any schedule, knowing the future",
    "fluid": "not a peer: our fluid model against our request-level simulation",
    "execute_schedule": "not a peer: idle time measured on Ray against the simulation of it",
}
"""By bench, for the README."""
