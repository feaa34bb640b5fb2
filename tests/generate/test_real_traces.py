"""The generator beside the traces themselves, where they are at hand."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from scheduler.generate import generate
from scheduler.generate.demand import SHAPES, Shape, draw_curve

TRACES = Path(__file__).resolve().parents[2] / ".." / "shared" / "traces"


def rows(name: str) -> list[dict[str, str]]:
    path = TRACES / name
    if not path.is_file():
        pytest.skip("needs the shared reference data beside the checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_philly_like_resembles_half_of_philly() -> None:
    """Seven of the fifteen virtual clusters, so shares agree less closely than with all."""
    start = datetime(2017, 10, 2)
    jobs = sorted(
        (
            (datetime.fromisoformat(r["timestamp"]) - start).total_seconds(),
            int(r["num_gpus"]),
            float(r["duration"]),
        )
        for r in rows("philly/philly_dev.csv.gz")
    )
    release, gang, run_s = np.array([j for j in jobs if 0 <= j[0] < 70 * 86400]).T
    made = generate("philly-like", seed=0, days=70, mean_demand=450.0, tenants=15)
    own_gang = np.array([c.gang[0] for c in made.classes])[made.jobs.class_index]

    def burst(times: np.ndarray) -> float:
        return float((np.diff(times) <= 10).mean())

    def load_share(sizes: np.ndarray, seconds: np.ndarray, low: int, high: int) -> float:
        chosen = (sizes >= low) & (sizes <= high)
        return float((sizes * seconds)[chosen].sum() / (sizes * seconds).sum())

    assert burst(made.jobs.release_s) == pytest.approx(burst(release), abs=0.05)
    assert (own_gang == 1).mean() == pytest.approx((gang == 1).mean(), abs=0.03)
    alone = made.jobs.work[own_gang == 1]
    assert alone.mean() == pytest.approx(run_s[gang == 1].mean(), rel=0.1)
    for low, high in ((1, 1), (2, 4), (8, 8), (9, 99)):
        ours = load_share(own_gang, made.jobs.work, low, high)
        assert ours == pytest.approx(load_share(gang, run_s, low, high), abs=0.09)


def test_chat_resembles_azure_conversations() -> None:
    stamps = [r["TIMESTAMP"][:26] for r in rows("azure_llm/AzureLLMInferenceTrace_conv.csv.gz")]
    at_s = np.array([datetime.fromisoformat(s).timestamp() for s in stamps])
    counts = np.bincount((at_s - at_s.min()).astype(int)).astype(float)
    chat = SHAPES["chat"]
    level = Shape("", (1.0,) * 24, (1.0,) * 7, chat.noise, chat.variance, chat.memory_s)
    rng = np.random.default_rng(0)
    _, rate = draw_curve(level, rng, span_s=400_000.0, step_s=1.0, noise=1.0)
    own = rng.poisson(rate * counts.mean()).astype(float)
    for width in (1, 10, 60):

        def dispersion(x: np.ndarray, width: int = width) -> float:
            bins = x[: len(x) // width * width].reshape(-1, width).sum(axis=1)
            return float(bins.var() / bins.mean())

        assert dispersion(own) == pytest.approx(dispersion(counts), rel=0.2)
