"""The generated workloads that ship with the project."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.generate import KINDS
from scheduler.io.workload import load_workload

NAMES = (*KINDS, "demo-day")


@pytest.mark.parametrize("name", NAMES)
def test_every_file_loads_and_says_where_it_comes_from(name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    assert workload.title
    assert workload.source
    assert workload.licence == "Apache-2.0"
    assert len(workload.jobs) or workload.services


def test_the_demo_day_is_as_varied_as_it_says() -> None:
    day = load_workload("demo-day")
    gang = np.array([max(c.gang) for c in day.classes])[day.jobs.class_index]
    share = {size: float((gang == size).mean()) for size in (1, 2, 4, 8, 16, 32)}
    assert sum(share.values()) == pytest.approx(1)
    assert len(day.jobs) == 521
    assert 0.2 < (day.jobs.release_s == 0).mean() < 0.5  # the queue of the night before
    assert 0.2 < share[1] < 0.4
    assert all(share[size] >= 0.03 for size in (2, 4, 8, 16, 32))
    assert day.jobs.release_s.max() <= 86400
    assert {c.precision for c in day.classes} == {None, "bf16", "fp8"}
    assert {c.stacks for c in day.classes} == {None, ("cuda",)}
    (chat,) = day.services
    assert 24 < chat.demand_per_s.max() < 40
    assert chat.demand_per_s.min() < 4
