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
    profiles:                  # optional: measured throughput tables, by name
      lab: {file: lab.csv}     # accelerator,job_type,scale_factor,steps_per_s, or Gavel's JSON
      own: {rates: [{job_type: resnet, accelerator: T4, count: 4, spread: packed, rate: 7.5}]}

    classes:
      - name: pretrain         # exactly one of model, profile and run_time:
        model: {name: llama-3-70b, precision: bf16, sequence_length: 4096, global_batch: 512}
        # profile: {table: lab, job_type: resnet}
        # run_time: {reference: A100-80GB-SXM}   # or {}: holds on every permitted type
        gang: [32, 64]         # or one number; everything below is optional
        accelerators: [H100-SXM, A800-80GB-SXM]
        precision: bf16
        stacks: [cuda]
        memory: 40 GiB
        max_level: pod
        preemptible: true
        restart: 2 min
        checkpoint: 30 min
        mixed_types: 2         # accelerator types one gang may mix (1: none); needs a model
        saves_state: true      # false: preemption loses what a failure would, as a requeue does
        labels: {region: eu}   # every node of a gang must carry them
        cpus: 12               # of its node, with each accelerator; likewise
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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model
from scheduler.core.workload import (
    JobClass,
    ModelPhysics,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
    Service,
    Tenancy,
    Workload,
)
from scheduler.io import catalogue, data_files
from scheduler.io.beside import beside
from scheduler.io.generated import read_demand, read_generated
from scheduler.io.job_columns import NAN, JobColumns
from scheduler.io.jobs_table import JobsTable
from scheduler.io.profiles import read_profile
from scheduler.io.request_demand import is_traced, read_traced
from scheduler.io.schema import Checker, Names, some_of
from scheduler.io.traces import load_trace
from scheduler.io.workload_sections import (
    ClassSection,
    HeadSection,
    JobSection,
    ModelRowSection,
    ModelSection,
    ProfileSection,
    ProfileTableSection,
    ServiceSection,
    TenantSection,
)
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
    models: dict[str, Model] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    classes: list[JobClass] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    columns: JobColumns = field(default_factory=JobColumns)
    tenancies: list[Tenancy] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check = Checker(self.document)

    def workload(self, name: str) -> Workload:
        """Return the checked workload."""
        check = self.check
        check.schema("workload/1")
        head = check.section(HeadSection, ())
        self._set_names()
        self._read_models()
        self._read_profiles()
        check.names(("classes",))
        for at, written in check.sections(ClassSection, ("classes",)):
            if written is not None:
                self.classes.append(self._class(at, written))
        made = self._generated()
        known = dict.fromkeys((*self._written_classes(), *(c.name for c in self.classes)))
        check.context["classes"] = Names(known)
        self._read_jobs()
        if head is not None and head.jobs_file is not None:
            self._read_jobs_file(head.jobs_file)
        self._read_tenants()
        check.names(("services",))
        for at, service in check.sections(ServiceSection, ("services",)):
            if service is not None:
                self._add_service(at, service)
        for part in made:
            for made_service in part.services:
                self._keep_service(("generate",), made_service)
        self._check_needs()
        if not check.faults and not len(self.columns) and not self.services:
            check.fault((), "neither jobs nor services", "", "jobs, jobs_file, services, generate")
        check.finish()
        assert head is not None  # finish() raises where a section is not in order
        return Workload(
            name=name,
            title=head.title,
            classes=tuple(self.classes),
            jobs=self.columns.jobs(),
            services=tuple(self.services),
            profiles=self.profiles,
            models=self._named_models(),
            tenants=self.columns.tenants,
            source=head.source,
            licence=head.licence,
            tenancies=tuple(self.tenancies),
        )

    # --- names and tables ----------------------------------------------------------------

    def _set_names(self) -> None:
        types = catalogue.accelerators().values()
        others = self.check.get(("other_accelerators",))
        known = [t.name for t in types]
        known += [o for o in others if isinstance(o, str)] if isinstance(others, list) else []
        aliases = {alias: t.name for t in types for alias in (t.name, *t.aliases)}
        models = catalogue.models().values()
        own = self.check.get(("models",))
        written = [*own] if isinstance(own, dict) else []
        spellings = {alias: m.name for m in models for alias in (m.name, *m.aliases)}
        tables = self.check.get(("profiles",))
        self.check.context |= {
            "accelerators": Names(dict.fromkeys(known), aliases),
            "stacks": Names(sorted({t.stack for t in types})),
            "models": Names(dict.fromkeys((*(m.name for m in models), *written)), spellings),
            "profiles": Names([*tables] if isinstance(tables, dict) else []),
        }

    def _written_classes(self) -> list[str]:
        """Return the names of all classes in the file, even those at fault."""
        raw = self.check.get(("classes",))
        items = [c.get("name") for c in raw if isinstance(c, dict)] if isinstance(raw, list) else []
        return [str(n) for n in items if isinstance(n, (str, int))]

    def _read_models(self) -> None:
        for name, row in self.check.named_sections(ModelRowSection, ("models",)).items():
            if row is None:
                continue
            kv_heads = row.heads if row.kv_heads is None else row.kv_heads
            head_dim = row.hidden // max(1, row.heads) if row.head_dim is None else row.head_dim
            kept = row.kv_values_per_token_layer
            self.models[name] = Model(
                name=name,
                kind=row.kind,
                parameters=row.parameters,
                active_parameters=row.active_parameters or row.parameters,
                layers=row.layers,
                hidden=row.hidden,
                heads=row.heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                ffn_hidden=4 * row.hidden if row.ffn_hidden is None else row.ffn_hidden,
                vocabulary=row.vocabulary,
                experts=row.experts,
                experts_per_token=row.experts_per_token,
                kv_values_per_token_layer=2.0 * kv_heads * head_dim if kept is None else kept,
                flops_per_sample=row.flops_per_sample,
                activation_values_per_sample=row.activation_values_per_sample,
                source=row.source,
            )

    def _named_models(self) -> dict[str, Model]:
        """Return the models that classes and services name."""
        physics = [c.physics for c in self.classes] + [s.physics for s in self.services]
        names = sorted({p.model for p in physics if isinstance(p, ModelPhysics)})
        return {n: self.models.get(n) or catalogue.find_model(n) for n in names}

    def _read_profiles(self) -> None:
        tables = self.check.named_sections(ProfileTableSection, ("profiles",))
        for name, section in tables.items():
            if section is None:
                continue
            at: FieldPath = ("profiles", name)
            if section.file is not None:
                path = beside(self.check, self.folder, (*at, "file"), section.file)
                if path is not None:
                    self._attempt(lambda p=path, n=name: self._add_profile(read_profile(p, n)))
                continue
            rates: dict[tuple[str, str, int, str], float] = {}
            for i, row in enumerate(section.rates or ()):
                key = (row.job_type, row.accelerator.casefold(), row.count, row.spread)
                if key in rates:
                    self.check.fault((*at, "rates", i), "the rate is given twice", row.job_type)
                rates[key] = row.rate
            self._add_profile(Profile(name, rates))

    def _add_profile(self, profile: Profile) -> None:
        self.profiles[profile.name] = profile

    # --- physics and classes ---------------------------------------------------------------

    def _model(self, section: ModelSection) -> ModelPhysics:
        return ModelPhysics(
            section.name, section.precision, section.sequence_length, section.global_batch
        )

    def _profile(self, at: FieldPath, section: ProfileSection) -> ProfilePhysics:
        table = self.profiles.get(section.table)
        if table is not None:
            known = dict.fromkeys(key[0] for key in table.rates)
            if section.job_type not in known:
                self.check.fault(
                    (*at, "job_type"),
                    f"no such job type in table {section.table!r}",
                    section.job_type,
                    some_of(known),
                    nearest_name(section.job_type, known),
                )
        return ProfilePhysics(section.table, section.job_type)

    def _class(self, at: FieldPath, section: ClassSection) -> JobClass:
        physics: ModelPhysics | ProfilePhysics | RunTimePhysics
        if section.model is not None:
            physics = self._model(section.model)
        elif section.profile is not None:
            physics = self._profile((*at, "profile"), section.profile)
        else:
            reference = section.run_time.reference if section.run_time else ""
            physics = RunTimePhysics(reference)
        return JobClass(
            name=section.name,
            physics=physics,
            gang=tuple(sorted(set(section.gang))),
            accelerators=_optional(section.accelerators),
            precision=section.precision,
            stacks=_optional(section.stacks),
            memory_bytes=section.memory,
            max_level=section.max_level,
            preemptible=section.preemptible,
            restart_s=section.restart,
            checkpoint_s=section.checkpoint,
            mixed_types=section.mixed_types,
            saves_state=section.saves_state,
            labels=tuple(sorted(section.labels.items())),
            cpus=section.cpus,
            host_memory_bytes=section.host_memory,
            group=section.group,
            apart=section.apart,
            near=section.near,
        )

    # --- jobs ----------------------------------------------------------------------------

    def _read_jobs(self) -> None:
        index = {c.name: i for i, c in enumerate(self.classes)}
        for at, section in self.check.sections(JobSection, ("jobs",)):
            if section is None:
                continue
            position = index.get(section.class_)
            if position is not None:  # else its class is at fault
                self._add_jobs(at, section, position)

    def _add_jobs(self, at: FieldPath, section: JobSection, position: int) -> None:
        physics = self.classes[position].physics
        if section.run_time is not None and not isinstance(physics, RunTimePhysics):
            counted = "steps" if isinstance(physics, ProfilePhysics) else "tokens or samples"
            message = f"class {section.class_!r} counts work"
            self.check.fault((*at, "run_time"), message, "", f"work: a number of {counted}")
        if section.work is not None and isinstance(physics, RunTimePhysics):
            message = f"class {section.class_!r} knows only a run time"
            self.check.fault((*at, "work"), message, f"{section.work:g}", "run_time: such as 3 h")
        ids = [section.id]
        if section.count is not None:
            ids = [f"{section.id}-{i + 1}" for i in range(section.count)]
        for i, job in enumerate(ids):
            if not self._claim(at, job, f"jobs[{at[-1]}]"):
                return
            self.columns.add(
                *(job, position, section.release + i * section.every),
                section.work or section.run_time or NAN,
                estimate_s=section.estimate or NAN,
                weight=section.weight,
                deadline_s=section.deadline or NAN,
                tenant=section.tenant,
                priority=section.priority,
                limit_s=section.limit or NAN,
                after=tuple(section.after),
            )
        if section.count is not None:
            self.columns.arrays[section.id] = tuple(ids)

    def _read_tenants(self) -> None:
        for name, section in self.check.named_sections(TenantSection, ("tenants",)).items():
            if section is None:
                continue
            self.columns.tenant(name)
            self.tenancies.append(
                Tenancy(name, section.share, section.quota, section.total, section.borrow)
            )

    def _check_needs(self) -> None:
        for job, message, value, near in self.columns.faulty_needs():
            self.check.fault(("jobs",), f"{message}: {job!r}", value, "", near)

    def _claim(self, at: FieldPath, job: str, where: str) -> bool:
        if job in self.taken:
            message = f"job id is used twice, first in {self.taken[job]}"
            self.check.fault(at, message, job, "a unique id")
            return False
        self.taken[job] = where
        return True

    def _read_jobs_file(self, written: str) -> None:
        path = beside(self.check, self.folder, ("jobs_file",), written)
        if path is None:
            return
        types = self.check.context["accelerators"]
        table = JobsTable(written, self.columns, self.classes, types.spellings(), self.taken)
        self._attempt(lambda: table.read(path))

    def _attempt(self, read: Any) -> None:
        """Run a reader of another file, adding its faults to this one's."""
        try:
            read()
        except InputError as error:
            self.check.faults += error.faults

    # --- generated parts -------------------------------------------------------------------

    def _generated(self) -> list[Workload]:
        """Add classes and jobs of the `generate` entries; return what was generated."""
        raw = self.check.get(("generate",))
        if raw is None:
            return []
        entries = raw if isinstance(raw, list) else [raw]
        made = []
        for i, entry in enumerate(entries):
            at: FieldPath = ("generate", i) if isinstance(raw, list) else ("generate",)
            part = read_generated(self.check, at, entry)
            if part is not None:
                self._merge(at, part)
                made.append(part)
        return made

    def _merge(self, at: FieldPath, part: Workload) -> None:
        positions = np.empty(len(part.classes), dtype=np.int64)
        index = {c.name: i for i, c in enumerate(self.classes)}
        for i, job_class in enumerate(part.classes):
            known = index.get(job_class.name)
            if known is None:
                positions[i] = index[job_class.name] = len(self.classes)
                self.classes.append(job_class)
            elif self.classes[known] == job_class:
                positions[i] = known
            else:
                message = "the class exists already and differs"
                self.check.fault(at, message, job_class.name, "another prefix")
                return
        for job in part.jobs.ids:
            if not self._claim(at, job, "a generated part (give them different prefixes)"):
                return
        self.columns.extend(part.jobs, part.tenants, positions)
        for name, profile in part.profiles.items():
            if self.profiles.setdefault(name, profile) != profile:
                self.check.fault(at, "the throughput table exists already and differs", name)

    # --- services --------------------------------------------------------------------------

    def _add_service(self, at: FieldPath, section: ServiceSection) -> None:
        tokens = {"prompt_tokens": section.prompt_tokens, "output_tokens": section.output_tokens}
        if is_traced(section.demand):
            made = read_traced(self.check, (*at, "demand"), section.demand, self.folder)
            curve = None if made is None else (made.times_s, made.demand_per_s)
            for name in tokens:
                recorded = math.nan if made is None else getattr(made, name)
                if name not in section.model_fields_set and recorded > 0:
                    tokens[name] = recorded
        else:
            curve = read_demand(self.check, (*at, "demand"), section.demand)
        physics = (
            self._model(section.model)
            if section.model is not None
            else self._profile((*at, "profile"), section.profile)
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
            **tokens,
            accelerators=_optional(section.accelerators),
            end_s=section.end,
            tenant=section.tenant,
        )
        self.services.append(service)

    def _keep_service(self, at: FieldPath, service: Service) -> None:
        if service.name in (s.name for s in self.services):
            self.check.fault(at, "the service exists already", service.name, "another prefix")
        self.services.append(service)


def _optional(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(dict.fromkeys(names))
