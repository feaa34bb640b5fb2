"""Inference services with demand curves, sized in accelerators of a reference type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from scheduler.core.random import stream
from scheduler.core.units import DAY_S
from scheduler.core.workload import ModelPhysics, Profile, ProfilePhysics, Service
from scheduler.generate.demand import SHAPES, check_steps, draw_curve
from scheduler.generate.devices import DEVICES

SIZING_UTILISATION = 0.35
"""Share of a device's dense 16-bit peak, on 2 FLOPs per active parameter and token, at which a
replica of a language model is taken as full. It only scales the curve: how many replicas a
service needs follows from the rates of the fleet's types."""

IMAGE_REQUEST_S = 28.3
"""Mean service time of a GenTD26 image request (LN(3.18, .57)), taken as an A100's."""

RECOMMENDATIONS_PER_S = 1000.0
"""Requests/s of one recommendation replica on an A100: gpu-v2025 publishes instances, not
requests, so this is a unit and no measurement."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A model that may be served, and how many FLOPs one of its tokens takes."""

    model: str
    flops_per_token: float
    replica: tuple[int, ...]
    load_s: float


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Requests of one kind of service.

    Token counts are means of the public traces: Azure conversation 6,390 tokens in and 1,170
    out per second at 5.5 requests/s, Azure code 5,260 and 72 at 2.6. No models: the rate of
    a replica comes from a table.
    """

    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    ttft_s: float = 60.0
    tpot_s: float = 0.1
    models: tuple[_Served, ...] = ()


_LLAMA_70B = _Served("llama-3-70b", 2 * 70.6e9, (4, 8), 120.0)
_QWEN_32B = _Served("qwen-2.5-32b", 2 * 32.8e9, (2, 4), 60.0)
_LLAMA_8B = _Served("llama-3-8b", 2 * 8.0e9, (1, 2), 30.0)
_QWEN_7B = _Served("qwen-2.5-7b", 2 * 7.6e9, (1, 2), 30.0)

TRAFFIC: Mapping[str, _Traffic] = MappingProxyType(
    {
        "chat": _Traffic(1162.0, 213.0, 2.0, 0.10, (_LLAMA_70B, _QWEN_32B, _LLAMA_8B, _QWEN_7B)),
        "code": _Traffic(2023.0, 28.0, 1.0, 0.05, (_QWEN_32B, _QWEN_7B, _LLAMA_8B)),
        "image": _Traffic(),
        "dlrm": _Traffic(),
    }
)


def rate_tables(kind: str) -> dict[str, Profile]:
    """Return the throughput table that a kind of service needs, by name; empty for LLMs.

    Image generation is bound by compute: rates in proportion to the dense 16-bit peak.
    Recommendation is bound by embedding look-ups: in proportion to memory bandwidth.
    """
    if kind == "image":
        speed, on_a100 = {n: d.flops for n, d in DEVICES.items()}, 1.0 / IMAGE_REQUEST_S
    elif kind == "dlrm":
        speed, on_a100 = {n: d.bytes_per_s for n, d in DEVICES.items()}, RECOMMENDATIONS_PER_S
    else:
        return {}
    rates = {
        (kind, name.casefold(), 1, "packed"): on_a100 * value / speed["A100-80GB-SXM"]
        for name, value in speed.items()
    }
    return {_table_name(kind): Profile(_table_name(kind), rates)}


def served_models(kind: str) -> tuple[str, ...]:
    """Return the models a kind of service may use, the usual one first."""
    return tuple(m.model for m in TRAFFIC[kind].models)


def make_services(
    kind: str,
    *,
    seed: int,
    days: float,
    mean_demand: float,
    reference: str,
    services: int,
    model: str,
    step_s: float,
    noise: float,
    prefix: str,
) -> tuple[Service, ...]:
    """Return services of one kind that keep `mean_demand` reference accelerators busy.

    Parameters
    ----------
    kind : str
        A key of `TRAFFIC`.
    seed : int
        Of the demand curves.
    days : float
        Length.
    mean_demand : float
        Accelerators busy on average, over all services.
    reference : str
        Key of `DEVICES`: the type that `mean_demand` counts.
    services : int
        How many; popularity falls as 1 / rank (GenTD26's checkpoints: exponent about 1).
    model : str
        Served model; ``""``: the kind's models in turn.
    step_s : float
        Step of the curves.
    noise : float
        Factor on their noise.
    prefix : str
        Start of the services' names.

    Raises
    ------
    InputError
        If the curves have too many steps.
    """
    check_steps(days * DAY_S, step_s, services)
    traffic = TRAFFIC[kind]
    popularity = 1.0 / np.arange(1, services + 1)
    popularity /= popularity.sum()
    made = []
    for i in range(services):
        models = [m for m in traffic.models if model in ("", m.model)]
        served = models[i % len(models)] if models else None
        times, demand = draw_curve(
            SHAPES[kind],
            stream(seed, f"demand/{kind}", i),
            span_s=days * DAY_S,
            step_s=step_s,
            noise=noise,
        )
        wanted = mean_demand * float(popularity[i]) * _full_rate(kind, served, reference)
        parts = [prefix, served.model if served else "", str(i + 1) if services > 1 else ""]
        made.append(
            Service(
                "-".join(p for p in parts if p),
                ModelPhysics(served.model) if served else ProfilePhysics(_table_name(kind), kind),
                served.replica if served else (1,),
                times,
                demand * (wanted / float(demand.mean())),
                load_s=served.load_s if served else 60.0,
                ttft_s=traffic.ttft_s,
                tpot_s=traffic.tpot_s,
                prompt_tokens=traffic.prompt_tokens,
                output_tokens=traffic.output_tokens,
                end_s=days * DAY_S,
                tenant=prefix,
            )
        )
    return tuple(made)


def _full_rate(kind: str, served: _Served | None, reference: str) -> float:
    """Return requests/s at which one accelerator of `reference` is full."""
    if served is None:
        (table,) = rate_tables(kind).values()
        return table.rates[kind, reference.casefold(), 1, "packed"]
    traffic = TRAFFIC[kind]
    tokens = traffic.prompt_tokens + traffic.output_tokens
    return SIZING_UTILISATION * DEVICES[reference].flops / (served.flops_per_token * tokens)


def _table_name(kind: str) -> str:
    return f"{kind}-rates"
