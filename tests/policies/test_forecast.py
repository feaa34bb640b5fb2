from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scheduler.core.units import us_from_s
from scheduler.generate.demand import demand_curve
from scheduler.io.request_demand import repeated
from scheduler.io.request_traces import load_requests
from scheduler.policies.forecast import FEWEST, DemandForecast

TRACES = Path(__file__).resolve().parents[2] / ".." / "shared" / "traces"


def coverage(times_s: np.ndarray, demand: np.ndarray, lead_s: float, q: float) -> float:
    """Return how often what a step's window brought stayed within what was foretold for it."""
    times = [us_from_s(t) for t in times_s.tolist()]
    forecast = DemandForecast(times, demand, us_from_s(lead_s))
    said = []
    for step in range(len(times)):
        forecast.at(step)
        said.append(forecast.quantile(q))
    within = []
    for i in range(3 * FEWEST, len(times) - 3):
        window = [
            d
            for d, a, b in zip(demand, times, times[1:], strict=False)
            if a < times[i + 1] + us_from_s(lead_s) and b > times[i] + us_from_s(lead_s)
        ]
        within.append(max(window) <= said[i] * (1 + 1e-9))
    return float(np.mean(within))


@pytest.mark.parametrize("q", [0.8, 0.95])
@pytest.mark.parametrize(("shape", "lead_s"), [("chat", 600.0), ("image", 300.0)])
def test_quantiles_cover_as_often_as_they_say(shape: str, lead_s: float, q: float) -> None:
    times, demand = demand_curve(
        shape, seed=3, span_s=5 * 86400.0, step_s=600.0, peak_per_s=20.0, base_per_s=2.0
    )
    assert coverage(times, demand, lead_s, q) == pytest.approx(q, abs=0.06)


@pytest.mark.parametrize("q", [0.8, 0.95])
@pytest.mark.parametrize(
    ("name", "step_s", "lead_s"),
    [
        ("azure_llm/AzureLLMInferenceTrace_conv.csv.gz", 60.0, 120.0),
        ("genai/qps_generative.csv.gz", 300.0, 60.0),
        ("genai/lora_request_trace.csv.gz", 1800.0, 600.0),
    ],
)
def test_quantiles_cover_recorded_demand(name: str, step_s: float, lead_s: float, q: float) -> None:
    if not (TRACES / name).exists():
        pytest.skip("needs the shared reference data beside the checkout")
    trace = load_requests(TRACES / name)
    longest_s = 12 * 3600.0 if step_s < 600.0 else trace.span_s
    times, demand = repeated(trace, step_s, longest_s)
    assert coverage(times, demand, lead_s, q) == pytest.approx(q, abs=0.08)


def test_only_the_past_is_looked_at() -> None:
    rng = np.random.default_rng(0)
    times = [us_from_s(60.0 * i) for i in range(200)]
    demand = rng.uniform(1, 3, 200)
    other = demand.copy()
    other[120:] = 50.0
    said = []
    for curve in (demand, other):
        forecast = DemandForecast(times, curve, us_from_s(120.0), us_from_s(240.0))
        forecast.at(119)
        said.append([forecast.quantile(q) for q in (0.5, 0.9, 0.99)])
    assert said[0] == said[1]
    assert said[0] == sorted(said[0])


def test_yesterdays_peak_is_foretold() -> None:
    """Two quiet days with a peak at noon: on the third, capacity is asked for before it."""
    times = np.arange(0.0, 3 * 86400.0, 900.0)
    peak = 1.0 + 9.0 * ((times % 86400.0 >= 43200.0) & (times % 86400.0 < 50400.0))
    forecast = DemandForecast([us_from_s(t) for t in times.tolist()], peak, us_from_s(900.0))
    before = int((2 * 86400.0 + 43200.0) / 900.0) - 1
    assert peak[before] == 1.0
    forecast.at(before - 20)
    assert forecast.quantile(0.9) <= 2.0
    forecast.at(before)
    assert forecast.quantile(0.99) >= 9.5
