"""The bench command on lists of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from random_packings import random_packing_problem

from scheduler.generate.pod_arrivals import inflated_arrivals
from scheduler.simulate.packing import pack

CHECKOUT = Path(__file__).resolve().parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    nodes = ["sn,cpu_milli,memory_mib,gpu,model"]
    nodes += [f"n{i},64000,262144,4,T4" for i in range(6)]
    pods = ["name,cpu_milli,memory_mib,num_gpu,gpu_milli"]
    pods += [f"p{i:02},4000,1024,1,{400 + 200 * (i % 4)}" for i in range(20)]
    for name, lines in (("nodes", nodes), ("pods", pods)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "nodes.csv", tmp_path / "pods.csv"


def test_a_list_of_ones_own(lists: tuple[Path, Path], tmp_path: Path) -> None:
    nodes, pods = map(str, lists)
    words = ("fgd", "--json", "--nodes", nodes, "--pods", pods, "--policy", "BestFit")
    done = bench(*words, "--seed", "7", "--tie", "both", "--placements", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["bench"] == "fgd"
    assert result["machine"]["cores"] >= 1
    assert [case["tie"] for case in result["cases"]] == ["lexical", "random"]
    for case in result["cases"]:
        assert case["policy"] == "best_fit"
        assert case["violations"] == 0
        assert case["peer"] is None  # another cluster than the published one
        assert 0 < case["ours"] <= case["bound"]
        written = json.loads(Path(case["placement"]["7"]).read_text())
        assert written["list"] == "pods"
        assert sum(row["node"] is None for row in written["arrivals"]) == case["refused"]


def test_the_table_and_the_list_of_benches(lists: tuple[Path, Path]) -> None:
    nodes, pods = map(str, lists)
    done = bench("fgd", "--nodes", nodes, "--pods", pods, "--policy", "fgd", "--arrived", "100")
    assert done.returncode == 0, done.stderr
    assert "pods, fgd, lexical ties, 10 seeds" in done.stdout
    assert "fgd " in bench().stdout


def test_missing_data_says_where_to_fetch_it(tmp_path: Path) -> None:
    done = bench("fgd", "--pods", str(tmp_path / "none.csv"), "--arrived", "131")
    assert done.returncode == 2
    assert "https://github.com/hkust-adsl/kubernetes-scheduler-simulator" in done.stderr
    assert "--arrived: out of range, got '131'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_yardstick_places_as_the_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from bench.every_node import EveryNode

    for seed in range(4):
        rng = np.random.default_rng(seed)
        problem = random_packing_problem(rng)
        arrivals = inflated_arrivals(problem, 1.3, rng)
        rank = rng.permutation(len(problem.nodes))
        ours, plain = pack(problem, arrivals, "fgd", rank=rank), EveryNode(problem, rank)
        packing = plain.play(arrivals)
        assert np.array_equal(ours.node, packing.node)
        assert np.array_equal(ours.held, packing.held)
