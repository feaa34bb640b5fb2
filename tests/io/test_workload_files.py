"""Workload files: what the fields become, files beside them, and every shipped file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from documents import JOBS_CSV, WORKLOAD

from scheduler.core.errors import InputError
from scheduler.core.workload import JobClass, ModelPhysics, ProfilePhysics, RunTimePhysics
from scheduler.generate import demand_curve, generate
from scheduler.io import list_workloads, load_workload, parse_workload
from scheduler.io.workload_sections import LEVELS
from scheduler.physics.interconnect import POD, TIERS

SHIPPED = [f.name for f in list_workloads()]


def test_classes() -> None:
    workload = parse_workload(WORKLOAD, "mix")
    pretrain, vision, script, tune = workload.classes[:4]
    assert pretrain == JobClass(
        "pretrain",
        ModelPhysics("llama-3-70b", "bf16", 4096, 512),
        (32, 64),
        accelerators=("H100-SXM", "A800-80GB-SXM", "Chip-1"),
        precision="bf16",
        stacks=("cuda",),
        memory_bytes=40 * 2**30,
        max_level="pod",
        restart_s=120.0,
        checkpoint_s=1800.0,
        mixed_types=2,
    )
    assert vision == JobClass("vision", ProfilePhysics("own", "resnet"), (4,))
    assert script == JobClass("script", RunTimePhysics("T4"), (1,))
    assert tune.physics == ModelPhysics("my-7b")
    assert dict(workload.profiles["own"].rates) == {("resnet", "t4", 4, "packed"): 7.5}
    assert list(workload.models) == ["llama-3-70b", "my-7b"]
    own = workload.models["my-7b"]
    assert (own.active_parameters, own.kv_heads, own.head_dim) == (7e9, 32, 128)
    assert own.kv_values_per_token_layer == 2 * 32 * 128


def test_jobs_are_columns_sorted_by_release_then_order() -> None:
    workload = parse_workload(WORKLOAD)
    jobs = workload.jobs
    assert np.all(np.diff(jobs.release_s) >= 0)
    at = {job: i for i, job in enumerate(jobs.ids)}
    copies = [at["base-1"], at["base-2"], at["base-3"]]
    assert jobs.release_s[copies].tolist() == [7200.0, 7800.0, 8400.0]
    assert jobs.work[copies].tolist() == [20e9] * 3
    assert jobs.estimate_s[copies].tolist() == [18000.0] * 3
    assert jobs.deadline_s[copies].tolist() == [86400.0] * 3
    assert jobs.weight[copies].tolist() == [2.0] * 3
    assert workload.tenants[jobs.tenant_index[copies[0]]] == "research"
    seven = at["7"]
    assert jobs.work[seven] == 10800.0
    assert np.isnan(jobs.deadline_s[seven])
    assert np.isnan(jobs.estimate_s[seven])
    assert workload.classes[jobs.class_index[seven]].name == "script"


def test_generated_parts_are_the_generators() -> None:
    workload = parse_workload(WORKLOAD)
    alone = generate(
        "philly-like", seed=0, days=0.2, mean_demand=8, max_gang=4, max_run_time_s=7200.0
    )
    rows = [i for i, job in enumerate(workload.jobs.ids) if job.startswith("philly-")]
    assert tuple(workload.jobs.ids[i] for i in rows) == alone.jobs.ids
    kept = workload.jobs.take(np.array(rows))
    np.testing.assert_array_equal(kept.work, alone.jobs.work)
    names = [workload.classes[i].name for i in kept.class_index]
    assert names == [alone.classes[i].name for i in alone.jobs.class_index]
    tenants = [workload.tenants[i] for i in kept.tenant_index]
    assert tenants == [alone.tenants[i] for i in alone.jobs.tenant_index]


def test_services_and_demand() -> None:
    chat, images = parse_workload(WORKLOAD).services
    assert chat.replica == (4, 8)
    assert chat.times_s.tolist() == [0.0, 28800.0]
    assert chat.demand_per_s.tolist() == [4.0, 20.0]
    assert (chat.ttft_s, chat.end_s) == (2.0, 7 * 86400.0)
    times, demand = demand_curve(
        "diurnal", seed=1, span_s=2 * 86400.0, step_s=3600.0, peak_per_s=20.0, base_per_s=2.0
    )
    np.testing.assert_array_equal(images.times_s, times)
    np.testing.assert_array_equal(images.demand_per_s, demand)


def test_the_same_generator_twice_needs_another_prefix() -> None:
    entry = "  - {kind: philly-like, seed: 1, days: 0.1, mean_demand: 4, max_gang: 4"
    with pytest.raises(InputError, match="different prefixes"):
        parse_workload(WORKLOAD + entry + "}\n")
    assert len(parse_workload(WORKLOAD + entry + ", prefix: more}\n").jobs) > 0


def test_generated_services_and_tables_may_not_collide_with_the_files() -> None:
    text = """\
schema: workload/1
title: Collisions
profiles: {image-rates: {rates: [{job_type: image, accelerator: T4, count: 1, rate: 1}]}}
services:
  - name: image
    profile: {table: image-rates, job_type: image}
    replica: 1
    demand: [[0 s, 1 req/s]]
generate: {kind: image, days: 0.5}
"""
    with pytest.raises(InputError) as caught:
        parse_workload(text)
    assert "the throughput table exists already and differs" in str(caught.value)
    assert "the service exists already, got 'image'" in str(caught.value)


def test_levels_are_those_of_the_interconnect() -> None:
    inner = (t for t in TIERS[1:] if TIERS.index(t) < POD)
    slices = [f"slice-{POD - TIERS.index(t)}" for t in inner]
    assert set(LEVELS) == {*TIERS, *slices}


def test_an_empty_workload_is_a_fault() -> None:
    with pytest.raises(InputError, match="neither jobs nor services"):
        parse_workload("schema: workload/1\ntitle: nothing\n")


# --- files beside the workload file ---------------------------------------------------------

BESIDE = """\
schema: workload/1
title: Jobs in a file
classes:
  - {name: small, run_time: {}, gang: 1}
  - {name: big, model: {name: llama-3-8b}, gang: 8}
jobs_file: more/jobs.csv.gz
"""


def test_jobs_file_uses_the_files_classes(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(BESIDE)
    (tmp_path / "more").mkdir()
    table = "id,class,release_s,run_time_s,work\nb,big,5,,1e9\na,small,5,60,\nc,small,0,30,\n"
    (tmp_path / "more" / "jobs.csv.gz").write_bytes(gzip.compress(table.encode()))
    workload = load_workload(path)
    assert workload.jobs.ids == ("c", "b", "a")
    assert workload.jobs.release_s.tolist() == [0.0, 5.0, 5.0]
    assert workload.jobs.work.tolist() == [30.0, 1e9, 60.0]
    (tmp_path / "more" / "jobs.csv.gz").write_text("id,class,run_time_s\na,big,60\nb,bg,1\n")
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert "more/jobs.csv.gz:2: run_time_s: class 'big' counts work" in str(caught.value)
    assert "more/jobs.csv.gz:3: class: unknown class, got 'bg'" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("../secret.csv", "outside this folder"),
        ("/etc/passwd", "outside this folder"),
        ("link.csv", "outside this folder"),
        ("missing.csv", "no such file"),
        ("jobz.csv", "did you mean 'jobs.csv'?"),
        ("x" * 150, "no such file"),
    ],
)
def test_jobs_file_stays_in_its_folder(tmp_path: Path, written: str, message: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text(JOBS_CSV)
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "jobs.csv").write_text(JOBS_CSV)
    path = folder / "w.yaml"
    path.write_text(BESIDE.replace("more/jobs.csv.gz", written))
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert "jobs_file" in str(caught.value)
    assert message in str(caught.value)


def test_a_throughput_table_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text(
        "accelerator,job_type,scale_factor,steps_per_s\nV100,LM,4,100\nv100_unconsolidated,LM,4,30\n"
    )
    path = tmp_path / "w.yaml"
    path.write_text(
        "schema: workload/1\ntitle: t\nprofiles: {lab: {file: lab.csv}}\n"
        "classes: [{name: lm, profile: {table: lab, job_type: LM}, gang: 4}]\n"
        "jobs: [{id: a, class: lm, work: 10}]\n"
    )
    assert dict(load_workload(path).profiles["lab"].rates) == {
        ("LM", "v100", 4, "packed"): 100.0,
        ("LM", "v100", 4, "spread"): 30.0,
    }


def test_json_lines_and_csv_say_the_same(tmp_path: Path) -> None:
    csv, lines = tmp_path / "jobs.csv", tmp_path / "jobs.jsonl"
    csv.write_text(JOBS_CSV)
    lines.write_text(
        '{"id": "a", "release_s": 0, "gang": 1, "run_time_s": 60, "estimate_s": 90, '
        '"tenant": "x"}\n'
        '{"id": "b", "release_s": 30.5, "gang": [8], "run_time_s": 3600, "weight": 2, '
        '"deadline_s": 9000, "tenant": "y", "accelerators": ["T4", "h100"]}\n\n'
        '{"id": "c", "release_s": 30.5, "gang": [4, 8], "run_time_s": 10, "estimate_s": 20, '
        '"deadline_s": null, "tenant": "x"}\n'
    )
    one, other = load_workload(csv), load_workload(lines)
    assert one.classes == other.classes
    assert [c.gang for c in one.classes] == [(1,), (8,), (4, 8)]
    assert one.classes[1].accelerators == ("T4", "H100-SXM")
    assert one.tenants == other.tenants == ("x", "y")
    assert one.jobs.ids == other.jobs.ids == ("a", "b", "c")
    for column in ("class_index", "release_s", "work", "estimate_s", "weight", "deadline_s"):
        np.testing.assert_array_equal(getattr(one.jobs, column), getattr(other.jobs, column))


def test_rows_without_class_share_one_where_they_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(
        '{"gang": 8, "accelerators": "T4", "work": 5}\n'
        '{"gang": 8, "accelerators": ["tesla-t4"], "work": 6}\n'
        '{"gang": 8, "run_time_s": 7, "memory_gib": 16, "preemptible": false}\n'
        '{"gang": 8, "run_time_s": 7, "reference": "t4"}\n'
    )
    workload = load_workload(path)
    assert [c.name for c in workload.classes] == ["gang-8-T4", "gang-8-16GiB-rigid", "gang-8-on-T4"]
    assert workload.jobs.class_index.tolist() == [0, 0, 1, 2]
    assert workload.jobs.ids == ("job-1", "job-2", "job-3", "job-4")
    assert workload.classes[1].memory_bytes == 16 * 2**30
    assert not workload.classes[1].preemptible
    assert workload.classes[2].physics == RunTimePhysics("T4")


def test_trace_options_are_for_traces(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORKLOAD)
    with pytest.raises(InputError, match="--since: a workload file has no use for it"):
        load_workload(path, since="2017-10-02")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load_with_title_source_and_licence(name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    assert workload.title
    assert workload.source
    assert workload.licence
    assert len(workload.jobs) or workload.services


def test_unknown_workload_suggests() -> None:
    with pytest.raises(InputError, match="no such workload file or name, got 'no-such-thing'"):
        load_workload("no-such-thing")
    if "philly-like" in SHIPPED:
        with pytest.raises(InputError, match="did you mean 'philly-like'"):
            load_workload("philly-lik")
