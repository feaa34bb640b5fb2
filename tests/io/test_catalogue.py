"""The shipped catalogues: facts, marks of doubt, names; and faults of edited copies."""

import csv
import math
from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.core.units import GIB
from scheduler.io.catalogue import (
    accelerators,
    catalogue_path,
    find_accelerator,
    find_model,
    models,
    read_accelerators,
    read_models,
)

REFERENCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference"


def test_catalogues_are_large_and_every_row_names_its_source() -> None:
    assert len(accelerators()) >= 60
    assert len(models()) >= 25
    for row in (*accelerators().values(), *models().values()):
        assert row.source, row.name
    assert {a.confidence for a in accelerators().values()} == {"high", "medium", "low"}


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("A100-80GB-SXM", "bf16", 312),
        ("H100-SXM", "bf16", 989.4),
        ("H100-SXM", "fp8", 1978.9),
        ("V100-16GB-SXM", "fp16", 125),
        ("MI300X", "bf16", 1307.4),
        ("TPU-v5p", "bf16", 459),
        ("P100-16GB-SXM", "fp16", 21.2),
        ("T4", "fp16", 65),
    ],
)
def test_published_dense_peaks(name: str, precision: str, tflops: float) -> None:
    assert accelerators()[name].peak_flops[precision] == pytest.approx(tflops * 1e12)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("V100-16GB-SXM", "bf16"), ("A100-80GB-SXM", "fp8"), ("K80", "fp16"), ("MI308X", "bf16")],
)
def test_an_empty_peak_is_no_support(name: str, precision: str) -> None:
    assert precision not in accelerators()[name].peak_flops


@pytest.mark.parametrize("name", ["Rubin-VR200", "Ascend-950PR", "MLU590", "Kunlun-P800", "MI308X"])
def test_disputed_rows_say_so(name: str) -> None:
    assert accelerators()[name].confidence == "low"


def test_powers_links_and_memory_are_sane() -> None:
    for a in accelerators().values():
        assert 0 < a.idle_w < a.peak_w, a.name
        assert GIB <= a.memory_bytes <= 512 * GIB, a.name
        assert a.scaleup_devices >= 1, a.name
        assert a.devices_per_node >= 1, a.name
        assert a.scaleup_bytes_per_s * 8 >= a.nic_bytes_per_s, a.name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("v100", "V100-16GB-SXM"),
        ("V100M32", "V100-32GB-SXM"),
        ("p100", "P100-16GB-SXM"),
        ("K80", "K80"),
        ("t4", "T4"),
        ("a100", "A100-80GB-SXM"),
        ("H100", "H100-SXM"),
        ("2080ti", "RTX-2080Ti"),
        ("h100-sxm", "H100-SXM"),
        ("910b", "Ascend-910B"),
    ],
)
def test_names_of_traces_resolve(alias: str, name: str) -> None:
    assert find_accelerator(alias).name == name


def test_models_resolve_by_alias() -> None:
    assert find_model("Llama-3.1-70B").name == "llama-3-70b"


@pytest.mark.parametrize(
    ("find", "wrong", "near"),
    [(find_accelerator, "H100-SXN", "H100-SXM"), (find_model, "lama-3-70b", "llama-3-70b")],
)
def test_unknown_names_suggest_the_nearest(find, wrong: str, near: str) -> None:
    with pytest.raises(InputError, match=near) as caught:
        find(wrong)
    assert caught.value.faults[0].nearest.casefold() == near.casefold()


SWIGLU = [
    "llama-7b",
    "llama-13b",
    "llama-30b",
    "llama-65b",
    "codellama-34b",
    "yi-34b",
    "phi-3-mini",
    "mistral-small-24b",
    "mistral-large-123b",
    "qwen-2.5-1.5b",
    "qwen-2.5-14b",
    "qwen3-4b",
    "qwen3-14b",
    "llama-2-7b",
    "llama-2-13b",
    "llama-2-70b",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3-405b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "mistral-7b",
    "qwen-2.5-7b",
    "qwen-2.5-32b",
    "qwen-2.5-72b",
    "qwen3-8b",
    "qwen3-32b",
    "gemma-7b",
    "gemma-2-9b",
    "gemma-2-27b",
]


@pytest.mark.parametrize("name", SWIGLU)
def test_parameters_follow_from_the_shape(name: str) -> None:
    m = models()[name]
    queries, keys = m.heads * m.head_dim, m.kv_heads * m.head_dim
    layer = 2 * m.hidden * queries + 2 * m.hidden * keys + 3 * m.hidden * m.ffn_hidden
    embedding = m.vocabulary * m.hidden
    counts = [m.layers * layer + tied * embedding for tied in (1, 2)]
    assert min(abs(c / m.parameters - 1) for c in counts) < 0.005


@pytest.mark.parametrize(
    ("name", "moe_layers"),
    [
        ("mixtral-8x7b", 32),
        ("mixtral-8x22b", 56),
        ("qwen3-30b-a3b", 48),
        ("qwen3-235b-a22b", 94),
        ("deepseek-v2", 59),
        ("deepseek-v3", 58),
        ("deepseek-v2-lite", 26),
        ("llama-4-scout", 48),
        ("llama-4-maverick", 24),
        ("gpt-oss-20b", 24),
        ("gpt-oss-120b", 36),
    ],
)
def test_expert_weights_follow_from_total_and_active(name: str, moe_layers: int) -> None:
    m = models()[name]
    experts = moe_layers * m.experts * 3 * m.hidden * m.ffn_hidden
    assert m.expert_parameters == pytest.approx(experts, rel=0.04)


@pytest.mark.parametrize(
    "name",
    [
        "bert-large",
        "gpt-2",
        "gpt-2-xl",
        "gpt-3-175b",
        "opt-13b",
        "opt-30b",
        "opt-66b",
        "gpt-neox-20b",
        "mpt-7b",
        "mpt-30b",
    ],
)
def test_parameters_of_four_h_transformers(name: str) -> None:
    m = models()[name]
    count = 12 * m.layers * m.hidden**2 + m.vocabulary * m.hidden
    assert count == pytest.approx(m.parameters, rel=0.02)


def test_facts_agree_with_the_reference_table() -> None:
    path = REFERENCE / "accelerators.csv"
    if not path.exists():
        pytest.skip("needs the shared reference data beside the checkout")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 60
    for row in rows:
        ours = accelerators()[row["name"]]
        assert ours.memory_bytes == float(row["memory_gib"]) * GIB, row["name"]
        assert ours.memory_bytes_per_s == float(row["memory_bandwidth_gb_s"]) * 1e9
        assert ours.confidence == row["confidence"]
        for precision in ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4"):
            text = row[f"{precision}_tflops"]
            assert ours.peak_flops.get(precision, 0.0) == float(text or 0) * 1e12, row["name"]


def edited(tmp_path: Path, file: str, **cells: str) -> Path:
    """Copy a catalogue's header and first row, with some cells changed."""
    folder = "topologies" if file == "accelerators.csv" else "workloads"
    text = catalogue_path(folder, file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    row = next(csv.DictReader(lines))
    target = tmp_path / file
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(row))
        writer.writeheader()
        writer.writerow(row | cells)
    return target


def test_an_unedited_copy_reads_the_same(tmp_path: Path) -> None:
    first = next(iter(accelerators().values()))
    assert read_accelerators(edited(tmp_path, "accelerators.csv"))[first.name] == first


def test_every_fault_is_reported_at_once_with_its_place(tmp_path: Path) -> None:
    path = edited(tmp_path, "accelerators.csv", memory_gib="lots", idle_w="-3", confidence="sure")
    with pytest.raises(InputError) as caught:
        read_accelerators(path)
    faults = caught.value.faults
    assert {f.path for f in faults} == {"memory_gib", "idle_w", "confidence"}
    assert all(f.file == "accelerators.csv" and f.line == 2 for f in faults)
    assert "high, medium, low" in str(caught.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e999", "0x10", "1_0 GB"])
def test_odd_numbers_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="bad number"):
        read_models(edited(tmp_path, "models.csv", parameters=text))


def test_columns_and_names_are_checked(tmp_path: Path) -> None:
    path = edited(tmp_path, "models.csv")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("hidden", "hiden", 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"missing column.*\n?.*") as caught:
        read_models(path)
    assert "hidden" in str(caught.value)
    path.write_text(text + text.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="appears twice"):
        read_models(path)
    path.write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="no rows"):
        read_models(path)


def test_a_broken_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(InputError, match="cannot be read"):
        read_models(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_models(tmp_path / "nowhere.csv")


def test_numbers_are_finite() -> None:
    for m in models().values():
        assert math.isfinite(m.parameters)
        assert m.active_parameters <= m.parameters, m.name
        assert m.counts_tokens == (m.kind in ("dense", "moe", "encoder")), m.name
