"""Tables of published training runs: what is read, what is refused."""

from pathlib import Path

import pytest

from scheduler.core.errors import InputError
from scheduler.io.published_names import named_accelerator, parameters_in_name
from scheduler.io.published_runs import read_published_runs

HEADER = "run_id,accelerator,precision,seq_len,params_total_b,tokens_per_s_per_device"


def table(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_least_columns(tmp_path: Path) -> None:
    found = read_published_runs(table(tmp_path, "a,H100-SXM,bf16,2048,7,10000"))
    (run,) = found.runs
    assert (run.id, run.parameters, run.active_parameters) == ("a", 7e9, 7e9)
    assert (run.task, run.measured, run.confidence) == ("pretrain", "steady", "medium")
    assert run.count is None


def test_all_columns(tmp_path: Path) -> None:
    header = (
        HEADER + ",params_active_b,task,n_layers,hidden,device_count,devices_per_node,tp,pp,cp,ep,"
        "vp,global_batch_seqs,micro_batch_seqs,activation_recompute,value_kind,source_group,"
        "confidence"
    )
    row = (
        "r,h100,mxfp8,4096,671,1500,37,sft,61,7168,256,8,1,8,1,32,2,4096,1,full,"
        "derived (tokens / device-hours: all),paper,low"
    )
    (run,) = read_published_runs(table(tmp_path, row, header=header)).runs
    assert run.accelerator.name == "H100-SXM"
    assert (run.active_parameters, run.layers, run.hidden) == (37e9, 61, 7168)
    assert (run.count, run.pipeline, run.expert, run.interleave) == (256, 8, 32, 2)
    assert (run.measured, run.recompute, run.source) == ("device-hours", "full", "paper")
    assert run.confidence == "low"


def test_rows_without_a_rate_or_id_are_read(tmp_path: Path) -> None:
    header = HEADER.replace("run_id,", "")
    path = table(tmp_path, "T4,fp16,512,0.1,", "T4,fp16,512,0.1,50", header=header)
    runs = read_published_runs(path).runs
    assert [r.id for r in runs] == ["1", "2"]
    assert runs[0].tokens_per_s is None


def test_an_unknown_accelerator_is_no_fault(tmp_path: Path) -> None:
    found = read_published_runs(table(tmp_path, "a,H100-SXN,bf16,2048,7,1", "b,T4,fp16,512,0.1,1"))
    assert [r.id for r in found.runs] == ["b"]
    assert "H100-SXM" in found.unknown["a"]


def test_empty_cells_take_usual_values(tmp_path: Path) -> None:
    header = HEADER + ",model"
    rows = (
        "a,H100,,,,,LLaMA2-70B",
        "b,v100,,n/a,,,acme-7B",
        "c,h100_sxm,FP8 (blockwise),,,,x-30B-A3B",
    )
    found = read_published_runs(table(tmp_path, *rows, header=header))
    assert not found.unknown
    named, sized, dealt = found.runs
    assert (named.parameters, named.precision, named.sequence_tokens) == (6.8977e10, "bf16", 4096)
    assert (sized.parameters, sized.precision) == (7e9, "fp16")
    assert (dealt.parameters, dealt.active_parameters) == (30e9, 3e9)
    assert (dealt.accelerator.name, dealt.precision) == ("H100-SXM", "fp8")


def test_rows_that_say_too_little_are_named(tmp_path: Path) -> None:
    header = HEADER + ",model"
    rows = ("a,H100,bf16,2048,,1,who-knows", "b,,bf16,2048,7,1,", "c,H100,bf16,2048,,1,")
    found = read_published_runs(table(tmp_path, *rows, header=header))
    assert found.runs == ()
    assert "unknown model" in found.unknown["a"]
    assert found.unknown["b"] == "no accelerator"
    assert found.unknown["c"] == "no number of parameters, and no model"


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("Llama-2-7b-hf", 7e9, 7e9),
        ("Qwen3-235B-A22B-Instruct", 235e9, 22e9),
        ("opt-125m", 125e6, 125e6),
        ("Mixtral-8x22B", 176e9, 44e9),
        ("GPT 1T", 1e12, 1e12),
    ],
)
def test_sizes_in_names(name: str, total: float, active: float) -> None:
    assert parameters_in_name(name) == (total, active)


@pytest.mark.parametrize("name", ["gpt-4", "model v3.5", "b200", "A100-80GB", ""])
def test_names_without_a_size(name: str) -> None:
    assert parameters_in_name(name) is None


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, "a,T4,fp16,zero,7,-1", "b,T4,fp16,512,seven,1")
    with pytest.raises(InputError) as caught:
        read_published_runs(path)
    places = {f.path for f in caught.value.faults}
    assert places == {
        "row a: seq_len",
        "row a: tokens_per_s_per_device",
        "row b: params_total_b",
    }


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accelerator") as caught:
        read_published_runs(table(tmp_path, header="acelerator,seq_len"))
    assert "one of params_total_b, params_active_b, model" in str(caught.value)
    assert "did you mean 'acelerator'" in str(caught.value)


def test_empty_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        read_published_runs(table(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_published_runs(tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("H100-SXM", "H100-SXM"),
        ("h100_sxm5", "H100-SXM"),
        ("h100-80gb-pcie", "H100-PCIe"),
        ("NVIDIA H100-NVL-94GB", "H100-NVL"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB-SXM"),
        ("T4-16GB", "T4"),
        ("Tesla V100-SXM2-32GB", "V100-32GB-SXM"),
        ("ascend910b4", "Ascend-910B4"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_accelerators_by_other_spellings(name: str, meant: str) -> None:
    found = named_accelerator(name)
    assert not isinstance(found, str), found
    assert found.name == meant


@pytest.mark.parametrize("name", ["H20-141GB", "MI250", "Jetson Orin", "PCIe", "80GB", "GPU"])
def test_a_type_that_only_resembles_one_is_unknown(name: str) -> None:
    assert "unknown accelerator" in str(named_accelerator(name))
