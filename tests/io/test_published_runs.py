"""Tables of published training runs: what is read, what is refused."""

from pathlib import Path

import pytest

from scheduler.core.errors import InputError
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


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, "a,T4,fp16,zero,7,-1", "b,T4,fp16,512,,1")
    with pytest.raises(InputError) as caught:
        read_published_runs(path)
    places = {f.path for f in caught.value.faults}
    assert places == {
        "row a: seq_len",
        "row a: tokens_per_s_per_device",
        "row b: params_total_b",
    }


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision") as caught:
        read_published_runs(table(tmp_path, header="accelerator,seq_len"))
    assert "params_total_b or params_active_b" in str(caught.value)


def test_empty_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        read_published_runs(table(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_published_runs(tmp_path)
