"""What `import scheduler` offers, and that it stays light and unambiguous."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scheduler

PUBLIC = [
    *("FleetfitError", "InfeasibleError", "InputError", "PolicyError", "__version__"),
    *("compare", "load", "simulate", "verify"),
]


def test_the_public_names_are_these() -> None:
    assert scheduler.__all__ == PUBLIC
    assert dir(scheduler) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_loads_and_is_documented(name: str) -> None:
    member = getattr(scheduler, name)
    assert member.__doc__


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'slove'"):
        _ = scheduler.slove


def test_the_version_is_that_of_the_distribution() -> None:
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())["project"]
    assert scheduler.__version__ == project["version"]


def test_functions_stay_callable_whichever_room_is_imported_first() -> None:
    """`simulate` and `verify` are functions here and rooms too."""
    code = (
        "import scheduler.verify, scheduler.simulate.engine as engine\n"
        "import scheduler as sch\n"
        "problem = sch.load('lab-mixed-64', 'philly-like')\n"
        "run = sch.simulate(problem, 'fifo')\n"
        "assert sch.verify(problem, run) == []\n"
        "from scheduler import simulate\n"
        "assert simulate(problem, 'fifo').ledger.total_us() == run.ledger.total_us()\n"
        "assert engine.Engine\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_light() -> None:
    code = "import sys, scheduler; print(len([m for m in sys.modules if m.startswith('numpy')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
