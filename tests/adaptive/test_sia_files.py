"""Sia's CSV files: columns by name, every fault named, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scheduler.core.adaptive import NodeGroup
from scheduler.core.errors import InputError
from scheduler.io.sia import canonical, parse_groups, read_sia
from scheduler.physics.goodput import Goodput

JOBS = "name,time,application,num_replicas,batch_size\n"
GROUPS = (NodeGroup("t", 2, 4),)
PLACEMENTS = """local_bsz,step_time,sync_time,placement
10,1.0,0.0,1
20,1.5,0.0,1
10,2.0,0.5,22
"""
SCALABILITY = """num_nodes,num_replicas,local_bsz,step_time,sync_time
2,4,10,4.0,1.5
1,4,10,1.0,0.25
"""
STATISTICS = """metric,progress,iteration,grad_sqr,grad_var
0.1,50,9,1.0,3.0
0.2,110,19,1.0,5.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    app = tmp_path / "profiles" / "net"
    app.mkdir(parents=True)
    (app / "placements-t.csv").write_text(PLACEMENTS)
    (app / "scalability-t.csv").write_text(SCALABILITY)
    (app / "validation-10.csv").write_text(STATISTICS)
    (app / "validation-40.csv").write_text(STATISTICS.replace("110", "100").replace("5.0", "9.0"))
    (tmp_path / "jobs.csv").write_text(f"{JOBS}b,7.5,net,2,20\na,3,net,4,40\n")
    return tmp_path


def test_jobs_profiles_and_statistics_are_read(folder: Path) -> None:
    problem = read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)
    assert [(j.id, j.release_s, j.accelerators, j.batch) for j in problem.jobs] == [
        ("a", 3.0, 4, 40),
        ("b", 7.5, 2, 20),
    ]
    (app,) = problem.applications
    assert app.epoch_ends.tolist() == [50, 100]  # the least over batch sizes
    assert app.batches.tolist() == [10, 40]
    assert (app.restart_s, app.slowdown) == (30, 1.2)
    steps = app.steps["t"]
    assert steps.placements[1,].tolist() == [[10, 1, 0], [20, 1.5, 0]]
    # a pair that placements and scalability both know is their mean
    assert steps.scaling[2, 4].tolist() == [[10, 3.0, 1.0]]


def test_constants_of_the_simulator_go_by_application(folder: Path) -> None:
    (folder / "profiles" / "net").rename(folder / "profiles" / "bert")
    text = (folder / "jobs.csv").read_text().replace("net", "bert")
    (folder / "jobs.csv").write_text(text)
    (app,) = read_sia(folder / "jobs.csv", folder / "profiles", GROUPS).applications
    assert (app.epochs, app.restart_s, app.slowdown) == (2, 120, 1.2)


def test_shapes_go_by_their_smallest_rotation() -> None:
    assert canonical((4, 4, 2)) == (2, 4, 4)
    assert canonical((1, 3, 2)) == canonical((3, 2, 1)) == (1, 3, 2)
    assert canonical((1, 2, 3)) == (1, 2, 3)


def test_every_fault_of_a_workload_is_named(folder: Path) -> None:
    (folder / "jobs.csv").write_text(f"{JOBS}a,-1,nett,0,x\nb,1,net,2\n")
    with pytest.raises(InputError) as caught:
        read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "did you mean 'net'" in text
    assert "jobs.csv:3" in text


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("placements-t.csv", "placement,local_bsz\n1,2\n", "missing columns"),
        ("placements-t.csv", PLACEMENTS.replace("22", "x2"), "not a shape"),
        ("placements-t.csv", PLACEMENTS.replace("2.0,0.5", "2.0,2.5"), "more than the whole step"),
        ("placements-t.csv", PLACEMENTS.splitlines()[0] + "\n", "no placements"),
        ("scalability-t.csv", SCALABILITY.replace("4.0", "nan"), "not a finite number"),
        ("validation-40.csv", STATISTICS.splitlines()[0] + "\n", "no epochs"),
        ("validation-40.csv", STATISTICS.replace("50,", "-5,"), "negative value"),
        ("validation-10.csv", STATISTICS.replace("110,", "20,"), "does not increase"),
    ],
)
def test_bad_profiles_are_named(folder: Path, file: str, content: str, words: str) -> None:
    (folder / "profiles" / "net" / file).write_text(content)
    with pytest.raises(InputError, match=words):
        read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="no folder of profiles"):
        read_sia(folder / "jobs.csv", folder / "nowhere", GROUPS)
    with pytest.raises(InputError, match="cannot be read"):
        read_sia(folder / "none.csv", folder / "profiles", GROUPS)
    (folder / "profiles" / "net" / "scalability-t.csv").unlink()
    with pytest.raises(InputError, match=r"scalability-t\.csv"):
        read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)


def test_goodput_is_gain_over_iteration_time(folder: Path) -> None:
    problem = read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)
    (app,) = problem.applications
    table = Goodput(app, "t")
    # 10 samples on one accelerator: one pass of a second, reference batch, slowdown 1.2
    assert table.fixed((1,), 10).goodput.tolist() == pytest.approx([1 / 1.2] * 2)
    # 40: two passes of 20; each 1.5 s; epoch 1 of batch 40 has variance 9, norm 1
    gain = (9 + 1) / (9 / 4 + 1)
    assert table.fixed((1,), 40).goodput[1] == pytest.approx(gain / 3.0 / 1.2)
    # 40 on two nodes of two: 10 each in one pass of 2 s, a quarter of it synchronising
    rates = table.fixed((2, 2), 40)
    assert rates.goodput[1] == pytest.approx(gain / 2.0 / 1.2)
    assert rates.sync[1] == pytest.approx(0.25)
    for shape in ((1,), (2, 2), (4,), (3, 4)):
        best = table.best(shape)
        for batch in range(10, 41):
            assert (best.goodput >= table.fixed(shape, batch).goodput * 0.98).all()


def test_one_accelerator_needs_two_passes_above_the_reference_batch(folder: Path) -> None:
    problem = read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)
    table = Goodput(problem.applications[0], "t")
    parts = table.split((1,), np.array([10, 12, 40]))
    assert parts.accumulation.tolist() == [0, 1, 1]
    assert parts.local.tolist() == [10, 6, 20]
    assert parts.real.tolist() == [10, 12, 40]


def test_fleets_are_read_from_a_text() -> None:
    assert parse_groups("aws=6x4, rtx=3x8") == (NodeGroup("aws", 6, 4), NodeGroup("rtx", 3, 8))
    for text in ("", "aws", "aws=6", "aws=0x4", "aws=6x-4", "a=1x1,a=2x2", "=1x1"):
        with pytest.raises(InputError, match="--fleet"):
            parse_groups(text)


def test_jobs_that_may_not_adapt_are_refused(folder: Path) -> None:
    (folder / "jobs.csv").write_text(f"{JOBS.strip()},category\na,1,net,1,10,rigid\n")
    with pytest.raises(InputError, match="not simulated"):
        read_sia(folder / "jobs.csv", folder / "profiles", GROUPS)
