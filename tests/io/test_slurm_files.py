"""Reading slurm.conf and its companions."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.io.slurm import expand, read_record, read_site

FORMATS = Path(__file__).resolve().parents[2] / ".." / "shared" / "formats" / "slurm"

CONF = """\
ClusterName=c   # a comment
SchedulerParameters=bf_interval=2,bf_resolution=5,bf_window=60\\
,sched_interval=3
PriorityType=priority/multifactor
PriorityWeightAge=1000
PriorityMaxAge=1-02:00
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs=32
NodeName=h[01-03] Gres=gpu:h100:8
NodeName=a1 Gres=gpu:a100:4 CPUs=64
NodeName=cpu1
PartitionName=low Nodes=ALL PriorityTier=1
PartitionName=high Nodes=h[02-03] PriorityTier=5 PreemptMode=off
"""
JOBS = """\
job_id,submit_s,nodes,gres_type,gpus_per_node,run_s,time_limit_min,partition
1,0.5,2,h100,8,30,1,low
2,1.5,1,a100,2,10,2,low
"""
DONE = "job_id,state,start_s,end_s\n1,COMPLETED,1,31\n2,COMPLETED,2,12\n"


def folder_with(path: Path, **files: str) -> Path:
    texts = {"slurm.conf": CONF, "jobs.csv": JOBS, "completed.csv": DONE}
    texts |= {name.replace("_", "."): text for name, text in files.items()}
    for name, text in texts.items():
        (path / name).write_text(text)
    return path


def test_host_lists() -> None:
    assert expand("a-[01-03,7],b") == ["a-01", "a-02", "a-03", "a-7", "b"]
    assert expand("r[1-2]n[8-9]") == ["r1n8", "r1n9", "r2n8", "r2n9"]
    assert expand("") == []
    with pytest.raises(ValueError, match="not a range"):
        expand("a[3-1]")
    with pytest.raises(ValueError, match="more than"):
        expand("a[1-99999999]")


def test_a_site(tmp_path: Path) -> None:
    site = read_site(folder_with(tmp_path, topology_conf="SwitchName=l Nodes=h[01-02]\n"))
    assert [n.name for n in site.nodes] == ["h01", "h02", "h03", "a1"]
    assert [(n.accelerator, n.count, n.cpus) for n in site.nodes[2:]] == [
        ("h100", 8, 32),
        ("a100", 4, 64),
    ]
    assert site.leaves == ((0, 1), (2, 3))
    settings = site.settings
    assert (settings.backfill_interval_s, settings.resolution_s) == (2.0, 5.0)
    assert (settings.window_s, settings.cycle_s) == (3600.0, 3.0)
    assert (settings.multifactor, settings.age_weight) == (True, 0.0), "no slurmdbd"
    assert settings.most_age_s == 26 * 3600.0
    low, high = settings.partitions
    assert (low.nodes, low.tier, low.requeues) == ((0, 1, 2, 3), 1, True)
    assert (high.nodes, high.tier, high.requeues) == ((1, 2), 5, False)
    assert settings.preempts


def test_settings_of_other_sites(tmp_path: Path) -> None:
    conf = (
        CONF.replace("PreemptMode=REQUEUE", "PreemptMode=REQUEUE\nTopologyPlugin=topology/tree")
        + "AccountingStorageType=accounting_storage/slurmdbd\nPriorityCalcPeriod=2\n"
        + "KillWait=20\nMessageTimeout=5\nEpilog=/etc/slurm/epilog.sh\n"
        + "NodeSet=big Nodes=h[01-02]\nPartitionName=set Nodes=big,a1\n"
    ).replace("sched_interval=3", "sched_interval=3,default_queue_depth=7,bf_continue")
    site = read_site(folder_with(tmp_path, slurm_conf=conf))
    settings = site.settings
    assert settings.age_weight == 1000.0, "counts where accounts are kept"
    assert (settings.priorities_every_s, settings.preempts_again_s) == (120.0, 25.0)
    assert (settings.epilog, settings.queue_depth, settings.tree) == (True, 7, True)
    assert settings.partitions[2].nodes == (0, 1, 3)
    assert site.not_played == ()
    deferred = conf.replace("bf_continue", "defer")
    assert not read_site(folder_with(tmp_path, slurm_conf=deferred)).settings.epilog


def test_settings_that_are_not_played_are_named(tmp_path: Path) -> None:
    conf = CONF.replace(
        "sched_interval=3", "bf_busy_nodes,preempt_youngest_first,bf_max_job_user=5"
    )
    conf = conf.replace("preempt/partition_prio", "preempt/qos").replace("CPUs=64", "Weight=5")
    conf += "PriorityWeightFairshare=5\nPriorityWeightQOS=7\nCompleteWait=32\nCompleteWait=32\n"
    conf += "SelectType=select/linear\nDownNodes=h01 State=DOWN\n"
    conf += "PartitionName=over OverSubscribe=FORCE:2 GraceTime=60 LLN=no State=DRAIN\n"
    found = read_site(folder_with(tmp_path, slurm_conf=conf)).not_played
    assert found == (
        "SchedulerParameters=bf_busy_nodes",
        "SchedulerParameters=preempt_youngest_first",
        "SchedulerParameters=bf_max_job_user=5",
        "CompleteWait=32",
        "PriorityWeightQOS=7",
        "SelectType=select/linear",
        "TopologyPlugin=topology/none",
        "PreemptType=preempt/qos",
        "DownNodes=h01",
        "PartitionName=over GraceTime=60",
        "PartitionName=over OverSubscribe=FORCE:2",
        "PartitionName=over State=DRAIN",
        "Weight of nodes",
    )


def test_devices_from_gres_conf(tmp_path: Path) -> None:
    conf = "NodeName=n[1-2] CPUs=8\nPartitionName=p Nodes=ALL\n"
    gres = (
        "NodeName=n1 Name=gpu Type=H100 File=/dev/nvidia[0-3]\n"
        "NodeName=n1 Name=gpu Type=H100 File=/dev/nvidia[4-6]\n"
        "NodeName=n2 Name=gpu Type=a100 Count=4\n"
    )
    site = read_site(folder_with(tmp_path, slurm_conf=conf, gres_conf=gres))
    assert [(n.name, n.accelerator, n.count) for n in site.nodes] == [
        ("n1", "h100", 7),
        ("n2", "a100", 4),
    ]


def test_a_record_and_its_faults(tmp_path: Path) -> None:
    record = read_record(folder_with(tmp_path))
    assert [(j.nodes, j.per_node, j.limit_s) for j in record.jobs] == [(2, 8, 60.0), (1, 2, 120.0)]
    assert len(record.rows) == 2
    bad = JOBS.replace("2,1.5,1,a100,2,10", "2,1.5,9,a10,2,-1").replace("2,low", "2,lov")
    with pytest.raises(InputError) as error:
        read_record(folder_with(tmp_path, jobs_csv=bad))
    text = str(error.value)
    for part in ("nodes", "a100", "run_s", "negative", "did you mean 'low'"):
        assert part in text
    with pytest.raises(InputError, match="missing column"):
        read_record(folder_with(tmp_path, jobs_csv="job_id,submit_s\n1,2\n"))
    with pytest.raises(InputError, match="no node with accelerators"):
        read_site(folder_with(tmp_path, slurm_conf="NodeName=n1 CPUs=4\n"))


def test_a_record_kept_by_sacct(tmp_path: Path) -> None:
    rows = (
        "JobID|State|Submit|Start|End|NodeList\n"
        "1|PREEMPTED|2026-03-02T10:00:00|2026-03-02T10:00:01|2026-03-02T10:00:11|h[01-02]\n"
        "1.batch|CANCELLED|2026-03-02T10:00:01|2026-03-02T10:00:01|2026-03-02T10:00:11|h01\n"
        "1|COMPLETED|2026-03-02T10:00:11|2026-03-02T10:02:12|2026-03-02T10:02:42|h[01-02]\n"
        "2|COMPLETED|2026-03-02T10:00:02|2026-03-02T10:00:02|2026-03-02T10:00:12|a1\n"
        "3|PENDING|2026-03-02T10:00:03|Unknown|Unknown|None assigned\n"
    )
    folder_with(tmp_path, sacct_txt=rows)
    (tmp_path / "completed.csv").unlink()
    record = read_record(tmp_path)
    assert [(r.job_id, r.start_s, r.end_s) for r in record.rows] == [
        ("1", 1.0, 11.0),
        ("1", 132.0, 162.0),
        ("2", 2.0, 12.0),
    ]
    assert [r.submit_s for r in record.rows] == [0.0, 11.0, 2.0]


def test_a_made_up_site_with_every_form() -> None:
    if not FORMATS.is_dir():
        pytest.skip("needs the shared reference data beside the checkout")
    site = read_site(FORMATS)
    totals: dict[str, int] = {}
    for node in site.nodes:
        totals[node.accelerator] = totals.get(node.accelerator, 0) + node.count
    assert totals == {"h100": 127, "a100": 48, "mi300x": 32, "l40s": 24}
    assert len(site.leaves) == 8
    assert [p.tier for p in site.settings.partitions] == [10, 20, 15, 10, 1]
    assert site.settings.preempts
