"""The kinds of synthetic workload, their parameters, and `generate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.random import stream
from scheduler.core.units import DAY_S
from scheduler.core.workload import JobClass, Jobs, Profile, RunTimePhysics, Service, Workload
from scheduler.generate.devices import DEVICES
from scheduler.generate.durations import Mixture
from scheduler.generate.estimates import ESTIMATE_MODELS, user_estimates
from scheduler.generate.lab import SHORT_SHARE, lab_strands
from scheduler.generate.parameters import Parameter, Value, Values, checked
from scheduler.generate.published import (
    HELIOS_GANG_SHARES,
    HELIOS_RUN_TIME,
    LONGEST_RUN_S,
    PHILLY_BATCHES,
    PHILLY_GANG_SHARES,
    PHILLY_RHYTHM,
    VENUS_RHYTHM,
    Rhythm,
    philly_gang_class,
    philly_run_time,
)
from scheduler.generate.serving import make_services, rate_tables, served_models
from scheduler.generate.tenants import tenant_names
from scheduler.generate.training import Strand, draw_jobs


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload.

    Parameters
    ----------
    name, about : str
        Name and one line for people.
    parameters : tuple of Parameter
        In the order of the documentation.
    source, licence : str
        Where its distributions come from, and the licence of what it generates.
    build : callable
        Seed and checked parameters to the parts of the workload.
    """

    name: str
    about: str
    parameters: tuple[Parameter, ...]
    source: str
    build: Callable[[int, Values], _Parts]
    licence: str = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one kind contributes to a workload."""

    classes: tuple[JobClass, ...] = ()
    jobs: Jobs | None = None
    services: tuple[Service, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    tenants: tuple[str, ...] = ("default",)


def generate(kind: str, *, seed: int, **parameters: Value) -> Workload:
    """Return a synthetic workload.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    seed : int
        Every random draw follows from it, each purpose from its own stream, so that a
        parameter which concerns one purpose leaves the draws of the others as they are.
    **parameters
        See ``KINDS[kind].parameters``.

    Raises
    ------
    InputError
        Naming every unknown parameter and every value out of range.
    """
    if kind not in KINDS:
        fault = Fault(
            "unknown kind of workload",
            path="kind",
            value=str(kind),
            allowed=", ".join(KINDS),
            nearest=nearest_name(str(kind), KINDS),
        )
        raise InputError([fault])
    if seed < 0:
        raise InputError([Fault("out of range", path="seed", value=str(seed), allowed="0 or more")])
    spec = KINDS[kind]
    parts = spec.build(seed, checked(kind, spec.parameters, parameters))
    return Workload(
        kind,
        f"{spec.about} (seed {seed})",
        parts.classes,
        parts.jobs if parts.jobs is not None else _no_jobs(),
        parts.services,
        parts.profiles,
        tenants=parts.tenants,
        source=spec.source,
        licence=spec.licence,
    )


def _no_jobs() -> Jobs:
    none, some = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Jobs((), none, some, some, some, some, some, none)


# --- jobs ------------------------------------------------------------------------------------


def _train(strands: tuple[Strand, ...], rhythm: Rhythm, seed: int, values: Values) -> _Parts:
    """Draw the jobs of `strands` and turn them into columns."""
    tenants = int(values["tenants"])
    drawn = draw_jobs(
        strands,
        seed=seed,
        span_s=float(values["days"]) * DAY_S,
        mean_demand=float(values["mean_demand"]),
        rhythm=rhythm,
        longest_s=float(values["max_run_time_s"]),
        tenants=tenants,
    )
    n = len(drawn.strand)
    prefix = values["prefix"]
    estimate = user_estimates(
        drawn.planned_s,
        str(values["estimates"]),
        float(values["estimate_sigma"]),
        stream(seed, "estimates"),
        longest_s=float(values["max_run_time_s"]),
    )
    jobs = Jobs(
        ids=tuple([f"{prefix}-{i:06d}" for i in range(1, n + 1)]),
        class_index=drawn.strand,
        release_s=drawn.release_s,
        work=drawn.run_s * np.array([s.work_per_s for s in strands])[drawn.strand],
        estimate_s=estimate,
        weight=np.ones(n),
        deadline_s=np.full(n, np.nan),
        tenant_index=drawn.tenant,
    )
    return _Parts(tuple(s.job_class for s in strands), jobs, tenants=tenant_names(tenants))


def _published_strands(
    shares: Mapping[int, float], law: Callable[[int], Mixture], values: Values
) -> tuple[Strand, ...]:
    """Return one strand per gang size, of jobs known by their run time only."""
    most = int(values["max_gang"])
    return tuple(
        Strand(
            JobClass(
                f"{values['prefix']}-{gang}", RunTimePhysics(str(values["reference"])), (gang,)
            ),
            gang,
            share,
            law(gang),
            PHILLY_BATCHES[philly_gang_class(gang)].capped(int(values["max_batch"])),
        )
        for gang, share in shares.items()
        if gang <= most
    )


def _philly(seed: int, values: Values) -> _Parts:
    strands = _published_strands(PHILLY_GANG_SHARES, philly_run_time, values)
    return _train(strands, PHILLY_RHYTHM, seed, values)


def _helios(seed: int, values: Values) -> _Parts:
    strands = _published_strands(HELIOS_GANG_SHARES, lambda _: HELIOS_RUN_TIME, values)
    return _train(strands, VENUS_RHYTHM, seed, values)


def _lab(seed: int, values: Values) -> _Parts:
    strands = lab_strands(
        reference=str(values["reference"]),
        max_gang=int(values["max_gang"]),
        short_share=float(values["short_share"]),
        run_time_scale=float(values["run_time_scale"]),
        max_batch=int(values["max_batch"]),
        prefix=str(values["prefix"]),
    )
    return _train(strands, VENUS_RHYTHM, seed, values)


# --- services --------------------------------------------------------------------------------


def _serve(kind: str, seed: int, values: Values) -> _Parts:
    services = make_services(
        kind,
        seed=seed,
        days=float(values["days"]),
        mean_demand=float(values["mean_demand"]),
        reference=str(values["reference"]),
        services=int(values["services"]),
        model=str(values.get("model", "")),
        step_s=float(values["step_s"]),
        noise=float(values["noise"]),
        prefix=str(values["prefix"]),
    )
    return _Parts(services=services, profiles=rate_tables(kind))


def _train_and_serve(seed: int, values: Values) -> _Parts:
    total, share = float(values["mean_demand"]), float(values["serving_share"])
    trained = _lab(seed, {**values, "mean_demand": total * (1 - share)})
    services: tuple[Service, ...] = ()
    for kind, part in (("chat", 0.7), ("code", 0.3)):
        services += make_services(
            kind,
            seed=seed,
            days=float(values["days"]),
            mean_demand=total * share * part,
            reference=str(values["reference"]),
            services=1,
            model="",
            step_s=float(values["step_s"]),
            noise=float(values["noise"]),
            prefix=kind,
        )
    return _Parts(trained.classes, trained.jobs, services, tenants=trained.tenants)


# --- the registry ----------------------------------------------------------------------------

_WHOLE = 10**9


def _length(days: float, mean_demand: float) -> tuple[Parameter, ...]:
    return (
        Parameter("days", days, "days", "length; day 0 is a Monday", 0.01, 3660),
        Parameter(
            "mean_demand",
            mean_demand,
            "accelerators",
            "mean of what is demanded, in accelerators of the reference",
            0.001,
            1e7,
        ),
    )


def _training(
    days: float, mean_demand: float, tenants: int, prefix: str, max_batch: int = 1000
) -> tuple[Parameter, ...]:
    return (
        *_length(days, mean_demand),
        Parameter("tenants", tenants, "", "who submits: sweeps, mixed, large", 1, 1000),
        Parameter(
            "estimates",
            "limits",
            "",
            "users' run time estimates: rounded-up limits, lognormal error, none",
            choices=ESTIMATE_MODELS,
        ),
        Parameter("estimate_sigma", 0.8, "", "deviation of the logarithm of the error", 0, 10),
        Parameter("max_batch", max_batch, "jobs", "largest batch of one session", 1, _WHOLE),
        Parameter(
            "max_run_time_s", LONGEST_RUN_S, "s", "cut of all run times", 60, 10 * 365 * DAY_S
        ),
        Parameter("prefix", prefix, "", "start of job ids and class names"),
    )


def _recorded(max_gang: int) -> tuple[Parameter, ...]:
    return (
        Parameter("max_gang", max_gang, "accelerators", "larger gangs are left out", 1, _WHOLE),
        Parameter(
            "reference",
            "",
            "",
            "type that run times hold on; empty: the slowest a job may use (the trace names none)",
        ),
    )


def _laboratory(max_gang: int) -> tuple[Parameter, ...]:
    return (
        Parameter("max_gang", max_gang, "accelerators", "larger gangs are left out", 1, _WHOLE),
        Parameter(
            "reference",
            "A100-80GB-SXM",
            "",
            "type that run times are drawn on",
            choices=tuple(DEVICES),
        ),
        Parameter("short_share", SHORT_SHARE, "", "share of jobs that evaluate or debug", 0.0, 1.0),
        Parameter("run_time_scale", 1.0, "", "factor on all planned run times", 1e-3, 1e3),
    )


_CURVE = (
    Parameter("step_s", 300.0, "s", "step of the demand curves", 1, DAY_S),
    Parameter("noise", 1.0, "", "factor on the noise of the demand; 0: none", 0, 10),
)


def _serving(kind: str, mean_demand: float) -> tuple[Parameter, ...]:
    models = served_models(kind)
    choice = Parameter(
        "model", "", "", "served model; empty: several in turn", choices=("", *models)
    )
    return (
        *_length(7.0, mean_demand),
        Parameter(
            "reference",
            "H100-SXM",
            "",
            "type that mean_demand counts",
            choices=tuple(DEVICES),
        ),
        Parameter("services", 1, "", "how many; popularity falls as 1 / rank", 1, 1000),
        *((choice,) if models else ()),
        *_CURVE,
        Parameter("prefix", kind, "", "start of service names"),
    )


_PHILLY = "fitted to msr-fiddle/philly-traces (CC-BY-4.0), 2017-10-02 to 2017-12-10"
_ACME = "calibrated to InternLM/AcmeTrace data/cluster_summary.csv (CC-BY-4.0)"
_AZURE = "noise fitted to Azure/AzurePublicDataset AzureLLMInferenceDataset2023 (CC-BY-4.0)"
_VENUS = "hours of Helios Venus (figures from S-Lab-System-Group/Lucid)"

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        k.name: k
        for k in (
            Kind(
                "philly-like",
                "training jobs as in Philly: 93 % on one GPU, 80 % of the load in gangs",
                (*_training(7.0, 64.0, 6, "philly"), *_recorded(32)),
                _PHILLY,
                _philly,
            ),
            Kind(
                "helios-like",
                "training jobs as in Helios Venus: strong working hours, 6.7 GPUs per job",
                (*_training(7.0, 96.0, 6, "helios", max_batch=400), *_recorded(128)),
                f"{_VENUS}; run times from {_ACME}; batches {_PHILLY}",
                _helios,
            ),
            Kind(
                "llm-lab",
                "an LLM laboratory as in Acme: many evaluations, few large training gangs",
                (*_training(7.0, 96.0, 4, "lab"), *_laboratory(256)),
                f"{_ACME}; {_VENUS}; batches {_PHILLY}",
                _lab,
            ),
            Kind(
                "train-and-serve",
                "an LLM laboratory beside a chat and a code completion service",
                (
                    *_training(3.0, 96.0, 4, "lab"),
                    *_laboratory(64),
                    Parameter(
                        "serving_share", 0.2, "", "share of the demand in services", 0.01, 0.99
                    ),
                    *_CURVE,
                ),
                f"{_ACME}; {_VENUS}; batches {_PHILLY}; {_AZURE}",
                _train_and_serve,
            ),
            Kind(
                "chat",
                "a steady chat service over the day, slow noise",
                _serving("chat", 16.0),
                f"{_AZURE}; {_VENUS}",
                partial(_serve, "chat"),
            ),
            Kind(
                "code",
                "a bursty code completion service",
                _serving("code", 8.0),
                f"{_AZURE}; {_VENUS}",
                partial(_serve, "code"),
            ),
            Kind(
                "image",
                "image generation in two daily work blocks, quiet at night",
                _serving("image", 8.0),
                "figures of GenTD26 (alibaba/clusterdata v2026-GenAI)",
                partial(_serve, "image"),
            ),
            Kind(
                "dlrm",
                "always-on recommendation services, flat, provisioned for their peak",
                _serving("dlrm", 16.0),
                "figures of alibaba/clusterdata gpu-v2025",
                partial(_serve, "dlrm"),
            ),
        )
    }
)
"""Every kind by name."""
