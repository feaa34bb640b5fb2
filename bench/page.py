"""The page of a run of 20,000 jobs on 4,096 accelerators: size, first picture, filters.

The run (`page_fleet.yaml`, `page_jobs.yaml` beside this file) is simulated and written as a
page, which a headless Chromium opens; the browser's own clock says when the first picture
stood and how long each of a dozen filters took. Limits: 3 MB, 1 s, 100 ms.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Run

FLEET: Final = Path(__file__).with_name("page_fleet.yaml")
JOBS: Final = Path(__file__).with_name("page_jobs.yaml")
DRIVER: Final = Path(__file__).parents[1] / "tests" / "browser" / "chromium.py"
HORIZON_S: Final = 4 * 86_400.0
LIMITS: Final = {"bytes": 3_000_000, "first_picture_ms": 1000.0, "filter_p95_ms": 100.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this bench's options."""
    parser.add_argument("--policy", default="fifo", help="see 'fleetfit list policies'")
    parser.add_argument("--openings", type=int, default=5, help="times the page is opened")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Simulate, write, open, filter."""
    import scheduler
    from scheduler.report.page import write_page

    driver = _driver()
    if driver.find() is None:
        message = "no Chromium on the path"
        raise InputError([Fault(message, "page", allowed="apt-get install chromium")])
    problem = scheduler.load(FLEET, JOBS)
    played = scheduler.simulate(problem, arguments.policy, horizon_s=HORIZON_S)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        start_s = time.process_time()
        write_page(_contents(problem, played), path)
        seconds = time.process_time() - start_s
        size = path.stat().st_size
        pictures, filters = _looked_at(driver, path, arguments.openings)
    found = {"bytes": float(size), "first_picture_ms": pictures, "filter_p95_ms": filters}
    return {
        "bench": "page",
        "jobs": len(problem.workload.jobs),
        "accelerators": problem.cluster.accelerator_count,
        "allocations": len(played.allocations),
        "written_s": seconds,
        "cases": [
            {"case": arguments.policy, "metric": name, "ours": value, "bound": LIMITS[name]}
            for name, value in found.items()
        ],
        "machine": machine_facts(),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return the lines that people read."""
    lines = [
        f"{result['jobs']:,} jobs, {result['accelerators']:,} accelerators, "
        f"{result['allocations']:,} allocations; page written in {result['written_s']:.1f} s"
    ]
    for case in result["cases"]:
        verdict = "within" if case["ours"] <= case["bound"] else "ABOVE"
        lines.append(f"{case['metric']}: {case['ours']:,.0f}, {verdict} {case['bound']:,.0f}")
    return lines


def _driver() -> ModuleType:
    """Return the module that drives Chromium, which the tests use too."""
    if not DRIVER.is_file():
        raise InputError([Fault("needs a checkout, with its tests", str(DRIVER))])
    found = importlib.util.spec_from_file_location("bench_chromium", DRIVER)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def _contents(problem: Problem, played: Run) -> Any:
    from scheduler.core.bounds import lower_bounds
    from scheduler.core.metrics import metrics_of
    from scheduler.execute import ReplayResult
    from scheduler.execute.cell import Cell
    from scheduler.report import summarise
    from scheduler.report.page import Group, Origin, contents_of

    result = ReplayResult(
        Cell(played.policy, played.seed),
        "exact",
        played.ledger_end_us,
        played.horizon_us,
        metrics_of(problem, played),
        played.ledger,
        lower_bounds(problem, played.actual_work, sorted(played.finished_us)),
        (),
    )
    return contents_of(
        [Group("", summarise([result]))],
        Origin("python -m bench page"),
        title="The page bench",
        problem=problem,
        runs=[played],
    )


def _looked_at(driver: ModuleType, path: Path, openings: int) -> tuple[float, float]:
    """Return the median first picture and the 95th percentile of filters, in milliseconds."""
    pictures, filters = [], []
    with driver.Chromium() as browser:
        for _ in range(openings):
            page = browser.page()
            page.view(1366, 768)
            page.open(path)
            pictures.append(float(page.run("document.body.dataset.pictureMs")))
            for section in ("overview", "idle", "schedule", "fleet"):
                page.run(f"document.getElementById('{section}').scrollIntoView()")
                page.until("document.body.dataset.settled")
                for cause in json.loads(page.run(CAUSES)):
                    page.run(f"document.querySelector('[data-cause={cause}]').click()")
                    filters.append(float(page.run("document.body.dataset.filterMs")))
                    page.until("document.body.dataset.settled")
            page.close()
    return sorted(pictures)[len(pictures) // 2], sorted(filters)[int(0.95 * len(filters))]


CAUSES: Final = (
    "JSON.stringify([...document.querySelectorAll('[data-cause]')].map((e) => e.dataset.cause))"
)
