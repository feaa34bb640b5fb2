"""The generator against the published figures of the traces it imitates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scheduler.core.workload import Workload
from scheduler.generate import generate
from scheduler.generate.lab import SHORT_SHARE, lab_strands

DAYS, DEMAND, TENANTS = 210, 450.0, 15
SEEDS = range(10)
HOURS = DAYS * 24

# Philly, 74,174 jobs of ten weeks: shares of jobs and of GPU-hours in per cent.
JOB_SHARE = {1: 93.4, 2: 2.1, 4: 2.3, 8: 1.9, 16: 0.21, 32: 0.07}
TIME_SHARE = {1: 19.3, 2: 4.0, 4: 17.7, 8: 45.4, 16: 11.3, 32: 2.0}

# Three-component lognormal fits of the run time by gang class: weights, mu, sd.
FITS = {
    (1, 1): ((0.164, 0.236, 0.599), (4.17, 7.65, 7.27), (0.15, 0.49, 1.93)),
    (2, 4): ((0.292, 0.295, 0.413), (2.90, 5.08, 11.02), (0.34, 1.76, 1.27)),
    (8, 8): ((0.295, 0.315, 0.391), (5.87, 9.58, 12.20), (1.21, 0.94, 0.70)),
    (9, 99): ((0.406, 0.373, 0.221), (5.95, 11.54, 11.24), (1.33, 0.69, 1.41)),
}


@pytest.fixture(scope="module")
def weeks() -> list[Workload]:
    """Three times the ten weeks of the trace, at its own load, for ten seeds."""
    return [
        generate("philly-like", seed=s, days=DAYS, mean_demand=DEMAND, tenants=TENANTS)
        for s in SEEDS
    ]


def gangs(workload: Workload) -> np.ndarray:
    return np.array([max(c.gang) for c in workload.classes])[workload.jobs.class_index]


def hourly(times_s: np.ndarray) -> np.ndarray:
    return np.bincount((times_s // 3600).astype(int), minlength=HOURS)[:HOURS].astype(float)


def dispersion(counts: np.ndarray) -> float:
    return float(counts.var() / counts.mean())


def autocorrelation(x: np.ndarray, lag: int) -> float:
    z = x - x.mean()
    return float((z[lag:] * z[:-lag]).mean() / z.var())


def session_starts(workload: Workload) -> np.ndarray:
    """Split each tenant's jobs at gaps above a minute, as the published figures do."""
    jobs = workload.jobs
    starts = []
    for tenant in range(len(workload.tenants)):
        mine = jobs.release_s[jobs.tenant_index == tenant]
        starts.append(mine[np.diff(mine, prepend=-np.inf) > 60])
    return np.concatenate(starts)


def kolmogorov(sample: np.ndarray, fit: tuple[tuple[float, ...], ...]) -> float:
    """Largest distance between a sample and a mixture of lognormals."""
    x = np.sort(sample)
    cdf = sum(
        w / math.fsum(fit[0]) * 0.5 * np.vectorize(math.erfc)(-(np.log(x) - m) / s / math.sqrt(2))
        for w, m, s in zip(*fit, strict=True)
    )
    n = len(x)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max()))


def test_gang_shares_are_those_of_philly(weeks: list[Workload]) -> None:
    for week in weeks:
        gang = gangs(week)
        accelerator_s = gang * week.jobs.work
        for size, job_share in JOB_SHARE.items():
            of_jobs = 100 * float((gang == size).mean())
            of_time = 100 * float(accelerator_s[gang == size].sum() / accelerator_s.sum())
            assert of_jobs == pytest.approx(job_share, abs=1)
            assert of_time == pytest.approx(TIME_SHARE[size], abs=5)


@pytest.mark.parametrize("sizes", list(FITS))
def test_run_times_follow_the_published_fits(weeks: list[Workload], sizes: tuple[int, int]) -> None:
    samples = []
    for week in weeks:
        gang = gangs(week)
        sample = week.jobs.work[(gang >= sizes[0]) & (gang <= sizes[1])]
        samples.append(sample)
        # With n draws the distance exceeds 1.95 / sqrt(n) once in a thousand (Kolmogorov).
        assert kolmogorov(sample[:9000], FITS[sizes]) < max(0.05, 1.95 / math.sqrt(len(sample)))
    assert kolmogorov(np.concatenate(samples)[:20000], FITS[sizes]) < 0.05


def test_the_means_of_the_run_times_are_those_of_the_trace(weeks: list[Workload]) -> None:
    work = np.concatenate([w.jobs.work for w in weeks])
    gang = np.concatenate([gangs(w) for w in weeks])
    for low, high, mean_h, p99_h in (
        (1, 1, 2.1, 36),
        (2, 4, 14.8, 166),
        (8, 8, 30.1, 227),
        (9, 99, 25.8, 301),
    ):
        hours = work[(gang >= low) & (gang <= high)] / 3600
        assert hours.mean() == pytest.approx(mean_h, rel=0.1)
        assert np.quantile(hours, 0.99) == pytest.approx(p99_h, rel=0.3)
    assert work.max() <= 54 * 86400


def test_jobs_come_in_bursts_and_sessions_do_not(weeks: list[Workload]) -> None:
    for week in weeks:
        release, tenant = week.jobs.release_s, week.jobs.tenant_index
        assert np.all(np.diff(release) >= 0)
        for t in range(TENANTS):
            assert dispersion(hourly(release[tenant == t])) > 3
        sessions = hourly(session_starts(week))
        assert 1.5 <= dispersion(sessions) <= 2.5
        # Published: .50 at one hour, .27 at a day, .26 at a week.
        assert autocorrelation(sessions, 1) == pytest.approx(0.5, abs=0.1)
        assert 0.05 < autocorrelation(sessions, 168) < 0.35


def test_gaps_between_jobs_are_those_of_philly(weeks: list[Workload]) -> None:
    gaps = np.concatenate([np.diff(w.jobs.release_s) for w in weeks])
    assert gaps.std() / gaps.mean() == pytest.approx(2.2, abs=0.2)
    assert (gaps <= 10).mean() == pytest.approx(0.57, abs=0.05)
    jobs = np.mean([len(w.jobs) for w in weeks]) * 70 / DAYS
    assert jobs == pytest.approx(74174, rel=0.05)


def test_tenants_differ_as_virtual_clusters_do(weeks: list[Workload]) -> None:
    week = weeks[0]
    several = gangs(week) > 1
    share = [several[week.jobs.tenant_index == t].mean() for t in range(TENANTS)]
    assert min(share) < 0.02
    assert max(share) > 0.4


@pytest.mark.parametrize("kind", ["philly-like", "helios-like", "llm-lab"])
@pytest.mark.parametrize(
    ("days", "demand"), [(0.5, 40.0), (1, 64.0), (3, 17.5), (7, 300.0), (30, 1000.0)]
)
def test_the_load_is_what_was_asked_for(kind: str, days: float, demand: float) -> None:
    for seed in range(3):
        made = generate(
            kind,
            seed=seed,
            days=days,
            mean_demand=demand,
            max_run_time_s=43200.0,
            max_gang=16,
            **({"reference": "A100-80GB-SXM"} if kind == "llm-lab" else {}),
        )
        assert demanded_s(made) == pytest.approx(demand * days * 86400, rel=0.03)
        assert made.jobs.release_s.min() >= 0
        assert made.jobs.release_s.max() <= days * 86400


def demanded_s(workload: Workload) -> float:
    """Accelerator-seconds on the A100: 45 % of 312 TFLOP/s at 6 FLOPs a parameter and token."""
    parameters = {
        "llama-3.2-3b": 3.21e9,
        "qwen-2.5-7b": 7.6e9,
        "llama-3-8b": 8.0e9,
        "qwen-2.5-32b": 32.8e9,
        "llama-3-70b": 70.6e9,
        "mixtral-8x7b": 12.9e9,
        "qwen3-235b-a22b": 22.2e9,
    }
    per_unit = []
    for job_class in workload.classes:
        name = getattr(job_class.physics, "model", None)
        recorded = float(max(job_class.gang))
        per_unit.append(recorded if name is None else 6 * parameters[name] / (0.45 * 312e12))
    return float((workload.jobs.work * np.array(per_unit)[workload.jobs.class_index]).sum())


def test_helios_keeps_working_hours() -> None:
    made = [generate("helios-like", seed=s, days=140, mean_demand=357.0) for s in range(4)]
    by_hour = np.sum(
        [np.bincount((w.jobs.release_s // 3600).astype(int) % 24, minlength=24) for w in made],
        axis=0,
    )
    venus = "90 66 60 38 27 21 19 22 37 80 129 147 116 130 156 166 173 173 128 131 134 136 115 104"
    published = np.array([float(v) for v in venus.split()]) / 100
    assert np.corrcoef(by_hour, published)[0, 1] > 0.95
    gang = np.concatenate([gangs(w) for w in made])
    run_s = np.concatenate([w.jobs.work for w in made])
    assert gang.mean() == pytest.approx(6.7, rel=0.05)
    assert np.median(run_s) == pytest.approx(206, rel=0.05)
    assert run_s.mean() == pytest.approx(6652, rel=0.1)
    counts = [np.bincount((w.jobs.release_s // 3600).astype(int), minlength=3360) for w in made]
    assert np.mean([c.std() / c.mean() for c in counts]) == pytest.approx(1.17, abs=0.15)


def test_the_laboratory_has_the_figures_of_acme() -> None:
    made = generate("llm-lab", seed=0, days=60, mean_demand=8000.0, reference="A100-80GB-SXM")
    gang = np.array([int(c.name.rsplit("-", 1)[1]) for c in made.classes])[made.jobs.class_index]
    parameters = {
        "llama-3.2-3b": 3.21e9,
        "qwen-2.5-7b": 7.6e9,
        "llama-3-8b": 8.0e9,
        "qwen-2.5-32b": 32.8e9,
    }
    parameters |= {"llama-3-70b": 70.6e9, "mixtral-8x7b": 12.9e9, "qwen3-235b-a22b": 22.2e9}
    seconds_per_unit = []
    for job_class in made.classes:
        name = getattr(job_class.physics, "model", None)
        size = int(job_class.name.rsplit("-", 1)[1])
        seconds_per_unit.append(6 * parameters[name] / (0.45 * 312e12 * size) if name else 1.0)
    run_s = made.jobs.work * np.array(seconds_per_unit)[made.jobs.class_index]
    assert gang.mean() == pytest.approx(5.68, rel=0.1)
    assert np.median(run_s) == pytest.approx(122, rel=0.1)
    assert run_s.mean() == pytest.approx(1414, rel=0.1)
    assert (gang * run_s).mean() == pytest.approx(32_400, rel=0.15)
    pretrain = np.array(["pretrain" in c.name for c in made.classes])[made.jobs.class_index]
    assert pretrain.mean() < 0.05
    assert (gang * run_s)[pretrain].sum() / (gang * run_s).sum() > 0.5


def test_the_laboratory_has_the_outcomes_of_acme() -> None:
    strands = lab_strands(
        reference="A100-80GB-SXM",
        max_gang=1024,
        short_share=SHORT_SHARE,
        run_time_scale=1.0,
        max_batch=1000,
        prefix="lab",
    )
    share = np.array([s.share for s in strands])
    failed = np.array([s.failed for s in strands])
    cancelled = np.array([s.cancelled for s in strands])
    completed = 1 - failed - cancelled
    for outcome, published in ((completed, 0.50), (cancelled, 0.07), (failed, 0.43)):
        assert np.dot(share, outcome) == pytest.approx(published, abs=0.02)
    planned = share * [s.gang * s.run_time.mean() for s in strands]
    # A cancelled job stops after half of its run on average, a failed one after a quarter.
    used = np.array([np.dot(planned, p) for p in (completed, cancelled / 2, failed / 4)])
    assert used / used.sum() == pytest.approx(np.array([0.21, 0.66, 0.12]), abs=0.1)
