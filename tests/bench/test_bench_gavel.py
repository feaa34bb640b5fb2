"""The Gavel and Shockwave benches on traces of one's own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from bench import gavel, shockwave
from scheduler.core.errors import InputError
from scheduler.io import load_trace
from scheduler.policies import make

KINDS = (("Fast (batch size 1)", 1, 10.0), ("Fast (batch size 1)", 2, 18.0), ("Slow", 1, 2.0))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A ten-field trace, a twelve-field one, and a table."""
    table: dict[str, Any] = {}
    for worker, factor in (("v100", 1.0), ("p100", 0.5), ("k80", 0.2)):
        table[worker] = {f"('{n}', {g})": {"null": r * factor} for n, g, r in KINDS}
    rows = []
    for i in range(12):
        name, count, rate = KINDS[i % 3]
        steps = int(rate * 600 * (i + 1))
        rows.append((name, "cmd", "dir", "-n", "0", steps, count, 1, -1.0, 0))
    ten = "\n".join("\t".join(map(str, row)) for row in rows)
    twelve = "\n".join(
        "\t".join(map(str, (*row[:7], "gns", *row[7:9], 600 * (i + 1), 30 * i)))
        for i, row in enumerate(rows)
    )
    for file, text in (("a.trace", ten), ("b.trace", twelve), ("t.json", json.dumps(table))):
        (tmp_path / file).write_text(text + "\n")
    return tmp_path / "a.trace", tmp_path / "b.trace", tmp_path / "t.json"


def arguments(bench: Any, *words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_trace_of_ones_own(files: tuple[Path, Path, Path]) -> None:
    ten, _, table = files
    given = ("--trace", ten, "--throughputs", table, "--cluster", "2:1:1", "--recorded", "none")
    result = gavel.run(arguments(gavel, *given))
    assert json.loads(json.dumps(result)) == result
    assert len(result["cases"]) == 2 * (len(gavel.PLAYED) + len(gavel.OURS))
    for case in result["cases"]:
        assert case["violations"] == 0
        assert case["finished"] == 12
        assert case["bound"] <= case["ours"]
        assert (case["peer"] is None) == (case["policy"] in gavel.PLAYED)
    assert len(list(gavel.table(result))) == len(result["cases"]) + 2


def test_shockwave_traces_have_two_more_fields(files: tuple[Path, Path, Path]) -> None:
    _, twelve, table = files
    workload = load_trace(twelve, profile=str(table))
    assert workload.jobs.estimate_s.tolist() == [600.0 * (i + 1) for i in range(12)]
    assert workload.jobs.release_s.tolist() == [30.0 * i for i in range(12)]
    assert len(load_trace(twelve, profile=str(table), select={"mode": "gns"}).jobs) == 12
    given = ("--trace", twelve, "--throughputs", table, "--cluster", "4:0:0", "--recorded", "no")
    result = shockwave.run(arguments(shockwave, *given))
    assert all(case["violations"] == 0 and case["finished"] == 12 for case in result["cases"])
    assert len(list(shockwave.table(result))) == len(result["cases"]) + 2
    assert {case["policy"] for case in result["cases"]} == set(shockwave.PEERS)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("gns", "gsn"), ":1: mode: unknown mode, got 'gsn'; allowed: static, accordion, gns"),
        (("\t600\t", "\t-5\t"), ":1: duration: negative value"),
        (("\tcmd\tdir", "\tcmd"), "wrong number of fields"),
    ],
)
def test_faults_of_twelve_field_traces(
    files: tuple[Path, Path, Path], edit: tuple[str, str], message: str
) -> None:
    _, twelve, table = files
    lines = twelve.read_text().splitlines()
    place = 1 if "dir" in edit[0] else 0
    lines[place] = lines[place].replace(*edit, 1)
    twelve.write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        load_trace(twelve, format="gavel", profile=str(table))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cluster", "12:12"), "not three counts"),
        (("--cluster", "0:0:0"), "no accelerators"),
        (("--trace", "missing.trace"), "no such file; fetch it"),
        (("--restart", "-1"), "out of range"),
    ],
)
def test_options_that_make_no_sense(
    files: tuple[Path, Path, Path], words: tuple[str, str], message: str
) -> None:
    ten, _, table = files
    given = ["--throughputs", table]
    given += [] if words[0] == "--trace" else ["--trace", ten]
    with pytest.raises(InputError, match=message):
        gavel.run(arguments(gavel, *given, *words))


@pytest.mark.skipif(
    not shockwave.SHARED.is_dir(), reason="needs the shared reference data beside the checkout"
)
def test_the_published_shockwave_trace() -> None:
    folder = shockwave.SHARED / "shockwave"
    path = folder / "tacc_32gpus_120.trace"
    workload = load_trace(path, profile=str(folder / "tacc_throughputs.json"))
    fields = [line.split("\t") for line in path.read_text().splitlines()]
    assert len(workload.jobs) == len(fields) == 120
    assert workload.jobs.work.sum() == sum(int(f[5]) for f in fields)
    assert sorted(workload.jobs.estimate_s.tolist()) == sorted(float(f[10]) for f in fields)


def test_policies_of_the_benches_exist() -> None:
    for name in (*gavel.PEERS, *gavel.PLAYED, *gavel.OURS, *shockwave.PEERS):
        assert make(name) is not None
