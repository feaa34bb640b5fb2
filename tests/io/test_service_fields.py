from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.core.workload import Service
from scheduler.io import load_workload

HEAD = """\
schema: workload/1
title: a service
services:
  - name: chat
    model: {name: llama-3-8b}
    replica: 1
    demand: [[0 s, 4 req/s]]
"""


def service(folder: Path, *lines: str) -> Service:
    path = folder / "one.yaml"
    path.write_text(HEAD + "".join(f"    {line}\n" for line in lines), encoding="utf-8")
    (found,) = load_workload(path).services
    return found


def test_what_a_service_provides_for(tmp_path: Path) -> None:
    plain = service(tmp_path)
    assert plain.arrivals == "poisson"
    assert plain.headroom_probability is None
    assert (plain.concurrency, plain.spare_replicas, plain.availability) == (0, 0, 0.0)
    told = service(
        tmp_path, "arrivals: steady", "concurrency: 32", "headroom_probability: 0.999",
        "spare_replicas: 2", "availability: 0.99",
    )  # fmt: skip
    assert told.arrivals == "steady"
    assert told.headroom_probability == 0.999
    assert (told.concurrency, told.spare_replicas, told.availability) == (32, 2, 0.99)


def test_instances_that_stand_are_no_arrivals(tmp_path: Path) -> None:
    rows = "instance_sn,gpu_request,creation_time,deletion_time\na,2,0,600\nb,1,60,1200\n"
    (tmp_path / "dlrm.csv").write_text(rows, encoding="utf-8")
    head = HEAD.replace("[[0 s, 4 req/s]]", "{trace: dlrm.csv, format: dlrm}")
    path = tmp_path / "one.yaml"
    path.write_text(head, encoding="utf-8")
    (found,) = load_workload(path).services
    assert found.arrivals == "steady"
    path.write_text(head + "    arrivals: poisson\n", encoding="utf-8")
    assert load_workload(path).services[0].arrivals == "poisson"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("arrivals: bursty", "arrivals"),
        ("concurrency: 0", "concurrency"),
        ("headroom_probability: 1.0", "headroom_probability"),
        ("headroom_probability: 0.2", "headroom_probability"),
        ("spare_replicas: -1", "spare_replicas"),
        ("availability: 1.5", "availability"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, line: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        service(tmp_path, line)
    (fault,) = caught.value.faults
    assert field in fault.path
    assert fault.allowed


def test_lengths_are_shares_of_one_and_tell_the_mean(tmp_path: Path) -> None:
    told = service(tmp_path, "lengths: [[0.3333, 900, 30], [0.3333, 300, 60], [0.3333, 600, 90]]")
    assert sum(share for share, _, _ in told.lengths) == pytest.approx(1, abs=1e-12)
    assert (told.prompt_tokens, told.output_tokens) == pytest.approx((600, 60))
    assert service(tmp_path).lengths == ()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("lengths: [[0.5, 900, 30], [0.4, 300, 60]]",), "sum to 0.9"),
        (("lengths: []",), "lengths"),
        (("lengths: 3",), "lengths"),
        (("lengths: [[1, 900]]",), "not a share and two lengths"),
        (("lengths: [[1, 900, few]]",), "not a share and two lengths"),
        (("lengths: [[1, 900, -3]]",), "out of range"),
        (("lengths: [[1, .nan, 3]]",), "out of range"),
        (("lengths: [[1, 900, 30]]", "prompt_tokens: 900"), "given twice"),
    ],
)
def test_faulty_lengths_are_told(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as caught:
        service(tmp_path, *lines)
    (fault,) = caught.value.faults
    assert said in str(fault)


def test_a_profile_has_no_lengths(tmp_path: Path) -> None:
    table = "profiles: {t: {rates: [{job_type: m, accelerator: T4, count: 1, rate: 2}]}}\n"
    text = HEAD.replace("model: {name: llama-3-8b}", "profile: {table: t, job_type: m}")
    path = tmp_path / "one.yaml"
    path.write_text(table + text + "    lengths: [[1, 900, 30]]\n", encoding="utf-8")
    with pytest.raises(InputError, match="of one length"):
        load_workload(path)
