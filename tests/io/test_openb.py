"""The openb lists: what is read, and every fault at once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.core.packing import ANY_TYPE
from scheduler.io.openb import MIB, list_name, read_openb

NODES = """\
sn,cpu_milli,memory_mib,gpu,model
n0,64000,262144,2,P100
n1,96000,393216,8,G2
n2,32000,1024,0,
"""
PODS = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos
b,12000,16384,1,1000,G2|T4,LS
a,6000,12288,1,460,,LS
c,8000,30517,0,0,,BE
"""


def files(tmp_path: Path, nodes: str = NODES, pods: str = PODS) -> tuple[Path, Path]:
    node_file, pod_file = tmp_path / "nodes.csv", tmp_path / "openb_pod_list_mine.csv.gz"
    node_file.write_text(nodes)
    pod_file.write_bytes(gzip.compress(pods.encode()))
    return node_file, pod_file


def test_columns(tmp_path: Path) -> None:
    problem = read_openb(*files(tmp_path))
    assert (problem.name, problem.types) == ("mine", ("G2", "P100", "T4"))
    nodes, pods = problem.nodes, problem.pods
    assert nodes.ids == ("n0", "n1", "n2")
    assert nodes.type_index.tolist() == [1, 0, -1]
    assert nodes.capacity_milli == 10_000
    assert nodes.memory_bytes.tolist() == [262144 * MIB, 393216 * MIB, 1024 * MIB]
    assert pods.ids == ("a", "b", "c")  # sorted by name
    assert pods.demand_milli.tolist() == [460, 1000, 0]
    assert pods.allowed.tolist() == [ANY_TYPE, 0b101, ANY_TYPE]
    assert pods.constraint == ("", "G2|T4", "")


def test_classes_and_shapes(tmp_path: Path) -> None:
    more = "d,6000,12288,1,460,,BE\n"
    problem = read_openb(*files(tmp_path, NODES + "n3,96000,393216,8,G2\n", PODS + more))
    group, first = problem.pods.classes()
    assert group[0] == group[3]
    assert len(set(group.tolist())) == len(first) == 3
    shape, _ = problem.nodes.shapes()
    assert shape[1] == shape[3]
    assert len(set(shape.tolist())) == 3


def test_lists_without_constraints(tmp_path: Path) -> None:
    pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,1000\n"
    assert read_openb(*files(tmp_path, pods=pods)).pods.allowed.tolist() == [ANY_TYPE]


@pytest.mark.parametrize(
    ("name", "short"),
    [("openb_pod_list_default.csv.gz", "default"), ("openb_pod_list_x.csv", "x"), ("y.csv", "y")],
)
def test_names(name: str, short: str) -> None:
    assert list_name(Path("folder") / name) == short


def test_every_fault_of_both_files(tmp_path: Path) -> None:
    nodes = """\
sn,cpu_milli,memory_mib,gpu,model
n0,64000,262144,2,P100
n0,many,262144,2,P100
n2,32000,-1,0,T4
,32000,1,99,T4
"""
    pods = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
a,1,1,2,500,
b,1,1,0,500,
c,1,1,1,0,
d,1,1,1,1001,
e,1.5,1,1
"""
    with pytest.raises(InputError) as raised:
        read_openb(*files(tmp_path, nodes, pods))
    text = str(raised.value)
    assert len(raised.value.faults) == 11
    for part in (
        "nodes.csv:3: sn: used twice, got 'n0'",
        "nodes.csv:3: cpu_milli: not a number, got 'many'",
        "nodes.csv:4: memory_mib: negative value, got '-1'",
        "nodes.csv:4: model: model and number of GPUs disagree, got 'T4'",
        "nodes.csv:5: gpu: out of range, got '99'",
        "nodes.csv:5: sn: missing value",
        "csv.gz:2: gpu_milli: shares of several GPUs, got '500'",
        "csv.gz:3: gpu_milli: a share of no GPU, got '500'",
        "csv.gz:4: gpu_milli: nothing of a GPU, got '0'",
        "csv.gz:5: gpu_milli: out of range, got '1001'",
        "csv.gz:6: wrong number of fields, got '4'",
    ):
        assert part in text


def test_missing_columns_and_empty_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_openb(*files(tmp_path, "sn,cpu_mili,memory_mib,gpu,model\n", PODS.splitlines()[0]))
    text = str(raised.value)
    assert "missing column, got 'cpu_milli'" in text
    assert "did you mean 'cpu_mili'" in text
    assert "csv.gz:1: no rows; allowed: at least one" in text


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_openb(tmp_path / "a.csv", tmp_path / "b.csv")
    assert len(raised.value.faults) == 2
