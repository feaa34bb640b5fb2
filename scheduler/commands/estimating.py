"""`fleetfit estimate`: one job on accelerator types, or the formulas against published runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from scheduler.commands.options import Output
from scheduler.commands.pages import report_estimates, report_predictions
from scheduler.commands.printing import print_json, say
from scheduler.commands.reporting import prepare_page
from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model
from scheduler.core.version import VERSION
from scheduler.core.workload import ModelPhysics, Service
from scheduler.io.catalogue import PRECISIONS as TRAINING_PRECISIONS
from scheduler.io.catalogue import accelerators, find_accelerator, find_model
from scheduler.io.published_cells import read_header
from scheduler.io.published_inference import MEASURED_COLUMNS, read_published_inference
from scheduler.io.published_runs import read_published_runs
from scheduler.io.quantities import POSITIVE, TIME, QuantityError, parse_quantity
from scheduler.physics.precision import find_precision
from scheduler.physics.predictions import Errors, Report
from scheduler.physics.published_serving import predict_inference
from scheduler.physics.published_training import leave_one_source_out, predict_runs
from scheduler.physics.step_time import PRECISION_ALIASES
from scheduler.physics.type_estimates import (
    TypeEstimate,
    serve_on_types,
    train_on_types,
    unit_of,
)
from scheduler.report import results_console
from scheduler.report.catalogues import UNSURE, UNSURE_NOTE
from scheduler.report.estimates import (
    distribution_table,
    error_table,
    estimate_details,
    estimate_table,
    refusal_table,
)
from scheduler.report.words import percent

TRAINING_HEADER: Final = ("tokens_per_s_per_device", "seq_len", "params_total_b")
INFERENCE_HEADER: Final = (*MEASURED_COLUMNS, "isl", "osl")
"""Columns by which a table of published runs is recognised."""

SHOWN_UNPREDICTED: Final = 20

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Question:
    """What `fleetfit estimate` is asked, as written on the command line."""

    model: str | None
    precision: str
    sequence_tokens: int
    batch: int
    count: int
    on: tuple[str, ...]
    all_types: bool
    serve: bool
    prompt_tokens: float
    output_tokens: float
    ttft: str
    tpot: str
    runs: Path | None
    cross_validate: bool = False


def estimate(asked: Question, output: Output) -> int:
    """Show what was asked for; return 1 if no type can do the job, else 0."""
    if output.report is not None:
        prepare_page(output.report, "--report")
    if asked.runs is not None:
        return _compare_with_runs(asked, asked.runs, output)
    model, types, service = _checked(asked)
    if service is not None:
        rows = serve_on_types(model, service, asked.count, types)
    else:
        rows = train_on_types(model, _physics(asked, model), asked.count, types)
    unit = _unit(model, asked.serve)
    if output.report is not None:
        facts = {k: str(v) for k, v in _asked_for(asked, model, service, unit).items()}
        title = _title(asked, model)
        report_estimates(title, rows, unit, facts | {"fleetfit": VERSION}, output.report)
    if output.json:
        print_json(
            {**_asked_for(asked, model, service, unit), "estimates": [r.as_dict() for r in rows]}
        )
    else:
        _show(rows, asked, model, unit)
    return 0 if any(row.work_per_s > 0 for row in rows) else 1


def _unit(model: Model, serve: bool) -> str:
    if serve and model.kind not in ("dense", "moe"):
        return "samples"
    return unit_of(model)


# --- what is asked ---------------------------------------------------------------------------


def _checked(asked: Question) -> tuple[Model, tuple[AcceleratorType, ...], Service | None]:
    """Return the model, the types and, for `--serve`, the service; or all faults at once."""
    faults: list[Fault] = []
    model = None
    if asked.cross_validate:
        faults.append(Fault("goes with --runs", "--cross-validate"))
    if asked.model is None:
        faults.append(Fault("is missing", "--model", allowed="see 'fleetfit list models'"))
    else:
        model = _found(find_model, asked.model, "--model", faults)
    types = [_found(find_accelerator, name, "--on", faults) for name in asked.on]
    if asked.all_types and asked.on:
        faults.append(Fault("goes without --on", "--all-types"))
    if not asked.all_types and not asked.on:
        allowed = "a name that 'fleetfit list accelerators' shows, or --all-types"
        faults.append(Fault("is missing", "--on", allowed=allowed))
    faults += _number_faults(asked)
    faults += _precision_faults(asked)
    service = _service(asked, model, faults) if asked.serve else None
    if faults or model is None:
        raise InputError(faults)
    chosen = accelerators().values() if asked.all_types else (t for t in types if t is not None)
    return model, tuple({kind.name: kind for kind in chosen}.values()), service


def _found(
    find: Callable[[str], Found], name: str, option: str, faults: list[Fault]
) -> Found | None:
    try:
        return find(name)
    except InputError as error:
        faults += [
            Fault(f.message, option, f.path, f.value, f.allowed, f.nearest) for f in error.faults
        ]
        return None


def _number_faults(asked: Question) -> list[Fault]:
    numbers = {
        "--seq": asked.sequence_tokens,
        "--batch": asked.batch,
        "--count": asked.count,
        "--prompt": asked.prompt_tokens,
        "--output": asked.output_tokens,
    }
    return [
        Fault("out of range", option, value=f"{value:g}", allowed=f"from 1 to {MOST:g}")
        for option, value in numbers.items()
        if not 1 <= value <= MOST
    ]


MOST: Final = 1e9


def _precision_faults(asked: Question) -> list[Fault]:
    if asked.serve:
        try:
            find_precision(asked.precision)
        except InputError as error:
            return [
                Fault(f.message, "--precision", "", f.value, f.allowed, f.nearest)
                for f in error.faults
            ]
        return []
    known = (*TRAINING_PRECISIONS, *PRECISION_ALIASES)
    if asked.precision in known:
        return []
    near = nearest_name(asked.precision, known)
    return [Fault("unknown precision", "--precision", "", asked.precision, ", ".join(known), near)]


def _service(asked: Question, model: Model | None, faults: list[Fault]) -> Service | None:
    times: list[float] = []
    for option, text in (("--ttft", asked.ttft), ("--tpot", asked.tpot)):
        try:
            times.append(parse_quantity(text, TIME, POSITIVE))
        except QuantityError as error:
            faults.append(Fault(error.message, option, "", text, error.allowed, error.nearest))
    if faults or model is None:
        return None
    return Service(
        name="estimate",
        physics=ModelPhysics(model.name, asked.precision),
        replica=(asked.count,),
        times_s=np.zeros(1),
        demand_per_s=np.zeros(1),
        ttft_s=times[0],
        tpot_s=times[1],
        prompt_tokens=asked.prompt_tokens,
        output_tokens=asked.output_tokens,
    )


def _physics(asked: Question, model: Model) -> ModelPhysics:
    return ModelPhysics(model.name, asked.precision, asked.sequence_tokens, asked.batch)


def _asked_for(
    asked: Question, model: Model, service: Service | None, unit: str
) -> dict[str, object]:
    common: dict[str, object] = {
        "kind": "training" if service is None else "serving",
        "model": model.name,
        "precision": asked.precision,
        "count": asked.count,
        "unit": unit,
    }
    if service is None:
        return {**common, "sequence_tokens": asked.sequence_tokens, "global_batch": asked.batch}
    return {
        **common,
        "prompt_tokens": service.prompt_tokens,
        "output_tokens": service.output_tokens,
        "ttft_s": service.ttft_s,
        "tpot_s": service.tpot_s,
    }


def _title(asked: Question, model: Model) -> str:
    """Return what is estimated, in a line."""
    verb = "Serving" if asked.serve else "Training"
    how = (
        f"{asked.prompt_tokens:g} tokens in, {asked.output_tokens:g} out"
        if asked.serve
        else f"{asked.batch} sequences of {asked.sequence_tokens} tokens a step"
    )
    if not model.counts_tokens:
        how = "one sample a request" if asked.serve else f"{asked.batch} samples a step"
    on = "1 accelerator"
    if asked.count > 1:
        on = f"{asked.count} accelerators on their usual network"
    return f"{verb} {model.name} in {asked.precision}, {how}: {on}"


def _show(rows: tuple[TypeEstimate, ...], asked: Question, model: Model, unit: str) -> None:
    console = results_console()
    console.print(_title(asked, model), markup=False)
    possible = [row for row in rows if row.work_per_s > 0]
    if len(rows) == 1 and possible:
        console.print(f"\n[bold]{rows[0].accelerator.name}[/bold]")
        console.print(estimate_details(rows[0], unit))
        return
    if possible:
        console.print(estimate_table(rows, unit, console.width))
    refused = refusal_table(rows)
    if refused is not None:
        console.print(refused)
    if any(row.accelerator.confidence == "low" for row in rows):
        console.print(f"{UNSURE} {UNSURE_NOTE}", markup=False)


# --- published runs --------------------------------------------------------------------------


def _compare_with_runs(asked: Question, path: Path, output: Output) -> int:
    if asked.model is not None or asked.on or asked.all_types:
        raise InputError([Fault("goes without --model, --on and --all-types", "--runs")])
    report = read_and_predict(path)
    unseen = _of_unseen_sources(path) if asked.cross_validate else None
    if output.report is not None:
        facts = {"published runs": path.name, "fleetfit": VERSION}
        if unseen is not None:
            facts["unseen sources"] = f"median {percent(unseen.median)}, p90 {percent(unseen.p90)}"
        report_predictions(f"Published runs of {path.name}", report, facts, output.report)
    if output.json:
        extra = {} if unseen is None else {"leave_one_source_out": unseen.as_dict()}
        print_json({**report.as_dict(), **extra})
    else:
        console = results_console()
        console.print(error_table(report))
        console.print(distribution_table(report.predictions))
        if unseen is not None:
            console.print(
                f"With constants fitted anew without each row's whole source: {unseen.rows} rows,"
                f" median {percent(unseen.median)}, p90 {percent(unseen.p90)}"
            )
    for row, reason in list(report.unpredicted.items())[:SHOWN_UNPREDICTED]:
        say(f"not predicted: {row}: {reason}")
    if len(report.unpredicted) > SHOWN_UNPREDICTED:
        say(f"... and {len(report.unpredicted) - SHOWN_UNPREDICTED} more rows not predicted")
    if report.beyond_memory:
        say(f"predicted beyond our count of memory: {', '.join(report.beyond_memory)}")
    return 0 if report.predictions else 1


def _of_unseen_sources(path: Path) -> Errors:
    if _is_inference(read_header(path)):
        raise InputError([Fault("goes with tables of training runs", "--cross-validate")])
    return leave_one_source_out(read_published_runs(path).runs)


def _is_inference(header: tuple[str, ...]) -> bool:
    return any(column in header for column in INFERENCE_HEADER)


def read_and_predict(path: Path) -> Report:
    """Return the predictions of a table of published runs, of training or of inference.

    Raises
    ------
    InputError
        If it is neither, or faulty.
    """
    header = read_header(path)
    if _is_inference(header):
        table = read_published_inference(path)
        return predict_inference(table.runs, unknown=table.unknown)
    if any(column in header for column in TRAINING_HEADER):
        runs = read_published_runs(path)
        return predict_runs(runs.runs, unknown=runs.unknown)
    allowed = (
        f"one of {', '.join(TRAINING_HEADER)} (training), {', '.join(INFERENCE_HEADER)} (inference)"
    )
    raise InputError([Fault("is no table of published runs", str(path), allowed=allowed)])
