"""Services and training on one fleet: what five ways of provisioning waste.

Two services follow recorded demand: chat (Azure LLM inference 2023, said again until the day is
full) and image generation (GenTD26, one day). Philly's training jobs fill what they leave, by
the same rule under every policy (shortest remaining time first), and give way where a service
needs room. All policies that look ahead know the same curve; the threshold autoscaler sees only
the present, and one row of ours nothing but the past.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.ledger import WASTE_CAUSES, Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.workload import ModelPhysics, ProfilePhysics, Service, Workload
from scheduler.generate.serving import rate_tables
from scheduler.io import load_cluster, load_workload
from scheduler.io.catalogue import find_model
from scheduler.io.request_demand import repeated
from scheduler.io.request_traces import load_requests
from scheduler.physics.problem import build_problem
from scheduler.policies import co_serving
from scheduler.policies.view import Policy
from scheduler.simulate import simulate
from scheduler.verify import verify_run

SHARED: Final = Path(__file__).resolve().parents[1] / ".." / "shared" / "traces"
SOURCES: Final = {
    "chat": "AzureLLMInferenceTrace_conv.csv of https://github.com/Azure/AzurePublicDataset",
    "images": "qps.csv of https://github.com/alibaba/clusterdata (cluster-trace-v2026-GenAI)",
    "philly": "https://github.com/msr-fiddle/philly-traces, as CSV (see fleetfit list traces)",
}
POLICIES: Final[Mapping[str, type[Policy]]] = {
    "static peak": co_serving.PeakProvisioned,
    "static split": co_serving.StaticSplit,
    "cheapest single type": co_serving.SingleType,
    "threshold autoscaler": co_serving.ThresholdScaled,
    "ours": co_serving.CoScheduled,
    "ours, from the past alone": co_serving.CoScheduledCausal,
}
OURS: Final = "ours"
CHAT_MODEL: Final = "llama-3-70b"
CHAT_STEP_S: Final = 60.0
IMAGE_STEP_S: Final = 300.0
CHAT_PEAK_PER_ACCELERATOR: Final = 0.132
IMAGE_PEAK_PER_ACCELERATOR: Final = 0.0128
"""Requests/s of the busiest step per accelerator of the fleet: chat then takes about a fifth of
the fleet at its peak, images a third."""

LOAD: Final = 2.0
MOST_DAYS: Final = 21


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument("--topology", default="mixed-pods-thin-spine", help="file or shipped name")
    parser.add_argument(
        "--chat", type=Path, default=SHARED / "azure_llm" / "AzureLLMInferenceTrace_conv.csv.gz"
    )
    parser.add_argument("--images", type=Path, default=SHARED / "genai" / "qps_generative.csv.gz")
    parser.add_argument("--philly", type=Path, default=SHARED / "philly" / "philly_dev.csv.gz")
    parser.add_argument(
        "--since",
        action="append",
        metavar="DATE",
        help="first day of a training window; repeatable (default: 2017-10-09)",
    )
    parser.add_argument(
        "--load",
        type=float,
        default=LOAD,
        help="accelerator-hours that training asks for, as a share of the fleet's",
    )
    parser.add_argument("--chat-peak", type=float, help="requests/s (default: by fleet size)")
    parser.add_argument("--image-peak", type=float, help="requests/s (default: by fleet size)")
    parser.add_argument(
        "--policy", action="append", choices=tuple(POLICIES), help="only these; repeatable"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play one day of each training window under every policy."""
    _check(arguments)
    cases: list[dict[str, Any]] = []
    for since in arguments.since or ("2017-10-09",):
        problem, span_s = _problem(arguments, since)
        runs, seconds = {}, {}
        for name in arguments.policy or POLICIES:
            start = time.perf_counter()
            runs[name] = simulate(problem, POLICIES[name](), horizon_s=span_s)
            seconds[name] = time.perf_counter() - start
        cases += _rows(problem, since, runs, seconds)
    return {
        "bench": "train_and_serve",
        "cases": cases,
        "summary": _summary(cases),
        "machine": machine_facts(),
    }


def _check(arguments: argparse.Namespace) -> None:
    faults = [
        Fault("no such file; fetch it", str(getattr(arguments, name)), allowed=source)
        for name, source in SOURCES.items()
        if not getattr(arguments, name).exists()
    ]
    for text in arguments.since or ():
        try:
            date.fromisoformat(text)
        except ValueError:
            faults.append(Fault("not a date", "--since", "", text, "YYYY-MM-DD"))
    for name in ("load", "chat_peak", "image_peak"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            option = f"--{name.replace('_', '-')}"
            faults.append(Fault("out of range", option, "", str(value), "above 0"))
    if faults:
        raise InputError(faults)


def _problem(arguments: argparse.Namespace, since: str) -> tuple[Problem, float]:
    """Return the fleet with both services and the training window, and the seconds played."""
    cluster = load_cluster(arguments.topology)
    size = cluster.accelerator_count
    images, chat = load_requests(arguments.images), load_requests(arguments.chat)
    span_s = images.span_s
    jobs = _jobs(arguments, since, span_s, size)
    prompt, output = chat.mean_tokens()
    services = (
        Service(
            "chat",
            ModelPhysics(CHAT_MODEL),
            (4, 8),
            *_scaled(
                repeated(chat, CHAT_STEP_S, span_s),
                arguments.chat_peak or CHAT_PEAK_PER_ACCELERATOR * size,
            ),
            load_s=120.0,
            prompt_tokens=prompt,
            output_tokens=output,
            end_s=span_s,
        ),
        Service(
            "images",
            ProfilePhysics("image-rates", "image"),
            (1,),
            *_scaled(
                repeated(images, IMAGE_STEP_S),
                arguments.image_peak or IMAGE_PEAK_PER_ACCELERATOR * size,
            ),
            load_s=60.0,
            ttft_s=60.0,
            end_s=span_s,
        ),
    )
    workload: Workload = replace(
        jobs,
        services=services,
        profiles={**jobs.profiles, **rate_tables("image")},
        models={CHAT_MODEL: find_model(CHAT_MODEL)},
    )
    return build_problem(cluster, workload), span_s


def _jobs(arguments: argparse.Namespace, since: str, span_s: float, size: int) -> Workload:
    """Return training jobs, released over the day played, that keep the queue from running dry.

    Days of the trace are added until the jobs ask for the wanted share of the fleet; no job
    counts for more than the day.
    """
    for days in range(1, MOST_DAYS + 1):
        until = date.fromisoformat(since) + timedelta(days=days)
        jobs = load_workload(
            arguments.philly, format="philly", since=since, until=until.isoformat()
        )
        gangs = np.array([c.gang[0] for c in jobs.classes])[jobs.jobs.class_index]
        asked = float((np.minimum(jobs.jobs.work, span_s) * gangs).sum())
        if asked >= arguments.load * size * span_s:
            break
    return jobs.with_time_scaled(span_s / (days * 86400.0))


def _scaled(
    curve: tuple[np.ndarray, np.ndarray], peak_per_s: float
) -> tuple[np.ndarray, np.ndarray]:
    times, rates = curve
    return times, rates * (peak_per_s / float(rates.max()))


def _rows(
    problem: Problem, since: str, runs: Mapping[str, Run], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    everywhere = set.intersection(*(set(r.finished_us) for r in runs.values()))
    rows = []
    ours = runs.get(OURS)
    for name, played in runs.items():
        figures = metrics_of(problem, played)
        total = played.ledger.total_us()
        shares = {c.label: played.ledger.of((c,)) / total for c in Cause}
        waste = played.ledger.fraction(WASTE_CAUSES)
        our_waste = None if ours is None else ours.ledger.fraction(WASTE_CAUSES)
        rows.append(
            {
                "case": f"{problem.cluster.name}, jobs of {since}, {name}",
                "metric": "waste_fraction",
                "policy": name,
                "window": since,
                "ours": our_waste,
                "peer": waste,
                "peer_name": name,
                "ratio": our_waste / waste if our_waste is not None and waste else None,
                "bound": None,
                "gap": None,
                "seconds": seconds[name],
                "peer_seconds": None,
                "slo_attainment": figures.slo_attainment,
                "slo_attainment_by_service": {
                    s.name: served / asked
                    for s, served, asked in zip(
                        problem.workload.services, played.served, played.demanded, strict=True
                    )
                },
                "idle_fraction": figures.idle_fraction,
                "finished": figures.finished,
                "mean_jct_s": figures.mean_jct_s,
                "mean_jct_of_common_s": _common_jct(problem, played, everywhere),
                "training_accelerator_hours": _training_hours(problem, played),
                "preemptions": figures.preemptions,
                "ledger": {k: v for k, v in shares.items() if v > 0},
                "information": _information(name),
                "violations": len(verify_run(problem, played)),
            }
        )
    return rows


def _information(name: str) -> str:
    if name == "threshold autoscaler":
        return "the present demand"
    return "the past demand" if name == "ours, from the past alone" else "the demand curve"


def _common_jct(problem: Problem, played: Run, jobs: set[int]) -> float | None:
    """Return the mean completion time of the jobs that finished under every policy."""
    if not jobs:
        return None
    release = problem.workload.jobs.release_s
    return float(np.mean([played.finished_us[j] / 1e6 - release[j] for j in sorted(jobs)]))


def _training_hours(problem: Problem, played: Run) -> float:
    """Return accelerator-hours in which jobs made progress."""
    classes = problem.workload.jobs.class_index.tolist()
    held = sum(
        problem.modes[classes[a.job]][a.mode].count * (a.end_us - a.start_us - a.overhead_us)
        for a in played.allocations
    )
    return held / 3.6e9


def _summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return, by peer, the least cut in waste and whether our SLO attainment is not below."""
    ours = {c["window"]: c for c in cases if c["policy"] == OURS}
    found: dict[str, Any] = {}
    for case in cases:
        mine = ours.get(case["window"])
        if mine is None or case is mine:
            continue
        known = found.setdefault(
            case["policy"], {"least_waste_cut": 1.0, "slo_not_below": True, "shorter_jct": True}
        )
        cut = 1 - mine["peer"] / case["peer"]
        known["least_waste_cut"] = min(known["least_waste_cut"], cut)
        known["slo_not_below"] &= mine["slo_attainment"] >= case["slo_attainment"] - 1e-9
        pair = (mine["mean_jct_of_common_s"], case["mean_jct_of_common_s"])
        known["shorter_jct"] &= None not in pair and pair[0] <= pair[1]
    return found


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    yield (
        f"{'window':<12}{'policy':<28}{'waste %':>8}{'SLO %':>9}{'JCT h':>7}{'done':>7}"
        f"{'train h':>9}{'headroom':>10}{'reconf.':>9}{'no dem.':>9}{'other':>7}{'s':>7}"
    )
    shown = ("headroom", "reconfiguration", "no_demand")
    labels = {c.label for c in WASTE_CAUSES}
    for case in result["cases"]:
        ledger = case["ledger"]
        parts = [100 * ledger.get(name, 0.0) for name in shown]
        other = 100 * sum(v for k, v in ledger.items() if k in labels and k not in shown)
        jct = case["mean_jct_of_common_s"]
        line = f"{case['window']:<12}{case['policy']:<28}{100 * case['peer']:>8.2f}"
        line += f"{100 * case['slo_attainment']:>9.3f}"
        line += f"{'-' if jct is None else format(jct / 3600, '.2f'):>7}{case['finished']:>7}"
        line += f"{case['training_accelerator_hours']:>9.0f}{parts[0]:>10.2f}{parts[1]:>9.2f}"
        line += f"{parts[2]:>9.2f}{other:>7.2f}{case['seconds']:>7.1f}"
        yield line + (f"  {case['violations']} violations" if case["violations"] else "")
    for name, facts in result["summary"].items():
        yield (
            f"ours against {name}: waste less by {100 * facts['least_waste_cut']:.0f} % or more,"
            f" SLO not below: {facts['slo_not_below']}, JCT not above: {facts['shorter_jct']}"
        )
    yield "waste and its parts: % of accelerator time; JCT: over jobs finished under every policy"
