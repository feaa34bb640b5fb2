"""Sweep files: what they mean, and every fault of one in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.core.cluster import FailureModel
from scheduler.core.errors import InputError
from scheduler.core.metrics import FIGURES
from scheduler.core.sweep import Limits, Scenario, Sweep, Until
from scheduler.io.sweep import load_sweep

KNOWN = {
    "policies": ("fifo", "srtf"),
    "information": ("exact", "estimates", "none"),
    "account": ("run", "arrivals"),
}
METRICS = sorted(FIGURES)
CHECKOUT = Path(__file__).resolve().parents[2]

WHOLE = """\
schema: sweep/1
title: All of it
clusters: [demo-mixed, own.yaml]
workloads:
  - demo-day.yaml
  - {file: below/jobs.csv, name: march, format: csv, select: {a: b}, since: 2 d, until: 9 d,
     profile: rates.csv, reference: T4}
policies: [srtf, fifo]
seeds: {first: 5, count: 3}
scenarios:
  - {name: plain}
  - {name: other, noise: 0.3, information: none, load: 0.9, horizon: 3 d, account: arrivals,
     failures: {node_mtbf: 10 d, repair: 2 h}}
  - {name: safe, failures: none}
until: {metric: idle_fraction, relative_width: 0.1}
limits: {timeout: 5 min, memory: 1 GiB, retries: 0}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "below").mkdir(exist_ok=True)
    for name in ("own.yaml", "rates.csv", "below/jobs.csv"):
        (folder / name).write_text("")
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def faults_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        load_sweep(write(folder, text), KNOWN)
    return [str(f).removeprefix(str(folder / "sweep.yaml") + ":") for f in error.value.faults]


def test_everything_is_read(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, WHOLE), KNOWN)
    assert [c.label for c in sweep.clusters] == ["demo-mixed", "own"]
    assert sweep.clusters[0].path.is_file()
    assert sweep.clusters[1].path == tmp_path / "own.yaml"
    assert [w.label for w in sweep.workloads] == ["demo-day", "march"]
    trace = sweep.workloads[1]
    assert (trace.path, trace.profile) == (tmp_path / "below/jobs.csv", str(tmp_path / "rates.csv"))
    assert (trace.format, trace.select, trace.reference) == ("csv", {"a": "b"}, "T4")
    assert (trace.since, trace.until) == ("2 d", "9 d")
    assert (sweep.policies, sweep.seeds) == (("srtf", "fifo"), (5, 6, 7))
    assert sweep.scenarios == (
        Scenario("plain"),
        Scenario("other", 0.3, "none", 0.9, FailureModel(864000.0, 7200.0), 259200.0, "arrivals"),
        Scenario("safe", failures=FailureModel()),
    )
    assert sweep.until == Until("idle_fraction", 0.1)
    assert sweep.limits == Limits(300.0, 2.0**30, 0)


@pytest.mark.parametrize(
    ("seeds", "expected"), [("2", (0, 1)), ("[7, 3]", (7, 3)), ("{count: 1}", (0,))]
)
def test_seeds_are_a_number_a_list_or_a_range(
    seeds: str, expected: tuple[int, ...], tmp_path: Path
) -> None:
    sweep = load_sweep(write(tmp_path, WHOLE.replace("{first: 5, count: 3}", seeds)), KNOWN)
    assert sweep.seeds == expected


def test_little_is_needed(tmp_path: Path) -> None:
    text = "schema: sweep/1\ntitle: t\nclusters: [demo-mixed]\nworkloads: [demo-day]\n"
    sweep = load_sweep(write(tmp_path, text + "policies: [fifo]\nseeds: 1\n"), KNOWN)
    assert (sweep.scenarios, sweep.until, sweep.limits) == ((Scenario("base"),), None, Limits())


def test_the_shipped_sweep_is_24_cells() -> None:
    from scheduler.policies import names

    sweep: Sweep = load_sweep(CHECKOUT / "bench" / "sweep.yaml", {**KNOWN, "policies": names()})
    parts = (sweep.clusters, sweep.workloads, sweep.policies, sweep.seeds, sweep.scenarios)
    cells = 1
    for part in parts:
        cells *= len(part)
    assert cells == 24


def test_every_fault_is_reported_in_one_pass(tmp_path: Path) -> None:
    assert faults_of(
        tmp_path,
        """\
schema: sweep/1
title: x
clusters: [demo-mixd, ../b.yaml, demo-mixed, demo-mixed.yaml, own.yml]
workloads: [demo-day, {file: nope.csv, formt: philly}, 3]
policies: [fifo, srtff, fifo]
seeds: [1, -2, 1, [2], true]
scenarios:
  - {name: a, noise: 5, information: exakt, failures: {node_mtbf: 10}}
  - {name: a, horizon: 3, failures: some}
until: {metric: mean_jct, relative_width: 0}
limits: {timeout: 10, memory: 1 MiB}
extra: 1
""",
    ) == [
        "3: clusters[0]: no such topology, got 'demo-mixd'; allowed: a shipped name, or a file "
        "beside this; did you mean 'demo-mixed'?",
        "3: clusters[1]: the file is outside this folder, got '../b.yaml'; allowed: a file beside "
        "this",
        "3: clusters[4]: no such file, got 'own.yml'; allowed: a file beside this; did you mean "
        "'own.yaml'?",
        "3: clusters: named twice, got 'demo-mixed'",
        "4: workloads[1].formt: unknown field; allowed: file, format, name, profile, reference, "
        "select, since, until; did you mean 'format'?",
        "4: workloads[2]: not a name, got '3'; allowed: a name or file",
        "5: policies[1]: unknown policy, got 'srtff'; allowed: fifo, srtf; did you mean 'srtf'?",
        "5: policies: named twice, got 'fifo'",
        "6: seeds[1]: not a seed, got '-2'; allowed: a whole number of at least 0",
        "6: seeds[3]: not a seed, got '[2]'; allowed: a whole number of at least 0",
        "6: seeds[4]: not a seed, got 'True'; allowed: a whole number of at least 0",
        "6: seeds: named twice, got '1'",
        "8: scenarios[0].noise: out of range, got '5'; allowed: at least 0 and at most 3",
        "8: scenarios[0].information: unknown level of information, got 'exakt'; allowed: "
        "estimates, exact, none; did you mean 'exact'?",
        "8: scenarios[0].failures.node_mtbf: a time needs a unit, got '10'; allowed: a number "
        "with a unit, such as '30 s' (ns us ms s min h d w)",
        "9: scenarios[1].name: used twice, first in scenarios[0], got 'a'; allowed: a unique name",
        "9: scenarios[1].horizon: a time needs a unit, got '3'; allowed: a number with a unit, "
        "such as '30 s' (ns us ms s min h d w)",
        "9: scenarios[1].failures: not failures, got 'some'; allowed: {node_mtbf, repair, "
        "repair_sigma}, or none",
        f"10: until.metric: unknown metric, got 'mean_jct'; allowed: {', '.join(METRICS[:8])} "
        f"and {len(METRICS) - 8} more; did you mean 'mean_jct_s'?",
        "10: until.relative_width: out of range, got '0'; allowed: more than 0 and at most 10",
        "11: limits.timeout: a time needs a unit, got '10'; allowed: a number with a unit, such "
        "as '30 s' (ns us ms s min h d w)",
        "11: limits.memory: size out of range, got '1 MiB'; allowed: at least 64 MiB",
        "12: extra: unknown field; allowed: clusters, limits, policies, scenarios, schema, seeds, "
        "title, until and 1 more",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sweep/1", "topology/1", "1: schema: another kind of file"),
        ("clusters: [demo-mixed, own.yaml]\n", "", "1: clusters: missing field"),
        ("[demo-mixed, own.yaml]", "[]", "3: clusters: not a list of at least one"),
        ("[demo-mixed, own.yaml]", "demo-mixed", "3: clusters: not a list of at least one"),
        ("[demo-mixed, own.yaml]", "[null]", "3: clusters[0]: not a name"),
        ("policies: [srtf, fifo]", "policies: []", "8: policies: the list is too short"),
        ("{first: 5, count: 3}", "0", "9: seeds: not seeds"),
        ("{first: 5, count: 3}", "[]", "9: seeds: not seeds"),
        ("count: 3", "count: 100000", "1: too many cells"),
        ("until: {metric: idle_fraction, relative_width: 0.1}", "until: {}", "missing field"),
        ("  - {name: safe, failures: none}\n", "  - {}\n", "14: scenarios[2].name: missing"),
    ],
)
def test_a_fault_of_its_own(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in WHOLE
    assert any(
        f.startswith(message) or message in f for f in faults_of(tmp_path, WHOLE.replace(old, new))
    )
