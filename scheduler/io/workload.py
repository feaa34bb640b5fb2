"""Workload files, ``schema: workload/1``.

A workload file is YAML. Lengths of time, sizes and rates carry their unit (``30 s``, ``80 GiB``,
``20 req/s``); counts, weights and work are bare numbers. All of it::

    schema: workload/1
    title: Two classes and a chat service     # one line for people
    source: where the figures come from       # optional, as is licence
    licence: Apache-2.0

    other_accelerators: [Chip-1]   # optional: types that only a topology file defines
    models:                    # optional: rows beside or instead of the catalogue's, by name
      my-7b: {kind: dense, parameters: 7e9, layers: 32, hidden: 4096, heads: 32,
              kv_heads: 8, ffn_hidden: 11008, vocabulary: 32000}
      # a mixture of experts adds active_parameters, experts, experts_per_token; odd shapes
      # head_dim, kv_values_per_token_layer; what is no transformer has flops_per_sample and
      # activation_values_per_sample in the place of layers, hidden and heads
    profiles:                  # optional: measured throughput tables, by name
      lab: {file: lab.csv}     # accelerator,job_type,scale_factor,steps_per_s, or Gavel's JSON
      own: {rates: [{job_type: resnet, accelerator: T4, count: 4, spread: packed, rate: 7.5}]}

    classes:
      - name: pretrain         # exactly one of model, profile and run_time:
        model: {name: llama-3-70b, precision: bf16, sequence_length: 4096, global_batch: 512}
        # profile: {table: lab, job_type: resnet}
        # run_time: {reference: A100-80GB-SXM}   # or {}: holds on every permitted type
        gang: [32, 64]         # or one number, or a share of one accelerator: 0.25, of which others
                               # may have the rest; everything below is optional
        accelerators: [H100-SXM, A800-80GB-SXM]
        precision: bf16
        stacks: [cuda]
        memory: 40 GiB         # on each accelerator; of a share: what it takes (default: its part)
        max_level: pod
        preemptible: true
        restart: 2 min
        checkpoint: 30 min
        mixed_types: 2         # accelerator types one gang may mix (1: none); needs a model
        saves_state: true      # false: preemption loses what a failure would, as a requeue does
        labels: {region: eu}   # every node of a gang must carry them
        cpus: 12               # of its node, with each accelerator, or with a share; likewise
        host_memory: 200 GiB
        group: redundant       # whom apart and near speak of; default: jobs of this class
        apart: leaf            # no two running jobs of the group share one
        near: pod              # all running jobs of the group share one

    jobs:                      # few jobs, written by hand
      - id: base               # with count: 3 the ids are base-1, base-2, base-3
        class: pretrain
        work: 20e9             # tokens (model), steps (profile); run_time: 3 h for run_time classes
        release: 2 h           # everything from here is optional; default 0 s
        every: 10 min          # with count: one release each
        count: 3
        estimate: 5 h
        deadline: 24 h         # from the start of the workload, not from release
        weight: 2
        tenant: research
        priority: 10           # higher goes first, where the policy looks at it
        limit: 6 h             # killed when it has held accelerators for so long
        after: [prepare, eval] # starts when these have finished; the id of an item with count
                               # stands for all its jobs
        at_once: 2             # with count: so many run at a time, first those written first
    tenants:                   # optional: shares and quotas, in accelerators
      research: {share: 2, quota: {H100-SXM: 64}, total: 96, borrow: 32}
      lab: {total: 32, borrow: any}        # of what others leave of theirs; default: 0
    jobs_file: jobs.csv        # many jobs: CSV or JSON Lines, may be .gz, in this folder or below
                               # (columns: see `scheduler.io.jobs_table`)

    services:
      - name: chat
        model: {name: llama-3-70b, precision: fp8}     # or profile: {table, job_type}
        replica: [4, 8]        # accelerators of one replica: a number, or a choice
        demand: [[0 s, 4 req/s], [8 h, 20 req/s]]      # holds from that time on, or a shape:
        # demand: {shape: diurnal, peak: 20 req/s, base: 2 req/s, span: 7 d, step: 15 min, seed: 1}
        # demand: {trace: azure.csv.gz, step: 60 s, peak: 20 req/s, repeat: 7 d}   # recorded:
        #                            see `scheduler.io.request_demand`; gives the tokens too
        min_replicas: 1        # everything from here is optional
        load: 60 s
        ttft: 2 s
        tpot: 100 ms
        prompt_tokens: 1024
        output_tokens: 128
        accelerators: [H100-SXM]
        end: 7 d
        tenant: serving
        arrivals: poisson      # at random around the demand, so that some wait; or steady
        concurrency: 48        # requests a replica works on at once; default: by its physics
        headroom_probability: 0.999   # that capacity suffices: for bursts, and for forecasts
        spare_replicas: 1      # that may fail before it does not
        availability: 0.999    # that it suffices while nodes fail as the fleet's do
        # lengths: [[0.9, 500, 100], [0.1, 12000, 400]]   # instead of the two tokens: share,
        #                        prompt and output tokens of requests of like length; where it is
        #                        cheaper to serve them on types of their own, the service is
        #                        divided, and says so

    generate:                  # one mapping or a list of them; adds classes, jobs, services
      - {kind: philly-like, seed: 0, days: 7, mean_demand: 96}
        # backlog: 12 h        # jobs of the first 12 h already wait at the start, which is then

A shape's remaining fields go to ``scheduler.generate.demand_curve(shape, *, seed, span_s, step_s,
peak_per_s, ...)``: ``peak``, ``base`` and other rates become ``peak_per_s``, ``base_per_s``;
times become ``span_s``, ``step_s``; bare numbers keep their name. The fields of a ``generate``
entry other than kind, seed and backlog go to ``scheduler.generate.generate(kind, *, seed, ...)``
by the same rule. Faults that the generator raises as `InputError` get the file, path and line
added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scheduler.core.errors import Fault, InputError
from scheduler.core.workload import JobClass, Service, Tenancy, Workload
from scheduler.io import data_files
from scheduler.io.generated import read_demand
from scheduler.io.request_demand import is_traced, read_traced
from scheduler.io.schema import Checker, Names
from scheduler.io.traces import load_trace
from scheduler.io.workload_jobs import JobsPart
from scheduler.io.workload_sections import (
    ClassSection,
    HeadSection,
    ServiceSection,
    TenantSection,
)
from scheduler.io.workload_tables import Tables, optional
from scheduler.io.yaml_text import Document, FieldPath, parse_yaml, read_yaml

_YAML_SUFFIXES: Final = (".yaml", ".yml")


def load_workload(
    path_or_name: str | Path,
    *,
    format: str | None = None,
    select: Mapping[str, str] | None = None,
    since: str | None = None,
    until: str | None = None,
    profile: str | None = None,
) -> Workload:
    """Return the workload of a workload file or a trace.

    Parameters
    ----------
    path_or_name : str or Path
        A workload file, a trace, or the name of a shipped workload.
    format : str, optional
        Trace format; by default a ``.yaml`` file is a workload file, and any other is
        recognised by its first line (`scheduler.io.traces.TRACE_FORMATS`).
    select, since, until, profile
        For traces: see `scheduler.io.trace_rows.TraceOptions`.

    Raises
    ------
    InputError
        With every fault of the file.
    """
    path = data_files.resolve(path_or_name, "workload")
    options = {"select": select, "since": since, "until": until, "profile": profile}
    if format is not None or path.suffix.lower() not in _YAML_SUFFIXES:
        return load_trace(
            path, format=format, select=select, since=since, until=until, profile=profile
        )
    given = [name for name, value in options.items() if value]
    if given:
        raise InputError(Fault("a workload file has no use for it", f"--{name}") for name in given)
    return _Reader(read_yaml(path), path.parent).workload(path.stem)


def parse_workload(
    raw: bytes | str, name: str = "workload", file: str = "<text>", folder: Path | None = None
) -> Workload:
    """Return the workload described by the text `raw`.

    Parameters
    ----------
    raw : bytes or str
        YAML.
    name : str
        Becomes `Workload.name`.
    file : str
        File name for messages.
    folder : Path, optional
        Where `jobs_file` and profile files are looked up; None: they are refused.

    Raises
    ------
    InputError
        With every fault of the text.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    return _Reader(parse_yaml(data, file), folder).workload(name)


@dataclass(slots=True)
class _Reader:
    """Reads one workload file, part by part."""

    document: Document
    folder: Path | None
    check: Checker = field(init=False)
    tables: Tables = field(init=False)
    jobs: JobsPart = field(init=False)
    classes: list[JobClass] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    tenancies: list[Tenancy] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.check = Checker(self.document)
        self.tables = Tables(self.check, self.folder)
        self.jobs = JobsPart(self.check, self.folder, self.classes, self.tables.profiles)

    def workload(self, name: str) -> Workload:
        """Return the checked workload."""
        check = self.check
        check.schema("workload/1")
        head = check.section(HeadSection, ())
        self.tables.read()
        check.names(("classes",))
        for at, written in check.sections(ClassSection, ("classes",)):
            if written is not None:
                self.classes.append(self.tables.job_class(at, written))
        made = self.jobs.read_generated()
        known = dict.fromkeys((*self._written_classes(), *(c.name for c in self.classes)))
        check.context["classes"] = Names(known)
        self.jobs.read()
        if head is not None and head.jobs_file is not None:
            self.jobs.read_file(head.jobs_file)
        self._read_tenants()
        check.names(("services",))
        for at, service in check.sections(ServiceSection, ("services",)):
            if service is not None:
                self._add_service(at, service)
        for part in made:
            for made_service in part.services:
                self._keep_service(("generate",), made_service)
        self.jobs.check_needs()
        if not check.faults and not len(self.jobs.columns) and not self.services:
            check.fault((), "neither jobs nor services", "", "jobs, jobs_file, services, generate")
        check.finish()
        assert head is not None  # finish() raises where a section is not in order
        return Workload(
            name=name,
            title=head.title,
            classes=tuple(self.classes),
            jobs=self.jobs.columns.jobs(),
            services=tuple(self.services),
            profiles=self.tables.profiles,
            models=self.tables.named_models(self.classes, self.services),
            tenants=self.jobs.columns.tenants,
            source=head.source,
            licence=head.licence,
            tenancies=tuple(self.tenancies),
        )

    def _written_classes(self) -> list[str]:
        """Return the names of all classes in the file, even those at fault."""
        raw = self.check.get(("classes",))
        items = [c.get("name") for c in raw if isinstance(c, dict)] if isinstance(raw, list) else []
        return [str(n) for n in items if isinstance(n, (str, int))]

    def _read_tenants(self) -> None:
        for name, section in self.check.named_sections(TenantSection, ("tenants",)).items():
            if section is None:
                continue
            self.jobs.columns.tenant(name)
            self.tenancies.append(
                Tenancy(name, section.share, section.quota, section.total, section.borrow)
            )

    def _add_service(self, at: FieldPath, section: ServiceSection) -> None:
        tokens = {"prompt_tokens": section.prompt_tokens, "output_tokens": section.output_tokens}
        standing = False
        if is_traced(section.demand):
            made = read_traced(self.check, (*at, "demand"), section.demand, self.folder)
            curve = None if made is None else (made.times_s, made.demand_per_s)
            standing = made is not None and made.standing
            for name in tokens:
                recorded = math.nan if made is None else getattr(made, name)
                unsaid = name not in section.model_fields_set and section.lengths is None
                if unsaid and recorded > 0:
                    tokens[name] = recorded
        else:
            curve = read_demand(self.check, (*at, "demand"), section.demand)
        lengths = _to_one(section.lengths or ())
        if lengths:
            tokens = {
                "prompt_tokens": math.fsum(share * prompt for share, prompt, _ in lengths),
                "output_tokens": math.fsum(share * output for share, _, output in lengths),
            }
        physics = (
            self.tables.model(section.model)
            if section.model is not None
            else self.tables.profile((*at, "profile"), section.profile)
            if section.profile is not None
            else None
        )
        if curve is None or physics is None:
            return
        service = Service(
            name=section.name,
            physics=physics,
            replica=tuple(sorted(set(section.replica))),
            times_s=curve[0],
            demand_per_s=curve[1],
            min_replicas=section.min_replicas,
            load_s=section.load,
            ttft_s=section.ttft,
            tpot_s=section.tpot,
            prompt_tokens=tokens["prompt_tokens"],
            output_tokens=tokens["output_tokens"],
            accelerators=optional(section.accelerators),
            end_s=section.end,
            tenant=section.tenant,
            arrivals=section.arrivals or ("steady" if standing else "poisson"),
            concurrency=section.concurrency or 0,
            headroom_probability=section.headroom_probability,
            spare_replicas=section.spare_replicas,
            availability=section.availability,
            lengths=lengths,
        )
        self.services.append(service)

    def _keep_service(self, at: FieldPath, service: Service) -> None:
        if service.name in (s.name for s in self.services):
            self.check.fault(at, "the service exists already", service.name, "another prefix")
        self.services.append(service)


def _to_one(
    lengths: Sequence[tuple[float, float, float]],
) -> tuple[tuple[float, float, float], ...]:
    """Return the lengths with shares that sum to 1 but for the last bits."""
    total = math.fsum(share for share, _, _ in lengths)
    return tuple((share / total, prompt, output) for share, prompt, output in lengths)
