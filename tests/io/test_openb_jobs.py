"""Lists of pods as jobs that come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.io.openb_jobs import COLUMNS
from scheduler.io.workload import load_workload

OPENB = Path(__file__).resolve().parents[2] / ".." / "shared" / "traces" / "openb"
HEADER = ",".join((*COLUMNS, "gpu_spec"))


def written(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "openb_pod_list_own.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def test_pods_become_jobs_with_shares_and_host_resources(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a,6000,1024,1,460,100,300,150,",
        "b,8000,2048,4,1000,50,80,60,V100M16|T4",
        "no-gpu,8000,2048,0,0,50,80,60,",
        "never,6000,1024,1,460,90,95,,",
        "c,6000,1024,1,460,120,130,125,",
    )
    found = load_workload(path)
    assert found.jobs.ids == ("b", "a", "c")
    assert found.jobs.release_s.tolist() == [0.0, 50.0, 70.0]
    assert found.jobs.work.tolist() == [20.0, 150.0, 5.0]
    b, a, c = (found.classes[k] for k in found.jobs.class_index.tolist())
    assert a is c
    assert (a.gang, a.share_milli, a.accelerators) == ((1,), 460, None)
    assert (a.cpus, a.host_memory_bytes) == (6.0, 2**30)
    assert (b.gang, b.share_milli, b.accelerators) == ((4,), 1000, ("V100M16", "T4"))
    assert (b.cpus, b.host_memory_bytes) == (2.0, 2**29)


def test_every_fault_is_named(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a,6000,1024,1,460,100,300,150,",
        "a,6000,1024,1,460,100,300,150,",
        "b,6000,1024,1,0,100,300,150,",
        "c,6000,1024,2,500,100,300,150,",
        "d,6000,1024,1,460,100,150,150,",
        "e,0.5,1024,1,460,100,300,150,",
    )
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert [(f.line, f.message) for f in caught.value.faults] == [
        (3, "used twice"),
        (4, "nothing of a GPU"),
        (5, "shares of several GPUs"),
        (6, "ends before it begins"),
        (7, "not a whole number"),
    ]


def test_the_published_list(tmp_path: Path) -> None:
    if not OPENB.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    found = load_workload(OPENB / "openb_pod_list_default.csv.gz")
    share = np.array([c.share_milli for c in found.classes])[found.jobs.class_index]
    assert len(found.jobs) > 6000
    assert 0.3 < np.mean(share < 1000) < 0.8
    some = load_workload(OPENB / "openb_pod_list_default.csv.gz", since="120 d", until="125 d")
    assert 0 < len(some.jobs) < len(found.jobs)
