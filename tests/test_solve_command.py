"""`fleetfit solve`: what it prints, saves and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_inputs import SMALL_TOPOLOGY

import scheduler
from scheduler.io import read_json, read_run, schedule_from_json
from scheduler.verify import verify_run, verify_schedule

Call = Callable[..., tuple[int, str, str]]

EIGHT = """\
schema: workload/1
title: Eight jobs
classes:
  - {name: big, run_time: {reference: A100-80GB-SXM}, gang: 16, accelerators: [A100-80GB-SXM]}
  - {name: mid, run_time: {reference: A100-80GB-SXM}, gang: 4, accelerators: [A100-80GB-SXM]}
  - {name: own, run_time: {reference: T4}, gang: 8, accelerators: [T4]}
jobs:
  - {id: b, class: big, run_time: 2 h, release: 10 min, every: 3 h, count: 2}
  - {id: m, class: mid, run_time: 1 h, release: 0 s, every: 20 min, count: 3}
  - {id: t, class: own, run_time: 1 h, release: 5 min, every: 15 min, count: 3}
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("eight")
    (folder / "fleet.yaml").write_text(SMALL_TOPOLOGY)
    (folder / "eight.yaml").write_text(EIGHT)
    return folder / "fleet.yaml", folder / "eight.yaml"


def test_a_small_case_is_proved_saved_and_read_back(
    call: Call, eight: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = tmp_path / "new" / "one.json", tmp_path / "two.json"
    code, out, err = call("solve", *eight, "--objective", "makespan", "--json", "-o", one)
    assert code == 0, err
    found = json.loads(out)
    assert found["status"] == "optimal"
    assert found["mode"] == "repeatable"
    assert found["general_bound"] <= found["bound"] <= found["value"] <= found["began_at"]
    for row in found["policies"]:  # no policy that does not preempt is better
        assert row["preempts"] or found["value"] <= row["objective"] * (1 + 1e-9)
    code, again, _ = call("solve", *eight, "--objective", "makespan", "--json", "-o", two)
    assert code == 0
    assert again == out
    assert one.read_bytes() == two.read_bytes()
    problem = scheduler.load(*eight)
    run = read_run(one)  # as verify, explain, report and execute read it
    assert not verify_run(problem, run)
    data = read_json(one)
    assert isinstance(data, dict)
    schedule = schedule_from_json(data["schedule"])
    assert not verify_schedule(problem, schedule)
    assert schedule.objective == found["value"]
    assert {a.job: a.end_us for a in schedule.allocations} == dict(run.finished_us)
    assert call("verify", *eight, one)[0] == 0


def test_the_text_says_what_holds_for_what(call: Call, eight: tuple[Path, Path]) -> None:
    code, out, err = call("solve", *eight, "--time-limit", "2 s", "--objective", "energy")
    assert code == 0, err
    text = " ".join(out.split())
    assert "8 of 8 jobs" in text
    assert "each job once, in one mode" in text
    assert "no schedule at all, preempting or not, is below" in text


def test_a_larger_case_is_at_least_as_good_as_the_policies(
    call: Call, small_files: tuple[Path, Path]
) -> None:
    code, out, err = call("solve", *small_files, "--time-limit", "0.5 s", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["planned"] == 40
    assert found["bound"] <= found["value"]
    for row in found["policies"]:
        assert row["preempts"] or found["value"] <= row["objective"] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--objective", "makspan"), "did you mean 'makespan'?"),
        (("--objective", "tardiness"), "needs jobs with a deadline"),
        (("--time-limit", "soon"), "--time-limit"),
        (("--time-limit", "0 s"), "--time-limit"),
        (("--time-limit", "-3 s"), "--time-limit"),
        (("--time-limit", "99999 h"), "at most 24 h"),
        (("--load", "nan"), "fleetfit: "),
        (("--objective", "makespan:lots"), "no tolerance"),
        (("--objective", "makespan:-5%"), "no tolerance"),
        (("--objective", "makespan:100%"), "no tolerance"),
        (("--objective", "energy", "--objective", "energy:5%"), "named twice"),
        (("--meet-deadlines",), "no deadlines to meet"),
    ],
)
def test_bad_options_give_one_message(
    call: Call, eight: tuple[Path, Path], words: tuple[str, str], message: str
) -> None:
    code, out, err = call("solve", *eight, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_every_fault_of_the_options_is_told_at_once(call: Call, eight: tuple[Path, Path]) -> None:
    code, _, err = call("solve", *eight, "--objective", "x", "--time-limit", "y")
    assert code == 2
    assert "--objective" in err
    assert "--time-limit" in err


def test_the_first_objective_leads(call: Call, eight: tuple[Path, Path]) -> None:
    words = ("--objective", "makespan:10%", "--objective", "mean_jct", "--time-limit", "2 s")
    code, out, err = call("solve", *eight, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    lead, then = found["objectives"]
    assert (lead["objective"], lead["tolerance"]) == ("makespan", 0.1)
    assert lead["best"] <= lead["value"] <= 1.1 * lead["best"] * (1 + 1e-9)
    assert then["value"] == then["best"]
    assert found["objective"] == "makespan"
    code, out, err = call("solve", *eight, *words)
    assert code == 0, err
    assert "least makespan" in out
    assert "least mean_jct" in out


def test_what_is_maximised_has_its_bound_above(
    call: Call, eight: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ("--objective", "throughput", "--time-limit", "2 s", "--json")
    code, out, err = call("solve", *eight, *words, "-o", tmp_path / "t.json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["goal"], found["unit"]) == ("max", "jobs/h")
    assert found["value"] <= found["bound"] <= found["general_bound"]
    assert call("verify", *eight, tmp_path / "t.json")[0] == 0


DUE = EIGHT.replace("every: 20 min, count: 3}", "every: 20 min, count: 3, deadline: 90 min}")


def test_deadlines_that_cannot_be_met_are_told_with_what_is_in_the_way(
    call: Call, eight: tuple[Path, Path], tmp_path: Path
) -> None:
    table = tmp_path / "due.yaml"
    table.write_text(DUE.replace("deadline: 90 min", "deadline: 45 min"))
    code, out, err = call("solve", eight[0], table, "--meet-deadlines", "--time-limit", "5 s")
    assert (code, out) == (1, "")
    assert "a minimal set" in err
    assert "deadline of job m" in err
    assert "capacity of T4" not in err
    code, _, err = call("solve", eight[0], table, "--time-limit", "2 s")
    assert code == 0, err


def test_a_schedule_that_preempts_is_carried_out_and_saved(
    call: Call, small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Unless each job has to run once; then it is only named."""
    path = tmp_path / "run.json"
    words = ("--time-limit", "1 s", "--json")
    code, out, err = call("solve", *small_files, *words, "-o", path)
    assert code == 0, err
    free = json.loads(out)
    assert call("verify", *small_files, path)[0] == 0
    code, out, err = call("solve", *small_files, *words, "--once")
    assert code == 0, err
    once = json.loads(out)
    assert once["schedules"] == "non-preemptive"
    assert once["preemptions"] == 0
    assert free["value"] <= min(row["objective"] for row in free["policies"]) * (1 + 1e-9)


def test_services_are_refused(call: Call) -> None:
    code, _, err = call("solve", "demo-mixed", "train-and-serve")
    assert code == 2
    assert "services" in err


def test_a_job_that_cannot_keep_its_limit_is_named(
    call: Call, eight: tuple[Path, Path], tmp_path: Path
) -> None:
    table = tmp_path / "limits.yaml"
    table.write_text(EIGHT.replace("{id: b, class: big,", "{id: b, class: big, limit: 1 min,"))
    code, out, err = call("solve", eight[0], table)
    assert (code, out) == (1, "")
    assert "its time limit is 60 s" in err


def test_jobs_without_a_mode_are_left_out_by_name(
    call: Call, eight: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(EIGHT.replace("accelerators: [T4]", "accelerators: [H100-SXM]"))
    code, out, err = call("solve", eight[0], other, "--time-limit", "1 s", "--json")
    assert code == 0, err
    assert json.loads(out)["planned"] == 5
    assert "left out, can never run here: t-0" in err or "left out, can never run here: t" in err
