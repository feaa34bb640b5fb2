"""The openb packing of FGD with all pods known: the figures that it must reach, and its bench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.packing import REFUSED, arrived_percent
from scheduler.generate.pod_arrivals import published_experiment
from scheduler.io.openb import read_openb
from scheduler.simulate.packing import pack
from scheduler.solver.packing.migrate import migrations
from scheduler.solver.packing.solve import bound_of_keeping, pack_by_patterns
from scheduler.verify.packing import verify_packing

CHECKOUT = Path(__file__).resolve().parents[2]
OPENB = CHECKOUT / ".." / "shared" / "traces" / "openb"


@pytest.mark.slow
def test_all_pods_of_the_first_hundred_percent() -> None:
    if not OPENB.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    problem = read_openb(
        OPENB / "openb_node_list_gpu_node.csv", OPENB / "openb_pod_list_default.csv.gz"
    )
    arrivals, rank = published_experiment(problem, 42)
    arrivals = arrivals[arrived_percent(problem, arrivals) <= 100]
    answer = pack_by_patterns(problem, arrivals)
    assert not verify_packing(problem, arrivals, answer.packing)
    assert not answer.dropped
    percent = 100 / problem.nodes.capacity_milli
    assert percent * answer.placed_milli >= 96.8
    assert percent * answer.bound_milli <= 96.95
    fgd = pack(problem, arrivals, "fgd", rank=rank)
    stays = fgd.node != REFUSED
    (planned,) = migrations(problem, fgd, (30,))
    assert not verify_packing(problem, arrivals, planned.packing)
    assert (planned.packing.node[stays] != REFUSED).all()
    assert planned.moves <= 30
    # many pods come in for each that moves, and it is most of what is proved to be there
    assert 0.6 * planned.bound_milli < planned.gained_milli <= planned.bound_milli
    placed = int(problem.pods.demand_milli[arrivals[planned.packing.node != REFUSED]].sum())
    before = int(problem.pods.demand_milli[arrivals[stays]].sum())
    assert placed == before + planned.gained_milli <= bound_of_keeping(problem, arrivals, stays)


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "pack", *words]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_the_bench_on_a_list_of_ones_own(tmp_path: Path) -> None:
    nodes = ["sn,cpu_milli,memory_mib,gpu,model"]
    nodes += [f"n{i},64000,262144,{4 if i else 0},{'T4' if i else ''}" for i in range(6)]
    pods = ["name,cpu_milli,memory_mib,num_gpu,gpu_milli"]
    pods += [f"p{i:02},4000,1024,1,{400 + 200 * (i % 4)}" for i in range(20)]
    pods += [f"c{i},8000,4096,0,0" for i in range(3)]
    for name, lines in (("nodes", nodes), ("pods", pods)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    files = ("--nodes", str(tmp_path / "nodes.csv"), "--pods", str(tmp_path / "pods.csv"))
    done = bench("--json", *files, "--defragment", "5", "--placements", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    packed, moved = json.loads(done.stdout)["cases"]
    assert packed["violations"] == moved["violations"] == 0
    assert packed["peer"] <= packed["ours"] <= packed["bound"] <= packed["free_bound"]
    assert packed["free_bound"] <= packed["quick_bound"] <= 100
    assert packed["published"] == {}
    assert moved["moves"][-1] <= 5
    assert np.isclose(moved["points"][-1], moved["ours"])
    assert moved["ours"] <= moved["bound"] + 1e-9
    for point in moved["curve"]:
        assert point["moves"] <= point["most_moves"] <= 5
        assert point["points"] <= point["bound"] + 1e-9
    written = json.loads(Path(packed["placement"]).read_text())
    assert sum(row["node"] is None for row in written["arrivals"]) == packed["refused"]
    wrong = bench(*files, "--seconds", "0", "--arrived", "0", "--defragment", "-1")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    for option in ("--seconds", "--arrived", "--defragment"):
        assert f"{option}: out of range" in wrong.stderr
