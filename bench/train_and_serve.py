"""Services and training on one fleet: what several ways of provisioning waste.

Services follow recorded demand: chat (Azure LLM inference 2023, said again until the day is
full) and image generation (GenTD26, one day), both or one of them. Philly's training jobs fill
what they leave, shortest remaining time first under every policy, and give way where a service
needs room; ours also brings gangs together that had to start spread out. All policies that look
ahead know the same curve; the threshold autoscaler sees only the present, and one row of ours
nothing but the past. SLO attainment counts requests that wait for longer than their time to the
first token. Every window is shown, then mean and worst.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.machine import machine_facts
from scheduler.core.errors import Fault, InputError
from scheduler.core.ledger import WASTE_CAUSES, Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.requests import RequestTrace
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
CAUSAL: Final = "ours, from the past alone"
CHAT_MODEL: Final = "llama-3-70b"
CHAT_TOKENS: Final = (1162.0, 213.0)
"""Mean prompt and output of Azure's conversations, for recordings that do not tell."""

CHAT_STEP_S: Final = 60.0
IMAGE_STEP_S: Final = 300.0
CHAT_PEAK_PER_ACCELERATOR: Final = 0.132
IMAGE_PEAK_PER_ACCELERATOR: Final = 0.0128
"""Requests/s of the busiest step per accelerator of the fleet: chat then takes about a fifth of
the fleet at its peak, images a third."""

WINDOWS: Final = tuple((date(2017, 10, 2) + timedelta(weeks=week)).isoformat() for week in range(9))
"""Mondays of the weeks in which the trace is full."""

DEMANDS: Final = ("both", "chat", "images")
SAME_SLO: Final = 1e-4
"""Attainment within one request in ten thousand is called not below."""

PROCESSES: Final = 2
"""Windows played side by side; a process takes about half a gigabyte."""

LOAD: Final = 2.0
MOST_DAYS: Final = 21
DAY_S: Final = 86400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this bench."""
    parser.add_argument("--topology", default="mixed-pods-thin-spine", help="file or shipped name")
    parser.add_argument(
        "--chat", type=Path, default=SHARED / "azure_llm" / "AzureLLMInferenceTrace_conv.csv.gz"
    )
    parser.add_argument("--images", type=Path, default=SHARED / "genai" / "qps_generative.csv.gz")
    parser.add_argument("--philly", type=Path, default=SHARED / "philly" / "philly_dev.csv.gz")
    parser.add_argument(
        "--window",
        "--since",
        dest="since",
        action="append",
        metavar="DATE",
        help="first day of a training window; repeatable (default: nine Mondays)",
    )
    parser.add_argument("--demand", choices=DEMANDS, default="both", help="which services")
    parser.add_argument(
        "--day", type=int, default=0, help="day of an image recording that is longer, from 0"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="above 0: recordings begin at a random instant"
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
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help="windows played side by side"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play one day of each training window under every policy."""
    _check(arguments)
    cases = _cases(arguments, arguments.since or WINDOWS)
    return {
        "bench": "train_and_serve",
        "cases": cases,
        "summary": _summary(cases),
        "machine": machine_facts(),
    }


def _cases(arguments: argparse.Namespace, windows: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of all windows, in their order, however many are played at once."""
    processes = min(arguments.processes, len(windows), os.cpu_count() or 1)
    asked = [arguments] * len(windows)
    if processes == 1:
        return [row for rows in map(_window, asked, windows) for row in rows]
    # Spawned, not forked: a fork would copy the locks of threads that a solver may hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        return [row for rows in pool.map(_window, asked, windows) for row in rows]


def _window(arguments: argparse.Namespace, since: str) -> list[dict[str, Any]]:
    """Play one training window under every policy."""
    problem, span_s = _problem(arguments, since)
    runs, seconds = {}, {}
    for name in arguments.policy or POLICIES:
        start = time.perf_counter()
        runs[name] = simulate(problem, POLICIES[name](), horizon_s=span_s)
        seconds[name] = time.perf_counter() - start
    return _rows(problem, since, runs, seconds)


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
    for name in ("seed", "day"):
        if getattr(arguments, name) < 0:
            value = str(getattr(arguments, name))
            faults.append(Fault("out of range", f"--{name}", "", value, "0 and above"))
    if arguments.processes < 1:
        value = str(arguments.processes)
        faults.append(Fault("out of range", "--processes", "", value, "1 and above"))
    for name in ("load", "chat_peak", "image_peak"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            option = f"--{name.replace('_', '-')}"
            faults.append(Fault("out of range", option, "", str(value), "above 0"))
    if faults:
        raise InputError(faults)


def _problem(arguments: argparse.Namespace, since: str) -> tuple[Problem, float]:
    """Return the fleet with its services and the training window, and the seconds played."""
    cluster = load_cluster(arguments.topology)
    size = cluster.accelerator_count
    images, chat = _requests(arguments.images), _requests(arguments.chat)
    span_s = min(images.span_s, DAY_S) if arguments.demand != "chat" else DAY_S
    services = []
    if arguments.demand != "images":
        prompt, output = chat.mean_tokens()
        peak = arguments.chat_peak or CHAT_PEAK_PER_ACCELERATOR * size
        services.append(
            Service(
                "chat",
                ModelPhysics(CHAT_MODEL),
                (4, 8),
                *_curve(arguments, chat, CHAT_STEP_S, span_s, peak),
                load_s=120.0,
                prompt_tokens=prompt if prompt > 0 else CHAT_TOKENS[0],
                output_tokens=output if output > 0 else CHAT_TOKENS[1],
                end_s=span_s,
            )
        )
    if arguments.demand != "chat":
        peak = arguments.image_peak or IMAGE_PEAK_PER_ACCELERATOR * size
        services.append(
            Service(
                "images",
                ProfilePhysics("image-rates", "image"),
                (1,),
                *_curve(arguments, images, IMAGE_STEP_S, span_s, peak),
                load_s=60.0,
                ttft_s=60.0,
                end_s=span_s,
            )
        )
    jobs = _jobs(arguments, since, span_s, size)
    workload: Workload = replace(
        jobs,
        services=tuple(services),
        profiles={**jobs.profiles, **rate_tables("image")},
        models={CHAT_MODEL: find_model(CHAT_MODEL)},
    )
    return build_problem(cluster, workload), span_s


@cache
def _requests(path: Path) -> RequestTrace:
    """Return a recording, read once for all windows of a process."""
    return load_requests(path)


def _curve(
    arguments: argparse.Namespace, trace: RequestTrace, step_s: float, span_s: float, peak: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a day of a recording, scaled: the chosen one, or from a random instant on."""
    times, rates = repeated(trace, step_s, max(span_s, trace.span_s))
    steps = int(span_s / step_s + 0.5)
    first = steps * arguments.day if (arguments.day + 1) * steps <= len(rates) else 0
    if arguments.seed:
        first = int(stream(arguments.seed, f"train_and_serve/{trace.name}").integers(len(rates)))
    rates = np.roll(rates, -first)[:steps]
    return times[: len(rates)], rates * (peak / float(rates.max()))


def _jobs(arguments: argparse.Namespace, since: str, span_s: float, size: int) -> Workload:
    """Return training jobs, released over the day played, that keep the queue from running dry.

    Days of the trace are added until the jobs ask for the wanted share of the fleet; no job
    counts for more than the day.
    """
    first, wanted = date.fromisoformat(since), arguments.load * size * span_s

    def loaded(days: int) -> tuple[Workload, np.ndarray]:
        until = (first + timedelta(days=days)).isoformat()
        jobs = load_workload(arguments.philly, format="philly", since=since, until=until)
        gangs = np.array([c.gang[0] for c in jobs.classes])[jobs.jobs.class_index]
        return jobs, np.minimum(jobs.jobs.work, span_s) * gangs

    # Times count from the first job, not from midnight, so that fewer days than the longest
    # window tells cannot do: reading starts there, not at the first day.
    jobs, asked = loaded(MOST_DAYS)
    ends_s = DAY_S * np.arange(1, MOST_DAYS)
    before = np.array([asked[jobs.jobs.release_s < end_s].sum() for end_s in ends_s])
    for days in range(1 + int((before < wanted).sum()), MOST_DAYS + 1):
        jobs, asked = loaded(days)
        if float(asked.sum()) >= wanted:
            break
    return jobs.with_time_scaled(span_s / (days * DAY_S))


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
    return "the past demand" if name == CAUSAL else "the demand curve"


def _common_jct(problem: Problem, played: Run, jobs: set[int]) -> float | None:
    """Return the mean completion time of the jobs that finished under every policy."""
    if not jobs:
        return None
    release = problem.workload.jobs.release_s
    return float(np.mean([played.finished_us[j] / 1e6 - release[j] for j in sorted(jobs)]))


def _training_hours(problem: Problem, played: Run) -> float:
    """Return accelerator-hours in which jobs made progress."""
    classes = problem.workload.jobs.class_index.tolist()
    held: int = sum(
        problem.modes[classes[a.job]][a.mode].count * (a.end_us - a.start_us - a.overhead_us)
        for a in played.allocations
    )
    return held / 3.6e9


def _summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return, for both rows of ours and by peer, the cut in waste and where it came from."""
    found: dict[str, Any] = {}
    for mine in (OURS, CAUSAL):
        ours = {c["window"]: c for c in cases if c["policy"] == mine}
        for peer in dict.fromkeys(c["policy"] for c in cases if c["policy"] not in (OURS, CAUSAL)):
            pairs = [
                (ours[c["window"]], c) for c in cases if c["policy"] == peer and c["window"] in ours
            ]
            if pairs:
                found.setdefault(mine, {})[peer] = _compared(pairs)
    return found


def _compared(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return figures over windows, of a case of ours and one of a peer in each."""
    cuts = [1 - ours["peer"] / peer["peer"] for ours, peer in pairs]
    points = [100 * (o["slo_attainment"] - p["slo_attainment"]) for o, p in pairs]
    jct = [
        o["mean_jct_of_common_s"] / p["mean_jct_of_common_s"]
        for o, p in pairs
        if o["mean_jct_of_common_s"] and p["mean_jct_of_common_s"]
    ]
    causes = {c.label for c in Cause}
    return {
        "windows": len(pairs),
        "mean_waste_cut": float(np.mean(cuts)),
        "least_waste_cut": min(cuts),
        "worst_slo_points": min(points),
        "slo_not_below": min(points) >= -100 * SAME_SLO,
        "mean_jct_ratio": float(np.mean(jct)) if jct else None,
        "worst_jct_ratio": max(jct, default=None),
        "accelerator_time_by_cause": {
            cause: float(np.mean([o["ledger"].get(cause, 0) - p["ledger"].get(cause, 0)
                                  for o, p in pairs]))
            for cause in sorted(causes)
            if any(cause in c["ledger"] for pair in pairs for c in pair)
        },
    }  # fmt: skip


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
    for mine, peers in result["summary"].items():
        for name, facts in peers.items():
            jct = facts["mean_jct_ratio"]
            yield (
                f"{mine} against {name}: waste less by {100 * facts['mean_waste_cut']:.0f} % on"
                f" average, {100 * facts['least_waste_cut']:.0f} % at worst over"
                f" {facts['windows']} windows; SLO {facts['worst_slo_points']:+.3f} points at"
                f" worst; JCT x{'-' if jct is None else format(jct, '.2f')}"
            )
            parts = sorted(facts["accelerator_time_by_cause"].items(), key=lambda e: e[1])
            causes = [f"{cause} {100 * v:+.2f}" for cause, v in parts if abs(v) >= 5e-5]
            yield f"    by cause, points of accelerator time: {', '.join(causes)}"
    yield "waste and its parts: % of accelerator time; JCT: over jobs finished under every policy"
