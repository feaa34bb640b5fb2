from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main

WINDOWS = ("2017-10-02", "2017-10-09", "2017-10-16")


def played(capsys: pytest.CaptureFixture[str], folder: Path, processes: int) -> dict[str, Any]:
    jobs = ["timestamp,duration,num_gpus,cluster"]
    jobs += [
        f"2017-10-{day:02d} {hour:02d}:30:00,{3600 * (1 + (day * hour) % 9)},{1 + hour % 8},vc"
        for day in range(2, 24)
        for hour in range(0, 24, 3)
    ]
    requests = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    requests += [f"2023-11-16 18:{s // 60:02d}:{s % 60:02d}.0,900,120" for s in range(0, 1200, 7)]
    (folder / "jobs.csv").write_text("\n".join(jobs) + "\n", encoding="utf-8")
    (folder / "requests.csv").write_text("\n".join(requests) + "\n", encoding="utf-8")
    words = ["train_and_serve", "--json", "--topology", "demo-mixed", "--demand", "chat"]
    words += ["--chat", str(folder / "requests.csv"), "--images", str(folder / "requests.csv")]
    words += ["--philly", str(folder / "jobs.csv"), "--policy", "static split", "--load", "0.2"]
    words += [word for window in WINDOWS for word in ("--since", window)]
    assert main([*words, "--processes", str(processes)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_windows_side_by_side_tell_what_they_tell_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, together = (played(capsys, tmp_path, processes)["cases"] for processes in (1, 2))
    assert [case["window"] for case in alone] == list(WINDOWS)
    for case in (*alone, *together):
        assert case["violations"] == 0
        assert case.pop("seconds") > 0
    assert alone == together
