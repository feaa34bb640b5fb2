"""The command line: exit codes, stable fields, and what goes to which stream."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_inputs import SMALL_TOPOLOGY, SMALL_WORKLOAD

from scheduler.cli import main
from scheduler.core.ledger import Cause

Call = Callable[..., tuple[int, str, str]]

RUN_FIELDS = (
    *("policy", "seed", "replays", "information", "horizon_s", "accelerator_s"),
    *("idle_fraction", "waste_fraction", "ledger", "by_type", "mean_jct_s", "p99_jct_s"),
    *("makespan_s", "mean_queueing_s", "jobs", "bound", "violations"),
)


class TestRun:
    def test_json_has_the_stable_fields_and_balances(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        code, out, _ = call("run", *small_files, "--policy", "srtf", "--json")
        assert code == 0
        data = json.loads(out)
        assert tuple(data)[: len(RUN_FIELDS)] == RUN_FIELDS
        assert list(data["ledger"]) == [c.label for c in Cause]
        assert list(data["jobs"]) == ["finished", "running", "waiting", "rejected"]
        assert (data["policy"], data["seed"], data["replays"]) == ("srtf", 0, 1)
        assert data["information"] == "exact"
        assert data["jobs"] == {"finished": 40, "running": 0, "waiting": 0, "rejected": 0}
        assert data["violations"] == 0
        assert sum(data["ledger"].values()) == pytest.approx(data["accelerator_s"], rel=1e-12)
        assert data["accelerator_s"] == pytest.approx(32 * data["horizon_s"], rel=1e-9)
        assert set(data["by_type"]) == {"A100-80GB-SXM", "T4"}
        for cause, amount in data["ledger"].items():
            parts = [row[cause] for row in data["by_type"].values()]
            assert sum(parts) == pytest.approx(amount, abs=1e-6)
        assert 0 < data["idle_fraction"] < data["waste_fraction"] < 1
        assert 0 < data["bound"] <= data["mean_jct_s"] <= data["p99_jct_s"] <= data["makespan_s"]

    def test_the_same_command_prints_the_same_bytes(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        args = ("run", *small_files, "--policy", "srtf", "--replays", "3", "--json")
        first = call(*args, "--executor", "local")
        assert first == call(*args, "--executor", "local")
        assert first[:2] == call(*args, "--executor", "processes")[:2]

    def test_several_replays_get_noise_and_intervals(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        args = ("run", *small_files, "-p", "fifo", "-n", "4", "--seed", "5", "--executor", "local")
        _, out, _ = call(*args, "--json")
        data = json.loads(out)
        assert (data["seed"], data["replays"], data["inputs"]["noise_sigma"]) == (5, 4, 0.1)
        low, high = data["intervals"]["mean_jct_s"]
        assert low < data["mean_jct_s"] < high
        _, out, _ = call(*args, "--noise", "0", "--json")
        data = json.loads(out)
        assert data["intervals"]["mean_jct_s"] == pytest.approx([data["mean_jct_s"]] * 2)

    def test_load_scales_arrivals(self, call: Call, small_files: tuple[Path, Path]) -> None:
        _, out, _ = call("run", *small_files, "-p", "fifo", "--load", "0.25", "--json")
        assert json.loads(out)["inputs"]["offered_load"] == pytest.approx(0.25)

    def test_horizon_cuts_the_run(self, call: Call, small_files: tuple[Path, Path]) -> None:
        _, out, _ = call("run", *small_files, "-p", "fifo", "--horizon", "2 h", "--json")
        data = json.loads(out)
        assert data["horizon_s"] == 7200
        assert data["jobs"]["running"] > 0

    def test_tables_name_every_cause_that_occurs_and_the_verdict(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        code, out, err = call("run", *small_files, "--policy", "fifo", "--plot")
        assert code == 0
        assert err == ""
        assert "small: 32 accelerators (16 A100-80GB-SXM, 16 T4)" in out
        assert "forty: 40 jobs" in out
        assert "information exact: policies know the true remaining work" in out
        for word in ("mean JCT", "bound", "gap", "productive", "no_demand", "waste", "T4"):
            assert word in out
        assert "= productive" in out
        assert "1 run verified: no violations, ledgers balance." in out
        assert "\x1b" not in out  # plain when piped

    def test_where_ray_does_not_start_the_replays_run_here_unless_ray_was_asked_for(
        self, call: Call, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from scheduler.execute import ExecutionError

        def broken(store_bytes: int) -> None:
            raise ExecutionError("Ray does not start here (no room)")

        monkeypatch.setattr("scheduler.execute.on_ray._start", broken)
        args = ("run", *small_files, "-p", "fifo", "-n", "2", "--json")
        code, out, err = call(*args)
        assert (code, json.loads(out)["replays"]) == (0, 2)
        assert err == "Ray does not start here (no room): running the replays in this process\n"
        code, out, err = call(*args, "--executor", "ray")
        assert (code, out, err) == (2, "", "fleetfit: Ray does not start here (no room)\n")

    def test_jobs_that_cannot_run_are_explained_on_standard_error(
        self, call: Call, tmp_path: Path
    ) -> None:
        text = SMALL_WORKLOAD.replace("accelerators: [T4]", "memory: 40 GiB, accelerators: [T4]")
        topology, workload = written(tmp_path, SMALL_TOPOLOGY, text)
        code, out, err = call("run", topology, workload, "-p", "fifo", "--json")
        assert code == 0
        assert json.loads(out)["jobs"]["rejected"] == 18
        assert "18 jobs of class tiny can never run here" in err


class TestCompare:
    def test_json_is_one_result_per_policy_with_paired_differences(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        code, out, _ = call(
            *("compare", *small_files, "--policies", "fifo,srtf,best_fit"),
            *("--replays", "3", "--executor", "local", "--json"),
        )
        assert code == 0
        data = json.loads(out)
        assert list(data) == ["results"]
        assert [r["policy"] for r in data["results"]] == ["fifo", "srtf", "best_fit"]
        assert all(tuple(r)[: len(RUN_FIELDS)] == RUN_FIELDS for r in data["results"])
        first, second, _ = data["results"]
        assert first["against"] is None
        against = second["against"]
        assert against["policy"] == "fifo"
        change = against["mean_jct_s"]["difference"]
        assert change == pytest.approx(second["mean_jct_s"] - first["mean_jct_s"])
        low, high = against["mean_jct_s"]["interval"]
        assert against["mean_jct_s"]["significant"] == (low > 0 or high < 0)

    def test_the_level_of_information_and_the_pairing_are_said(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        code, out, _ = call(
            *("compare", *small_files, "-p", "fifo,srtf", "--information", "none"),
            *("-n", "2", "--executor", "local"),
        )
        assert code == 0
        assert "information none: policies know only the service attained so far" in out
        assert "Paired over 2 seeds" in out


class TestSavedRuns:
    def test_a_saved_run_verifies_and_a_damaged_one_does_not(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        saved = tmp_path / "run.json"
        code, _, err = call("run", *small_files, "-p", "fifo", "-o", saved)
        assert code == 0
        assert err == f"saved 1 run in {saved}\n"
        assert call("verify", *small_files, saved)[:2] == (
            0,
            "1 verified: no violations, ledgers balance\n",
        )
        data = json.loads(saved.read_text())
        data["allocations"]["nodes"][0] = data["allocations"]["nodes"][1]
        saved.write_text(json.dumps(data))
        code, out, _ = call("verify", *small_files, saved, "--json")
        assert code == 1
        assert json.loads(out)["violations"]

    def test_a_comparison_is_saved_as_a_folder(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        args = ("compare", *small_files, "-p", "fifo,srtf", "-n", "2", "--executor", "local")
        code, _, _ = call(*args, "-o", tmp_path / "runs")
        assert code == 0
        files = sorted((tmp_path / "runs").iterdir())
        assert [f.name for f in files] == [
            *("fifo-0.json", "fifo-1.json", "srtf-0.json", "srtf-1.json")
        ]
        assert call("verify", *small_files, *files)[0] == 0

    def test_other_inputs_are_noticed(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        saved = tmp_path / "run.json"
        call("run", *small_files, "-p", "fifo", "-o", saved)
        code, _, err = call("verify", *small_files, saved, "--load", "0.3")
        assert code == 1
        assert "run.json was made from other inputs than these" in err


def bad_inputs() -> dict[str, tuple[str, str, str]]:
    """Topology, workload, and what the one message must say."""
    good, jobs = SMALL_TOPOLOGY, SMALL_WORKLOAD
    return {
        "missing field": (good.replace("accelerator: T4, ", ""), jobs, "pods[0].nodes[1]"),
        "unknown accelerator": (
            good.replace("A100-80GB-SXM", "A100-80G-SXM"),
            jobs,
            "did you mean 'A100-80GB-SXM'?",
        ),
        "gang too large": (good, jobs.replace("gang: 16", "gang: 1600"), "larger than the cluster"),
        "duplicate key": (good.replace("pods:", "title: again\npods:"), jobs, "title"),
        "negative duration": (good, jobs.replace("run_time: 2 h", "run_time: -2 h"), "negative"),
        "not a number": (good, jobs.replace("run_time: 2 h", "run_time: .nan h"), "run_time"),
    }


class TestBadInput:
    @pytest.mark.parametrize("case", bad_inputs())
    def test_one_message_exit_2_no_traceback(self, call: Call, tmp_path: Path, case: str) -> None:
        topology, workload, expected = bad_inputs()[case]
        code, out, err = call("run", *written(tmp_path, topology, workload), "-p", "fifo")
        assert code == 2
        assert out == ""
        assert expected in err
        assert "Traceback" not in err
        assert len(err.splitlines()) == 1

    def test_empty_trace_and_truncated_gzip(
        self, call: Call, small_files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        empty, cut = tmp_path / "empty.csv", tmp_path / "cut.csv.gz"
        empty.write_text("")
        packed = gzip.compress(b"gang,run_time_s,release_s\n" + b"1,60,0\n" * 5000)
        cut.write_bytes(packed[: len(packed) // 2])
        for path in (empty, cut):
            code, out, err = call("run", small_files[0], path, "-p", "fifo")
            assert (code, out) == (2, "")
            assert str(path) in err
            assert len(err.splitlines()) == 1

    def test_all_faults_of_both_files_in_one_pass(self, call: Call, tmp_path: Path) -> None:
        files = written(
            tmp_path,
            SMALL_TOPOLOGY.replace("T4", "T44").replace("pue: 1.2", "pue: 0.2"),
            SMALL_WORKLOAD.replace("gang: 4", "gang: 0"),
        )
        code, _, err = call("run", *files, "-p", "fifo")
        assert code == 2
        assert len(err.splitlines()) == 3
        assert call("validate", *files)[0] == 2

    def test_all_faults_of_the_options_in_one_pass(
        self, call: Call, small_files: tuple[Path, Path]
    ) -> None:
        code, _, err = call(
            *("compare", *small_files, "-p", "fifo,srft,fifo", "--information", "exakt"),
            *("--executor", "raye", "--horizon", "3"),
        )
        assert code == 2
        assert "--policies: unknown policy, got 'srft'" in err
        assert "did you mean 'srtf'?" in err
        assert "--policies: named twice, got 'fifo'" in err
        assert "did you mean 'exact'?" in err
        assert "did you mean 'ray'?" in err
        assert "--horizon: a time needs a unit, got '3'" in err

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            (("--address", "127.0.0.1:1"), "--address: no Ray cluster answers there"),
            (("--load", "-1"), "load must be positive"),
            (("--select", "cluster"), "--select: not of the form KEY=VALUE"),
            (("-n", "2", "-o", "one.json"), "--output: several runs need a folder"),
            (("-o", "/proc/no/such"), "/proc"),
            (("--executor", "local", "--address", "a:1"), "--address: goes with --executor ray"),
        ],
    )
    def test_bad_options(
        self,
        call: Call,
        small_files: tuple[Path, Path],
        option: tuple[str, ...],
        message: str,
    ) -> None:
        code, _, err = call("run", *small_files, "-p", "fifo", *option)
        assert code == 2
        assert message in err
        assert "Traceback" not in err

    def test_unknown_names_and_options(self, call: Call) -> None:
        code, _, err = call("run", "demo-mixt", "demo-day", "-p", "fifo")
        assert code == 2
        assert "did you mean 'demo-mixed'?" in err
        assert call("run", "demo-mixed", "demo-day", "--polcy", "fifo")[0] == 2
        assert call("list", "topologys")[0] == 2

    def test_debug_shows_where(
        self, monkeypatch: pytest.MonkeyPatch, small_files: tuple[Path, Path]
    ) -> None:
        from scheduler.core.errors import InputError

        args = ["fleetfit", "run", *map(str, small_files), "-p", "none", "--debug"]
        monkeypatch.setattr(sys, "argv", args)
        with pytest.raises(InputError):
            main()

    def test_a_fault_of_ours_is_no_traceback(
        self, call: Call, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr("scheduler.commands.playing.replay", broken)
        code, out, err = call("run", *small_files, "-p", "fifo")
        assert (code, out) == (70, "")
        assert "a fault in fleetfit, please report it: ZeroDivisionError: oops" in err
        assert "Traceback" not in err


class TestHostileNames:
    def test_control_characters_never_reach_the_terminal(self, call: Call, tmp_path: Path) -> None:
        hostile = '"x\\x1b]0;owned\\x07\\u202e"'
        topology = SMALL_TOPOLOGY.replace("name: west", f"name: {hostile}")
        workload = SMALL_WORKLOAD.replace("name: mid", f"name: {hostile}")
        files = written(tmp_path, topology, workload)
        evil = tmp_path / "evil\x1b[2J.yaml"
        evil.write_text(SMALL_TOPOLOGY)
        for args in (
            ("run", *files, "-p", "fifo"),
            ("run", evil, tmp_path / "no\x1b[31m.yaml", "-p", "fifo"),
            ("run", evil, files[1], "-p", "fi\x1bfo"),
            ("validate", evil, *files, tmp_path / "no\x1b[31m.yaml"),
        ):
            code, out, err = call(*args)
            assert code == 2
            assert not set(out + err) & set("\x1b\x07\u202e")

    def test_markup_in_names_is_shown_as_it_is(self, call: Call, tmp_path: Path) -> None:
        topology, workload = written(tmp_path, SMALL_TOPOLOGY, SMALL_WORKLOAD)
        named = topology.rename(tmp_path / "[red]fleet[_red].yaml")
        code, out, _ = call("run", named, workload, "-p", "fifo")
        assert code == 0
        assert "[red]fleet[_red]: 32 accelerators" in out


class TestListAndHelp:
    @pytest.mark.parametrize(
        ("what", "name"),
        [
            ("policies", "optimizer"),
            ("topologies", "demo-mixed"),
            ("workloads", "demo-day"),
            ("accelerators", "Ascend-910B"),
            ("models", "llama-3-70b"),
            ("traces", "philly"),
        ],
    )
    def test_list(self, call: Call, what: str, name: str) -> None:
        code, out, _ = call("list", what)
        assert code == 0
        assert name in out
        code, out, _ = call("list", what, "--json")
        rows = json.loads(out)[what]
        assert name in [next(iter(row.values())) for row in rows]

    @pytest.mark.parametrize("command", ["run", "compare", "validate", "verify", "list", "demo"])
    def test_help_has_an_example(self, call: Call, command: str) -> None:
        code, out, _ = call(command, "--help")
        assert code == 0
        assert f"fleetfit {command}" in out
        assert "--debug" not in out

    def test_version(self, call: Call) -> None:
        import scheduler

        assert call("--version") == (0, f"fleetfit {scheduler.__version__}\n", "")

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; sys.argv = ['fleetfit', '--help']\n"
            "from scheduler.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'ray', 'ortools', 'networkx', 'pandas', 'numpy', 'pydantic', 'yaml'}\n"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stderr.strip() == "[]"


class TestStreams:
    def test_module_and_command_are_the_same_and_progress_stays_off_standard_output(
        self, small_files: tuple[Path, Path]
    ) -> None:
        args = ["run", *map(str, small_files), "-p", "srtf", "--json"]
        script = Path(sys.executable).with_name("fleetfit")
        environment = {**os.environ, "PYTHONHASHSEED": "3", "TZ": "Asia/Tokyo"}
        outputs = [
            subprocess.run(
                [*command, *args], capture_output=True, text=True, check=True, env=environment
            )
            for command in ([str(script)], [sys.executable, "-m", "scheduler"])
        ]
        assert outputs[0].stdout == outputs[1].stdout
        assert json.loads(outputs[0].stdout)["policy"] == "srtf"

    def test_a_closed_pipe_is_quiet(self) -> None:
        done = subprocess.run(
            f"{sys.executable} -m scheduler list accelerators | head -n 1; "
            'echo "${PIPESTATUS[0]}"',
            shell=True,
            executable="/bin/bash",
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        assert done.stdout.strip().splitlines()[-1] in ("0", "141")  # all fitted, or cut

    def test_progress_is_drawn_on_standard_error_only(
        self,
        call: Call,
        small_files: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the streams for terminals
        monkeypatch.setenv("TTY_INTERACTIVE", "1")
        args = ("run", *small_files, "-p", "fifo", "-n", "3", "--executor", "local", "--json")
        code, out, err = call(*args)
        assert code == 0
        assert json.loads(out)["replays"] == 3
        assert "3/3" in err

    def test_no_color_is_respected(
        self,
        call: Call,
        small_files: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        _, coloured, _ = call("run", *small_files, "-p", "fifo")
        monkeypatch.setenv("NO_COLOR", "1")
        _, plain, _ = call("run", *small_files, "-p", "fifo")
        assert "\x1b[31m" in coloured
        assert "\x1b[31m" not in plain

    @pytest.mark.slow
    def test_interrupt_stops_tidily(self, small_files: tuple[Path, Path]) -> None:
        args = ["compare", "demo-mixed", "demo-day", "-n", "200", "--executor", "processes"]
        process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 2:  # until the workers have been started
            time.sleep(0.1)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert out == ""
        assert err.splitlines()[-1] == "fleetfit: stopped"
        assert "Traceback" not in err


def written(folder: Path, topology: str, workload: str) -> tuple[Path, Path]:
    paths = folder / "topology.yaml", folder / "workload.yaml"
    paths[0].write_text(topology)
    paths[1].write_text(workload)
    return paths
