"""Power against measured nodes; energy cost against a sum over minutes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cluster import Site
from scheduler.io.catalogue import accelerators
from scheduler.physics.power import EnergyCost, draw_w, energy_cost, node_w

HOUR = 3600.0
FLAT = Site("flat", pue=1.25, usd_per_kwh=(0.08,), carbon_g_per_kwh=(400.0,))
DAILY = Site(
    "daily",
    pue=1.4,
    usd_per_kwh=(0.3,) * 8 + (1.15,) * 8 + (0.65,) * 8,
    carbon_g_per_kwh=tuple(300.0 - 200.0 * (9 <= h <= 16) for h in range(24)),
)


@pytest.mark.parametrize(
    ("name", "busy", "running", "overhead", "measured"),
    [
        # MLPerf Training v4.0 power logs, node of eight H100: GPT-3 on 64 nodes
        ("H100-SXM", 0.95, 8, 1500.0, 6843.0),
        # the same node, Llama 2 70B LoRA spread over 64 nodes
        ("H100-SXM", 0.30, 8, 1500.0, 5066.0),
        # the same between epochs
        ("H100-SXM", 0.0, 0, 1500.0, 2100.0),
        # FlagPerf GEMM loop on a DGX A100: 338 W a card, 3354 W the node
        ("A100-40GB-SXM", 1.0, 8, 600.0, 3354.0),
        ("A100-40GB-SXM", 1.0, 1, -7 * 52.0, 338.0),
        # FlagPerf GEMM loop, one Ascend 910B
        ("Ascend-910B", 1.0, 1, -7 * 90.0, 364.7),
    ],
)
def test_measured_power_within_a_tenth(
    name: str, busy: float, running: int, overhead: float, measured: float
) -> None:
    found = node_w(accelerators()[name], 8, running, overhead, busy)
    assert found == pytest.approx(measured, rel=0.12)


@given(st.sampled_from(sorted(accelerators())), st.floats(0, 1), st.floats(0, 1))
def test_power_lies_between_idle_and_peak_and_grows_with_activity(
    name: str, a: float, b: float
) -> None:
    kind = accelerators()[name]
    low, high = sorted((a, b))
    assert kind.idle_w < draw_w(kind, low) <= draw_w(kind, high) <= kind.peak_w


def test_a_flat_tariff_is_a_product() -> None:
    cost = energy_cost(10_000.0, 5 * HOUR, 8 * HOUR, FLAT)
    assert cost.energy_j == pytest.approx(10_000 * 3 * HOUR)
    assert cost.cost_usd == pytest.approx(30 * 1.25 * 0.08)
    assert cost.carbon_g == pytest.approx(30 * 1.25 * 400)


def test_tariffs_follow_the_hour_across_midnight() -> None:
    cost = energy_cost(1000.0, 22.5 * HOUR, 33 * HOUR, DAILY)
    kwh_price = 1.5 * 0.65 + 8 * 0.3 + 1 * 1.15
    assert cost.cost_usd == pytest.approx(1.4 * kwh_price)


@given(st.floats(0, 2e6), st.floats(0, 1e6))
def test_the_integral_is_a_sum_over_minutes(start: float, length: float) -> None:
    start, length = round(start / 60) * 60.0, round(length / 60) * 60.0
    minutes = start + 60.0 * np.arange(round(length / 60))
    prices = np.array(DAILY.usd_per_kwh)[(minutes[:5000] % 86400 // 3600).astype(int)]
    cost = energy_cost(5000.0, start, start + 60.0 * len(prices), DAILY)
    assert cost.cost_usd == pytest.approx(5.0 * 1.4 * prices.sum() / 60, rel=1e-6, abs=1e-9)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_costs_add_up_over_consecutive_periods(a: float, b: float, c: float) -> None:
    first, middle, last = sorted((a, b, c))
    whole = energy_cost(777.0, first, last, DAILY)
    parts = energy_cost(777.0, first, middle, DAILY) + energy_cost(777.0, middle, last, DAILY)
    for name in EnergyCost.__slots__:
        assert getattr(whole, name) == pytest.approx(getattr(parts, name), rel=1e-9, abs=1e-3)


def test_pue_multiplies_cost_but_not_energy() -> None:
    lean = energy_cost(1e4, 0, 24 * HOUR, replace(DAILY, pue=1.0))
    full = energy_cost(1e4, 0, 24 * HOUR, DAILY)
    assert full.energy_j == lean.energy_j
    assert full.cost_usd == pytest.approx(1.4 * lean.cost_usd)
    assert full.carbon_g == pytest.approx(1.4 * lean.carbon_g)
