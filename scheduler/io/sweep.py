"""Sweep files, ``schema: sweep/1``: a grid of clusters, workloads, policies, seeds, scenarios.

A sweep file is YAML. All of it::

    schema: sweep/1
    title: Four policies on two fleets        # one line for people
    clusters: [demo-mixed, my-fleet.yaml]     # shipped names, or files in this folder or below
    workloads:
      - demo-day
      - {file: jobs.csv.gz, name: march, format: philly, select: {cluster: ee9e8c},
         since: 2 d, until: 9 d, profile: lab.csv, reference: T4}    # all but file is optional
    policies: [fifo, srtf+easy, optimizer]    # the others are set against the first
    seeds: 8                                  # 0 to 7, or {first: 100, count: 8}, or [3, 1, 4]

    scenarios:                                # optional; by default one, as the files say
      - name: calm                            # everything from here is optional
        noise: 0.3                            # log standard deviation of work; default 0.1
        information: estimates                # exact (default), estimates or none
        load: 0.9                             # arrivals scaled to this share of the fleet
        failures: {node_mtbf: 10 d, repair: 4 h, repair_sigma: 0.8}    # or none
        horizon: 3 d                          # default: when the last job has ended
        account: arrivals                     # period of the ledger: run (default), arrivals
    until: {metric: mean_jct_s, relative_width: 0.05, at_least: 5}     # optional, see below
    limits: {timeout: 1 h, memory: 4 GiB, retries: 2}                  # optional, per cell

The cells are all combinations. `until` stops a cluster, workload and scenario before its last
seed: once, over the first n seeds, n being at least `at_least`, the 95 % interval of every
policy's mean is no longer than `relative_width` of that mean. A cell that takes longer than
`timeout`, asks for more than `memory`, or loses its worker is tried `retries` times more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from scheduler.core.cluster import FailureModel
from scheduler.core.metrics import FIGURES
from scheduler.core.sweep import (
    AT_LEAST,
    MEMORY_BYTES,
    NOISE_SIGMA,
    RETRIES,
    TIMEOUT_S,
    InputFile,
    Limits,
    Scenario,
    Sweep,
    Until,
)
from scheduler.io import data_files
from scheduler.io.beside import beside
from scheduler.io.generated import SEED_CAP
from scheduler.io.quantities import BYTES, POSITIVE, TIME, Span
from scheduler.io.rows import LONGEST_S
from scheduler.io.schema import (
    Checker,
    Names,
    Section,
    count,
    name,
    number,
    quantity,
    reference,
    text,
)
from scheduler.io.topology_sections import FailuresSection
from scheduler.io.yaml_text import FieldPath, read_yaml

CELL_CAP: Final = 100_000
LEAST_MEMORY_BYTES: Final = 64.0 * 2**20
MAX_NOISE: Final = 3.0

_Name = Annotated[str, name]
_Names = list[_Name]
_Seed = Annotated[int, count(0, SEED_CAP)]
_Seeds = Annotated[int, count(1, CELL_CAP)]


def load_sweep(path: str | Path, known: Mapping[str, Sequence[str] | Names]) -> Sweep:
    """Return the sweep in the file at `path`; the files it names are not opened.

    Parameters
    ----------
    path : str or Path
        Where it lies.
    known : mapping of str to sequence of str, or Names
        Known ``policies``, levels of ``information`` and periods of ``account``.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    path = Path(path)
    context = {k: n if isinstance(n, Names) else Names(n) for k, n in known.items()}
    context["metrics"] = Names(_metrics())
    return _sweep(Checker(read_yaml(path), context), path.parent)


def _metrics() -> list[str]:
    return list(FIGURES)


class _HeadSection(Section):
    schema_: Annotated[str, text, Field(alias="schema")]
    title: Annotated[str, text]
    clusters: Any
    workloads: Any
    policies: Annotated[list[Annotated[str, reference("policies", "policy")]], Field(min_length=1)]
    seeds: Any
    scenarios: Any = None
    until: Any = None
    limits: Any = None


class _TraceSection(Section):
    """One item of `workloads` that is more than a name."""

    file: _Name
    name: _Name | None = None
    format: _Name | None = None
    select: dict[str, _Name] = Field(default_factory=dict)
    since: _Name | None = None
    until: _Name | None = None
    profile: _Name | None = None
    reference: _Name | None = None


class _SeedsSection(Section):
    """The `seeds` of the file, where they are a mapping."""

    first: _Seed = 0
    count: _Seeds


class _ScenarioSection(Section):
    """One item of `scenarios`."""

    name: _Name
    noise: Annotated[float, number(Span(0.0, MAX_NOISE))] = NOISE_SIGMA
    information: Annotated[str, reference("information", "level of information")] = "exact"
    load: Annotated[float, number(Span(0.0, 100.0, above=True))] | None = None
    failures: Any = None
    horizon: Annotated[float, quantity(TIME, Span(0.0, LONGEST_S, above=True))] | None = None
    account: Annotated[str, reference("account", "period")] = "run"


class _UntilSection(Section):
    """The `until` of the file."""

    metric: Annotated[str, reference("metrics", "metric")]
    relative_width: Annotated[float, number(Span(0.0, 10.0, above=True))]
    at_least: Annotated[int, count(2, CELL_CAP)] = AT_LEAST


class _LimitsSection(Section):
    """The `limits` of the file."""

    timeout: Annotated[float, quantity(TIME, POSITIVE)] = TIMEOUT_S
    memory: Annotated[float, quantity(BYTES, Span(LEAST_MEMORY_BYTES))] = MEMORY_BYTES
    retries: Annotated[int, count(0, 20)] = RETRIES


def _sweep(check: Checker, folder: Path) -> Sweep:
    check.schema("sweep/1")
    head = check.section(_HeadSection, ())
    clusters = _inputs(check, folder, "clusters")
    workloads = _inputs(check, folder, "workloads")
    seeds = _seeds(check)
    scenarios = _scenarios(check)
    until = limits = None
    if check.get(("until",)) is not None:
        until = check.section(_UntilSection, ("until",))
    if check.get(("limits",)) is not None:
        limits = check.section(_LimitsSection, ("limits",))
    _check_unique(check, "policies", check.get(("policies",)))
    cells = len(clusters) * len(workloads) * len(seeds) * len(scenarios)
    cells *= len(head.policies) if head else 0
    if cells > CELL_CAP:
        check.fault((), "too many cells", f"{cells:,}", f"at most {CELL_CAP:,}")
    check.finish()
    assert head is not None  # finish() raises where a section is not in order
    return Sweep(
        title=head.title,
        clusters=tuple(clusters),
        workloads=tuple(workloads),
        policies=tuple(head.policies),
        seeds=tuple(seeds),
        scenarios=tuple(scenarios),
        until=Until(until.metric, until.relative_width, until.at_least) if until else None,
        limits=Limits(limits.timeout, limits.memory, limits.retries) if limits else Limits(),
    )


def _inputs(
    check: Checker, folder: Path, part: Literal["clusters", "workloads"]
) -> list[InputFile]:
    """Return the files that `clusters` or `workloads` names."""
    raw = check.get((part,))
    if raw is None:
        return []  # the head section has noted that it is missing
    if not isinstance(raw, list) or not raw:
        check.fault((part,), "not a list of at least one", "", "names or files")
        return []
    found = []
    for i, written in enumerate(raw):
        at: FieldPath = (part, i)
        if isinstance(written, dict) and part == "workloads":
            trace = check.section(_TraceSection, at)
            made = trace and _trace(check, folder, at, trace)
        else:
            made = _named(check, folder, at, written, part)
        if made:
            found.append(made)
    _check_unique(check, part, [f.label for f in found])
    return found


def _named(
    check: Checker, folder: Path, at: FieldPath, written: object, part: str
) -> InputFile | None:
    if not isinstance(written, str) or not written.strip():
        check.fault(at, "not a name", "" if written is None else str(written), "a name or file")
        return None
    listed = data_files.list_topologies if part == "clusters" else data_files.list_workloads
    shipped = {f.name: f.path for f in listed()}
    label = written.removesuffix(".yaml").removesuffix(".yml")
    if label in shipped and not (folder / written).is_file():
        return InputFile(label, shipped[label])
    if written == label and "/" not in written and not (folder / written).is_file():
        message = f"no such {'topology' if part == 'clusters' else 'workload'}"
        near = Names(shipped).nearest(written)
        check.fault(at, message, written, "a shipped name, or a file beside this", near)
        return None
    path = beside(check, folder, at, written)
    return InputFile(label, path) if path else None


def _trace(check: Checker, folder: Path, at: FieldPath, section: _TraceSection) -> InputFile | None:
    path = beside(check, folder, (*at, "file"), section.file)
    profile = None
    if section.profile is not None:
        profile = beside(check, folder, (*at, "profile"), section.profile)
    if path is None:
        return None
    return InputFile(
        section.name or section.file,
        path,
        section.format,
        section.select,
        section.since,
        section.until,
        str(profile) if profile else None,
        section.reference,
    )


def _seeds(check: Checker) -> list[int]:
    raw = check.get(("seeds",))
    if raw is None:
        return []  # the head section has noted that it is missing
    if isinstance(raw, list) and raw:
        for i, seed in enumerate(raw):
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= SEED_CAP:
                check.fault(("seeds", i), "not a seed", str(seed), "a whole number of at least 0")
        _check_unique(check, "seeds", raw)
        return raw
    if isinstance(raw, dict):
        section = check.section(_SeedsSection, ("seeds",))
        return list(range(section.first, section.first + section.count)) if section else []
    if isinstance(raw, int) and not isinstance(raw, bool) and 1 <= raw <= CELL_CAP:
        return list(range(raw))
    check.fault(("seeds",), "not seeds", str(raw), "how many, {first, count}, or a list")
    return []


def _scenarios(check: Checker) -> list[Scenario]:
    raw = check.get(("scenarios",))
    if raw is None:
        return [Scenario("base")]
    if raw == []:
        check.fault(("scenarios",), "the list is empty", "", "at least one")
    check.names(("scenarios",))
    found = []
    for at, section in check.sections(_ScenarioSection, ("scenarios",)):
        failures = _failures(check, (*at, "failures"))
        if section is not None:
            found.append(
                Scenario(
                    section.name,
                    section.noise,
                    section.information,
                    section.load,
                    failures,
                    section.horizon,
                    section.account,
                )
            )
    return found


def _failures(check: Checker, at: FieldPath) -> FailureModel | None:
    raw = check.get(at)
    if raw is None:
        return None
    if raw == "none":
        return FailureModel()
    if not isinstance(raw, dict):
        check.fault(at, "not failures", str(raw), "{node_mtbf, repair, repair_sigma}, or none")
        return None
    section = check.section(FailuresSection, at)
    if section is None:
        return None
    return FailureModel(section.node_mtbf, section.repair, section.repair_sigma)


def _check_unique(check: Checker, part: str, values: object) -> None:
    seen: set[str | int] = set()
    for value in values if isinstance(values, list) else []:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            continue
        if value in seen:
            check.fault((part,), "named twice", str(value))
        seen.add(value)
