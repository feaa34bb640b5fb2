"""The bench of learnt run times: its cases, on a trace made up on the spot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from bench import prediction
from scheduler.core.errors import InputError


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    prediction.add_arguments(parser)
    return parser.parse_args(words)


def test_every_case_is_paired_and_verified(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = ["timestamp,duration,num_gpus,cluster"]
    for number in range(80):
        length_s = 300.0 * 4.0 ** (number // 10 % 4) * rng.uniform(0.9, 1.1)
        rows.append(f"2017-10-{3 + number // 10:02} 08:00:{number % 60:02},{length_s:.0f},8,a")
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = prediction.run(arguments("--trace", str(path), "--vc", "a", "--jobs", "40"))
    json.dumps(result, allow_nan=False)
    played = [case for case in result["cases"] if case["metric"] == "mean_jct_h"]
    assert {case["information"] for case in played} == {"none", "estimates"}
    assert all(case["violations"] == 0 and case["windows"] == 2 for case in played)
    assert all(case["ours"] > 0 and case["ratio"] <= case["worst"] for case in played)
    assert len(list(prediction.table(result))) == len(result["cases"]) + 2


def test_too_few_jobs_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fetch it"):
        prediction.run(arguments("--trace", str(tmp_path / "none.csv")))
    with pytest.raises(InputError, match="out of range"):
        prediction.run(arguments("--trace", __file__, "--jobs", "0"))
