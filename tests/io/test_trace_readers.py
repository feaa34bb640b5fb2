"""Traces of real sites: columns, selection, windows; made-up rows, and the real files if there."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.core.workload import ProfilePhysics, RunTimePhysics
from scheduler.io import load_trace, load_workload, read_profile

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the shared reference data beside the checkout"
)

PHILLY = """\
timestamp,duration,num_gpus,gpu_time,cluster
2017-10-03 00:00:10,100.0,8,800.0,aa
2017-10-02 00:00:00,50.0,1,50.0,bb
2017-10-03 00:00:10,70.0,1,70.0,aa
2017-12-10 10:00:00,5.0,4,20.0,aa

"""

TABLE = """\
accelerator,job_type,scale_factor,steps_per_s
v100,LM (batch size 5),1,10
v100,LM (batch size 5),4,30.5
v100_unconsolidated,LM (batch size 5),4,12
k80,A3C,1,0
"""

GAVEL = (
    "LM (batch size 5)\tpython3 main.py\tlm\t--steps\t1\t500\t4\t2\t-1.000000\t7.5\n"
    "A3C\tpython3 main.py\trl\t--max-steps\t0\t200\t1\t1\t-1.000000\t2.5\n"
)

MSR = """\
seed,vc,job_type,total_steps,arrival_time_s,scale_factor
0,aa,A3C,100,0.0,1
0,bb,LM (batch size 5),50,30.0,16
1,aa,A3C,7,0.0,1
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_philly_rows(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, "p.csv", PHILLY))
    assert [c.gang for c in workload.classes] == [(1,), (4,), (8,)]
    assert all(c.physics == RunTimePhysics("") for c in workload.classes)
    assert workload.jobs.ids == ("job-2", "job-1", "job-3", "job-4")
    assert workload.jobs.release_s.tolist()[:3] == [0.0, 86410.0, 86410.0]
    assert workload.jobs.work.tolist() == [50.0, 100.0, 70.0, 5.0]
    assert [workload.classes[i].gang[0] for i in workload.jobs.class_index] == [1, 8, 1, 4]
    assert [workload.tenants[i] for i in workload.jobs.tenant_index] == ["bb", "aa", "aa", "aa"]


def test_philly_selection_and_window(tmp_path: Path) -> None:
    path = write(tmp_path, "p.csv", PHILLY)
    kept = load_trace(path, select={"cluster": "aa"}, since="2017-10-02", until="2017-12-10")
    assert kept.jobs.ids == ("job-1", "job-3")
    assert kept.jobs.release_s.tolist() == [0.0, 0.0]
    until = load_trace(path, until="2017-10-03 00:00:10")
    assert until.jobs.ids == ("job-2",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": {"cluster": "a"}}, "no row has this cluster, got 'a'; allowed: aa, bb"),
        ({"select": {"clustr": "aa"}}, "did you mean 'cluster'?"),
        ({"select": {"cluster": "bb", "num_gpus": "8"}}, "no job is left"),
        ({"since": "2018-01-01"}, "no job is left"),
        ({"since": "soon"}, "--since: not a time, got 'soon'"),
        ({"since": "2017-10-02T00:00:00+02:00"}, "no time zone"),
        ({"since": "2017-10-03", "until": "2017-10-02"}, "--until: the window is empty"),
        ({"profile": "x.csv"}, "--profile: the philly format has no use for it"),
        ({"format": "phily"}, "unknown trace format, got 'phily'"),
        ({"format": "gavel-msr", "profile": "TABLE"}, "missing column, got 'seed'"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, object], message: str) -> None:
    path = write(tmp_path, "p.csv", PHILLY)
    if options.get("profile") == "TABLE":
        options = options | {"profile": str(write(tmp_path, "t.csv", TABLE))}
    with pytest.raises(InputError) as caught:
        load_trace(path, **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_gavel_trace(tmp_path: Path) -> None:
    path = write(tmp_path, "g.trace", GAVEL)
    table = write(tmp_path, "t.csv", TABLE)
    workload = load_workload(path, profile=str(table))
    assert workload.jobs.ids == ("job-2", "job-1")
    assert workload.jobs.release_s.tolist() == [0.0, 5.0]
    assert workload.jobs.work.tolist() == [200.0, 500.0]
    assert workload.jobs.weight.tolist() == [1.0, 2.0]
    assert np.isnan(workload.jobs.deadline_s).all()
    assert [(c.name, c.gang) for c in workload.classes] == [
        ("A3C x1", (1,)),
        ("LM (batch size 5) x4", (4,)),
    ]
    assert workload.classes[0].physics == ProfilePhysics("t", "A3C")
    assert dict(workload.profiles["t"].rates) == {
        ("LM (batch size 5)", "v100", 1, "packed"): 10.0,
        ("LM (batch size 5)", "v100", 4, "packed"): 30.5,
        ("LM (batch size 5)", "v100", 4, "spread"): 12.0,
        ("A3C", "k80", 1, "packed"): 0.0,
    }
    late = load_trace(path, profile=str(table), since="5 s")
    assert late.jobs.ids == ("job-1",)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("A3C", "A3D"), ":2: job_type: not a job type of table 't', got 'A3D'"),
        (("\t500\t", "\t-500\t"), ":1: total_steps: negative value"),
        (("\t4\t2\t", "\t4\t0\t"), ":1: priority_weight: out of range"),
        (("\t4\t2\t", "\t2\t"), ":1: wrong number of fields, got '9'"),
        (("7.5", "nan"), ":1: arrival_time: not a finite number"),
    ],
)
def test_gavel_faults(tmp_path: Path, edit: tuple[str, str], message: str) -> None:
    path = write(tmp_path, "g.trace", GAVEL.replace(*edit))
    with pytest.raises(InputError) as caught:
        load_trace(path, format="gavel", profile=str(write(tmp_path, "t.csv", TABLE)))
    assert message in str(caught.value)


def test_gavel_needs_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, "g.trace", GAVEL)
    with pytest.raises(InputError, match="--profile: a Gavel trace needs a throughput table"):
        load_trace(path)
    with pytest.raises(InputError, match="no such throughput table"):
        load_trace(path, profile="missing.json")


def test_gavel_lists_have_one_seed_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, "m.csv", MSR)
    table = str(write(tmp_path, "t.csv", TABLE))
    with pytest.raises(InputError, match="several seeds; select one; allowed: seed=0 or 1"):
        load_trace(path, profile=table)
    workload = load_trace(path, profile=table, select={"seed": "0"})
    assert [c.gang for c in workload.classes] == [(1,), (16,)]
    assert workload.tenants == ("aa", "bb")


NESTED = """\
{"v100": {"('LM (batch size 5)', 1)": {"null": 10, "('A3C', 1)": [1, 2]},
          "('LM (batch size 5)', 4)": {"null": 30.5}},
 "v100_unconsolidated": {"('LM (batch size 5)', 4)": {"null": 12.0}},
 "k80": {"('A3C', 1)": {"null": 0.0}}}
"""


def test_the_two_encodings_of_a_table_agree(tmp_path: Path) -> None:
    nested = read_profile(write(tmp_path, "n.json", NESTED))
    flat = read_profile(write(tmp_path, "f.csv", TABLE))
    assert dict(nested.rates) == dict(flat.rates)
    assert nested.name == "n"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("('A3C', 1)\": {", "__import__('os').system('x')\": {"), "not a job type and scale"),
        (('{"null": 0.0}', "{}"), "no rate alone"),
        (('{"null": 0.0}', '{"null": "0"}'), "no rate alone"),
        (('{"null": 0.0}', '{"null": -1}'), "negative value"),
        (('{"null": 0.0}', '{"null": NaN}'), "NaN is not a number in JSON"),
        (('{"null": 0.0}', '{"null": 1e999}'), "too large"),
        (('"k80": {"(\'A3C\', 1)": {"null": 0.0}}', '"k80": 3'), "k80: not a mapping"),
        (("}}\n", "}"), "not valid JSON"),
    ],
)
def test_table_faults(tmp_path: Path, edit: tuple[str, str], message: str) -> None:
    text = NESTED.replace(*edit)
    assert text != NESTED
    with pytest.raises(InputError) as caught:
        read_profile(write(tmp_path, "n.json", text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("steps_per_s", "rate"), "missing column, got 'steps_per_s'"),
        (("v100,LM (batch size 5),1,10", "v100,LM (batch size 5),1"), ":2: wrong number of fields"),
        (("v100,LM (batch size 5),1,10", ",LM (batch size 5),1,10"), ":2: missing value"),
        (("size 5),1,10", "size 5),0,10"), ":2: scale_factor: out of range"),
        (("size 5),1,10", "size 5),1,-10"), ":2: steps_per_s: negative value"),
        (("size 5),1,10", "size 5),4,10"), ":3: duplicate row"),
        ((TABLE[TABLE.index("v100") :], ""), "no rates"),
    ],
)
def test_flat_table_faults(tmp_path: Path, edit: tuple[str, str], message: str) -> None:
    text = TABLE.replace(*edit)
    assert text != TABLE
    with pytest.raises(InputError) as caught:
        read_profile(write(tmp_path, "t.csv", text))
    assert message in str(caught.value)


def test_windows_of_traces_without_dates_are_lengths_of_time(tmp_path: Path) -> None:
    path = write(tmp_path, "g.trace", GAVEL + "\n")
    table = str(write(tmp_path, "t.csv", TABLE))
    with pytest.raises(InputError, match=r"--since: .*the trace has no dates"):
        load_trace(path, profile=table, since="2017-10-02")
    with pytest.raises(InputError, match="no job is left"):
        load_trace(path, profile=table, since="1 h")
    with pytest.raises(InputError, match="no such trace file"):
        load_trace(tmp_path / "none.csv")


@needs_shared
def test_philly_against_the_published_rows() -> None:
    path = SHARED / "traces" / "philly" / "philly_dev.csv.gz"
    with gzip.open(path, "rt") as stream:
        rows = [r for r in csv.DictReader(stream) if r["timestamp"]]
    workload = load_trace(path)
    assert len(workload.jobs) == len(rows) == 46_487
    assert len(workload.tenants) == 7
    gang = np.array([c.gang[0] for c in workload.classes])[workload.jobs.class_index]
    gpu_time = sum(float(r["gpu_time"]) for r in rows)
    assert float(gang @ workload.jobs.work) == pytest.approx(gpu_time, rel=1e-12)
    assert workload.jobs.release_s[0] == 0
    rows.sort(key=lambda r: r["timestamp"])
    assert [workload.tenants[i] for i in workload.jobs.tenant_index] == [r["cluster"] for r in rows]


@needs_shared
@pytest.mark.parametrize(
    ("cluster", "mean_gpus"), [("ee9e8c", 131), ("6214e9", 46), ("0e4a51", 45), ("103959", 23)]
)
def test_philly_offered_load_by_virtual_cluster(cluster: str, mean_gpus: int) -> None:
    """Mean GPUs demanded 2017-10-02..12-10, as published with the trace's description."""
    workload = load_trace(
        SHARED / "traces" / "philly" / "philly_dev.csv.gz",
        select={"cluster": cluster},
        since="2017-10-02",
        until="2017-12-11",
    )
    gang = np.array([c.gang[0] for c in workload.classes])[workload.jobs.class_index]
    assert float(gang @ workload.jobs.work) / (70 * 86400) == pytest.approx(mean_gpus, abs=0.7)


@needs_shared
def test_gavel_against_the_published_files() -> None:
    isolated = SHARED / "traces" / "gavel" / "throughput_isolated.csv"
    nested = SHARED / "peers" / "gavel" / "simulation_throughputs.json"
    assert dict(read_profile(isolated).rates) == dict(read_profile(nested).rates)
    msr = load_trace(
        SHARED / "traces" / "gavel" / "msr_dev.csv.gz",
        select={"seed": "1", "vc": "103959"},
        profile=str(isolated),
    )
    assert len(msr.jobs) == 986
    for name, count in (
        ("gavel_static_multi_120_seed0", 120),
        ("gavel_continuous_multi_300_lam2400_seed0", 300),
    ):
        path = SHARED / "peers" / "gavel" / f"{name}.trace"
        fields = [line.split("\t") for line in path.read_text().splitlines()]
        workload = load_trace(path, profile=str(nested))
        assert len(workload.jobs) == count
        assert workload.jobs.work.sum() == sum(int(f[5]) for f in fields)
        arrivals = sorted(float(f[9]) for f in fields)
        np.testing.assert_allclose(workload.jobs.release_s, np.array(arrivals) - arrivals[0])
