"""Parameters, determinism and independence of the streams."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import InputError
from scheduler.core.workload import ModelPhysics, ProfilePhysics, RunTimePhysics, Workload
from scheduler.generate import KINDS, generate
from scheduler.generate.devices import DEVICES
from scheduler.generate.lab import ACTIVE_PARAMETERS
from scheduler.generate.serving import TRAFFIC

CHECKOUT = Path(__file__).resolve().parents[2]
TRAINING = ("philly-like", "helios-like", "llm-lab")


def catalogue(name: str) -> dict[str, dict[str, str]]:
    lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["name"]: row for row in rows}


def small(kind: str, seed: int = 0, **more: float | str) -> Workload:
    return generate(kind, seed=seed, **{"days": 1, "mean_demand": 40.0, **more})


def columns(workload: Workload, *names: str) -> list[bytes]:
    return [getattr(workload.jobs, name).tobytes() for name in names]


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_seed_fixes_every_byte(kind: str) -> None:
    first, again, other = small(kind), small(kind), small(kind, seed=1)
    assert pickle.dumps(first) == pickle.dumps(again)
    if len(first.jobs):
        assert columns(first, "release_s") != columns(other, "release_s")
    for a, b in zip(first.services, other.services, strict=True):
        assert a.demand_per_s.tobytes() != b.demand_per_s.tobytes()


@pytest.mark.parametrize("kind", list(KINDS))
def test_workloads_are_well_formed(kind: str) -> None:
    made = small(kind)
    jobs = made.jobs
    assert len(made.jobs) or made.services
    assert len(set(jobs.ids)) == len(jobs)
    assert np.all(jobs.work > 0)
    assert np.all(np.diff(jobs.release_s) >= 0)
    assert len({c.name for c in made.classes}) == len(made.classes)
    assert jobs.tenant_index.max(initial=0) < len(made.tenants)
    for service in made.services:
        assert service.times_s[0] == 0
        assert np.all(np.diff(service.times_s) > 0)
        assert np.all(service.demand_per_s >= 0)
        assert service.end_s == 86400
        if isinstance(service.physics, ProfilePhysics):
            assert service.physics.table in made.profiles


@pytest.mark.parametrize("kind", TRAINING)
def test_tenants_and_estimates_do_not_shift_other_streams(kind: str) -> None:
    plain = small(kind)
    drawn = ("release_s", "work", "class_index")
    more_tenants = small(kind, tenants=9)
    assert columns(more_tenants, *drawn, "estimate_s") == columns(plain, *drawn, "estimate_s")
    assert columns(more_tenants, "tenant_index") != columns(plain, "tenant_index")
    for changed in (
        small(kind, estimate_sigma=2.0),
        small(kind, estimates="lognormal"),
        small(kind, estimates="none"),
    ):
        assert columns(changed, *drawn, "tenant_index") == columns(plain, *drawn, "tenant_index")
        assert columns(changed, "estimate_s") != columns(plain, "estimate_s")


def test_services_do_not_shift_the_jobs_beside_them() -> None:
    plain, noiseless = small("train-and-serve"), small("train-and-serve", noise=0.0)
    names = ("release_s", "work", "class_index", "tenant_index", "estimate_s")
    assert columns(plain, *names) == columns(noiseless, *names)


@pytest.mark.parametrize("kind", TRAINING)
def test_limits_on_gangs_batches_and_run_times_hold(kind: str) -> None:
    made = small(kind, max_gang=1, max_batch=1, max_run_time_s=3600.0, estimates="limits")
    assert max(max(c.gang) for c in made.classes) == 1
    assert made.jobs.work.max() <= 3600  # no class with a model is that small
    assert made.jobs.estimate_s.max() <= 3600
    lone = np.diff(made.jobs.release_s)
    assert (lone < 1.0).mean() < 0.2


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        generate(
            "llm-lab", seed=0, days=-1, mean_demand="many", tenent=3, estimates="limit", tenants=1.5
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "tenent: llm-lab has no such parameter" in text
    assert "did you mean 'tenants'?" in text
    assert "did you mean 'limits'?" in text
    assert "days: out of range, got '-1'; allowed: a number from 0.01 to 3660 (days)" in text
    assert "a whole number from 1 to 1000" in text


def test_unknown_kinds_and_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'philly-like'"):
        generate("filly-like", seed=0)
    with pytest.raises(InputError, match="seed"):
        generate("chat", seed=-1)


def test_a_demand_below_one_job_is_refused() -> None:
    with pytest.raises(InputError, match="too little work"):
        generate("philly-like", seed=0, days=0.01, mean_demand=0.001)


def test_every_kind_documents_its_parameters() -> None:
    for kind in KINDS.values():
        names = [p.name for p in kind.parameters]
        assert len(set(names)) == len(names)
        assert {"days", "mean_demand"} <= set(names)
        assert all(p.about for p in kind.parameters)
        defaults = {p.name: p.default for p in kind.parameters}
        assert pickle.dumps(generate(kind.name, seed=3)) == pickle.dumps(
            generate(kind.name, seed=3, **defaults)
        )


def test_laboratories_need_different_hardware() -> None:
    made = generate("llm-lab", seed=0)
    assert {c.precision for c in made.classes} == {None, "bf16", "fp8"}
    assert {c.stacks for c in made.classes} == {None, ("cuda",)}
    assert any(len(c.gang) > 1 for c in made.classes)
    assert {type(c.physics) for c in made.classes} == {ModelPhysics, RunTimePhysics}


def test_a_faster_reference_means_more_work_for_the_same_demand() -> None:
    slow = small("llm-lab", reference="A100-80GB-SXM", short_share=0.0)
    fast = small("llm-lab", reference="H100-SXM", short_share=0.0)
    assert fast.jobs.work.sum() == pytest.approx(slow.jobs.work.sum() * 989.4 / 312)
    assert columns(fast, "release_s") == columns(slow, "release_s")


def test_names_and_figures_agree_with_the_catalogues() -> None:
    types = catalogue("topologies/accelerators.csv")
    for name, device in DEVICES.items():
        row = types[name]
        peak = float(row["bf16_tflops"] or row["fp16_tflops"])
        assert device.flops == pytest.approx(peak * 1e12, rel=0.01)
        assert device.bytes_per_s == pytest.approx(float(row["memory_gb_per_s"]) * 1e9, rel=0.01)
    models = catalogue("workloads/models.csv")
    for name, active in ACTIVE_PARAMETERS.items():
        assert active == pytest.approx(float(models[name]["active_parameters"]), rel=0.01)
    for traffic in TRAFFIC.values():
        for served in traffic.models:
            twice = 2 * float(models[served.model]["active_parameters"])
            assert served.flops_per_token == pytest.approx(twice, rel=0.01)


@pytest.mark.parametrize("kind", list(TRAFFIC))
def test_services_keep_the_requested_accelerators_busy(kind: str) -> None:
    one = generate(kind, seed=0, days=7, mean_demand=10.0)
    three = generate(kind, seed=0, days=7, mean_demand=10.0, services=3)
    means = [float(s.demand_per_s.mean()) for s in three.services]
    assert len({s.name for s in three.services}) == 3
    if kind == "image":
        on_h100 = 989.4 / 312 / 28.3
    elif kind == "dlrm":
        on_h100 = 1000 * 3.35 / 2.039
    else:
        service = one.services[0]
        assert isinstance(service.physics, ModelPhysics)
        tokens = service.prompt_tokens + service.output_tokens
        flops = {"chat": 2 * 70.6e9, "code": 2 * 32.8e9}[kind]
        on_h100 = 0.35 * 989.4e12 / flops / tokens
    assert float(one.services[0].demand_per_s.mean()) == pytest.approx(10 * on_h100)
    if kind in ("image", "dlrm"):  # popularity 1, 1/2, 1/3
        assert means == pytest.approx([10 * on_h100 * s for s in (6 / 11, 3 / 11, 2 / 11)])


@given(
    kind=st.sampled_from(TRAINING),
    seed=st.integers(0, 2**40),
    days=st.floats(0.05, 3),
    demand=st.floats(5, 200),
    tenants=st.integers(1, 6),
    max_gang=st.integers(1, 300),
    max_batch=st.integers(1, 300),
    max_run_time_s=st.floats(60, 1e6),
)
@settings(max_examples=60, deadline=None)
def test_any_legal_parameters_make_a_legal_workload(
    kind: str, seed: int, days: float, demand: float, max_run_time_s: float, **whole: int
) -> None:
    more = {"max_run_time_s": max_run_time_s, **whole}
    try:
        made = generate(kind, seed=seed, days=days, mean_demand=demand, **more)
    except InputError as error:
        assert "too little work" in str(error)  # noqa: PT017
        return
    jobs = made.jobs
    assert 0 <= jobs.release_s.min() <= jobs.release_s.max() <= days * 86400
    assert np.all(jobs.work > 0)
    assert np.all(jobs.estimate_s > 0)
    assert max(max(c.gang) for c in made.classes) <= whole["max_gang"]
    assert len(set(jobs.ids)) == len(jobs)


def test_absurd_sizes_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(InputError, match="too many jobs"):
        generate("philly-like", seed=0, days=3660, mean_demand=1e7)
    with pytest.raises(InputError, match="too many steps"):
        generate("chat", seed=0, days=3660, services=1000, step_s=1)
