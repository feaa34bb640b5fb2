"""`fleetfit ui` and `fleetfit figure`: results looked at, and drawn for papers."""

from __future__ import annotations

import math
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scheduler.commands.options import Inputs, Replaying, load_problem, one_of
from scheduler.commands.page_server import Field, PageServer, Shelf
from scheduler.commands.printing import say
from scheduler.commands.reporting import page_of
from scheduler.core.errors import Fault, InputError
from scheduler.policies import known, names, nearest
from scheduler.report.words import slug

MOST_JOBS: Final = 5000
MOST_ACCELERATORS: Final = 2048
MOST_REPLAYS: Final = 5
MOST_LISTED: Final = 500
KEPT_PAGES: Final = 8


@dataclass(frozen=True, slots=True)
class Drawing:
    """Which figure of what, as written on the command line."""

    name: str
    words: Sequence[str]
    path: Path


def figure(drawing: Drawing, inputs: Inputs) -> int:
    """Write one figure and its data; return 1 if the verifier objects to a result."""
    from scheduler.report.figures import FIGURES, figure_of, write_figure
    from scheduler.report.figures.writing import check_format

    faults: list[Fault] = []
    one_of(drawing.name, tuple(FIGURES), "figure", faults)
    if faults:
        raise InputError(faults)
    check_format(drawing.path)
    contents, broken = page_of(drawing.words, inputs)
    data = write_figure(figure_of(drawing.name, contents), drawing.path)
    say(f"wrote {drawing.path} and {data}")
    return 1 if broken else 0


def ui(folder: Path, port: int, *, show: bool) -> int:
    """Serve the results of a folder on the loopback interface until Ctrl-C."""
    if not folder.is_dir():
        raise InputError([Fault("is no folder", "ui", value=str(folder))])
    try:
        server = PageServer(shelf_of(folder), port)
    except OSError as error:
        message = f"cannot listen there: {error.strerror}"
        raise InputError([Fault(message, "--port", value=str(port))]) from None
    with server:
        print(server.url, flush=True)
        say("serving on this machine only; whoever has the address sees it all. Ctrl-C ends it")
        if show:
            webbrowser.open(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("stopped")
    return 0


def shelf_of(folder: Path) -> Shelf:
    """Return what a folder has to offer: its runs, its folders of runs, its sweeps."""
    folder = folder.resolve()
    kept: dict[tuple[str, tuple[int, ...]], str] = {}

    def results() -> dict[str, str]:
        found = {}
        for path in sorted(folder.iterdir())[:MOST_LISTED]:
            if path.is_symlink() or path.name.startswith("."):
                continue
            if line := _line_on(path):
                found[path.name] = line
        return found

    def page(name: str) -> str:
        from scheduler.report.page import page_html

        if name not in results():
            raise InputError([Fault("is no longer there", name)])
        key = (name, _state_of(folder / name))
        if key not in kept:
            if len(kept) >= KEPT_PAGES:
                kept.clear()
            kept[key] = page_html(page_of([str(folder / name)], Inputs("", ""))[0])
        return kept[key]

    def start(form: Mapping[str, str]) -> str:
        return _play(form, folder)

    return Shelf(results, page, _fields(), start)


def _line_on(path: Path) -> str:
    """Return a line about a result, an empty one for what is none."""
    if path.is_dir():
        if (path / "grid.json").is_file():
            return "a sweep"
        runs = sum(1 for file in path.glob("*.json") if _is_run(file))
        return f"{runs} run{'' if runs == 1 else 's'}" if runs else ""
    return "one run" if path.suffix == ".json" and _is_run(path) else ""


def _state_of(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a result does."""
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    return tuple(n for file in files for n in (file.stat().st_mtime_ns, file.stat().st_size))


def _is_run(path: Path) -> bool:
    """Return whether a file says of itself that it is a run; only its end is read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 65536))
            return b'"schema":"run/1"' in stream.read()
    except OSError:
        return False


def _fields() -> list[Field]:
    from scheduler.io import list_topologies, list_workloads

    topologies = tuple(f.name for f in list_topologies())
    workloads = tuple(f.name for f in list_workloads())
    return [
        Field("topology", "Fleet", "lab-mixed-64", topologies),
        Field("workload", "Workload", "llm-lab", workloads),
        Field("policies", "Policies, joined by commas (also srtf+easy+worst_fit)", "fifo,srtf"),
        Field("replays", f"Replays (at most {MOST_REPLAYS})", "2"),
        Field("load", "Offered load (such as 0.9; empty: as it is)", ""),
    ]


def _play(form: Mapping[str, str], folder: Path) -> str:
    """Play what the form says, in this process, and save the runs; return the folder's name."""
    from scheduler.execute import fingerprint, replay
    from scheduler.io import list_topologies, list_workloads, write_run

    faults: list[Fault] = []
    topology = one_of(
        form.get("topology", ""), tuple(f.name for f in list_topologies()), "topology", faults
    )
    workload = one_of(
        form.get("workload", ""), tuple(f.name for f in list_workloads()), "workload", faults
    )
    wanted = [name.strip() for name in form.get("policies", "").split(",") if name.strip()]
    for name in wanted or [""]:
        if not known(name):
            allowed = f"{', '.join(names())}, or ORDER+ADMISSION+PLACEMENT"
            faults.append(Fault("unknown policy", "policies", "", name, allowed, nearest(name)))
    replays = _number(form.get("replays", ""), "replays", 1, MOST_REPLAYS, faults)
    load = form.get("load", "").strip()
    offered = _number(load, "load", 0.01, 10, faults) if load else None
    if faults:
        raise InputError(faults)
    problem = load_problem(Inputs(topology, workload, offered))
    for what, size, most in (
        ("jobs", len(problem.workload.jobs), MOST_JOBS),
        ("accelerators", problem.cluster.accelerator_count, MOST_ACCELERATORS),
    ):
        if size > most:
            text = f"{size} {what} are too many for a small run; use the command line"
            faults.append(Fault(text, "form", allowed=f"at most {most}"))
    if faults:
        raise InputError(faults)
    noise_sigma = Replaying(int(replays), 0, None, "exact", None, "run", None, None).noise_sigma
    results = replay(
        problem,
        list(dict.fromkeys(wanted)),
        range(int(replays)),
        executor="local",
        noise_sigma=noise_sigma,
        keep_runs=True,
    )
    place = _free_name(folder, slug(f"{topology}-{workload}"))
    place.mkdir()
    made_from: dict[str, object] = {
        "topology": topology,
        "workload": workload,
        "noise_sigma": noise_sigma,
        "problem": fingerprint(problem),
    }
    if offered is not None:
        made_from["load"] = offered
    for result in results:
        assert result.run is not None
        file = place / f"{slug(result.cell.policy)}-{result.cell.seed}.json"
        write_run(result.run, file, made_from)
    return place.name


def _number(text: str, field: str, least: float, most: float, faults: list[Fault]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        allowed = f"{least:g} to {most:g}"
        faults.append(Fault("not a number in range", field, value=text, allowed=allowed))
        return least
    return value


def _free_name(folder: Path, name: str) -> Path:
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"
