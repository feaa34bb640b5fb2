"""How a Slurm site schedules: what its configuration says about order, backfill, preemption."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SlurmPartition:
    """A queue over some nodes.

    Parameters
    ----------
    name : str
        As jobs name it.
    nodes : tuple of int
        Node indices, ascending; empty: all.
    tier : int
        ``PriorityTier``: jobs of a higher tier are looked at first, and may preempt.
    factor : float
        ``PriorityJobFactor`` over the largest one, in [0, 1].
    requeues : bool
        Whether its jobs may be preempted by requeue.
    """

    name: str
    nodes: tuple[int, ...] = ()
    tier: int = 1
    factor: float = 0.0
    requeues: bool = True


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """The part of slurm.conf that decides who runs when; defaults are Slurm's own.

    Parameters
    ----------
    backfills : bool
        ``SchedulerType=sched/backfill``.
    cycle_s : float
        ``sched_interval``: longest time between two passes of the main scheduler.
    submit_delay_s : float
        ``batch_sched_delay``: from a submission to the pass that looks at it.
    backfill_interval_s, window_s, resolution_s : float
        ``bf_interval``, ``bf_window``, ``bf_resolution``.
    most_jobs : int
        ``bf_max_job_test``: jobs looked at in one pass of backfill.
    multifactor : bool
        ``PriorityType=priority/multifactor``; else order of submission.
    age_weight, size_weight, partition_weight : float
        ``PriorityWeightAge``, ``PriorityWeightJobSize``, ``PriorityWeightPartition``.
    most_age_s : float
        ``PriorityMaxAge``.
    favours_small : bool
        ``PriorityFavorSmall``.
    preempts : bool
        ``PreemptType=preempt/partition_prio`` with ``PreemptMode=REQUEUE``.
    partitions : tuple of SlurmPartition
        By the tenant's position in `Workload.tenants`; empty: one queue over all nodes.
    cpus_per_node : float
        Mean CPUs of a node: half of the size factor is CPUs asked over all CPUs.
    completing_s : float
        Time from a job's end until its accelerators may be given away. Not in slurm.conf:
        4 to 16 ms in the log of a slurmctld 22.05.8 of our own (one host, no epilog).
    requeue_hold_s : float
        A requeued job is not eligible for so long: the life of a job credential and a second.
    queue_depth : int
        ``default_queue_depth``: jobs looked at in a pass of the main scheduler that a submission
        or an end asked for; one every ``sched_interval`` looks at all.
    priorities_every_s : float
        ``PriorityCalcPeriod``: ages count from one such instant to the next.
    killed_s : float
        Time from a preemption until what was preempted has left: 35 to 45 ms in the same log.
    preempts_again_s : float
        ``KillWait`` and ``MessageTimeout``: who preempted does so again only after so long.
    epilog : bool
        Whether nodes run an ``Epilog``. Then each reports the end of a job, which starts a pass
        at once; otherwise an end only asks for one, as a submission does.
    tree : bool
        ``TopologyPlugin=topology/tree``: few leaf switches, tightest first; otherwise nodes in
        their order.
    tick_lag_s, backfill_lag_s : float
        What the background loop takes beyond its second, and a round of backfill beyond its
        interval. Nothing by default; where a real run is replayed, it shifts the two loops
        against each other and against the ends of jobs.
    """

    backfills: bool = True
    cycle_s: float = 60.0
    submit_delay_s: float = 3.0
    backfill_interval_s: float = 30.0
    window_s: float = DAY_S
    resolution_s: float = 60.0
    most_jobs: int = 500
    multifactor: bool = True
    age_weight: float = 1000.0
    size_weight: float = 0.0
    partition_weight: float = 0.0
    most_age_s: float = 7 * DAY_S
    favours_small: bool = False
    preempts: bool = False
    partitions: tuple[SlurmPartition, ...] = ()
    cpus_per_node: float = 64.0
    completing_s: float = 0.01
    requeue_hold_s: float = 121.0
    queue_depth: int = 100
    priorities_every_s: float = 300.0
    killed_s: float = 0.04
    preempts_again_s: float = 40.0
    epilog: bool = False
    tree: bool = True
    tick_lag_s: float = 0.0
    backfill_lag_s: float = 0.0
