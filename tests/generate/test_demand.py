"""Demand curves against the burstiness of the public inference traces."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.errors import InputError
from scheduler.generate import SHAPES, demand_curve
from scheduler.generate.demand import draw_curve

DAY_S = 86400.0


def stationary(shape: str, rate: float, step_s: float, n: int, seed: int = 5) -> np.ndarray:
    """Counts of `n` bins of the shape's noise alone, Poisson given the rate."""
    spec = SHAPES[shape]
    flat = type(spec)(spec.about, (1.0,) * 24, (1.0,) * 7, spec.noise, spec.variance, spec.memory_s)
    rng = np.random.default_rng(seed)
    _, level = draw_curve(flat, rng, span_s=n * step_s, step_s=step_s, noise=1.0)
    return rng.poisson(level * rate * step_s).astype(float)


def binned(counts: np.ndarray, width: int) -> np.ndarray:
    return counts[: len(counts) // width * width].reshape(-1, width).sum(axis=1)


def dispersion(x: np.ndarray) -> float:
    return float(x.var() / x.mean())


def lag_one(x: np.ndarray) -> float:
    return float(np.corrcoef(x[1:], x[:-1])[0, 1])


def test_chat_is_as_noisy_as_azure_conversations() -> None:
    counts = stationary("chat", 5.5, 1.0, 400_000)
    assert dispersion(counts) == pytest.approx(1.4, rel=0.1)
    assert dispersion(binned(counts, 10)) == pytest.approx(4.0, rel=0.15)
    assert dispersion(binned(counts, 60)) == pytest.approx(20.6, rel=0.15)
    # Published: lag-one autocorrelation .7-.8 at 10 to 60 s.
    assert 0.65 < lag_one(binned(counts, 10)) < 0.85
    assert 0.65 < lag_one(binned(counts, 60)) < 0.85


def test_code_comes_in_bursts_as_in_azure() -> None:
    counts = stationary("code", 2.6, 1.0, 400_000)
    assert dispersion(counts) == pytest.approx(13, rel=0.1)
    assert dispersion(binned(counts, 10)) == pytest.approx(71, rel=0.25)
    assert dispersion(binned(counts, 60)) == pytest.approx(161, rel=0.15)
    peaks = [counts[i : i + 3420].max() / counts.mean() for i in range(0, 340_000, 3420)]
    assert 12 < np.median(peaks) < 32  # 26 in the 57 minutes published


def test_image_has_the_residual_of_gentd26() -> None:
    counts = stationary("image", 4 / 300, 300.0, 100_000)
    assert counts.std() / counts.mean() == pytest.approx(1.39, rel=0.1)


def test_recommendation_is_flat_over_a_month() -> None:
    for seed in range(5):
        _, rate = demand_curve("dlrm", seed=seed, span_s=31 * DAY_S, peak_per_s=100.0)
        assert rate.max() / rate.min() < 1.2  # published: 3,367 / 3,076 = 1.09


@pytest.mark.parametrize("shape", ["chat", "code", "image"])
def test_noise_is_averaged_over_a_step(shape: str) -> None:
    """A coarse curve has the variance of a fine one averaged."""
    fine = binned(stationary(shape, 1e6, 10.0, 600_000), 30) / 30
    coarse = stationary(shape, 1e6, 300.0, 20_000) / 30
    assert coarse.mean() == pytest.approx(fine.mean(), rel=0.1)
    assert coarse.std() == pytest.approx(fine.std(), rel=0.15)
    assert lag_one(coarse) == pytest.approx(lag_one(fine), abs=0.06)


def test_the_season_peaks_where_it_should() -> None:
    times, rate = demand_curve(
        "image", seed=0, span_s=7 * DAY_S, step_s=600.0, peak_per_s=10.0, noise=0.0
    )
    assert rate.max() == pytest.approx(10)
    day = rate.reshape(7, 24, 6).mean(axis=(0, 2))
    assert day.argmax() == 15
    assert day[12] < 0.5 * day[10]  # lunch
    assert day[12] < 0.5 * day[13]
    by_day = rate.reshape(7, -1).mean(axis=1)
    assert by_day.argmax() == 3
    assert by_day.argmin() == 5
    assert times[0] == 0
    assert np.all(np.diff(times) == 600)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_shape_is_deterministic_and_bounded_below(shape: str) -> None:
    arguments = {"span_s": 2 * DAY_S, "step_s": 97.0, "peak_per_s": 20.0, "base_per_s": 3.0}
    times, rate = demand_curve(shape, seed=1, **arguments)
    again = demand_curve(shape, seed=1, **arguments)
    assert rate.tobytes() == again[1].tobytes()
    assert times.tobytes() == again[0].tobytes()
    assert rate.min() >= 3
    assert np.all(np.isfinite(rate))
    if SHAPES[shape].noise != "none":
        assert rate.tobytes() != demand_curve(shape, seed=2, **arguments)[1].tobytes()


def test_diurnal_and_flat_have_no_noise() -> None:
    _, flat = demand_curve("flat", seed=0, span_s=DAY_S, peak_per_s=7.0)
    assert set(flat.tolist()) == {7.0}
    _, wave = demand_curve("diurnal", seed=0, span_s=DAY_S, peak_per_s=7.0, base_per_s=2.0)
    assert wave.max() == pytest.approx(7)
    assert wave.min() == pytest.approx(2, abs=0.05)
    assert wave.argmax() // 12 in (14, 15)


def test_every_bad_argument_is_named() -> None:
    with pytest.raises(InputError) as caught:
        demand_curve("chatt", seed=0, span_s=0.0, step_s=-1.0, peak_per_s=1.0, base_per_s=2.0)
    text = str(caught.value)
    assert "did you mean 'chat'?" in text
    for path in ("shape", "span_s", "step_s", "base_per_s"):
        assert path in text
    with pytest.raises(InputError, match="too many steps"):
        demand_curve("chat", seed=0, span_s=1e9, step_s=1.0, peak_per_s=1.0)
    with pytest.raises(InputError, match="peak_per_s"):
        demand_curve("chat", seed=0, span_s=1e3, step_s=1.0, peak_per_s=float("nan"))
