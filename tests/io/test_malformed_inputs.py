"""One fault each: the message says what, where, what is allowed, and the nearest name."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from documents import EDGES, JOBS_CSV, TOPOLOGY, WORKLOAD

from scheduler.core.errors import InputError
from scheduler.io import load_trace, load_workload, parse_cluster, parse_workload

Edit = tuple[str, str]

TOPOLOGY_FAULTS: list[tuple[Edit, tuple[str, ...]]] = [
    # missing, unknown, duplicate
    (("title: Two pods\n", ""), ("title: missing field",)),
    (("title:", "tittle:"), (":2: tittle: unknown field", "did you mean 'title'?")),
    (("schema: topology/1\n", ""), ("schema: missing field",)),
    (("topology/1", "topology/2"), ("another kind of file, got 'topology/2'", "topology/1")),
    (("topology/1", "workload/1"), ("another kind of file", "schema: topology/1")),
    (("    site: main\n    uplink", "    uplink"), ("pods[0].site: missing field",)),
    (("uplink:", "uplnk:"), ("pods[0].uplnk: unknown field", "did you mean 'uplink'?")),
    (("title: Two pods", "title: x\ntitle: y"), (":3: title: duplicate field, first on line 2",)),
    (("pue: 1.25", "pue: 1.25\n    pue: 1.3"), (":10: sites[0].pue: duplicate field",)),
    # names
    (("accelerator: H100-SXM", "accelerator: H10O-SXM"), ("did you mean 'H100-SXM'?", ":23:")),
    (("accelerator: T4", "accelerator: T44"), ("pods[1].nodes[0].accelerator", "'T4'?")),
    (("  H100-SXM: {price", "  H100-SMX: {price"), ("accelerators.H100-SMX.memory: missing",)),
    (("stack: cuda,", "like: H1000, stack: cuda,"), ("accelerators.Chip-1.like: unknown acc",)),
    (("    site: main\n    fabric", "    site: mian\n    fabric"), ("unknown site", "'main'?")),
    (("kind: rail", "kind: rial"), ("pods[0].fabric.kind: not a known word", "'rail'?")),
    (("{bf16:", "{bf17:"), ("accelerators.Chip-1.peak.bf17", "did you mean 'bf16'?")),
    (("node: a-n2", "node: a-n22"), ("outages[0].node: unknown node", "did you mean 'a-n2'?")),
    (("name: b", "name: a"), ("pods[1].name: used twice, first in pods[0]", "unique name")),
    (("name: b\n    repeat: 2", "name: a-n"), ()),  # a-n-h1 is no collision: accepted
    (("prefix: h", 'names: ["x", "x", "x", "y"]'), ("either nodes or names",)),
    (("nodes: 4, per_node: 4, prefix: h", 'names: ["x", "x"]'), ("node name is used twice",)),
    (("name: main", 'name: " main"'), ("sites[0].name: not a name",)),
    (("name: main", 'name: "ma\\u001bin"'), ("control characters",)),
    (("name: main", f"name: {'m' * 300}"), ("the name is too long",)),
    (("name: main", "name: [main]"), ("sites[0].name: not a name, got 'a list'",)),
    # quantities
    (("1.5 MW", "1500000"), ("sites[0].power_cap: a power needs a unit", "'1.5 MW'")),
    (("1.5 MW", "1.5 MWatt"), ("unknown unit of power, got '1.5 MWatt'",)),
    (("1.5 MW", "-1 MW"), ("sites[0].power_cap: negative power, got '-1 MW'",)),
    (("1.5 MW", "0 MW"), ("power out of range", "more than 0 MW")),
    (("800 Gbit/s", "800 Gb/s"), ("pods[0].uplink", "did you mean '800 Gbit/s'?")),
    (("800 Gbit/s", "nan Gbit/s"), ("must be a finite number",)),
    (("800 Gbit/s", "1e999 GB/s"), ("must be a finite number",)),
    (("800 Gbit/s", "800 GB"), ("'GB' is a unit of size, not of data rate", "'800 GB/s'")),
    (("450 g/kWh", "450"), ("sites[0].carbon: a carbon intensity needs a unit",)),
    (("0.08 USD/kWh", "[0.1 USD/kWh, 0.2 USD/kWh]"), ("one value, or 24 by hour of the day",)),
    (("0.08 USD/kWh", "0.08 $/kWh"), ("did you mean '0.08 USD/kWh'?",)),
    (("start: 2 h", "start: -2 h"), ("outages[0].start: negative time, got '-2 h'",)),
    (("start: 2 h", "start: 9 h"), ("outages[0]: the outage ends before it starts",)),
    (("start: 2 h", "start: 12:30:00"), ("outages[0].start", "got '12:30:00'")),
    (("memory: 32 GiB", "memory: 32 GHz"), ("accelerators.Chip-1.memory: unknown unit of size",)),
    (("idle: 50 W", "idle: 500 W"), ("accelerators.Chip-1: idle power above full power",)),
    (("memory: 32 GiB, ", ""), ("accelerators.Chip-1.memory: missing field",)),
    # numbers
    (("pue: 1.25", "pue: .nan"), ("sites[0].pue: not a finite number, got 'nan'",)),
    (("pue: 1.25", "pue: .inf"), ("not a finite number",)),
    (("pue: 1.25", "pue: 0.9"), ("out of range, got '0.9'; allowed: at least 1 and at most 5",)),
    (("pue: 1.25", "pue: no"), ("sites[0].pue: not a number, got 'no'",)),
    (("pue: 1.25", "pue: 007"), ("sites[0].pue: not a number, got '007'",)),
    (("pue: 1.25", "pue: true"), ("sites[0].pue: not a number, got 'true'",)),
    (("nodes: 2,", "nodes: 0,"), ("pods[0].nodes[0].nodes: out of range",)),
    (("nodes: 2,", "nodes: -2,"), ("pods[0].nodes[0].nodes: out of range",)),
    (("nodes: 2,", "nodes: 2.5,"), ("not a whole number, got '2.5'",)),
    (("nodes: 2,", "nodes: 9223372036854775808,"), ("out of range",)),
    (("nodes: 2,", f"nodes: {'9' * 400},"), ("not a whole number, got 'inf'",)),
    (("repeat: 2", "repeat: 199999"), ("pods: too many nodes, got '799999'",)),
    (("taper: 2", "taper: 0.5"), ("pods[0].fabric.taper: out of range",)),
    # shapes
    (("kind: rail", "kind: tree, shape: [2]"), ("a tree fabric has no such field",)),
    (("shape: [2, 2], ", ""), ("fabric.shape: missing field of a torus fabric",)),
    ((", link: 100 GB/s", ""), ("fabric.link: missing field of a torus fabric",)),
    (("[2, 2]", "[1, 2]"), ("the torus is too small, got '1 x 2'; allowed: room for 4 nodes",)),
    (("fabric: {kind: rail", "fabric: rail #{"), ("pods[0].fabric: not a mapping, got 'rail'",)),
    (("title: Two pods", f"title: {'t' * 30_000}"), ("title: the text is too long",)),
    (("title: Two pods", "title: 2"), ("title: not text, got '2'",)),
    (("accelerators:\n", "accelerators: [1]\nx:\n"), ("accelerators: not a mapping",)),
    (("  Chip-1: {", '  "": {'), ("accelerators['']: not a name",)),
    (("sites:\n", "sites: {}\nsitez:\n"), ("sites: not a list", "sitez: unknown field")),
    (("- {accelerator: T4, nodes: 4, per_node: 4, prefix: h}", "[]"), ("list is too short",)),
    (("    nodes:\n      - {accelerator: T4", "    nodes:\n      - 5\n      - {accelerator: T4"),
     ("pods[1].nodes[0]: not a mapping, got '5'",)),
]  # fmt: skip

EDGES_FAULTS: list[tuple[Edit, tuple[str, ...]]] = [
    (("        - {a: sw, b: p-n2, rate: 100 Gbit/s}\n", ""), ("no path from 'p-n1' to 1 of",)),
    (("b: p-n2", "b: p-n22"), ("no path from 'p-n1'", "switches named here: p-n22, sw")),
    (("b: p-n2", "b: sw"), ("links[1]: a cable from a node to itself, got 'sw'",)),
    (("100 Gbit/s}", "0 Gbit/s}"), ("links[1].rate: data rate out of range",)),
    (("      links:", "      cables:"), ("pods[0].fabric.cables: unknown field",)),
    (("name: main}", "name: main}, {name: far}"), ("sites[1]: no pod is in this site, got 'far'",)),
    (("sites: [{name: main}]", "sites: []"), ("sites: the list is empty", "unknown site")),
    (("pods:\n", "pods: []\npodz:\n"), ("pods: the list is empty", "podz: unknown field")),
    (("sites: [{name: main}]", "sites:"), ("sites: the list is empty", "unknown site")),
    (("pods:\n", "pods: &p\n"), ("anchors are not allowed",)),
]

WORKLOAD_FAULTS: list[tuple[Edit, tuple[str, ...]]] = [
    (("title: A bit of everything\n", ""), ("title: missing field",)),
    (("H100-SXM, a800", "H100-SX, a800"), ("classes[0].accelerators[0]", "'H100-SXM'?")),
    (("name: llama-3-70b, p", "name: lama-3-70b, p"), ("unknown model", "'llama-3-70b'?")),
    (("name: my-7b", "name: my-8b"), ("classes[3].model.name: unknown model", "'my-7b'?")),
    (("job_type: resnet}, gang", "job_type: resnt}, gang"), ("no such job type in table 'own'",)),
    (("table: own, job_type: resnet}, gang", "table: on, job_type: resnet}, gang"), ("'own'?",)),
    (("class: script", "class: scrpt"), ("jobs[1].class: unknown class", "did you mean 'script'?")),
    (("[cuda]", "[cude]"), ("classes[0].stacks[0]: unknown software stack", "'cuda'?")),
    (("max_level: pod", "max_level: rack"), ("classes[0].max_level: not a known word",)),
    (("mixed_types: 2", "mixed_types: 4"), ("classes[0].mixed_types: out of range",)),
    (("gang: 4}", "gang: 4, mixed_types: 2}"), ("only classes with a model may mix types",)),
    (("precision: bf16\n", "precision: bf61\n"), ("did you mean 'bf16'?",)),
    (("preemptible: true", "preemptible: no"), ("neither true nor false, got 'no'", "'false'?")),
    (("gang: 4}", "gang: []}"), ("classes[1].gang: the list is too short",)),
    (("gang: 4}", "gang: -4}"), ("classes[1].gang: out of range",)),
    (("{reference: T4}", "{reference: T44}"), ("run_time.reference: unknown acc", "'T4'?")),
    (("  - {name: tune,", "  - {name: script,"), ("classes[3].name: used twice",)),
    (("{name: tune, model: {name: my-7b}", "{name: tune"), ("exactly one of model, profile",)),
    (("run_time: 3 h", "run_time: -3 h"), ("jobs[1].run_time: negative time, got '-3 h'",)),
    (("run_time: 3 h", "run_time: 0 h"), ("jobs[1].run_time: time out of range",)),
    (("run_time: 3 h", "run_time: 3"), ("jobs[1].run_time: a time needs a unit",)),
    (("run_time: 3 h", "run_time: 1e9 d"), ("jobs[1].run_time: time out of range",)),
    (("run_time: 3 h", "work: 3"), ("jobs[1].work: class 'script' knows only a run time",)),
    (("run_time: 3 h", "weight: 1"), ("jobs[1]: the work is given twice or not at all",)),
    (("work: 20e9", "run_time: 2 h"), ("jobs[0].run_time: class 'pretrain' counts work",)),
    (("work: 20e9", "work: .nan"), ("jobs[0].work: not a finite number",)),
    (("work: 20e9", "work: 0"), ("jobs[0].work: out of range, got '0'",)),
    (("weight: 2", "weight: -2"), ("jobs[0].weight: out of range",)),
    (("deadline: 24 h", "deadline: 1 h"), ("jobs[0]: deadline before release",)),
    (("id: 7", "id: base-2"), ("jobs[1]: job id is used twice, first in jobs[0]",)),
    (("id: 7", "id: philly-000001"), ("job id is used twice",)),
    (("id: 7", "id: 7.5"), ("jobs[1].id: not a name",)),
    (("count: 3", "count: 1e12"), ("jobs[0].count: out of range",)),
    (("[8 h, 20 req/s]", "[0 h, 20 req/s]"), ("services[0].demand[1][0]: time out of range",)),
    (("[0 s, 4 req/s]", "[5 s, 4 req/s]"), ("services[0].demand[0][0]: time out of range",)),
    (("[8 h, 20 req/s]", "[8 h, 20]"), ("services[0].demand[1][1]: a request rate needs a unit",)),
    (("[8 h, 20 req/s]", "[8 h]"), ("services[0].demand[1]: not a step",)),
    (("[[0 s, 4 req/s], [8 h, 20 req/s]]", "4 req/s"), ("services[0].demand: not a demand",)),
    (("shape: diurnal", "shape: diurnl"), ("services[1].demand.shape", "did you mean 'diurnal'?")),
    (("peak: 20", "peek: 20"), ("demand.peek: unknown field", "demand.peak: missing field")),
    (("base: 2 req/s", "base: 30 req/s"), ("services[1].demand.base: out of range",)),
    (("span: 2 d", "noise: much, span: 2 d"), ("services[1].demand.noise: not a number",)),
    (("span: 2 d", "span: 2 d, noise: true"), ("services[1].demand.noise: not a value",)),
    (("span: 2 d", "span: 2 d, shape: flat"), ("services[1].demand.shape: duplicate field",)),
    (("shape: diurnal, ", ""), ("demand.shape: missing",)),
    (("span: 2 d", "span: -2 d"), ("services[1].demand.span: negative time",)),
    (("seed: 1}", "seed: -1}"), ("services[1].demand.seed: not a seed",)),
    (("name: images", "name: chat"), ("services[1].name: used twice",)),
    (("kind: philly-like", "kind: phily-like"), ("generate[0].kind", "'philly-like'?")),
    (
        ("mean_demand: 8", "mean_demnd: 8"),
        ("generate[0].mean_demnd", "did you mean 'mean_demand'?"),
    ),
    (("days: 0.2", "days: .nan"), ("generate[0].days: out of range, got 'nan'",)),
    (("days: 0.2", "days: [1]"), ("generate[0].days: not a value",)),
    (("max_run_time: 2 h", "max_run_time: 2 GiB"), ("generate[0].max_run_time",)),
    (("kind: philly-like, ", ""), ("generate[0]: not a generator",)),
    (("name: script", "name: philly-1"), ("the class exists already and differs", "prefix")),
    (("philly-like, seed: 0", "chat, seed: 0, prefix: chat"), ("has no such parameter",)),
    (("generate:", "jobs_file: ../jobs.csv\ngenerate:"), ("no file can be named here",)),
    (("job_type: resnet, acc", "job_type: resnet, rate: 2, acc"), ("duplicate field",)),
    (("rate: 7.5", "rate: -7.5"), ("profiles.own.rates[0].rate: out of range",)),
    (("heads: 32", "heads: 0"), ("models.my-7b: the model has no shape",)),
    (("kind: dense", "kind: dnse"), ("models.my-7b.kind: not a known word", "'dense'?")),
]


def edited(text: str, edit: Edit) -> str:
    old, new = edit
    assert text.count(old) >= 1, f"the edit {old!r} does not apply"
    return text.replace(old, new, 1)


def check(text: str, fragments: tuple[str, ...], kind: str) -> None:
    parse = parse_cluster if kind == "topology" else parse_workload
    if not fragments:
        parse(text, file="f.yaml")
        return
    with pytest.raises(InputError) as caught:
        parse(text, file="f.yaml")
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert str(caught.value).startswith("f.yaml:")


@pytest.mark.parametrize(("edit", "fragments"), TOPOLOGY_FAULTS)
def test_topology_faults(edit: Edit, fragments: tuple[str, ...]) -> None:
    check(edited(TOPOLOGY, edit), fragments, "topology")


@pytest.mark.parametrize(("edit", "fragments"), EDGES_FAULTS)
def test_edges_faults(edit: Edit, fragments: tuple[str, ...]) -> None:
    check(edited(EDGES, edit), fragments, "topology")


@pytest.mark.parametrize(("edit", "fragments"), WORKLOAD_FAULTS)
def test_workload_faults(edit: Edit, fragments: tuple[str, ...]) -> None:
    check(edited(WORKLOAD, edit), fragments, "workload")


def test_every_fault_of_a_file_comes_in_one_message() -> None:
    text = TOPOLOGY
    edits = [
        ("title: Two pods\n", ""),
        ("1.5 MW", "1.5"),
        ("pue: 1.25", "pue: .nan\n    pue: 1"),
        ("accelerator: H100-SXM", "accelerator: H100-SMX"),
        ("kind: rail", "kind: rial"),
        ("uplink:", "uplnk:"),
        ("shape: [2, 2]", "shape: [1, 1]"),
        ("start: 2 h", "start: -2 h"),
        ("repair: 4 h", "repair: 4"),
    ]
    for edit in edits:
        text = edited(text, edit)
    with pytest.raises(InputError) as caught:
        parse_cluster(text, file="f.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(edits) + 1  # the edit of pue makes two
    positions = [f.line for f in caught.value.faults]
    assert positions == sorted(positions)
    assert all(line.startswith("f.yaml:") for line in lines)


def test_no_more_than_fifty_faults_are_printed() -> None:
    extra = "".join(f"x{i}: 1\n" for i in range(80))
    with pytest.raises(InputError) as caught:
        parse_cluster(TOPOLOGY + extra)
    assert len(str(caught.value).splitlines()) == 51
    assert "30 more faults" in str(caught.value)


JOBS_FAULTS: list[tuple[Edit, tuple[str, ...]]] = [
    (("3600,,2", "-3600,,2"), (":3: run_time_s: negative value, got '-3600'",)),
    (("3600,,2", "nan,,2"), (":3: run_time_s: not a finite number, got 'nan'",)),
    (("3600,,2", "inf,,2"), (":3: run_time_s: not a finite number",)),
    (("3600,,2", "1e12,,2"), (":3: run_time_s: out of range",)),
    (("3600,,2", "0,,2"), (":3: run_time_s: out of range",)),
    (("3600,,2", "1h,,2"), (":3: run_time_s: not a number, got '1h'",)),
    (("3600,,2", "3_600,,2"), (":3: run_time_s: not a finite number, got '3_600'",)),
    (("3600,,2", ",,2"), (":3: run_time_s: missing value",)),
    (("30.5,8,", "-1,8,"), (":3: release_s: negative value",)),
    (("30.5,8,", "30.5,0,"), (":3: gang: out of range",)),
    (("30.5,8,", "30.5,8.5,"), (":3: gang: not a whole number",)),
    (("30.5,8,", "30.5,,"), (":3: gang: missing value",)),
    ((",9000,", ",20,"), (":3: deadline_s: deadline before release",)),
    (("T4|h100", "T4|h1OO"), (":3: accelerators: unknown accelerator type", "did you mean")),
    (("\nc,", "\na,"), (":4: id: used twice, first in line 2",)),
    (("\nc,30.5,4|8,10", "\nc,30.5"), (":4: wrong number of fields, got '7'; allowed: 9",)),
    (("\nc,", '\n"c,'), ("not a table",)),
    (("run_time_s", "runtime_s"), ("unknown column, got 'runtime_s'", "'run_time_s'?")),
    (("weight,", "release_s,"), ("duplicate column",)),
    (("gang,", "class,"), (":2: class: unknown class",)),
    (("\na,", "\n" + "a" * 201 + ","), (":2: id: not a name",)),
    (("id,release_s", "id,reference"), (":3: reference: unknown accelerator type, got '30.5'",)),
    (("id,release_s", "id,preemptible"), (":2: preemptible: neither true nor false, got '0'",)),
]


@pytest.mark.parametrize(("edit", "fragments"), JOBS_FAULTS)
def test_jobs_table_faults(tmp_path: Path, edit: Edit, fragments: tuple[str, ...]) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(edited(JOBS_CSV, edit))
    with pytest.raises(InputError) as caught:
        load_workload(path)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert str(caught.value).startswith(str(path))


RAW_FAULTS: list[tuple[str, bytes, str]] = [
    ("empty.csv", b"", "the file is empty"),
    ("blank.csv", b"\n\n", "the file is empty"),
    ("comment.csv", b"# only this\n", "the file is empty"),
    ("header.csv", b"timestamp,duration,num_gpus,cluster\n", "the trace is empty"),
    ("jobs.csv", b"id,gang,run_time_s\n", "no jobs"),
    ("unknown.csv", b"a,b,c\n1,2,3\n", "not a trace of a known format, got 'a,b,c'"),
    ("nul.csv", b"id,gang,run_time_s\na,1,\x005\n", ":2: NUL character"),
    ("utf16.csv", "id,gang,run_time_s\n".encode("utf-16"), ":1: the file is UTF-16"),
    ("latin.csv", b"id,gang,run_time_s\n\xe9,1,5\n", ":2: not UTF-8 text"),
    ("long.csv", b"id,gang,run_time_s\n" + b"x" * (2**20 + 1), ":2: the line is too long"),
    ("cut.csv.gz", gzip.compress(JOBS_CSV.encode() * 50, mtime=0)[:-20], "the file is truncated"),
    (
        "bad.csv.gz",
        gzip.compress(b"id,gang,run_time_s\n" * 99, mtime=0)[:20] + b"\0" * 20,
        "damaged gzip",
    ),
    ("jobs.jsonl", b'{"id": "a", "gang": 1}\n', ":1: run_time_s: missing value"),
    ("nan.jsonl", b'{"id": "a", "gang": 1, "run_time_s": NaN}\n', ":1: NaN is not a number"),
    ("text.jsonl", b'{"id": "a", "gang": 1, "run_time_s": 5}\n[1]\n', ":2: not a JSON object"),
    ("cut.jsonl", b'{"id": "a", "gang": 1,\n', ":1: not valid JSON"),
    ("twice.jsonl", b'{"id": "a", "id": "b"}\n', ":1: duplicate key 'id'"),
    ("deep.jsonl", b'{"a":' * 100_000 + b"\n", "nested too deeply"),
    ("digits.jsonl", b'{"gang": ' + b"9" * 6000 + b"}\n", "a number is too long"),
    ("key.jsonl", b'{"id": "a", "gnag": 1, "run_time_s": 5}\n', "did you mean 'gang'?"),
    ("list.jsonl", b'{"id": [1], "gang": 1, "run_time_s": 5}\n', ":1: id: not a number or text"),
    ("philly.csv", b"timestamp,duration,num_gpus,cluster\nsoon,-1,0,x\n", "timestamp: not a time"),
    ("zone.csv", b"timestamp,duration,num_gpus,cluster\n2017-10-02T00:00:00Z,1,1,x\n", "not a"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "fragment"), RAW_FAULTS)
def test_raw_file_faults(tmp_path: Path, name: str, raw: bytes, fragment: str) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        load_trace(path)
    assert fragment in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_row_faults_come_in_one_pass_and_stop_at_fifty(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("id,gang,run_time_s\n" + "".join(f"j{i},1,-1\n" for i in range(3)))
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert [f.line for f in caught.value.faults] == [2, 3, 4]
    path.write_text("id,gang,run_time_s\n" + "".join(f"j{i},1,-1\n" for i in range(1000)))
    with pytest.raises(InputError) as caught:
        load_workload(path)
    assert len(caught.value.faults) == 51
    assert "stopped reading after 50 faults" in caught.value.faults[-1].message


def test_the_documents_themselves_are_well_formed(tmp_path: Path) -> None:
    assert parse_cluster(TOPOLOGY).accelerator_count == 2 * 8 + 8 + 2 * 4 * 4
    assert parse_cluster(EDGES).accelerator_count > 0
    assert len(parse_workload(WORKLOAD).services) == 2
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS_CSV)
    assert len(load_workload(path).jobs) == 3
