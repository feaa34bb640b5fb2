"""The building blocks: mixtures, noise, batches, tenants, estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.generate.arrivals import (
    autoregressive,
    batch_sizes,
    mean_batch,
    place_sessions,
    positive_noise,
    release_times,
)
from scheduler.generate.durations import Mixture, sample
from scheduler.generate.estimates import LIMITS_S, user_estimates
from scheduler.generate.published import (
    PHILLY_BATCHES,
    PHILLY_GANG_SHARES,
    PHILLY_RUN_TIMES,
    BatchLaw,
    Rhythm,
    philly_gang_class,
    philly_run_time,
)
from scheduler.generate.tenants import draw_tenants, tenant_chances, tenant_names


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(law: Mixture, n: int, longest_s: float) -> np.ndarray:
    return sample([law], np.zeros(n, dtype=np.int64), longest_s, rng)


@pytest.mark.parametrize("longest_s", [600.0, 43200.0, 54 * 86400.0])
@pytest.mark.parametrize("law", PHILLY_RUN_TIMES.values(), ids=list(PHILLY_RUN_TIMES))
def test_cut_mixtures_are_sampled_exactly(law: Mixture, longest_s: float) -> None:
    drawn = draw(law, 200_000, longest_s)
    assert drawn.max() <= longest_s
    assert drawn.mean() == pytest.approx(law.mean(longest_s), rel=0.03)
    for seconds in (30.0, 65.0, 400.0, 5000.0, 40000.0):
        assert (drawn <= seconds).mean() == pytest.approx(law.cdf(seconds, longest_s), abs=0.005)


def test_the_mean_is_the_integral_of_the_survival_function() -> None:
    law = PHILLY_RUN_TIMES["8"]
    grid = np.exp(np.linspace(-2, math.log(1e6), 20_001))
    survival = np.array([1 - law.cdf(x, 1e6) for x in grid])
    integral = grid[0] + np.sum((survival[1:] + survival[:-1]) / 2 * np.diff(grid))
    assert law.mean(1e6) == pytest.approx(integral, rel=1e-4)


def test_an_unreachable_cut_still_ends() -> None:
    law = Mixture((1.0,), (20.0,), (0.1,))
    assert draw(law, 10, 1.0).tolist() == [1.0] * 10


def test_gang_sizes_of_one_class_pool_to_the_published_law() -> None:
    for name, sizes in (("2-4", (2, 4)), (">8", (12, 16, 24, 32))):
        shares = np.array([PHILLY_GANG_SHARES[g] for g in sizes])
        pooled = sum(
            share * np.array(philly_run_time(g).weights) / sum(philly_run_time(g).weights)
            for share, g in zip(shares / shares.sum(), sizes, strict=True)
        )
        assert philly_gang_class(sizes[0]) == name
        assert pooled == pytest.approx(PHILLY_RUN_TIMES[name].weights, abs=0.005)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.9999])
def test_autoregression_has_the_stated_law(correlation: float) -> None:
    n = 400_000
    x = autoregressive(rng(), n, correlation)
    if correlation < 0.99:
        assert x.mean() == pytest.approx(0, abs=0.05)
        assert x.std() == pytest.approx(1, abs=0.03)
    lag = float(np.corrcoef(x[1:], x[:-1])[0, 1])
    assert lag == pytest.approx(correlation, abs=0.01)


def test_autoregression_matches_the_recursion_across_blocks() -> None:
    noise = rng(3).standard_normal(3000)
    expected = [noise[0]]
    for e in noise[1:]:
        expected.append(0.5 * expected[-1] + math.sqrt(0.75) * e)
    assert autoregressive(rng(3), 3000, 0.5) == pytest.approx(np.array(expected))


def test_positive_noise_has_mean_one() -> None:
    x = positive_noise(rng(), 200_000, 0.25, 0.3)
    assert x.min() > 0
    assert x.mean() == pytest.approx(1, abs=0.01)
    assert x.var() == pytest.approx(0.25, abs=0.01)


def test_batches_are_the_published_pareto() -> None:
    sizes = batch_sizes((BatchLaw(0.18, 1000),), np.zeros(400_000, dtype=np.int64), rng())
    several = sizes[sizes > 1]
    assert (sizes == 1).mean() == pytest.approx(0.82, abs=0.003)
    assert sizes.max() <= 1000
    assert np.quantile(several, 0.9) == pytest.approx(20, abs=2)
    assert (several >= 10).mean() == pytest.approx((2 / 10) ** 1.02, abs=0.01)
    assert sizes.mean() == pytest.approx(mean_batch(BatchLaw(0.18, 1000)), rel=0.03)


@given(st.floats(0, 1), st.integers(1, 1000), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_batches_stay_within_their_cap(several: float, cap: int, seed: int) -> None:
    law = BatchLaw(several, 1000).capped(cap)
    sizes = batch_sizes((law,), np.zeros(500, dtype=np.int64), rng(seed))
    assert sizes.min() >= 1
    assert sizes.max() <= cap
    assert 1 <= mean_batch(law) <= max(cap, 1)


def test_four_fifths_of_the_sessions_submit_one_job() -> None:
    shares = np.array(list(PHILLY_GANG_SHARES.values()))
    laws = [PHILLY_BATCHES[philly_gang_class(g)] for g in PHILLY_GANG_SHARES]
    sessions = shares / [mean_batch(law) for law in laws]
    several = np.dot(sessions, [law.several for law in laws]) / sessions.sum()
    assert 1 - several == pytest.approx(0.82, abs=0.005)


def test_sessions_follow_the_season() -> None:
    rhythm = Rhythm((0.0,) * 12 + (2.0,) * 12, (1.0,) * 5 + (0.0, 0.0), 0.05, 0.9)
    start = place_sessions(20_000, 14 * 86400.0, rhythm, rate_rng=rng(1), place_rng=rng(2))
    assert start.min() >= 12 * 3600
    assert np.all(start // 3600 % 24 >= 12)
    assert np.all(start // 86400 % 7 < 5)


def test_releases_stay_within_the_span_and_sessions_together() -> None:
    sizes = np.array([3, 1, 200, 2])
    release = release_times(np.array([10.0, 99.0, 990.0, 999.5]), sizes, 1000.0, rng())
    assert len(release) == 206
    assert release.min() >= 0
    assert release.max() <= 1000
    assert release[0] == 10.0
    assert np.all(np.diff(release[4:204]) >= 0)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 15])
def test_tenants_together_submit_what_was_published(count: int) -> None:
    gangs = np.array([1, 2, 4, 8, 16])
    shares = np.array([0.86, 0.04, 0.04, 0.05, 0.01])
    chances = tenant_chances(gangs, shares, count)
    assert chances.sum(axis=1) == pytest.approx(np.ones(5))
    weight = shares @ chances
    expected = 1 / np.arange(1, count + 1)
    assert weight == pytest.approx(expected / expected.sum(), rel=1e-6)
    assert len(set(tenant_names(count))) == count
    drawn = draw_tenants(chances, np.zeros(100_000, dtype=np.int64), rng())
    seen = np.bincount(drawn, minlength=count) / 100_000
    assert seen == pytest.approx(chances[0], abs=0.006)


def test_limits_come_from_the_menu_and_are_never_too_short() -> None:
    planned = rng().lognormal(8, 2, 50_000).clip(1, 54 * 86400)
    limits = user_estimates(planned, "limits", 0.8, rng(1))
    assert np.all(limits >= planned)
    assert set(np.unique(limits)) <= set(LIMITS_S)
    assert len(LIMITS_S) == 20


def test_lognormal_estimates_are_right_in_the_median() -> None:
    planned = rng().lognormal(8, 2, 50_000)
    error = np.log(user_estimates(planned, "lognormal", 0.7, rng(1)) / planned)
    assert np.median(error) == pytest.approx(0, abs=0.02)
    assert error.std() == pytest.approx(0.7, abs=0.01)
    assert np.all(np.isnan(user_estimates(planned, "none", 0.7, rng(1))))
