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
        ``bf_max_job_test`` and ``default_queue_depth``: jobs looked at in one pass.
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
        Time from a job's end until its accelerators may be given away. Not in slurm.conf, and
        chosen on two recorded runs: of their starts within a second of an end, 54 and 56 % fall
        into the second itself; with a fifth of a second, 50 and 52 % do (`bench slurm`).
    requeue_hold_s : float
        A requeued job is not eligible for so long: the life of a job credential and a second.
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
    completing_s: float = 0.2
    requeue_hold_s: float = 121.0
