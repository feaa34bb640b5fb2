"""A policy of one's own from a file: as the docs say, and with clear words where it fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import scheduler as sch
from scheduler.core.errors import InputError
from scheduler.core.run import Run
from scheduler.policies import known, make, origin
from scheduler.simulate import simulate

DOCS = Path(__file__).resolve().parents[2] / "docs" / "policies.md"
Call = Callable[..., tuple[int, str, str]]
SAME = "fifo+greedy+best_fit"


def documented() -> str:
    found = re.search(
        r"^<!-- test:policy -->\n```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S
    )
    assert found
    return found[1]


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_policy.py"
    path.write_text(documented())
    return path


def outcome(run: Run) -> tuple[object, ...]:
    return (run.allocations, run.finished_us, run.ledger.amount_us.tolist())


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_the_documented_policy_competes(policy: Path, executor: str) -> None:
    problem = sch.load("demo-mixed", "demo-day")
    names = [f"{policy.name}:WidestFirst", "fifo"]
    found = sch.compare(problem, names, replays=2, executor=executor)
    assert [summary.policy for summary in found] == names
    run = sch.simulate(problem, names[0])
    assert not sch.verify(problem, run)


def test_it_is_what_it_says(policy: Path) -> None:
    """The same rule written in order of release is the built-in one."""
    text = documented().replace("(-view.modes(job)[0].count, job)", "job")
    policy.write_text(text)
    problem = sch.load("demo-mixed", "demo-day")
    mine, built_in = (simulate(problem, name) for name in (f"{policy}:WidestFirst", SAME))
    assert mine.finished_us == built_in.finished_us


def test_another_text_is_another_origin(policy: Path) -> None:
    """So that a sweep does not take up the results of what the policy was before."""
    name = f"{policy.name}:WidestFirst"
    first = origin(name)
    assert origin(name) == first
    policy.write_text(documented() + "\n# changed\n")
    assert origin(name) != first


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (None, "gone.py:Mine", "gone.py: cannot be read: No such file or directory"),
        ("class Mine:\n    def decide(self, view): ...\n", "p.py:Mime", "did you mean 'Mine'?"),
        ("class Mine: ...\n", "p.py:Mine", "not a policy"),
        ("x = 1\ny = x / 0\n", "p.py:Mine", "p.py:2: fails: ZeroDivisionError"),
        ("class Mine:\n  def decide(self view): ...\n", "p.py:Mine", "p.py:2: fails: SyntaxError"),
        (
            "class Mine:\n  def __init__(self):\n    {}[1]\n  def decide(self, view): ...\n",
            "p.py:Mine",
            "p.py:3: fails: KeyError",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    text: str | None, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "p.py").write_text(text)
    with pytest.raises(InputError) as caught:
        make(name)
    assert said in str(caught.value)


def test_a_decision_that_fails_names_the_line_and_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("class Mine:\n    def decide(self, view):\n        {}['a']\n")
    code, _, said = call("run", "demo-mixed", "demo-day", "--policy", "p.py:Mine")
    assert code == 2
    assert said.strip() == "fleetfit: p.py:3: fails: KeyError: 'a'"


def test_several_faults_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--policies", "a.py:A,b.py:B,fiffo")
    code, _, said = call("compare", "demo-mixed", "demo-day", *words)
    assert code == 2
    assert all(word in said for word in ("a.py: cannot be read", "b.py: cannot", "'fifo'"))


def test_files_of_inputs_cannot_name_code(policy: Path) -> None:
    assert not known(f"{policy.name}:WidestFirst")
